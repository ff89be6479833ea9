"""A run whose student is taught by its own average, through the Model Garden's trainer to the report."""

import os
import pathlib
import tempfile
import unittest

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import files
from official_selftrain.pipeline import run
from tests.testing import tiny_run

pytestmark = pytest.mark.slow

_TEACHER = 'model/online_teacher/model'
_VALUE = '.ATTRIBUTES/VARIABLE_VALUE'


class OnlineTeacherTest(unittest.TestCase):
  def test_a_run_to_the_report(self):
    online = 'task.self_training.online_teacher'
    override = tiny_run.with_teacher(
      f'{online}.enabled=true,{online}.decay=0.5,report.training_pictures=1,'
      'task.pseudo_data.soft_labels=true,task.pseudo_data.ignore_cut=null'
    )
    with tempfile.TemporaryDirectory() as model_dir:
      run.run(tiny_run.load(override=override), 'train_and_eval', model_dir)
      checkpoint = tf.train.load_checkpoint(os.path.join(model_dir, 'student'))
      report = files.read_json(os.path.join(model_dir, 'report.json'))
      drawn = _tags(os.path.join(model_dir, 'student', 'train'))
      exported = tf.saved_model.load(os.path.join(model_dir, 'export'))
      updates = checkpoint.get_tensor(f'model/online_teacher/updates/{_VALUE}')
      names = [
        name
        for name in checkpoint.get_variable_to_shape_map()
        if name.startswith(_TEACHER) and 'first_non_finite' not in name
      ]
      # Of each weight there are two, and the average lags behind.
      lags = [
        np.abs(
          checkpoint.get_tensor(name) - checkpoint.get_tensor(name.replace(f'{_TEACHER}/_', '', 1))
        ).max()
        for name in names
        if _is_kernel(name)
      ]
    self.assertEqual(updates, 6)
    self.assertGreater(len(names), 50)
    self.assertTrue(all(0 < lag < 0.1 for lag in lags), lags)
    self.assertIn('AP', report['student'])
    # Of two views of an unlabelled image the student's.
    self.assertIn('inputs/pseudo_data', drawn)
    # The average is not exported.
    self.assertEqual(len(exported.weights), len(names))


def _tags(folder: str) -> set[str]:
  """Tags of what TensorBoard shows of a folder."""
  return {
    value.tag
    for path in pathlib.Path(folder).glob('events*')
    for event in tf.compat.v1.train.summary_iterator(str(path))
    for value in event.summary.value
  }


def _is_kernel(name: str) -> bool:
  """Whether a variable of a checkpoint is a kernel, which each step moves."""
  return name.endswith(f'kernel/{_VALUE}')


if __name__ == '__main__':
  unittest.main()
