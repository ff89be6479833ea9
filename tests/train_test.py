"""train.py: exit codes and what is printed, and that --help is quick."""

import contextlib
import io
import os
import subprocess
import sys
import unittest
from unittest import mock

from absl import app, flags
from absl.testing import flagsaver

from official_selftrain import train
from official_selftrain.core import console
from tests.testing import tiny_run

_HELP = """
import runpy, sys
sys.argv = ['train.py', '--help']
try:
  runpy.run_path('train.py', run_name='__main__')
except SystemExit:
  pass
heavy = {'tensorflow', 'keras', 'official', 'numpy'} & set(sys.modules)
print('imported:', sorted(heavy), file=sys.stderr)
"""


class MainTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    # What it silences would stay silent for the tests after this one.
    self.enterContext(mock.patch.object(console, 'quiet'))
    self.out, self.err = io.StringIO(), io.StringIO()

  def _main(self, *rest, **values):
    """Runs `main` with flags and returns its exit code."""
    with contextlib.redirect_stdout(self.out), contextlib.redirect_stderr(self.err):
      with flagsaver.flagsaver(**values):
        try:
          train.main(['train.py', *rest])
        except SystemExit as stop:
          return stop.code
    return 0

  def test_a_loss_that_is_not_finite_stops_with_one_line(self):
    rate = 'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate=1e30'
    folder = os.path.join(tiny_run.root(), 'diverging')
    code = self._main(
      experiment=tiny_run.SUPERVISED,
      mode='train',
      model_dir=folder,
      config_file=tiny_run.config_files(tiny_run.SUPERVISED),
      params_override=f'{rate},dataset.directory={tiny_run.shared()}',
    )
    self.assertEqual(code, 2)
    self.assertEqual(
      self.out.getvalue(), f'retinanet_supervised: mode train, run directory {folder}\n'
    )
    last = self.err.getvalue().splitlines()[-1]
    self.assertRegex(
      last, r'^error: diverging: the human loss became NaN or infinite at step [234]\.'
    )
    self.assertRegex(last, rf'Last good checkpoint: {folder}/ckpt-2\. Lower the learning rate')
    self.assertNotIn('Traceback', self.err.getvalue())

  def test_a_wrong_setting_stops_with_its_name(self):
    code = self._main(experiment=tiny_run.SUPERVISED, params_override='trainer.train_step=3')
    self.assertEqual(code, 2)
    self.assertRegex(
      self.err.getvalue(), r'^error: --params_override: trainer\.train_step.*train_steps'
    )
    self.assertEqual(self.out.getvalue(), '')

  def test_an_unknown_experiment_and_file(self):
    self.assertEqual(self._main(experiment='retinanet_selftrian'), 2)
    self.assertIn("did you mean 'retinanet_selftrain'?", self.err.getvalue())
    code = self._main(experiment=tiny_run.SUPERVISED, config_file=['/nowhere.yaml'])
    self.assertEqual(code, 2)
    self.assertRegex(self.err.getvalue(), r'error: .*/nowhere\.yaml')

  def test_the_run_directory_has_a_default(self):
    with mock.patch('official_selftrain.pipeline.run.run') as run:
      self.assertEqual(self._main(experiment=tiny_run.SUPERVISED, mode='eval', stage='teacher'), 0)
    params, *rest = run.call_args.args
    self.assertEqual(params.experiment, tiny_run.SUPERVISED)
    self.assertEqual(rest, ['eval', os.path.join('runs', tiny_run.SUPERVISED), 'teacher', '', ''])

  def test_ctrl_c(self):
    with mock.patch('official_selftrain.pipeline.run.run', side_effect=KeyboardInterrupt):
      self.assertEqual(self._main(experiment=tiny_run.SUPERVISED), 130)
    self.assertEqual(
      self.err.getvalue(), 'interrupted: the same command continues where it stopped.\n'
    )

  def test_bugs_keep_their_traceback(self):
    with mock.patch('official_selftrain.pipeline.run.run', side_effect=ValueError('ours')):
      with self.assertRaisesRegex(ValueError, 'ours'):
        self._main(experiment=tiny_run.SUPERVISED)

  def test_settings_without_a_flag_are_refused(self):
    with self.assertRaisesRegex(app.UsageError, "'seed=1'.*--params_override"):
      self._main('seed=1', experiment=tiny_run.SUPERVISED)


class HelpTest(unittest.TestCase):
  def test_it_imports_nothing_heavy(self):
    done = subprocess.run(
      [sys.executable, '-c', _HELP],
      cwd=tiny_run.REPOSITORY,
      capture_output=True,
      text=True,
      check=True,
    )
    self.assertEqual(done.stderr, 'imported: []\n')
    for name in ('--experiment', '--mode', '--model_dir', '--params_override', '--restart'):
      self.assertIn(name, done.stdout)


if __name__ == '__main__':
  unittest.main()
