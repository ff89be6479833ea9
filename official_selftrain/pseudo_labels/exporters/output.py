"""The folder of an export: it appears under its name when it is whole, and not at all after an error."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import TextIO

from official_selftrain.core import errors, files

_WHOLE = 'whole'


class Folder:
  """A folder that is being filled.

  Attributes:
    path: where it is for now.
  """

  def __init__(self, path: pathlib.Path, stack: contextlib.ExitStack) -> None:
    """Starts with an empty folder.

    Args:
      path: where it is; it exists.
      stack: closes what is still open at the end.
    """
    self.path = path
    self._stack = stack

  def _place(self, name: str) -> pathlib.Path:
    """Path of a file, whose folder is made; `name` is relative, with `/`."""
    place = self.path / name
    place.parent.mkdir(parents=True, exist_ok=True)
    return place

  def write(self, name: str, content: bytes) -> None:
    """Writes a file.

    Raises:
      FileExistsError: there is one with this name.
    """
    with open(self._place(name), 'xb') as stream:
      stream.write(content)

  def write_text(self, name: str, text: str) -> None:
    """`write` for UTF-8 text."""
    self.write(name, text.encode('utf-8'))

  def open(self, name: str) -> TextIO:
    """Opens a new file of UTF-8 text that is written piece by piece; it is closed with the folder, at the latest."""
    return self._stack.enter_context(open(self._place(name), 'x', encoding='utf-8', newline='\n'))

  def move_into(self, name: str, target: TextIO) -> None:
    """Appends a closed file of text to an open one, and removes it."""
    place = self.path / name
    with open(place, encoding='utf-8', newline='\n') as source:
      shutil.copyfileobj(source, target)
    place.unlink()


class JsonList:
  """A JSON list that is written item by item, one to a line."""

  def __init__(self, stream: TextIO) -> None:
    """Begins the list; `stream` may hold what comes before it."""
    self._stream = stream
    self._before = '\n'
    stream.write('[')

  def add(self, item: object) -> None:
    """Writes one item."""
    self._stream.write(self._before + to_json(item))
    self._before = ',\n'

  def end(self) -> None:
    """Ends the list; the stream stays open."""
    self._stream.write('\n]')


def to_json(value: object) -> str:
  """JSON in one line, keys in their order.

  Raises:
    ValueError: `value` contains NaN or an infinity.
  """
  return json.dumps(value, ensure_ascii=False, allow_nan=False)


def check(path: str) -> None:
  """Raises ConfigError unless a folder can appear here: the path is local, and there is none, or an empty one."""
  files.check_is_local('--output', path)
  if os.path.isdir(path) and not os.listdir(path):
    return
  if os.path.lexists(path):
    what = 'holds files already' if os.path.isdir(path) else 'is not a folder'
    raise errors.ConfigError(
      f'--output: {path} {what}. Name a folder that does not exist, or remove this one first.'
    )


@contextlib.contextmanager
def new_folder(path: str) -> Iterator[Folder]:
  """A folder to fill, which gets its name when the context ends without an exception.

  Args:
    path: its name in the end. Until then the files are next to it, under a name that begins in the same way.

  Yields:
    The folder, empty.

  Raises:
    ConfigError: something is at `path` already.
    DataError: a file cannot be written.
  """
  check(path)
  target = pathlib.Path(os.path.abspath(path))
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'{target.name}.', dir=target.parent) as temporary:
      # One level further down, since a temporary folder may be read by its owner only.
      whole = pathlib.Path(temporary, _WHOLE)
      whole.mkdir()
      with contextlib.ExitStack() as stack:
        yield Folder(whole, stack)
      check(path)
      os.replace(whole, target)
  except OSError as error:
    raise errors.DataError(
      f'--output: cannot write {path}: {error.strerror or error}. Nothing is left of it.'
    ) from error
