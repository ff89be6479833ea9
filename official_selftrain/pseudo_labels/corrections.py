"""What people decided about pseudo labels: labelled records, and a list of the images that they looked at.

They lie in `corrections` in the folder of the label shards. In the next round the labelled records are human labels
like all others, and none of the images has pseudo labels, whether it was corrected or rejected.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping

from official_selftrain.core import errors, files

FOLDER = 'corrections'
# Where the corrections before lie while others take their place.
_ASIDE_SUFFIX = '.old'
FILE_NAME = 'corrections.json'
RECORDS_NAME = 'corrected'

_REASONS = {
  'corrected': 'a person corrected the labels: the image is among the labelled ones now',
  'rejected': 'a person rejected the image',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corrections:
  """Decisions about the images of one folder of label shards.

  Attributes:
    corrected: ids of images whose labels are those of a person now.
    rejected: ids of images that nobody should learn from.
    records: TFRecord files with the corrected images, without folder.
    records_sha256: their digests.
    labels_sha256: digest of the label shards that were looked at.
    source: where the decisions come from.
  """

  corrected: tuple[str, ...] = ()
  rejected: tuple[str, ...] = ()
  records: tuple[str, ...] = ()
  records_sha256: tuple[str, ...] = ()
  labels_sha256: str = ''
  source: str = ''

  def reasons(self) -> dict[str, str]:
    """Why images have no pseudo labels any more, by id."""
    found = dict.fromkeys(self.corrected, _REASONS['corrected'])
    return found | dict.fromkeys(self.rejected, _REASONS['rejected'])

  def digest(self) -> str:
    """Digest of all decisions; the same whenever and wherever they were made."""
    return files.digest_of([self.corrected, self.rejected, self.records_sha256])

  def save(self, folder: str) -> None:
    """Writes `corrections.json`, last of all."""
    files.write_json(pathlib.Path(folder, FILE_NAME), dataclasses.asdict(self))


def folder_of(label_dir: str) -> str:
  """Folder of the corrections of some label shards."""
  return os.path.join(label_dir, FOLDER)


def publish(folder: str) -> None:
  """Puts the folder at `files.temporary_path(folder)` in the place of earlier corrections.

  A process that is killed in between loses neither: `load` takes the earlier ones back.
  """
  aside = folder + _ASIDE_SUFFIX
  _take_back(folder)
  for is_last in (False, True):
    if os.path.isdir(folder):
      files.remove(aside)
      os.rename(folder, aside)
    try:
      os.rename(files.temporary_path(folder), folder)
      break
    except OSError:
      if is_last:
        raise  # Else a run has just taken the earlier ones back.
  files.remove(aside)


def _take_back(folder: str) -> None:
  """Gives earlier corrections their place again if nothing has taken it."""
  aside = folder + _ASIDE_SUFFIX
  # On a read-only file system nothing may be renamed, even if there is nothing to rename.
  if os.path.isdir(aside) and not os.path.exists(folder):
    # Another worker may be faster.
    with contextlib.suppress(FileNotFoundError):
      os.rename(aside, folder)


def load(folder: str) -> Corrections | None:
  """Reads `corrections.json`; None if there is none.

  Raises:
    DataError: it was written by another version, or one of its records is missing.
  """
  _take_back(folder)
  path = pathlib.Path(folder, FILE_NAME)
  try:
    found = files.parse_json(path, _parse, 'Import the corrections again.')
  except FileNotFoundError:
    return None
  for name in found.records:
    if not os.path.exists(os.path.join(folder, name)):
      raise errors.DataError(
        f'{os.path.join(folder, name)} is missing. Import the corrections again.'
      )
  return found


def _parse(value: Mapping[str, object]) -> Corrections:
  return Corrections(
    **{name: tuple(each) if isinstance(each, list) else each for name, each in value.items()}  # type: ignore[arg-type]
  )
