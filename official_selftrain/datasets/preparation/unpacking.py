"""Plain copies of compressed tar archives, which can be read from any place on."""

import dataclasses
import errno
import os
import shutil

from official_selftrain.core import errors, files
from official_selftrain.datasets.sources import items, storage

_COMPRESSED = (storage.Container.GZIP, storage.Container.BZIP2, storage.Container.XZ)
_CHUNK = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Unpacker:
  """Makes the copies: each once, whole or not at all, so that a killed run goes on with what is there."""

  def __init__(self, folder: str) -> None:
    """Takes the folder of the copies, which must exist when the first one is made."""
    self._folder = folder
    # By path of the archive; an archive that is not compressed is its own.
    self._copies: dict[str, str] = {}

  def in_copy(self, item: items.Item) -> items.Item:
    """The image in the copy of its compressed archive, where it is at the same place; any other image as it is.

    Raises:
      DataError: the archive cannot be read, or there is no room for the copy.
    """
    path = item.image.path
    if not item.image.member:
      return item
    if path not in self._copies:
      self._copies[path] = self._copy(path)
    if self._copies[path] == path:
      return item
    return dataclasses.replace(item, image=item.image._replace(path=self._copies[path]))

  def _copy(self, path: str) -> str:
    """Path of the copy."""
    target = ''
    try:
      container = storage.container_of(path)
      if container not in _COMPRESSED:
        return path
      status = os.stat(path)
      version = [os.path.abspath(path), status.st_size, status.st_mtime_ns]
      target = os.path.join(self._folder, f'{files.digest_of(version)}.tar')
      if not os.path.exists(target):
        with (
          storage.open_tar(path, container) as packed,
          open(files.temporary_path(target), 'wb') as plain,
        ):
          shutil.copyfileobj(packed, plain, _CHUNK)
        files.publish(target)
    except storage.DAMAGES as error:
      if target:
        files.remove(files.temporary_path(target))
      is_full = isinstance(error, OSError) and error.errno in _NO_ROOM
      advice = 'Make room there, or unpack it elsewhere and give the folder of the images.'
      raise errors.DataError(
        f'{path} cannot be unpacked into {self._folder}: {storage.reason(error)}. '
        f'{advice if is_full else "Restore it."}'
      ) from error
    return target
