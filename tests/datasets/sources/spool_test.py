"""Tests for the temporary database of annotations."""

import gc
import os
import pathlib
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import errors
from official_selftrain.datasets.sources import spool


class SpoolTest(unittest.TestCase):
  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.enterContext(mock.patch.object(tempfile, 'tempdir', str(self.folder)))
    self.spool = spool.Spool()

  def test_images_sorted_by_name_with_their_annotations_in_order(self):
    self.spool.add_annotation('2', 'first of 2')
    self.spool.add_image('b.jpg', '1', 'text of b')
    self.spool.add_image('a.jpg', '2')
    self.spool.add_annotation('2', 'second of 2')
    self.spool.add_files(['c.jpg', 'b.jpg', 'b.jpg'])
    self.assertEqual(self.spool.seal(), 0)
    expected = [
      spool.Image('a.jpg', '', ('first of 2', 'second of 2'), False, True),
      spool.Image('b.jpg', 'text of b', (), True, True),
    ]
    for _ in range(2):
      self.assertEqual(list(self.spool.images()), expected)

  def test_two_can_read_at_once(self):
    for name in ('a', 'b'):
      self.spool.add_image(name, name)
    self.spool.seal()
    pairs = zip(self.spool.images(), self.spool.images(), strict=True)
    self.assertEqual([(one.name, two.name) for one, two in pairs], [('a', 'a'), ('b', 'b')])

  def test_annotations_of_a_key_that_two_images_have_are_of_the_first(self):
    self.spool.add_image('z', 'k')
    self.spool.add_image('a', 'k')
    self.spool.add_annotation('k', 'x')
    self.spool.seal()
    found = [(image.name, image.annotations, image.is_first) for image in self.spool.images()]
    self.assertEqual(found, [('a', (), False), ('z', ('x',), True)])

  def test_images_without_a_key_have_no_annotations_and_do_not_clash(self):
    self.spool.add_image('a', None)
    self.spool.add_image('b', None)
    self.spool.add_annotation(None, 'x')
    self.assertEqual(self.spool.seal(), 1)
    found = [(image.annotations, image.is_first) for image in self.spool.images()]
    self.assertEqual(found, [((), True), ((), True)])

  def test_orphans_are_counted(self):
    self.spool.add_image('a', '1')
    for key in ('1', '2', '2', None):
      self.spool.add_annotation(key, 'x')
    self.assertEqual(self.spool.seal(), 3)

  def test_names_of_any_characters_in_the_order_of_python(self):
    names = ['a\udcff', 'a\uffff', 'a\U0001f600', 'a\0b', 'é', 'Z']
    for name in names:
      self.spool.add_image(name, name, name)
    self.spool.seal()
    self.assertEqual([image.name for image in self.spool.images()], sorted(names))
    self.assertEqual([image.text for image in self.spool.images()], sorted(names))

  def open_files(self):
    """Files without a name that this process has open where the spool was made."""
    links = [
      each.readlink() for each in pathlib.Path('/proc/self/fd').iterdir() if each.is_symlink()
    ]
    return [each for each in links if each.is_relative_to(self.folder)]

  def test_the_file_has_no_name_and_goes_with_the_object(self):
    self.spool.add_image('a', 'a')
    self.spool.add_image('b', 'b')
    self.spool.seal()
    images = self.spool.images()
    next(images)
    self.assertEqual(os.listdir(self.folder), [])
    self.assertEqual(len(self.open_files()), 1)
    # Whoever still reads keeps the database.
    self.spool = None
    gc.collect()
    self.assertEqual(next(images).name, 'b')
    images.close()
    del images
    gc.collect()
    self.assertEqual(self.open_files(), [])

  def test_a_folder_that_cannot_be_written(self):
    expected = 'folder for temporary files, .*Make room there, or set .* TMPDIR'
    with mock.patch.object(tempfile, 'mkdtemp', side_effect=PermissionError('denied')):
      with self.assertRaisesRegex(errors.DataError, expected):
        spool.Spool()

  def test_a_full_disk(self):
    # SQLite refuses pages beyond the limit as it does on a full disk.
    self.spool._connection.execute('PRAGMA max_page_count = 8')
    with self.assertRaisesRegex(errors.DataError, 'temporary files, .*: database or disk is full'):
      for number in range(100):
        self.spool.add_annotation('k', f'{number}' * 1000)


if __name__ == '__main__':
  unittest.main()
