"""A picture of the first records of some TFRecord files, with their boxes."""

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from official_selftrain.core import drawing, files, keys
from official_selftrain.datasets import coco

_COLUMNS = 8
_LINES = 2
_TILE = 192
_TITLE_HEIGHT = 16
_TITLE_COLOUR = (255, 255, 255)
_STYLE = drawing.Style(line=1, font_size=10)


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of the sheet.

  Attributes:
    title: text above it.
    pattern: glob of TFRecord files.
    annotation_file: COCO JSON of the boxes; None to take them from the records.
  """

  title: str
  pattern: str
  annotation_file: str | None = None


def write(path: str | os.PathLike[str], rows: Sequence[Row], class_names: Sequence[str]) -> None:
  """Writes the sheet as a PNG file.

  Args:
    path: destination.
    rows: what to show.
    class_names: names by class id.
  """
  strips = [_strip(row, class_names) for row in rows]
  buffer = io.BytesIO()
  Image.fromarray(np.concatenate(strips)).save(buffer, 'PNG')
  files.write_bytes(path, buffer.getvalue())


def _strip(row: Row, class_names: Sequence[str]) -> np.ndarray:
  """One titled row of tiles, uint8 `[height, width, 3]`."""
  strip = Image.new('RGB', (_COLUMNS * _TILE, _TITLE_HEIGHT + _LINES * _TILE))
  ImageDraw.Draw(strip).text((4, 2), row.title, fill=_TITLE_COLOUR)
  dataset = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(row.pattern)))
  held_out = coco.read(row.annotation_file) if row.annotation_file else None
  for index, record in enumerate(dataset.take(_COLUMNS * _LINES).as_numpy_iterator()):
    features = tf.train.Example.FromString(record).features.feature
    source_id = features[keys.SOURCE_ID].bytes_list.value[0].decode()
    found = held_out.boxes(source_id) if held_out else _boxes_of_record(features)
    image = Image.open(io.BytesIO(features[keys.IMAGE_ENCODED].bytes_list.value[0]))
    tile = drawing.Tile(np.asarray(image.convert('RGB')), _TILE - 2)
    if found is not None:
      tile.draw(_named_boxes(found, image.size, class_names), _STYLE)
    line, column = divmod(index, _COLUMNS)
    strip.paste(tile.image, (column * _TILE, _TITLE_HEIGHT + line * _TILE))
  return np.asarray(strip)


def _boxes_of_record(features: Mapping[str, tf.train.Feature]) -> coco.Boxes:
  sides = (keys.BOX_YMIN, keys.BOX_XMIN, keys.BOX_YMAX, keys.BOX_XMAX)
  boxes = np.array([features[side].float_list.value for side in sides], np.float32).T
  classes = np.array(features[keys.BOX_CLASS].int64_list.value, np.int64)
  crowds = np.array(features[keys.BOX_IS_CROWD].int64_list.value, bool)
  return coco.Boxes(boxes, classes, crowds if len(crowds) else np.zeros(len(classes), bool))


def _named_boxes(
  found: coco.Boxes, size: tuple[int, int], class_names: Sequence[str]
) -> list[drawing.Box]:
  """Boxes in pixels of an image of `size` (width, height), in the colours and with the names of their classes."""
  pixels = found.boxes * np.tile(size[::-1], 2)
  drawn = []
  for box, class_id, is_crowd in zip(
    pixels.tolist(), found.classes.tolist(), found.is_crowd.tolist(), strict=True
  ):
    ymin, xmin, ymax, xmax = box
    colour, name = drawing.class_colour(class_id), class_names[class_id]
    drawn.append(drawing.Box(ymin, xmin, ymax, xmax, colour, name, is_crowd))
  return drawn
