"""CVAT for images 1.1: one XML file for all images."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

from official_selftrain.pseudo_labels.exporters import base, output

_SCORE, _IGNORED = 'score', 'ignored'
_TRUE, _FALSE = 'true', 'false'
# Attributes of every label: name, kind of input, value of a new object. A score has more digits than CVAT's numbers.
_ATTRIBUTES = ((_SCORE, 'text', ''), (_IGNORED, 'checkbox', _FALSE))


class Annotations:
  """`annotations.xml`, and `labels.json` with the labels that a CVAT task must have to take it.

  The attribute `ignored` says whether an object is in the ignore band.
  """

  marks_ignored: ClassVar[bool] = True
  image_folder: ClassVar[str] = 'images'

  def __init__(self, folder: output.Folder, facts: base.Facts) -> None:
    """See `Exporter`."""
    self._names = facts.class_names
    labels = [{'name': name, 'attributes': _attributes()} for name in self._names]
    folder.write_text('labels.json', json.dumps(labels, indent=2, ensure_ascii=False) + '\n')
    self._stream = folder.open('annotations.xml')
    self._stream.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
    self._write(_element('version', '1.1'))
    self._write(_meta(facts))

  def _write(self, element: ET.Element) -> None:
    """Writes an element of the first level."""
    ET.indent(element, level=1)
    text = ET.tostring(element, encoding='unicode', short_empty_elements=False)
    self._stream.write(f'  {text}\n')

  def add(self, image: base.Image, labels: base.Boxes) -> None:
    """See `Exporter`."""
    attributes = {
      'id': str(image.number - 1),
      'name': image.file_name,
      'width': str(image.width),
      'height': str(image.height),
    }
    element = ET.Element('image', attributes)
    for box in labels.boxes:
      ymin, xmin, ymax, xmax = box.pixels(image)
      values = {'xtl': xmin, 'ytl': ymin, 'xbr': xmax, 'ybr': ymax}
      place = {name: str(value) for name, value in values.items()}
      common = {'label': self._names[box.class_id - 1], 'source': 'auto', 'occluded': '0'}
      shape = ET.SubElement(element, 'box', {**common, **place, 'z_order': '0'})
      for name, text in (
        (_SCORE, str(box.score)),
        (_IGNORED, _TRUE if box.is_ignored else _FALSE),
      ):
        shape.append(_element('attribute', text, {'name': name}))
    self._write(element)

  def finish(self) -> None:
    """See `Exporter`."""
    self._stream.write('</annotations>\n')


def _meta(facts: base.Facts) -> ET.Element:
  """What CVAT says of a task, as far as labels know it, and where they come from."""
  meta = ET.Element('meta')
  task = ET.SubElement(meta, 'task')
  task.append(_element('name', facts.origin.in_short()))
  task.append(_element('size', str(facts.num_images)))
  task.append(_element('mode', 'annotation'))
  labels = ET.SubElement(task, 'labels')
  for name in facts.class_names:
    label = ET.SubElement(labels, 'label')
    label.append(_element('name', name))
    attributes = ET.SubElement(label, 'attributes')
    for attribute, kind, default in _ATTRIBUTES:
      entry = ET.SubElement(attributes, 'attribute')
      entry.append(_element('name', attribute))
      entry.append(_element('mutable', 'False'))
      entry.append(_element('input_type', kind))
      entry.append(_element('default_value', default))
      entry.append(_element('values', default))
  origin = ET.SubElement(meta, 'pseudo_labels')
  for name, text in facts.origin.in_words().items():
    origin.append(_element(name, text))
  return meta


def _attributes() -> list[dict[str, Any]]:
  """The attributes of a label as CVAT's editor of raw labels takes them."""
  return [
    {
      'name': name,
      'mutable': False,
      'input_type': kind,
      'default_value': default,
      'values': [default],
    }
    for name, kind, default in _ATTRIBUTES
  ]


def _element(name: str, text: str, attributes: Mapping[str, str] | None = None) -> ET.Element:
  element = ET.Element(name, dict(attributes or {}))
  element.text = text
  return element
