"""The data card: what a prepared data set holds, where, and how it was made."""

import dataclasses
import glob
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from official_selftrain.core import errors, files

FILE_NAME = 'dataset.json'
TASKS = ('detection', 'segmentation', 'classification', 'none')

_FORMAT = 'official_selftrain data card'
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Set:
  """One set of images.

  Attributes:
    pattern: of its TFRecord files, relative to the card.
    images: number of images.
    objects: of labelled images, number of objects by class name: boxes, pixels of masks, or images.
    without_objects: number of labelled images that have no object.
    height: smallest, median and largest height of the images, in pixels.
    width: in the same way.
    files: digest by file name, see `datasets.tf_examples.RecordsDigest`.
    source: what was given, as it was written, and how the set was drawn from it.
    annotation_file: COCO JSON of a validation set for detection, or of what was taken away from unlabelled images that
      came from the labelled ones; relative to the card, '' without one.
    annotation_digest: SHA-256 of `annotation_file`, hex; '' without one, and on cards that were written before it was
      there.
    faults: number of images or annotations by kind of fault.
    object_sizes: of labelled images for detection, by class name: square root of the boxes' area as a share of the
      longer side of their image, which 10%, 50% and 90% of the boxes do not exceed; without crowds, and without
      classes that have no box. Empty on cards that were written before it was there.
    most_objects: of labelled images for detection, the most boxes that one of them has, without crowds; 0 on cards that
      were written before it was there.
  """

  pattern: str
  images: int
  objects: Mapping[str, int]
  without_objects: int
  height: tuple[int, int, int]
  width: tuple[int, int, int]
  files: Mapping[str, str]
  source: str
  annotation_file: str = ''
  annotation_digest: str = ''
  faults: Mapping[str, int] = dataclasses.field(default_factory=dict)
  object_sizes: Mapping[str, tuple[float, float, float]] = dataclasses.field(default_factory=dict)
  most_objects: int = 0


@dataclasses.dataclass(frozen=True)
class Card:
  """A prepared data set.

  Attributes:
    task: one of `TASKS`; 'none' for images without annotations only.
    classes: names in the order of class ids from 1, without the background.
    labelled: images to train with; None in a set without any.
    unlabelled: images without annotations; None without any.
    validation: images to measure with; None without any.
    split: the settings that decided which image is in which set: seed, fractions, stratification.
    versions: of this package and of those that read the images.
  """

  task: str
  classes: tuple[str, ...]
  labelled: Set | None
  unlabelled: Set | None
  validation: Set | None
  split: Mapping[str, Any]
  versions: Mapping[str, str]

  def sets(self) -> dict[str, Set]:
    """The sets that are there, by name."""
    named = {
      'labelled': self.labelled,
      'unlabelled': self.unlabelled,
      'validation': self.validation,
    }
    return {name: found for name, found in named.items() if found is not None}


def write(card: Card, directory: str | os.PathLike[str]) -> None:
  """Writes the card of the data in a directory; the last file to be written, because it says that all are there."""
  value = {'format': _FORMAT, 'version': _VERSION, **dataclasses.asdict(card)}
  files.write_json(os.path.join(directory, FILE_NAME), value)


def is_card(directory: str | os.PathLike[str]) -> bool:
  """Whether a directory has a data card, of whatever version, its files complete or not."""
  try:
    content = files.read_json(pathlib.Path(directory, FILE_NAME))
  except (OSError, ValueError):
    return False
  return isinstance(content, dict) and content.get('format') == _FORMAT


def read(directory: str | os.PathLike[str]) -> Card:
  """Reads the card of a data set.

  Args:
    directory: of the data set.

  Returns:
    The card.

  Raises:
    DataError: there is none, it is damaged, it is in remote storage, or a file that it names is missing.
  """
  if '://' in os.fspath(directory):
    raise errors.DataError(
      f'{directory}: a prepared data set must lie in a local folder or a mounted one. Mount the storage, or name the '
      'files there with task.train_data.input_path and the like.'
    )
  path = pathlib.Path(directory, FILE_NAME)
  advice = (
    'Give a directory that `python -m official_selftrain.datasets.prepare` has written to its end.'
  )
  try:
    content = files.read_json(path)
  except FileNotFoundError:
    raise errors.DataError(f'{directory} has no {FILE_NAME}. {advice}') from None
  except (OSError, ValueError) as error:
    raise errors.DataError(f'{path} cannot be read: {error}. {advice}') from error
  if not isinstance(content, dict) or content.get('format') != _FORMAT:
    raise errors.DataError(f'{path} is no data card. {advice}')
  if content.get('version') != _VERSION:
    raise errors.DataError(
      f'{path} is a data card of version {content.get("version")}; this program reads version {_VERSION}. Prepare the '
      'data again.'
    )
  try:
    card = _parse(content)
  except (KeyError, TypeError, ValueError) as error:
    raise errors.DataError(f'{path} is damaged: {error!r}. {advice}') from error
  _check_files(card, directory)
  return card


def digests(directory: str | os.PathLike[str]) -> dict[str, str]:
  """Digests of a data set's TFRecord files by name, whether they are there or not; empty without a card."""
  try:
    content = files.read_json(pathlib.Path(directory, FILE_NAME))
    sets = [content[name] or {} for name in ('labelled', 'unlabelled', 'validation')]
    return {name: digest for found in sets for name, digest in found.get('files', {}).items()}
  except (OSError, ValueError, LookupError, TypeError, AttributeError):
    return {}


def pattern_of(directory: str | os.PathLike[str], found: Set | None) -> str:
  """The pattern of a set's files in a directory, '' without a set; the directory's own `*` and `[` mean themselves."""
  return os.path.join(glob.escape(os.fspath(directory)), found.pattern) if found else ''


def _parse(content: Mapping[str, Any]) -> Card:
  fields = {field.name: content[field.name] for field in dataclasses.fields(Card)}
  for name in ('labelled', 'unlabelled', 'validation'):
    if fields[name] is not None:
      found = dict(fields[name])
      for side in ('height', 'width'):
        smallest, median, largest = found[side]
        found[side] = (smallest, median, largest)
      sizes = found.get('object_sizes', {})
      found['object_sizes'] = {each: (low, mid, high) for each, (low, mid, high) in sizes.items()}
      fields[name] = Set(**found)
  fields['classes'] = tuple(fields['classes'])
  if fields['task'] not in TASKS:
    raise ValueError(f'task is {fields["task"]!r}')
  return Card(**fields)


def _check_files(card: Card, directory: str | os.PathLike[str]) -> None:
  for found in card.sets().values():
    for name in (*found.files, *filter(None, [found.annotation_file])):
      if not pathlib.Path(directory, name).exists():
        raise errors.DataError(
          f'{pathlib.Path(directory, name)} is missing, but the data card names it. Restore it, or prepare the data '
          'again.'
        )
