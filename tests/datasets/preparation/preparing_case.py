"""Images and annotations for the tests of a preparation, and its steps without processes of their own."""

import json
import pathlib
import tempfile
import unittest

from official_selftrain.datasets.preparation import preparing, store
from tests.datasets.preparation import photos

LABELLED = store.Part.LABELLED
UNLABELLED = store.Part.UNLABELLED
VALIDATION = store.Part.VALIDATION


def coco(names, classes=('cat', 'dog'), category=1, count=1, **values):
  """COCO JSON in which each image has one box, or none with `count` 0; `values` are more of each box."""
  box = {'category_id': category, 'bbox': [8, 4, 16, 12], **values}
  return json.dumps(
    {
      'images': [{'id': 10 * n, 'file_name': name} for n, name in enumerate(names, 1)],
      'annotations': [
        {'id': n, 'image_id': 10 * n, **box} for n in range(1, count * len(names) + 1)
      ],
      'categories': [{'id': n, 'name': name} for n, name in enumerate(classes, 1)],
    }
  )


class PreparingTestCase(unittest.TestCase):
  """Each test has a folder with four images for training and two for validation."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.enterContext(photos.without_processes())
    self.output = self.folder / 'data'
    self.last = None
    train = {f'train/{name}.jpg': photos.jpeg(n) for n, name in enumerate('abcd')}
    valid = {f'valid/{name}.jpg': photos.jpeg(n) for n, name in enumerate('vw', 10)}
    photos.write(self.folder, train | valid)
    self.annotate('train', 'abcd')
    self.annotate('valid', 'vw')
    self.sources = {
      LABELLED: f'coco:{self.folder}/train/all.json',
      VALIDATION: f'coco:{self.folder}/valid/all.json',
    }

  def annotate(self, name, images, **values):
    content = coco([f'{each}.jpg' for each in images], **values)
    photos.write(self.folder, {f'{name}/all.json': content})

  def prepare(self, **settings):
    """Begins a preparation; the one before it is closed, as if its process had ended."""
    if self.last:
      self.last.close()
    self.last = preparing.Preparation(
      preparing.Settings(settings.pop('sources', self.sources), str(self.output), **settings)
    )
    self.addCleanup(self.last.close)
    return self.last

  def check(self, **settings):
    return self.prepare(**settings).check()

  def run_all(self, **settings):
    preparation = self.prepare(**settings)
    checked = preparation.check()
    self.assertEqual(checked.problems, ())
    return preparation.write(checked)

  def records(self, name):
    return photos.records(*self.output.glob(f'{name}-*.tfrecord'))
