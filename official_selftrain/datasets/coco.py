"""Reads COCO annotation files: image sizes, categories, boxes and masks."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from official_selftrain.core import errors, keys

_EXPECTED = (
  'Expected: images with id, annotations with image_id, category_id, bbox and, for masks, segmentation, and, if there '
  'are any, categories with id and name. Relative boxes and masks also need height and width of images.'
)
# Fewer numbers are not a polygon; pycocotools would take four of them for a box.
_MIN_POLYGON = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
  """The boxes of one image.

  Attributes:
    boxes: float32 [n, 4], (ymin, xmin, ymax, xmax) relative to the image's sides; from `pixel_boxes` in pixels.
    classes: int64 [n], the category ids.
    is_crowd: bool [n].
  """

  boxes: np.ndarray
  classes: np.ndarray
  is_crowd: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True)
class _Object:
  """One annotation: its place in the file, its category, and all that the file says of it."""

  index: int
  category_id: int
  entry: dict[str, Any]

  @property
  def place(self) -> str:
    """Its place in the file, for messages."""
    return _place(self.index, self.entry)

  @property
  def is_crowd(self) -> bool:
    """Whether it is a crowd."""
    return bool(self.entry.get('iscrowd', 0))


class Annotations:
  """The content of an annotation file, by image; made by `read`.

  Images are named as in the feature `image/source_id` of records: by their ids as strings.

  Attributes:
    path: where it was read from.
    categories: names by category id, in the order of the ids; empty if the file lists no categories.
    ignored: number of annotations left out because the file lists no image with their image_id.
  """

  def __init__(self, path: str, content: Mapping[str, object], has_masks: bool) -> None:
    """Takes in the parsed JSON; use `read`.

    Raises:
      ValueError: what is missing or wrong in it.
    """
    self.path = path
    self._has_masks = has_masks
    self._sides = _sides(_entries(content, 'images'))
    self.categories = _categories(
      _entries(content, 'categories') if 'categories' in content else []
    )
    self._objects: dict[str, list[_Object]] = {name: [] for name in self._sides}
    self.ignored = 0
    for index, entry in enumerate(_entries(content, 'annotations')):
      try:
        self._add(index, entry)
      except ValueError as error:
        raise ValueError(f'{_place(index, entry)} {error}') from error

  def _add(self, index: int, entry: object) -> None:
    """Takes in one annotation; ValueError says what is wrong with it."""
    if not isinstance(entry, dict):
      raise ValueError(f'is {entry!r}, not an object')
    image_id = _image_id(entry, 'image_id')
    category_id = _integer(entry, 'category_id')
    if image_id in self._objects:
      self._objects[image_id].append(_Object(index, category_id, entry))
    else:
      self.ignored += 1

  def image_ids(self) -> tuple[str, ...]:
    """Ids of all images, in the order of the file, those without annotations included."""
    return tuple(self._sides)

  def category_ids(self) -> tuple[int, ...]:
    """Ids of all categories in rising order: those that the file lists and those that annotations have."""
    used = {each.category_id for found in self._objects.values() for each in found}
    return tuple(sorted(used.union(self.categories)))

  def first_without_number(self, name: str) -> str | None:
    """Finds what pycocotools cannot evaluate; it leaves out annotations of categories that the file does not list.

    Args:
      name: a key of annotations, for example 'area'.

    Returns:
      Place of the first annotation in the file, of a listed category if there are any, that has no number under this
      name; None if all have one.
    """
    wrong = [
      each
      for found in self._objects.values()
      for each in found
      if not isinstance(each.entry.get(name), int | float)
      and (not self.categories or each.category_id in self.categories)
    ]
    return min(wrong, key=lambda each: each.index).place if wrong else None

  def size(self, image_id: str) -> tuple[int, int]:
    """Height and width of an image in pixels.

    Raises:
      DataError: the file has no height or width of the image that is an integer above 0.
      KeyError: the file has no such image.
    """
    sides = zip(('height', 'width'), self._sides[image_id], strict=True)
    entry = {name: side for name, side in sides if side is not None}
    try:
      height, width = _integer(entry, 'height'), _integer(entry, 'width')
      if height < 1 or width < 1:
        raise ValueError(f'has height {height} and width {width}')
    except ValueError as error:
      raise errors.DataError(
        f'{self.path}: images[{list(self._sides).index(image_id)}] (id {image_id}) {error}. Give the image its height '
        'and width in pixels.'
      ) from error
    return height, width

  def boxes(self, image_id: str) -> Boxes | None:
    """Boxes of an image in the order of the file; None for an image that the file does not have.

    Boxes without area are kept, as pycocotools keeps them: they count as objects that are never found.

    Raises:
      DataError: an annotation of the image has no bbox of four finite numbers with sides >= 0, or the image has
        annotations but no size in the file.
    """
    return self._boxes(image_id, is_relative=True)

  def pixel_boxes(self, image_id: str) -> Boxes | None:
    """The same as `boxes` with places in pixels; does not need the size of the image.

    Raises:
      DataError: an annotation of the image has no bbox of four finite numbers with sides >= 0.
    """
    return self._boxes(image_id, is_relative=False)

  def _boxes(self, image_id: str, is_relative: bool) -> Boxes | None:
    if image_id not in self._sides:
      return None
    objects = self._objects[image_id]
    edges = np.array([self._edges(each) for each in objects], np.float64).reshape(-1, 4)
    if objects and is_relative:
      edges /= self.size(image_id) * 2
    return Boxes(
      edges.astype(np.float32),
      np.array([each.category_id for each in objects], np.int64),
      np.array([each.is_crowd for each in objects], bool),
    )

  def _edges(self, each: _Object) -> tuple[float, float, float, float]:
    """(ymin, xmin, ymax, xmax) in pixels."""
    bbox = each.entry.get('bbox')
    left, top, width, height = numbers = _four_numbers(bbox)
    if not (all(map(math.isfinite, numbers)) and width >= 0 and height >= 0):
      raise errors.DataError(
        f'{self.path}: {each.place} has the bbox {bbox}. Expected: four numbers, [x, y, width, height] in pixels, '
        'with width and height at least 0.'
      )
    return top, left, top + height, left + width

  def class_map(self, image_id: str) -> np.ndarray | None:
    """Class of each pixel of an image; None for an image that the file does not have.

    Returns:
      uint8 [height, width]: the category id of the last annotation in the file that covers the pixel, 255 if that is a
      crowd, 0 where none does.

    Raises:
      DataError: an annotation of the image has no usable segmentation, or a category id that is not in 1..254, or the
        image has no size in the file.
      ValueError: the file was read without masks.
    """
    if not self._has_masks:
      raise ValueError('class_map needs annotations that were read with with_masks=True.')
    if image_id not in self._sides:
      return None
    result = np.zeros(self.size(image_id), np.uint8)
    for each in self._objects[image_id]:
      segmentation = each.entry.get('segmentation')
      if not segmentation:
        raise errors.DataError(
          f'{self.path}: {each.place} has no segmentation, so pixels cannot be judged.'
        )
      if not 0 < each.category_id < keys.IGNORE_LABEL:
        raise errors.DataError(
          f'{self.path}: {each.place} has the category_id {each.category_id}. Masks hold classes from 1 to '
          f'{keys.IGNORE_LABEL - 1}.'
        )
      try:
        covered = _decode(segmentation, result.shape)
      except (TypeError, ValueError, OverflowError) as error:
        raise errors.DataError(
          f'{self.path}: the segmentation of {each.place} cannot be read: {error}.'
        ) from error
      result[covered] = keys.IGNORE_LABEL if each.is_crowd else each.category_id
    return result


def read(path: str | os.PathLike[str], with_masks: bool = False) -> Annotations:
  """Reads an annotation file.

  Args:
    path: JSON in the format of COCO's `instances_*.json`, wherever TensorFlow can read files.
    with_masks: whether segmentations are kept, for `Annotations.class_map`. Without them the annotations of COCO's
      118,287 training images take a fraction of the memory.

  Returns:
    Its content. Sizes, boxes and segmentations are checked when they are asked for. Annotations of images that the file
    does not list are left out; those of categories that it does not list stay.

  Raises:
    DataError: the file is missing or no COCO annotation file; says which entry is wrong.
  """
  name = os.fspath(path)
  try:
    with tf.io.gfile.GFile(name) as stream:
      content = json.load(stream, object_hook=None if with_masks else _without_mask)
    if not isinstance(content, dict):
      raise ValueError(f'it holds a {type(content).__name__} instead of an object')
    return Annotations(name, content, with_masks)
  except (tf.errors.OpError, ValueError) as error:
    if isinstance(error, tf.errors.OpError):
      what = errors.first_line(error)
    else:
      what = str(error) if type(error) is ValueError else repr(error)
    raise errors.DataError(
      f'{name} cannot be read as COCO annotations: {what}. {_EXPECTED}'
    ) from error


def _without_mask(entry: dict[str, Any]) -> dict[str, Any]:
  """Drops a segmentation as soon as it is parsed, so that no more than one is in memory."""
  entry.pop('segmentation', None)
  return entry


def _place(index: int, entry: object) -> str:
  """Name of an annotation in messages."""
  place = f'annotations[{index}]'
  return f'{place} (id {entry["id"]})' if isinstance(entry, dict) and 'id' in entry else place


def _entries(content: Mapping[str, object], name: str) -> list[object]:
  found = content.get(name)
  if not isinstance(found, list):
    raise ValueError(f'it has no list {name!r}')
  return found


# The following say what is wrong with an entry, in words that follow its name.


def _value(entry: object, name: str) -> Any:
  if not isinstance(entry, dict) or name not in entry:
    raise ValueError(f'has no {name}')
  return entry[name]


def _integer(entry: object, name: str) -> int:
  """A value as an int; 3.0, as some tools write it, is 3."""
  value = _value(entry, name)
  if isinstance(value, float) and value.is_integer():
    return int(value)
  if isinstance(value, bool) or not isinstance(value, int):
    raise ValueError(f'has the {name} {value!r}, which is not an integer')
  return value


def _image_id(entry: object, name: str) -> str:
  value = _value(entry, name)
  return value if isinstance(value, str) else str(_integer(entry, name))


def _sides(entries: list[object]) -> dict[str, tuple[object, object]]:
  """What the file says of height and width, by image id; None for what it does not say."""
  sides: dict[str, tuple[object, object]] = {}
  for index, entry in enumerate(entries):
    try:
      image_id = _image_id(entry, 'id')
      if image_id in sides:
        raise ValueError(f'has the id {image_id}, which another image has too')
    except ValueError as error:
      raise ValueError(f'images[{index}] {error}') from error
    assert isinstance(entry, dict)
    sides[image_id] = (entry.get('height'), entry.get('width'))
  return sides


def _categories(entries: list[object]) -> dict[int, str]:
  """Names by id, in the order of the ids."""
  names: dict[int, str] = {}
  for index, entry in enumerate(entries):
    try:
      category_id, name = _integer(entry, 'id'), str(_value(entry, 'name'))
      if category_id in names:
        raise ValueError(f'has the id {category_id}, which another category has too')
    except ValueError as error:
      raise ValueError(f'categories[{index}] {error}') from error
    names[category_id] = name
  return dict(sorted(names.items()))


def _four_numbers(bbox: object) -> list[float]:
  """The numbers of a bbox; four NaNs if they are not four numbers."""
  try:
    numbers = [float(number) for number in bbox] if isinstance(bbox, list) else []
  except (TypeError, ValueError):
    numbers = []
  return numbers if len(numbers) == 4 else [math.nan] * 4


def _decode(segmentation: object, size: tuple[int, ...]) -> np.ndarray:
  """Pixels that polygons or run lengths cover, bool [height, width].

  Raises:
    ValueError, TypeError, OverflowError: they are none.
  """
  height, width = size
  if isinstance(segmentation, list):
    for polygon in segmentation:
      if len(polygon) < _MIN_POLYGON or len(polygon) % 2:
        raise ValueError(f'a polygon has {len(polygon)} numbers, not three or more pairs (x, y)')
    merged = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return coco_mask.decode(merged).astype(bool)
  if not isinstance(segmentation, dict) or not {'counts', 'size'} <= set(segmentation):
    raise ValueError('expected: polygons, or run lengths with counts and size')
  counts, found = segmentation['counts'], list(segmentation['size'])
  if found != [height, width]:
    raise ValueError(f'its size is {found} and that of the image {[height, width]}')
  # Not by pycocotools, which reads uninitialised memory where runs are missing.
  runs = np.array(_runs(counts) if isinstance(counts, str) else counts, np.int64)
  if runs.min(initial=0) < 0:
    raise ValueError(f'it has a run of {runs.min()} pixels')
  if runs.sum() != height * width:
    raise ValueError(f'its runs have {runs.sum()} pixels and the image {height * width}')
  # Runs go down the columns; every second one is covered.
  return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _runs(text: str) -> list[int]:
  """Run lengths of COCO's compressed form.

  Five bits a character from chr(48) on, the lowest first; the sixth bit marks that the number continues; the fifth of
  its last character is the sign. From the fourth number on they are differences to the last but one.
  """
  runs: list[int] = []
  number = shift = 0
  for character in text:
    code = ord(character) - 48
    number |= (code & 0x1F) << shift
    shift += 5
    if code & 0x20:
      continue
    if code & 0x10:
      number -= 1 << shift
    runs.append(number + runs[-2] if len(runs) > 2 else number)
    number = shift = 0
  return runs
