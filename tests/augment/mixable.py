"""Examples as flip and crop leave them, for tests of what comes after."""

import numpy as np
import tensorflow as tf

from official_selftrain.augment import examples
from official_selftrain.core import keys

HEIGHT, WIDTH = 24, 32


def example(
  number: int, count: int = 3, visible: tuple[int, int] = (HEIGHT, WIDTH)
) -> examples.Example:
  """An example with every optional entry, whose objects are discs on noise.

  Args:
    number: decides about everything random. Classes are 100 * number, 100 * number + 1, ..., labels of the semantic
      mask count from 10 * number + 1 (below 20) and tell the discs apart.
    count: how many discs.
    visible: height and width of the part that is said to be no padding.
  """
  rng = np.random.default_rng(number)
  y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
  masks, boxes = np.zeros([count, HEIGHT, WIDTH], np.uint8), np.zeros([count, 4])
  semantic = np.zeros([HEIGHT, WIDTH, 1], np.uint8)
  for i in range(count):
    centre, radius = rng.uniform([4, 4], [HEIGHT - 4, WIDTH - 4]), rng.uniform(2, 7)
    masks[i] = np.hypot(y - centre[0], x - centre[1]) < radius
    boxes[i] = [*(centre - radius), *(centre + radius)]
    semantic[masks[i] > 0] = 10 * (number % 20) + i + 1
  return {
    'image': tf.constant(rng.normal(size=[HEIGHT, WIDTH, 3]), tf.float32),
    'image_info': tf.constant([visible, [HEIGHT, WIDTH], [1, 1], [0, 0]], tf.float32),
    keys.SEMANTIC_MASK: tf.constant(semantic),
    keys.GROUNDTRUTH_BOXES: tf.constant(np.clip(boxes, 0, [HEIGHT, WIDTH] * 2), tf.float32),
    keys.GROUNDTRUTH_CLASSES: tf.constant(100 * number + np.arange(count), tf.int64),
    keys.GROUNDTRUTH_IS_CROWD: tf.zeros([count], tf.bool),
    keys.GROUNDTRUTH_IS_IGNORED: tf.zeros([count], tf.bool),
    keys.GROUNDTRUTH_AREA: tf.constant(rng.uniform(0, 9, count), tf.float32),
    keys.GROUNDTRUTH_SCORES: tf.constant(rng.uniform(0, 1, count), tf.float32),
    keys.GROUNDTRUTH_INSTANCE_MASKS: tf.constant(masks),
    keys.APPLIED_OPS: tf.constant(['Rotate_BBox']),
    keys.SEED: tf.constant([number, 5], tf.int32),
  }


def signature() -> dict[str, tf.TensorSpec]:
  """Types and shapes of such examples."""
  spec = {}
  for name, value in example(0).items():
    shape = [None, *value.shape[1:]] if name.startswith('groundtruth_') else value.shape
    spec[name] = tf.TensorSpec(shape, value.dtype)
  return spec
