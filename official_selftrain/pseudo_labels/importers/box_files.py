"""Boxes with a file for each image: YOLO and PASCAL VOC."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import image_names, items, voc_xml, yolo
from official_selftrain.pseudo_labels.importers import entries

_TXT, _XML = '.txt', '.xml'
_FOLDERS = {_TXT: 'labels', _XML: 'Annotations'}
_YAML = 'data.yaml'
# LabelImg's, beside the labels: a name on each line.
_NAMES = 'classes.txt'


def read_yolo(path: str, class_names: Sequence[str]) -> entries.Entries:
  """Reads text files with lines `class x y width height [confidence]`.

  Args:
    path: the folder of the text files, or one that has them in `labels`. A `data.yaml` in either names the classes,
      or a `classes.txt` beside the text files.
    class_names: from class 1 on, which is number 0 here; used without a `data.yaml`.

  Raises:
    DataError: there are no text files, or one cannot be read.
  """
  folder = _folder(path, _TXT)
  names: Mapping[int, str] = dict(enumerate(class_names))
  for place in (path, folder):
    if os.path.isfile(os.path.join(place, _YAML)):
      names = yolo.read_class_names(os.path.join(place, _YAML))
      break
  else:
    names = _listed_names(folder) or _listed_names(path) or names
  made = entries.Entries()
  made.add_each(
    (name, entries.Boxes(tuple(_yolo_boxes(file, names)), is_relative=True))
    for name, file in _files(folder, _TXT)
    if f'{name}{_TXT}' != _NAMES
  )
  made.seal()
  return made


def read_voc(path: str, class_names: Sequence[str]) -> entries.Entries:
  """Reads XML files; coordinates count from 1, and the last pixel is inside, as in PASCAL VOC.

  Args:
    path: the folder of the XML files, or one that has them in `Annotations`.
    class_names: not needed.

  Raises:
    DataError: there are no XML files, or one cannot be read.
  """
  del class_names
  made = entries.Entries()
  made.add_each((name, _voc_boxes(file)) for name, file in _files(_folder(path, _XML), _XML))
  made.seal()
  return made


def _folder(path: str, ending: str) -> str:
  """The folder of the files, in `path` or itself."""
  if not os.path.isdir(path):
    raise errors.DataError(f'--labels: {path} is not a folder. Give the folder of {ending} files.')
  inner = os.path.join(path, _FOLDERS[ending])
  return inner if os.path.isdir(inner) else path


def _files(folder: str, ending: str) -> Iterator[tuple[str, str]]:
  """Names without the ending, and paths."""
  count = 0
  for name, file in image_names.list_files(folder, (ending,)):
    count += 1
    yield name[: -len(ending)], file
  if not count:
    raise errors.DataError(f'--labels: {folder} has no {ending} file in it, nor in its folders.')


def _listed_names(folder: str) -> dict[int, str]:
  """The names in `classes.txt` by their numbers; empty without one."""
  path = os.path.join(folder, _NAMES)
  if not os.path.isfile(path):
    return {}
  try:
    with open(path, encoding='utf-8-sig') as stream:
      lines = [line.strip() for line in stream]
  except (OSError, UnicodeDecodeError) as error:
    raise errors.DataError(f'{path} cannot be read: {errors.first_line(error)}.') from error
  return {number: name for number, name in enumerate(lines) if name}


def _yolo_boxes(path: str, names: Mapping[int, str]) -> Iterator[entries.Box]:
  try:
    with open(path, encoding='utf-8-sig') as stream:
      lines = stream.read().split('\n')
  except (OSError, UnicodeDecodeError) as error:
    raise errors.DataError(f'{path} cannot be read as text: {error}.') from error
  for number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    box = yolo.read_box(line.split(), names, f'{path}, line {number}')
    if isinstance(box, faults.Fault):
      known = f' Classes are {min(names)} to {max(names)}.' if names else ''
      raise errors.DataError(
        f'{box.detail} is not `class x y width height [confidence]` of a known class.{known} Correct the line, or give '
        'the classes with a data.yaml in the folder or --class_names.'
      )
    yield _scored(box)


def _scored(box: items.Box) -> entries.Box:
  return entries.Box(box.class_name, box.ymin, box.xmin, box.ymax, box.xmax, box.score)


def _voc_boxes(path: str) -> entries.Boxes:
  try:
    annotation = voc_xml.read_annotation(path)
  except voc_xml.UnreadableError as error:
    raise errors.DataError(f'{path}: {error}. Restore the file.') from error
  boxes = []
  for number, each in enumerate(annotation.objects, start=1):
    if not each.name or each.box is None:
      raise errors.DataError(
        f'{path}, object {number}: name {each.name!r}, bndbox {", ".join(each.texts)}. Expected: a name and four '
        'numbers.'
      )
    xmin, ymin, xmax, ymax = each.box
    score = _number(each.score, f'{path}, object {number}: score')
    boxes.append(
      entries.Box(each.name, ymin - 1, xmin - 1, ymax, xmax, score, is_ignored=each.is_difficult)
    )
  return entries.Boxes(tuple(boxes), size=annotation.size)


def _number(text: str, place: str) -> float | None:
  """A number that may be missing."""
  if not text:
    return None
  try:
    value = float(text)
  except ValueError:
    value = math.nan
  if not math.isfinite(value):
    raise errors.DataError(f'{place} is {text!r}, expected a number from 0 to 1.')
  return value
