"""Sources of all kinds, and their preparation by its command line."""

import contextlib
import functools
import io
import json
import pathlib
import re
import tempfile
import unittest

from official_selftrain.core import dataset_card
from official_selftrain.datasets import prepare
from tests.datasets.preparation import photos

GOOD = [f'{number:02d}.jpg' for number in range(12)]
TURNED, CMYK = '20.jpg', '21.jpg'
CUT, PAGE = '30.jpg', '31.jpg'
USED = [*GOOD, TURNED, CMYK]

# The size of boxes, and where they are: VOC counts from 1, and its last pixels belong to the box.
XML = '<object><name>{}</name><bndbox><xmin>9</xmin><ymin>5</ymin><xmax>24</xmax><ymax>16</ymax></bndbox></object>'
BOX = (4, 8, 16, 24)

PROGRESS = re.compile(r'(check|write) +\d+% .*/s\n')

KILL = """
import os, signal, sys
from official_selftrain.datasets import prepare
from official_selftrain.datasets.preparation import store
from tests.datasets.preparation import photos

store.COMMIT_EVERY = 2
set_findings = store.Store.set_findings

def killed(self, found):
  for done in set_findings(self, found):
    if done == 5:
      os.kill(os.getpid(), signal.SIGKILL)
    yield done

store.Store.set_findings = killed
with photos.without_processes():
  prepare.main(sys.argv[1:])
"""


def write_voc(root):
  """VOC data: cats in all images, and a dog in every third; four of the images are odd."""
  images = {name: photos.jpeg(int(name[:2])) for name in GOOD}
  images[TURNED] = photos.jpeg(20, orientation=6)
  images[CMYK] = photos.jpeg(21, mode='CMYK')
  images[CUT] = photos.jpeg(30)[:900]
  images[PAGE] = b'<!DOCTYPE html><html><body>404</body></html>'
  for name, content in images.items():
    objects = XML.format('cat') + (XML.format('dog') if int(name[:2]) % 3 == 0 else '')
    photos.write(
      root,
      {
        f'JPEGImages/{name}': content,
        f'Annotations/{name[:2]}.xml': f'<annotation>{objects}</annotation>',
      },
    )


def write_coco(root):
  """COCO data of three images, the last of them cut off."""
  runs = {
    'size': [photos.HEIGHT, photos.WIDTH],
    'counts': [photos.HEIGHT * 8 + 4, 6, photos.HEIGHT * 56 - 10],
  }
  images = {f'images/{n}.jpg': photos.jpeg(40 + n) for n in range(2)}
  photos.write(root, images | {'images/2.jpg': photos.jpeg(42)[:900]})
  size = {'height': photos.HEIGHT, 'width': photos.WIDTH}
  box = {'category_id': 9, 'bbox': [8, 4, 16, 12], 'area': 150, 'iscrowd': 0}
  polygon = [[8, 4, 16, 4, 16, 10, 8, 10]]
  content = {
    'images': [{'id': 100 - n, 'file_name': f'{n}.jpg', **size} for n in range(3)],
    'annotations': [
      {'id': 1, 'image_id': 100, **box, 'segmentation': polygon},
      {'id': 2, 'image_id': 100, **box, 'category_id': 4, 'segmentation': runs, 'iscrowd': 1},
      {'id': 3, 'image_id': 99, **box, 'bbox': [50, 40, 30, 30]},
      {'id': 4, 'image_id': 98, **box},
    ],
    'categories': [{'id': 4, 'name': 'cat'}, {'id': 9, 'name': 'dog'}],
  }
  photos.write(root, {'all.json': json.dumps(content)})


@functools.cache
def folder():
  """A folder with all sources; gone when the process ends."""
  folder = tempfile.TemporaryDirectory(prefix='prepare-')
  root = pathlib.Path(folder.name)
  write_voc(root / 'voc')
  write_coco(root / 'coco')
  photos.write(root, {f'photos/{n}.jpg': photos.jpeg(60 + n) for n in range(3)})
  photos.write(root, {'photos/03.jpg': photos.jpeg(70)})
  # Image 0 of the COCO data, compressed once more.
  leaking = {'fresh.jpg': photos.jpeg(80), 'copy.jpg': photos.recompressed(photos.jpeg(40))}
  photos.write(root / 'leaking', leaking)
  # Kept as long as the cache is.
  return root, folder


def sources_root():
  return folder()[0]


def main(*arguments):
  """Exit status, and what was printed to stdout, and to stderr without the lines of progress."""
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = prepare.main(arguments)
  lines = err.getvalue().splitlines(keepends=True)
  return status, out.getvalue(), ''.join(each for each in lines if not PROGRESS.match(each))


def voc(name, *more):
  """Arguments for a share of the VOC data, written to a folder of this name."""
  root = sources_root()
  return (
    f'--labelled=voc:{root}/voc',
    '--validation=25%',
    '--seed=3',
    *more,
    f'--output={root}/{name}',
  )


@functools.cache
def reference():
  """Folder of the first run, and what it has printed to stdout."""
  with photos.without_processes():
    status, out, err = main(*voc('reference', '--images_per_file=4'))
  assert status == 0, err
  return sources_root() / 'reference', out


def records(folder, name):
  return photos.records(*folder.glob(f'{name}-*.tfrecord'))


def read_json(path):
  return json.loads(path.read_text())


class HereTestCase(unittest.TestCase):
  """Tests whose work is done in this process."""

  def setUp(self):
    self.enterContext(photos.without_processes())
    self.root = sources_root()
    self.output = self.root / self.id().rpartition('.')[2]

  def run_with(self, *arguments):
    return main(*arguments, f'--output={self.output}')

  def run_well(self, *arguments):
    status, out, err = self.run_with(*arguments)
    self.assertEqual((status, err), (0, ''))
    self.assertIn('data card: ', out)
    return dataset_card.read(self.output)

  def records(self, name):
    return records(self.output, name)
