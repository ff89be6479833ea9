"""The bytes of images: from files, from zip and tar archives and from TFRecord files, without unpacking them.

`ImageFile.member` says where in an archive or TFRecord file an image is:

  zip       its name in the archive
  tar       `offset:size` of its bytes; in a compressed tar, of its bytes after decompression
  TFRecord  `offset:size`: where its record begins, and the number of bytes of the record's data

So no process has to look for it again. Reading forward through a compressed tar costs one decompression; a step back
costs the decompression of all that is before the image. `preparation.unpacking` makes a plain copy to be read in random
order.
"""

import bz2
import collections
import enum
import gzip
import lzma
import os
import struct
import tarfile
import threading
import types
import zipfile
import zlib
from typing import IO, Protocol, Self, cast

from official_selftrain.core import errors
from official_selftrain.datasets.sources import items, tf_records

# What reading a damaged file, archive or record raises.
DAMAGES = (
  OSError, EOFError, ValueError, KeyError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
  tarfile.TarError, NotImplementedError,
)  # fmt: skip

# More is no image, and would fill the memory.
_MAX_BYTES = 1 << 30
# Archives that a reader keeps open.
_MAX_OPEN = 8


class Container(enum.Enum):
  """What can hold many images in one file."""

  ZIP = 'zip'
  TAR = 'tar'
  GZIP = 'gzip'
  BZIP2 = 'bzip2'
  XZ = 'xz'
  TFRECORD = 'TFRecord'


_BEGINNINGS = {
  b'PK\3\4': Container.ZIP,
  b'PK\5\6': Container.ZIP,  # An empty one.
  b'\x1f\x8b': Container.GZIP,
  b'BZh': Container.BZIP2,
  b'\xfd7zXZ\0': Container.XZ,
}


class Reader:
  """Reads images, and keeps the archives open that it read from last.

  One reader is for one thread. In a process that was forked or spawned it opens the archives again, because processes
  that share an open file move its position for each other. An archive that was replaced is opened again.
  """

  def __init__(self) -> None:
    """Opens nothing yet."""
    self._process = os.getpid()
    # By path, with what tells whether the file is still the same.
    self._open: collections.OrderedDict[str, tuple[tuple[int, int, int], _Archive]] = (
      collections.OrderedDict()
    )

  def __enter__(self) -> Self:
    """The reader."""
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: types.TracebackType | None,
  ) -> None:
    """Closes the archives."""
    self.close()

  def __reduce__(self) -> tuple[type['Reader'], tuple[()]]:
    """Another process gets a reader that has nothing open."""
    return Reader, ()

  def read_bytes(self, image: items.ImageFile) -> bytes:
    """Content of an image file, or of the feature `image/encoded` of a record.

    Raises:
      DataError: it is missing or damaged, or is too large for an image.
    """
    try:
      if image.member:
        return self._archive(image.path).read(image.member)
      with open(image.path, 'rb') as stream:
        _check_size(os.fstat(stream.fileno()).st_size)
        return stream.read()
    except DAMAGES as error:
      name = f'{image.path}: {image.name}' if image.member else image.path
      raise errors.DataError(
        f'{name} cannot be read: {reason(error)}. Restore it, or leave it out.'
      ) from error

  def close(self) -> None:
    """Closes the archives; reading opens them again."""
    while self._open:
      self._open.popitem()[1][1].close()

  def _archive(self, path: str) -> '_Archive':
    if self._process != os.getpid():
      self.close()
      self._process = os.getpid()
    status = os.stat(path)
    version = (status.st_ino, status.st_size, status.st_mtime_ns)
    found = self._open.pop(path, None)
    if found is not None and found[0] != version:
      found[1].close()
      found = None
    # Taken out and put in again, so that the last is the one that was used last.
    self._open[path] = found or (version, _open_archive(path))
    if len(self._open) > _MAX_OPEN:
      self._open.popitem(last=False)[1][1].close()
    return self._open[path][1]


_of_thread = threading.local()


def read_bytes(image: items.ImageFile) -> bytes:
  """`Reader.read_bytes` with a reader that each thread of each process has for itself.

  Raises:
    DataError: the image is missing or damaged, or is too large for an image.
  """
  if not hasattr(_of_thread, 'reader'):
    _of_thread.reader = Reader()
  return cast(Reader, _of_thread.reader).read_bytes(image)


def read_lines(path: str) -> list[str]:
  """The lines of a text file that says something of the classes, blank ones included, without blanks at their ends.

  Raises:
    DataError: it cannot be read, or is not UTF-8.
  """
  try:
    with open(path, encoding='utf-8-sig') as stream:
      return [line.strip() for line in stream]
  except (OSError, UnicodeDecodeError) as error:
    raise errors.DataError(f'{path} cannot be read: {reason(error)}.') from error


def container_of(path: str) -> Container | None:
  """What a file is by its content; None for something else, such as an image.

  Raises:
    OSError: it cannot be read.
  """
  with open(path, 'rb') as stream:
    head = stream.read(tarfile.BLOCKSIZE)
  # First, because the length of a record can look like another beginning; its checksum cannot look right by chance.
  if tf_records.begins_record(head):
    return Container.TFRECORD
  for beginning, container in _BEGINNINGS.items():
    if head.startswith(beginning):
      return container
  try:
    tarfile.TarInfo.frombuf(head, 'utf-8', 'surrogateescape')
  except tarfile.HeaderError:
    return None
  return Container.TAR


def open_tar(path: str, container: Container) -> IO[bytes]:
  """The bytes of a tar archive after decompression; `container` is its `container_of`."""
  if container is Container.GZIP:
    return cast(IO[bytes], gzip.open(path))
  if container is Container.BZIP2:
    return bz2.open(path)
  return lzma.open(path) if container is Container.XZ else open(path, 'rb')


def reason(error: Exception) -> str:
  """Why something could not be read, in a few words for a message, without the file's name."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror.lower()
  # The text of a KeyError is in quotation marks.
  return str(error.args[0]) if isinstance(error, KeyError) else errors.first_line(error)


class _Archive(Protocol):
  """An open archive or TFRecord file."""

  def read(self, member: str) -> bytes: ...

  def close(self) -> None: ...


class _Zip:
  def __init__(self, path: str) -> None:
    self._archive = zipfile.ZipFile(path)
    self.close = self._archive.close

  def read(self, member: str) -> bytes:
    _check_size(self._archive.getinfo(member).file_size)
    try:
      return self._archive.read(member)
    except RuntimeError as error:
      # Encrypted, or compressed in a way that Python does not know.
      raise ValueError(str(error)) from error


class _Tar:
  def __init__(self, stream: IO[bytes]) -> None:
    self._stream = stream
    self.close = stream.close

  def read(self, member: str) -> bytes:
    offset, size = _place(member)
    self._stream.seek(offset)
    content = self._stream.read(size)
    if len(content) < size:
      raise EOFError(f'the archive ends {size - len(content)} bytes before it does')
    return content


class _TFRecords:
  def __init__(self, stream: IO[bytes]) -> None:
    self._stream = stream
    self.close = stream.close

  def read(self, member: str) -> bytes:
    return tf_records.read_image(self._stream, *_place(member))


def _open_archive(path: str) -> _Archive:
  container = container_of(path)
  if container is None:
    raise ValueError('the file that holds it is no zip or tar archive and no TFRecord file')
  if container is Container.ZIP:
    return _Zip(path)
  if container is Container.TFRECORD:
    return _TFRecords(open(path, 'rb'))
  return _Tar(open_tar(path, container))


def _place(member: str) -> tuple[int, int]:
  """Offset and size from a member."""
  offset, size = (int(number) for number in member.split(':'))
  _check_size(size)
  return offset, size


def _check_size(size: int) -> None:
  if size > _MAX_BYTES:
    raise ValueError(f'it has {size} bytes; no image has more than {_MAX_BYTES}')
