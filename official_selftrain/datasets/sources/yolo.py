"""Labelled images in the layout of YOLO: a data.yaml, images, and a text file of boxes for each image.

data.yaml         path:  the folder that the others start from; the folder of data.yaml if not given
                  train: a folder of images, a list of folders, or a .txt file with one image on each line; the same
                         for val and test
                  names: the classes, as a list or as {number: name}
                  nc:    how many they are; may be left out
                  kpt_shape: of poses, [points, numbers of each]; the points are passed over
images/a/b.jpg
labels/a/b.txt    a line for each object: its class, and the centre, width and height of its box in fractions of the
                  image's sides: `class x y width height`. A sixth number is a score. `class x1 y1 x2 y2 ...` with
                  three points or more is a polygon.
"""

import dataclasses
import functools
import heapq
import os
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import yaml

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import image_names, items

SPLITS = ('train', 'val', 'test')

_FILE = 'data.yaml'
_IMAGES, _LABELS = 'images', 'labels'
_BOX_FIELDS = (5, 6)
# A class and three points.
_MIN_POLYGON_FIELDS = 7


def open_source(path: str | os.PathLike[str], split: str = 'train') -> items.Source:
  """Opens a split of a YOLO data set.

  The boxes of an image are in the file with the same name and the ending .txt, in the folder that has `labels` for the
  last `images` in the path of the image's folder; beside the image, if there is no such folder. An image without the
  file has no objects. Boxes are relative. Polygons become the boxes around them. Classes are in the order of their
  numbers.

  A `path` that does not exist is passed over, because archives are often unpacked elsewhere. Where a folder or list
  that begins with `../` does not exist, it is looked for without that, as Ultralytics does. Relative lines of a list
  start from the folder of the list or, if the first image is not there, from `path`.

  Names of images start from the innermost folder that holds `path` and all images.

  Args:
    path: data.yaml, or the folder that holds it (or one other .yaml file).
    split: train, val or test.

  Returns:
    The source.

  Raises:
    ConfigError: there is no such split in this format.
    DataError: data.yaml is missing or wrong; it has no such split; the split has no images, or not one of them has a
      file of boxes.
  """
  if split not in SPLITS:
    raise errors.ConfigError(f'The split is {split!r}; allowed are {", ".join(SPLITS)}.')
  file = _find_yaml(os.path.abspath(path))
  content = _read_yaml(file)
  names = _class_names(content, file)
  roots = _roots(content, file)
  folders: list[str] = []
  listed: list[str] = []
  for found in _places(content, split, file, roots):
    if os.path.isdir(found):
      folders.append(found)
    else:
      listed += _read_list(found, roots[0])
  base = os.path.commonpath([roots[0], *folders, *{os.path.dirname(image) for image in listed}])
  source = _Source(
    tuple(names.values()),
    names,
    base,
    tuple(folders),
    tuple(sorted(listed)),
    _keypoint_numbers(content, file),
  )
  source.check_labels(file, split)
  return source


@dataclasses.dataclass(eq=False)
class _Source:
  """See `open_source`."""

  class_names: tuple[str, ...]
  _names: Mapping[int, str]
  # Absolute, like the next two; names start from it.
  _base: str
  _folders: tuple[str, ...]
  _listed: tuple[str, ...]
  # Numbers that follow each box.
  _keypoints: int = 0
  task: items.Task = items.Task.DETECTION
  mask_values: Mapping[int | tuple[int, int, int], int] = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def notes(self) -> tuple[faults.Fault, ...]:
    """See `items.Source`."""
    return tuple(
      faults.Fault(faults.Kind.NO_IMAGE, f'{lost} files in {_labels_folder(folder)}')
      for folder in self._folders
      if (lost := _count_lost(folder))
    )

  def check_labels(self, file: str, split: str) -> None:
    """Raises DataError if no image has a file of boxes, as when the labels lie somewhere else."""
    labels_of = functools.cache(_labels_folder)
    first = ''
    for image in self._images():
      # A name that cannot be a path has no file.
      if image_names.check_name(image.name):
        continue
      label_path = _label_path(image.path, labels_of)
      if os.path.isfile(label_path):
        return
      first = first or label_path
    raise errors.DataError(
      f'{file}: no image of {split} has a file of boxes. The first one would be {first}. Put the files there.'
    )

  def _images(self) -> Iterator[items.ImageFile]:
    """All images of the split, sorted by name."""
    streams = [self._in_folder(folder) for folder in self._folders]
    # Sorted, because all paths begin with the base.
    streams.append(items.ImageFile(self._name(path), path) for path in self._listed)
    return heapq.merge(*streams, key=lambda image: image.name)

  def _in_folder(self, folder: str) -> Iterator[items.ImageFile]:
    prefix = '' if folder == self._base else self._name(folder) + '/'
    return (
      items.ImageFile(prefix + image.name, image.path) for image in image_names.list_images(folder)
    )

  def _name(self, path: str) -> str:
    return path[len(self._base) :].lstrip('/')

  def _item(
    self,
    image: items.ImageFile,
    is_again: bool,
    label_path: Callable[[str], str],
    files_of: Callable[[str], frozenset[str]],
  ) -> items.Item:
    found = [faults.Fault(faults.Kind.SAME_NAME, 'the image is in the split twice')] * is_again
    name_fault = image_names.check_name(image.name)
    if name_fault:
      # Such a path must not be opened by anyone.
      return items.Item(
        items.ImageFile(image.name, ''), is_relative=True, faults=(name_fault, *found)
      )
    folder, file_name = os.path.split(image.path)
    if file_name not in files_of(folder):
      found.append(faults.Fault(faults.Kind.MISSING, image.path))
      return items.Item(image, is_relative=True, faults=tuple(found))
    made = self._read_labels(label_path(image.path))
    boxes = tuple(each for each in made if isinstance(each, items.Box))
    found += [each for each in made if isinstance(each, faults.Fault)]
    return items.Item(image, boxes, is_relative=True, faults=tuple(found))

  def _read_labels(self, path: str) -> list[items.Box | faults.Fault]:
    """The boxes of a file, and what is wrong with its lines; if it cannot be read, only that."""
    try:
      with open(path, encoding='utf-8-sig') as stream:
        lines = stream.read().split('\n')
    except FileNotFoundError:
      return []
    except (OSError, UnicodeDecodeError) as error:
      return [faults.Fault(faults.Kind.UNREADABLE, f'{path}: {error}')]
    return [
      read_box(line.split(), self._names, f'{path}, line {number}', self._keypoints)
      for number, line in enumerate(lines, start=1)
      if line.strip()
    ]

  # The last method, because its name hides the module `items` from annotations after it.
  def items(self) -> Iterator[items.Item]:
    """The images of the split, sorted by name."""
    labels_of = functools.cache(_labels_folder)
    files_of = functools.cache(_files_of)
    last = None
    for image in self._images():
      yield self._item(
        image, image.name == last, lambda path: _label_path(path, labels_of), files_of
      )
      last = image.name


def read_box(
  fields: Sequence[str], names: Mapping[int, str], place: str, num_keypoint_values: int = 0
) -> items.Box | faults.Fault:
  """Reads a line of a text file.

  Args:
    fields: its parts between blanks.
    names: the classes by number.
    place: file and line, for messages.
    num_keypoint_values: numbers of the points of a pose, which follow the box and are passed over.

  Returns:
    The box, in fractions of the image's sides, or what is wrong with the line.
  """
  try:
    numbers = [float(field) for field in fields]
  except ValueError:
    numbers = []
  if num_keypoint_values:
    is_box, is_polygon = len(numbers) == _BOX_FIELDS[0] + num_keypoint_values, False
    numbers = numbers[: _BOX_FIELDS[0]]
  else:
    is_box = len(numbers) in _BOX_FIELDS
    is_polygon = len(numbers) >= _MIN_POLYGON_FIELDS and len(numbers) % 2 == 1
  if not (is_box or is_polygon) or not numbers[0].is_integer():
    detail = f'{place}: {reprlib.repr(" ".join(fields))}'
    return faults.Fault(faults.Kind.MALFORMED, detail)
  name = names.get(int(numbers[0]))
  if name is None:
    return faults.Fault(faults.Kind.UNKNOWN_CLASS, f'{place}: class {fields[0]}')
  if is_polygon:
    x, y = numbers[1::2], numbers[2::2]
    return items.Box(name, min(y), min(x), max(y), max(x))
  _, x_centre, y_centre, width, height = numbers[:5]
  return items.Box(
    name,
    y_centre - height / 2,
    x_centre - width / 2,
    y_centre + height / 2,
    x_centre + width / 2,
    score=numbers[5] if len(numbers) > 5 else None,
  )


def read_class_names(path: str) -> dict[int, str]:
  """The classes of a data.yaml, by number, sorted.

  Raises:
    DataError: the file is missing or no YAML, or has no names or wrong ones.
  """
  return _class_names(_read_yaml(path), path)


def _label_path(image_path: str, labels_of: Callable[[str], str]) -> str:
  folder, file_name = os.path.split(image_path)
  return os.path.join(labels_of(folder), os.path.splitext(file_name)[0] + '.txt')


def _labels_folder(folder: str) -> str:
  """The folder of the labels for the images of a folder, which is an absolute path."""
  parts = folder.split(os.sep)
  if _IMAGES in parts:
    parts[len(parts) - 1 - parts[::-1].index(_IMAGES)] = _LABELS
  labels = os.sep.join(parts)
  return labels if os.path.isdir(labels) else folder


def _count_lost(folder: str) -> int:
  """Files of boxes whose image is not in a folder of images; 0 where both lie in one folder."""
  labels = _labels_folder(folder)
  if labels == folder:
    return 0
  stems = {os.path.splitext(image.name)[0] for image in image_names.list_images(folder)}
  names = (name for name, _ in image_names.list_files(labels, ('.txt',)))
  return sum(os.path.splitext(name)[0] not in stems for name in names)


def _files_of(folder: str) -> frozenset[str]:
  try:
    return frozenset(os.listdir(folder))
  except OSError:
    return frozenset()


def _find_yaml(path: str) -> str:
  if not os.path.isdir(path):
    return path
  file = os.path.join(path, _FILE)
  if os.path.isfile(file):
    return file
  others = sorted(name for name in os.listdir(path) if name.lower().endswith(('.yaml', '.yml')))
  if len(others) != 1:
    raise errors.DataError(
      f'{path} has no {_FILE} and {"several other" if others else "no other"} .yaml files in it. Give the file itself.'
    )
  return os.path.join(path, others[0])


def _read_yaml(path: str) -> dict[str, object]:
  """Its content, with every scalar as a text: in YAML, a class called `no` is a boolean."""
  try:
    with open(path, encoding='utf-8-sig') as stream:
      content = yaml.load(stream, Loader=yaml.BaseLoader)
  except OSError as error:
    raise errors.DataError(f'{path} cannot be read: {error.strerror}.') from error
  except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
    raise errors.DataError(f'{path} is no YAML: {" ".join(str(error).split())}.') from error
  if not isinstance(content, dict):
    raise errors.DataError(f'{path} is not a list of settings. Expected: names, train and val.')
  return content


def _keypoint_numbers(content: Mapping[str, object], path: str) -> int:
  """Numbers of the points that follow each box of a data set of poses; 0 for other data sets."""
  found = content.get('kpt_shape')
  if found is None:
    return 0
  if not isinstance(found, list) or len(found) != 2 or not all(map(_is_count, found)):
    raise errors.DataError(
      f'{path}: kpt_shape is {found!r}. Give the number of points and the numbers of each, such as [17, 3].'
    )
  return int(found[0]) * int(found[1])


def _is_count(text: object) -> bool:
  return isinstance(text, str) and text.isdecimal() and int(text) > 0


def _class_names(content: Mapping[str, object], path: str) -> dict[int, str]:
  """Names by number, sorted by number."""
  found = content.get('names')
  if isinstance(found, list):
    found = {str(number): name for number, name in enumerate(found)}
  if not isinstance(found, dict) or not found:
    raise errors.DataError(
      f'{path} has no names. Give them as a list, or as numbers from 0 on with names.'
    )
  names: dict[int, str] = {}
  for number, name in found.items():
    if not isinstance(number, str) or not number.isdecimal():
      raise errors.DataError(
        f'{path}: names has the number {number!r}; allowed are integers from 0 on.'
      )
    if not isinstance(name, str) or not name or name in names.values():
      raise errors.DataError(
        f'{path}: the name of class {number} is {name!r}; expected is a text that no other has.'
      )
    names[int(number)] = name
  count = content.get('nc', str(len(names)))
  if count != str(len(names)):
    raise errors.DataError(
      f'{path}: nc is {count!r}, but names has {len(names)}. Correct the wrong one.'
    )
  return dict(sorted(names.items()))


def _roots(content: Mapping[str, object], file: str) -> list[str]:
  """The folders that paths in data.yaml may start from, absolute, the likelier first."""
  folder, given = os.path.dirname(file), content.get('path')
  root = os.path.normpath(os.path.join(folder, given)) if isinstance(given, str) else folder
  return [root, folder] if os.path.isdir(root) and root != folder else [folder]


def _places(
  content: Mapping[str, object], split: str, file: str, roots: Sequence[str]
) -> Iterator[str]:
  """The folders and lists of a split, absolute; they exist."""
  given = content.get(split)
  given = given if isinstance(given, list) else [given]
  entries = [entry for entry in given if isinstance(entry, str) and entry]
  if not entries or len(entries) != len(given):
    there = ', '.join(name for name in SPLITS if content.get(name)) or 'none'
    raise errors.DataError(
      f'{file} gives no folder or list for {split}; it has the splits: {there}.'
    )
  for entry in entries:
    relative = [entry, entry[3:]] if entry.startswith('../') else [entry]
    tried = [os.path.normpath(os.path.join(root, each)) for root in roots for each in relative]
    found = next((path for path in tried if os.path.exists(path)), None)
    if found is None:
      raise errors.DataError(
        f'{file}: {split} is {entry}, which does not exist. Looked for: {", ".join(tried)}.'
      )
    if not os.path.isdir(found) and not found.lower().endswith('.txt'):
      raise errors.DataError(f'{file}: {split} is {entry}, neither a folder nor a .txt file.')
    yield found


def _read_list(path: str, root: str) -> list[str]:
  """Absolute paths of the images in a list."""
  try:
    # Names that are not UTF-8 are told of at their images.
    with open(path, encoding='utf-8-sig', errors='surrogateescape') as stream:
      lines = [line for line in map(str.strip, stream) if line]
  except OSError as error:
    raise errors.DataError(f'{path} cannot be read: {error.strerror}.') from error
  if not lines:
    raise errors.DataError(f'{path} lists no image; write one path on each line.')
  folder = os.path.dirname(path)
  start = image_names.fullest((folder, root), lines) or folder
  return [os.path.normpath(os.path.join(start, line)) for line in lines]
