"""PASCAL VOC: one XML file per image, boxes in whole pixels."""

import math
from collections.abc import Mapping
from typing import ClassVar
from xml.etree import ElementTree as ET

from official_selftrain.pseudo_labels.exporters import base, names, output


class Annotations:
  """`Annotations/<name>.xml`, and the list `ImageSets/Main/pseudo.txt` of all names.

  `difficult` 1 is an object in the ignore band, which the evaluation of VOC then leaves out.
  """

  marks_ignored: ClassVar[bool] = True
  image_folder: ClassVar[str] = 'JPEGImages'

  def __init__(self, folder: output.Folder, facts: base.Facts) -> None:
    """See `Exporter`."""
    self._folder = folder
    self._facts = facts
    self._list = folder.open('ImageSets/Main/pseudo.txt')

  def add(self, image: base.Image, labels: base.Boxes) -> None:
    """See `Exporter`."""
    root = ET.Element('annotation')
    _texts(root, {'folder': self.image_folder, 'filename': image.file_name})
    self._add_source(root, image)
    size = ET.SubElement(root, 'size')
    _texts(size, {'width': image.width, 'height': image.height, 'depth': image.channels})
    _texts(root, {'segmented': 0})
    for box in labels.boxes:
      self._add_object(root, box, image)
    ET.indent(root)
    text = ET.tostring(root, encoding='unicode', short_empty_elements=False)
    self._folder.write_text(f'Annotations/{image.stem}.xml', text + '\n')
    self._list.write(f'{image.stem}\n')

  def finish(self) -> None:
    """See `Exporter`."""

  def _add_source(self, root: ET.Element, image: base.Image) -> None:
    """Adds where image and labels come from: the three elements of VOC, and one for each fact."""
    origin = self._facts.origin
    source = ET.SubElement(root, 'source')
    _texts(
      source,
      {
        'database': 'Pseudo labels',
        'annotation': origin.in_short(),
        'image': names.printable(image.source_id),
        **origin.in_words(),
      },
    )

  def _add_object(self, root: ET.Element, box: base.Box, image: base.Image) -> None:
    entry = ET.SubElement(root, 'object')
    name = self._facts.class_names[box.class_id - 1]
    _texts(entry, {'name': name, 'pose': 'Unspecified', 'truncated': 0})
    _texts(entry, {'difficult': int(box.is_ignored), 'score': box.score})
    ymin, xmin, ymax, xmax = box.pixels(image)
    left, right = _pixels(xmin, xmax, image.width)
    upper, lower = _pixels(ymin, ymax, image.height)
    corners = {'xmin': left, 'ymin': upper, 'xmax': right, 'ymax': lower}
    _texts(ET.SubElement(entry, 'bndbox'), corners)


def _pixels(low: float, high: float, size: int) -> tuple[int, int]:
  """The first and the last pixel between two edges, both rounded to the nearest border of pixels.

  Args:
    low: lower edge, where 0 is the edge of the image.
    high: upper edge.
    size: of the image.

  Returns:
    Places of the first and of the last pixel, which is inside, counted from 1 to `size`; the same for a thin box.
  """
  first, last = math.floor(low + 0.5) + 1, math.floor(high + 0.5)
  if first > last:
    # Both edges are nearest to the same border: the pixel in the middle.
    first = last = min(math.floor((low + high) / 2), size - 1) + 1
  return first, last


def _texts(parent: ET.Element, values: Mapping[str, object]) -> None:
  """Adds an element for each value."""
  for name, value in values.items():
    ET.SubElement(parent, name).text = str(value)
