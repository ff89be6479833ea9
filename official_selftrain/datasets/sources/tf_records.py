"""Reads TFRecord files of `tf.Example`s without TensorFlow, which takes seconds to import."""

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from official_selftrain.core import errors, keys

# Length of the data, and its checksum. Behind the data comes the checksum of the data.
_HEADER = struct.Struct('<QI')
_FOOTER_SIZE = 4

# Wire types of protobuf.
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5

_Buffer = bytes | mmap.mmap
_Value = bytes | float | int


class Record(NamedTuple):
  """A record of a TFRecord file.

  Attributes:
    offset: byte of the file at which it begins.
    size: bytes of its data.
    source_id: value of `image/source_id`; '' without one. Bytes that are not UTF-8 become surrogates.
    problem: why there is no image in it; '' if there is one.
  """

  offset: int
  size: int
  source_id: str
  problem: str


class Example:
  """A serialised `tf.Example`, of which only what is asked for is read.

  This is protobuf's wire format in Python: the classes for it are a part of TensorFlow.
  """

  def __init__(self, buffer: bytes | mmap.mmap, start: int = 0, end: int | None = None) -> None:
    """Finds the features; their values are left alone.

    Args:
      buffer: holds the message.
      start: where in the buffer it begins.
      end: where it ends; None stands for the end of the buffer.

    Raises:
      ValueError: it is no `tf.Example`.
    """
    self._buffer = buffer
    self._spans: dict[str, tuple[int, int]] = {}
    for features in _messages(buffer, start, len(buffer) if end is None else end, 1):
      for entry in _messages(buffer, *features, 1):
        name, span = b'', (0, 0)
        for first, last in _messages(buffer, *entry, 1):
          name = buffer[first:last]
        for found in _messages(buffer, *entry, 2):
          span = found
        self._spans[name.decode('utf-8')] = span

  def names(self) -> tuple[str, ...]:
    """Names of the features, in the order of the message."""
    return tuple(self._spans)

  def has_bytes(self, name: str) -> bool:
    """Whether a feature has a value of bytes, which is not read.

    Raises:
      ValueError: it is damaged.
    """
    lists = _messages(self._buffer, *self._spans.get(name, (0, 0)), 1)
    return any(True for span in lists for _ in _messages(self._buffer, *span, 1))

  def values(self, name: str) -> tuple[bytes | float | int, ...]:
    """The values of a feature, all of one type; none if there is no such feature.

    Raises:
      ValueError: they are damaged.
    """
    values: list[_Value] = []
    for kind, _, first, last in _fields(self._buffer, *self._spans.get(name, (0, 0))):
      if kind in _READERS:
        for _, wire, begin, end in _fields(self._buffer, first, last):
          values.extend(_READERS[kind](self._buffer, wire, begin, end))
    return tuple(values)


def begins_record(head: bytes) -> bool:
  """Whether bytes are the beginning of a TFRecord file: a length, and the checksum of it."""
  return len(head) >= _HEADER.size and _HEADER.unpack_from(head)[1] == _masked_crc(head[:8])


def list_records(path: str) -> Iterator[Record]:
  """The records of a file, in their order; the bytes of images are passed over.

  The checksums of lengths are verified, those of data are not, which in Python would take a second for a few megabytes.
  A damaged image shows when it is decoded.

  Raises:
    DataError: the file is missing or damaged; names the record where reading ended.
  """
  size = offset = index = 0
  try:
    with open(path, 'rb') as stream:
      size = os.fstat(stream.fileno()).st_size
      if not size:
        return
      with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        while offset < size:
          length = _data_size(buffer[offset : offset + _HEADER.size], size - offset)
          yield _record(buffer, offset, length)
          offset += _HEADER.size + length + _FOOTER_SIZE
          index += 1
  except OSError as error:
    raise errors.DataError(f'{path} cannot be read: {error.strerror}.') from error
  except ValueError as error:
    raise errors.DataError(
      f'{path} cannot be read as TFRecords: record {index}, at byte {offset} of {size}, {error}. Copy or write the '
      'file again.'
    ) from error


def read_image(stream: IO[bytes], offset: int, size: int) -> bytes:
  """The feature `image/encoded` of a record.

  Args:
    stream: the file.
    offset: where the record begins; see `Record`.
    size: bytes of its data.

  Raises:
    ValueError: there is no record of that size, or it is damaged, or it has no image.
  """
  available = stream.seek(0, os.SEEK_END) - offset
  stream.seek(offset)
  found = _data_size(stream.read(_HEADER.size), available)
  if found != size:
    raise ValueError(f'the record at byte {offset} has {found} bytes of data instead of {size}')
  for value in Example(stream.read(size)).values(keys.IMAGE_ENCODED):
    if isinstance(value, bytes):
      return value
  raise ValueError(f'the record at byte {offset} has no bytes in {keys.IMAGE_ENCODED}')


def _record(buffer: mmap.mmap, offset: int, size: int) -> Record:
  begin = offset + _HEADER.size
  source_id = problem = ''
  try:
    example = Example(buffer, begin, begin + size)
    if not example.has_bytes(keys.IMAGE_ENCODED):
      problem = f'the record has no bytes in {keys.IMAGE_ENCODED}'
    for value in example.values(keys.SOURCE_ID)[:1]:
      source_id = (
        value.decode('utf-8', 'surrogateescape') if isinstance(value, bytes) else str(value)
      )
  except ValueError as error:
    problem = f'the record is no tf.Example: {error}'
  return Record(offset, size, source_id, problem)


def _data_size(header: bytes, available: int) -> int:
  """Bytes of data in a record.

  Args:
    header: where it begins.
    available: bytes from there to the end of the file.

  Raises:
    ValueError: the header is damaged, or the record does not fit; in words that follow its name.
  """
  if len(header) < _HEADER.size:
    raise ValueError(f'ends after {len(header)} bytes')
  if not begins_record(header):
    raise ValueError('has a length that its checksum does not fit')
  size = int(_HEADER.unpack(header)[0])
  if _HEADER.size + size + _FOOTER_SIZE > available:
    raise ValueError(f'has {size} bytes of data by its length, but the file ends before')
  return size


def _masked_crc(content: bytes) -> int:
  """CRC-32C, rotated and shifted so that checksums of checksums stay good."""
  crc = 0xFFFFFFFF
  for byte in content:
    crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_of_byte(crc: int) -> int:
  for _ in range(8):
    crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
  return crc


_CRC = [_crc_of_byte(byte) for byte in range(256)]


def _fields(buffer: _Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
  """Number, wire type, and begin and end of the content of each field of a message."""
  position = start
  while position < end:
    tag, position = _varint(buffer, position, end)
    number, wire = tag >> 3, tag & 7
    if wire == _VARINT:
      _, last = _varint(buffer, position, end)
    elif wire == _LENGTH:
      size, position = _varint(buffer, position, end)
      last = position + size
    elif wire in (_FIXED_32, _FIXED_64):
      last = position + (4 if wire == _FIXED_32 else 8)
    else:
      raise ValueError(f'a field has the unknown wire type {wire}')
    if not number:
      raise ValueError('a field has the number 0')
    if last > end:
      raise ValueError(f'field {number} is longer than its message by {last - end} bytes')
    yield number, wire, position, last
    position = last


def _messages(buffer: _Buffer, start: int, end: int, number: int) -> Iterator[tuple[int, int]]:
  """Begin and end of the messages or texts in the fields of a number."""
  for found, wire, first, last in _fields(buffer, start, end):
    if found == number and wire == _LENGTH:
      yield first, last


def _varint(buffer: _Buffer, position: int, end: int) -> tuple[int, int]:
  """A number with 7 bits in a byte, the lowest first, and where it ends."""
  value = 0
  for shift in range(0, 70, 7):
    if position >= end:
      break
    byte = buffer[position]
    position += 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value & 0xFFFFFFFFFFFFFFFF, position
  raise ValueError('a number does not end')


# The following read a field of a list: one value, or several without anything in between.


def _bytes_values(buffer: _Buffer, wire: int, first: int, last: int) -> list[bytes]:
  if wire != _LENGTH:
    raise ValueError(f'bytes have the wire type {wire}')
  return [buffer[first:last]]


def _float_values(buffer: _Buffer, wire: int, first: int, last: int) -> list[float]:
  if wire not in (_LENGTH, _FIXED_32) or (last - first) % 4:
    raise ValueError(f'a list of floats has {last - first} bytes, of the wire type {wire}')
  return [value for (value,) in struct.iter_unpack('<f', buffer[first:last])]


def _int_values(buffer: _Buffer, wire: int, first: int, last: int) -> list[int]:
  if wire not in (_LENGTH, _VARINT):
    raise ValueError(f'an integer has the wire type {wire}')
  values = []
  while first < last:
    value, first = _varint(buffer, first, last)
    values.append(value - (value >> 63 << 64))
  return values


# By the number that the list has in a `Feature`.
_READERS: dict[int, Callable[[_Buffer, int, int, int], list[bytes] | list[float] | list[int]]] = {
  1: _bytes_values,
  2: _float_values,
  3: _int_values,
}
