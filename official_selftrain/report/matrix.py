"""A confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from official_selftrain.core import drawing

# More classes make a picture that nobody can look at.
MAX_CLASSES = 200
# Above so many classes cells are too small for figures.
_MAX_WITH_FIGURES = 25
_CELL, _SMALL_CELL = 44, 12
_FONT, _SMALL_FONT = 14, 10
_GAP = 6
_PAPER: drawing.Colour = (255, 255, 255)
_INK: drawing.Colour = (16, 18, 22)
_FULL: drawing.Colour = (0, 84, 147)
_LINE: drawing.Colour = (225, 228, 232)
# From this share on a cell is dark, and its figure white.
_DARK_SHARE = 0.5


def draw(names: Sequence[str], counts: np.ndarray) -> Image.Image:
  """Draws the share of each true class (row) that is predicted as each class (column).

  Args:
    names: of the classes.
    counts: integers [classes, classes], true class by predicted class. A row without any is left white.

  Returns:
    An RGB image. Up to 25 classes each share that is not 0 is written as a percentage.

  Raises:
    ValueError: there is not one row and one column for each name.
  """
  size = len(names)
  if np.shape(counts) != (size, size):
    raise ValueError(f'{size} names need counts of {size} x {size}, got {list(np.shape(counts))}.')
  has_figures = size <= _MAX_WITH_FIGURES
  cell = _CELL if has_figures else _SMALL_CELL
  font = drawing.font(_FONT if has_figures else _SMALL_FONT)
  labels = [_label(name, font) for name in names]
  margin = max(label.width for label in labels) + 2 * _GAP
  head = drawing.font(_FONT)
  top = margin + 2 * _FONT
  image = Image.new('RGB', (margin + size * cell + _GAP, top + size * cell + _GAP), _PAPER)
  canvas = ImageDraw.Draw(image)
  canvas.text((_GAP, _GAP), 'rows: true class, columns: predicted', _INK, head)
  totals = counts.sum(axis=1)
  for row, label in enumerate(labels):
    y = top + row * cell
    image.paste(label, (margin - _GAP - label.width, y + (cell - label.height) // 2))
    turned = label.rotate(90, expand=True)
    x = margin + row * cell + (cell - turned.width) // 2
    image.paste(turned, (x, top - _GAP - turned.height))
    for column in range(size):
      share = counts[row, column] / totals[row] if totals[row] else 0.0
      _draw_cell(canvas, (margin + column * cell, y), cell, share, font if has_figures else None)
  return image


def _label(text: str, font: drawing.Font) -> Image.Image:
  """The text alone, dark on white."""
  left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
  image = Image.new('RGB', (max(right - left, 1), max(bottom - top, 1)), _PAPER)
  ImageDraw.Draw(image).text((-left, -top), text, _INK, font)
  return image


def _draw_cell(
  canvas: ImageDraw.ImageDraw,
  corner: tuple[int, int],
  side: int,
  share: float,
  font: drawing.Font | None,
) -> None:
  x, y = corner
  fill = tuple(
    round(paper + share * (full - paper)) for paper, full in zip(_PAPER, _FULL, strict=True)
  )
  canvas.rectangle((x, y, x + side - 1, y + side - 1), fill, _LINE)
  if font is not None and share > 0:
    ink = _PAPER if share >= _DARK_SHARE else _INK
    figure = f'{share:.0%}' if share >= 0.01 else '<1%'
    canvas.text((x + side / 2, y + side / 2), figure, ink, font, anchor='mm')
