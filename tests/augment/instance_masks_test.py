"""Instance masks go through every policy with the image, the boxes and the semantic mask."""

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.augment import build
from official_selftrain.configs import augmentation
from official_selftrain.core import keys

_SIZE = (64, 64)
_MASKS = keys.GROUNDTRUTH_INSTANCE_MASKS
_BOXES = ((6, 8, 30, 24), (4, 40, 20, 70), (34, 10, 44, 50), (30, 56, 48, 74))


def _scene(boxes=_BOXES, size=(50, 80)):
  """Rectangles whose labels in the semantic mask are 1, 2, ...; every rectangle is its box."""
  boxes = np.reshape(boxes, [-1, 4])
  masks = np.zeros([len(boxes), *size], np.uint8)
  for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
    mask[top:bottom, left:right] = 1
  labels = np.arange(1, len(boxes) + 1)
  semantic = np.sum(masks * labels[:, None, None], 0).astype(np.uint8)
  image = np.random.default_rng(0).integers(0, 256, [*size, 3])
  return {
    'image': tf.constant(image, tf.uint8),
    keys.SEMANTIC_MASK: tf.constant(semantic[..., None]),
    keys.GROUNDTRUTH_BOXES: tf.constant(boxes / np.tile(size, 2), tf.float32),
    keys.GROUNDTRUTH_CLASSES: tf.constant(labels, tf.int64),
    _MASKS: tf.constant(masks),
  }


def _policy(config, without=()):
  """A graph for scenes without some entries, with any number of boxes; results as arrays."""
  signature = {keys.SEED: tf.TensorSpec([2], tf.int32)}
  for name, value in _scene().items():
    if name not in without:
      shape = [None, *value.shape[1:]] if name.startswith('groundtruth_') else value.shape
      signature[name] = tf.TensorSpec(shape, value.dtype)
  policy = build.build(config, _SIZE, jitter=(0.6, 1.5), flip=True)
  graph = tf.function(policy, input_signature=[signature])

  def run(scene, seed):
    given = {**scene, keys.SEED: tf.constant([seed, 2], tf.int32)}
    result = graph({name: given[name] for name in signature})
    return {name: value.numpy() for name, value in result.items()}

  return run


def _moving(faithful):
  """All ops that move masks: of the whole image, and inside boxes."""
  texts = ['ShearY_BBox(1, 8) TranslateY_Only_BBoxes(1, 8)', 'Rotate_BBox(1, 9) Equalize(1, 5)']
  own = augmentation.AutoAugment(sub_policies=texts)
  return augmentation.Augmentation(policy='S3', auto_augment=own, faithful=faithful)


class InstanceMasksTest(tf.test.TestCase):
  def _check(self, result):
    """Masks are where the labels are; returns how many are seen."""
    self.assertEqual(result[_MASKS].dtype, np.uint8)
    self.assertEqual(result[_MASKS].shape, (len(result[keys.GROUNDTRUTH_CLASSES]), *_SIZE))
    for label, mask in zip(result[keys.GROUNDTRUTH_CLASSES], result[_MASKS], strict=True):
      self.assertAllInSet(mask, [0, 1])
      self.assertAllEqual(mask == 1, result[keys.SEMANTIC_MASK][..., 0] == label)
    return result[_MASKS].any((1, 2)).sum()

  def test_flip_and_crop_move_masks_and_boxes_alike(self):
    policy = _policy(augmentation.Augmentation())
    for seed in range(12):
      result = policy(_scene(), seed)
      self.assertGreater(self._check(result), 0)
      for box, mask in zip(result[keys.GROUNDTRUTH_BOXES], result[_MASKS], strict=True):
        rows, columns = np.nonzero(mask)
        if rows.size:
          hull = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
          self.assertLess(np.abs(hull - box).max(), 1.0)

  @pytest.mark.slow
  def test_motions_move_masks_and_nothing_changes_for_the_rest(self):
    for faithful in (False, True):
      config = _moving(faithful)
      whole, without = _policy(config), _policy(config, without=[_MASKS])
      seen = 0
      for seed in range(6):
        result = whole(_scene(), seed)
        seen += self._check(result)
        expected = without(_scene(), seed)
        self.assertEqual(set(result) - set(expected), {_MASKS})
        for name, value in expected.items():
          self.assertAllEqual(value, result[name], name)
      self.assertGreater(seen, 8)

  def test_without_semantic_mask_or_objects(self):
    whole, alone = (_policy(_moving(False), without) for without in ((), [keys.SEMANTIC_MASK]))
    self.assertAllEqual(alone(_scene(), 4)[_MASKS], whole(_scene(), 4)[_MASKS])
    for policy in (whole, alone):
      self.assertEqual(policy(_scene(boxes=()), 1)[_MASKS].shape, (0, *_SIZE))


if __name__ == '__main__':
  tf.test.main()
