"""Draws class masks, boxes, and tags with names and scores on pictures."""

import colorsys
import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from official_selftrain.core import keys

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
# First and last pixels: left, top, right, bottom.
_Corners = tuple[int, int, int, int]

# Neighbouring class ids get hues far apart.
_GOLDEN_RATIO = 0.618034
_OPACITY = 0.45
# Pixels of label 255: one diagonal line in so many pixels.
_HATCH = 6
HATCH_COLOUR: Colour = (190, 190, 190)

RIM_COLOUR: Colour = (16, 18, 22)
_LIGHT_INK: Colour = (255, 255, 255)
# Shares of the three primaries in brightness; text on what is darker than the limit is white.
_LUMA = (0.299, 0.587, 0.114)
_DARK = 96.0
_DASH, _DASH_GAP = 7, 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
  """The style in which boxes are drawn.

  Attributes:
    line: width of a box's line in pixels, without the dark rim of one pixel on either side.
    font_size: of tags, in pixels.
    tags_need_room: whether a tag is left out where it would take more than half the width or height of its box.
  """

  line: int = 3
  font_size: int = 17
  tags_need_room: bool = False


@dataclasses.dataclass(frozen=True)
class Box:
  """One box.

  Attributes:
    ymin: top edge, in pixels of the image before it was brought to the size of the tile.
    xmin: left edge.
    ymax: bottom edge, exclusive.
    xmax: right edge, exclusive.
    colour: of its line and its tag.
    tag: text next to it; '' for no tag.
    is_dashed: whether its line is interrupted.
  """

  ymin: float
  xmin: float
  ymax: float
  xmax: float
  colour: Colour
  tag: str = ''
  is_dashed: bool = False


def class_colour(class_id: int) -> Colour:
  """Colour of a class in boxes and masks: strong, and unlike those of the classes before and after."""
  hue = class_id * _GOLDEN_RATIO % 1.0
  red, green, blue = colorsys.hsv_to_rgb(hue, (1.0, 0.6)[class_id % 2], 1.0)
  return round(255 * red), round(255 * green), round(255 * blue)


@functools.cache
def _palette() -> np.ndarray:
  """Colours of all values that a mask can have, float32 [256, 3]."""
  return np.array([class_colour(class_id) for class_id in range(256)], np.float32)


def tint(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """The image with translucent colours where a mask has a class; class 0 is left clear, and 255 is hatched.

  Args:
    image: uint8 [height, width, 3].
    mask: uint8 [height, width], class ids.

  Returns:
    uint8 [height, width, 3].
  """
  pixels = image.astype(np.float32)
  is_class = ((mask > 0) & (mask != keys.IGNORE_LABEL))[..., None]
  pixels += np.where(is_class, _OPACITY, 0.0) * (_palette()[mask] - pixels)
  rows, columns = np.indices(mask.shape)
  is_line = (rows + columns) % _HATCH == 0
  pixels[is_line & (mask == keys.IGNORE_LABEL)] = HATCH_COLOUR
  return np.rint(pixels).astype(np.uint8)


@functools.cache
def font(size: int) -> Font:
  """Pillow's own font, so that pictures are the same everywhere; `size` in pixels."""
  return ImageFont.load_default(size)


class Tile:
  """An image enlarged or reduced to the size of a tile, to draw on.

  Attributes:
    image: RGB; its longer side is the tile's.
  """

  def __init__(self, pixels: np.ndarray, side: int, keeps_pixels: bool = False) -> None:
    """Resizes the image; its aspect ratio stays.

    Args:
      pixels: uint8 [height, width, 3].
      side: longer side of the tile in pixels.
      keeps_pixels: whether pixels of an enlarged image stay visible as squares; otherwise they are interpolated.

    Raises:
      ValueError: the image is not uint8 [height, width, 3].
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
      raise ValueError(
        f'A tile needs a uint8 image [height, width, 3], got {pixels.dtype} {list(pixels.shape)}.'
      )
    height, width = pixels.shape[:2]
    self._given = (height, width)
    self._scale = side / max(height, width)
    size = (max(1, round(width * self._scale)), max(1, round(height * self._scale)))
    is_sharp = keeps_pixels and self._scale >= 1
    resampling = Image.Resampling.NEAREST if is_sharp else Image.Resampling.LANCZOS
    self.image = Image.fromarray(pixels).resize(size, resampling)

  def tint(self, mask: np.ndarray, in_grey: bool = False) -> None:
    """Lays a mask over the image, see the function `tint`.

    Args:
      mask: uint8 [height, width] of the given image, class ids.
      in_grey: whether the image turns grey, so that all colours are those of classes.

    Raises:
      ValueError: the mask has another type or size.
    """
    if mask.dtype != np.uint8 or mask.shape != self._given:
      raise ValueError(
        f'A mask of this tile must be uint8 {list(self._given)}, got {mask.dtype} {list(mask.shape)}.'
      )
    resized = Image.fromarray(mask).resize(self.image.size, Image.Resampling.NEAREST)
    below = self.image.convert('L').convert('RGB') if in_grey else self.image
    self.image = Image.fromarray(tint(np.asarray(below), np.asarray(resized)))

  def draw(self, boxes: Sequence[Box], style: Style) -> None:
    """Draws boxes, later ones on top, and their tags above all lines.

    The outer edge of a line is the edge of its box; there is a dark rim of one pixel on either side. Parts outside
    the image are drawn at its border, and a box without area as a dot. A tag is above its box, or below it where there
    is no room above, or else inside.

    Args:
      boxes: in pixels of the given image.
      style: widths and sizes.
    """
    canvas = ImageDraw.Draw(self.image)
    corners = [self._corners(box) for box in boxes]
    for box, corner in zip(boxes, corners, strict=True):
      _draw_line(canvas, corner, box, style.line)
    # Tags last, so that no neighbour's line crosses them.
    for box, corner in zip(boxes, corners, strict=True):
      if box.tag:
        _draw_tag(canvas, corner, box, style)

  def _corners(self, box: Box) -> _Corners:
    """Pixels of the tile, inside it and never empty."""
    width, height = self.image.size
    left = min(max(round(box.xmin * self._scale), 0), width - 1)
    top = min(max(round(box.ymin * self._scale), 0), height - 1)
    right = min(max(round(box.xmax * self._scale) - 1, left), width - 1)
    bottom = min(max(round(box.ymax * self._scale) - 1, top), height - 1)
    return left, top, right, bottom


def _draw_line(canvas: ImageDraw.ImageDraw, corners: _Corners, box: Box, line: int) -> None:
  left, top, right, bottom = corners
  for inset in range(-1, line + 1):
    ring = (left + inset, top + inset, right - inset, bottom - inset)
    if ring[0] > ring[2] or ring[1] > ring[3]:
      return  # The box is smaller than its own line.
    is_rim = inset in (-1, line)
    canvas.rectangle(ring, outline=RIM_COLOUR if is_rim or box.is_dashed else box.colour)
    if box.is_dashed and not is_rim:
      _draw_dashes(canvas, ring, box.colour)


def _draw_dashes(canvas: ImageDraw.ImageDraw, ring: _Corners, colour: Colour) -> None:
  left, top, right, bottom = ring
  for start in range(left, right + 1, _DASH + _DASH_GAP):
    end = min(start + _DASH - 1, right)
    canvas.line([(start, top), (end, top)], fill=colour)
    canvas.line([(start, bottom), (end, bottom)], fill=colour)
  for start in range(top, bottom + 1, _DASH + _DASH_GAP):
    end = min(start + _DASH - 1, bottom)
    canvas.line([(left, start), (left, end)], fill=colour)
    canvas.line([(right, start), (right, end)], fill=colour)


def _draw_tag(canvas: ImageDraw.ImageDraw, corners: _Corners, box: Box, style: Style) -> None:
  """A filled tag above the box, or below it, or inside it, wherever there is room."""
  letters = font(style.font_size)
  left, top, right, bottom = canvas.textbbox((0, 0), box.tag, font=letters)
  padding = style.font_size // 4
  width, height = int(right - left) + 2 * padding, int(bottom - top) + 2 * padding
  box_width, box_height = corners[2] + 1 - corners[0], corners[3] + 1 - corners[1]
  if style.tags_need_room and (2 * width > box_width or 2 * height > box_height):
    return
  x = max(min(corners[0] - 1, canvas.im.size[0] - width), 0)
  y = corners[1] - height
  if y < 0:
    y = corners[3] + 1 if corners[3] + height < canvas.im.size[1] else corners[1]
  canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=box.colour, outline=RIM_COLOUR)
  is_dark = sum(share * part for share, part in zip(_LUMA, box.colour, strict=True)) < _DARK
  ink = _LIGHT_INK if is_dark else RIM_COLOUR
  canvas.text((x + padding - left, y + padding - top), box.tag, fill=ink, font=letters)
