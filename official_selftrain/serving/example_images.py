"""Images on which an export is checked and calibrated."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import message  # type: ignore[import-untyped]

from official_selftrain.core import errors, keys
from official_selftrain.dataloaders import tfrecords

_RECORDS = '.tfrecord'
_IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.gif')


def of_records(input_path: str | Sequence[str], number: int) -> list[np.ndarray]:
  """The first images of the TFRecords that a setting names; what cannot be decoded is left out.

  Args:
    input_path: as in `task.validation_data.input_path`.
    number: most images.

  Returns:
    uint8 [height, width, 3] each, fewer if there are fewer.

  Raises:
    DataError: there are no files, or none of them has an image.
  """
  files = tfrecords.match_files(input_path, 'task.validation_data.input_path')
  return _decoded(_of_files(files), number, ','.join(files[:1]))


def of_user(pattern: str, number: int) -> list[np.ndarray]:
  """The first images of a folder, of a pattern of images, or of TFRecords; see `of_records`.

  Args:
    pattern: of TFRecord files with `image/encoded` and `.tfrecord` in their names, or of image files, or a folder of
      these; commas separate several.
    number: most images.

  Returns:
    uint8 [height, width, 3] each, fewer if there are fewer.

  Raises:
    DataError: there is no image.
  """

  def encoded() -> Iterator[bytes]:
    for part in pattern.split(','):
      is_folder = tf.io.gfile.isdir(part.strip())
      for path in sorted(
        tf.io.gfile.glob(os.path.join(part.strip(), '*') if is_folder else part.strip())
      ):
        name = os.path.basename(path).lower()
        if _RECORDS in name:
          yield from _of_files([path])
        elif name.endswith(_IMAGES) and not tf.io.gfile.isdir(path):
          yield tf.io.read_file(path).numpy()

  return _decoded(encoded(), number, pattern)


def _of_files(files: Sequence[str]) -> Iterator[bytes]:
  for record in tf.data.TFRecordDataset(list(files)):
    try:
      features = tf.train.Example.FromString(record.numpy()).features.feature
    except message.DecodeError:
      continue
    yield from features[keys.IMAGE_ENCODED].bytes_list.value[:1]


def _decoded(encoded: Iterator[bytes], number: int, where: str) -> list[np.ndarray]:
  images: list[np.ndarray] = []
  try:
    for content in encoded:
      if len(images) >= number:
        break
      try:
        images.append(tf.io.decode_image(content, 3, expand_animations=False).numpy())
      except tf.errors.InvalidArgumentError:
        continue
  except (OSError, tf.errors.OpError) as error:
    raise errors.DataError(f'{where} cannot be read: {errors.first_line(error)}') from error
  if number and not images:
    raise errors.DataError(f'There are no images at {where!r}: name TFRecords or a folder.')
  return images


def to_size(image: np.ndarray, size: Sequence[int | None]) -> np.ndarray:
  """Resizes an image, uint8 [h, w, 3], to a height and width; as it is where they are None."""
  if None in size or tuple(size) == image.shape[:2]:
    return image
  resized = tf.image.resize(image, [side or 0 for side in size])
  return tf.cast(tf.round(resized), tf.uint8).numpy()
