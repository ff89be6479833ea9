"""Image files and TFRecords of the Model Garden's format, for tests that read them."""

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain.core import keys


def encoded(image: np.ndarray, form: str = 'PNG') -> bytes:
  """Bytes of an image, uint8 [h, w, 3] or [h, w]."""
  stream = io.BytesIO()
  Image.fromarray(image).save(stream, form)
  return stream.getvalue()


def flat(height: int, width: int, colour: Sequence[int] = (10, 20, 30)) -> np.ndarray:
  """An image of one colour, uint8 [h, w, 3]."""
  return np.full([height, width, 3], colour, np.uint8)


def record(
  image: np.ndarray | None,
  boxes: Sequence[Sequence[float]] = (),
  mask: np.ndarray | None = None,
  **features: Sequence[Any],
) -> bytes:
  """A serialized example.

  Args:
    image: uint8 [h, w, 3]; None leaves it out.
    boxes: yxyx in [0, 1]; classes are 1, 2, ...
    mask: uint8 [h, w], of classes.
    **features: further ones, or others in place of the above, with `__` for `/` in their names.
  """
  values: dict[str, Sequence[Any]] = {
    keys.IMAGE_ENCODED: [] if image is None else [encoded(image)],
    keys.BOX_CLASS: range(1, 1 + len(boxes)),
  }
  sides = (keys.BOX_YMIN, keys.BOX_XMIN, keys.BOX_YMAX, keys.BOX_XMAX)
  for place, name in enumerate(sides):
    values[name] = [float(box[place]) for box in boxes]
  if mask is not None:
    values[keys.SEGMENTATION_MASK] = [encoded(mask)]
  values.update({name.replace('__', '/'): each for name, each in features.items()})
  return tf.train.Example(
    features=tf.train.Features(feature={name: _feature(each) for name, each in values.items()})
  ).SerializeToString()


def write_records(path: str | os.PathLike[str], records: Sequence[bytes]) -> str:
  """Writes a TFRecord file and returns its path."""
  with tf.io.TFRecordWriter(os.fspath(path)) as writer:
    for each in records:
      writer.write(each)
  return os.fspath(path)


def _feature(values: Sequence[Any]) -> tf.train.Feature:
  values = list(values)
  if values and isinstance(values[0], bytes):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
  if values and isinstance(values[0], float):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
  if values:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
  return tf.train.Feature()
