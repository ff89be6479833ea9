"""Weights and averages that have changed places for an evaluation, and the end of rollbacks."""

import os
import unittest
from unittest import mock

import tensorflow as tf
from official.core import config_definitions as cfg
from official.core import train_lib
from official.modeling import optimization

from official_selftrain.core import errors
from official_selftrain.pipeline import actions, runners, training


def _runner(optimizer):
  """A runner around a trainer that does nothing."""
  trainer = mock.Mock(optimizer=optimizer)
  trainer.eval_end.return_value = {'AP': 0.5}
  runner = runners.Runner.__new__(runners.Runner)
  runner.strategy = tf.distribute.get_strategy()
  with mock.patch.object(train_lib.OrbitExperimentRunner, '_build_trainer', return_value=trainer):
    return runner, runner._build_trainer(None, True, True)


def _averages():
  return optimization.ExponentialMovingAverage(tf.keras.optimizers.legacy.SGD(0.1))


class SwappedWeightsTest(unittest.TestCase):
  def test_they_are_swapped_between_beginning_and_end_of_an_evaluation(self):
    runner, trainer = _runner(_averages())
    self.assertFalse(runner.has_swapped_weights)
    trainer.eval_begin()
    self.assertTrue(runner.has_swapped_weights)
    self.assertEqual(trainer.eval_end('logs'), {'AP': 0.5})
    self.assertFalse(runner.has_swapped_weights)

  def test_without_averages_nothing_is_swapped(self):
    runner, trainer = _runner(tf.keras.optimizers.legacy.SGD(0.1))
    trainer.eval_begin()
    self.assertFalse(runner.has_swapped_weights)

  def test_ctrl_c_saves_no_swapped_weights(self):
    runner, trainer = _runner(_averages())
    runner._trainer, runner._checkpoint_manager = trainer, mock.Mock()
    trainer.global_step.numpy.return_value = 7
    job = mock.Mock(train_steps=10)
    with (
      mock.patch.object(training.distribution, 'number_of_workers', return_value=1),
      mock.patch.object(training, 'finished_steps', return_value=5),
    ):
      trainer.eval_begin()
      self.assertEqual(training._save_on_interrupt(job, runner, mock.Mock()), 5)
      runner.checkpoint_manager.save.assert_not_called()
      trainer.eval_end()
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
