"""Weights and averages that have changed places for an evaluation, and the end of rollbacks."""

import os
import tempfile
import unittest
from unittest import mock

import tensorflow as tf
from official.core import actions as core_actions
from official.core import config_definitions as cfg
from official.core import train_lib
from official.modeling import optimization

from official_selftrain.core import errors, files
from official_selftrain.pipeline import actions, runners, training


def _runner(optimizer):
  """A runner around a trainer that does nothing."""
  trainer = mock.Mock(optimizer=optimizer)
  runner = runners.Runner.__new__(runners.Runner)
  runner.strategy = tf.distribute.get_strategy()
  with mock.patch.object(train_lib.OrbitExperimentRunner, '_build_trainer', return_value=trainer):
    return runner, runner._build_trainer(None, True, True)


def _averages():
  averages = optimization.ExponentialMovingAverage(tf.keras.optimizers.legacy.SGD(0.1))
  averages._model_weights, averages._average_weights = [], []
  return averages


class BestCheckpointTest(unittest.TestCase):
  def setUp(self):
    self.folder = self.enterContext(tempfile.TemporaryDirectory())
    self.checkpoint = tf.train.Checkpoint(step=tf.Variable(1))

  def _exporter(self, metric='AP', comparison='higher'):
    runner = runners.Runner.__new__(runners.Runner)
    runner._model_dir = self.folder
    trainer = cfg.TrainerConfig(
      best_checkpoint_export_subdir='best',
      best_checkpoint_eval_metric=metric,
      best_checkpoint_metric_comp=comparison,
    )
    runner._params = cfg.ExperimentConfig(trainer=trainer)
    return runner._build_best_checkpoint_exporter()

  def _export(self, value, metric='AP', **settings):
    exporter = self._exporter(metric, **settings)
    logs = {
      'AP': tf.constant(value),
      'validation_loss': tf.constant(2.0),
      'iou/1': tf.constant(0.1),
    }
    return exporter.maybe_export_checkpoint(self.checkpoint, logs, 7)

  def test_the_best_one_is_kept_over_restarts(self):
    kept = [self._export(value) for value in (0.2, 0.1, 0.3, 0.3)]
    self.assertEqual(kept, [True, False, True, False])
    self.assertTrue(self._export(0.25, comparison='lower'))

  def test_an_unknown_metric(self):
    with self.assertRaisesRegex(
      errors.ConfigError,
      "^best_checkpoint_eval_metric is 'ap', and the metrics of the evaluation are AP, validation_loss",
    ):
      self._export(0.2, metric='ap')

  def test_another_metric_than_before_the_restart(self):
    self._export(0.2)
    with self.assertRaisesRegex(
      errors.ConfigError, "is 'AP75', and the metrics .* are AP, best_ckpt"
    ):
      self._exporter('AP75')

  def test_a_damaged_file_of_metrics(self):
    self._export(0.2)
    path = os.path.join(self.folder, 'best', 'info.json')
    for content in ('{"AP": 0.2', '{"AP": "much"}', '[]'):
      files.write_text(path, content)
      with self.assertRaisesRegex(
        errors.DataError, 'info.json is damaged.*Remove it, and the next'
      ):
        self._exporter()

  def test_none_is_kept_if_not_asked_for(self):
    runner = runners.Runner.__new__(runners.Runner)
    for settings in ({}, {'best_checkpoint_export_subdir': 'best'}):
      runner._params = cfg.ExperimentConfig(trainer=cfg.TrainerConfig(**settings))
      self.assertIsNone(runner._build_best_checkpoint_exporter())


class SwappedWeightsTest(unittest.TestCase):
  def setUp(self):
    # Weights are swapped under a strategy only.
    self.enterContext(tf.distribute.OneDeviceStrategy('/cpu:0').scope())

  def test_they_are_swapped_until_they_are_swapped_back(self):
    runner, trainer = _runner(_averages())
    self.assertFalse(runner.has_swapped_weights)
    trainer.optimizer.swap_weights()
    self.assertTrue(runner.has_swapped_weights)
    trainer.optimizer.swap_weights()
    self.assertFalse(runner.has_swapped_weights)

  def test_a_swap_that_is_broken_off_may_have_swapped_some(self):
    for before in (0, 1):
      averages = _averages()
      with mock.patch.object(
        averages, 'swap_weights', side_effect=[None] * before + [KeyboardInterrupt]
      ):
        runner, trainer = _runner(averages)
        for _ in range(before):
          trainer.optimizer.swap_weights()
        with self.assertRaises(KeyboardInterrupt):
          trainer.optimizer.swap_weights()
      self.assertTrue(runner.has_swapped_weights)

  def test_a_checkpoint_of_averages_is_written_while_they_are_swapped(self):
    runner, trainer = _runner(_averages())
    seen = []
    checkpoint = tf.train.Checkpoint(step=tf.Variable(1))
    with tempfile.TemporaryDirectory() as folder:
      action = core_actions.EMACheckpointing(folder, trainer.optimizer, checkpoint)
      action._checkpoint_manager = mock.Mock()
      action._checkpoint_manager.save = lambda **_: seen.append(runner.has_swapped_weights)
      action({})
    self.assertEqual((seen, runner.has_swapped_weights), ([True], False))

  def test_ctrl_c_saves_no_swapped_weights(self):
    runner, trainer = _runner(_averages())
    runner._trainer, runner._checkpoint_manager = trainer, mock.Mock()
    trainer.global_step.numpy.return_value = 7
    job = mock.Mock(train_steps=10)
    with (
      mock.patch.object(training.distribution, 'number_of_workers', return_value=1),
      mock.patch.object(training, 'finished_steps', return_value=5),
    ):
      trainer.optimizer.swap_weights()
      self.assertEqual(training._save_on_interrupt(job, runner, mock.Mock()), 5)
      runner.checkpoint_manager.save.assert_not_called()
      trainer.optimizer.swap_weights()
      self.assertEqual(training._save_on_interrupt(job, runner, mock.Mock()), 7)
      runner.checkpoint_manager.save.assert_called_once()


class GivenUpTest(unittest.TestCase):
  def test_the_last_rollback_ends_with_a_message(self):
    config = cfg.TrainerConfig(recovery_max_trials=2)
    nan = RuntimeError('The loss value is NaN after training loop and it happens 3 times.')
    with self.assertRaisesRegex(
      errors.NonFiniteLossError,
      r'^student: The loss value is NaN .* 3 times\. trainer\.recovery_max_trials is 2\. .*--restart=student',
    ):
      with actions.given_up('student', os.devnull, config):
        raise nan
    for error, trials in ((RuntimeError('another one'), 2), (nan, 0)):
      with self.assertRaises(RuntimeError):
        with actions.given_up('student', os.devnull, cfg.TrainerConfig(recovery_max_trials=trials)):
          raise error


if __name__ == '__main__':
  unittest.main()
