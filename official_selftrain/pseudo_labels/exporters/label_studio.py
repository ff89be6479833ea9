"""Label Studio: tasks with predictions that people can correct, and the configuration of the project."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib import parse
from xml.etree import ElementTree as ET

from official_selftrain.datasets import voc_layout
from official_selftrain.pseudo_labels.exporters import base, brush, output

# Names of the tags in the configuration.
_LABELS, _IMAGE = 'label', 'image'
# Where Label Studio serves files below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
_LOCAL_FILES = '/data/local-files/?d='
_PERCENT_DECIMALS = 6
_SCORE_DECIMALS = 6
_IGNORED_NOTE = 'ignore band'


class _Tasks:
  """`tasks.json` and `config.xml`.

  Attributes:
    tag: the tag in the configuration for regions of this kind.
  """

  tag: ClassVar[str]
  image_folder: ClassVar[str] = 'images'

  def __init__(self, folder: output.Folder, facts: base.Facts) -> None:
    self._names = facts.class_names
    self._version = facts.origin.in_short()
    folder.write_text('config.xml', _config(self.tag, self._names))
    self._stream = folder.open('tasks.json')
    self._tasks = output.JsonList(self._stream)

  def _region(
    self, image: base.Image, class_id: int, score: float, value: Mapping[str, object]
  ) -> dict[str, Any]:
    """A region without an id; its name goes into `value`."""
    kind = self.tag.lower()
    return {
      'type': kind,
      'from_name': _LABELS,
      'to_name': _IMAGE,
      'original_width': image.width,
      'original_height': image.height,
      'image_rotation': 0,
      'value': {**value, kind: [self._names[class_id - 1]]},
      'score': score,
    }

  def _write(self, image: base.Image, regions: Sequence[dict[str, Any]]) -> None:
    """Writes a task; its score is the mean of its regions', and it has none without regions."""
    prediction: dict[str, Any] = {'model_version': self._version}
    if regions:
      mean = sum(region['score'] for region in regions) / len(regions)
      prediction['score'] = base.rounded(mean, _SCORE_DECIMALS)
    prediction['result'] = [
      {'id': f'{image.number}-{place}', **region} for place, region in enumerate(regions, start=1)
    ]
    url = _LOCAL_FILES + parse.quote(f'{self.image_folder}/{image.file_name}')
    data = {'image': url, 'source_id': image.source_id}
    self._tasks.add({'data': data, 'predictions': [prediction]})

  def finish(self) -> None:
    """See `Exporter`."""
    self._tasks.end()
    self._stream.write('\n')


class Rectangles(_Tasks):
  """Boxes; one in the ignore band has a note that says so."""

  tag: ClassVar[str] = 'RectangleLabels'
  marks_ignored: ClassVar[bool] = True

  def add(self, image: base.Image, labels: base.Boxes) -> None:
    """See `Exporter`."""
    regions = []
    for box in labels.boxes:
      region = self._region(image, box.class_id, box.score, _percent(box))
      if box.is_ignored:
        region['meta'] = {'text': [_IGNORED_NOTE]}
      regions.append(region)
    self._write(image, regions)


class Brushes(_Tasks):
  """Masks: one region for all pixels of a class, scored by their mean confidence."""

  tag: ClassVar[str] = 'BrushLabels'
  marks_ignored: ClassVar[bool] = False

  def add(self, image: base.Image, labels: base.Mask) -> None:
    """See `Exporter`."""
    regions = []
    for each in labels.regions():
      value = {'format': 'rle', 'rle': brush.encode(each.covered)}
      regions.append(self._region(image, each.class_id, each.score, value))
    self._write(image, regions)


def _percent(box: base.Box) -> dict[str, float]:
  """Place and size in percent of the image's sides."""
  places = {
    'x': box.xmin,
    'y': box.ymin,
    'width': box.xmax - box.xmin,
    'height': box.ymax - box.ymin,
  }
  percent = {name: base.rounded(100 * part, _PERCENT_DECIMALS) for name, part in places.items()}
  return {**percent, 'rotation': 0}


def _config(tag: str, names: Sequence[str]) -> str:
  """The labelling configuration, with a colour for each class."""
  root = ET.Element('View')
  ET.SubElement(root, 'Image', {'name': _IMAGE, 'value': '$image'})
  labels = ET.SubElement(root, tag, {'name': _LABELS, 'toName': _IMAGE})
  colours = voc_layout.colour_map()
  for place, name in enumerate(names):
    # The first colour of VOC is black, the background's; the others come again when there are more classes.
    red, green, blue = colours[1 + place % (len(colours) - 1)].tolist()
    background = f'#{red:02x}{green:02x}{blue:02x}'
    ET.SubElement(labels, 'Label', {'value': name, 'background': background})
  ET.indent(root)
  return ET.tostring(root, encoding='unicode') + '\n'
