"""Scenes whose objects are known, and transforms traced once for images of any size."""

import atexit
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.augment import examples, flip_crop, policy, tables
from official_selftrain.core import keys

IGNORE = 255
# What the decoder and the pseudo-label reader give for each box, in addition to its place.
_PER_BOX = {
  keys.GROUNDTRUTH_CLASSES: tf.int64,
  keys.GROUNDTRUTH_SCORES: tf.float32,
  keys.GROUNDTRUTH_IS_CROWD: tf.bool,
  keys.GROUNDTRUTH_IS_IGNORED: tf.bool,
}
# For graphs that take a scene of any size.
SIGNATURE = {
  'image': tf.TensorSpec([None, None, 3], tf.uint8),
  keys.SEMANTIC_MASK: tf.TensorSpec([None, None, 1], tf.uint8),
  keys.GROUNDTRUTH_BOXES: tf.TensorSpec([None, 4], tf.float32),
  keys.SEED: tf.TensorSpec([2], tf.int32),
  **{name: tf.TensorSpec([None], dtype) for name, dtype in _PER_BOX.items()},
}


def seeded(example: examples.Example, number: int) -> examples.Example:
  """The example with one of many seeds."""
  return {**example, keys.SEED: tf.constant([number, 11], tf.int32)}


def scene(
  size: tuple[int, int] = (60, 80), boxes: Sequence[Sequence[int]] = ((10, 12, 30, 40),)
) -> examples.Example:
  """Flat rectangles on a ground that gets brighter to the right and down.

  The rectangle of number i (from 1) has class and label i and colour 255 - 20 * i in the first channel, in which the
  ground stays below 100; label of the ground is 0.

  Args:
    size: height and width.
    boxes: yxyx in pixels.
  """
  height, width = size
  y, x = np.mgrid[:height, :width] + 0.5
  image = np.stack([99 * x / width, 255 * y / height, 128 + 0 * x], -1).astype(np.uint8)
  mask = np.zeros([height, width, 1], np.uint8)
  for number, (top, left, bottom, right) in enumerate(boxes, 1):
    image[top:bottom, left:right] = [255 - 20 * number, 10 * number, 0]
    mask[top:bottom, left:right] = number
  return example_of(image, np.reshape(boxes, [-1, 4]), mask)


def example_of(
  image: np.ndarray, boxes: np.ndarray, mask: np.ndarray | None = None
) -> examples.Example:
  """An example with every optional entry.

  Args:
    image: uint8 [h, w, 3].
    boxes: [n, 4], yxyx in pixels; classes are 1..n.
    mask: uint8 [h, w, 1]; zeros if not given.
  """
  height, width, _ = image.shape
  mask = np.zeros([height, width, 1], np.uint8) if mask is None else mask
  count = len(boxes)
  return {
    'image': tf.constant(image, tf.uint8),
    keys.SEMANTIC_MASK: tf.constant(mask, tf.uint8),
    keys.GROUNDTRUTH_BOXES: tf.constant(
      np.reshape(boxes, [-1, 4]) / [height, width, height, width], tf.float32
    ),
    keys.GROUNDTRUTH_CLASSES: tf.range(1, 1 + count, dtype=tf.int64),
    keys.GROUNDTRUTH_SCORES: tf.range(count, dtype=tf.float32) / 100.0,
    keys.GROUNDTRUTH_IS_CROWD: tf.range(count) % 2 == 1,
    keys.GROUNDTRUTH_IS_IGNORED: tf.range(count) % 3 == 1,
    keys.SEED: tf.constant([1, 11], tf.int32),
  }


def random_image(seed: int, size: tuple[int, int]) -> np.ndarray:
  """Independent random bytes, uint8 [h, w, 3]."""
  return np.random.default_rng(seed).integers(0, 256, [*size, 3]).astype(np.uint8)


def arrays(example: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
  """All entries as arrays."""
  return {name: value.numpy() for name, value in example.items()}


def traced(transform: Callable[[Any], Any]) -> Callable[[examples.Example], dict[str, np.ndarray]]:
  """The transform as one graph for scenes of any size; results as arrays."""
  graph = tf.function(transform, input_signature=[SIGNATURE])
  return lambda example: arrays(graph(example))


# v2's sub-policies of three ops as two of two: graphs of three take seconds more to build.
_PAIRS = tuple(
  pair for ops in tables.AUTO_AUGMENT['v2'] for pair in (ops[:2], ops[1:]) if len(pair) == 2
)
# All versions of AutoAugment (v1 holds v0) and the longest op list of RandAugment, with the number of draws.
ALL = {
  'AutoAugment': (tables.AUTO_AUGMENT['v1'] + _PAIRS + tables.AUTO_AUGMENT['v3'], 1),
  'v0': (tables.AUTO_AUGMENT['v0'], 1),
  'RandAugment': (
    tuple((tables.Entry(name, 1.0, 10.0),) for name in tables.RAND_AUGMENT['tfm16'].ops),
    2,
  ),
}

# (name, faithful) of those that are worth the seconds of a graph; what is left out has no code of its own.
KINDS = (('AutoAugment', False), ('v0', True), ('RandAugment', False), ('RandAugment', True))


def untraced(name: str, faithful: bool) -> policy.Policy:
  """One of `ALL`, with a large jitter, to 64 x 72 pixels."""
  drawn, num_draws = ALL[name]
  last = flip_crop.FlipCrop((64, 72), 0.5, 2.0, 0.5, faithful=faithful)
  return policy.Policy(drawn, num_draws, last, tables.Constants().scaled(0.2), faithful)


@functools.cache
def everything(name: str, faithful: bool) -> Callable[[examples.Example], examples.Example]:
  """`untraced` as one graph for scenes of any size."""
  return tf.function(untraced(name, faithful), input_signature=[SIGNATURE])


# Later, TensorFlow would lack what it needs to free them.
atexit.register(everything.cache_clear)


def sub_policies(*texts: str) -> tuple[tables.SubPolicy, ...]:
  """Sub-policies from their texts."""
  return tuple(tables.parse_sub_policy(text) for text in texts)


def place_of(label: int, mask: np.ndarray) -> np.ndarray | None:
  """The box, yxyx in pixels, of a label in a mask; None if it does not occur."""
  rows, columns = np.nonzero(mask[..., 0] == label)
  if not rows.size:
    return None
  return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1], np.float32)


def draws(transform: policy.Policy, example: examples.Example, count: int) -> list[dict[str, Any]]:
  """Results for the seeds 0..count - 1."""
  graph = traced(transform)
  return [graph(seeded(example, number)) for number in range(count)]
