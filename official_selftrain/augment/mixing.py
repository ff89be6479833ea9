"""MixUp, Mosaic and Copy-Paste: policies beyond the paper that make one example of several.

A mixer maps consecutive examples of one stream to the first of them, mixed with those that follow. It acts after flip
and crop, so that all images have the output's size, and before targets are assigned. What it draws follows from the
first example's seed alone; example i is always mixed with i + 1, i + 2, ... So the mixed stream is the same at any
batch size and number of replicas, and after a resume at any place.

Entries that have one row per box travel with the boxes; `semantic_mask` follows the pixels.
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import tensorflow as tf

from official_selftrain.augment import examples, geometry
from official_selftrain.configs import augmentation
from official_selftrain.core import keys
from official_selftrain.ops import pipelines

# Share of an object's pixels, or of an image's weight, from which an object is seen well enough to be taught.
_MIN_SHARE = 0.1
# Weight of the lighter image from which a pixel of MixUp shows two classes.
_AMBIGUOUS = 1.0 / 3.0
# Chance that an object is pasted: a random subset, as in the paper, which does not say how it is drawn.
_PASTE_PROBABILITY = 0.5
# The four images of a Mosaic meet in the middle half of the frame.
_CENTRE_MIN, _CENTRE_MAX = 0.25, 0.75

_PER_BOX = 'groundtruth_'


@dataclasses.dataclass(frozen=True)
class Mixer(abc.ABC):
  """Mixes an example with those that follow it in its stream.

  Attributes:
    probability: chance that it happens; otherwise the example stays as it is.
  """

  num_examples: ClassVar[int]

  probability: float

  def __call__(self, neighbours: Sequence[examples.Example]) -> examples.Example:
    """Applies it.

    Args:
      neighbours: `num_examples` consecutive examples as `FlipCrop` leaves them, all with the same entries and size:
        `image` float32 [h, w, 3] of static shape, boxes in its pixels.

    Returns:
      The first, mixed or not, with a fresh seed; `keys.APPLIED_OPS`, if present, has one more slot.

    Raises:
      ValueError: if there are not `num_examples`.
    """
    if len(neighbours) != self.num_examples:
      raise ValueError(
        f'{type(self).__name__} mixes {self.num_examples} examples, got {len(neighbours)}.'
      )
    base, seed = examples.take_seed(neighbours[0])
    seeds = tf.random.split(seed, 2)
    happens = tf.random.stateless_uniform([], seeds[0]) < self.probability
    mixed = tf.cond(
      happens, lambda: self._mix([base, *neighbours[1:]], seeds[1]), lambda: dict(base)
    )
    if keys.APPLIED_OPS in base:
      slot = tf.where(happens, [type(self).__name__], [''])
      mixed[keys.APPLIED_OPS] = tf.concat([base[keys.APPLIED_OPS], slot], 0)
    return mixed

  @abc.abstractmethod
  def _mix(self, neighbours: Sequence[examples.Example], seed: tf.Tensor) -> examples.Example:
    """The first of `num_examples` examples mixed with the others; int32 [2] seed."""


@dataclasses.dataclass(frozen=True)
class MixUp(Mixer):
  """Blends two images and keeps the boxes of both (Zhang et al. 2018; for detection Zhang et al. 2019, section 3.1).

  The first image has weight w ~ Beta(alpha, alpha), the second 1 - w. Boxes of an image whose weight is below 10 % go
  to the ignore band, where the stream has one: they can hardly be seen, so they are taught neither as objects nor as
  background. There are no weights per box, unlike in the reference.

  A pixel of `semantic_mask` keeps the label of the heavier image (of the first, when both are equal). Where the lighter
  image has another label and a third of the weight or more, the pixel shows two classes and is ignored; a lighter pixel
  that is itself ignored changes nothing.

  Attributes:
    alpha: positive; below 1 one image tends to dominate, above 1 both tend to show.
  """

  num_examples: ClassVar[int] = 2

  alpha: float = 1.5

  def _mix(self, neighbours: Sequence[examples.Example], seed: tf.Tensor) -> examples.Example:
    first, second = neighbours
    weight = sample_beta(self.alpha, seed)
    result = _with_rows_of(first, second)
    if keys.GROUNDTRUTH_IS_IGNORED in first:
      counts = [tf.size(example[keys.GROUNDTRUTH_IS_IGNORED]) for example in neighbours]
      is_faint = tf.repeat(tf.stack([weight, 1.0 - weight]) < _MIN_SHARE, tf.stack(counts))
      result[keys.GROUNDTRUTH_IS_IGNORED] |= is_faint
    if keys.SEMANTIC_MASK in first:
      result[keys.SEMANTIC_MASK] = _blend_labels(
        first[keys.SEMANTIC_MASK], second[keys.SEMANTIC_MASK], weight
      )
    result['image'] = weight * first['image'] + (1.0 - weight) * second['image']
    return result


@dataclasses.dataclass(frozen=True)
class Mosaic(Mixer):
  """Shows parts of four images around a random point (Bochkovskiy et al. 2020, section 3.3).

  Each quadrant shows an image at its own scale, at a random offset of the part of it without padding; the first one
  is at the top left. Boxes are clipped to their quadrant; the rest must be a pixel high and wide, because a cut
  that runs along the edge of a box leaves nothing of the object.

  Attributes:
    min_visible: boxes of which at most this share of the area is left are dropped with all that belongs to them.
  """

  num_examples: ClassVar[int] = 4

  min_visible: float = 0.0

  def _mix(self, neighbours: Sequence[examples.Example], seed: tf.Tensor) -> examples.Example:
    first = neighbours[0]
    size = tf.shape(first['image'])[:2]
    draws = tf.random.stateless_uniform([5, 2], seed)
    share = _CENTRE_MIN + (_CENTRE_MAX - _CENTRE_MIN) * draws[0]
    centre = tf.cast(tf.round(share * tf.cast(size, tf.float32)), tf.int32)
    edges = tf.stack([tf.zeros_like(centre), centre, size])
    tiles = []
    for place, example in enumerate(neighbours):
      row, column = divmod(place, 2)
      start = tf.stack([edges[row, 0], edges[column, 1]])
      stop = tf.stack([edges[row + 1, 0], edges[column + 1, 1]])
      tiles.append(self._tile(example, start, stop, draws[place + 1]))
    result = dict(tiles[0])
    for tile in tiles[1:]:
      result = _with_rows_of(result, tile)
    for name in ('image', keys.SEMANTIC_MASK):
      if name in first:
        rows = [tf.concat([tiles[i][name], tiles[i + 1][name]], 1) for i in (0, 2)]
        result[name] = tf.ensure_shape(tf.concat(rows, 0), first[name].shape)
    if 'image_info' in first:
      # As if the image had been neither scaled nor padded: it is none of the four any more.
      whole = tf.cast(size, tf.float32)
      result['image_info'] = tf.stack([whole, whole, tf.ones([2]), tf.zeros([2])])
    return result

  def _tile(
    self, example: examples.Example, start: tf.Tensor, stop: tf.Tensor, draws: tf.Tensor
  ) -> examples.Example:
    """The part shown between two corners, int32 [2] each; boxes and instance masks in the result's frame."""
    frame, shown = tf.shape(example['image'])[:2], stop - start
    room = tf.cast(tf.nn.relu(_visible(example) - shown), tf.float32)
    offset = tf.cast(tf.floor(draws * (room + 1.0)), tf.int32)
    end = offset + shown
    result = dict(example)
    for name in ('image', keys.SEMANTIC_MASK):
      if name in example:
        result[name] = example[name][offset[0] : end[0], offset[1] : end[1]]
    if keys.GROUNDTRUTH_INSTANCE_MASKS in example:
      masks = example[keys.GROUNDTRUTH_INSTANCE_MASKS]
      part = masks[:, offset[0] : end[0], offset[1] : end[1]]
      around = tf.concat([[[0, 0]], tf.stack([start, frame - stop], 1)], 0)
      result[keys.GROUNDTRUTH_INSTANCE_MASKS] = tf.ensure_shape(tf.pad(part, around), masks.shape)
    if keys.GROUNDTRUTH_BOXES not in example:
      return result
    boxes = example[keys.GROUNDTRUTH_BOXES]
    moved = boxes - tf.tile(tf.cast(offset, tf.float32), [2])
    inside = geometry.clip_boxes(moved, tf.cast(shown, tf.float32))
    result[keys.GROUNDTRUTH_BOXES] = inside + tf.tile(tf.cast(start, tf.float32), [2])
    has_pixels = tf.reduce_all(inside[:, 2:] - inside[:, :2] >= 1.0, 1)
    is_enough = geometry.areas(inside) > self.min_visible * geometry.areas(boxes)
    return examples.keep_boxes(result, tf.logical_and(has_pixels, is_enough))


@dataclasses.dataclass(frozen=True)
class CopyPaste(Mixer):
  """Pastes objects of the second image onto the first, in the same place (Ghiasi et al. 2021, section 3).

  Every object that has pixels and is neither a crowd nor in the ignore band is pasted with probability 1/2. Objects of
  the first image that lose pixels get the box of what is left of their mask; those of which less than 10 % is left are
  dropped. Edges are not blended, which the paper finds to make no difference.

  Needs `keys.GROUNDTRUTH_INSTANCE_MASKS`, uint8 [n, h, w], 0 or 1.
  """

  num_examples: ClassVar[int] = 2

  def _mix(self, neighbours: Sequence[examples.Example], seed: tf.Tensor) -> examples.Example:
    first, second = neighbours
    pasted = examples.keep_boxes(second, _pasted(second, seed))
    masks = tf.cast(pasted[keys.GROUNDTRUTH_INSTANCE_MASKS], tf.bool)
    cover = tf.reduce_any(masks, 0)
    result = _with_rows_of(_occluded(first, cover), pasted)
    for name in ('image', keys.SEMANTIC_MASK):
      if name in first:
        result[name] = tf.where(cover[..., None], second[name], first[name])
    return result


def build(config: augmentation.Augmentation) -> tuple[Mixer, ...]:
  """The mixers that `config` asks for, in the order in which they are applied; none by default."""
  mixers: list[Mixer] = []
  if config.copy_paste_probability > 0:
    mixers.append(CopyPaste(config.copy_paste_probability))
  if config.mosaic_probability > 0:
    mixers.append(Mosaic(config.mosaic_probability, config.min_visible))
  if config.mixup_probability > 0:
    mixers.append(MixUp(config.mixup_probability, config.mixup_alpha))
  return tuple(mixers)


def mix_stream(dataset: tf.data.Dataset, mixers: Sequence[Mixer]) -> tf.data.Dataset:
  """Mixes each example of a stream with its followers.

  Args:
    dataset: of augmented examples, in an order that can be repeated. Of a stream that ends, the last examples
      (`num_examples` - 1 per mixer) only serve as followers.
    mixers: applied one after another.

  Returns:
    Dataset of examples.
  """
  for mixer in mixers:
    neighbours = _with_followers(dataset, mixer.num_examples)
    dataset = pipelines.map_in_order(neighbours, _of_tuple(mixer))
  return dataset


def sample_beta(alpha: float, seed: tf.Tensor) -> tf.Tensor:
  """A float32 scalar from Beta(alpha, alpha).

  X / (X + Y) for X and Y from Gamma(alpha), computed from logarithms: for small alpha both may be below the smallest
  float. Gamma(alpha) is Gamma(alpha + 1) times U^(1 / alpha) for uniform U (Stuart 1962).

  Args:
    alpha: positive.
    seed: int32 [2].
  """
  seeds = tf.random.split(seed, 2)
  gammas = tf.random.stateless_gamma([2], seeds[0], alpha + 1.0)
  # In (0, 1]: the logarithm of 0 would be infinite.
  uniform = 1.0 - tf.random.stateless_uniform([2], seeds[1])
  logs = tf.math.log(gammas) + tf.math.log(uniform) / alpha
  return tf.sigmoid(logs[0] - logs[1])


def _of_tuple(mixer: Mixer) -> Callable[..., examples.Example]:
  """The mixer as `Dataset.map` calls it, with one argument per example."""
  return lambda *neighbours: mixer(neighbours)


def _with_followers(dataset: tf.data.Dataset, count: int) -> tf.data.Dataset:
  """Tuples of `count` consecutive elements, one from each place; nothing is copied, stacked or padded."""

  def _tuple(window: dict[str, tf.data.Dataset]) -> tf.data.Dataset:
    elements = tf.data.Dataset.zip(window)
    return tf.data.Dataset.zip(tuple(elements.skip(place).take(1) for place in range(count)))

  return dataset.window(count, shift=1, drop_remainder=True).flat_map(_tuple)


def _with_rows_of(first: examples.Example, second: examples.Example) -> examples.Example:
  """The first example with the boxes of both and all that belongs to them."""
  rows = {
    name: tf.concat([value, second[name]], 0)
    for name, value in first.items()
    if name.startswith(_PER_BOX)
  }
  return {**first, **rows}


def _blend_labels(first: tf.Tensor, second: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
  """Labels of a blend, see `MixUp`; uint8 [h, w, 1] each, `weight` is that of the first."""
  heavier, lighter = tf.cond(weight >= 0.5, lambda: (first, second), lambda: (second, first))
  is_other = tf.logical_and(
    tf.not_equal(heavier, lighter), tf.not_equal(lighter, keys.IGNORE_LABEL)
  )
  is_ambiguous = tf.logical_and(is_other, tf.minimum(weight, 1.0 - weight) >= _AMBIGUOUS)
  return tf.where(is_ambiguous, tf.constant(keys.IGNORE_LABEL, heavier.dtype), heavier)


def _visible(example: examples.Example) -> tf.Tensor:
  """Height and width of the part of an example without padding, int32 [2]."""
  size = tf.shape(example['image'])[:2]
  if 'image_info' not in example:
    return size
  original, _, scale, offset = tf.unstack(example['image_info'])
  return tf.minimum(size, tf.cast(tf.round(original * scale - offset), tf.int32))


def _pasted(example: examples.Example, seed: tf.Tensor) -> tf.Tensor:
  """Which of an example's objects are pasted, bool [n]."""
  masks = tf.cast(example[keys.GROUNDTRUTH_INSTANCE_MASKS], tf.bool)
  chosen = tf.random.stateless_uniform([tf.shape(masks)[0]], seed) < _PASTE_PROBABILITY
  chosen = tf.logical_and(chosen, tf.reduce_any(masks, [1, 2]))
  for name in (keys.GROUNDTRUTH_IS_CROWD, keys.GROUNDTRUTH_IS_IGNORED):
    if name in example:
      chosen = tf.logical_and(chosen, tf.logical_not(example[name]))
  return chosen


def _occluded(example: examples.Example, cover: tf.Tensor) -> examples.Example:
  """Takes the covered pixels, bool [h, w], from an example's masks, and from its boxes what they lose by it."""
  masks = tf.cast(example[keys.GROUNDTRUTH_INSTANCE_MASKS], tf.bool)
  left = tf.logical_and(masks, tf.logical_not(cover))
  before, after = (tf.reduce_sum(tf.cast(each, tf.int32), [1, 2]) for each in (masks, left))
  is_touched = after < before
  boxes, hulls = example[keys.GROUNDTRUTH_BOXES], _hulls(left)
  # Never more than there was: a mask may stick out of its box by a pixel, because it is sampled.
  smaller = tf.concat(
    [tf.maximum(boxes[:, :2], hulls[:, :2]), tf.minimum(boxes[:, 2:], hulls[:, 2:])], 1
  )
  boxes = tf.where(is_touched[:, None], smaller, boxes)
  enough = tf.cast(after, tf.float32) >= _MIN_SHARE * tf.cast(before, tf.float32)
  keep = tf.logical_and(enough, geometry.areas(boxes) > 0.0)
  moved = {
    keys.GROUNDTRUTH_BOXES: boxes,
    keys.GROUNDTRUTH_INSTANCE_MASKS: tf.cast(left, tf.uint8),
  }
  return examples.keep_boxes({**example, **moved}, tf.logical_or(keep, tf.logical_not(is_touched)))


def _hulls(masks: tf.Tensor) -> tf.Tensor:
  """Smallest boxes that hold masks: bool [n, h, w] -> float32 [n, 4] yxyx; those of empty masks have no area."""
  edges = []
  for axis in (2, 1):
    has_pixels = tf.cast(tf.reduce_any(masks, axis), tf.int32)
    length = tf.shape(has_pixels)[1]
    low = tf.argmax(has_pixels, 1, tf.int32)
    high = length - tf.argmax(tf.reverse(has_pixels, [1]), 1, tf.int32)
    edges.append((low, tf.where(tf.reduce_any(masks, [1, 2]), high, low)))
  (ymin, ymax), (xmin, xmax) = edges
  return tf.cast(tf.stack([ymin, xmin, ymax, xmax], 1), tf.float32)
