"""Joint training through the real path: both tasks, with self-training and alone, resumed to the bit, bad records."""

import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pipeline import actions, run, training
from tests.testing import tiny_run

pytestmark = [pytest.mark.timeout(900)]


def _joint(weight=0.5, override=''):
  """Overrides that add a small classifier."""
  parts = [
    f'task.joint.weight={weight}',
    'task.joint.data.global_batch_size=2',
    'dataset.digit_classes.num_training=12',
    'dataset.digit_classes.num_validation=8',
    'dataset.digit_classes.num_shards=2',
    override,
  ]
  return ','.join(filter(None, parts))


def _train(experiment, name, override='', mode='train'):
  folder = os.path.join(tiny_run.root(), 'joint', name)
  run.run(tiny_run.load(experiment, override), mode, folder)
  return folder


class SupervisedTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.whole = _train(tiny_run.SUPERVISED, 'whole', _joint(), 'train_and_eval')

  def test_it_logs_and_evaluates_as_without(self):
    curves = actions.read_history(self.whole)
    self.assertContainsSubset({'joint_loss', 'joint_accuracy', 'human_loss'}, curves)
    measured = json.loads(pathlib.Path(self.whole, 'metrics.json').read_text())
    self.assertIn('AP', measured['metrics'])
    self.assertBetween(curves['joint_loss'][0][1], 1.0, 5.0)  # log(10) = 2.3
    kernel = 'model/class_head/_logits/kernel/.ATTRIBUTES/VARIABLE_VALUE'
    self.assertEqual(tiny_run.weights(self.whole)[kernel].shape, (256, 10))

  @pytest.mark.slow
  def test_resumed_to_the_bit(self):
    schedule = 'trainer.optimizer_config.learning_rate.cosine.decay_steps=6'
    _train(tiny_run.SUPERVISED, 'parts', _joint(override=f'{schedule},trainer.train_steps=2'))
    parts = _train(tiny_run.SUPERVISED, 'parts', _joint(override=schedule))
    self.assertEqual(training.finished_steps(parts), 6)
    ours, theirs = tiny_run.weights(parts), tiny_run.weights(self.whole)
    self.assertEqual(ours.keys(), theirs.keys())
    for name, value in ours.items():
      np.testing.assert_array_equal(value, theirs[name], err_msg=name)

  @pytest.mark.slow
  def test_another_model_starts_from_the_classifier_too(self):
    start = f'task.init_checkpoint={self.whole},trainer.train_steps=2'
    rate = 'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate=0'
    both = _train(tiny_run.SUPERVISED, 'both', _joint(override=f'{start},{rate}'))
    alone = f'{start},{rate},task.init_checkpoint_modules=backbone'
    backbone = _train(tiny_run.SUPERVISED, 'backbone', _joint(override=alone))
    name = 'model/class_head/_logits/kernel/.ATTRIBUTES/VARIABLE_VALUE'
    first, second, third = (tiny_run.weights(f)[name] for f in (self.whole, both, backbone))
    np.testing.assert_array_equal(first, second)
    self.assertNotAllClose(first, third)

  def test_a_record_without_class_is_named(self):
    copy, _ = tiny_run.copy_of_data(os.path.join(tiny_run.root(), 'joint-damaged'))
    paths = (
      f'task.train_data.input_path={copy.train},task.validation_data.input_path={copy.validation},'
      f'task.annotation_file={copy.annotation_file},task.joint.data.input_path={copy.train}'
    )
    with self.assertRaisesRegex(
      errors.DataError, r'^task\.joint\.data: .*record 0: .*task\.joint\.num_classes is 10\); found'
    ):
      _train(tiny_run.SUPERVISED, 'no-class', _joint(override=paths))


if __name__ == '__main__':
  tf.test.main()
