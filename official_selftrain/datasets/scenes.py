"""Composes scenes of handwritten digits with exact boxes and masks.

The digits are the 1,797 images of 8 x 8 cells that come with scikit-learn. Training scenes draw
from the first two thirds of them, validation scenes from the last third: no digit, and hardly a
writer, is in both. Images for classification draw from the first two thirds as well, of which the last
sixth is kept for the held-out ones.
"""

import dataclasses
import enum
import functools
import math

import numpy as np
from PIL import Image

from official_selftrain.configs import datasets as dataset_configs
from official_selftrain.datasets import tf_examples

CLASS_NAMES = ('background', *(str(digit) for digit in range(10)))

_CELLS = 8
_INK_LEVELS = 16.0
# Around the 8 x 8 cells there is enough empty paper for the interpolation's kernel at any rotation.
_MARGIN_CELLS = 4

# Interpolated ink below the first value is paper and above the second it is opaque; the soft edge
# is between the two. Higher values close fewer of the digits' loops but break thin strokes into pieces.
_INK_RANGE = (0.2, 0.6)
_MASK_ALPHA = 0.5
_VISIBLE_ALPHA = 1.0 / 255.0

_LAYOUT_ATTEMPTS = 12
_PLACEMENT_ATTEMPTS = 40

_MIN_CONTRAST = 64.0
_COLOUR_CANDIDATES = 16
_LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114])


class Split(enum.IntEnum):
  """The splits; the value goes into the seed of their scenes."""

  LABELLED = 0
  UNLABELLED = 1
  VALIDATION = 2
  CLASSES = 3
  CLASSES_VALIDATION = 4


@dataclasses.dataclass(frozen=True)
class Glyphs:
  """Digits that scenes are composed of.

  Attributes:
    ink: float64 `[n, 8, 8]` in [0, 1].
    digits: int64 `[n]` in [0, 9].
    indices: int64 `[n]`, positions in the set that comes with scikit-learn.
  """

  ink: np.ndarray
  digits: np.ndarray
  indices: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scene:
  """An image and what is in it.

  Attributes:
    image: uint8 `[size, size, 3]`, RGB.
    instances: its digits; a class id is the digit plus 1.
    glyph_indices: int64 `[n]`, which handwritten digits were drawn, as in `Glyphs.indices`.
  """

  image: np.ndarray
  instances: tf_examples.Instances
  glyph_indices: np.ndarray


@functools.cache
def load_glyphs(split: Split) -> Glyphs:
  """Handwritten digits that may appear in the scenes of a split."""
  from sklearn import (
    datasets as sklearn_datasets,
  )  # Slow to import, and only needed where data is made.

  source = sklearn_datasets.load_digits()
  training, validation = np.split(np.arange(len(source.target)), [2 * len(source.target) // 3])
  to_learn, held_out = np.split(training, [5 * len(training) // 6])
  chosen = training
  if split is Split.VALIDATION:
    chosen = validation
  elif split is Split.CLASSES:
    chosen = to_learn
  elif split is Split.CLASSES_VALIDATION:
    chosen = held_out
  return Glyphs(source.images[chosen] / _INK_LEVELS, source.target[chosen].astype(np.int64), chosen)


def compose(config: dataset_configs.Digits, split: Split, index: int) -> Scene:
  """Composes one scene.

  Args:
    config: valid settings of the digits.
    split: which stream of scenes, and with it which digits, to draw from.
    index: number of the scene in its split, from 0.

  Returns:
    The scene. It depends on the arguments alone, and of `config` not on the numbers of images.
  """
  rng = np.random.default_rng(np.random.SeedSequence([config.seed, int(split), index]))
  glyphs = load_glyphs(split)
  count = int(rng.integers(config.min_digits, config.max_digits + 1))
  chosen = rng.integers(len(glyphs.digits), size=count)
  patches, corners = _lay_out(config, glyphs.ink[chosen], rng)
  image = _background(config.image_size, rng)
  masks = np.zeros((count, config.image_size, config.image_size), dtype=bool)
  for mask, patch, (top, left) in zip(masks, patches, corners, strict=True):
    window = (slice(top, top + patch.shape[0]), slice(left, left + patch.shape[1]))
    colour = _contrasting_colour(image[window].mean(axis=(0, 1)), rng)
    image[window] += patch[..., None] * (colour - image[window])
    mask[window] = patch > _MASK_ALPHA
  image += rng.uniform(2.0, 8.0) * rng.standard_normal(image.shape, dtype=np.float32)
  instances = tf_examples.Instances(
    classes=glyphs.digits[chosen] + 1,
    boxes=np.array([tf_examples.tight_box(mask) for mask in masks]),
    masks=masks,
  )
  return Scene(np.clip(np.rint(image), 0, 255).astype(np.uint8), instances, glyphs.indices[chosen])


def draw_glyph(ink: np.ndarray, size: float, rotation: float) -> np.ndarray:
  """Draws one handwritten digit.

  Args:
    ink: float64 `[8, 8]` in [0, 1].
    size: side of the field that the 8 x 8 cells fill, in pixels.
    rotation: counter-clockwise, in degrees.

  Returns:
    Opacity in [0, 1], float64 `[height, width]`, cut to its visible part.
  """
  cells = Image.fromarray(np.pad(ink, _MARGIN_CELLS).astype(np.float32))
  side = dataset_configs.digit_extent(size, abs(rotation)) + 2
  scale = _CELLS / size
  cosine, sine = (scale * part(math.radians(rotation)) for part in (math.cos, math.sin))
  # Pillow wants the way back, from pixels to cells, about the two centres.
  centre, cell_centre = side / 2, _CELLS / 2 + _MARGIN_CELLS
  left = cell_centre - (cosine - sine) * centre
  top = cell_centre - (cosine + sine) * centre
  backward = (cosine, -sine, left, sine, cosine, top)
  drawn = cells.transform((side, side), Image.Transform.AFFINE, backward, Image.Resampling.BICUBIC)
  low, high = _INK_RANGE
  opacity = np.clip((np.asarray(drawn, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
  ymin, xmin, ymax, xmax = tf_examples.tight_box(opacity > _VISIBLE_ALPHA)
  return opacity[ymin:ymax, xmin:xmax]


def _lay_out(
  config: dataset_configs.Digits, inks: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
  """Draws the digits of a scene and finds places for them, smaller with each attempt that fails."""
  scale = config.image_size / dataset_configs.REFERENCE_IMAGE_SIZE
  low, high = config.min_size * scale, config.max_size * scale
  for largest in np.linspace(high, low, _LAYOUT_ATTEMPTS):
    sizes = rng.uniform(low, largest, size=len(inks))
    rotations = rng.uniform(-config.max_rotation, config.max_rotation, size=len(inks))
    patches = [draw_glyph(*each) for each in zip(inks, sizes, rotations, strict=True)]
    corners = _scatter([patch.shape for patch in patches], config.image_size, rng)
    if corners is not None:
      return patches, corners
  # All are of the smallest size now, and valid settings leave each of them a cell of this grid.
  cell = dataset_configs.digit_extent(low, config.max_rotation)
  per_side = config.image_size // cell
  cells = rng.permutation(per_side**2)[: len(inks)]
  return patches, [(int(each) // per_side * cell, int(each) % per_side * cell) for each in cells]


def _scatter(
  shapes: list[tuple[int, ...]], image_size: int, rng: np.random.Generator
) -> list[tuple[int, int]] | None:
  """Random top left corners at which rectangles do not overlap, or None if they were not found."""
  corners: dict[int, tuple[int, int]] = {}
  for index in sorted(range(len(shapes)), key=lambda index: -math.prod(shapes[index])):
    height, width = shapes[index]
    room = (image_size - height + 1, image_size - width + 1)
    for top, left in rng.integers(0, room, size=(_PLACEMENT_ATTEMPTS, 2)).tolist():
      if all(
        top >= y + shapes[other][0]
        or y >= top + height
        or left >= x + shapes[other][1]
        or x >= left + width
        for other, (y, x) in corners.items()
      ):
        corners[index] = (top, left)
        break
    else:
      return None
  return [corners[index] for index in range(len(shapes))]


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
  """A dark, smooth, coloured image without noise, float64 `[size, size, 3]` in [0, 255]."""
  cells = int(rng.integers(3, 9))
  colours = rng.integers(0, 256, size=(cells, cells, 3), dtype=np.uint8)
  smooth = Image.fromarray(colours).resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(smooth, dtype=np.float64) * rng.uniform(0.3, 0.8)


def _contrasting_colour(background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """A random RGB colour whose brightness differs from that of `background`.

  Args:
    background: float64 `[3]`, mean colour behind the digit, in [0, 255].
    rng: source of the candidates.

  Returns:
    float64 `[3]`, the first candidate with enough contrast, or the one with the most.
  """
  candidates = rng.uniform(0.0, 255.0, size=(_COLOUR_CANDIDATES, 3))
  contrast = np.abs((candidates - background) @ _LUMA_WEIGHTS)
  enough = np.flatnonzero(contrast >= _MIN_CONTRAST)
  return candidates[enough[0] if enough.size else contrast.argmax()]
