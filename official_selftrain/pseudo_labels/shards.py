"""TFRecord shards: reading that survives damage, and writing that is all or nothing.

A TFRecord is a little-endian uint64 length, a masked CRC-32C of those eight bytes, the data, and a
masked CRC-32C of the data. `tf.data.TFRecordDataset` stops at the first record that fails a check;
here a record whose length can be trusted is stepped over, so that one flipped bit costs one image
and not the rest of its shard.
"""

import dataclasses
import os
import pathlib
import struct
from collections.abc import Iterable, Iterator

import tensorflow as tf
from tensorflow.python.lib.io import tf_record

from official_selftrain.core import errors, files

_HEADER_BYTES = 12  # Length and its checksum.
_FOOTER_BYTES = 4  # Checksum of the data.
_LABEL_SUFFIX = '.labels.tfrecord'
_CRC_MASK_DELTA = 0xA282EAD8


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
  """One position of a TFRecord file.

  Attributes:
    index: position in the file, from 0.
    end: offset of the next record in bytes.
    serialized: the record, or None when it cannot be read.
    reason: why it cannot be read; empty when it can.
  """

  index: int
  end: int
  serialized: bytes | None
  reason: str = ''


def _crc32c_table() -> list[int]:
  """The 256 CRC-32C (Castagnoli, reflected) remainders of one byte."""
  table = []
  for byte in range(256):
    remainder = byte
    for _ in range(8):
      remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
    table.append(remainder)
  return table


_CRC_TABLE = _crc32c_table()


def masked_crc32c(data: bytes) -> int:
  """CRC-32C of `data` as TFRecord stores it. Works byte by byte, so only for short data."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
  crc ^= 0xFFFFFFFF
  rotated = ((crc >> 15) | (crc << 17)) & 0xFFFFFFFF
  return (rotated + _CRC_MASK_DELTA) & 0xFFFFFFFF


def file_size(path: str) -> int:
  """Size of a file in bytes.

  Args:
    path: a local path or any that `tf.io.gfile` understands.

  Raises:
    DataError: The file does not exist or may not be read.
  """
  try:
    return int(tf.io.gfile.stat(path).length)
  except tf.errors.OpError as error:
    raise errors.DataError(f'Cannot read the TFRecord file {path}: {error.message}') from error


def _step_over(path: str, offset: int, size: int) -> tuple[int, str]:
  """Finds out what is wrong with the record at `offset`.

  Args:
    path: the TFRecord file.
    offset: where the bad record begins.
    size: size of the file in bytes.

  Returns:
    Offset of the next record (`size` when there is no finding it) and the reason.
  """
  with tf.io.gfile.GFile(path, 'rb') as stream:
    stream.seek(offset)
    header = stream.read(_HEADER_BYTES)
  unread = size - offset
  if len(header) < _HEADER_BYTES:
    return size, f'the file ends inside a record header; {unread} bytes unread'
  length, checksum = struct.unpack('<QI', header)
  if masked_crc32c(header[:8]) != checksum:
    return (
      size,
      f'checksum of the record length does not match; the other {unread} bytes are unread',
    )
  end = offset + _HEADER_BYTES + length + _FOOTER_BYTES
  if end > size:
    return (
      size,
      f'the file ends {end - size} bytes before the end of the record; {unread} bytes unread',
    )
  return end, f'checksum of the record data ({length} bytes) does not match'


def iterate(path: str) -> Iterator[Record]:
  """Reads a TFRecord file from the first position to the last, even if it is damaged.

  Args:
    path: an uncompressed TFRecord file.

  Yields:
    One `Record` for every position. When the place of the next record is lost, the rest of the file
    is one record that cannot be read, and its reason says how many bytes that is.

  Raises:
    DataError: The file does not exist or may not be read.
  """
  size = file_size(path)
  reader = tf_record.tf_record_random_reader(path)
  offset = index = 0
  while offset < size:
    try:
      serialized, end = reader.read(offset)
      record = Record(index, end, serialized)
    except (tf.errors.DataLossError, IndexError):
      end, reason = _step_over(path, offset, size)
      record = Record(index, end, None, reason)
    yield record
    offset, index = record.end, index + 1


def label_shard_name(image_shard: str | os.PathLike[str]) -> str:
  """Name of the label shard that belongs to an image shard.

  Args:
    image_shard: path of the image shard, such as 'data/unlabelled-00000-of-00008.tfrecord'.

  Returns:
    A file name without folder, such as 'unlabelled-00000-of-00008.labels.tfrecord'.
  """
  name = os.path.basename(os.fspath(image_shard))
  return name.removesuffix('.tfrecord') + _LABEL_SUFFIX


def write(path: str | os.PathLike[str], records: Iterable[bytes]) -> str:
  """Writes a TFRecord file that appears under its name only when it is complete and on the disk.

  Args:
    path: destination on a local file system; its folder is created when missing.
    records: serialized records.

  Returns:
    Hex SHA-256 digest of the file.
  """
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  temporary = files.temporary_path(path)
  with tf.io.TFRecordWriter(temporary) as writer:
    for record in records:
      writer.write(record)
  with open(temporary, 'rb') as stream:
    os.fsync(stream.fileno())
  digest = files.sha256(temporary)
  files.publish(path)
  return digest


def remove_leftovers(path: str | os.PathLike[str]) -> None:
  """Deletes what an interrupted `write` to `path` may have left."""
  pathlib.Path(files.temporary_path(path)).unlink(missing_ok=True)
