"""Products that runs share: made once, whole, and independent of each other afterwards. No TensorFlow."""

import dataclasses
import os
import sys
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import files, lease
from official_selftrain.pipeline import graph, ledger, planning, sharing

_STAGE = graph.Stage(kind='teacher', makes=('teacher', os.path.join('labels', 'round-1')))
_INPUTS = planning.Inputs({'seed': 1}, {'images': 'abc'})
_LARGE = 'x' * sharing._SMALL


class ShelfTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = folder.name
    self.shelf = sharing.Shelf(os.path.join(folder.name, 'products'))
    self.made = []

  def path(self, run, *parts):
    return os.path.join(self.folder, run, *parts)

  def make(self, run, key='k', failure=None):
    """Does what a run does with a stage whose product is two folders."""
    records = ledger.Ledger(self.path(run))

    def work():
      self.made.append(run)
      files.write_text(self.path(run, 'teacher', 'ckpt-4.data'), _LARGE)
      files.write_text(self.path(run, 'teacher', 'log.txt'), 'one\n')
      files.write_text(self.path(run, 'labels', 'round-1', 'a.tfrecord'), run)
      if failure:
        raise failure
      return {'digest': 'd', 'checkpoint': 'teacher/ckpt-4'}

    self.shelf.make(records, _STAGE, _INPUTS, key, work)
    return records.read('teacher')

  def read(self, run, *parts):
    with open(self.path(run, *parts), encoding='utf-8') as stream:
      return stream.read()

  def test_the_second_run_takes_what_the_first_made(self):
    first, second = self.make('a'), self.make('b')
    self.assertEqual(self.made, ['a'])
    self.assertTrue(second.is_done)
    self.assertEqual(second, first)
    self.assertEqual(self.read('b', 'labels', 'round-1', 'a.tfrecord'), 'a')
    self.assertEqual(self.read('b', 'teacher', 'ckpt-4.data'), _LARGE)

  def test_another_key_is_another_product(self):
    self.make('a')
    self.make('b', key='other')
    self.assertEqual(self.made, ['a', 'b'])
    self.assertEqual(self.read('b', 'labels', 'round-1', 'a.tfrecord'), 'b')

  def test_large_files_take_no_space_and_logs_stay_apart(self):
    self.make('a')
    self.make('b')
    same = os.path.samefile(
      self.path('a', 'teacher', 'ckpt-4.data'), self.path('b', 'teacher', 'ckpt-4.data')
    )
    self.assertTrue(same)
    with open(self.path('b', 'teacher', 'log.txt'), 'a', encoding='utf-8') as stream:
      stream.write('two\n')
    self.assertEqual(self.read('a', 'teacher', 'log.txt'), 'one\n')
    self.make('c')
    self.assertEqual(self.read('c', 'teacher', 'log.txt'), 'one\n')

  def test_removing_it_from_one_run_leaves_the_others(self):
    self.make('a')
    self.make('b')
    ledger.Ledger(self.path('a')).remove((_STAGE,))
    self.assertFalse(os.path.exists(self.path('a', 'teacher')))
    self.assertEqual(self.read('b', 'teacher', 'ckpt-4.data'), _LARGE)

  def test_without_hard_links_it_is_copied(self):
    self.make('a')
    with mock.patch('official_selftrain.pipeline.sharing.os.link', side_effect=OSError):
      self.make('b')
    self.assertEqual(self.read('b', 'teacher', 'ckpt-4.data'), _LARGE)
    same = os.path.samefile(
      self.path('a', 'teacher', 'ckpt-4.data'), self.path('b', 'teacher', 'ckpt-4.data')
    )
    self.assertFalse(same)

  def test_a_failure_leaves_nothing_on_the_shelf_and_goes_on(self):
    with self.assertRaises(ValueError):
      self.make('a', failure=ValueError())
    self.assertEqual(os.listdir(self.shelf.folder), ['locks'])
    # What another run has finished since replaces what is half made.
    self.make('b')
    files.write_text(self.path('a', 'teacher', 'half'), '')
    self.make('a')
    self.assertEqual(self.made, ['a', 'b'])
    self.assertFalse(os.path.exists(self.path('a', 'teacher', 'half')))

  def test_a_kill_while_it_is_put_on_the_shelf(self):
    with mock.patch('official_selftrain.pipeline.sharing.os.rename', side_effect=KeyboardInterrupt):
      with self.assertRaises(KeyboardInterrupt):
        self.make('a')
    # The run has it; the next one does not see the half.
    self.assertTrue(ledger.Ledger(self.path('a')).is_done('teacher'))
    self.make('b')
    self.assertEqual(self.made, ['a', 'b'])

  def test_a_product_that_a_kill_kept_off_the_shelf_is_offered_later(self):
    with mock.patch('official_selftrain.pipeline.sharing.os.rename', side_effect=KeyboardInterrupt):
      with self.assertRaises(KeyboardInterrupt):
        self.make('a')
    records = ledger.Ledger(self.path('a'))
    with lease.hold(os.path.join(self.shelf.folder, 'locks', 'k')):
      self.shelf.offer(records, _STAGE, 'k')
      self.assertFalse(os.path.exists(os.path.join(self.shelf.folder, 'k')))
    self.shelf.offer(records, _STAGE, 'k')
    self.shelf.offer(records, _STAGE, 'k')
    self.assertEqual(self.make('b'), records.read('teacher'))
    self.assertEqual(self.made, ['a'])
    self.assertEqual(self.read('b', 'labels', 'round-1', 'a.tfrecord'), 'a')

  def test_what_people_put_into_it_stays_where_it_is(self):
    stage = dataclasses.replace(_STAGE, keeps=(os.path.join('labels', 'round-1', 'corrections'),))
    with mock.patch.object(sys.modules[__name__], '_STAGE', stage):
      self.make('a', key='other')
      files.write_text(self.path('a', 'labels', 'round-1', 'corrections', 'mine'), 'by hand')
      self.shelf.offer(ledger.Ledger(self.path('a')), stage, 'k')
      files.write_text(self.path('b', 'labels', 'round-1', 'corrections', 'theirs'), 'by hand, too')
      self.make('b')
    self.assertEqual(self.made, ['a'])
    kept = os.path.join('labels', 'round-1', 'corrections')
    self.assertEqual(os.listdir(self.path('b', kept)), ['theirs'])
    self.assertEqual(self.read('b', 'labels', 'round-1', 'a.tfrecord'), 'a')

  def test_busy(self):
    path = os.path.join(self.shelf.folder, 'locks', 'k')
    with lease.hold(path) as is_ours:
      self.assertTrue(is_ours)
      with self.assertRaisesRegex(
        sharing.BusyError, 'teacher: another process is making it'
      ) as caught:
        self.make('a')
    self.assertEqual(caught.exception.lease_path, path)
    self.assertEqual(self.made, [])
    self.make('a')
    self.assertEqual(self.made, ['a'])


if __name__ == '__main__':
  unittest.main()
