"""A full disk in two stages, and damage to what stages leave; the table is in docs/reliability.md."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.testing import tiny_run

# Processes, each of which imports TensorFlow.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

# Each takes a start of the program. Teacher, control, report and export end in the same way, and were tried once.
_STAGES = ('labels', 'student')


class InjectionTestCase(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.run_dir = os.path.join(self.create_tempdir().full_path, 'run')

  def train(self, *filled, override='', flags=()):
    """train.py in a process of its own; `filled` are the arguments of `train_and_fill`."""
    start = ['-m', 'tests.faults.train_and_fill', *filled] if filled else ['train.py']
    settings = ','.join(filter(None, [f'dataset.directory={tiny_run.shared()}', override]))
    return subprocess.run(
      [
        sys.executable,
        *start,
        '--experiment=retinanet_selftrain',
        '--mode=train_and_eval',
        *flags,
        f'--model_dir={self.run_dir}',
        f'--params_override={settings}',
        *(f'--config_file={path}' for path in tiny_run.config_files()),
      ],
      cwd=tiny_run.REPOSITORY,
      capture_output=True,
      text=True,
      check=False,
    )

  def assert_error(self, done, expected):
    """It ended with one line for the user."""
    self.assertEqual(done.returncode, 2, done.stderr)
    self.assertNotIn('Traceback', done.stderr)
    self.assertRegex(done.stderr.splitlines()[-1], f'^error: .*{expected}')


class FullDiskTest(InjectionTestCase):
  def test_a_stage_ends_with_a_line_and_goes_on_when_there_is_room(self):
    finished = tiny_run.finished()
    for stage in _STAGES:
      with self.subTest(stage=stage):
        done = self.train(stage, '300', override=tiny_run.with_teacher())
        self.assert_error(done, 'File too large.* Make room, and run the same')
    done = self.train(override=tiny_run.with_teacher())
    self.assertEqual(done.returncode, 0, done.stderr)
    tiny_run.check_same_weights(
      os.path.join(self.run_dir, 'student'), os.path.join(finished, 'student')
    )
    pattern = 'labels/round-1/*.labels.tfrecord*'
    self.assertEqual(tiny_run.snapshot(self.run_dir, pattern), tiny_run.snapshot(finished, pattern))


class DamageTest(InjectionTestCase):
  def setUp(self):
    super().setUp()
    shutil.copytree(tiny_run.finished(), self.run_dir)

  def path(self, pattern):
    return sorted(pathlib.Path(self.run_dir).glob(pattern))[-1]

  def cut(self, pattern):
    """Halves a file."""
    path = self.path(pattern)
    os.truncate(path, path.stat().st_size // 2)
    return path

  def test_a_stage_record(self):
    path = self.cut('stages/labels.json')
    self.assert_error(
      self.train(), r'stages/labels\.json is damaged.* Delete it; the stage labels then goes on'
    )
    path.unlink()
    done = self.train()
    self.assertEqual(done.returncode, 0, done.stderr)

  def test_a_checkpoint(self):
    path = self.cut('teacher/ckpt-*.data-*')
    self.assert_error(self.train(flags=['--restart=labels']), str(path.parent))


if __name__ == '__main__':
  tf.test.main()
