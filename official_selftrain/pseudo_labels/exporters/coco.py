"""COCO: a data set with scores, and detection results."""

from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as coco_mask

from official_selftrain.pseudo_labels.exporters import base, output

_ANNOTATIONS_PART = 'annotations.part'
_PIXEL_DECIMALS = 4


def _info(facts: base.Facts) -> dict[str, Any]:
  """The entry `info`; without the date and year that COCO has, which labels do not record."""
  return {
    'description': 'Pseudo labels: predictions of a teacher, not of people',
    'version': facts.origin.labelled_with,
    'pseudo_labels': facts.origin.as_dict(),
  }


def _categories(facts: base.Facts) -> list[dict[str, Any]]:
  return [{'id': id_, 'name': name} for id_, name in enumerate(facts.class_names, start=1)]


def _bbox(box: base.Box, image: base.Image) -> list[float]:
  """[x, y, width, height] in pixels."""
  ymin, xmin, ymax, xmax = box.pixels(image)
  sides = (base.rounded(side, _PIXEL_DECIMALS) for side in (xmax - xmin, ymax - ymin))
  return [xmin, ymin, *sides]


class _Images:
  """A COCO file that begins with `info` and the images, which are written as they come."""

  def __init__(self, folder: output.Folder, facts: base.Facts, name: str) -> None:
    self._stream = folder.open(name)
    info = output.to_json(_info(facts))
    self._stream.write(f'{{"info": {info},\n"licenses": [],\n"images": ')
    self._list = output.JsonList(self._stream)
    self._categories = output.to_json(_categories(facts))

  def add(self, image: base.Image) -> None:
    """Writes an image."""
    self._list.add(
      {
        'id': image.image_id,
        'file_name': image.file_name,
        'width': image.width,
        'height': image.height,
        'source_id': image.source_id,
      }
    )

  def end(self, folder: output.Folder, annotations: str = '') -> None:
    """Ends the file.

    Args:
      folder: where it is.
      annotations: file in it with the list of annotations, which is moved into this one; an empty list without one.
    """
    self._list.end()
    self._stream.write(',\n"annotations": ')
    if annotations:
      folder.move_into(annotations, self._stream)
    else:
      self._stream.write('[]')
    self._stream.write(f',\n"categories": {self._categories}}}\n')
    self._stream.close()


class _Dataset:
  """`annotations.json`; annotations wait in a file of their own until the last image is written."""

  image_folder: ClassVar[str] = 'images'

  def __init__(self, folder: output.Folder, facts: base.Facts) -> None:
    self._folder = folder
    self._images = _Images(folder, facts, 'annotations.json')
    self._part = folder.open(_ANNOTATIONS_PART)
    self._annotations = output.JsonList(self._part)
    self._count = 0

  def _annotate(self, image: base.Image, class_id: int, score: float, **values: object) -> None:
    """Writes an annotation."""
    self._count += 1
    common = {'id': self._count, 'image_id': image.image_id, 'category_id': class_id}
    self._annotations.add({**common, **values, 'score': score})

  def finish(self) -> None:
    """See `Exporter`."""
    self._annotations.end()
    self._part.close()
    self._images.end(self._folder, _ANNOTATIONS_PART)


class BoxDataset(_Dataset):
  """A detection data set; `iscrowd` 1 is a box in the ignore band, which evaluation and training then leave alone."""

  marks_ignored: ClassVar[bool] = True

  def add(self, image: base.Image, labels: base.Boxes) -> None:
    """See `Exporter`."""
    self._images.add(image)
    for box in labels.boxes:
      bbox = _bbox(box, image)
      area = base.rounded(bbox[2] * bbox[3], _PIXEL_DECIMALS)
      crowd = int(box.is_ignored)
      self._annotate(image, box.class_id, box.score, bbox=bbox, area=area, iscrowd=crowd)


class MaskDataset(_Dataset):
  """A segmentation data set: one annotation for all pixels of a class in an image, scored by their mean confidence."""

  marks_ignored: ClassVar[bool] = False

  def add(self, image: base.Image, labels: base.Mask) -> None:
    """See `Exporter`."""
    self._images.add(image)
    for region in labels.regions():
      encoded = coco_mask.encode(np.asfortranarray(region.covered.astype(np.uint8)))
      size, counts = list(map(int, encoded['size'])), encoded['counts'].decode('ascii')
      self._annotate(
        image,
        region.class_id,
        region.score,
        bbox=coco_mask.toBbox(encoded).tolist(),
        area=int(region.covered.sum()),
        iscrowd=0,
        segmentation={'size': size, 'counts': counts},
      )


class Results:
  """`results.json`, the list that evaluation servers and `COCO.loadRes` take, and `images.json` with all the rest."""

  marks_ignored: ClassVar[bool] = False
  image_folder: ClassVar[str] = 'images'

  def __init__(self, folder: output.Folder, facts: base.Facts) -> None:
    """See `Exporter`."""
    self._folder = folder
    self._images = _Images(folder, facts, 'images.json')
    self._stream = folder.open('results.json')
    self._results = output.JsonList(self._stream)

  def add(self, image: base.Image, labels: base.Boxes) -> None:
    """See `Exporter`."""
    self._images.add(image)
    for box in labels.boxes:
      found = {'image_id': image.image_id, 'category_id': box.class_id}
      self._results.add({**found, 'bbox': _bbox(box, image), 'score': box.score})

  def finish(self) -> None:
    """See `Exporter`."""
    self._results.end()
    self._stream.write('\n')
    self._images.end(self._folder)
