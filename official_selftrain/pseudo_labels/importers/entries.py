"""What every format is read into, and where it waits until its image is met: a temporary database."""

import contextlib
import dataclasses
import json
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from official_selftrain.core import errors
from official_selftrain.datasets.sources import image_names
from official_selftrain.pseudo_labels.exporters import names

_FILE = 'labels.sqlite3'
# `rank` says how an image is called: by its id, by its name, by its name as an export would call its file, or by the
# last part of that. The lower one wins; a name of the same rank for two images, here or among those that are looked
# for, is nobody's, unless their folders tell them apart.
_TABLES = """
CREATE TABLE images (key TEXT PRIMARY KEY, is_used INTEGER DEFAULT 0) WITHOUT ROWID;
CREATE TABLE names (name TEXT, rank INTEGER, path TEXT, key TEXT);
CREATE TABLE expected (name TEXT, rank INTEGER, path TEXT, id TEXT, PRIMARY KEY (name, rank, id)) WITHOUT ROWID;
CREATE TABLE labels (number INTEGER PRIMARY KEY, key TEXT, size INTEGER, content TEXT);
"""
_INDEXES = """
CREATE INDEX by_name ON names (name, rank);
CREATE INDEX by_key ON labels (key, number);
"""
_FIND = """
SELECT DISTINCT key, path FROM names WHERE name = ? AND rank = ?
"""
_EXPECT = """
INSERT OR IGNORE INTO expected VALUES (?, ?, ?, ?)
"""
_STRAYS = """
SELECT key, sum(size) FROM labels WHERE size AND key NOT IN (SELECT key FROM images) GROUP BY key ORDER BY key
"""
_WHOLE_NAME, _BASE_NAME = 1, 2
# Programs that compute in float32 may end up a little above 1.
_SCORE_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
  """One object.

  Attributes:
    class_name: its class.
    ymin: upper edge, in pixels of the image or in fractions of its height, see `Boxes.is_relative`.
    xmin: left edge.
    ymax: lower edge, one past the last pixel of a whole-pixel box.
    xmax: right edge, in the same way.
    score: how sure the program was, in [0, 1]; None where it does not say, as for a person's box.
    is_ignored: it was marked as one to leave alone: a crowd, a difficult object, or one in the ignore band.
  """

  class_name: str
  ymin: float
  xmin: float
  ymax: float
  xmax: float
  score: float | None = None
  is_ignored: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Boxes:
  """Objects of one image.

  Attributes:
    boxes: the objects.
    is_relative: edges are fractions of the image's sides.
    size: (height, width) of the image in pixels, as far as the file says it.
    is_rejected: a person decided that the image must not be learned from.
  """

  boxes: tuple[Box, ...] = ()
  is_relative: bool = False
  size: tuple[int, int] | None = None
  is_rejected: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Mask:
  """The class of each pixel of one image.

  Attributes:
    path: PNG of class ids, 0 for the background and 255 for pixels to leave alone.
    confidence: PNG of confidences in steps of 1/255; '' without one, which makes all pixels sure.
  """

  path: str
  confidence: str = ''


Labels: TypeAlias = Boxes | Mask


class Entries:
  """Labels of images by everything that the images may be called.

  All are added first, then `seal` is called, then they can be found. The database lies in the folder for temporary
  files (TMPDIR) and is deleted with the object. Every method raises DataError when there is no room.
  """

  def __init__(self) -> None:
    """Makes an empty one."""
    with _database_errors():
      folder = tempfile.mkdtemp(prefix='selftrain-')
      weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
      path = os.path.join(folder, _FILE)
      self._num_strays = 0
      # Labels are found in the thread that reads images ahead.
      self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
      weakref.finalize(self, self._connection.close)
      self._connection.executescript(
        f'PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES} BEGIN;'
      )

  def add_image(self, key: str, *called: str) -> bool:
    """Adds an image, with labels or without. In names that are not UTF-8, question marks stand for the wrong bytes.

    Args:
      key: its id, with which its labels are added; it is no name, so nothing but this id finds it.
      called: its names or paths; also the key, if that is one.

    Returns:
      Whether it is new: no image with this id was added before.
    """
    key = image_names.display_name(key)
    rows = [(_slashes(key), 0, '', key)]
    for name in map(image_names.display_name, called):
      rows += [(form, rank, _path(name), key) for rank, form in enumerate(_forms(name))]
    with _database_errors():
      added = self._connection.execute('INSERT OR IGNORE INTO images (key) VALUES (?)', [key])
      self._connection.executemany('INSERT INTO names VALUES (?, ?, ?, ?)', rows)
    return added.rowcount > 0

  def add(self, key: str, labels: Labels) -> None:
    """Adds labels to an image that was added, or will be; boxes may come one at a time.

    Raises:
      DataError: a score is not in [0, 1].
    """
    key = image_names.display_name(key)
    if isinstance(labels, Boxes):
      _check_scores(key, labels.boxes)
    kind = 'mask' if isinstance(labels, Mask) else 'boxes'
    text = json.dumps([kind, dataclasses.astuple(labels)])
    with _database_errors():
      self._connection.execute(
        'INSERT INTO labels (key, size, content) VALUES (?, ?, ?)', [key, _size(labels), text]
      )

  def add_each(self, found: Iterable[tuple[str, Labels]]) -> None:
    """`add_image` and `add` for (name, labels) of files that are about one image each.

    Raises:
      DataError: two files are about one image, or a score is not in [0, 1].
    """
    for name, labels in found:
      if not self.add_image(name, name):
        raise errors.DataError(
          f'Two files have labels of the image {image_names.display_name(name)!r}. Delete or rename one of them.'
        )
      self.add(name, labels)

  def seal(self) -> None:
    """Ends the adding.

    Raises:
      DataError: there are labels, and all of them have ids that no image was added with.
    """
    with _database_errors():
      self._connection.execute('COMMIT')
      self._connection.executescript(_INDEXES)
      strays = self._connection.execute(_STRAYS).fetchall()
    self._num_strays = sum(count for _, count in strays)
    if self._num_strays and self._num_strays == self.num_labels:
      ids = ', '.join(repr(key) for key, _ in strays[:3])
      raise errors.DataError(
        f'The labels are of images with ids such as {ids}, and none of the {self.num_images} images has one of these; '
        f'they have ids such as {", ".join(map(repr, self.examples(3)))}.'
      )

  def expect(self, source_ids: Iterable[str]) -> None:
    """Says which images will be looked for, so that a part of a name that two of them share finds neither.

    Raises:
      DataError: two of them have the same id.
    """
    with _database_errors():
      self._connection.execute('BEGIN')
      for source_id in source_ids:
        for rank, form in enumerate(_forms(source_id)):
          row = [form, rank, _path(source_id), source_id]
          added = self._connection.execute(_EXPECT, row)
          if not added.rowcount:
            raise errors.DataError(
              f'Two images have the id {source_id!r}, so nobody can tell which of them labels are about. Give each '
              'image an id (image/source_id) of its own, and write their records again.'
            )
      self._connection.execute('COMMIT')

  def find(self, source_id: str) -> Labels | None:
    """The labels of an image.

    Args:
      source_id: the id in the image's record, which may be its name.

    Returns:
      Its labels; an image that was added without any has no boxes. None for an image that is not there.
    """
    with _database_errors():
      for rank, form in enumerate(_forms(source_id)):
        rows = self._connection.execute(_FIND, [form, rank]).fetchall()
        keys = {key for key, _ in rows}
        paths = self._expected(form, rank) if rank else []
        if rank == _WHOLE_NAME and len(paths) > 1:
          # Images that differ in their endings alone.
          return None
        if rank == _BASE_NAME and (len(paths) > 1 or len(keys) > 1):
          mine = _path(source_id)
          others = [path for path in paths if path != mine]
          keys = {
            key
            for key, path in rows
            if _is_part(path, mine) and not any(_is_part(path, other) for other in others)
          }
        if len(keys) == 1:
          return self._labels(keys.pop())
    return None

  def _expected(self, form: str, rank: int) -> list[str]:
    """Paths of the expected images that may be called so."""
    query = 'SELECT path FROM expected WHERE name = ? AND rank = ?'
    return [path for (path,) in self._connection.execute(query, [form, rank])]

  @property
  def num_labels(self) -> int:
    """Number of boxes, or of masks."""
    return self._count('SELECT coalesce(sum(size), 0) FROM labels')

  @property
  def num_strays(self) -> int:
    """Number of those whose id no image was added with."""
    return self._num_strays

  @property
  def num_images(self) -> int:
    """Number of images that were added."""
    return self._count('SELECT count(*) FROM images')

  @property
  def num_used(self) -> int:
    """Number of images whose labels were found."""
    return self._count('SELECT count(*) FROM images WHERE is_used')

  def examples(self, count: int) -> list[str]:
    """The first few images, for messages."""
    with _database_errors():
      rows = self._connection.execute('SELECT key FROM images ORDER BY key LIMIT ?', [count])
      return [key for (key,) in rows]

  def _count(self, query: str) -> int:
    with _database_errors():
      return int(self._connection.execute(query).fetchone()[0])

  def _labels(self, key: str) -> Labels:
    self._connection.execute('UPDATE images SET is_used = 1 WHERE key = ?', [key])
    query = 'SELECT content FROM labels WHERE key = ? ORDER BY number'
    found = [_labels(text) for (text,) in self._connection.execute(query, [key])]
    masks = [each for each in found if isinstance(each, Mask)]
    if masks:
      return masks[0]
    parts = [each for each in found if isinstance(each, Boxes)]
    boxes = tuple(box for each in parts for box in each.boxes)
    size = next((each.size for each in parts if each.size), None)
    first = next((each for each in parts if each.boxes or each.is_rejected), Boxes())
    return dataclasses.replace(first, boxes=boxes, size=size)


def _check_scores(key: str, boxes: Iterable[Box]) -> None:
  """Raises DataError for a score outside [0, 1]; NaN costs its image alone, like that of a teacher."""
  for box in boxes:
    if box.score is not None and (
      box.score < -_SCORE_TOLERANCE or box.score > 1.0 + _SCORE_TOLERANCE
    ):
      raise errors.DataError(
        f'The image {key!r} has a box with the score {box.score:g}; scores are numbers from 0 to 1. Divide percents by '
        '100, and turn logits into probabilities.'
      )


def _size(labels: Labels) -> int:
  return 1 if isinstance(labels, Mask) else len(labels.boxes)


def _labels(text: str) -> Labels:
  kind, values = json.loads(text)
  if kind == 'mask':
    return Mask(*values)
  boxes, is_relative, size, is_rejected = values
  made = tuple(Box(*box) for box in boxes)
  return Boxes(made, is_relative, tuple(size) if size else None, is_rejected)


def _forms(name: str) -> Iterator[str]:
  """What an image may be called, the surest first; a text that is too long for a file name is none."""
  name = _slashes(name)
  yield name
  with contextlib.suppress(errors.DataError):
    yield names.stem(name)
    yield names.stem(name.rpartition('/')[2])


def _slashes(name: str) -> str:
  return name.replace('\\', '/')


def _path(name: str) -> str:
  """A name with its folders and without the ending of an image, if it has one."""
  root, ending = os.path.splitext(_slashes(name).strip('/'))
  return root if ending.lower() in names.EXTENSIONS else root + ending


def _is_part(one: str, other: str) -> bool:
  """Whether two paths are equal, or one is the end of the other."""
  long, short = (one, other) if len(one) > len(other) else (other, one)
  return f'/{long}'.endswith(f'/{short}')


@contextlib.contextmanager
def _database_errors() -> Iterator[None]:
  try:
    yield
  except (sqlite3.Error, OSError) as error:
    raise errors.DataError(
      f'Labels cannot be kept in the folder for temporary files, {tempfile.gettempdir()}: {error}. Make room there, or '
      'set the environment variable TMPDIR to a folder that has room.'
    ) from error
