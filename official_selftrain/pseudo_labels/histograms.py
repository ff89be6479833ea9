"""Histograms of scores by class: what the summaries of label shards are made of.

A summary has `scores`, {class id: counts by bin}, and `best_scores`, the histogram of the highest score of each image
that has a label at all. Class ids are strings, as JSON wants keys.
"""

import numpy as np

from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import formats

NUM_BINS = 20
# float32 on purpose: scores are float32 and a cut is compared in float32, so a score of exactly
# 0.35 counts as >= 0.35.
BIN_EDGES = np.linspace(0.0, 1.0, NUM_BINS + 1).astype(np.float32)


def score_bins(scores: np.ndarray) -> np.ndarray:
  """Index of the histogram bin of each score.

  Args:
    scores: float32 `[n]`.

  Returns:
    int64 `[n]`: i for BIN_EDGES[i] <= score < BIN_EDGES[i + 1]; the last bin includes 1.
  """
  bins = np.searchsorted(BIN_EDGES, np.asarray(scores, np.float32), side='right') - 1
  return np.clip(bins, 0, NUM_BINS - 1)


def count_above(histogram: np.ndarray, cut: float) -> float:
  """Number of scores >= `cut`: exact when the cut is the lower edge of a bin, else interpolated linearly.

  Inside the last bin, and at 1, it is the whole bin, an upper bound: scores of exactly 1 are in it, as of labels whose
  program gives no scores, and every cut keeps them.
  """
  position = min(cut * NUM_BINS, NUM_BINS - 1.0)
  whole = int(position + 1e-6)
  above = float(histogram[whole:].sum())
  part = position - whole
  return above - part * float(histogram[whole]) if part > 1e-6 else above


def totals(summary: formats.Summary) -> np.ndarray:
  """Histogram over all classes, int64 `[NUM_BINS]`."""
  return np.sum([*summary['scores'].values(), np.zeros(NUM_BINS, np.int64)], axis=0)


def kept(summary: formats.Summary, cuts: cuts_lib.Cuts) -> formats.Kept:
  """Counts of the labels in a summary that cuts keep; with cuts per class, `images_kept` is an upper bound."""
  objects_kept = sum(
    count_above(np.array(counts), cuts.of(int(name))) for name, counts in summary['scores'].items()
  )
  lowest = min([cuts.cut, *(cuts.per_class or {}).values()])
  of_all = totals(summary)
  filled = np.flatnonzero(of_all)
  return formats.Kept(
    objects=float(of_all.sum()),
    objects_kept=float(objects_kept),
    images_kept=count_above(np.array(summary['best_scores']), lowest),
    highest_score=float(filled[-1] + 1) / NUM_BINS if filled.size else 0.0,
  )
