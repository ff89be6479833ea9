"""Calibrated cuts: curves that were worked out by hand."""

import tempfile
import unittest

from official_selftrain.core import errors
from official_selftrain.pseudo_labels import calibration


def curve(truths, *rows):
  """Rows of (cut, kept, right)."""
  return {
    'truths': truths,
    'cuts': [
      {
        'cut': cut,
        'boxes': kept,
        'precision': right / kept if kept else None,
        'recall': right / truths if truths else None,
        'count_ratio': kept / truths if truths else None,
      }
      for cut, kept, right in rows
    ],
  }


# Cat: F1 is 2 * right / (kept + truths): 0.53, 0.70, 0.71, 0.33; F0.5 is highest at 0.9, where all is right.
CAT = ((0.1, 40, 16), (0.5, 20, 14), (0.7, 15, 12.5), (0.9, 4, 4))
# The teacher is never sure of dogs: F1 is 0.6, 0.4, 0, 0.
DOG = ((0.1, 20, 12), (0.5, 5, 5), (0.7, 0, 0), (0.9, 0, 0))


def measured(**classes):
  rows = zip(*(curves for _, curves in classes.values()), strict=True)
  total = [(row[0][0], sum(r[1] for r in row), sum(r[2] for r in row)) for row in rows]
  truths = sum(count for count, _ in classes.values())
  per_class = {name[1:]: curve(count, *curves) for name, (count, curves) in classes.items()}
  return {'images': 9, 'overall': curve(truths, *total), 'per_class': per_class}


BOTH = measured(_1=(20, CAT), _2=(20, DOG))


class CalibrateTest(unittest.TestCase):
  def test_each_class_has_its_own_cut(self):
    found = calibration.calibrate(BOTH)
    self.assertEqual({name: each.cut for name, each in found.classes.items()}, {1: 0.7, 2: 0.1})
    # Of both together F1 is 56/100, 38/65, 25/55 and 8/44.
    self.assertEqual(found.cut, 0.5)
    self.assertEqual(found.images, 9)
    self.assertEqual((found.classes[1].precision, found.classes[1].recall), (12.5 / 15, 12.5 / 20))
    self.assertEqual(found.class_cuts(5), [0.7, 0.1, 0.5, 0.5])

  def test_precision_can_weigh_more(self):
    # F0.1 of the cat is 0.84 at 0.7 and 0.97 at 0.9.
    found = calibration.calibrate(BOTH, beta=0.1)
    self.assertEqual(found.classes[1].cut, 0.9)
    self.assertEqual(found.classes[2].cut, 0.5)

  def test_at_least_a_share_is_right(self):
    # Of the cats 0.4, 0.7, 0.83 and 1 are right, of the dogs 0.6 and 1.
    found = calibration.calibrate(BOTH, min_precision=0.9)
    self.assertEqual({name: each.cut for name, each in found.classes.items()}, {1: 0.9, 2: 0.5})
    # At 0.1 as many dogs are kept as people drew, and too few of them are right.
    found = calibration.calibrate(BOTH, 'count', min_precision=0.61)
    self.assertEqual({name: each.cut for name, each in found.classes.items()}, {1: 0.5, 2: 0.5})

  def test_where_no_cut_is_right_enough_the_most_precise_is_taken(self):
    rows = ((0.1, 40, 8), (0.5, 20, 6), (0.7, 10, 3), (0.9, 0, 0))
    # F1 is 0.27, 0.3 and 0.2; precision 0.2, 0.3 and 0.3.
    self.assertEqual(calibration.calibrate(measured(_1=(20, rows))).cut, 0.5)
    self.assertEqual(calibration.calibrate(measured(_1=(20, rows)), min_precision=0.5).cut, 0.7)

  def test_as_many_as_people_drew(self):
    found = calibration.calibrate(BOTH, 'count')
    self.assertEqual({name: each.cut for name, each in found.classes.items()}, {1: 0.5, 2: 0.1})

  def test_a_rare_class_gets_the_cut_of_all(self):
    found = calibration.calibrate(measured(_1=(20, CAT), _2=(20, DOG)), min_objects=21)
    self.assertEqual([each.cut for each in found.classes.values()], [0.5, 0.5])
    self.assertFalse(any(each.is_own for each in found.classes.values()))

  def test_the_higher_cut_among_equals(self):
    rows = ((0.1, 10, 8), (0.5, 10, 8), (0.7, 10, 8))
    self.assertEqual(calibration.calibrate(measured(_1=(10, rows))).cut, 0.7)

  def test_the_ignore_band_reaches_as_far_as_one_in_five_is_right(self):
    # Between 0.1 and 0.5 there are 35 more, of which 9 are right: 26%.
    self.assertEqual(calibration.calibrate(BOTH).ignore_cut, 0.1)
    rows = ((0.1, 100, 12), (0.3, 20, 11.9), (0.5, 10, 9))
    # 3 of 90 below 0.3 are too few; 2.9 of 10 between 0.3 and 0.5 are enough.
    self.assertEqual(calibration.calibrate(measured(_1=(12, rows))).ignore_cut, 0.3)
    rows = ((0.1, 100, 9.1), (0.5, 10, 9))
    self.assertIsNone(calibration.calibrate(measured(_1=(12, rows))).ignore_cut)

  def test_nothing_to_calibrate_on(self):
    with self.assertRaisesRegex(errors.DataError, '9 held-out images: they show no object'):
      calibration.calibrate(measured(_1=(0, ((0.5, 3, 0),))))
    with self.assertRaisesRegex(errors.DataError, 'nothing in them was found'):
      calibration.calibrate(measured(_1=(5, ((0.5, 3, 0),))))

  def test_it_comes_back_from_its_file(self):
    found = calibration.calibrate(BOTH)
    with tempfile.TemporaryDirectory() as folder:
      self.assertIsNone(calibration.load(folder))
      found.save(folder)
      self.assertEqual(calibration.load(folder), found)


if __name__ == '__main__':
  unittest.main()
