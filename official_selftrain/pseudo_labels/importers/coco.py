"""COCO: a data set with scores, or detection results."""

from collections.abc import Mapping, Sequence

from official_selftrain.core import errors
from official_selftrain.datasets.sources import json_stream, json_values
from official_selftrain.pseudo_labels.importers import entries

_IMAGES, _ANNOTATIONS, _CATEGORIES = 'images', 'annotations', 'categories'


def read_dataset(path: str, class_names: Sequence[str]) -> entries.Entries:
  """Reads a JSON object with images, annotations and categories; annotations may have a score.

  Args:
    path: the file.
    class_names: not needed.

  Raises:
    DataError: it cannot be read, a list is missing, or an annotation is wrong.
  """
  del class_names
  made = entries.Entries()
  categories = _categories(path)
  for entry in json_stream.Lists(path, (_IMAGES, _ANNOTATIONS)).entries():
    if entry.name == _IMAGES:
      _add_image(made, entry.value, _place(path, entry))
    else:
      _add_box(made, entry.value, categories, _place(path, entry))
  made.seal()
  return made


def read_results(
  path: str, class_names: Sequence[str], annotation_file: str = ''
) -> entries.Entries:
  """Reads a JSON list of boxes with scores, as evaluation servers and `COCO.loadRes` take it.

  Args:
    path: the file.
    class_names: from class 1 on; category ids are these classes without an annotation file.
    annotation_file: COCO JSON with the images and categories that the ids are about; '' if image ids are the ids in the
      records.

  Raises:
    DataError: a file cannot be read, or a result is wrong.
  """
  made = entries.Entries()
  categories = {str(number): name for number, name in enumerate(class_names, start=1)}
  if annotation_file:
    categories = _add_context(made, annotation_file)
  for number, value in enumerate(json_stream.items_of(path)):
    place = f'{path}, result {number}'
    if not annotation_file:
      image_id = _image_id(value, place)
      made.add_image(image_id, image_id)
    _add_box(made, value, categories, place)
  made.seal()
  return made


def _categories(path: str) -> dict[str, str]:
  """Names by id. A reading of their own: they mostly stand after the annotations, which need not fit into memory."""
  categories: dict[str, str] = {}
  lists = json_stream.Lists(path, (_IMAGES, _ANNOTATIONS, _CATEGORIES))
  for entry in lists.entries():
    if entry.name == _CATEGORIES:
      _add_category(categories, entry.value, _place(path, entry))
  _check_lists(lists, path)
  return categories


def _add_context(made: entries.Entries, path: str) -> dict[str, str]:
  """Adds the images of an annotation file; returns its categories."""
  categories: dict[str, str] = {}
  lists = json_stream.Lists(path, (_IMAGES, _CATEGORIES))
  for entry in lists.entries():
    if entry.name == _IMAGES:
      _add_image(made, entry.value, _place(path, entry))
    else:
      _add_category(categories, entry.value, _place(path, entry))
  _check_lists(lists, path, _IMAGES, _CATEGORIES)
  return categories


def _check_lists(
  lists: json_stream.Lists,
  path: str,
  *names: str,
) -> None:
  missing = sorted(set(names or (_IMAGES, _ANNOTATIONS, _CATEGORIES)) - lists.found)
  if missing:
    raise errors.DataError(
      f'{path} has no list {" and no list ".join(missing)}. Results, a list of boxes, are read with '
      '--format=coco_results.'
    )


def _place(path: str, entry: json_stream.Entry) -> str:
  return f'{path}, {entry.name} {entry.number}'


def _add_image(made: entries.Entries, value: object, place: str) -> None:
  image_id, name = (
    json_values.id_of(json_values.get(value, 'id')),
    json_values.get(value, 'file_name'),
  )
  if image_id is None:
    raise errors.DataError(f'{place} has no id.')
  names = (name, json_values.get(value, 'source_id'))
  if not made.add_image(image_id, *(each for each in names if isinstance(each, str) and each)):
    raise errors.DataError(f'{place} has the id {image_id}, which an earlier image has, too.')
  height, width = (json_values.get(value, side) for side in ('height', 'width'))
  if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
    made.add(image_id, entries.Boxes(size=(height, width)))


def _add_category(categories: dict[str, str], value: object, place: str) -> None:
  category_id, name = (
    json_values.id_of(json_values.get(value, 'id')),
    json_values.get(value, 'name'),
  )
  if category_id is None or not isinstance(name, str) or not name:
    raise errors.DataError(f'{place} has no id or no name.')
  categories[category_id] = name


def _add_box(
  made: entries.Entries, value: object, categories: Mapping[str, str], place: str
) -> None:
  bbox, score = json_values.get(value, 'bbox'), json_values.get(value, 'score')
  edges, number = json_values.edges_of(bbox), json_values.as_number(score)
  if edges is None or (number is None and score is not None):
    raise errors.DataError(
      f'{place}: bbox {bbox!r}, score {score!r}. Expected: [x, y, width, height] in pixels, and a number from 0 to 1.'
    )
  category = json_values.get(value, 'category_id')
  name = categories.get(json_values.id_of(category) or '')
  if name is None:
    known = ', '.join(sorted(categories)[:10]) or 'none'
    raise errors.DataError(
      f'{place} has the category_id {category!r}; known are {known}. Give the file with the categories with '
      '--annotation_file, or the names of the classes with --class_names.'
    )
  is_crowd = json_values.get(value, 'iscrowd') in (1, '1')
  made.add(_image_id(value, place), entries.Boxes((entries.Box(name, *edges, number, is_crowd),)))


def _image_id(value: object, place: str) -> str:
  image_id = json_values.id_of(json_values.get(value, 'image_id'))
  if image_id is None:
    raise errors.DataError(f'{place} has no image_id.')
  return image_id
