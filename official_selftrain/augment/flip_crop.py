"""Flip and jittered resize-and-crop: the last step of every policy, and the only one that resamples."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from official_selftrain.augment import examples, geometry, ops
from official_selftrain.core import keys
from official_selftrain.ops import images


class _Placement(NamedTuple):
  """Geometry of one resized and cropped image; (y, x) each.

  Attributes:
    original: height and width of the image, float32 [2].
    scale: pixels of the result per pixel of the image, float32 [2].
    offset: corner of the crop in the resized image, float32 [2].
    visible: height and width of the part of the result that shows the image, int32 [2].
    window: first row and column, height and width of the part of the (mirrored) image that is shown, int32 [2, 2];
      None when the crop is not aligned to whole pixels of the image.
  """

  original: tf.Tensor
  scale: tf.Tensor
  offset: tf.Tensor
  visible: tf.Tensor
  window: tf.Tensor | None


@dataclasses.dataclass(frozen=True)
class FlipCrop:
  """Mirrors, resizes by a random factor, crops at a random offset, pads at the bottom and right (paper section 3.1).

  The factor s is uniform in [scale_min, scale_max]; the image keeps its aspect ratio and its longer side
  (relative to the output) becomes s times the output's. The result's `image` is float32, normalised;
  `groundtruth_boxes` are in pixels of the output, clipped to the part of it that shows the image; `semantic_mask` is
  sampled at the nearest pixel, as are instance masks, uint8 [n, h, w], if there are any. `image_info` is the Model
  Garden's [4, 2] record of the step. `view_map`, float32 [3, 3], takes points of the image that came in, before any
  motion that was composed with the crop, to the output, see `geometry`; `view_size`, int32 [2], is height and width of
  the part of the output that shows the image.

  The crop is aligned to whole pixels of the image, so only those are resized: its sides are rounded to whole pixels of
  the source, and scale and aspect ratio change by as much. `faithful` resizes the whole image and crops the result, as
  the originals do.

  A map that ops before it want to apply to the image (`forward`) is composed with the resize into one resampling.

  Attributes:
    output_size: (height, width) of the result in pixels.
    scale_min: smallest factor.
    scale_max: largest factor.
    flip_probability: chance that the image is mirrored left to right.
    normalize: subtract ImageNet's mean colour and divide by its deviation, as the Model Garden does; off keeps 0..255.
      Padding is 0 either way, in masks 255.
    min_visible: boxes of which at most this share of the area is left are dropped with all that belongs to them; 0
      drops those that are wholly outside.
    faithful: see above.
    core_ops: see `geometry.warp_bilinear`.
  """

  output_size: tuple[int, int]
  scale_min: float = 1.0
  scale_max: float = 1.0
  flip_probability: float = 0.0
  normalize: bool = True
  min_visible: float = 0.0
  faithful: bool = False
  core_ops: bool = False

  def __call__(
    self, example: examples.Example, forward: tf.Tensor | None = None
  ) -> examples.Example:
    """Applies it.

    Args:
      example: see `examples`; boxes in pixels of its image.
      forward: map of the image to a frame of the same size, see `geometry`; None moves nothing.

    Returns:
      The example.
    """
    example, seed = examples.take_seed(example)
    draws = tf.random.stateless_uniform([4], seed)
    place = self._place(tf.cast(tf.shape(example['image'])[:2], tf.float32), draws)
    flipped = draws[3] < self.flip_probability
    flip = tf.cond(flipped, lambda: geometry.mirroring(place.original[1]), geometry.identity)
    placing = geometry.scaling_and_shift(place.scale, -place.offset) @ flip
    result = self._move_boxes(example, forward, placing, place)
    result['image'] = self._move_image(example['image'], forward, flipped, placing, place)
    total = placing if forward is None else placing @ forward
    if keys.SEMANTIC_MASK in example:
      result[keys.SEMANTIC_MASK] = self._move_mask(example[keys.SEMANTIC_MASK], total, place)
    if keys.GROUNDTRUTH_INSTANCE_MASKS in result:
      masks = result[keys.GROUNDTRUTH_INSTANCE_MASKS]
      result[keys.GROUNDTRUTH_INSTANCE_MASKS] = self._move_instance_masks(masks, total, place)
    output = tf.constant(self.output_size, tf.float32)
    result['image_info'] = tf.stack([place.original, output, place.scale, place.offset])
    result['is_flipped'] = flipped
    result[keys.VIEW_MAP], result[keys.VIEW_SIZE] = total, place.visible
    return result

  def _place(self, original: tf.Tensor, draws: tf.Tensor) -> _Placement:
    factor = self.scale_min + draws[0] * (self.scale_max - self.scale_min)
    output = tf.constant(self.output_size, tf.float32)
    scale = tf.reduce_min(tf.round(factor * output) / original)
    scaled = tf.maximum(tf.round(original * scale), 1.0)
    if self.faithful:
      offset = tf.floor(tf.nn.relu(scaled - output) * draws[1:3])
      visible = tf.cast(tf.minimum(scaled - offset, output), tf.int32)
      return _Placement(original, scaled / original, offset, visible, None)
    visible = tf.minimum(scaled, output)
    window = tf.maximum(tf.round(original * visible / scaled), 1.0)
    start = tf.floor((original - window + 1.0) * draws[1:3])
    scale = visible / window
    corner_and_size = tf.cast(tf.stack([start, window]), tf.int32)
    return _Placement(original, scale, start * scale, tf.cast(visible, tf.int32), corner_and_size)

  def _move_boxes(
    self,
    example: examples.Example,
    forward: tf.Tensor | None,
    placing: tf.Tensor,
    place: _Placement,
  ) -> examples.Example:
    if keys.GROUNDTRUTH_BOXES not in example:
      return dict(example)
    boxes = example[keys.GROUNDTRUTH_BOXES]
    if forward is not None:
      boxes = geometry.warp_boxes(boxes, forward)
    # Pixels that left the frame do not come back, as if the image had been moved and then cropped.
    inside = geometry.clip_boxes(boxes, place.original)
    visible = tf.cast(place.visible, tf.float32)
    placed = geometry.clip_boxes(geometry.warp_boxes(inside, placing), visible)
    whole = geometry.areas(boxes) * tf.reduce_prod(place.scale)
    left = geometry.areas(placed)
    keep = tf.logical_and(left > 0.0, left > self.min_visible * whole)
    moved = {**example, keys.GROUNDTRUTH_BOXES: placed}
    if keys.GROUNDTRUTH_AREA in example:
      moved[keys.GROUNDTRUTH_AREA] = left
    return examples.keep_boxes(moved, keep)

  def _move_image(
    self,
    image: tf.Tensor,
    forward: tf.Tensor | None,
    flipped: tf.Tensor,
    placing: tf.Tensor,
    place: _Placement,
  ) -> tf.Tensor:
    def _finished(shown: tf.Tensor) -> tf.Tensor:
      return self._pad(images.normalize(shown) if self.normalize else shown, 0)

    if forward is None:
      return _finished(self._resize(image, flipped, place))

    def _shifted() -> tf.Tensor:
      right, down = tf.cast(forward[0, 2], tf.int32), tf.cast(forward[1, 2], tf.int32)
      return self._resize(geometry.shift(image, down, right, ops.FILL), flipped, place)

    def _warped() -> tf.Tensor:
      pixels = tf.cast(image, tf.float32)
      total = placing @ forward
      return geometry.warp_bilinear(pixels, total, place.visible, ops.FILL, self.core_ops)

    return _finished(tf.cond(geometry.is_translation(forward), _shifted, _warped))

  def _resize(self, image: tf.Tensor, flipped: tf.Tensor, place: _Placement) -> tf.Tensor:
    if place.window is None:
      upright = tf.cond(flipped, lambda: tf.reverse(image, [1]), lambda: image)
      size = tf.cast(tf.round(place.original * place.scale), tf.int32)
      resized = tf.image.resize(tf.cast(upright, tf.float32), size)
      top, left = tf.unstack(tf.cast(place.offset, tf.int32))
      return resized[top : top + place.visible[0], left : left + place.visible[1]]
    (top, left), (height, width) = (tf.unstack(row) for row in tf.unstack(place.window))
    left = tf.where(flipped, tf.shape(image)[1] - left - width, left)
    shown = image[top : top + height, left : left + width]
    upright = tf.cond(flipped, lambda: tf.reverse(shown, [1]), lambda: shown)
    # The op is twice as fast on floats.
    return tf.image.resize(tf.cast(upright, tf.float32), place.visible)

  def _move_mask(self, mask: tf.Tensor, total: tf.Tensor, place: _Placement) -> tf.Tensor:
    shown = geometry.warp_nearest(mask, total, place.visible, keys.IGNORE_LABEL)
    return self._pad(shown, keys.IGNORE_LABEL)

  def _move_instance_masks(
    self, masks: tf.Tensor, total: tf.Tensor, place: _Placement
  ) -> tf.Tensor:
    # As a batch of images with one channel.
    shown = geometry.warp_nearest(masks[..., None], total, place.visible, 0)[..., 0]
    below, right = tf.unstack(tf.constant(self.output_size) - place.visible)
    padded = tf.pad(shown, [[0, 0], [0, below], [0, right]])
    return tf.ensure_shape(padded, [None, *self.output_size])

  def _pad(self, shown: tf.Tensor, value: int) -> tf.Tensor:
    height, width = self.output_size
    channels = shown.shape[-1]
    # Rows of channels * width values: padding the last but one of three dimensions is slow.
    rows = tf.reshape(shown, [tf.shape(shown)[0], -1])
    below = height - tf.shape(shown)[0]
    right = channels * (width - tf.shape(shown)[1])
    padded = tf.pad(rows, [[0, below], [0, right]], constant_values=value)
    return tf.reshape(padded, [height, width, channels])
