"""Tests for COCO JSON, which is read back by pycocotools."""

import contextlib
import io
import json
import pathlib
import tempfile
import unittest

import numpy as np
from pycocotools import coco
from pycocotools import mask as coco_mask

from official_selftrain.datasets.preparation import coco_writer, store
from tests.datasets.preparation import examined


class WriteTest(unittest.TestCase):
  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.path = self.folder / 'validation.json'

  def write(self, *images, class_names=('cat', 'dog')):
    """Images as (id, name, finding)."""
    entries = [
      (image_id, store.Entry(key, store.Part.VALIDATION, examined.item(name), finding))
      for key, (image_id, name, finding) in enumerate(images)
    ]
    # Asked twice, so each time for a new iterator.
    coco_writer.write(self.path, class_names, lambda: iter(entries))

  def read(self):
    with contextlib.redirect_stdout(io.StringIO()):
      return coco.COCO(str(self.path))

  def test_images_boxes_and_classes_are_read_back(self):
    boxes = (
      examined.box('dog', (1, 2.5, 5, 8)),
      examined.box('cat', (0, 0, 10, 20), is_crowd=True, area=150.5),
    )
    self.write((7, 'a.jpg', examined.good(*boxes)), (3, 'b/c.jpg', examined.good()))
    found = self.read()
    self.assertEqual(
      found.loadImgs([7, 3]),
      [
        {'id': 7, 'file_name': 'a.jpg', 'height': 10, 'width': 20},
        {'id': 3, 'file_name': 'b/c.jpg', 'height': 10, 'width': 20},
      ],
    )
    self.assertEqual(found.loadCats([1, 2]), [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}])
    common = {'image_id': 7}
    self.assertEqual(
      found.loadAnns(found.getAnnIds(7)),
      [
        # [x, y, width, height]; the area is that of the box: 4 x 5.5.
        {'id': 1, 'category_id': 2, 'bbox': [2.5, 1, 5.5, 4], 'area': 22.0, 'iscrowd': 0} | common,
        {'id': 2, 'category_id': 1, 'bbox': [0, 0, 20, 10], 'area': 150.5, 'iscrowd': 1} | common,
      ],
    )
    self.assertEqual(found.getAnnIds(3), [])

  def test_annotations_are_numbered_over_all_images(self):
    two = examined.good(examined.box(), examined.box())
    self.write((1, 'a', two), (2, 'b', two))
    self.assertEqual(self.read().getAnnIds(2), [3, 4])

  def test_masks_are_read_back(self):
    mask = np.zeros([10, 20], np.uint8)
    mask[2:4, 5:9] = 1
    encoded = coco_mask.encode(np.asfortranarray(mask))
    run_lengths = {'size': [10, 20], 'counts': encoded['counts'].decode()}
    self.write((1, 'a', examined.good(examined.box(run_lengths=run_lengths, area=8.0))))
    found = self.read()
    np.testing.assert_array_equal(found.annToMask(found.loadAnns(1)[0]), mask)

  def test_ids_may_be_names(self):
    self.write(('b/ä.jpg', 'b/ä.jpg', examined.good(examined.box())))
    found = self.read()
    self.assertEqual(found.loadAnns(found.getAnnIds(['b/ä.jpg']))[0]['image_id'], 'b/ä.jpg')

  def test_lists_may_be_empty(self):
    self.write(class_names=())
    expected = {'images': [], 'annotations': [], 'categories': []}
    self.assertEqual(json.loads(self.path.read_text()), expected)

  def test_names_that_are_no_utf_8_are_written(self):
    self.write((1, 'a\udcff.jpg', examined.good()))
    self.assertEqual(self.read().loadImgs(1)[0]['file_name'], 'a?.jpg')

  def test_a_file_appears_only_when_it_is_whole(self):
    def _images():
      yield 1, store.Entry(1, store.Part.VALIDATION, examined.item('a'), examined.good())
      raise InterruptedError

    self.path.write_text('old')
    with self.assertRaises(InterruptedError):
      coco_writer.write(self.path, ('cat',), _images)
    self.assertEqual(self.path.read_text(), 'old')
    self.write((1, 'a', examined.good()))
    self.assertEqual([each.name for each in self.folder.iterdir()], ['validation.json'])


if __name__ == '__main__':
  unittest.main()
