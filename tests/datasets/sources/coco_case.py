"""Files of COCO data for the tests of their reader."""

import json
import pathlib
import tempfile
import unittest

from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import coco_json, items

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]

# Not by getrusage, whose maximum includes that of the process which started this one.
PEAK = """
import pathlib, sys
from official_selftrain.datasets.sources import coco_json
count = sum(len(item.boxes) for item in coco_json.open_source(sys.argv[1]).items())
status = pathlib.Path('/proc/self/status').read_text()
print(count, status.split('VmHWM:')[1].split()[0])
"""


class CocoTestCase(unittest.TestCase):
  """Each test has a folder; `write` makes the file and, where they are missing, the images that it lists."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.path = self.folder / 'instances.json'
    self.images = self.folder / 'images'
    self.images.mkdir()

  def write(self, *annotations: object, images: object = None, **others: object) -> None:
    if images is None:
      images = [{'id': 7, 'file_name': 'a.jpg', 'height': 4, 'width': 6}]
      (self.images / 'a.jpg').touch()
    content = {
      'images': images,
      'annotations': annotations,
      'categories': [{'id': 1, 'name': 'cat'}, {'id': 90, 'name': 'dog'}],
      **others,
    }
    self.path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

  def annotation(self, **values: object) -> dict[str, object]:
    return {'id': 5, 'image_id': 7, 'category_id': 90, 'bbox': [1, 2, 3, 4.5], **values}

  def read(self, **options: object) -> list[items.Item]:
    return list(coco_json.open_source(self.path, **options).items())

  def only_item(self, *annotations: object, **others: object) -> items.Item:
    self.write(*annotations, **others)
    (item,) = self.read()
    return item

  def only_fault(self, *annotations: object, **others: object) -> tuple[faults.Kind, str]:
    item = self.only_item(*annotations, **others)
    self.assertEqual(item.boxes, ())
    (fault,) = item.faults
    return fault.kind, fault.detail
