"""Folders of PASCAL VOC data for the tests of their reader."""

import pathlib
import tempfile
import unittest

from official_selftrain.core import errors
from official_selftrain.datasets.sources import items, voc_xml

BCCD = pathlib.Path(__file__).parents[4] / 'shared/data/bccd'


def object(
  name: str = 'cat',
  box: tuple[object, ...] = (2, 3, 10, 20),
  difficult: object = None,
  more: str = '',
) -> str:
  edges = ''.join(
    f'<{edge}>{value}</{edge}>'
    for edge, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
  )
  flag = '' if difficult is None else f'<difficult>{difficult}</difficult>'
  return f'<object><name>{name}</name>{flag}<bndbox>{edges}</bndbox>{more}</object>'


def annotation(*objects: str, filename: str | None = None, size: str = '') -> str:
  start = '' if filename is None else f'<filename>{filename}</filename>'
  return f'<annotation>{start}{size}{"".join(objects)}</annotation>'


class VocTestCase(unittest.TestCase):
  """Each test has a folder with Annotations, JPEGImages and ImageSets/Main."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.root = self.folder / 'voc'
    self.annotations, self.images = self.root / 'Annotations', self.root / 'JPEGImages'
    self.lists = self.root / 'ImageSets/Main'
    for folder in (self.annotations, self.images, self.lists):
      folder.mkdir(parents=True)

  def add_image(self, *names: str) -> None:
    for name in names:
      path = self.images / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()

  def add_xml(self, stem: str, content: str) -> pathlib.Path:
    path = self.annotations / f'{stem}.xml'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding='utf-8')
    return path

  def add(self, stem: str, *objects: str, **values: str) -> pathlib.Path:
    """An image with its XML file."""
    self.add_image(f'{stem}.jpg')
    return self.add_xml(stem, annotation(*objects, **values))

  def read(self, **options: object) -> list[items.Item]:
    return list(voc_xml.open_source(self.root, **options).items())

  def only_item(self, **options: object) -> items.Item:
    (item,) = self.read(**options)
    return item

  def assert_error(self, expected: str, **options: object) -> None:
    with self.assertRaisesRegex(errors.DataError, expected):
      voc_xml.open_source(self.root, **options)
