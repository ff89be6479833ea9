"""Draws ops for an image and applies them: AutoAugment and RandAugment for images, boxes and masks.

The originals resample the image once per geometric op and once more for the crop. Here geometric ops only compose
their maps, colour ops act on the decoded image, and the crop resamples once. So a colour op that follows a geometric
one acts on the image before it was moved: `Equalize` counts no uncovered pixels, and a `Cutout` is rotated with the
image. `faithful` applies one op after another instead, samples the nearest pixel, and keeps the originals' mistakes;
docs/augmentation.md measures the difference.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from official_selftrain.augment import examples, flip_crop, geometry, ops, tables
from official_selftrain.core import errors, keys

# A box that was pushed out of the frame comes back with this share of its side in the originals.
_SLIVER = 0.05

# Uniform numbers per op: whether it happens, its sign, and three for places.
_NUMBERS = 5


class _Scene(NamedTuple):
  """Input of ops: image uint8, masks as channels of a uint8 image, boxes in pixels, the map still to be applied."""

  image: tf.Tensor
  mask: tf.Tensor
  boxes: tf.Tensor
  forward: tf.Tensor


class _Slot(NamedTuple):
  """One op that was drawn.

  Attributes:
    happens: bool scalar.
    branch: int32 scalar, which of the functions that change pixels; 0 changes none.
    argument: float32 scalar.
    box_chance: probability of ops inside boxes.
    motion: float32 [6], with its sign; zero unless the op moves something and happens.
    moves_all: 1.0 if the op moves the whole image, else 0.0.
    numbers: float32 [3], uniform.
  """

  happens: tf.Tensor
  branch: tf.Tensor
  argument: tf.Tensor
  box_chance: tf.Tensor
  motion: tf.Tensor
  moves_all: tf.Tensor
  numbers: tf.Tensor

  @classmethod
  def draw(cls, row: tf.Tensor, numbers: tf.Tensor, pixel_scale: tf.Tensor) -> '_Slot':
    """From a row of `_Tables.rows`, `_NUMBERS` uniform numbers, and the factor of arguments in pixels."""
    branch, chance, box_chance, argument, in_pixels, is_signed, moves_all = tf.unstack(row[:7])
    happens = numbers[0] < chance
    argument *= tf.where(in_pixels > 0.0, pixel_scale, 1.0)
    sign = tf.where(tf.logical_and(is_signed > 0.0, numbers[1] < 0.5), -1.0, 1.0)
    return cls(
      happens=happens,
      branch=tf.where(happens, tf.cast(branch, tf.int32), 0),
      argument=argument,
      box_chance=box_chance,
      motion=row[7:] * (argument * sign * tf.cast(happens, tf.float32)),
      moves_all=moves_all,
      numbers=numbers[2:],
    )


class _Tables(NamedTuple):
  """A policy as arrays.

  Attributes:
    rows: float32 [sub-policies, ops, 13]: branch (0 for ops that change no pixels), chance, chance of each box,
      argument, whether it is in pixels, whether its sign is drawn, whether the whole image moves, and which of
      `geometry.MOTIONS`.
    names: names of the ops, same order.
    branches: the ops that change pixels; `rows` holds their places plus one.
    has_motions: whether an op moves the whole image.
    inside_boxes: which ops act inside boxes only; as `names`.
  """

  rows: np.ndarray
  names: list[list[str]]
  branches: list[ops.Op]
  has_motions: bool
  inside_boxes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Policy:
  """A policy for one image, followed by flip and crop.

  Attributes:
    sub_policies: one is drawn, uniformly, and its ops are applied in order.
    num_draws: how often; AutoAugment draws once, RandAugment (whose sub-policies are single ops) N times.
    flip_crop: the last step.
    constants: factors of levels.
    faithful: as the originals do it, see above.
    reference_side: longer side, in pixels, of the images that `constants` are made for: they scale with an image's
      longer side; None takes them as they are.
  """

  sub_policies: tuple[tables.SubPolicy, ...]
  num_draws: int
  flip_crop: flip_crop.FlipCrop
  constants: tables.Constants = dataclasses.field(default_factory=tables.Constants)
  faithful: bool = False
  reference_side: float | None = None

  def __post_init__(self) -> None:
    unknown = set(tables.names_in(self.sub_policies)) - set(ops.NAMES)
    if unknown:
      raise errors.ConfigError(
        f'unknown op {sorted(unknown)[0]!r}; there are {", ".join(sorted(ops.NAMES))}.'
      )

  def __call__(self, example: examples.Example) -> examples.Example:
    """Applies it.

    Args:
      example: see `examples`; boxes normalised to [0, 1].

    Returns:
      The example as `FlipCrop` leaves it, boxes in pixels of the output; `keys.APPLIED_OPS`, string [slots]: what was
      applied, '' where nothing was.
    """
    size = tf.cast(tf.shape(example['image'])[:2], tf.float32)
    boxes = example.get(keys.GROUNDTRUTH_BOXES)
    if boxes is not None:
      example = {**example, keys.GROUNDTRUTH_BOXES: boxes * tf.tile(size, [2])}
    if not self.sub_policies:
      return {**self.flip_crop(example), keys.APPLIED_OPS: tf.zeros([0], tf.string)}
    example, seed = examples.take_seed(example)
    scene = _Scene(
      image=example['image'],
      mask=mask_channels(example),
      boxes=example.get(keys.GROUNDTRUTH_BOXES, tf.zeros([0, 4])),
      forward=geometry.identity(),
    )
    drawn = self._tables()
    scene, applied = self._apply_draws(drawn, scene, seed)
    example = {**example, 'image': scene.image, **masks_of(scene.mask, example)}
    if boxes is not None:
      example[keys.GROUNDTRUTH_BOXES] = scene.boxes
    is_pending = drawn.has_motions and not self.faithful
    example = self.flip_crop(example, scene.forward if is_pending else None)
    return {**example, keys.APPLIED_OPS: applied}

  def _tables(self) -> _Tables:
    known = ops.registry(self.faithful)
    length = max(len(sub_policy) for sub_policy in self.sub_policies)
    nothing = tables.Entry(ops.IDENTITY, 0.0, 0.0)
    branches: dict[str, ops.Op] = {}
    has_motions = False
    rows: list[list[list[float]]] = []
    names: list[list[str]] = []
    for sub_policy in self.sub_policies:
      entries = (*sub_policy, *[nothing] * (length - len(sub_policy)))
      names.append([entry.name for entry in entries])
      rows.append([])
      for entry in entries:
        op = known[entry.name]
        if not (isinstance(op, ops.MotionOp) or entry.name == ops.IDENTITY):
          branches.setdefault(_branch_key(entry, op), op)
        has_motions |= isinstance(op, ops.MotionOp)
        rows[-1].append(self._row(entry, op, list(branches)))
    inside = [[isinstance(known[name], ops.OnlyBoxesOp) for name in row] for row in names]
    return _Tables(
      np.array(rows, np.float32), names, list(branches.values()), has_motions, np.array(inside)
    )

  def _row(self, entry: tables.Entry, op: ops.Op, branches: list[str]) -> list[float]:
    moves_all = isinstance(op, ops.MotionOp)
    is_branch = not (moves_all or entry.name == ops.IDENTITY)
    branch = 1 + branches.index(_branch_key(entry, op)) if is_branch else 0
    # Ops inside boxes are always entered: their probability is that of each box.
    chance = 1.0 if isinstance(op, ops.OnlyBoxesOp) else entry.probability
    inner = _inner(op)
    parameter = inner.parameter if isinstance(inner, ops.MotionOp) else None
    is_signed = isinstance(inner, ops.MotionOp) and inner.is_signed
    unit = [float(parameter == name) for name in geometry.MOTIONS]
    argument = op.argument(entry.level, self.constants)
    in_pixels = ops.in_pixels(inner)
    chances = [chance, entry.probability]
    return [branch, *chances, argument, in_pixels, is_signed, moves_all, *unit]

  def _apply_draws(
    self, drawn: _Tables, scene: _Scene, seed: tf.Tensor
  ) -> tuple[_Scene, tf.Tensor]:
    num_rows, length, _ = drawn.rows.shape
    rows, names = tf.constant(drawn.rows), tf.constant(drawn.names)
    seeds = tf.random.split(seed, 2)
    uniform = tf.random.stateless_uniform([self.num_draws, 1 + _NUMBERS * length], seeds[0])
    scale = tf.ones([])
    if self.reference_side is not None:
      scale = tf.cast(tf.reduce_max(tf.shape(scene.image)[:2]), tf.float32) / self.reference_side
    applied = []
    for draw in range(self.num_draws):
      row = tf.cast(tf.floor(uniform[draw, 0] * num_rows), tf.int32)
      for place, numbers in enumerate(tf.split(uniform[draw, 1:], length)):
        slot = _Slot.draw(rows[row, place], numbers, scale)
        happens, visits = slot.happens, None
        if drawn.inside_boxes.any():
          own_seed = tf.random.fold_in(seeds[1], draw * length + place)
          visits = ops.draw_visits(scene.boxes, slot.box_chance, own_seed)
          anywhere = tf.constant(~drawn.inside_boxes)[row, place]
          happens = tf.logical_and(happens, tf.logical_or(anywhere, tf.reduce_any(visits.chosen)))
        if drawn.branches:
          changes = [functools.partial(_change, op, scene, slot, visits) for op in drawn.branches]
          scene = tf.switch_case(slot.branch, [lambda scene=scene: scene, *changes])
        if drawn.has_motions:
          scene = self._move(scene, slot.motion * slot.moves_all)
        applied.append(tf.where(happens, names[row, place], ''))
    return scene, tf.stack(applied)

  def _move(self, scene: _Scene, motion: tf.Tensor) -> _Scene:
    size = tf.cast(tf.shape(scene.image)[:2], tf.float32)
    forward = geometry.motion(motion, size)
    if not self.faithful:
      return scene._replace(forward=forward @ scene.forward)
    is_moved = tf.reduce_any(tf.not_equal(motion, 0.0))
    return tf.cond(is_moved, lambda: _move_now(scene, forward, size), lambda: scene)


def _inner(op: ops.Op) -> ops.Op:
  return op.inner if isinstance(op, ops.OnlyBoxesOp) else op


def _branch_key(entry: tables.Entry, op: ops.Op) -> str:
  # Ops that move pixels inside boxes differ only in their parameters: one branch for all of them.
  return 'motion' if isinstance(_inner(op), ops.MotionOp) else entry.name


def mask_channels(example: examples.Example) -> tf.Tensor:
  """Semantic mask and instance masks that an example has, uint8 [h, w, c]; [0, 0, 1] if it has none."""
  channels = []
  if keys.SEMANTIC_MASK in example:
    channels.append(example[keys.SEMANTIC_MASK])
  if keys.GROUNDTRUTH_INSTANCE_MASKS in example:
    channels.append(tf.transpose(example[keys.GROUNDTRUTH_INSTANCE_MASKS], [1, 2, 0]))
  return tf.concat(channels, -1) if channels else tf.zeros([0, 0, 1], tf.uint8)


def masks_of(channels: tf.Tensor, example: examples.Example) -> examples.Example:
  """Undoes `mask_channels`; uncovered pixels belong to no class and no instance."""
  masks = {}
  if keys.SEMANTIC_MASK in example:
    masks[keys.SEMANTIC_MASK] = tf.ensure_shape(channels[..., :1], [None, None, 1])
    channels = channels[..., 1:]
  if keys.GROUNDTRUTH_INSTANCE_MASKS in example:
    instances = tf.transpose(tf.cast(tf.equal(channels, 1), tf.uint8), [2, 0, 1])
    masks[keys.GROUNDTRUTH_INSTANCE_MASKS] = instances
  return masks


def _change(op: ops.Op, scene: _Scene, slot: _Slot, visits: ops.Visits | None) -> _Scene:
  """The scene after an op that changes pixels."""
  match op:
    case ops.PixelOp():
      return scene._replace(image=op.apply(scene.image, slot.argument))
    case ops.CutoutOp():
      return scene._replace(image=op.apply(scene.image, slot.argument, slot.numbers))
    case ops.BoxCutoutOp():
      return scene._replace(image=op.apply(scene.image, scene.boxes, slot.argument, slot.numbers))
    case ops.OnlyBoxesOp() if visits is not None:
      image, mask = op.apply(
        scene.image, scene.mask, scene.boxes, slot.argument, slot.motion, visits
      )
      return scene._replace(image=image, mask=mask)
  raise TypeError(f'does not change pixels: {op!r}')


def _move_now(scene: _Scene, forward: tf.Tensor, size: tf.Tensor) -> _Scene:
  """The scene after one motion, as the originals do it."""
  pixels = tf.cast(size, tf.int32)
  image = geometry.warp_nearest(scene.image, forward, pixels, ops.FILL)
  mask = tf.cond(
    tf.size(scene.mask) > 0,
    lambda: geometry.warp_nearest(scene.mask, forward, pixels, keys.IGNORE_LABEL),
    lambda: scene.mask,
  )
  boxes = geometry.clip_boxes(geometry.warp_boxes(scene.boxes, forward), size)
  return scene._replace(image=image, mask=mask, boxes=_with_slivers(boxes, size))


def _with_slivers(boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
  """Boxes of no height (width) get 5 % of the frame's at its border, a mistake of the originals."""
  low, high = boxes[:, :2], boxes[:, 2:]
  is_flat = tf.equal(low, high)
  low = tf.where(is_flat, tf.minimum(low, (1.0 - _SLIVER) * size), low)
  high = tf.where(is_flat, tf.maximum(high, _SLIVER * size), high)
  return tf.concat([low, high], -1)
