"""keras-cv's layers that mix images, behind the interface of our own mixers.

A layer sees the example and its followers as one batch, and the first image of its result is the example's. Where it
would shuffle the batch, each image gets the next one as its partner, so that no image is mixed with itself.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf

from official_selftrain.augment import (
  examples,
  geometry,
  keras_cv_layers,
  keras_cv_random,
  mixing,
)
from official_selftrain.configs import keras_cv_layers as configs
from official_selftrain.core import keys

_NO_CLASS = -1.0
# Of boxes that are kept, in pixels.
_MIN_SIDE = 1.0


class _NextInTurn(keras_cv_random.Draws):
  """Draws for a batch whose images are mixed in turn."""

  def shuffle(self, value: tf.Tensor, **_: object) -> tf.Tensor:
    """The rows, each moved to the place before it."""
    return tf.roll(value, -1, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class KerasCvMixer(mixing.Mixer):
  """A layer of keras-cv that mixes images.

  Attributes:
    layer: the layer, which draws from `draws`.
    draws: where it draws from.
  """

  layer: Any
  draws: keras_cv_random.Draws

  @tf.autograph.experimental.do_not_convert
  def __call__(self, neighbours: Sequence[examples.Example]) -> examples.Example:
    """See `mixing.Mixer`."""
    return super().__call__(neighbours)

  def _mix(self, neighbours: Sequence[examples.Example], seed: tf.Tensor) -> examples.Example:
    first = neighbours[0]
    images = tf.stack([each['image'] for each in neighbours])
    inputs: dict[str, Any] = {keras_cv_layers.IMAGES: images}
    has_boxes, has_masks = keys.GROUNDTRUTH_BOXES in first, keys.SEMANTIC_MASK in first
    if has_boxes:
      inputs[keras_cv_layers.BOXES] = _batch_of_boxes(neighbours)
    if has_masks:
      masks = tf.stack([each[keys.SEMANTIC_MASK] for each in neighbours])
      inputs[keras_cv_layers.MASKS] = tf.cast(masks, tf.float32)
    with self.draws.seeded(seed):
      outputs = self.layer(inputs)
    result = dict(first)
    result['image'] = tf.ensure_shape(outputs[keras_cv_layers.IMAGES][0], first['image'].shape)
    if has_masks:
      mask = tf.cast(tf.round(outputs[keras_cv_layers.MASKS][0]), tf.uint8)
      result[keys.SEMANTIC_MASK] = tf.ensure_shape(mask, first[keys.SEMANTIC_MASK].shape)
    if has_boxes:
      result.update(_boxes_of_first(outputs[keras_cv_layers.BOXES], neighbours))
    return result


class KerasCvMixUp(KerasCvMixer):
  """Blends an image with the next, and keeps the boxes of both."""

  num_examples: ClassVar[int] = 2


class KerasCvCutMix(KerasCvMixer):
  """Shows a rectangle of the next image in an image."""

  num_examples: ClassVar[int] = 2


class KerasCvMosaic(KerasCvMixer):
  """Shows parts of an image and of three that are drawn from it and the next three."""

  num_examples: ClassVar[int] = 4


_MIXERS = {'CutMix': KerasCvCutMix, 'MixUp': KerasCvMixUp, 'Mosaic': KerasCvMosaic}


def build(calls: Sequence[configs.Call], where: str) -> tuple[mixing.Mixer, ...]:
  """The mixers for those of a policy's layers that mix images, always applied.

  Args:
    calls: all layers of a policy.
    where: dotted name of the setting that has them, for messages.

  Raises:
    ConfigError: keras-cv refuses an argument.
  """
  mixers = []
  for place, call in enumerate(calls):
    if call.layer.num_images > 1:
      draws = _NextInTurn()
      # The size is only for layers that resize.
      layer = keras_cv_layers.build(call, (1, 1), draws, f'{where}[{place}]', place)
      mixers.append(_MIXERS[call.name](1.0, layer, draws))
  return tuple(mixers)


def _sides(image: tf.Tensor) -> tf.Tensor:
  """Height, width, height, width of an image as float32 [4]."""
  return tf.tile(tf.cast(tf.shape(image)[:2], tf.float32), [2])


def _batch_of_boxes(neighbours: Sequence[examples.Example]) -> dict[str, tf.Tensor]:
  """Boxes relative to their images and, as their classes, their places among the boxes of all; padded."""
  counts = [tf.shape(each[keys.GROUNDTRUTH_BOXES])[0] for each in neighbours]
  longest = tf.reduce_max(tf.stack(counts))
  boxes, classes, start = [], [], tf.zeros([], tf.int32)
  for example, count in zip(neighbours, counts, strict=True):
    own = example[keys.GROUNDTRUTH_BOXES] / _sides(example['image'])
    places = tf.cast(tf.range(start, start + count), tf.float32)
    boxes.append(tf.pad(own, [[0, longest - count], [0, 0]]))
    classes.append(tf.pad(places, [[0, longest - count]], constant_values=_NO_CLASS))
    start += count
  return {'boxes': tf.stack(boxes), 'classes': tf.stack(classes)}


def _boxes_of_first(
  mixed: dict[str, tf.Tensor], neighbours: Sequence[examples.Example]
) -> dict[str, tf.Tensor]:
  """What belongs to the boxes of the first image of a batch, boxes in its pixels."""
  places = tf.cast(tf.round(tf.reshape(mixed['classes'][0], [-1])), tf.int32)
  boxes = tf.reshape(mixed['boxes'][0], [-1, 4]) * _sides(neighbours[0]['image'])
  # A cut along the edge of a box leaves nothing of the object, as in our Mosaic.
  is_seen = tf.reduce_min(boxes[:, 2:] - boxes[:, :2], 1) >= _MIN_SIDE
  keep = tf.logical_and(places >= 0, is_seen)
  places = tf.boolean_mask(places, keep)
  rows = {
    name: tf.gather(tf.concat([each[name] for each in neighbours], 0), places)
    for name in neighbours[0]
    if name.startswith('groundtruth_')
  }
  boxes = tf.boolean_mask(boxes, keep)
  if keys.GROUNDTRUTH_AREA in rows:
    rows[keys.GROUNDTRUTH_AREA] = geometry.areas(boxes)
  return {**rows, keys.GROUNDTRUTH_BOXES: boxes}
