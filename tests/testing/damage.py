"""TFRecord files with chosen faults."""

import glob
import pathlib
from collections.abc import Callable

import tensorflow as tf

from official_selftrain.core import keys

Change = Callable[[tf.train.Example], None]


def one_file(pattern: str, index: int = 0) -> str:
  """One of the files that match, in sorted order."""
  return sorted(glob.glob(pattern))[index]


def records(path: str) -> list[bytes]:
  """All serialized records of a file."""
  return [record.numpy() for record in tf.data.TFRecordDataset(path)]


def write(path: str, serialized: list[bytes]) -> None:
  """Writes a file of records."""
  with tf.io.TFRecordWriter(path) as writer:
    for record in serialized:
      writer.write(record)


def change(path: str, index: int, edit: Change) -> None:
  """Edits one record; its checksum is right afterwards."""
  serialized = records(path)
  example = tf.train.Example.FromString(serialized[index])
  edit(example)
  serialized[index] = example.SerializeToString()
  write(path, serialized)


def swap(path: str, first: int, second: int) -> None:
  """Exchanges two records; the file keeps its size."""
  serialized = records(path)
  serialized[first], serialized[second] = serialized[second], serialized[first]
  write(path, serialized)


def break_image(example: tf.train.Example) -> None:
  """Replaces the image by bytes that are none."""
  example.features.feature[keys.IMAGE_ENCODED].bytes_list.value[:] = [b'no image at all']


def set_class(class_id: int) -> Change:
  """Gives the first box a class."""

  def edit(example: tf.train.Example) -> None:
    example.features.feature[keys.BOX_CLASS].int64_list.value[0] = class_id

  return edit


def break_checksum(path: str, index: int) -> None:
  """Flips one bit in the middle of a record's data; twice leaves it as it was."""
  content, offset = bytearray(pathlib.Path(path).read_bytes()), 0
  for _ in range(index):
    offset += 16 + int.from_bytes(content[offset : offset + 8], 'little')
  length = int.from_bytes(content[offset : offset + 8], 'little')
  content[offset + 12 + length // 2] ^= 1
  pathlib.Path(path).write_bytes(content)
