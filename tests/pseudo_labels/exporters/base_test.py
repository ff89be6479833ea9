"""Records that exporters are given."""

import dataclasses
import json
import unittest

import numpy as np

from official_selftrain.pseudo_labels.exporters import base
from tests.pseudo_labels.exporters import exporting


class OriginTest(unittest.TestCase):
  def test_what_is_not_known_is_left_out_in_words(self):
    origin = base.Origin(
      teacher_sha256='',
      teacher_step=0,
      labelled_with='official-selftrain',
      exported_with='official-selftrain 0.2.0',
      labels_sha256='cd',
      cut=0.0,
      ignore_cut=None,
    )
    self.assertEqual(
      origin.in_words(),
      {
        'teacher_step': '0',
        'labelled_with': 'official-selftrain',
        'exported_with': 'official-selftrain 0.2.0',
        'labels_sha256': 'cd',
        'cut': '0.0',
      },
    )
    self.assertEqual(origin.in_short(), 'official-selftrain, teacher unknown, cut 0')

  def test_cuts_by_class(self):
    origin = dataclasses.replace(exporting.ORIGIN, class_cuts={1: 0.7, 3: 0.25})
    self.assertEqual(origin.in_words()['class_cuts'], '1: 0.7, 3: 0.25')
    self.assertEqual(
      origin.in_short(),
      'official-selftrain 0.1.0, teacher abababababab, cut 0.5 (by class 0.25 to 0.7)',
    )
    self.assertEqual(json.loads(json.dumps(origin.as_dict()))['class_cuts'], {'1': 0.7, '3': 0.25})


class LabelsTest(unittest.TestCase):
  def test_boxes_are_counted_and_dropped_by_their_band(self):
    object_, ignored = base.Box(1, 0.9, False, 0, 0, 1, 1), base.Box(2, 0.3, True, 0, 0, 1, 1)
    boxes = base.Boxes((object_, object_, ignored))
    self.assertEqual((boxes.num_objects, boxes.num_ignored), (2, 1))
    self.assertEqual(boxes.without_ignored(), base.Boxes((object_, object_)))

  def test_pixels_are_counted(self):
    classes = np.array([[0, 1, 255], [2, 2, 255]], np.uint8)
    mask = base.Mask(classes, np.full([2, 3], 51, np.uint8))
    self.assertEqual((mask.num_objects, mask.num_ignored), (3, 2))
    self.assertIs(mask.without_ignored(), mask)
    regions = {region.class_id: region.covered.tolist() for region in mask.regions()}
    self.assertEqual(
      regions,
      {
        1: [[False, True, False], [False, False, False]],
        2: [[False, False, False], [True, True, False]],
      },
    )
    self.assertEqual({region.score for region in mask.regions()}, {0.2})


class NumbersTest(unittest.TestCase):
  def test_a_score_has_the_fewest_digits_that_are_the_same_float32(self):
    self.assertEqual(base.shortest(np.float32(0.6)), 0.6)
    self.assertEqual(base.shortest(np.float32(1.0)), 1.0)
    values = np.random.default_rng(0).uniform(size=200).astype(np.float32)
    for value in values:
      self.assertEqual(np.float32(base.shortest(value)), value)

  def test_zero_has_no_sign(self):
    self.assertEqual(str(base.rounded(-1e-9, 4)), '0.0')
    self.assertEqual(base.rounded(-1.23456, 4), -1.2346)


if __name__ == '__main__':
  unittest.main()
