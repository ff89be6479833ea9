"""Policies made of keras-cv's layers, behind the interface of our own.

A layer sees the decoded image as float32 in 0..255, boxes whose class is their place in the example, and masks as 1
more than their labels, so that 0 means ignored. So what keras-cv fills uncovered areas of masks with is ignored, and
whatever belongs to a box can be found again after boxes were dropped.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from official_selftrain.augment import (
  examples,
  flip_crop,
  keras_cv_layers,
  keras_cv_random,
  policy,
)
from official_selftrain.configs import keras_cv_layers as configs
from official_selftrain.core import keys

# A mask with 8 bits: label 255 is shown as 0, label 0 as 1.
_VALUES = 256


# Compared by identity: what was traced for one is not for another.
@dataclasses.dataclass(frozen=True, eq=False)
class KerasCvPolicy:
  """Layers of keras-cv for one image; then the image is fitted into the output, without jitter.

  Attributes:
    calls: the layers, none of which mixes images.
    flip_crop: the last step.
    where: dotted name of the setting that has them, for messages.
  """

  calls: tuple[configs.Call, ...]
  flip_crop: flip_crop.FlipCrop
  where: str
  _draws: keras_cv_random.Draws = dataclasses.field(
    init=False, repr=False, default_factory=keras_cv_random.Draws
  )
  _layers: list[Any] = dataclasses.field(init=False, repr=False, default_factory=list)

  def __post_init__(self) -> None:
    """Builds the layers; raises ConfigError where keras-cv refuses one."""
    size = self.flip_crop.output_size
    for place, call in enumerate(self.calls):
      where = f'{self.where}[{place}]'
      self._layers.append(keras_cv_layers.build(call, size, self._draws, where, place))

  @tf.autograph.experimental.do_not_convert
  def __call__(self, example: examples.Example) -> examples.Example:
    """Applies it.

    Args:
      example: see `examples`; boxes normalised to [0, 1].

    Returns:
      The example as `FlipCrop` leaves it, boxes in pixels of the output; `keys.APPLIED_OPS`, string [layers]: their
      names, whether or not they changed anything.

    Raises:
      ConfigError: a layer cannot move labels that the example has.
    """
    masks = policy.mask_channels(example)
    has_masks = keys.SEMANTIC_MASK in example or keys.GROUNDTRUTH_INSTANCE_MASKS in example
    has_boxes = keys.GROUNDTRUTH_BOXES in example
    labels: list[configs.Label] = [*['boxes'] * has_boxes, *['masks'] * has_masks]  # type: ignore[list-item]
    configs.check_labels(self.calls, labels, self.where)
    example, seed = examples.take_seed(example)
    inputs: dict[str, Any] = {keras_cv_layers.IMAGES: tf.cast(example['image'], tf.float32)}
    if has_boxes:
      inputs[keras_cv_layers.BOXES] = _boxes(example)
    if has_masks:
      inputs[keras_cv_layers.MASKS] = tf.cast((tf.cast(masks, tf.int32) + 1) % _VALUES, tf.float32)
    with self._draws.seeded(seed):
      for layer in self._layers:
        inputs = layer(inputs)
    moved = dict(example)
    moved['image'] = tf.clip_by_value(inputs[keras_cv_layers.IMAGES], 0.0, 255.0)
    if has_boxes:
      moved = _with_boxes(moved, inputs[keras_cv_layers.BOXES])
    if has_masks:
      labels_plus_one = tf.cast(tf.round(inputs[keras_cv_layers.MASKS]), tf.int32)
      channels = tf.cast((labels_plus_one - 1) % _VALUES, tf.uint8)
      moved.update(policy.masks_of(channels, moved))
    names = tf.constant([call.name for call in self.calls], tf.string)
    return {**self.flip_crop(moved), keys.APPLIED_OPS: names}


def _boxes(example: examples.Example) -> dict[str, tf.Tensor]:
  """Boxes, each with its place as its class."""
  boxes = example[keys.GROUNDTRUTH_BOXES]
  return {'boxes': boxes, 'classes': tf.range(tf.shape(boxes)[0], dtype=tf.float32)}


def _with_boxes(example: examples.Example, moved: dict[str, tf.Tensor]) -> examples.Example:
  """The example, whose image is moved already, with boxes in its pixels, and with what belongs to those left."""
  places = tf.cast(tf.round(moved['classes']), tf.int32)
  is_left = places >= 0
  places = tf.boolean_mask(places, is_left)
  rows = {k: tf.gather(v, places) for k, v in example.items() if k.startswith('groundtruth_')}
  size = tf.cast(tf.shape(example['image'])[:2], tf.float32)
  boxes = tf.boolean_mask(moved['boxes'], is_left) * tf.tile(size, [2])
  return {**example, **rows, keys.GROUNDTRUTH_BOXES: boxes}
