"""Labelled images in the format of Open Images: a CSV file of boxes and a folder of images."""

import csv
import dataclasses
import json
import os
import posixpath
import reprlib
from collections.abc import Iterator, Mapping, Sequence

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import image_names, items, spool

_IMAGES = 'images'
_ID, _LABEL = 'ImageID', 'LabelName'
_EDGES = ('XMin', 'XMax', 'YMin', 'YMax')
_NEEDED = (_ID, _LABEL, *_EDGES)
# May be left out.
_CONFIDENCE, _GROUP = 'Confidence', 'IsGroupOf'

_DESCRIPTIONS_HEADER = [_LABEL, 'DisplayName']


def open_source(
  path: str | os.PathLike[str],
  images: str | os.PathLike[str] | None = None,
  classes: str | os.PathLike[str] | None = None,
) -> items.Source:
  """Opens a CSV file of boxes.

  The images are those in the folder, which may be a part of the data set; those that the CSV file does not mention have
  no objects. `source_id` is the ImageID, which is an image's file name without folder and ending. Boxes are relative.
  A box with IsGroupOf 1 is a crowd. Confidence becomes the score unless it is 1, which stands for a human. Other
  columns are left out.

  The file is read once, one row at a time; what it says of the images in the folder is kept in a temporary database,
  see `spool.Spool`.

  Args:
    path: the CSV file, with a header and the columns ImageID, LabelName, XMin, XMax, YMin, YMax and, if there are any,
      Confidence and IsGroupOf.
    images: the folder of the images; by default `images` beside the CSV file.
    classes: the CSV file of class descriptions, with the columns LabelName and DisplayName, with a header or without.
      Classes are then all of its lines, named by DisplayName, in the order of the file, so that several sets have the
      same. By default they are the LabelNames that the boxes of the whole CSV file use, in the folder or not, sorted.

  Returns:
    The source. Its notes tell of boxes of images that are not in the folder.

  Raises:
    DataError: a file is missing or wrong, the folder has no images, or no box is of one of them.
  """
  name = os.fspath(path)
  folder = os.path.join(os.path.dirname(name), _IMAGES) if images is None else os.fspath(images)
  if images is None and os.path.isfile(name) and not os.path.isdir(folder):
    raise errors.DataError(f'{name} has no folder {_IMAGES} beside it. Give the folder (images).')
  store = spool.Spool()
  labels, orphans = _read_boxes(name, store, folder)
  names = _class_names(labels, classes)
  store.seal()
  detail = f'{orphans} boxes in {name}'
  notes = (faults.Fault(faults.Kind.NO_IMAGE, detail),) if orphans else ()
  return _Source(tuple(names.values()), folder, name, names, store, notes=notes)


@dataclasses.dataclass(eq=False)
class _Source:
  """See `open_source`."""

  class_names: tuple[str, ...]
  _folder: str
  # The CSV file, for messages.
  _path: str
  # By LabelName.
  _names: Mapping[str, str]
  _store: spool.Spool
  task: items.Task = items.Task.DETECTION
  mask_values: Mapping[int | tuple[int, int, int], int] = dataclasses.field(default_factory=dict)
  notes: tuple[faults.Fault, ...] = ()

  def _item(self, image: spool.Image) -> items.Item:
    source_id = _image_id(image.name)
    name_fault = image_names.check_name(image.name)
    if name_fault:
      # Such a path must not be opened by anyone.
      file = items.ImageFile(image.name, '')
      return items.Item(file, is_relative=True, faults=(name_fault,))
    found = [] if image.is_first else [faults.Fault(faults.Kind.SAME_NAME, f'{_ID} {source_id}')]
    made = [self._box(text) for text in image.annotations]
    boxes = tuple(each for each in made if isinstance(each, items.Box))
    found += [each for each in made if isinstance(each, faults.Fault)]
    return items.Item(
      items.ImageFile(image.name, os.path.join(self._folder, image.name)),
      boxes,
      is_relative=True,
      source_id=source_id,
      faults=tuple(found),
    )

  def _box(self, text: str) -> items.Box | faults.Fault:
    line, label, confidence, group, *texts = json.loads(text)
    place = f'{self._path}, line {line}'
    try:
      score = float(confidence or 1)
      xmin, xmax, ymin, ymax = map(float, texts)
    except ValueError:
      values = reprlib.repr([*texts, confidence])
      detail = f'{place}: {", ".join((*_EDGES, _CONFIDENCE))} are {values}'
      return faults.Fault(faults.Kind.MALFORMED, detail)
    if label not in self._names:
      return faults.Fault(faults.Kind.UNKNOWN_CLASS, f'{place}: {label!r}')
    return items.Box(
      self._names[label],
      ymin,
      xmin,
      ymax,
      xmax,
      is_crowd=group == '1',
      score=None if score == 1 else score,
    )

  # The last method, because its name hides the module `items` from annotations after it.
  def items(self) -> Iterator[items.Item]:
    """The images in the folder, sorted by name."""
    return map(self._item, self._store.images())


def _image_id(name: str) -> str:
  return posixpath.splitext(posixpath.basename(name))[0]


def _read_boxes(path: str, store: spool.Spool, folder: str) -> tuple[set[str], int]:
  """Puts images and their boxes into the store; returns the LabelNames of all boxes and the number of orphans."""
  rows = _rows(path)
  _, header = next(rows, (0, []))
  missing = [name for name in _NEEDED if name not in header]
  if missing:
    raise errors.DataError(
      f'{path} has no column {" and no column ".join(missing)}. Expected: a header with {", ".join(_NEEDED)}.'
    )
  columns = {name: place for place, name in enumerate(header)}
  ids: set[str] = set()
  for image in image_names.usual_first(image_names.list_images(folder)):
    image_id = _image_id(image.name)
    ids.add(image_id)
    store.add_image(image.name, image_id)
  labels: set[str] = set()
  orphans = kept = 0
  for line, row in rows:
    # A row may be shorter than the header.
    values = {name: row[place] for name, place in columns.items() if place < len(row)}
    label = values.get(_LABEL, '')
    labels.add(label)
    if values.get(_ID) not in ids:
      orphans += 1
      continue
    kept += 1
    texts = [values.get(name, '') for name in (_CONFIDENCE, _GROUP, *_EDGES)]
    store.add_annotation(values[_ID], json.dumps([line, label, *texts]))
  if not kept:
    raise errors.DataError(
      f'{path} has {orphans} boxes, none of which is of an image in {folder}. Give the folder of the same split.'
    )
  return labels - {''}, orphans


def _class_names(
  labels: set[str], descriptions: str | os.PathLike[str] | None
) -> Mapping[str, str]:
  """Names of classes by LabelName, in the order of classes."""
  if descriptions is None:
    return {label: label for label in sorted(labels)}
  path = os.fspath(descriptions)
  # By DisplayName. Labels that no box has may share one.
  labels_of: dict[str, str] = {}
  seen: set[str] = set()
  for line, row in _rows(path):
    if row == _DESCRIPTIONS_HEADER:
      continue
    if len(row) != 2 or not all(row):
      raise errors.DataError(
        f'{path}, line {line}: {row} is not a LabelName and a DisplayName. Names with commas need quotes.'
      )
    label, name = row
    other = labels_of.get(name)
    if label in seen or {label, other} <= labels:
      raise errors.DataError(f'{path}, line {line}: {label} or {name} was there before. Delete it.')
    seen.add(label)
    if other is None or label in labels:
      labels_of[name] = label
  if labels.isdisjoint(seen):
    raise errors.DataError(f'{path} has none of the LabelNames of the boxes.')
  return {label: name for name, label in labels_of.items()}


def _rows(path: str) -> Iterator[tuple[int, Sequence[str]]]:
  """Line number, from 1 on, and fields of each row of a CSV file that is not blank."""
  try:
    with open(path, newline='', encoding='utf-8-sig') as stream:
      reader = csv.reader(stream)
      for row in reader:
        if row:
          yield reader.line_num, row
  except OSError as error:
    raise errors.DataError(f'{path} cannot be read: {error.strerror}.') from error
  except (csv.Error, UnicodeDecodeError) as error:
    raise errors.DataError(f'{path} cannot be read as CSV in UTF-8: {error}.') from error
