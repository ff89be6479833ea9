"""Folders of YOLO data for the tests of their reader."""

import pathlib
import tempfile
import unittest

import yaml

from official_selftrain.core import errors
from official_selftrain.datasets.sources import items, yolo

LINE = '0 0.5 0.5 0.5 0.5'


class YoloTestCase(unittest.TestCase):
  """Each test has a folder for a data set."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.root = self.folder / 'set'
    self.root.mkdir()
    self.yaml = self.root / 'data.yaml'

  def write(self, **values: object) -> None:
    content = {'train': 'images/train', 'names': ['cat', 'dog'], **values}
    self.yaml.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))

  def add(self, path: str, content: str = '') -> pathlib.Path:
    target = self.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    return target

  def add_image(self, name: str, *lines: str) -> pathlib.Path:
    """images/train/<name>.jpg with a label file; returns the path of that."""
    self.add(f'images/train/{name}.jpg')
    return self.add(f'labels/train/{name}.txt', '\n'.join(lines))

  def read(self, split: str = 'train') -> list[items.Item]:
    return list(yolo.open_source(self.yaml, split=split).items())

  def only_item(self, *lines: str) -> items.Item:
    self.write()
    self.add_image('a', *lines)
    (item,) = self.read()
    return item

  def assert_error(self, expected: str, split: str = 'train') -> None:
    with self.assertRaisesRegex(errors.DataError, expected):
      yolo.open_source(self.yaml, split=split)
