"""The named ops of AutoAugment and RandAugment: what a level means, and what the op does (paper section 3.1)."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from official_selftrain.augment import geometry, pixels
from official_selftrain.augment.tables import Constants
from official_selftrain.core import keys

# Colour of pixels that an op uncovers or cuts out.
FILL = 128
MAX_LEVEL = 10.0

# Boxes are visited with this share of an op's probability, a constant of the authors' code.
_ONLY_BOXES_PROBABILITY = 1.0 / 3.0

# From a level (0..10, or beyond) to the op's argument.
Argument = Callable[[float, Constants], float]


def _none(level: float, constants: Constants) -> float:
  del level, constants
  return 0.0


def _times(factor: float) -> Argument:
  return _share_of(lambda _: factor)


def _share_of(factor: Callable[[Constants], float]) -> Argument:
  return lambda level, constants: level / MAX_LEVEL * factor(constants)


def _whole(argument: Argument) -> Argument:
  # The authors' int(), which must not make 229 of 2.3 * 100 = 229.99...
  return lambda level, constants: float(math.floor(argument(level, constants) + 1e-9))


def _enhance(level: float, constants: Constants) -> float:
  del constants
  return level / MAX_LEVEL * 1.8 + 0.1


@dataclasses.dataclass(frozen=True)
class PixelOp:
  """Changes colours; boxes and masks stay.

  Attributes:
    apply: (image uint8 [h, w, 3], argument) -> image.
    argument: meaning of the level.
  """

  apply: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
  argument: Argument = _none


@dataclasses.dataclass(frozen=True)
class CutoutOp:
  """Fills one square whose centre is uniform in the image; boxes and masks stay, as in the originals.

  Attributes:
    argument: half the square's side, in pixels.
  """

  argument: Argument

  def apply(self, image: tf.Tensor, half: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Image uint8 [h, w, 3], argument, uniform numbers float32 [3] -> image."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    y, x = tf.unstack(tf.cast(tf.floor(draws[:2] * size), tf.int32))
    # A little more, because 0.2 * 80.0 may come out as 15.999...
    half = tf.cast(half + 1e-3, tf.int32)
    return pixels.fill_rectangle(image, y - half, x - half, y + half, x + half, FILL)


@dataclasses.dataclass(frozen=True)
class BoxCutoutOp:
  """Fills a rectangle around a random point of one random box.

  Attributes:
    argument: height and width of the rectangle as a share of the box's.
  """

  argument: Argument

  def apply(
    self, image: tf.Tensor, boxes: tf.Tensor, share: tf.Tensor, draws: tf.Tensor
  ) -> tf.Tensor:
    """Image uint8 [h, w, 3], boxes float32 [n, 4] yxyx in pixels, argument, uniform float32 [3] -> image."""

    def _cut() -> tf.Tensor:
      count = tf.cast(tf.shape(boxes)[0], tf.float32)
      box = boxes[tf.cast(tf.floor(draws[0] * count), tf.int32)]
      half = (box[2:] - box[:2]) * share / 2.0
      centre = box[:2] + draws[1:] * (box[2:] - box[:2])
      top, left = tf.unstack(tf.cast(tf.round(centre - half), tf.int32))
      bottom, right = tf.unstack(tf.cast(tf.round(centre + half), tf.int32))
      return pixels.fill_rectangle(image, top, left, bottom, right, FILL)

    return tf.cond(tf.shape(boxes)[0] > 0, _cut, lambda: image)


@dataclasses.dataclass(frozen=True)
class MotionOp:
  """Moves pixels; boxes and masks move with them.

  Attributes:
    parameter: which of `geometry.MOTIONS` the argument is.
    argument: meaning of the level.
    is_signed: whether the argument's sign is drawn.
  """

  parameter: str
  argument: Argument
  is_signed: bool = True


class Visits(NamedTuple):
  """Which boxes an `OnlyBoxesOp` visits.

  Attributes:
    draws: uniform numbers, float32 [n, 5]: the first has decided, the second orders, three are for places.
    chosen: bool [n].
  """

  draws: tf.Tensor
  chosen: tf.Tensor


def draw_visits(boxes: tf.Tensor, probability: tf.Tensor, seed: tf.Tensor) -> Visits:
  """Draws which boxes an `OnlyBoxesOp` visits.

  Args:
    boxes: [n, 4].
    probability: float32 scalar, the policy's.
    seed: int32 [2].
  """
  draws = tf.random.stateless_uniform([tf.shape(boxes)[0], 5], seed)
  return Visits(draws, draws[:, 0] < probability * _ONLY_BOXES_PROBABILITY)


@dataclasses.dataclass(frozen=True)
class OnlyBoxesOp:
  """Applies another op inside boxes, in random order; the boxes stay.

  Each box is visited with a third of the probability that the policy gives.
  """

  inner: PixelOp | CutoutOp | MotionOp

  @property
  def argument(self) -> Argument:
    """Meaning of the level."""
    return self.inner.argument

  def apply(
    self,
    image: tf.Tensor,
    mask: tf.Tensor,
    boxes: tf.Tensor,
    argument: tf.Tensor,
    motion: tf.Tensor,
    visits: Visits,
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies it.

    Args:
      image: uint8 [h, w, 3].
      mask: uint8 [h, w, 1], or [0, 0, 1] if there is none; it moves with the image.
      boxes: float32 [n, 4], yxyx in pixels.
      argument: float32 scalar.
      motion: float32 [6], see `geometry.motion`.
      visits: what `draw_visits` drew for the boxes.

    Returns:
      Image and mask.
    """
    draws = visits.draws
    order = tf.argsort(draws[:, 1])
    order = tf.boolean_mask(order, tf.gather(visits.chosen, order))

    def _visit(
      place: tf.Tensor, image: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
      index = order[place]
      image, mask = self._inside(image, mask, boxes[index], argument, motion, draws[index, 2:])
      return place + 1, image, mask

    _, image, mask = tf.while_loop(
      lambda place, *_: place < tf.shape(order)[0],
      _visit,
      (0, image, mask),
      shape_invariants=(tf.TensorShape([]), image.shape, mask.shape),
    )
    return image, mask

  def _inside(
    self,
    image: tf.Tensor,
    mask: tf.Tensor,
    box: tf.Tensor,
    argument: tf.Tensor,
    motion: tf.Tensor,
    draws: tf.Tensor,
  ) -> tuple[tf.Tensor, tf.Tensor]:
    limit = tf.shape(image)[:2]
    start = tf.clip_by_value(tf.cast(tf.floor(box[:2]), tf.int32), 0, limit)
    stop = tf.clip_by_value(tf.cast(tf.math.ceil(box[2:]), tf.int32), start, limit)

    def _changed() -> tuple[tf.Tensor, tf.Tensor]:
      if isinstance(self.inner, MotionOp):
        forward = geometry.motion(motion, tf.cast(stop - start, tf.float32))
        moved = _move_patch(image, start, stop, forward, FILL)
        return moved, tf.cond(
          tf.size(mask) > 0,
          lambda: _move_patch(mask, start, stop, forward, keys.IGNORE_LABEL),
          lambda: mask,
        )
      inside = image[start[0] : stop[0], start[1] : stop[1]]
      if isinstance(self.inner, PixelOp):
        inside = self.inner.apply(inside, argument)
      else:
        inside = self.inner.apply(inside, argument, draws)
      return pixels.paste(image, inside, start[0], start[1]), mask

    return tf.cond(tf.reduce_all(stop > start), _changed, lambda: (image, mask))


def _move_patch(
  image: tf.Tensor, start: tf.Tensor, stop: tf.Tensor, forward: tf.Tensor, fill: int
) -> tf.Tensor:
  """The image with the pixels between two corners moved in place."""
  inside = image[start[0] : stop[0], start[1] : stop[1]]
  moved = geometry.warp_nearest(inside, forward, stop - start, fill)
  return pixels.paste(image, moved, start[0], start[1])


Op = PixelOp | CutoutOp | BoxCutoutOp | MotionOp | OnlyBoxesOp


def in_pixels(op: Op) -> bool:
  """Whether an op's argument is a number of pixels, so that its effect depends on the size of the image."""
  is_shift = isinstance(op, MotionOp) and op.parameter in ('left', 'up')
  return is_shift or isinstance(op, CutoutOp)


IDENTITY = 'Identity'
FLIP = 'Flip'


def _motion_ops() -> dict[str, Op]:
  rotate = MotionOp('degrees', _times(30.0))
  shear_x = MotionOp('shear_x', _times(0.3))
  shear_y = MotionOp('shear_y', _times(0.3))
  shift = _share_of(lambda constants: constants.translate)
  shift_in_box = _share_of(lambda constants: constants.translate_boxes)
  return {
    'Rotate_BBox': rotate,
    'ShearX_BBox': shear_x,
    'ShearY_BBox': shear_y,
    'TranslateX_BBox': MotionOp('left', shift),
    'TranslateY_BBox': MotionOp('up', shift),
    'Rotate_Only_BBoxes': OnlyBoxesOp(rotate),
    'ShearX_Only_BBoxes': OnlyBoxesOp(shear_x),
    'ShearY_Only_BBoxes': OnlyBoxesOp(shear_y),
    'TranslateX_Only_BBoxes': OnlyBoxesOp(MotionOp('left', shift_in_box)),
    'TranslateY_Only_BBoxes': OnlyBoxesOp(MotionOp('up', shift_in_box)),
    'Flip_Only_BBoxes': OnlyBoxesOp(MotionOp('mirrored', lambda *_: 1.0, is_signed=False)),
  }


def registry(faithful: bool = False) -> Mapping[str, Op]:
  """All ops by name.

  Args:
    faithful: with `Contrast` and `Solarize` as the authors' library has them, mistakes included.
  """
  solarize = PixelOp(
    pixels.solarize_as_released if faithful else pixels.solarize, _whole(_times(256.0))
  )
  equalize = PixelOp(lambda image, _: pixels.equalize(image))
  half_side = _whole(_share_of(lambda constants: constants.cutout))
  half_side_in_box = _whole(_share_of(lambda constants: constants.cutout_boxes))
  return {
    IDENTITY: PixelOp(lambda image, _: image),
    'AutoContrast': PixelOp(lambda image, _: pixels.autocontrast(image)),
    'Equalize': equalize,
    'Invert': PixelOp(lambda image, _: pixels.invert(image)),
    'Posterize': PixelOp(pixels.posterize, _whole(_times(4.0))),
    'Solarize': solarize,
    'SolarizeAdd': PixelOp(pixels.solarize_add, _whole(_times(110.0))),
    'Color': PixelOp(pixels.color, _enhance),
    'Contrast': PixelOp(pixels.contrast_as_released if faithful else pixels.contrast, _enhance),
    'Brightness': PixelOp(pixels.brightness, _enhance),
    'Sharpness': PixelOp(pixels.sharpness, _enhance),
    'Cutout': CutoutOp(half_side),
    'BBox_Cutout': BoxCutoutOp(_times(0.75)),
    'Cutout_Only_BBoxes': OnlyBoxesOp(CutoutOp(half_side_in_box)),
    'Equalize_Only_BBoxes': OnlyBoxesOp(equalize),
    'Solarize_Only_BBoxes': OnlyBoxesOp(solarize),
    **_motion_ops(),
  }


NAMES = tuple(registry())
