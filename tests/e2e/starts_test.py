"""Runs whose teacher starts from a backbone that they train, import or are given, through the real path."""

import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pipeline import actions, run
from tests.testing import lite0, tiny_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_SMALL = (
  'dataset.digit_classes.num_training=12,dataset.digit_classes.num_validation=8,'
  'dataset.digit_classes.num_shards=2'
)


def _settings(init):
  """Overrides that pre-train for two steps."""
  section = f'pretraining.{init}'
  parts = [f'init={init}', _SMALL]
  for name, value in (
    ('task.train_data.global_batch_size', 4),
    ('task.validation_data.global_batch_size', 4),
    ('trainer.train_steps', 2),
    ('trainer.steps_per_loop', 2),
    ('trainer.summary_interval', 2),
    ('trainer.checkpoint_interval', 2),
    ('trainer.validation_interval', 2),
  ):
    parts.append(f'{section}.{name}={value}')
  return ','.join(parts)


def _run(
  name, override, mode='train_and_eval', stage=run.ALL_STAGES, experiment=tiny_run.SELFTRAIN
):
  folder = os.path.join(tiny_run.root(), 'starts', name)
  run.run(tiny_run.load(experiment, override), mode, folder, stage)
  return folder


def _backbone(folder):
  found = tiny_run.weights(folder)
  return {name: value for name, value in found.items() if name.startswith('backbone/')}


def _assert_starts_from(folder, start):
  """A teacher that was trained with a rate of 0 has the kernels of its start."""
  ours, theirs = _backbone(folder), _backbone(start)
  kernels = [name for name in theirs if 'kernel/.ATTR' in name and 'OPTIMIZER' not in name]
  assert len(kernels) > 8, kernels
  for name in kernels:
    np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


_STILL = (
  'teacher.trainer.optimizer_config.learning_rate.cosine.initial_learning_rate=0,'
  'teacher.trainer.optimizer_config.warmup.linear.warmup_learning_rate=0'
)


class TrainedHereTest(tf.test.TestCase):
  def test_supervised_then_the_teacher_starts_there_and_the_run_resumes(self):
    override = f'{_settings("supervised")},{_STILL}'
    folder = _run('supervised', override, 'train', 'pretraining')
    self.assertEqual(os.listdir(os.path.join(folder, 'stages')), ['pretraining.json'])
    before = tiny_run.times(os.path.join(folder, 'pretraining'))
    _run('supervised', override, 'train', 'teacher')
    self.assertEqual(tiny_run.times(os.path.join(folder, 'pretraining')), before)
    _assert_starts_from(os.path.join(folder, 'teacher'), os.path.join(folder, 'pretraining'))
    changed = override.replace(
      'supervised.trainer.train_steps=2', 'supervised.trainer.train_steps=4'
    )
    with self.assertRaisesRegex(
      errors.StageChangedError, r'pretraining.*pretraining\.supervised\.trainer\.train_steps'
    ):
      _run('supervised', changed, 'train', 'teacher')

  def test_an_earlier_run_and_a_frozen_backbone(self):
    first = _run('simclr-first', _settings('simclr'), 'train', 'pretraining')
    start = os.path.join(first, 'pretraining')
    given = f'init=simclr,pretraining.checkpoint={start},task.freeze_backbone=true'
    folder = _run('simclr-given', given, 'train', 'teacher')
    self.assertFalse(os.path.exists(os.path.join(folder, 'pretraining')))
    _assert_starts_from(os.path.join(folder, 'teacher'), start)

  def test_a_whole_run_to_the_report_with_joint_training(self):
    joint = 'task.joint.weight=0.2,task.joint.data.global_batch_size=2'
    override = f'{_settings("simclr")},{joint},task.self_training.student_init=checkpoint'
    folder = _run('whole', override, experiment=tiny_run.SEGMENTATION)
    report = json.loads(pathlib.Path(folder, 'report.json').read_text())
    self.assertEqual(report['pretraining']['kind'], 'simclr')
    self.assertEqual(report['pretraining']['steps'], 2)
    self.assertTrue(report['pretraining']['curves']['training_loss'])
    named = 'the simclr backbone of this run, 2 steps'
    self.assertEqual(report['starts'], dict.fromkeys(('teacher', 'control', 'student'), named))
    self.assertTrue(os.path.exists(os.path.join(folder, 'export', 'saved_model.pb')))
    for kind in ('teacher', 'control', 'student'):
      curves = actions.read_history(os.path.join(folder, kind))
      self.assertTrue(np.isfinite([value for _, value in curves['joint_loss']]).all(), kind)


class ImageNetTest(tf.test.TestCase):
  def test_a_file_of_weights_is_imported(self):
    path = os.path.join(tiny_run.root(), 'lite0.npz')
    np.savez(path, **lite0.random_arrays(1))
    network = (
      'task.model.backbone.type=efficientnet,task.model.backbone.efficientnet.model_id=b0,'
      'task.model.backbone.efficientnet.se_ratio=0.0'
    )
    start = f'init=imagenet,pretraining.checkpoint={path},{network}'
    with self.assertRaisesRegex(
      errors.ConfigError,
      r'compute something else .*Set task\.model\.norm_activation\.activation=relu6',
    ):
      _run('imagenet', start, 'train', 'pretraining')
    whole = f'{start},task.model.norm_activation.activation=relu6'
    folder = _run('imagenet', whole, 'train', 'pretraining')
    self.assertTrue(os.path.exists(os.path.join(folder, 'pretraining', 'import.json')))
    _run('imagenet', f'{whole},{_STILL}', 'train', 'teacher')
    _assert_starts_from(os.path.join(folder, 'teacher'), os.path.join(folder, 'pretraining'))


if __name__ == '__main__':
  tf.test.main()
