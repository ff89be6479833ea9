"""Corrections take the place of earlier ones, whatever happens in between."""

import os
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import files
from official_selftrain.pseudo_labels import corrections


class PublishTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.enterContext(tempfile.TemporaryDirectory())
    self.folder = corrections.folder_of(self.root)

  def publish(self, *rejected):
    temporary = files.temporary_path(self.folder)
    os.makedirs(temporary, exist_ok=True)
    corrections.Corrections(rejected=rejected).save(temporary)
    corrections.publish(self.folder)

  def rejected(self):
    found = corrections.load(self.folder)
    return found and found.rejected

  def test_the_last_ones_count_and_nothing_else_is_left(self):
    self.assertIsNone(self.rejected())
    for name in 'abc':
      self.publish(name)
      self.assertEqual(self.rejected(), (name,))
      self.assertEqual(os.listdir(self.root), [corrections.FOLDER])

  def test_a_process_that_is_killed_loses_none(self):
    self.publish('a')
    rename = os.rename

    def killed(source, target):
      if source == files.temporary_path(self.folder):
        raise KeyboardInterrupt
      rename(source, target)

    with mock.patch.object(os, 'rename', killed), self.assertRaises(KeyboardInterrupt):
      self.publish('b')
    self.assertEqual(self.rejected(), ('a',))
    # Killed when the new ones are there, and the old ones not yet gone.
    with (
      mock.patch.object(files, 'remove', side_effect=[None, KeyboardInterrupt]),
      self.assertRaises(KeyboardInterrupt),
    ):
      self.publish('b')
    self.assertEqual(self.rejected(), ('b',))
    self.publish('c')
    self.assertEqual(self.rejected(), ('c',))
    self.assertEqual(os.listdir(self.root), [corrections.FOLDER])

  def test_reading_renames_nothing_where_nothing_is_to_be_put_back(self):
    # As on a file system that is mounted to be read only.
    with mock.patch.object(os, 'rename', side_effect=OSError('read-only file system')):
      self.assertIsNone(self.rejected())

  def test_a_run_that_takes_the_earlier_ones_back_meanwhile(self):
    self.publish('a')
    rename = os.rename

    def with_a_reader(source, target):
      is_between = source == files.temporary_path(self.folder) and not os.path.exists(self.folder)
      if is_between and not seen:
        seen.append(self.rejected())
      rename(source, target)

    seen = []
    with mock.patch.object(os, 'rename', with_a_reader):
      self.publish('b')
    self.assertEqual(seen, [('a',)])
    self.assertEqual(self.rejected(), ('b',))
    self.assertEqual(os.listdir(self.root), [corrections.FOLDER])


if __name__ == '__main__':
  unittest.main()
