"""One process in a run directory, and none in remote storage."""

import errno
import os
import pathlib
import tempfile
import unittest
from unittest import mock

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, errors, lease
from official_selftrain.pipeline import directories, run


class DirectoriesTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.run_dir = os.path.join(folder.name, 'runs', 'a')

  def test_a_second_process_is_refused_with_the_first_ones_number(self):
    with directories.occupied(self.run_dir):
      with self.assertRaisesRegex(
        errors.ConfigError,
        rf'a: another process is working in it \(process {os.getpid()} on \S+\)\. Wait',
      ):
        with directories.occupied(self.run_dir):
          self.fail('two at once')
    self.assertEqual(os.listdir(self.run_dir), [])
    with directories.occupied(self.run_dir):
      self.assertEqual(os.listdir(self.run_dir), ['.lock'])

  def test_the_lock_of_a_dead_process_does_not_block(self):
    lock = pathlib.Path(self.run_dir, '.lock')
    lock.parent.mkdir(parents=True)
    lock.write_text('{"token": "a", "pid": 1, "host": "gone"}', encoding='utf-8')
    before = lock.stat().st_mtime - lease.LIFETIME - 1
    os.utime(lock, (before, before))
    with directories.occupied(self.run_dir):
      self.assertIn(str(os.getpid()), lock.read_text(encoding='utf-8'))

  def test_training_is_refused_and_evaluation_is_not(self):
    params = config.load_experiment('retinanet_selftrain')
    with directories.occupied(self.run_dir):
      for mode in ('train', 'train_and_eval'):
        with self.assertRaisesRegex(errors.ConfigError, 'another process is working in it'):
          run.run(params, mode, self.run_dir)
      # Gets as far as looking for the model.
      with self.assertRaisesRegex(errors.ConfigError, '--stage=none: mode eval evaluates one of'):
        run.run(params, 'eval', self.run_dir, stage='none')

  def test_remote_storage_is_refused_before_anything_is_made(self):
    params = config.load_experiment('retinanet_supervised')
    for mode in ('train', 'eval'):
      with self.assertRaisesRegex(
        errors.ConfigError,
        r'--model_dir=gs://bucket/a: a run directory must be a local path or a mounted one',
      ):
        run.run(params, mode, 'gs://bucket/a')
    self.assertFalse(os.path.exists('gs:'))

  def test_a_place_where_nothing_can_be_written(self):
    folder = pathlib.Path(self.run_dir).parents[1]
    file = folder / 'file'
    file.touch()
    with self.assertRaisesRegex(errors.ConfigError, f'{file}/run: nothing .*: Not a directory'):
      directories.make(f'{file}/run')
    refused = OSError(errno.EROFS, os.strerror(errno.EROFS))
    with (
      mock.patch.object(tempfile, 'TemporaryFile', side_effect=refused),
      self.assertRaisesRegex(errors.ConfigError, 'can be written there: Read-only file system'),
    ):
      directories.make(str(folder))

  def test_an_unreadable_lock(self):
    self.assertEqual(lease.owner(os.path.join(self.run_dir, 'none')), '')


if __name__ == '__main__':
  unittest.main()
