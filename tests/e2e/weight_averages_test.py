"""Averages of weights (`optimizer_config.ema`): evaluation, labels, start of the student and export use them."""

import json
import os
import tempfile
import unittest

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import config, errors
from official_selftrain.pipeline import data, jobs, labelling, run
from official_selftrain.tasks import contract
from tests.testing import tiny_run

_EMA = 'optimizer_config.ema.average_decay=0.9'
_AVERAGED = f'trainer.{_EMA},teacher.trainer.{_EMA}'
_VALUE = '/.ATTRIBUTES/VARIABLE_VALUE'
_SLOT = f'/.OPTIMIZER_SLOT/optimizer/average{_VALUE}'


@pytest.mark.slow
@pytest.mark.timeout(900)
class WholeRunTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.params = tiny_run.load(override=_AVERAGED)
    cls.run_dir = os.path.join(tempfile.mkdtemp(), 'run')
    without_control = tiny_run.load(override=f'{_AVERAGED},control.enabled=false')
    run.run(without_control, 'train_and_eval', cls.run_dir)

  def _checkpoint(self, name):
    return tf.train.latest_checkpoint(os.path.join(self.run_dir, name))

  def _averages(self, name):
    """float32 arrays of a checkpoint: averages where there are some; and the raw values of these."""
    reader = tf.train.load_checkpoint(self._checkpoint(name))
    types = reader.get_variable_to_dtype_map()
    keys = [key for key in types if key.endswith(_SLOT)]
    raw = {key.removesuffix(_SLOT): reader.get_tensor(key.replace(_SLOT, _VALUE)) for key in keys}
    return {key.removesuffix(_SLOT): reader.get_tensor(key) for key in keys}, raw

  def _plain_teacher(self, use_averages):
    """A checkpoint without averages: the teacher's weights with the averages in their place, or without."""
    averages, raw = self._averages('teacher')
    model = contract.make(self.params.task.supervised()).build_model()
    contract.make(self.params.task).make_variables(model)
    items = {**model.checkpoint_items, 'model': model}
    tf.train.Checkpoint(**items).read(self._checkpoint('teacher')).expect_partial()
    if use_averages:
      for variable in model.trainable_variables:
        # Which one it is shows its value; those that never moved are alike, and so are their averages.
        alike = [averages[k] for k, v in raw.items() if np.array_equal(v, variable.numpy())]
        self.assertNotEmpty(alike, variable.name)
        for other in alike:
          self.assertAllEqual(other, alike[0])
        variable.assign(alike[0])
    folder = self.create_tempdir().full_path
    step = tf.Variable(4, dtype=tf.int64)
    return tf.train.Checkpoint(global_step=step, **items).save(os.path.join(folder, 'ckpt'))

  def test_averages_are_not_the_weights(self):
    averages, raw = self._averages('teacher')
    self.assertGreater(len(averages), 50)
    self.assertGreater(max(np.abs(averages[key] - raw[key]).max() for key in averages), 1e-6)

  def test_evaluation_and_labels_are_those_of_the_averages(self):
    without = tiny_run.load()
    with open(os.path.join(self.run_dir, 'teacher', 'metrics.json'), encoding='utf-8') as file:
      metrics = json.load(file)['metrics']
    losses, shards = {}, {}
    for use_averages in (True, False):
      plain = self._plain_teacher(use_averages)
      folder = self.create_tempdir().full_path
      made = self._jobs(without, folder)
      found = labelling.evaluate_given_teacher(made.make('teacher'), plain)
      losses[use_averages] = found['validation_loss']
      # A run with averages of its own takes the given weights as they are, too.
      again = self._jobs(self.params, self.create_tempdir().full_path).make('teacher')
      found = labelling.evaluate_given_teacher(again, plain)
      self.assertAllClose(found['validation_loss'], losses[use_averages], rtol=1e-5)
      labelling.run(made.labelling(1, plain))
      shards[use_averages] = _shards(os.path.join(folder, 'labels', 'round-1'))
    self.assertAllClose(losses[True], metrics['validation_loss'], rtol=1e-5)
    self.assertNotAllClose(losses[False], metrics['validation_loss'], rtol=1e-5)
    of_the_run = _shards(os.path.join(self.run_dir, 'labels', 'round-1'))
    self.assertEqual(shards[True], of_the_run)
    self.assertNotEqual(shards[False], of_the_run)

  def test_the_student_starts_from_the_averages_of_its_teacher(self):
    made = self._jobs(self.params, self.run_dir)
    task = contract.make(made.make('student', start=self._checkpoint('teacher')).params.task)
    student = task.build_model()
    task.make_variables(student)
    task.initialize(student)
    teacher = labelling.load_model(
      contract.make(tiny_run.load().task.supervised()), self._plain_teacher(use_averages=True)
    )
    for ours, theirs in zip(student.trainable_weights, teacher.trainable_weights, strict=True):
      self.assertAllEqual(ours, theirs)

  def test_the_model_gardens_own_copy_has_them_in_place_of_the_weights(self):
    """Its `ema_checkpoints` are written while weights and averages are swapped."""
    task = contract.make(tiny_run.load().task.supervised())
    folder = os.path.join(self.run_dir, 'teacher', 'ema_checkpoints')
    copy = labelling.load_model(task, folder)
    teacher = labelling.load_model(task, self._checkpoint('teacher'))
    for ours, theirs in zip(copy.trainable_weights, teacher.trainable_weights, strict=True):
      self.assertAllClose(ours, theirs, rtol=1e-6, atol=1e-7)

  def test_the_export_is_the_average_of_the_student(self):
    reader = tf.train.load_checkpoint(os.path.join(self.run_dir, 'export', 'variables/variables'))
    types = reader.get_variable_to_dtype_map()
    exported = [reader.get_tensor(key) for key in types if types[key] == tf.float32]
    averages, raw = self._averages('student')
    for key, average in averages.items():
      same = [np.array_equal(average, each) for each in exported if each.shape == average.shape]
      self.assertIn(True, same, key)
    # Some never move, such as biases of anchors that are never positive.
    moved = [key for key in averages if not np.array_equal(averages[key], raw[key])]
    for key in moved:
      self.assertFalse(any(np.array_equal(raw[key], each) for each in exported), key)

  def _jobs(self, params, folder):
    resolved = params.replace()
    facts = data.locate(resolved, folder)
    return jobs.Jobs(resolved, folder, facts.class_names)


def _shards(folder):
  """Contents of the label shards of a folder."""
  names = sorted(name for name in os.listdir(folder) if name.endswith('.tfrecord'))
  assert names, os.listdir(folder)
  return [open(os.path.join(folder, name), 'rb').read() for name in names]


class SettingsTest(unittest.TestCase):
  def test_refused(self):
    for override, expected in (
      ('trainer.optimizer_config.ema.average_decay=1.5', r'average_decay is 1.5: it must be in'),
      (
        'teacher.trainer.optimizer_config.ema.dynamic_decay=false',
        r'teacher.trainer.optimizer_config.ema: averages begin at zero',
      ),
      (f'{_AVERAGED},runtime.mixed_precision_dtype=float16', 'does not go with .*float16'),
    ):
      with self.subTest(override), self.assertRaisesRegex(errors.ConfigError, expected):
        config.load_experiment('retinanet_selftrain', [], override)


if __name__ == '__main__':
  unittest.main()
