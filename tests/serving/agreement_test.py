"""Agreement of an export with its model, on answers that were made up."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.serving import agreement

_NETWORK = (100, 200, 3)


def _detections(*rows, most=5):
  """Answers with rows of class, score and box."""
  classes, scores, boxes = np.zeros(most, np.int32), np.zeros(most, np.float32), np.zeros([most, 4])
  for i, (class_id, score, *box) in enumerate(rows):
    classes[i], scores[i], boxes[i] = class_id, score, box
  return {
    'detection_classes': classes,
    'detection_scores': scores,
    'detection_boxes': boxes.astype(np.float32),
    'num_detections': np.int32(len(rows)),
  }


def _compare(expected, found, precision='float32'):
  return agreement.compare([expected], [found], 1, _NETWORK, precision, threshold=0.05)


_FIRST = (1, 0.9, 0.1, 0.1, 0.5, 0.5)
_SECOND = (2, 0.6, 0.2, 0.2, 0.4, 0.9)


class BoxesTest(tf.test.TestCase, parameterized.TestCase):
  def test_equal(self):
    found = _compare(_detections(_FIRST, _SECOND), _detections(_FIRST, _SECOND))
    self.assertEqual((found.compared, found.equal), (2, 2))
    self.assertAllEqual(found.pixels, [0.0, 0.0])
    self.assertTrue(found.is_close)
    self.assertEqual(
      found.sentence(),
      "checked on 1 image: 2 of 2 boxes are found again; differences: at most 0 pixels of the network's input, at most "
      '0 of the score',
    )

  def test_differences_are_in_pixels_of_the_network(self):
    # 0.01 of 100 rows is 1 pixel, 0.02 of 200 columns are 4.
    moved = (1, 0.8, 0.11, 0.1, 0.5, 0.52)
    found = _compare(_detections(_FIRST), _detections(moved))
    self.assertAllClose(found.pixels, [4.0], rtol=1e-4)
    self.assertAllClose(found.scores, [0.1], rtol=1e-4)
    self.assertEqual(found.equal, 1)
    self.assertTrue(found.is_wrong)

  def test_rounding_of_another_device_is_not_wrong_and_is_said(self):
    moved = (1, 0.9, 0.1002, 0.1, 0.5, 0.5)
    found = _compare(_detections(_FIRST), _detections(moved))
    self.assertFalse(found.is_wrong)
    self.assertFalse(found.is_close)
    self.assertEndsWith(found.sentence(), 'of the score. Rounding explains 0.001 pixels')

  def test_a_network_in_mixed_precision_is_never_called_wrong(self):
    lower = (3, 0.2, 0.0, 0.0, 1.0, 1.0)
    self.assertTrue(_compare(_detections(_FIRST, lower), _detections(_SECOND, lower)).is_wrong)
    found = _compare(_detections(_FIRST, lower), _detections(_SECOND, lower), agreement.MIXED)
    self.assertEqual((found.compared, found.equal), (2, 0))
    self.assertFalse(found.is_wrong)

  def test_rows_in_another_order_are_the_same(self):
    found = _compare(_detections(_FIRST, _SECOND), _detections(_SECOND, _FIRST))
    self.assertEqual((found.compared, found.equal), (2, 2))
    self.assertAllEqual(found.pixels, [0.0, 0.0])

  def test_each_box_is_matched_once(self):
    found = _compare(_detections(_FIRST), _detections(_FIRST, _FIRST, _SECOND))
    self.assertEqual((found.compared, found.equal), (3, 1))
    self.assertTrue(found.is_wrong)

  @parameterized.named_parameters(
    ('class', (2, 0.9, 0.1, 0.1, 0.5, 0.5)),
    ('place', (1, 0.9, 0.5, 0.5, 0.9, 0.9)),
    ('overlap_below_half', (1, 0.9, 0.1, 0.1, 0.5, 0.29)),
  )
  def test_another(self, other):
    lower = (3, 0.2, 0.0, 0.0, 1.0, 1.0)
    found = _compare(_detections(_FIRST, lower), _detections(other, lower))
    self.assertEqual((found.compared, found.equal), (3, 1))
    self.assertTrue(found.is_wrong)

  def test_the_only_box_counts(self):
    for theirs in (_detections(), _detections((2, 0.9, 0.6, 0.6, 0.9, 0.9))):
      found = _compare(_detections(_FIRST), theirs)
      self.assertGreater(found.compared, 0)
      self.assertTrue(found.is_wrong)

  def test_scores_and_nan_can_be_wrong(self):
    lower = (1, 0.06, *_FIRST[2:])
    self.assertTrue(_compare(_detections(_FIRST), _detections(lower)).is_wrong)
    nowhere = (1, 0.9, *[float('nan')] * 4)
    self.assertTrue(_compare(_detections(_FIRST), _detections(nowhere)).is_wrong)

  def test_the_last_row_of_a_full_list_may_be_another(self):
    boxes = [(1, 0.9 - 0.1 * i, 0.2 * i, 0.0, 0.2 * i + 0.1, 1.0) for i in range(6)]
    found = _compare(_detections(*boxes[:5]), _detections(*boxes[:4], boxes[5]))
    self.assertEqual((found.compared, found.equal), (4, 4))
    found = _compare(_detections(*boxes[:4]), _detections(*boxes[:3], boxes[5]))
    self.assertEqual((found.compared, found.equal), (5, 3))

  def test_a_box_at_the_end_of_the_list_may_be_missing(self):
    last = (1, 0.05001, 0.6, 0.6, 0.9, 0.9)
    found = _compare(_detections(_FIRST, last), _detections(_FIRST))
    self.assertEqual((found.compared, found.equal), (1, 1))
    self.assertTrue(found.is_close)

  def test_of_quantised_models_only_what_is_worth_a_look_counts(self):
    ours = _detections(_FIRST, (2, 0.31, 0.2, 0.2, 0.4, 0.9), (3, 0.2, 0.0, 0.0, 0.2, 0.2))
    # The second one has a lower score, the third one is not found.
    theirs = _detections(_FIRST, (2, 0.28, 0.2, 0.2, 0.4, 0.9))
    found = _compare(ours, theirs, 'int8')
    self.assertEqual((found.compared, found.equal), (2, 2))
    self.assertFalse(found.is_wrong)
    self.assertIn('2 of 2 boxes of score 0.3 and more are found again', found.sentence())
    self.assertIn('0.015 (median) and at most 0.03 of the score', found.sentence())

  def test_empty_boxes_are_the_same_in_one_place_only(self):
    line = (1, 0.9, 0.5, 0.1, 0.5, 0.4)
    other = (1, 0.9, 0.7, 0.1, 0.7, 0.4)
    lower = (3, 0.2, 0.0, 0.0, 1.0, 1.0)
    self.assertEqual(_compare(_detections(line, lower), _detections(line, lower)).equal, 2)
    self.assertEqual(_compare(_detections(line, lower), _detections(other, lower)).equal, 1)

  def test_no_boxes(self):
    found = _compare(_detections(), _detections())
    self.assertFalse(found.is_wrong)
    self.assertIn('the model has no boxes: nothing could be compared', found.sentence())


class OtherAnswersTest(tf.test.TestCase):
  def test_all_anchors(self):
    ours = {
      'decoded_boxes': np.zeros([3, 4], np.float32),
      'decoded_box_scores': np.zeros([3, 2], np.float32),
    }
    theirs = {name: value.copy() for name, value in ours.items()}
    theirs['decoded_boxes'][1] = (0.0, 0.01, 0.02, 0.0)
    theirs['decoded_box_scores'][2] = (0.1, 0.4)
    found = _compare(ours, theirs)
    self.assertAllClose(found.pixels, [0.0, 2.0, 0.0], rtol=1e-4)
    self.assertAllClose(found.scores, [0.0, 0.0, 0.4])
    self.assertTrue(found.is_wrong)
    theirs['decoded_boxes'] = np.full([3, 4], np.nan, np.float32)
    self.assertTrue(_compare(ours, theirs).is_wrong)
    without_scores = {**ours, 'decoded_box_scores': np.ones([3, 2], np.float32)}
    self.assertTrue(_compare(ours, without_scores).is_wrong)

  def test_masks(self):
    ours = {
      'classes': np.array([[0, 1], [2, 3]], np.uint8),
      'confidences': np.full([2, 2], 0.5, np.float32),
    }
    theirs = {
      'classes': np.array([[0, 1], [2, 0]], np.uint8),
      'confidences': np.array([[0.5, 0.75], [0.5, 0.1]], np.float32),
    }
    found = _compare(ours, theirs)
    self.assertEqual((found.compared, found.equal), (4, 3))
    self.assertAllEqual(found.scores, [0.0, 0.25, 0.0])
    self.assertTrue(found.is_wrong)
    self.assertEqual(
      found.facts(),
      {
        'precision': 'float32',
        'images': 1,
        'pixels_compared': 4,
        'pixels_equal': 3,
        'difference_scores': {'median': 0.0, 'largest': 0.25},
      },
    )


if __name__ == '__main__':
  tf.test.main()
