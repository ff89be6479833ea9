"""A picture of the first records of some TFRecord files, with their boxes."""

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from official_selftrain.core import files, keys

_COLUMNS = 8
_LINES = 2
_TILE = 192
_TITLE_HEIGHT = 16
_BOX_COLOUR = (64, 255, 64)
_TITLE_COLOUR = (255, 255, 255)

# (ymin, xmin, ymax, xmax), as fractions of the image's sides.
_Box = tuple[float, float, float, float]


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
  held_out = _boxes_of_json(row.annotation_file) if row.annotation_file else None
  for index, record in enumerate(dataset.take(_COLUMNS * _LINES).as_numpy_iterator()):
    features = tf.train.Example.FromString(record).features.feature
    image = Image.open(io.BytesIO(features[keys.IMAGE_ENCODED].bytes_list.value[0]))
    if held_out is None:
      boxes = _boxes_of_record(features)
    else:
      boxes = held_out.get(int(features[keys.SOURCE_ID].bytes_list.value[0]), [])
    line, column = divmod(index, _COLUMNS)
    tile = _tile(image, [(box, class_names[class_id]) for box, class_id in boxes])
    strip.paste(tile, (column * _TILE, _TITLE_HEIGHT + line * _TILE))
  return np.asarray(strip)


def _tile(image: Image.Image, objects: Sequence[tuple[_Box, str]]) -> Image.Image:
  """The image at tile size with a named rectangle for each `(box in [0, 1], name)`."""
  tile = image.resize((_TILE - 2, _TILE - 2), Image.Resampling.BICUBIC)
  draw = ImageDraw.Draw(tile)
  for (ymin, xmin, ymax, xmax), name in objects:
    left, top, right, bottom = (side * (_TILE - 2) for side in (xmin, ymin, xmax, ymax))
    draw.rectangle((left, top, right - 1, bottom - 1), outline=_BOX_COLOUR)
    draw.text((left + 2, top), name, fill=_BOX_COLOUR)
  return tile


def _boxes_of_record(features: Mapping[str, tf.train.Feature]) -> list[tuple[_Box, int]]:
  sides = (keys.BOX_YMIN, keys.BOX_XMIN, keys.BOX_YMAX, keys.BOX_XMAX)
  boxes = zip(*(features[side].float_list.value for side in sides), strict=True)
  return list(zip(boxes, features[keys.BOX_CLASS].int64_list.value, strict=True))


def _boxes_of_json(path: str) -> dict[int, list[tuple[_Box, int]]]:
  content = files.read_json(path)
  sizes = {image['id']: (image['height'], image['width']) for image in content['images']}
  boxes: dict[int, list[tuple[_Box, int]]] = {}
  for annotation in content['annotations']:
    x, y, width, height = annotation['bbox']
    rows, columns = sizes[annotation['image_id']]
    box = (y / rows, x / columns, (y + height) / rows, (x + width) / columns)
    boxes.setdefault(annotation['image_id'], []).append((box, annotation['category_id']))
  return boxes
