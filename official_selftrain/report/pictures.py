"""Boxes drawn on images, and images as data URIs."""

import base64
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from official_selftrain.core import overlays
from official_selftrain.report import contents

# Longest side of a drawn tile in pixels: twice the default scenes.
TILE_SIDE = 256
# Told apart by people with any colour vision: the Okabe-Ito palette, and white. All are light, so
# that dark text on them and a dark rim around them stand out on any picture.
COLOURS: dict[contents.Kind, tuple[int, int, int]] = {
  'truth': (255, 255, 255),
  'teacher': (230, 159, 0),
  'student': (86, 180, 233),
  'sure': (240, 228, 66),
  'unsure': (231, 153, 200),
}
DASHED: frozenset[contents.Kind] = frozenset({'unsure'})
_RIM = (16, 18, 22)
_LINE = 3
_DASH, _DASH_GAP = 7, 5
_FONT_SIZE = 17
_MAX_LABEL = 14
_JPEG_QUALITY = 86


def draw_tile(tile: contents.Tile) -> Image.Image:
  """Enlarges or reduces a tile's image to `TILE_SIDE`, draws its mask over it in grey, and its boxes.

  Each box is a line of three pixels in its kind's colour, whose outer edge is the box's edge, with
  a dark rim of one pixel on either side, and a label with class and score.

  Args:
    tile: image `[height, width, 3]` uint8 and boxes in its pixels.

  Returns:
    An RGB image whose longest side is `TILE_SIDE`.

  Raises:
    ValueError: the image is not `[height, width, 3]` uint8, or the mask not of its size.
  """
  pixels = np.asarray(tile.image)
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
    raise ValueError(
      f'A tile needs a uint8 image [height, width, 3], got {pixels.dtype} {list(pixels.shape)}.'
    )
  height, width = pixels.shape[:2]
  scale = TILE_SIDE / max(height, width)
  size = (max(1, round(width * scale)), max(1, round(height * scale)))
  image = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
  if tile.mask is not None:
    if tile.mask.dtype != np.uint8 or tile.mask.shape != (height, width):
      raise ValueError(
        f'A mask of this tile must be uint8 [{height}, {width}], got {tile.mask.dtype} {list(tile.mask.shape)}.'
      )
    mask = Image.fromarray(tile.mask).resize(size, Image.Resampling.NEAREST)
    # In grey, so that colours are the classes'.
    grey = np.asarray(image.convert('L').convert('RGB'))
    image = Image.fromarray(overlays.tint(grey, np.asarray(mask)))
  canvas = ImageDraw.Draw(image)
  corners = [_corners(box, scale, size) for box in tile.boxes]
  for box, corner in zip(tile.boxes, corners, strict=True):
    _draw_box(canvas, corner, box.kind)
  font = ImageFont.load_default(_FONT_SIZE)
  # Labels last, so that no neighbour's line crosses them.
  for box, corner in zip(tile.boxes, corners, strict=True):
    _draw_label(canvas, corner, box, font)
  return image


def data_uri(image: Image.Image) -> str:
  """The image as a JPEG inside a URI."""
  stream = io.BytesIO()
  # Full colour resolution, or thin coloured lines would smear.
  image.save(stream, 'JPEG', quality=_JPEG_QUALITY, subsampling=0, optimize=True)
  return 'data:image/jpeg;base64,' + base64.b64encode(stream.getvalue()).decode('ascii')


def _corners(box: contents.Box, scale: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
  """Left, top, right, bottom in canvas pixels, inclusive, inside the canvas, never empty."""
  width, height = size
  left = min(max(round(box.xmin * scale), 0), width - 1)
  top = min(max(round(box.ymin * scale), 0), height - 1)
  right = min(max(round(box.xmax * scale) - 1, left), width - 1)
  bottom = min(max(round(box.ymax * scale) - 1, top), height - 1)
  return left, top, right, bottom


def _draw_box(
  canvas: ImageDraw.ImageDraw, corners: tuple[int, int, int, int], kind: contents.Kind
) -> None:
  left, top, right, bottom = corners
  for inset in range(-1, _LINE + 1):
    is_rim = inset in (-1, _LINE)
    ring = (left + inset, top + inset, right - inset, bottom - inset)
    if ring[0] > ring[2] or ring[1] > ring[3]:
      return  # The box is smaller than its own line.
    if kind in DASHED and not is_rim:
      canvas.rectangle(ring, outline=_RIM)
      _dashed_ring(canvas, ring, COLOURS[kind])
    else:
      canvas.rectangle(ring, outline=_RIM if is_rim else COLOURS[kind])


def _dashed_ring(
  canvas: ImageDraw.ImageDraw, ring: tuple[int, int, int, int], colour: tuple[int, int, int]
) -> None:
  left, top, right, bottom = ring
  for start in range(left, right + 1, _DASH + _DASH_GAP):
    end = min(start + _DASH - 1, right)
    canvas.line([(start, top), (end, top)], fill=colour)
    canvas.line([(start, bottom), (end, bottom)], fill=colour)
  for start in range(top, bottom + 1, _DASH + _DASH_GAP):
    end = min(start + _DASH - 1, bottom)
    canvas.line([(left, start), (left, end)], fill=colour)
    canvas.line([(right, start), (right, end)], fill=colour)


def _draw_label(
  canvas: ImageDraw.ImageDraw,
  corners: tuple[int, int, int, int],
  box: contents.Box,
  font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
  """A filled tag above the box, or below it, or inside it, wherever there is room."""
  name = box.label if len(box.label) <= _MAX_LABEL else box.label[: _MAX_LABEL - 1] + '…'
  text = name if box.score is None else f'{name}: {box.score:.2f}'
  left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
  width, height = int(right - left) + 8, int(bottom - top) + 8
  x = max(min(corners[0] - 1, canvas.im.size[0] - width), 0)
  y = corners[1] - height
  if y < 0:
    y = corners[3] + 1 if corners[3] + height < canvas.im.size[1] else corners[1]
  canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=COLOURS[box.kind], outline=_RIM)
  canvas.text((x + 4 - left, y + 4 - top), text, fill=_RIM, font=font)
