"""Images on which an export is checked and calibrated."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys

_RECORDS = '.tfrecord'


def read(pattern: str, number: int) -> list[np.ndarray]:
  """The first images of TFRecords or of a folder.

  Args:
    pattern: of TFRecord files with `image/encoded`, or of image files, or a folder of these; commas separate several.
    number: most images.

  Returns:
    uint8 [height, width, 3] each, fewer if there are fewer.

  Raises:
    DataError: nothing is there, or it cannot be read.
  """
  paths = []
  for each in filter(None, pattern.split(',')):
    each = os.path.join(each, '*') if tf.io.gfile.isdir(each) else each
    paths += sorted(path for path in tf.io.gfile.glob(each) if not tf.io.gfile.isdir(path))
  images: list[np.ndarray] = []
  try:
    for encoded in _encoded(paths):
      images.append(tf.io.decode_image(encoded, 3, expand_animations=False).numpy())
      if len(images) == number:
        break
  except (OSError, ValueError, tf.errors.OpError) as error:
    raise errors.DataError(
      f'An image of {pattern} cannot be read: {errors.first_line(error)}'
    ) from error
  if not images:
    raise errors.DataError(f'There are no images at {pattern!r}: name TFRecords or a folder.')
  return images


def _encoded(paths: Sequence[str]) -> Iterator[bytes]:
  for path in paths:
    if _RECORDS not in os.path.basename(path):
      yield tf.io.read_file(path).numpy()
      continue
    for record in tf.data.TFRecordDataset(path):
      features = tf.train.Example.FromString(record.numpy()).features.feature
      yield features[keys.IMAGE_ENCODED].bytes_list.value[0]


def to_size(image: np.ndarray, size: Sequence[int | None]) -> np.ndarray:
  """Resizes an image, uint8 [h, w, 3], to a height and width; as it is where they are None."""
  if None in size or tuple(size) == image.shape[:2]:
    return image
  resized = tf.image.resize(image, [side or 0 for side in size])
  return tf.cast(tf.round(resized), tf.uint8).numpy()
