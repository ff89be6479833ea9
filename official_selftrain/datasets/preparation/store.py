"""The images of a preparation on disk, so that memory does not grow with their number and a killed run goes on.

A SQLite file holds every image of every set with what its reader said and, once it was examined, what was found.
"""

import dataclasses
import enum
import os
import pathlib
import pickle
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from official_selftrain.core import errors, keys
from official_selftrain.datasets import faults as faults_lib
from official_selftrain.datasets.sources import image_names, items

# Images that are read at once; SQLite takes a thousand values in a statement.
_AT_ONCE = 200
# Written between two commits; so many are examined again after a kill.
COMMIT_EVERY = 256

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE images (
  key INTEGER PRIMARY KEY,
  part TEXT NOT NULL,
  name TEXT NOT NULL,
  item BLOB NOT NULL,
  stamp TEXT NOT NULL,
  scan INTEGER NOT NULL,
  finding BLOB,
  is_good INTEGER,
  digest BLOB,
  hashes BLOB
);
CREATE UNIQUE INDEX by_name ON images (part, name);
"""
_COLUMNS = 'key, part, item, finding, stamp'
_FORGET = 'UPDATE images SET finding = NULL, is_good = NULL, digest = NULL, hashes = NULL'
# Raised when what is in the file gets another form, so that no killed run goes on with the old one.
_VERSION = 2


class Part(enum.Enum):
  """What the images of a set are for."""

  LABELLED = 'labelled'
  UNLABELLED = 'unlabelled'
  VALIDATION = 'validation'


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
  """What the examination of an image found.

  Attributes:
    faults: of the image and of its annotations, those of the reader included.
    digest: SHA-256 of the file's bytes; b'' without any.
    hashes: bytes of the perceptual hashes of image and mirror image, uint64 [2]; b'' for images without one.
    height: of the image that will be written, in pixels; 0 for an image that is skipped.
    width: in the same way.
    boxes: those that will be written, in pixels.
    pixel_counts: pixels of the mask by class id, without those of no class.
    is_changed: the image is written otherwise than its file is.
    is_final: examining the same files again finds the same; not so where a file could not be read, or a process died.
  """

  faults: tuple[faults_lib.Fault, ...] = ()
  digest: bytes = b''
  hashes: bytes = b''
  height: int = 0
  width: int = 0
  boxes: tuple[items.Box, ...] = ()
  pixel_counts: tuple[tuple[int, int], ...] = ()
  is_changed: bool = False
  is_final: bool = True

  @property
  def object_pixels(self) -> tuple[tuple[int, int], ...]:
    """Those of `pixel_counts` that are neither background nor void."""
    return tuple(each for each in self.pixel_counts if each[0] not in (0, keys.IGNORE_LABEL))

  @property
  def is_good(self) -> bool:
    """Whether the image is used."""
    return self.height > 0 and not any(
      fault.outcome is faults_lib.Outcome.SKIPPED or fault.kind is faults_lib.Kind.SAME_NAME
      for fault in self.faults
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
  """An image in the store.

  Attributes:
    key: its number in the store.
    part: its set.
    item: what the reader said.
    finding: what the examination found; None before it.
    stamp: size and date of its files when it was found, see `stamp_of`.
  """

  key: int
  part: Part
  item: items.Item
  finding: Finding | None = None
  stamp: str = ''


class Store:
  """The images of one preparation."""

  def __init__(self, path: str | os.PathLike[str]) -> None:
    """Opens a store, or makes an empty one.

    Args:
      path: the SQLite file; its folder must exist.

    Raises:
      DataError: there is another file of this name.
    """
    self._is_closed = False
    self._database = sqlite3.connect(path)
    try:
      # Several processes read while one writes.
      self._database.execute('PRAGMA journal_mode = WAL')
      known = self._database.execute(
        "SELECT name FROM sqlite_master WHERE name = 'facts'"
      ).fetchone()
      if not known:
        self._database.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
      self._database.close()
      raise errors.DataError(
        f'{path} is no work file of a preparation ({error}); remove it.'
      ) from error

  def close(self) -> None:
    """Writes what is pending and closes the file; a closed one stays closed."""
    if not self._is_closed:
      self._database.commit()
      self._database.close()
    self._is_closed = True

  def fact(self, name: str) -> Any:
    """What was kept under a name, or None."""
    row = self._database.execute('SELECT value FROM facts WHERE name = ?', (name,)).fetchone()
    return pickle.loads(row[0]) if row else None

  def keep(self, name: str, value: object) -> None:
    """Keeps a value that can be pickled under a name."""
    row = (name, pickle.dumps(value))
    self._database.execute('INSERT OR REPLACE INTO facts VALUES (?, ?)', row)
    self._database.commit()

  def add(self, part: Part, found: Iterable[items.Item]) -> Iterator[int]:
    """Makes the images of a set those that were found now.

    What was found about an image stays if neither its annotations nor the size or date of its files have changed.

    Args:
      part: the set.
      found: its images; the second of two with one name gets a number behind its name and a fault.

    Yields:
      The number of images so far, after each of them.
    """
    scan = (self.fact('scans') or 0) + 1
    self.keep('scans', scan)
    for count, item in enumerate(found, 1):
      name = image_names.display_name(item.image.name)
      known = self._known(part, name)
      if known and known[-1] == scan:
        # Most readers have seen it themselves.
        if all(fault.kind is not faults_lib.Kind.SAME_NAME for fault in item.faults):
          fault = faults_lib.Fault(faults_lib.Kind.SAME_NAME, item.image.name)
          item = dataclasses.replace(item, faults=(*item.faults, fault))
        name = f'{name}#{count}'
        known = self._known(part, name)
      stamp = stamp_of(item)
      if known and known[1] == stamp and pickle.loads(known[0]) == item:
        self._database.execute(
          'UPDATE images SET scan = ? WHERE part = ? AND name = ?', (scan, part.value, name)
        )
      else:
        self._database.execute(
          'INSERT OR REPLACE INTO images (part, name, item, stamp, scan) VALUES (?, ?, ?, ?, ?)',
          (part.value, name, pickle.dumps(item), stamp, scan),
        )
      yield count
    self._database.execute('DELETE FROM images WHERE part = ? AND scan != ?', (part.value, scan))
    self._database.commit()

  def _known(self, part: Part, name: str) -> tuple[bytes, str, int] | None:
    """Item, stamp and scan of an image that is in the store."""
    row: tuple[bytes, str, int] | None = self._database.execute(
      'SELECT item, stamp, scan FROM images WHERE part = ? AND name = ?', (part.value, name)
    ).fetchone()
    return row

  def count(self, part: Part | None = None, is_good: bool | None = None) -> int:
    """Number of images: of a set or of all, the good ones or all."""
    where, values = _conditions(part, is_good)
    return int(self._database.execute(f'SELECT COUNT(*) FROM images {where}', values).fetchone()[0])

  def unexamined(self) -> list[int]:
    """Numbers of the images without a finding, set after set in the order of their names."""
    rows = self._database.execute(
      'SELECT key FROM images WHERE finding IS NULL ORDER BY part, name'
    )
    return [key for (key,) in rows]

  def set_findings(self, found: Iterable[tuple[int, Finding]]) -> Iterator[int]:
    """Keeps what examinations found, by the images' numbers; yields how many so far."""
    done = 0
    for done, (key, finding) in enumerate(found, 1):
      self._database.execute(
        'UPDATE images SET finding = ?, is_good = ?, digest = ?, hashes = ? WHERE key = ?',
        (pickle.dumps(finding), int(finding.is_good), finding.digest, finding.hashes, key),
      )
      if not done % COMMIT_EVERY:
        self._database.commit()
      yield done
    self._database.commit()

  def forget_findings(self) -> None:
    """Makes all images unexamined again."""
    self._database.execute(_FORGET)
    self._database.commit()

  def forget_unsure_findings(self) -> None:
    """Makes the images unexamined again whose findings are not final."""
    keys = [each.key for each in self.entries(is_good=False) if not _is_final(each)]
    self._database.executemany(f'{_FORGET} WHERE key = ?', [(key,) for key in keys])
    self._database.commit()

  def entries(self, part: Part | None = None, is_good: bool | None = None) -> Iterator[Entry]:
    """Images with their findings: of a set or of all, the good ones or all, in the order of their names."""
    where, values = _conditions(part, is_good)
    rows = self._database.cursor().execute(
      f'SELECT {_COLUMNS} FROM images {where} ORDER BY part, name', values
    )
    return map(_entry, rows)

  def entry(self, key: int) -> Entry:
    """One image by its number."""
    return _entry(
      self._database.execute(f'SELECT {_COLUMNS} FROM images WHERE key = ?', (key,)).fetchone()
    )

  def part_of(self, key: int) -> Part:
    """The set of one image by its number; reads nothing else of it."""
    row = self._database.execute('SELECT part FROM images WHERE key = ?', (key,)).fetchone()
    return Part(row[0])

  def entries_of(self, keys: Sequence[int]) -> Iterator[Entry]:
    """Images by their numbers, in the order of these."""
    for first in range(0, len(keys), _AT_ONCE):
      some = keys[first : first + _AT_ONCE]
      marks = ', '.join('?' * len(some))
      rows = self._database.execute(
        f'SELECT {_COLUMNS} FROM images WHERE key IN ({marks})', some
      ).fetchall()
      found = {row[0]: row for row in rows}
      yield from (_entry(found[key]) for key in some)

  def marks(self) -> Iterator[tuple[int, Part, bytes, bytes]]:
    """Number, set, digest and perceptual hashes of the good images, in the order of `entries`."""
    rows = self._database.cursor().execute(
      'SELECT key, part, digest, hashes FROM images WHERE is_good ORDER BY part, name'
    )
    for key, part, digest, hashes in rows:
      yield key, Part(part), digest, hashes


def open_store(path: str | os.PathLike[str], plan: str) -> Store:
  """Opens the store of a preparation, or a new one if there is none or it is of another preparation.

  Args:
    path: the SQLite file; its folder is made when missing.
    plan: digest of all that decides what is in it.

  Returns:
    The store.
  """
  target = pathlib.Path(path)
  target.parent.mkdir(parents=True, exist_ok=True)
  store = Store(target)
  expected = (_VERSION, plan)
  if store.fact('plan') == expected:
    return store
  store.close()
  target.unlink()
  store = Store(target)
  store.keep('plan', expected)
  return store


def stamp_of(item: items.Item) -> str:
  """Size and date of the files of an image; changes when they do."""
  stamps = []
  for each in (item.image, item.mask):
    try:
      facts = os.stat(each.path) if each is not None and each.path else None
    except (OSError, ValueError):
      facts = None
    stamps.append(f'{facts.st_size}:{facts.st_mtime_ns}' if facts else '-')
  return ' '.join(stamps)


def _entry(row: tuple[int, str, bytes, bytes | None, str]) -> Entry:
  """An entry from `_COLUMNS`."""
  key, part, item, finding, stamp = row
  return Entry(
    key, Part(part), pickle.loads(item), pickle.loads(finding) if finding else None, stamp
  )


def _is_final(entry: Entry) -> bool:
  return entry.finding is None or entry.finding.is_final


def _conditions(part: Part | None, is_good: bool | None) -> tuple[str, Sequence[object]]:
  terms: list[str] = []
  values: list[object] = []
  if part is not None:
    terms.append('part = ?')
    values.append(part.value)
  if is_good is not None:
    terms.append('is_good = ?')
    values.append(int(is_good))
  return ('WHERE ' + ' AND '.join(terms) if terms else ''), values
