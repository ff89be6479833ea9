"""mIoU at both sizes against a second implementation, one image and one pixel at a time."""

import numpy as np
import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.evaluation import segmentation
from official_selftrain.ops import masks

IGNORE = keys.IGNORE_LABEL
FRAME = (16, 16)


def _batch(sizes, seed, num_classes=4, at_own_size=False):
  """Labels and logits of images of several sizes, as the evaluation parser gives them."""
  rng = np.random.default_rng(seed)
  rows = []
  height, width = np.max(sizes, axis=0)
  for size in sizes:
    mask = rng.integers(0, num_classes - 1, size).astype(np.uint8)  # The last class is absent.
    mask[rng.uniform(size=size) < 0.2] = IGNORE
    _, info = masks.fit_image(tf.zeros([*size, 3]), FRAME, at_own_size)
    native = np.full([height, width], IGNORE, np.uint8)
    native[: size[0], : size[1]] = mask
    rows.append((masks.fit_mask(tf.constant(mask)[..., None], info, FRAME), native, info))
  frame, native, infos = zip(*rows, strict=True)
  labels = {
    'masks': tf.stack(frame),
    'native_masks': tf.constant(np.stack(native))[..., None],
    'image_info': tf.stack(infos),
  }
  logits = rng.normal(size=[len(sizes), 4, 4, num_classes]).astype(np.float32)
  logits[..., num_classes - 1] = -50.0  # And never predicted.
  return labels, tf.constant(logits)


def _reference(batches, num_classes, native):
  """Confusion matrix, pixel by pixel."""
  confusion = np.zeros([num_classes, num_classes], int)
  for labels, logits in batches:
    for i in range(len(logits)):
      full = tf.image.resize(logits[i], FRAME).numpy()
      truth = labels['masks'].numpy()[i, ..., 0]
      if native:
        (height, width), _, (down, across), _ = labels['image_info'].numpy()[i]
        shown = full[: round(height * down), : round(width * across)]
        full = tf.image.resize(shown, [int(height), int(width)]).numpy()
        truth = labels['native_masks'].numpy()[i, : int(height), : int(width), 0]
      for t, p in zip(truth.ravel(), full.argmax(-1).ravel(), strict=True):
        if t != IGNORE:
          confusion[t, p] += 1
  return confusion


def _mean_iou(confusion):
  ious = []
  for k in range(len(confusion)):
    union = confusion[k].sum() + confusion[:, k].sum() - confusion[k, k]
    if union:
      ious.append(confusion[k, k] / union)
  return np.mean(ious)


class EvaluatorTest(tf.test.TestCase):
  def _run(self, batches, native=True, num_classes=4):
    evaluator = segmentation.SegmentationEvaluator(num_classes, native)
    for labels, logits in batches:
      evaluator.update_state(labels, logits)
    return evaluator

  def test_equals_a_second_implementation(self):
    for at_own_size in (False, True):
      with self.subTest(at_own_size=at_own_size):
        batches = [
          _batch([(16, 16), (7, 12), (13, 5)], 0, at_own_size=at_own_size),
          _batch([(30, 11)], 1, at_own_size=at_own_size),
        ]
        evaluator = self._run(batches)
        native = _reference(batches, 4, native=True)
        resized = _reference(batches, 4, native=False)
        self.assertAllEqual(evaluator.confusion, native)
        self.assertEqual(evaluator.details(), {'confusion': native.tolist()})
        result = evaluator.result()
        self.assertAllClose(result['mean_iou'], _mean_iou(native))
        self.assertAllClose(result['mean_iou_resized'], _mean_iou(resized))
        self.assertNotEqual(result['mean_iou'], result['mean_iou_resized'])
        self.assertAllClose(result['pixel_accuracy'], np.trace(native) / native.sum())

  def test_metrics_of_keras_agree_with_the_result(self):
    evaluator = self._run([_batch([(16, 16), (7, 12)], 2)])
    values = {metric.name: float(metric.result()) for metric in evaluator.metrics}
    result = evaluator.result()
    self.assertAllClose(values, {name: result[name] for name in ('mean_iou', 'mean_iou_resized')})

  def test_by_hand(self):
    labels = {
      'masks': tf.constant([[0, 0, 1, IGNORE]], tf.uint8)[None, ..., None],
      'native_masks': tf.constant([[0, 0, 1, IGNORE]], tf.uint8)[None, ..., None],
      'image_info': tf.constant([[[1, 4], [1, 4], [1, 1], [0, 0]]], tf.float32),
    }
    logits = tf.one_hot([[[0, 1, 1, 0]]], 3)
    result = self._run([(labels, logits)], num_classes=3).result()
    self.assertAllClose(
      result,
      {
        'mean_iou': 0.5,
        'mean_iou_resized': 0.5,
        'pixel_accuracy': 2 / 3,
        'iou/0': 0.5,
        'iou/1': 0.5,
      },
    )

  def test_without_native_masks_only_the_resized_count(self):
    labels, logits = _batch([(7, 12)], 3)
    del labels['native_masks']
    evaluator = self._run([(labels, logits)], native=False)
    result = evaluator.result()
    self.assertEqual(result['mean_iou'], result['mean_iou_resized'])
    self.assertAllEqual(evaluator.confusion, _reference([(labels, logits)], 4, native=False))

  def test_a_data_set_without_any_label_has_no_mean_iou(self):
    labels, logits = _batch([(7, 12)], 4)
    labels['masks'] = tf.fill(labels['masks'].shape, tf.constant(IGNORE, tf.uint8))
    labels['native_masks'] = tf.fill(labels['native_masks'].shape, tf.constant(IGNORE, tf.uint8))
    result = self._run([(labels, logits)]).result()
    self.assertTrue(np.isnan(result['mean_iou']))
    self.assertEqual(result['pixel_accuracy'], 0.0)

  def test_large_counts_are_exact(self):
    # In float32 adding 1 to 2^24 changes nothing.
    evaluator = segmentation.SegmentationEvaluator(2, native=False)
    evaluator.metrics[0].total_cm.assign([[2.0**24, 0], [0, 0]])
    labels = {'masks': tf.zeros([1, 1, 1, 1], tf.uint8)}
    evaluator.update_state(labels, tf.constant([[[[1.0, 0.0]]]]))
    self.assertEqual(evaluator.confusion[0, 0], 2**24 + 1)


if __name__ == '__main__':
  tf.test.main()
