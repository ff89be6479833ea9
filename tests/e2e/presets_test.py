"""Settings for kinds of machines: their precision, parts and batch norm go through a whole run.

There is no GPU or TPU here: a run is made on one processor, or on two that stand for eight GPUs.
"""

import json
import os
import re
import tempfile
import unittest
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import config
from official_selftrain.pipeline import distribution, run
from official_selftrain.tasks import accumulation
from tests.testing import replicas, tiny_run

_PRESETS = tiny_run.REPOSITORY / 'experiments' / 'presets'
_KERNEL = re.compile(r'kernel/\.ATTRIBUTES/VARIABLE_VALUE$')
pytestmark = pytest.mark.slow


def setUpModule():
  replicas.make_devices()


class PresetsTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    policy = tf.keras.mixed_precision.global_policy()
    self.addCleanup(tf.keras.mixed_precision.set_global_policy, policy)

  def assert_runs(self, name, experiment, precision, *overrides):
    """Runs a tiny experiment with a preset to its export; its updates must move every kernel of the student."""
    files = [*tiny_run.config_files(experiment), str(_PRESETS / f'{name}.yaml')]
    tiny_run.data(experiment)
    settings = (
      f'dataset.directory={tiny_run.shared()}',
      'task.model.input_size=[64,64,3]',
      'control.enabled=false',
    )
    params = config.load_experiment(experiment, files, ','.join((*settings, *overrides)))
    with tempfile.TemporaryDirectory() as model_dir:
      run.run(params, 'train_and_eval', model_dir)
      self.assertEqual(tf.keras.mixed_precision.global_policy().name, precision)
      with open(os.path.join(model_dir, 'report.json'), encoding='utf-8') as stream:
        report = json.load(stream)
      teacher, student = (
        tiny_run.weights(os.path.join(model_dir, each)) for each in ('teacher', 'student')
      )
      exported = tf.saved_model.load(os.path.join(model_dir, 'export'))
    metric = 'AP' if experiment == tiny_run.SELFTRAIN else 'mean_iou'
    self.assertTrue(0.0 <= report['student'][metric] <= 1.0)
    self.assertGreater(len(exported.weights), 20)
    kernels = [name for name in student if _KERNEL.search(name)]
    self.assertGreater(len(kernels), 10)
    for kernel in kernels:
      self.assertTrue(np.isfinite(student[kernel]).all(), kernel)
      # A step whose gradients are not finite changes nothing: the optimizer halves its scale and goes on.
      self.assertGreater(np.abs(student[kernel] - teacher[kernel]).max(), 0.0, kernel)

  def test_half_precision_in_two_parts(self):
    with mock.patch.object(accumulation, 'split', wraps=accumulation.split) as split:
      self.assert_runs(
        '1x8gb',
        tiny_run.SELFTRAIN,
        'mixed_float16',
        "runtime.distribution_strategy='off',runtime.num_gpus=0,task.recompute_blocks=true",
      )
    self.assertEqual({call.args[1] for call in split.call_args_list}, {2})

  def test_half_precision_on_several_devices(self):
    with mock.patch.object(distribution, '_strategy', return_value=replicas.two_replicas()):
      self.assert_runs('8xgpu', tiny_run.SELFTRAIN, 'mixed_float16', 'runtime.num_gpus=2')

  def test_bfloat16_and_operations_of_a_tpu(self):
    self.assert_runs(
      'tpu', tiny_run.SEGMENTATION, 'mixed_bfloat16', "runtime.distribution_strategy='off'"
    )


if __name__ == '__main__':
  unittest.main()
