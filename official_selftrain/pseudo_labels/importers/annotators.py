"""Boxes from the programs in which people correct labels: Label Studio and CVAT."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib import parse

from lxml import etree  # type: ignore[import-untyped]

from official_selftrain.core import errors
from official_selftrain.datasets.sources import json_stream, json_values
from official_selftrain.pseudo_labels.importers import entries

_RECTANGLE = 'rectanglelabels'
_TRUE = 'true'
_IGNORED_NOTE = 'ignore band'
# What CVAT draws besides boxes.
_SHAPES = frozenset({'polygon', 'polyline', 'points', 'ellipse', 'cuboid', 'skeleton', 'mask'})
# What Label Studio says of a whole image or of another region; everything else is a region of its own.
_REMARKS = frozenset(
  {
    *('choices', 'textarea', 'rating', 'number', 'taxonomy', 'datetime'),
    *('pairwise', 'ranker', 'relation'),
  }
)
_BOXES_ALONE = 'Only upright boxes can be read: make one of it, or delete it.'


def read_label_studio(path: str, class_names: Sequence[str]) -> entries.Entries:
  """Reads tasks in Label Studio's JSON: of each task the last annotation, or the last prediction without one.

  A task whose annotation was cancelled (skipped) is an image that must not be learned from.

  Args:
    path: the JSON that Label Studio exports (not JSON_MIN), or `tasks.json` of our own export.
    class_names: not needed.

  Raises:
    DataError: it cannot be read, a task is wrong, or two tasks are about one image.
  """
  del class_names
  made = entries.Entries()
  for number, task in enumerate(json_stream.items_of(path)):
    place = f'{path}, task {number}'
    data = json_values.get(task, 'data')
    found = {name: json_values.get(data, name) for name in ('source_id', 'image')}
    called = {name: value for name, value in found.items() if isinstance(value, str) and value}
    if not called:
      raise errors.DataError(f'{place} has neither data.source_id nor data.image.')
    if 'image' in called:
      called['image'] = _file_of(called['image'])
    key = next(iter(called.values()))
    if not made.add_image(key, *called.values()):
      raise errors.DataError(
        f'{place} is about the image {key!r}, and so is an earlier task. Delete one of them.'
      )
    made.add(key, _of_task(task, place))
  made.seal()
  return made


def _file_of(image: str) -> str:
  """The path of an image in the ways in which Label Studio names one: as it is, in a URL, or below `?d=`."""
  _, mark, local = image.rpartition('?d=')
  if mark:
    return parse.unquote(local)
  return parse.unquote(parse.urlsplit(image).path) if '://' in image else image


def _of_task(task: object, place: str) -> entries.Boxes:
  """The labels of a task."""
  for kind in ('annotations', 'predictions'):
    found = json_values.get(task, kind)
    if not isinstance(found, list) or not found:
      continue
    last = found[-1]
    if json_values.get(last, 'was_cancelled') is True:
      return entries.Boxes(is_rejected=True)
    result = json_values.get(last, 'result')
    if not isinstance(result, list):
      raise errors.DataError(f'{place}: {kind} has no result. Export the tasks as JSON.')
    kinds = [json_values.get(region, 'type') for region in result]
    for kind in kinds:
      if not isinstance(kind, str) or (kind != _RECTANGLE and kind not in _REMARKS):
        raise errors.DataError(
          f'{place}: a region is of type {kind}. Only upright boxes can be read, each with its class '
          '(RectangleLabels): make one of it, or delete it.'
        )
    regions = (r for r, kind in zip(result, kinds, strict=True) if kind == _RECTANGLE)
    return entries.Boxes(tuple(_region(each, place) for each in regions), is_relative=True)
  return entries.Boxes()


def _region(region: object, place: str) -> entries.Box:
  value = json_values.get(region, 'value')
  numbers = [
    json_values.as_number(json_values.get(value, name)) for name in ('x', 'y', 'width', 'height')
  ]
  known = [number / 100 for number in numbers if number is not None]
  labels = json_values.get(value, _RECTANGLE)
  if len(known) < len(numbers) or not isinstance(labels, list) or len(labels) != 1:
    raise errors.DataError(
      f'{place}: the region {json_values.get(region, "id")!r} has no x, y, width and height, or not one label.'
    )
  if json_values.get(value, 'rotation'):
    raise errors.DataError(
      f'{place}: the region {json_values.get(region, "id")!r} is turned. Boxes must be upright.'
    )
  left, top, width, height = known
  text = json_values.get(json_values.get(region, 'meta'), 'text')
  # A score that stands beside what a person has drawn is that of the prediction it began with.
  score = json_values.as_number(json_values.get(region, 'score'))
  is_ignored = isinstance(text, list) and _IGNORED_NOTE in text
  return entries.Box(str(labels[0]), top, left, top + height, left + width, score, is_ignored)


def read_cvat(path: str, class_names: Sequence[str]) -> entries.Entries:
  """Reads CVAT for images 1.1.

  Args:
    path: `annotations.xml`.
    class_names: not needed.

  Raises:
    DataError: it cannot be read, a box is wrong, or two images have the same name.
  """
  del class_names
  made = entries.Entries()
  count = 0
  try:
    with open(path, 'rb') as stream:
      # Nothing outside the file, whatever it refers to; one image at a time.
      parsed = etree.iterparse(
        stream, tag='image', resolve_entities=False, no_network=True, load_dtd=False
      )
      for _, image in parsed:
        count += 1
        name, size = image.get('name'), (image.get('height', ''), image.get('width', ''))
        if not name:
          raise errors.DataError(f'{path}, image {count} has no name.')
        boxes = tuple(_cvat_boxes(image, f'{path}, image {name}'))
        if not made.add_image(name, name):
          raise errors.DataError(
            f'{path}, image {count} is called {name!r}, and so is an earlier one. Delete or rename one of them.'
          )
        is_known = all(each.isdecimal() for each in size)
        made.add(
          name, entries.Boxes(boxes, size=(int(size[0]), int(size[1])) if is_known else None)
        )
        image.clear()
  except (etree.LxmlError, OSError) as error:
    raise errors.DataError(f'{path} cannot be read as XML: {error}.') from error
  if not count:
    raise errors.DataError(f'{path} has no image in it. Export the task as CVAT for images 1.1.')
  made.seal()
  return made


def _cvat_boxes(image: Any, place: str) -> Iterator[entries.Box]:
  for shape in image:
    if shape.tag in _SHAPES:
      raise errors.DataError(f'{place} has a {shape.tag}. {_BOXES_ALONE}')
  for number, box in enumerate(image.findall('box'), start=1):
    try:
      ymin, xmin, ymax, xmax = (float(box.get(name)) for name in ('ytl', 'xtl', 'ybr', 'xbr'))
      attributes = {
        each.get('name'): (each.text or '').strip() for each in box.findall('attribute')
      }
      score = float(attributes['score']) if attributes.get('score') else None
      turned_by = float(box.get('rotation') or 0.0)
    except (TypeError, ValueError):
      raise errors.DataError(
        f'{place}, box {number}: xtl, ytl, xbr, ybr, score or rotation is no number.'
      ) from None
    if turned_by:
      raise errors.DataError(f'{place}, box {number} is turned. {_BOXES_ALONE}')
    if not box.get('label'):
      raise errors.DataError(f'{place}, box {number} has no label.')
    is_ignored = attributes.get('ignored') == _TRUE
    yield entries.Box(box.get('label'), ymin, xmin, ymax, xmax, score, is_ignored)
