"""Settings for kinds of machines: their precision, parts and batch norm go through a whole run.

There is no GPU or TPU here: a run is made on one processor, or on two that stand for eight GPUs.
"""

import json
import os
import tempfile
import unittest
from unittest import mock

import pytest
import tensorflow as tf

from official_selftrain.core import config
from official_selftrain.pipeline import distribution, run
from tests.testing import replicas, tiny_run

_PRESETS = tiny_run.REPOSITORY / 'experiments' / 'presets'
pytestmark = pytest.mark.slow


class PresetsTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    policy = tf.keras.mixed_precision.global_policy()
    self.addCleanup(tf.keras.mixed_precision.set_global_policy, policy)

  def _run(self, name, experiment, override):
    """Report of a tiny run with a preset, whose weights are finite and whose SavedModel has weights."""
    files = [*tiny_run.config_files(experiment), str(_PRESETS / f'{name}.yaml')]
    tiny_run.data(experiment)
    size = 'task.model.input_size=[64,64,3]'
    params = config.load_experiment(
      experiment, files, f'dataset.directory={tiny_run.shared()},{size},{override}'
    )
    with tempfile.TemporaryDirectory() as model_dir:
      run.run(params, 'train_and_eval', model_dir)
      with open(os.path.join(model_dir, 'report.json'), encoding='utf-8') as stream:
        report = json.load(stream)
      weights = tiny_run.weights(os.path.join(model_dir, 'student'))
      exported = tf.saved_model.load(os.path.join(model_dir, 'export'))
    self.assertTrue(all(tf.math.is_finite(value).numpy().all() for value in weights.values()))
    self.assertGreater(len(exported.weights), 20)
    return report

  def test_half_precision_in_two_parts(self):
    report = self._run(
      '1x8gb',
      tiny_run.SELFTRAIN,
      "runtime.distribution_strategy='off',runtime.num_gpus=0,task.recompute_blocks=true",
    )
    self.assertIn('AP', report['student'])

  def test_half_precision_on_several_devices(self):
    replicas.make_devices()
    with mock.patch.object(distribution, '_strategy', return_value=replicas.two_replicas()):
      report = self._run('8xgpu', tiny_run.SELFTRAIN, 'runtime.num_gpus=2')
    self.assertIn('AP', report['student'])

  def test_bfloat16_and_operations_of_a_tpu(self):
    report = self._run('tpu', tiny_run.SEGMENTATION, "runtime.distribution_strategy='off'")
    self.assertIn('mean_iou', report['student'])


if __name__ == '__main__':
  unittest.main()
