"""Labelled images with a JSON file of annotations in the format of COCO's `instances_*.json`."""

import dataclasses
import json
import math
import os
import posixpath
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from official_selftrain.core import errors, keys
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import (
  image_names,
  items,
  json_stream,
  json_values,
  run_lengths,
  spool,
)

# Where images are looked for, from the folder of the JSON file on.
_FOLDERS = ('', 'images', '../images', 'JPEGImages')

_TASKS = (items.Task.DETECTION.value, items.Task.SEGMENTATION.value)

_IMAGES, _ANNOTATIONS, _CATEGORIES = 'images', 'annotations', 'categories'
_EXPECTED = (
  'Expected: lists of images with id and file_name, of annotations with image_id, category_id and bbox, and of '
  'categories with id and name.'
)


def open_source(
  path: str | os.PathLike[str],
  images: str | os.PathLike[str] | None = None,
  task: str = items.Task.DETECTION.value,
  needs_annotations: bool = True,
) -> items.Source:
  """Opens a COCO annotation file.

  The images are those that the file lists; others in the folder are left out. `source_id` is an image's id, `size` its
  height and width. Backslashes in file names become slashes. Boxes have the edges x, y, x + width and y + height of
  `bbox`, or, without one and for class maps, of the mask. Polygons and run lengths of each kind become compressed run
  lengths; where the file does not give the size of the image, polygons are left out, and an image for which a class map
  is to be drawn from them is UNREADABLE. A segmentation that cannot be read makes the whole
  annotation MALFORMED. Classes are in the order of category ids.

  The file is read once, one entry at a time, into a temporary database of about the same size, see `spool.Spool`.

  Args:
    path: the JSON file.
    images: the folder that file names start from. By default the first of these that has most of the first images: the
      folder of the JSON file, `images` in it, `images` beside it, `JPEGImages` in it.
    task: 'detection', or 'segmentation' to draw class maps from the masks of the objects, see `checks.class_maps`.
    needs_annotations: whether a file without the lists of annotations and categories is refused.

  Returns:
    The source. Its notes tell of annotations of images that the file does not list.

  Raises:
    ConfigError: `task` is something else.
    DataError: the file is missing, no JSON or without images, annotations or categories; a category has no id or name
      of its own; or the images are not found.
  """
  if task not in _TASKS:
    raise errors.ConfigError(f'task is {task!r}; allowed are {", ".join(_TASKS)}.')
  name = os.fspath(path)
  lists = json_stream.Lists(name, (_IMAGES, _ANNOTATIONS, _CATEGORIES))
  store = spool.Spool()
  categories: dict[int, str] = {}
  first: list[str] = []
  for entry in lists.entries():
    if entry.name == _IMAGES:
      image = _file_name(entry)
      store.add_image(image, json_values.id_of(json_values.get(entry.value, 'id')), entry.text)
      is_named = _has_file_name(entry.value) and not image_names.check_name(image)
      if is_named and len(first) < image_names.LOOKED_FOR:
        first.append(image)
    elif entry.name == _ANNOTATIONS:
      # The place in the list is for messages.
      store.add_annotation(
        json_values.id_of(json_values.get(entry.value, 'image_id')), f'{entry.number} {entry.text}'
      )
    else:
      _add_category(categories, entry, name)
  if task == items.Task.SEGMENTATION.value and len(categories) >= keys.IGNORE_LABEL:
    raise errors.DataError(
      f'{name} has {len(categories)} categories; class maps have at most {keys.IGNORE_LABEL - 1}.'
    )
  needed = {_IMAGES, _ANNOTATIONS, _CATEGORIES} if needs_annotations else {_IMAGES}
  missing = sorted(needed - lists.found)
  if missing:
    raise errors.DataError(f'{name} has no list {" and no list ".join(missing)}. {_EXPECTED}')
  if not first or (needs_annotations and not categories):
    what = 'categories' if first else 'image with a file_name that can be used'
    raise errors.DataError(f'{name} lists no {what}. {_EXPECTED}')
  folder = _folder_of(name, first) if images is None else os.fspath(images)
  store.add_files(image.name for image in image_names.list_images(folder))
  orphans = store.seal()
  ordered = dict(sorted(categories.items()))
  notes = (
    (faults.Fault(faults.Kind.NO_IMAGE, f'{orphans} annotations in {name}'),) if orphans else ()
  )
  return _Source(
    tuple(ordered.values()), folder, ordered, store, task=items.Task(task), notes=notes
  )


@dataclasses.dataclass(eq=False)
class _Source:
  """See `open_source`."""

  class_names: tuple[str, ...]
  _folder: str
  _categories: Mapping[int, str]
  _store: spool.Spool
  task: items.Task = items.Task.DETECTION
  mask_values: Mapping[int | tuple[int, int, int], int] = dataclasses.field(default_factory=dict)
  notes: tuple[faults.Fault, ...] = ()

  def _item(self, image: spool.Image, is_first_of_name: bool) -> items.Item:
    entry = json.loads(image.text)
    source_id, size = json_values.id_of(json_values.get(entry, 'id')) or '', _size(entry)
    name_fault = image_names.check_name(image.name)
    # A name that leads elsewhere must not be opened by anyone.
    path = '' if name_fault else os.path.join(self._folder, image.name)
    found = [name_fault] if name_fault else []
    if not source_id or not _has_file_name(entry):
      detail = (
        f'an entry of images has the id {_short(json_values.get(entry, "id"))} and the file_name '
      )
      detail += _short(json_values.get(entry, 'file_name'))
      found = [faults.Fault(faults.Kind.UNREADABLE, detail)]
    elif not name_fault and not image.has_file and not os.path.isfile(path):
      found.append(faults.Fault(faults.Kind.MISSING, path))
    if not is_first_of_name:
      found.append(faults.Fault(faults.Kind.SAME_NAME, f'file_name {image.name!a}'))
    if not image.is_first:
      found.append(faults.Fault(faults.Kind.SAME_NAME, f'id {source_id}'))
    boxes: tuple[items.Box, ...] = ()
    if not any(fault.outcome is faults.Outcome.SKIPPED for fault in found):
      made = [self._box(text, size) for text in image.annotations]
      boxes = tuple(each for each in made if isinstance(each, items.Box))
      found += [each for each in made if isinstance(each, faults.Fault)]
      if size is None and any(map(self._needs_size, image.annotations)):
        detail = 'its entry of images has no height and width, without which polygons cannot be drawn; add them'
        boxes, found = (), [faults.Fault(faults.Kind.UNREADABLE, detail)]
    file = items.ImageFile(image.name, path)
    return items.Item(file, boxes, size=size, source_id=source_id, faults=tuple(found))

  def _box(self, numbered: str, size: tuple[int, int] | None) -> items.Box | faults.Fault:
    """The box of an annotation, or what is wrong with it."""
    number, _, text = numbered.partition(' ')
    # Only objects have an image_id to be found by.
    entry: dict[str, Any] = json.loads(text)
    place = f'annotations[{number}]' + (f' (id {_short(entry["id"])})' if 'id' in entry else '')
    category = json_values.as_integer(entry.get('category_id'))
    if category is None:
      return _malformed(f'{place} has the category_id {_short(entry.get("category_id"))}')
    if category not in self._categories:
      detail = f'{place} has the category_id {category}'
      return faults.Fault(faults.Kind.UNKNOWN_CLASS, detail)
    try:
      mask = run_lengths.encode(entry.get('segmentation'), size)
    except ValueError as error:
      return _malformed(f'the segmentation of {place} {error}')
    bbox = entry.get('bbox')
    # The box of a class map is never written, and some tools leave zeros there.
    is_of_mask = mask is not None and (not bbox or self.task is items.Task.SEGMENTATION)
    edges = run_lengths.tight_box(mask) if mask and is_of_mask else json_values.edges_of(bbox)
    if edges is None:
      return _malformed(f'{place} has the bbox {_short(bbox)}')
    area = json_values.as_number(entry.get('area'))
    return items.Box(
      self._categories[category],
      *edges,
      # Some tools write numbers as texts, and the text '0' is true.
      is_crowd=entry.get('iscrowd') in (1, '1'),
      area=area if area is not None and math.isfinite(area) else None,
      run_lengths=mask,
      score=json_values.as_number(entry.get('score')),
    )

  def _needs_size(self, numbered: str) -> bool:
    """Whether an annotation has polygons of which a class map is drawn."""
    if self.task is not items.Task.SEGMENTATION:
      return False
    return bool(run_lengths.polygons(json.loads(numbered.partition(' ')[2]).get('segmentation')))

  # The last method, because its name hides the module `items` from annotations after it.
  def items(self) -> Iterator[items.Item]:
    """The images that the file lists, sorted by name."""
    last = None
    for image in self._store.images():
      yield self._item(image, is_first_of_name=image.name != last)
      last = image.name


def _folder_of(path: str, first: Sequence[str]) -> str:
  """The folder that file names start from."""
  start = os.path.dirname(path)
  folders = [os.path.normpath(os.path.join(start, folder)) for folder in _FOLDERS]
  found = image_names.fullest(folders, first)
  if found:
    return found
  raise errors.DataError(
    f'{path}: its first image, {first[0]}, is in none of the folders {", ".join(folders)}. Give the folder that '
    'file_name starts from (images).'
  )


def _file_name(entry: json_stream.Entry) -> str:
  """Name of an image's file with slashes, as short as it can be; one made up where the file has none."""
  if not _has_file_name(entry.value):
    return f'images[{entry.number}]'
  name = str(json_values.get(entry.value, 'file_name'))
  # A name that must be refused stays as it is.
  return name if image_names.check_name(name) else posixpath.normpath(name.replace('\\', '/'))


def _has_file_name(entry: object) -> bool:
  name = json_values.get(entry, 'file_name')
  return isinstance(name, str) and bool(name)


def _add_category(categories: dict[int, str], entry: json_stream.Entry, path: str) -> None:
  place = f'{path}: categories[{entry.number}]'
  category, name = (
    json_values.as_integer(json_values.get(entry.value, 'id')),
    json_values.get(entry.value, 'name'),
  )
  if category is None or not isinstance(name, str) or not name:
    raise errors.DataError(f'{place} has no id that is an integer, or no name. {_EXPECTED}')
  if not json_values.is_text(name):
    raise errors.DataError(f'{place} has the name {name!r}, which is no Unicode text. Rename it.')
  if category in categories:
    raise errors.DataError(f'{place} has the id {category}, which another has too. Renumber one.')
  if name in categories.values():
    raise errors.DataError(f'{place} has the name {name}, which another has too. Rename one.')
  categories[category] = name


def _size(entry: object) -> tuple[int, int] | None:
  height, width = (
    json_values.as_integer(json_values.get(entry, 'height')),
    json_values.as_integer(json_values.get(entry, 'width')),
  )
  return (height, width) if height and width and height > 0 and width > 0 else None


def _malformed(detail: str) -> faults.Fault:
  return faults.Fault(faults.Kind.MALFORMED, detail)


def _short(value: object) -> str:
  return reprlib.repr(value)
