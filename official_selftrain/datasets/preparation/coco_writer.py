"""Writes COCO JSON of any length with the memory of one image."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

from official_selftrain.core import files
from official_selftrain.datasets.preparation import shards, store
from official_selftrain.datasets.sources import image_names, items

# Images with their ids; called twice, because images and annotations are two lists of the file.
Images = Callable[[], Iterable[tuple[int | str, store.Entry]]]


def write(path: str | os.PathLike[str], class_names: Sequence[str], images: Images) -> None:
  """Writes the boxes of examined images as COCO's `instances_*.json`; the file appears only when it is whole.

  Args:
    path: of the file; its folder must exist.
    class_names: names from category id 1 on.
    images: gives ids, as in the records, and images with their findings.
  """
  with open(files.temporary_path(path), 'w', encoding='utf-8') as stream:
    stream.write('{"images": ')
    _write_list(stream, (_image(image_id, entry) for image_id, entry in images()))
    stream.write(',\n"annotations": ')
    _write_list(stream, _annotations(class_names, images()))
    stream.write(',\n"categories": ')
    _write_list(stream, ({'id': i, 'name': name} for i, name in enumerate(class_names, 1)))
    stream.write('}\n')
    stream.flush()
    os.fsync(stream.fileno())
  files.publish(path)


def _image(image_id: int | str, entry: store.Entry) -> dict[str, object]:
  assert entry.finding is not None
  return {
    'id': image_id,
    'file_name': image_names.display_name(entry.item.image.name),
    'height': entry.finding.height,
    'width': entry.finding.width,
  }


def _annotations(
  class_names: Sequence[str], images: Iterable[tuple[int | str, store.Entry]]
) -> Iterator[dict[str, object]]:
  """The boxes of all images, numbered from 1."""
  ids = {name: index for index, name in enumerate(class_names, 1)}
  number = 0
  for image_id, entry in images:
    assert entry.finding is not None
    for box in entry.finding.boxes:
      number += 1
      yield {
        'id': number,
        'image_id': image_id,
        'category_id': ids[box.class_name],
        'bbox': [box.xmin, box.ymin, box.xmax - box.xmin, box.ymax - box.ymin],
        'area': shards.area_of(box),
        'iscrowd': int(box.is_crowd),
        **_segmentation(box),
      }


def _segmentation(box: items.Box) -> dict[str, object]:
  return {} if box.run_lengths is None else {'segmentation': dict(box.run_lengths)}


def _write_list(stream: TextIO, values: Iterable[dict[str, object]]) -> None:
  separator = '[\n'
  for value in values:
    stream.write(separator + json.dumps(value, sort_keys=True, allow_nan=False))
    separator = ',\n'
  stream.write('[]' if separator == '[\n' else '\n]')
