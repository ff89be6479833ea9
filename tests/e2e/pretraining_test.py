"""Pre-training through the real path: trained, evaluated, resumed to the bit, and a detector that starts from it."""

import contextlib
import io
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.core import config, errors
from official_selftrain.pipeline import run, training
from tests.testing import tiny_run

_FILE = str(tiny_run.REPOSITORY / 'tests' / 'e2e' / 'tiny_pretrain.yaml')
_CLASSES, _SIMCLR = 'classification_pretrain', 'simclr_pretrain'

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _run(experiment, name, override='', mode='train_and_eval'):
  """Runs and returns the model directory and what was printed to standard output."""
  folder = os.path.join(tiny_run.root(), name)
  directory = f'dataset.directory={tiny_run.root()}'
  overrides = ','.join(filter(None, (directory, override)))
  params = config.load_experiment(experiment, [_FILE], overrides)
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    run.run(params, mode, folder)
  return folder, printed.getvalue()


class PretrainingTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    (_CLASSES, ('accuracy', 'top_5_accuracy')),
    (_SIMCLR, ('contrastive_accuracy', 'contrastive_loss')),
  )
  def test_killed_and_resumed(self, experiment, metrics):
    whole, printed = _run(experiment, f'{experiment}-whole')
    measured = json.loads(pathlib.Path(whole, 'metrics.json').read_text())['metrics']
    for name in metrics:
      self.assertIn(name, printed)
      self.assertTrue(np.isfinite(measured[name]))
    self.assertBetween(measured[metrics[0]], 0.0, 1.0)
    history = pathlib.Path(whole, 'history.jsonl').read_text().splitlines()
    self.assertIn(metrics[0], json.loads(history[-1]))

    # The length of the schedule stays that of four steps.
    decay = 'trainer.optimizer_config.learning_rate.cosine.decay_steps=4'
    parts = f'{experiment}-parts'
    _run(experiment, parts, f'{decay},trainer.train_steps=2', mode='train')
    folder, _ = _run(experiment, parts, decay)
    self.assertEqual(training.finished_steps(folder), 4)
    for name, value in tiny_run.weights(whole).items():
      np.testing.assert_array_equal(value, tiny_run.weights(folder)[name], err_msg=name)

  def test_tensorboard_shows_views(self):
    folder, _ = _run(_SIMCLR, f'{_SIMCLR}-whole')
    found = {}
    for path in pathlib.Path(folder, 'train').glob('events*'):
      for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
          if value.tag == 'views/train_data':
            found[event.step] = tf.io.decode_png(value.tensor.string_val[2]).numpy()
    (sheet,) = found.values()
    # Two rows of eight images of 64 pixels, with margins.
    self.assertEqual(sheet.shape, (2 * 68, 8 * 68, 3))
    self.assertTrue((sheet[64:68] == 255).all())
    self.assertGreater(sheet[:64, :64].std(), 5)
    # The views of an image differ.
    self.assertGreater(np.abs(sheet[:64, :64].astype(int) - sheet[68:132, :64]).mean(), 2)

  def test_a_probe_leaves_the_backbone_as_it_is(self):
    simclr, _ = _run(_SIMCLR, f'{_SIMCLR}-whole')
    start = f'task.init_checkpoint={simclr},task.init_checkpoint_modules=backbone'
    folder, _ = _run(_CLASSES, 'probe', f'{start},task.freeze_backbone=true', mode='train')
    ours, theirs = tiny_run.weights(folder), tiny_run.weights(simclr)
    names = [name for name in ours if name.startswith('backbone/') and 'VARIABLE' in name]
    self.assertGreater(len(names), 20)
    for name in names:
      np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)

  def test_a_detector_starts_from_it(self):
    classes, _ = _run(_CLASSES, f'{_CLASSES}-whole')
    init = f'task.init_checkpoint={classes},task.init_checkpoint_modules=backbone'
    params = tiny_run.load(tiny_run.SUPERVISED, f'{init},trainer.train_steps=2')
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
      run.run(params, 'train', os.path.join(tiny_run.root(), 'from-classes'))
    self.assertRegex(said.getvalue(), rf'started from {classes}.*: \d+ variables restored')

  def test_another_backbone(self):
    classes, _ = _run(_CLASSES, f'{_CLASSES}-whole')
    init = f'task.init_checkpoint={classes},task.init_checkpoint_modules=backbone'
    params = tiny_run.load(
      tiny_run.SUPERVISED, f'{init},task.model.backbone.resnet.model_id=18,trainer.train_steps=2'
    )
    with self.assertRaisesRegex(errors.DataError, r'lacks \d+ of the \d+ variables of backbone'):
      run.run(params, 'train', os.path.join(tiny_run.root(), 'from-another'))


if __name__ == '__main__':
  tf.test.main()
