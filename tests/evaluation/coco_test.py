"""Per-class AP: by hand, and its mean is the AP that pycocotools reports."""

import contextlib
import io

import numpy as np
import tensorflow as tf

from official_selftrain.evaluation import coco, resampling


def _batch(boxes, classes, scores, true_boxes, true_classes, crowds=None):
  """One image of 100 x 100 px as the Model Garden's evaluator takes it."""
  count = len(true_classes)
  groundtruths = {
    'source_id': tf.constant([1]),
    'height': tf.constant([100]),
    'width': tf.constant([100]),
    'num_detections': tf.constant([count]),
    'image_info': tf.constant([[[100, 100], [100, 100], [1, 1], [0, 0]]], tf.float32),
    'boxes': tf.constant([true_boxes], tf.float32),
    'classes': tf.constant([true_classes]),
    'areas': tf.constant([[900.0] * count]),
    'is_crowds': tf.constant([crowds or [0] * count]),
  }
  predictions = {
    'detection_boxes': tf.constant([boxes], tf.float32),
    'detection_scores': tf.constant([scores], tf.float32),
    'detection_classes': tf.constant([classes]),
    'num_detections': tf.constant([len(classes)]),
    'source_id': tf.constant([1]),
    'image_info': groundtruths['image_info'],
  }
  return groundtruths, predictions


class CocoEvaluatorTest(tf.test.TestCase):
  def test_classes_by_hand_and_their_mean(self):
    evaluator = coco.CocoEvaluator(
      annotation_file='', include_mask=False, per_category_metrics=True
    )
    found = [[10, 10, 40, 40], [50, 50, 80, 80], [0, 60, 20, 90]]
    truth = [[10, 10, 40, 40], [50, 50, 80, 65], [0, 60, 20, 90]]
    # Class 1 is found exactly, class 2 with an IoU of 0.5, class 3 under a wrong name.
    with contextlib.redirect_stdout(io.StringIO()):
      evaluator.update_state(*_batch(found, [1, 2, 1], [0.9, 0.8, 0.1], truth, [1, 2, 3]))
      metrics = evaluator.result()
    by_class = [metrics[f'{coco.PER_CLASS_AP}{name}'] for name in (1, 2, 3)]
    self.assertAllClose(by_class, [1.0, 0.1, 0.0], atol=1e-6)
    self.assertAllClose([metrics[f'{coco.PER_CLASS_AP50}{name}'] for name in (1, 2, 3)], [1, 1, 0])
    self.assertAllClose(np.mean(by_class), metrics['AP'], atol=1e-6)

  def test_tallies_by_hand(self):
    found = [[10, 10, 40, 40], [50, 50, 80, 80], [0, 60, 20, 90], [60, 0, 90, 30]]
    truth = [[10, 10, 40, 40], [50, 50, 80, 65], [60, 0, 90, 30]]
    evaluator = coco.CocoEvaluator(annotation_file='')
    self.assertEqual(evaluator.tallies(), {})
    self.assertEqual(evaluator.boxes(), {})
    with contextlib.redirect_stdout(io.StringIO()):
      evaluator.update_state(
        *_batch(found, [1, 2, 1, 2], [0.25, 0.5, 0.75, 0.125], truth, [1, 2, 2], [0, 0, 1])
      )
      metrics = evaluator.result()
    self.assertFalse(any(name.startswith('Precision') for name in metrics))
    tallies = evaluator.tallies()
    self.assertAllEqual(tallies['image_ids'], [1])
    self.assertAllEqual(tallies['category_ids'], [1, 2])
    self.assertAllClose(tallies['iou_thresholds'], np.linspace(0.5, 0.95, 10))
    self.assertAllEqual(tallies['image'], [0, 0, 0, 0])
    self.assertAllEqual(tallies['category'], [0, 0, 1, 1])
    self.assertAllEqual(tallies['score'], [0.75, 0.25, 0.5, 0.125])
    # Nothing; exactly a box; a box with IoU 0.5; exactly a crowd.
    half = [True] + [False] * 9
    self.assertAllEqual(tallies['matched'], [[False] * 10, [True] * 10, half, [True] * 10])
    self.assertAllEqual(tallies['ignored'], [[False] * 10] * 3 + [[True] * 10])
    self.assertAllEqual(tallies['true_image'], [0, 0])
    self.assertAllEqual(tallies['true_category'], [0, 1])
    # The rows' boxes; that of the crowd is not among the true ones.
    self.assertAllClose(evaluator.boxes()['box'], [found[2], found[0], found[1], found[3]])
    self.assertAllClose(evaluator.boxes()['true_box'], truth[:2])
    for name in ('AP', 'AP50', 'AP75'):
      (value,) = resampling.weighted_metric(tallies, np.ones([1, 1], np.int32), name)
      self.assertAllClose(value, metrics[name], atol=1e-6)

  def test_padding_behind_the_last_detection_is_left_out(self):
    found, truth = [[10, 10, 40, 40], [0, 0, 0, 0], [0, 0, 0, 0]], [[10, 10, 40, 40]]
    evaluator = coco.CocoEvaluator(annotation_file='')
    with contextlib.redirect_stdout(io.StringIO()):
      evaluator.update_state(*_batch(found, [1, 1, 1], [0.5, 0.0, 0.0], truth, [1]))
      metrics = evaluator.result()
    tallies = evaluator.tallies()
    self.assertAllEqual(tallies['score'], [0.5])
    self.assertAllEqual(tallies['matched'], [[True] * 10])
    self.assertAllEqual(evaluator.boxes()['box'], truth)
    (value,) = resampling.weighted_metric(tallies, np.ones([1, 1], np.int32), 'AP')
    self.assertAllClose([value, metrics['AP']], [1.0, 1.0], atol=1e-6)

  def test_without_detections_of_any_class_tallies_are_empty_arrays(self):
    evaluator = coco.CocoEvaluator(annotation_file='')
    with contextlib.redirect_stdout(io.StringIO()):
      evaluator.update_state(*_batch([[0, 0, 9, 9]], [5], [0.5], [[10, 10, 40, 40]], [1]))
      evaluator.result()
    tallies = evaluator.tallies()
    self.assertEqual(tallies['matched'].shape, (0, 10))
    self.assertEqual(evaluator.boxes()['box'].shape, (0, 4))
    self.assertAllEqual(tallies['true_category'], [0])
    (value,) = resampling.weighted_metric(tallies, np.ones([1, 1], np.int32), 'AP')
    self.assertEqual(value, 0.0)

  def test_class_without_truth_is_minus_one(self):
    self.assertEqual(coco.average_precision(np.full([10, 101], -1.0)), -1.0)
    self.assertAlmostEqual(coco.average_precision(np.array([[-1.0, 0.5], [1.0, -1.0]])), 0.75)


if __name__ == '__main__':
  tf.test.main()
