"""The report's tiles as pictures, and pictures as data URIs."""

import base64
import io

from PIL import Image

from official_selftrain.core import drawing
from official_selftrain.report import contents

# Longest side of a drawn tile in pixels: twice the default scenes.
TILE_SIDE = 256
# Distinct for people with any colour vision: the Okabe-Ito palette, and white. All are light, so
# that dark text on them and a dark rim around them stand out on any picture.
COLOURS: dict[contents.Kind, drawing.Colour] = {
  'truth': (255, 255, 255),
  'teacher': (230, 159, 0),
  'student': (86, 180, 233),
  'sure': (240, 228, 66),
  'unsure': (231, 153, 200),
}
DASHED: frozenset[contents.Kind] = frozenset({'unsure'})
_STYLE = drawing.Style()
_MAX_LABEL = 14
_JPEG_QUALITY = 86


def draw_tile(tile: contents.Tile) -> Image.Image:
  """Brings a tile's image to `TILE_SIDE` and draws its mask, over the picture in grey, and its boxes.

  Each box has the colour of its kind and a tag with class and score, see `drawing.Tile.draw`.

  Args:
    tile: image `[height, width, 3]` uint8 and boxes in its pixels.

  Returns:
    An RGB image whose longest side is `TILE_SIDE`.

  Raises:
    ValueError: the image is not `[height, width, 3]` uint8, or the mask not of its size.
  """
  drawn = drawing.Tile(tile.image, TILE_SIDE)
  if tile.mask is not None:
    drawn.tint(tile.mask, in_grey=True)
  drawn.draw([_box(box) for box in tile.boxes], _STYLE)
  return drawn.image


def _box(box: contents.Box) -> drawing.Box:
  name = box.label if len(box.label) <= _MAX_LABEL else box.label[: _MAX_LABEL - 1] + '…'
  tag = name if box.score is None else f'{name}: {box.score:.2f}'
  edges = (box.ymin, box.xmin, box.ymax, box.xmax)
  return drawing.Box(*edges, COLOURS[box.kind], tag, box.kind in DASHED)


def data_uri(image: Image.Image) -> str:
  """The image as a JPEG inside a URI."""
  stream = io.BytesIO()
  # Full colour resolution, or thin coloured lines would smear.
  image.save(stream, 'JPEG', quality=_JPEG_QUALITY, subsampling=0, optimize=True)
  return 'data:image/jpeg;base64,' + base64.b64encode(stream.getvalue()).decode('ascii')
