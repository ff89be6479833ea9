"""Settings for kinds of machines: they fit every experiment for photographs, and do what their commands say."""

import dataclasses
import pathlib
import re
import shlex
import unittest

import pytest
import tensorflow as tf

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, errors
from official_selftrain.modeling import memory
from official_selftrain.pipeline import memory_estimate, training

_ROOT = pathlib.Path(__file__).parents[2]
_PRESETS = sorted((_ROOT / 'experiments' / 'presets').glob('*.yaml'))
_EXPERIMENTS = (
  'retinanet_resnetfpn_selftrain',
  'retinanet_spinenet_selftrain',
  'segmentation_efficientnet_selftrain',
)
_DATA = ','.join(
  f'task.{stream}.input_path=somewhere'
  for stream in ('train_data', 'pseudo_data', 'validation_data')
)


def _load(preset, experiment, override='', batch_scale=1.0):
  path = str(_ROOT / 'experiments' / 'presets' / preset)
  return config.load_experiment(
    experiment, [path], f'{_DATA},{override}'.strip(','), batch_scale=batch_scale
  )


class PresetsTest(unittest.TestCase):
  def test_each_loads_with_each_experiment_for_photographs(self):
    self.assertEqual(len(_PRESETS), 5)
    for path in _PRESETS:
      for experiment in _EXPERIMENTS:
        is_boxes_on_tpu = path.stem == 'tpu' and experiment.startswith('retinanet')
        nms = 'task.model.detection_generator.nms_version=v2' if is_boxes_on_tpu else ''
        with self.subTest(path.name, experiment=experiment):
          params = _load(path.name, experiment, nms)
          self.assertNotEqual(
            config.flatten(params), config.flatten(config.load_experiment(experiment, [], _DATA))
          )

  def test_boxes_on_a_tpu_are_told_which_suppression_compiles(self):
    with self.assertRaisesRegex(errors.ConfigError, 'choose v2 or v3'):
      _load('tpu.yaml', _EXPERIMENTS[0])

  def test_precisions(self):
    expected = {'cpu': None, '1x8gb': 'float16', '1x24gb': 'float16', '8xgpu': 'float16'}
    for name, precision in expected.items():
      for experiment in _EXPERIMENTS:
        found = _load(f'{name}.yaml', experiment).runtime.mixed_precision_dtype
        self.assertEqual(found, precision, (name, experiment))

  def test_batches_can_be_dealt_out(self):
    for experiment in _EXPERIMENTS:
      task = _load('1x8gb.yaml', experiment).task
      for stream in (task.train_data, task.pseudo_data):
        self.assertEqual(stream.global_batch_size % task.gradient_accumulation_steps, 0)
      task = _load('8xgpu.yaml', experiment, batch_scale=8).task
      self.assertEqual(task.train_data.global_batch_size % 8, 0)

  def test_the_commands_in_their_comments(self):
    for path in _PRESETS:
      text = re.sub(r'\\\n#', '', path.read_text(encoding='utf-8'))
      (command,) = re.findall(r'^# +(python train\.py .*)$', text, re.MULTILINE)
      flags = dict(word.removeprefix('--').split('=', 1) for word in shlex.split(command)[2:])
      self.assertEqual(flags['config_file'], f'experiments/presets/{path.name}')
      self.assertIn(flags['experiment'], _EXPERIMENTS)
      self.assertLessEqual(
        set(flags),
        {'experiment', 'dataset', 'config_file', 'batch_scale', 'params_override'},
      )

  @pytest.mark.slow
  def test_eight_gigabytes_are_enough(self):
    params = _load('1x8gb.yaml', _EXPERIMENTS[0])
    policy = tf.keras.mixed_precision.global_policy()
    training.set_precision(params.runtime)
    self.addCleanup(tf.keras.mixed_precision.set_global_policy, policy)
    found = memory_estimate.estimate(params).student
    # What the estimate leaves out may be a fifth.
    self.assertLess(1.2 * found.on(1), 8 * memory.GIB)
    self.assertGreater(dataclasses.replace(found, parts=1).on(1), 1.3 * found.on(1))


if __name__ == '__main__':
  unittest.main()
