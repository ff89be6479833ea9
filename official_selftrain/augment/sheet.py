"""Contact sheets of augmentation: each image and draws of a policy, with boxes, masks and the names of the ops."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from official_selftrain.core import drawing, keys

# Space around tiles, and the height of a line of text, in pixels.
GAP = 8
LINE_HEIGHT = 15
_FONT_SIZE = 12
# Font of class numbers: a share of the tile's longer side, and at least so many pixels.
_TAG_SHARE, _MIN_TAG_SIZE = 0.04, 10
_BOX_LINE = 2

PAGE = (255, 255, 255)
_INK = (20, 22, 26)

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a sheet.

  Attributes:
    title: lines under the first tile.
    original: example that goes into a policy: `image` uint8 [h, w, 3]; optional `groundtruth_boxes` float32 [n, 4],
      yxyx in [0, 1], with `groundtruth_classes` [n] and, if wanted, `groundtruth_is_crowd` [n]; optional
      `semantic_mask` uint8 [h, w, 1].
    draws: results of the policy with one seed each, `image` in 0..255, that is without normalisation.
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

  Tiles keep the aspect ratio of their image. Boxes are drawn in the colour of their class, dashed for crowds, with the
  number of the class where the box is large enough for it, see `drawing.Tile.draw`. Masks are tinted with the same
  colours; class 0 is left clear, and 255 is hatched.

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
  font = drawing.font(_FONT_SIZE)
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
  font = drawing.font(_FONT_SIZE)
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
  # Enlarged pixels stay visible as such.
  tile = drawing.Tile(pixels, side, keeps_pixels=True)
  if keys.SEMANTIC_MASK in example:
    tile.tint(example[keys.SEMANTIC_MASK][..., 0])
  if keys.GROUNDTRUTH_BOXES in example:
    font_size = max(_MIN_TAG_SIZE, round(_TAG_SHARE * side))
    style = drawing.Style(line=_BOX_LINE, font_size=font_size, tags_need_room=True)
    tile.draw(_boxes(example), style)
  return tile.image


def _boxes(example: Arrays) -> list[drawing.Box]:
  boxes, classes = example[keys.GROUNDTRUTH_BOXES], example[keys.GROUNDTRUTH_CLASSES]
  crowds = example.get(keys.GROUNDTRUTH_IS_CROWD, np.zeros(len(boxes), bool))
  drawn = []
  for box, class_id, is_crowd in zip(boxes.tolist(), classes.tolist(), crowds, strict=True):
    ymin, xmin, ymax, xmax = box
    colour = drawing.class_colour(class_id)
    drawn.append(drawing.Box(ymin, xmin, ymax, xmax, colour, str(class_id), bool(is_crowd)))
  return drawn
