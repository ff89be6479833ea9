"""Data sets that the package makes itself: once for each choice of settings, whole or not at all."""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from official_selftrain.core import errors, files

_MARKER = 'dataset.json'
_LOCK = '.lock'


@dataclasses.dataclass(frozen=True)
class Identity:
  """What decides the content of a data set.

  Attributes:
    dataset: its kind.
    version: raised when the same settings give other content, so that old files are not mistaken for new ones.
    prefix: dotted name of the settings, for messages.
    settings: by name below `prefix`.
  """

  dataset: str
  version: int
  prefix: str
  settings: dict[str, Any]

  def as_json(self) -> dict[str, Any]:
    """As it is written in the marker."""
    return {'dataset': self.dataset, 'version': self.version, 'config': self.settings}

  def digest(self) -> str:
    """Hex digest of the whole."""
    return files.digest_of(self.as_json())


def make(
  directory: str | os.PathLike[str], identity: Identity, write: Callable[[pathlib.Path], list[str]]
) -> None:
  """Makes a data set in a directory unless it is there already.

  Processes that make the same one at the same time wait for the first of them. The marker with sizes and digests of
  all files is written last.

  Args:
    directory: created when missing.
    identity: of the data set.
    write: writes the files into the directory that it is given, and returns their names.

  Raises:
    ConfigError: the directory holds a data set of other settings.
    DataError: it cannot be created.
  """
  root = pathlib.Path(directory)
  if _is_complete(root, identity):
    return
  try:
    root.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.DataError(f'The digits cannot be written to {root}: {error}.') from error
  with _locked(root):
    if not _is_complete(root, identity):
      sums = {
        name: {'bytes': (root / name).stat().st_size, 'sha256': files.sha256(root / name)}
        for name in write(root)
      }
      files.write_json(root / _MARKER, {**identity.as_json(), 'files': sums})


def _is_complete(root: pathlib.Path, identity: Identity) -> bool:
  """Whether `root` holds all files; ConfigError if it holds those of other settings."""
  if not (root / _MARKER).exists():
    return False
  try:
    marker = files.read_json(root / _MARKER)
  except ValueError:
    marker = None
  _check_identity(marker, identity, root)
  return all(
    (root / name).is_file()
    and (root / name).stat().st_size == entry['bytes']
    and files.sha256(root / name) == entry['sha256']
    for name, entry in marker['files'].items()
  )


def _check_identity(marker: Any, identity: Identity, root: pathlib.Path) -> None:
  advice = 'Give another directory, or delete this one.'
  expected = identity.as_json()
  found: dict[str, Any] = {}
  if isinstance(marker, dict):
    found = {name: marker.get(name) for name in expected}
  if found == expected:
    return
  if any(found.get(name) != expected[name] for name in ('dataset', 'version')):
    raise errors.ConfigError(
      f'{root} holds a data set of another kind or of another version of this program. {advice}'
    )
  differences = ', '.join(
    f'{identity.prefix}.{name} is {found["config"].get(name)!r} there and {value!r} here'
    for name, value in identity.settings.items()
    if found['config'].get(name) != value
  )
  raise errors.ConfigError(f'{root} holds digits of other settings: {differences}. {advice}')


@contextlib.contextmanager
def _locked(root: pathlib.Path) -> Iterator[None]:
  """Keeps other processes out of `root`; the system lets go of the lock when this process dies."""
  with open(root / _LOCK, 'w') as stream:
    fcntl.flock(stream, fcntl.LOCK_EX)
    yield
