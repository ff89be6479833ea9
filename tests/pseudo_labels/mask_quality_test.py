"""Pseudo masks against the truth: a second implementation, pixel by pixel, and what can be wrong with the truth."""

import os
import tempfile

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, files, keys
from official_selftrain.datasets import coco, tf_examples
from official_selftrain.pseudo_labels import formats, mask_quality, quality, shards

IGNORE = keys.IGNORE_LABEL
CLASSES = 3


def _label(source_id, classes, steps, status=formats.LABELLED):
  features = {
    keys.LABEL_STATUS: formats.bytes_feature(status.encode()),
    keys.SOURCE_ID: formats.bytes_feature(source_id.encode()),
  }
  if status != formats.DEAD:
    masks = (np.asarray(classes, np.uint8), np.asarray(steps, np.uint8))
    for name, mask in zip((keys.SEGMENTATION_MASK, keys.CONFIDENCE_MASK), masks, strict=True):
      features[name] = formats.bytes_feature(tf_examples.encode_png(mask))
  return tf_examples.serialize(features)


def _truth(path, masks, crowd=None):
  """A COCO file with one annotation per image and class; `crowd` names a class that is one."""
  annotations = tf_examples.CocoAnnotations(('background', 'a', 'b'))
  for source_id, mask in masks.items():
    ids = [k for k in np.unique(mask) if k]
    instances = tf_examples.Instances(
      np.array(ids, int), np.zeros([len(ids), 4], int), np.array([mask == k for k in ids])
    )
    annotations.add(source_id, instances)
  content = annotations.as_dict()
  for annotation in content['annotations']:
    annotation['iscrowd'] = int(annotation['category_id'] == crowd)
  files.write_json(path, content)
  return path


class EvaluateLabelsTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = tempfile.mkdtemp()
    rng = np.random.default_rng(0)
    self.true = {k: rng.integers(0, CLASSES, [6, 7]) for k in (11, 12)}
    self.found = {k: rng.integers(0, CLASSES, [6, 7]) for k in (11, 12, 13)}
    self.steps = {k: rng.integers(80, 256, [6, 7]) for k in (11, 12, 13)}
    self.shard = os.path.join(self.folder, 'x.labels.tfrecord')
    rows = [_label(str(k), self.found[k], self.steps[k]) for k in (11, 12, 13)]
    shards.write(self.shard, [*rows, _label('14', 0, 0, formats.DEAD)])

  def _evaluate(self, **options):
    path = _truth(os.path.join(self.folder, 'truth.json'), self.true, **options)
    return mask_quality.evaluate_labels([self.shard], coco.read(path, with_masks=True), CLASSES)

  def _pixels(self):
    """(true, predicted, confidence) of every pixel of the images whose truth is known."""
    return [
      (int(t), int(p), int(q) / 255)
      for k in self.true
      for t, p, q in zip(
        self.true[k].ravel(), self.found[k].ravel(), self.steps[k].ravel(), strict=True
      )
    ]

  def test_rows_equal_a_second_implementation(self):
    report = self._evaluate()
    self.assertEqual((report['images'], report['images_without_truth']), (2, 1))
    pixels = self._pixels()
    objects = sum(t != 0 for t, _, _ in pixels)
    self.assertEqual(report['overall']['truths'], objects)
    self.assertLen(report['overall']['cuts'], len(quality.DEFAULT_CUTS))
    for row in report['overall']['cuts']:
      kept = [(t, p) for t, p, q in pixels if round(q * 255) >= round(row['cut'] * 255, 6)]
      of_objects = [(t, p) for t, p in kept if p != 0]
      right = sum(t == p for t, p in of_objects)
      self.assertEqual(row['pixels'], len(of_objects))
      self.assertAllClose(row['recall'], right / objects)
      self.assertAllClose(row['kept_share'], len(kept) / len(pixels))
      self.assertAllClose(row['count_ratio'], len(of_objects) / objects)
      if of_objects:
        self.assertAllClose(row['precision'], right / len(of_objects))
        self.assertAllClose(row['accuracy'], sum(t == p for t, p in kept) / len(kept))

  def test_by_confidence(self):
    report = self._evaluate()
    self.assertAllClose(sum(row['share'] for row in report['by_confidence']), 1.0)
    row = report['by_confidence'][13]
    self.assertEqual(row['from'], 0.65)
    within = [(t, p) for t, p, q in self._pixels() if 0.65 <= q < 0.7]
    self.assertAllClose(row['accuracy'], np.mean([t == p for t, p in within]))
    self.assertIsNone(report['by_confidence'][0]['accuracy'])

  def test_per_class(self):
    rows = self._evaluate()['per_class']['2']
    pixels = self._pixels()
    self.assertEqual(rows['truths'], sum(t == 2 for t, _, _ in pixels))
    lowest = rows['cuts'][0]
    self.assertEqual(lowest['pixels'], sum(p == 2 for _, p, _ in pixels))
    right = sum(t == p == 2 for t, p, _ in pixels)
    self.assertAllClose(lowest['precision'], right / lowest['pixels'])

  def test_crowds_do_not_count(self):
    report = self._evaluate(crowd=2)
    self.assertEqual(report['overall']['truths'], sum(t == 1 for t, _, _ in self._pixels()))
    known = [t for t, _, _ in self._pixels() if t != 2]
    everything = report['overall']['cuts'][0]
    self.assertAllClose(everything['kept_share'], 1.0)
    self.assertNotIn('2', [k for k, v in report['per_class'].items() if v['truths']])
    self.assertLess(len(known), len(self._pixels()))

  def test_masks_of_another_size(self):
    self.true[11] = np.ones([5, 7], int)
    with self.assertRaisesRegex(errors.DataError, r'image 11 has the size \[6, 7\] .*\[5, 7\]'):
      self._evaluate()

  def test_no_image_has_truth(self):
    self.true = {99: np.ones([6, 7], int)}
    with self.assertRaisesRegex(errors.DataError, 'None of the 3 labelled images has an entry'):
      self._evaluate()

  def test_truth_without_masks(self):
    path = _truth(os.path.join(self.folder, 'boxes.json'), self.true)
    content = files.read_json(path)
    for annotation in content['annotations']:
      del annotation['segmentation']
    files.write_json(path, content)
    with self.assertRaisesRegex(errors.DataError, 'has no segmentation'):
      mask_quality.evaluate_labels([self.shard], coco.read(path, with_masks=True), CLASSES)


if __name__ == '__main__':
  tf.test.main()
