"""Contact sheets of augmentation: each image beside draws of a policy, with boxes, masks and the names of the ops."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from official_selftrain.core import keys, overlays

# Space around tiles, and the height of a line of text, in pixels.
GAP = 8
LINE_HEIGHT = 15
_FONT_SIZE = 12
# Of the numbers of classes, as a share of the tile's side, and at least so many pixels.
_LABEL_SHARE, _MIN_LABEL_SIZE = 0.04, 10

PAGE = (255, 255, 255)
_INK = (20, 22, 26)
# Share of the three primaries in brightness; text on what is darker than the limit is white.
_LUMA = (0.299, 0.587, 0.114)
_DARK = 96.0

BOX_LINE = 2
_DASH = 4

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a sheet.

  Attributes:
    title: lines under the first tile.
    original: example that goes into a policy: `image` uint8 [h, w, 3]; optional `groundtruth_boxes` float32 [n, 4],
      yxyx in [0, 1], with `groundtruth_classes` [n] and, if wanted, `groundtruth_is_crowd` [n]; optional
      `semantic_mask` uint8 [h, w, 1].
    draws: what the policy makes of it with one seed each, `image` in 0..255, that is without normalisation.
    is_mixed: whether draws show boxes of other images too.
  """

  title: Sequence[str]
  original: Arrays
  draws: Sequence[Arrays]
  is_mixed: bool = False


@dataclasses.dataclass(frozen=True)
class Sheet:
  """A picture and the text in it.

  Attributes:
    image: uint8 [height, width, 3].
    captions: lines of text under each tile, by row and column.
  """

  image: np.ndarray
  captions: tuple[tuple[tuple[str, ...], ...], ...]


@dataclasses.dataclass(frozen=True)
class _Tile:
  picture: Image.Image
  caption: tuple[str, ...]


def compose(rows: Sequence[Row], tile_side: int = 256) -> Sheet:
  """Draws rows of tiles: the original, then the draws.

  Tiles keep the aspect ratio of their image. Boxes are lines in the colour of
  their class, just inside the box's edge and dashed for crowds, with the number of the class. Masks are tinted with
  the same colours; class 0 is left clear, and 255 is hatched.

  Args:
    rows: what to draw, at least one.
    tile_side: longer side of tiles in pixels.

  Returns:
    The sheet.
  """
  tiles = [
    [_original_tile(row, tile_side), *(_augmented_tile(draw, row, tile_side) for draw in row.draws)]
    for row in rows
  ]
  heights = [max(tile.picture.height for tile in row) for row in tiles]
  lines = [max(len(tile.caption) for tile in row) for row in tiles]
  columns = max(len(row) for row in tiles)
  page_height = GAP + sum(
    height + count * LINE_HEIGHT + GAP for height, count in zip(heights, lines, strict=True)
  )
  page = Image.new('RGB', (GAP + columns * (tile_side + GAP), page_height), PAGE)
  canvas = ImageDraw.Draw(page)
  font = ImageFont.load_default(_FONT_SIZE)
  y = GAP
  for row, height, count in zip(tiles, heights, lines, strict=True):
    for column, tile in enumerate(row):
      x = GAP + column * (tile_side + GAP)
      page.paste(tile.picture, (x, y))
      for line, text in enumerate(tile.caption):
        canvas.text((x, y + height + line * LINE_HEIGHT), text, fill=_INK, font=font)
    y += height + count * LINE_HEIGHT + GAP
  return Sheet(np.asarray(page), tuple(tuple(tile.caption for tile in row) for row in tiles))


def _original_tile(row: Row, side: int) -> _Tile:
  height, width = row.original['image'].shape[:2]
  facts = [f'original, {height} x {width}']
  example = dict(row.original)
  if keys.GROUNDTRUTH_BOXES in example:
    boxes = example[keys.GROUNDTRUTH_BOXES]
    example[keys.GROUNDTRUTH_BOXES] = boxes * [height, width, height, width]
    facts.append(_plural(len(boxes), 'box'))
  caption = [*row.title, ', '.join(facts)]
  lines = [line for text in caption for line in _wrap(text.split(' '), side)]
  return _Tile(_picture(example, side), tuple(lines))


def _augmented_tile(draw: Arrays, row: Row, side: int) -> _Tile:
  """A tile with what was done to the image."""
  caption = []
  if keys.APPLIED_OPS in draw and len(draw[keys.APPLIED_OPS]):
    names = [name.decode() for name in draw[keys.APPLIED_OPS] if name]
    caption.append(', '.join(names) or 'no op')
  facts = ['flipped'] if draw['is_flipped'] else []
  facts.append(f'scale {draw["image_info"][2, 0]:.2f}')
  if keys.GROUNDTRUTH_BOXES in draw:
    before, after = len(row.original[keys.GROUNDTRUTH_BOXES]), len(draw[keys.GROUNDTRUTH_BOXES])
    facts.append(_plural(after, 'box') if row.is_mixed else f'{after} of {_plural(before, "box")}')
  caption.append(', '.join(facts))
  lines = [line for text in caption for line in _wrap(text.split(' '), side)]
  return _Tile(_picture(draw, side), tuple(lines))


def _plural(count: int, noun: str) -> str:
  return f'{count} {noun}' if count == 1 else f'{count} {noun}es'


def _wrap(words: Sequence[str], width: int) -> list[str]:
  """Joins words to lines of at most `width` pixels; a word that is too long loses its beginning."""
  font = ImageFont.load_default(_FONT_SIZE)
  lines: list[str] = []
  for word in words:
    while len(word) > 1 and font.getlength(word) > width:
      word = f'…{word[2:]}'
    joined = f'{lines[-1]} {word}' if lines else word
    if lines and font.getlength(joined) <= width:
      lines[-1] = joined
    else:
      lines.append(word)
  return lines


def _picture(example: Arrays, side: int) -> Image.Image:
  """Image at the size of a tile with its labels drawn; boxes in pixels of the image."""
  pixels = np.clip(np.rint(example['image']), 0, 255).astype(np.uint8)
  height, width = pixels.shape[:2]
  scale = side / max(height, width)
  size = (max(1, round(width * scale)), max(1, round(height * scale)))
  # Enlarged pixels stay visible as such.
  resampling = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
  picture = Image.fromarray(pixels).resize(size, resampling)
  if keys.SEMANTIC_MASK in example:
    mask = Image.fromarray(example[keys.SEMANTIC_MASK][..., 0])
    shown = np.asarray(mask.resize(size, Image.Resampling.NEAREST))
    picture = Image.fromarray(overlays.tint(np.asarray(picture), shown))
  if keys.GROUNDTRUTH_BOXES in example:
    _draw_boxes(picture, example, scale)
  return picture


def _draw_boxes(picture: Image.Image, example: Arrays, scale: float) -> None:
  canvas = ImageDraw.Draw(picture)
  font = ImageFont.load_default(max(_MIN_LABEL_SIZE, round(_LABEL_SHARE * max(picture.size))))
  boxes = example[keys.GROUNDTRUTH_BOXES]
  classes = example[keys.GROUNDTRUTH_CLASSES]
  crowds = example.get(keys.GROUNDTRUTH_IS_CROWD, np.zeros(len(boxes), bool))
  for box, class_id, is_crowd in zip(boxes, classes, crowds, strict=True):
    left, top, right, bottom = _corners(box * scale, picture.size)
    colour = overlays.class_colour(int(class_id))
    for inset in range(BOX_LINE):
      ring = (left + inset, top + inset, right - inset, bottom - inset)
      if ring[0] <= ring[2] and ring[1] <= ring[3]:
        _draw_ring(canvas, ring, colour, bool(is_crowd))
    text = str(int(class_id))
    x, y = left + BOX_LINE, top + BOX_LINE
    _, _, text_right, text_bottom = canvas.textbbox((x, y), text, font=font)
    # Where the number would hide what is in the box, it is left out.
    if 2 * (text_right - x) < right - x and 2 * (text_bottom - y) < bottom - y:
      canvas.rectangle((x, y, int(text_right) + 1, int(text_bottom) + 1), fill=colour)
      is_dark = np.dot(_LUMA, colour) < _DARK
      canvas.text((x + 1, y + 1), text, fill=PAGE if is_dark else _INK, font=font)


def _corners(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
  """First and last pixels of a yxyx box: left, top, right, bottom, inside the picture and never empty."""
  width, height = size
  ymin, xmin, ymax, xmax = (round(float(side)) for side in box)
  left, top = min(max(xmin, 0), width - 1), min(max(ymin, 0), height - 1)
  return left, top, min(max(xmax - 1, left), width - 1), min(max(ymax - 1, top), height - 1)


def _draw_ring(
  canvas: ImageDraw.ImageDraw,
  ring: tuple[int, int, int, int],
  colour: tuple[int, int, int],
  is_dashed: bool,
) -> None:
  left, top, right, bottom = ring
  if not is_dashed:
    canvas.rectangle(ring, outline=colour)
    return
  for x in range(left, right + 1, 2 * _DASH):
    for y in (top, bottom):
      canvas.line([(x, y), (min(x + _DASH - 1, right), y)], fill=colour)
  for y in range(top, bottom + 1, 2 * _DASH):
    for x in (left, right):
      canvas.line([(x, y), (x, min(y + _DASH - 1, bottom))], fill=colour)
