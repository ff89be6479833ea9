"""Cuts at which each class has as many pseudo labels as people would draw."""

import unittest

import numpy as np

from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import histograms, matching


def _summary(scores):
  """The summary of scores by class id."""
  counts = {
    str(class_id): np.bincount(
      histograms.score_bins(np.array(found, np.float32)), minlength=histograms.NUM_BINS
    ).tolist()
    for class_id, found in scores.items()
  }
  return {'scores': counts, 'best_scores': [0] * histograms.NUM_BINS}


class MatchTest(unittest.TestCase):
  def test_by_hand(self):
    # Of class 1, four labels in [0.50, 0.55) and two in [0.90, 0.95); of class 2 eight in [0.10, 0.15).
    summary = _summary({1: [0.5, 0.51, 0.52, 0.53, 0.9, 0.92], 2: [0.12] * 8})
    found = matching.match(summary, {1: 3.0, 2: 8.0}, 4, 0.05)
    # Three of class 1: both of the upper bin and one of four in the lower, a quarter below its end.
    self.assertEqual(found.class_cuts[:2], [0.537, 0.1])
    # Eleven of all fourteen: five of the eight in [0.10, 0.15).
    self.assertEqual(found.cut, 0.118)
    # Of class 3 people drew none.
    self.assertEqual(found.class_cuts[2], 0.118)

  def test_too_few_labels(self):
    summary = _summary({1: [0.12] * 8, 2: [0.07] * 8})
    for lowest in (0.05, 0.1):
      found = matching.match(summary, {1: 9.0, 2: 4.0, 3: 1.0}, 4, lowest)
      # A cut is lowered no further, not even where more labels could be had below.
      self.assertEqual(found.class_cuts, [lowest, max(lowest, 0.075), lowest])

  def test_more_sure_labels_than_people_would_draw(self):
    # The histogram cannot divide its last bin.
    found = matching.match(_summary({1: [0.97, 0.98, 0.99]}), {1: 1.0}, 2, 0.05)
    self.assertEqual(found, matching.MatchedCuts(0.95, [0.95]))

  def test_the_cuts_keep_as_many_labels_as_are_wanted(self):
    rng = np.random.default_rng(5)
    for _ in range(50):
      scores = {k: rng.beta(*rng.uniform(0.5, 4, 2), rng.integers(20, 4000)) for k in (1, 2, 3)}
      summary = _summary(scores)
      wanted = {k: float(rng.uniform(0.02, 0.8) * len(found)) for k, found in scores.items()}
      matched = matching.match(summary, wanted, 4, 0.0)
      cuts = cuts_lib.Cuts(matched.cut, per_class=dict(enumerate(matched.class_cuts, start=1)))
      for k, found in scores.items():
        histogram = np.array(summary['scores'][str(k)])
        kept = histograms.count_above(histogram, cuts.of(k))
        # A thousandth is a fiftieth of a bin. Of the last bin all labels are kept.
        slack = max(histogram.max() / 50, kept - wanted[k] if cuts.of(k) == 0.95 else 0)
        self.assertGreaterEqual(kept, wanted[k] - 1e-6)
        self.assertLessEqual(kept, wanted[k] + slack + 1e-6)
        # By the scores themselves: as wrong as labels are unevenly spread in one bin.
        exact = int((found.astype(np.float32) >= np.float32(cuts.of(k))).sum())
        self.assertLessEqual(abs(exact - kept), histogram.max())


if __name__ == '__main__':
  unittest.main()
