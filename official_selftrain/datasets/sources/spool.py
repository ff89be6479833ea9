"""Images and their annotations in a temporary database, for formats that keep all annotations in one file."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from official_selftrain.core import errors

_FILE = 'annotations.sqlite3'

_TABLES = """
CREATE TABLE images (number INTEGER PRIMARY KEY, name BLOB, key BLOB, text BLOB);
CREATE TABLE annotations (number INTEGER PRIMARY KEY, key BLOB, text BLOB);
CREATE TABLE files (name BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_INDEXES = """
CREATE INDEX names_of_images ON images (name, number);
CREATE INDEX keys_of_images ON images (key, number);
CREATE INDEX keys_of_annotations ON annotations (key, number);
"""
_IMAGES = """
SELECT name, key, text, EXISTS (SELECT 1 FROM files WHERE files.name = images.name),
  coalesce((SELECT min(number) FROM images AS others WHERE others.key = images.key), number) = number
FROM images ORDER BY name, number
"""
_ANNOTATIONS = 'SELECT text FROM annotations WHERE key = ? ORDER BY number'
_ORPHANS = """
SELECT count(*) FROM annotations
WHERE key IS NULL OR NOT EXISTS (SELECT 1 FROM images WHERE images.key = annotations.key)
"""


class Image(NamedTuple):
  """An image in a spool.

  Attributes:
    name: what images are sorted by.
    text: what was given with it.
    annotations: texts of its annotations, in the order in which they were added; none unless `is_first`.
    has_file: the name is among those of `add_files`.
    is_first: no image that was added earlier has the same key.
  """

  name: str
  text: str
  annotations: tuple[str, ...]
  has_file: bool
  is_first: bool


class Spool:
  """Texts about images and about their annotations, on disk.

  It lies in the folder for temporary files (TMPDIR), takes about as much room as the texts, and is gone with the object
  or the process, however that ends: its file has no name. Everything is added first, then `seal` is called, then the
  images can be read, any number of times. Names and texts may have surrogates in them. Every method raises DataError
  when there is no room.
  """

  def __init__(self) -> None:
    """Makes an empty one."""
    try:
      folder = tempfile.mkdtemp(prefix='selftrain-')
    except OSError as error:
      raise _no_room(error) from error
    try:
      with _database_errors():
        self._connection = sqlite3.connect(os.path.join(folder, _FILE), isolation_level=None)
        # It can be made again, so nothing in it needs to be safe from a crash. A journal would need the file's name.
        self._connection.executescript(
          f'PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES} BEGIN;'
        )
    finally:
      shutil.rmtree(folder, ignore_errors=True)
    weakref.finalize(self, self._connection.close)

  def add_image(self, name: str, key: str | None, text: str = '') -> None:
    """Adds an image whose annotations have a key; None if it can have none."""
    self._add('INSERT INTO images (name, key, text) VALUES (?, ?, ?)', name, key, text)

  def add_annotation(self, key: str | None, text: str) -> None:
    """Adds an annotation of the first image with a key; None if it is of no image."""
    self._add('INSERT INTO annotations (key, text) VALUES (?, ?)', key, text)

  def add_files(self, names: Iterable[str]) -> None:
    """Adds names of image files that are there."""
    for name in names:
      self._add('INSERT OR IGNORE INTO files (name) VALUES (?)', name)

  def seal(self) -> int:
    """Ends the adding.

    Returns:
      The number of annotations that are of no image.
    """
    with _database_errors():
      self._connection.execute('COMMIT')
      self._connection.executescript(_INDEXES)
      (count,) = self._connection.execute(_ORPHANS).fetchone()
    return int(count)

  def images(self) -> Iterator[Image]:
    """The images with their annotations, sorted by name; those of one name in the order in which they were added."""
    with _database_errors():
      for name, key, text, has_file, is_first in self._connection.execute(_IMAGES):
        found = self._connection.execute(_ANNOTATIONS, [key]) if is_first else []
        annotations = tuple(_decode(each) for (each,) in found)
        yield Image(_decode(name), _decode(text), annotations, bool(has_file), bool(is_first))

  def _add(self, statement: str, *values: str | None) -> None:
    with _database_errors():
      self._connection.execute(statement, [_encode(value) for value in values])


@contextlib.contextmanager
def _database_errors() -> Iterator[None]:
  try:
    yield
  except sqlite3.Error as error:
    raise _no_room(error) from error


def _no_room(error: Exception) -> errors.DataError:
  return errors.DataError(
    f'Annotations cannot be kept in the folder for temporary files, {tempfile.gettempdir()}: {error}. Make room there, '
    'or set the environment variable TMPDIR to a folder that has room.'
  )


# As bytes, because SQLite takes no surrogates in texts. Their order is that of Python's strings.


def _encode(text: str | None) -> bytes | None:
  return None if text is None else text.encode('utf-8', 'surrogatepass')


def _decode(content: bytes) -> str:
  return content.decode('utf-8', 'surrogatepass')
