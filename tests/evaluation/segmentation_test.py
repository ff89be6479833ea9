"""mIoU at both sizes against a second implementation, one image and one pixel at a time."""

from unittest import mock

import numpy as np
import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.evaluation import resampling, segmentation
from official_selftrain.ops import masks
from tests.testing import replicas


def setUpModule():
  replicas.make_devices()


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
    keys.IMAGE_ID: tf.constant(rng.permutation(1000)[: len(sizes)], tf.int64),
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

  def test_watched_images_are_kept_at_their_own_size(self):
    for native in (True, False):
      with self.subTest(native=native):
        batches = [_batch([(32, 16), (8, 8), (12, 32)], 0), _batch([(30, 11)], 1)]
        ids = [int(labels[keys.IMAGE_ID][0]) for labels, _ in batches]
        evaluator = segmentation.SegmentationEvaluator(4, native)
        self.assertEqual(evaluator.found(), {})
        evaluator.watch(ids)
        for labels, logits in batches:
          evaluator.update_state(labels, logits)
        self.assertCountEqual(evaluator.found(), ids)
        for image_id, (labels, logits), (height, width) in zip(
          ids, batches, ((32, 16), (30, 11)), strict=True
        ):
          found = evaluator.found()[image_id]
          self.assertEqual(found.dtype, np.uint8)
          full = tf.image.resize(logits[0], FRAME).numpy()
          down, across = labels['image_info'].numpy()[0, 2]
          shown = full[: round(height * down), : round(width * across)]
          if native:
            expected = tf.image.resize(shown, [height, width]).numpy().argmax(-1)
            self.assertAllEqual(found[:height, :width], expected)
            continue
          self.assertEqual(found.shape, (height, width))
          for y in range(height):
            for x in range(width):
              here = full[int((y + 0.5) * down), int((x + 0.5) * across)]
              self.assertEqual(found[y, x], here.argmax(), (y, x))

  def test_tallies_of_single_images_add_up(self):
    batches = [_batch([(16, 16), (7, 12), (13, 5)], 0), _batch([(30, 11)], 1)]
    for native in (True, False):
      with self.subTest(native=native):
        tallies = self._run(batches, native).tallies()
        rows = {}
        for labels, logits in batches:
          for i, image_id in enumerate(labels[keys.IMAGE_ID].numpy()):
            one = {name: value[i : i + 1] for name, value in labels.items()}
            rows[image_id] = _reference([(one, logits[i : i + 1])], 4, native)
        self.assertAllEqual(tallies['image_ids'], sorted(rows))
        self.assertAllEqual(tallies['category_ids'], [0, 1, 2, 3])
        for image_id, right, union in zip(
          tallies['image_ids'], tallies['intersection'], tallies['union'], strict=True
        ):
          confusion = rows[image_id]
          self.assertAllEqual(right, np.diag(confusion))
          self.assertAllEqual(union, confusion.sum(0) + confusion.sum(1) - np.diag(confusion))
        (value,) = resampling.weighted_metric(tallies, np.ones([1, 4], np.int32), 'mean_iou')
        self.assertAllClose(value, self._run(batches, native).result()['mean_iou'])

  def test_tallies_inside_a_graph_and_after_a_reset(self):
    evaluator = segmentation.SegmentationEvaluator(4, native=True)
    first, second = _batch([(16, 16), (7, 12)], 0), _batch([(5, 9)], 1)
    self.assertEqual(evaluator.tallies(), {})
    update = tf.function(evaluator.update_state)
    update(*first)
    update(*second)
    self.assertLen(evaluator.tallies()['image_ids'], 3)
    for metric in evaluator.metrics:
      metric.reset_states()
    self.assertEqual(evaluator.tallies(), {})
    update(*second)
    tallies = evaluator.tallies()
    self.assertAllEqual(tallies['image_ids'], second[0][keys.IMAGE_ID])
    self.assertAllEqual(tallies['intersection'][0], np.diag(evaluator.confusion))

  def test_replicas_report_into_the_same_tallies(self):
    strategy = replicas.two_replicas()
    self.assertEqual(strategy.num_replicas_in_sync, 2)
    with strategy.scope():
      evaluator = segmentation.SegmentationEvaluator(4, native=False)
    sizes = [(16, 16), (7, 12), (13, 5), (9, 9)]
    labels, logits = _batch(sizes, 0)
    dataset = tf.data.Dataset.from_tensor_slices((labels, logits)).batch(len(sizes))

    @tf.function
    def update(batch):
      strategy.run(evaluator.update_state, batch)

    for batch in strategy.experimental_distribute_dataset(dataset):
      update(batch)
    alone = self._run([(labels, logits)], native=False)
    for name, array in alone.tallies().items():
      self.assertAllEqual(evaluator.tallies()[name], array)
    self.assertAllEqual(evaluator.confusion, alone.confusion)

  def test_without_ids_there_are_no_tallies(self):
    labels, logits = _batch([(7, 12)], 3)
    del labels[keys.IMAGE_ID]
    evaluator = self._run([(labels, logits)])
    self.assertEqual(evaluator.tallies(), {})
    self.assertGreater(evaluator.confusion.sum(), 0)

  def test_on_tpus_there_are_metrics_but_no_tallies(self):
    batches = [_batch([(7, 12), (9, 9)], 3)]
    elsewhere = self._run(batches)
    self.assertLen(elsewhere.tallies()['image_ids'], 2)
    for kind in (tf.distribute.TPUStrategy, tf.distribute.experimental.TPUStrategy):
      strategy = mock.Mock(spec=kind)
      with mock.patch.object(segmentation.tf.distribute, 'get_strategy', return_value=strategy):
        evaluator = segmentation.SegmentationEvaluator(4, native=True)
        step = tf.function(evaluator.update_state)
        graph = step.get_concrete_function(*batches[0]).graph
        for labels, logits in batches:
          step(labels, logits)
      names = {op.type for op in graph.get_operations()}
      self.assertEmpty(names & {'PyFunc', 'EagerPyFunc', 'PyFuncStateless'})
      self.assertEqual(evaluator.tallies(), {})
      self.assertEqual(evaluator.result(), elsewhere.result())

  def test_pixels_count_once_although_each_of_several_workers_evaluates_all_images(self):
    batches = [_batch([(7, 12), (9, 9)], 3)]
    alone = self._run(batches).details()['confusion']
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy, num_replicas_in_sync=6)
    strategy.extended.worker_devices = ('/gpu:0', '/gpu:1')
    with mock.patch.object(segmentation.tf.distribute, 'get_strategy', return_value=strategy):
      evaluator = segmentation.SegmentationEvaluator(4, native=True)
    for _ in range(3):
      evaluator.update_state(*batches[0])
    self.assertEqual(evaluator.details()['confusion'], alone)
    self.assertEqual(evaluator.result(), self._run(batches).result())

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
