"""kill -9 and Ctrl-C in the labels stage and in training, each followed by the same command."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import tensorflow as tf

from official_selftrain.pipeline import actions, ledger, training
from tests.testing import tiny_run

# Four processes, each of which imports TensorFlow.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

_WRITE_MARKER = 'official_selftrain.pseudo_labels.manifest:write_marker'
_REPORT_STEP = 'official_selftrain.pipeline.actions:TrainingProgress.__call__'

# All that a run prints before its report, on either stream.
_OURS = re.compile(
  r'retinanet_selftrain: mode |\[\d/\d\] \w+$|(labels|teacher|student) +\d+%  |labels: 3 shard|'
  r'\S+( and \d+ more)?: going on in epoch \d+ after |'
  r'started from |loaded |student: .* batch norm sees 4 images|student: interrupted at step |interrupted: |'
  r'export: SavedModel |Report with pictures: |foreseen: '
)


class InterruptionTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.run_dir = os.path.join(tiny_run.root(), 'interrupted')
    self.student = os.path.join(self.run_dir, 'student')

  def _command(self, stop_at=None):
    """Runs train.py in its own process, which sends itself a signal if asked to."""
    start = ['-m', 'tests.testing.train_and_stop', *stop_at] if stop_at else ['train.py']
    override = tiny_run.with_teacher(f'dataset.directory={tiny_run.shared()}')
    arguments = [
      '--experiment=retinanet_selftrain',
      '--mode=train_and_eval',
      f'--model_dir={self.run_dir}',
      f'--params_override={override}',
      *(f'--config_file={path}' for path in tiny_run.config_files()),
    ]
    environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
    return subprocess.run(
      [sys.executable, *start, *arguments],
      cwd=tiny_run.REPOSITORY,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
    )

  def _check_lines(self, done):
    """Every line, up to the table, is one of ours, and the first one names the run."""
    first, *_ = done.stdout.splitlines()
    self.assertEqual(
      first, f'retinanet_selftrain: mode train_and_eval, run directory {self.run_dir}'
    )
    before_table = done.stdout.partition('\n\n')[0]
    for line in [*before_table.splitlines(), *done.stderr.splitlines()]:
      self.assertRegex(line, _OURS)

  def _markers(self):
    folder = pathlib.Path(self.run_dir, 'labels', 'round-1')
    return sorted(path.name for path in folder.glob('*.labels.tfrecord.json'))

  def test_the_same_command_continues(self):
    finished = tiny_run.finished()
    records = ledger.Ledger(self.run_dir)

    killed = self._command((_WRITE_MARKER, '2', 'SIGKILL'))
    self.assertEqual(killed.returncode, -9, killed.stderr)
    # The second shard is there but not marked as done.
    self.assertLen(self._markers(), 1)
    self.assertEqual(records.read('labels').status, 'running')

    interrupted = self._command((_REPORT_STEP, '1', 'SIGINT'))
    self.assertEqual(interrupted.returncode, 130, interrupted.stderr)
    self._check_lines(interrupted)
    self.assertIn('student: interrupted at step 2; the same command', interrupted.stdout)
    self.assertEndsWith(
      interrupted.stderr, 'interrupted: the same command continues where it stopped.\n'
    )
    self.assertTrue(records.is_done('labels'))
    self.assertEqual(training.finished_steps(self.student), 2)
    self.assertGreater(records.read('student').seconds, 0)

    killed = self._command((_REPORT_STEP, '2', 'SIGKILL'))
    self.assertEqual(killed.returncode, -9, killed.stderr)
    self.assertEqual(training.finished_steps(self.student), 4)

    done = self._command()
    self.assertEqual(done.returncode, 0, done.stderr)
    self._check_lines(done)
    self.assertNotIn('] labels', done.stdout)
    self.assertEqual(training.finished_steps(self.student), 6)
    # Step 2 was interrupted, and step 6 killed, before it was reported.
    losses = actions.read_history(self.student)['total_loss']
    self.assertEqual([step for step, _ in losses], [4, 6])
    self.assertIn('\n\n', done.stdout)
    self.assertRegex(done.stdout.rstrip().splitlines()[-1], r'\w')

    pattern = 'labels/round-1/*.labels.tfrecord*'
    self.assertEqual(tiny_run.snapshot(self.run_dir, pattern), tiny_run.snapshot(finished, pattern))
    self._check_same_weights(os.path.join(finished, 'student'))

  def _check_same_weights(self, other):
    """Both students saw the same batches in the same order."""
    names = tiny_run.check_same_weights(self.student, other)
    # Weights, batch-norm statistics, momentum and the averages of both losses.
    self.assertGreater(len(names), 100)
    self.assertTrue(any('loss_averages' in name for name in names))


if __name__ == '__main__':
  tf.test.main()
