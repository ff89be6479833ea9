"""Tests for the examination of one image with its annotations."""

import os
import pathlib
import tempfile
import unittest

import numpy as np

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import examination, store
from official_selftrain.datasets.sources import items
from tests.datasets.preparation import photos

LABELLED = store.Part.LABELLED
Kind, Task = faults.Kind, items.Task


class ExaminationTestCase(unittest.TestCase):
  """Each test has a folder, and examines one image of it."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def add(self, name: str, content: bytes) -> items.ImageFile:
    photos.write(self.folder, {name: content})
    return items.ImageFile(name, str(self.folder / name))

  def examine(self, item: items.Item, task: Task = Task.DETECTION, **meaning):
    """Finding and content; the entry with the finding stays in `self.entry`."""
    self.examiner = examination.Examiner(
      {LABELLED: examination.Meaning(task, ('cat', 'dog'), **meaning)}
    )
    entry = store.Entry(1, LABELLED, item, stamp=store.stamp_of(item))
    finding, content = self.examiner.examine(entry)
    self.entry = store.Entry(1, LABELLED, item, finding, entry.stamp)
    self.assertEqual(content is not None, finding.is_good)
    return finding, content

  def kinds(self, finding: store.Finding) -> list[Kind]:
    return [fault.kind for fault in finding.faults]


class ExamineTest(ExaminationTestCase):
  def test_a_good_image_is_written_as_it_is(self):
    encoded = photos.jpeg(1)
    box = items.Box('dog', 1.0, 2.0, 30.0, 40.0)
    finding, content = self.examine(items.Item(self.add('a.jpg', encoded), (box,)))
    self.assertEqual((finding.height, finding.width), (photos.HEIGHT, photos.WIDTH))
    self.assertEqual((finding.boxes, finding.faults, finding.is_changed), ((box,), (), False))
    self.assertEqual((len(finding.digest), len(finding.hashes)), (32, 16))
    self.assertEqual(content, examination.Content(encoded))

  def test_a_mask_that_fits_an_image_turned_or_not_is_told(self):
    mask = np.ones([photos.HEIGHT, photos.WIDTH], np.uint8)
    meaning = examination.Meaning(items.Task.SEGMENTATION, ('cat',), {0: 0, 1: 1})
    for orientation, expected in (
      (1, []),
      (3, [faults.Kind.TURNED_MASK]),
      (6, [faults.Kind.MASK_SIZE]),
    ):
      image = self.add('a.jpg', photos.jpeg(1, orientation))
      item = items.Item(image, mask=self.add('a.png', photos.png(mask)))
      finding, _ = examination.Examiner({LABELLED: meaning}).examine(store.Entry(1, LABELLED, item))
      kinds = [fault.kind for fault in finding.faults]
      self.assertEqual([kind for kind in kinds if kind is not faults.Kind.EXIF_ROTATION], expected)

  def test_a_turned_image_is_changed(self):
    item = items.Item(self.add('a.jpg', photos.jpeg(1, orientation=6)))
    finding, content = self.examine(item)
    self.assertTrue(finding.is_changed)
    self.assertEqual(self.kinds(finding), [Kind.EXIF_ROTATION])
    self.assertEqual(photos.pixels(content.image).shape, (photos.WIDTH, photos.HEIGHT, 3))

  def test_what_the_reader_found_comes_first_and_may_end_it(self):
    noted, lost = faults.Fault(Kind.SAME_NAME, 'x'), faults.Fault(Kind.UNREADABLE, 'y')
    image = self.add('a.jpg', photos.jpeg(1, mode='CMYK'))
    finding, _ = self.examine(items.Item(image, faults=(noted,)))
    self.assertEqual(self.kinds(finding), [Kind.SAME_NAME, Kind.CMYK])
    finding, _ = self.examine(items.Item(image, faults=(lost,)))
    # The image was not even read.
    self.assertEqual(finding, store.Finding((lost,)))

  def test_an_image_that_is_not_there_or_none(self):
    gone = items.ImageFile('a.jpg', str(self.folder / 'a.jpg'))
    finding, _ = self.examine(items.Item(gone))
    self.assertEqual((self.kinds(finding), finding.is_final), ([Kind.MISSING], False))
    finding, _ = self.examine(items.Item(self.add('b.jpg', b'<html></html>')))
    self.assertEqual(self.kinds(finding), [Kind.NOT_AN_IMAGE])
    # Told apart by the digest.
    self.assertEqual(len(finding.digest), 32)

  def test_a_class_that_is_not_known(self):
    image = self.add('a.jpg', photos.jpeg(1))
    finding, _ = self.examine(items.Item(image, class_name='owl'), Task.CLASSIFICATION)
    self.assertEqual(finding.faults, (faults.Fault(Kind.UNKNOWN_CLASS, "'owl'"),))
    self.assertFalse(finding.is_good)
    finding, _ = self.examine(items.Item(image, class_name='dog'), Task.CLASSIFICATION)
    self.assertTrue(finding.is_good)

  def test_a_mask_becomes_class_ids(self):
    image, values = self.add('a.jpg', photos.jpeg(1)), np.zeros([photos.HEIGHT, photos.WIDTH])
    values[:3] = 9
    mask = self.add('a.png', photos.png(values.astype(np.uint8)))
    item = items.Item(image, mask=mask)
    finding, content = self.examine(item, Task.SEGMENTATION, mask_values={0: 0, 9: 2})
    size = photos.HEIGHT * photos.WIDTH
    self.assertEqual(finding.pixel_counts, ((0, size - 3 * photos.WIDTH), (2, 3 * photos.WIDTH)))
    np.testing.assert_array_equal(photos.pixels(content.mask), values // 9 * 2)
    os.unlink(mask.path)
    finding, _ = self.examine(item, Task.SEGMENTATION, mask_values={0: 0, 9: 2})
    self.assertEqual((self.kinds(finding), finding.is_final), ([Kind.UNREADABLE], False))
    self.assertFalse(finding.is_good)


class ContentTest(ExaminationTestCase):
  """What is written later of an image that was examined."""

  def test_it_is_what_the_examination_gave(self):
    for name, encoded in (('a.jpg', photos.jpeg(1)), ('b.jpg', photos.jpeg(2, mode='CMYK'))):
      _, content = self.examine(items.Item(self.add(name, encoded)))
      self.assertEqual(self.examiner.content(self.entry), content)

  def test_a_file_with_another_date_and_the_same_bytes_passes(self):
    image = self.add('a.jpg', photos.jpeg(1))
    self.examine(items.Item(image))
    os.utime(image.path, (1, 1))
    self.assertEqual(self.examiner.content(self.entry).image, photos.jpeg(1))

  def test_a_file_that_has_changed_is_refused(self):
    for orientation in (1, 6):
      image = self.add('a.jpg', photos.jpeg(1, orientation))
      self.examine(items.Item(image))
      self.add('a.jpg', photos.jpeg(2, orientation))
      os.utime(image.path, (1, 1))
      with self.assertRaisesRegex(errors.DataError, 'a.jpg has changed since it was examined'):
        self.examiner.content(self.entry)


if __name__ == '__main__':
  unittest.main()
