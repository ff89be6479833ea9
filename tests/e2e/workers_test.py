"""Several workers or devices of one machine train what one trains; when a worker is gone all end with one message."""

import json
import os
import signal
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import config
from official_selftrain.pipeline import actions, distribution, run
from tests.testing import replicas, tiny_run, workers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_STEPS = (
  'trainer.train_steps=20,trainer.validation_interval=20,trainer.steps_per_loop=5,'
  'trainer.checkpoint_interval=5,trainer.summary_interval=5'
)
_SYNC = 'task.model.norm_activation.use_sync_bn=true'
_TIMEOUT = 900


def setUpModule():
  replicas.make_devices()


def _arguments(experiment, model_dir):
  return [
    f'--experiment={experiment}',
    '--mode=train_and_eval',
    f'--model_dir={model_dir}',
    *(f'--config_file={path}' for path in tiny_run.config_files(experiment)),
  ]


def _settings(experiment, *overrides):
  tiny_run.data(experiment)
  return ','.join((f'dataset.directory={tiny_run.shared()}', _STEPS, _SYNC, *overrides))


def _run(number, experiment, model_dir, *overrides, flags=()):
  """Runs an experiment to its end by so many workers and returns what each of them printed."""
  arguments = [*_arguments(experiment, model_dir), *flags]
  with workers.started(number, arguments, _settings(experiment, *overrides)) as processes:
    printed = workers.outputs(processes, _TIMEOUT)
    assert [process.returncode for process in processes] == [0] * number, '\n'.join(printed)
  return printed


def _run_here(experiment, model_dir, *overrides, stage='all'):
  """Runs an experiment, or a stage of it, in this process."""
  files = tiny_run.config_files(experiment)
  params = config.load_experiment(experiment, files, _settings(experiment, *overrides))
  run.run(params, 'train_and_eval', model_dir, stage=stage)


def _run_on_two_devices(experiment, model_dir, *overrides):
  """Runs an experiment to its end in this process, on two logical processors in place of two GPUs."""
  mirrored = 'runtime.distribution_strategy=mirrored,runtime.num_gpus=2'
  replace = mock.patch.object(distribution, '_strategy', return_value=replicas.two_replicas())
  with replace as strategy:
    _run_here(experiment, model_dir, mirrored, *overrides)
  assert strategy.call_count > 1, strategy.call_args_list  # Labelling, and each training.


def _folder(*parts):
  return os.path.join(tiny_run.root(), 'workers', *parts)


def _writer(path):
  """The process that wrote a file of events: events.out.tfevents.SECONDS.HOST.PROCESS.NUMBER.v2."""
  return os.path.basename(path).split('.')[-3]


def _evaluation(model_dir):
  with open(os.path.join(model_dir, 'metrics.json'), encoding='utf-8') as stream:
    return json.load(stream)


def _check_same(one, other):
  """Weights, averages of losses, losses of each report, and metrics of two model directories."""
  ours, theirs = tiny_run.weights(one), tiny_run.weights(other)
  assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
  for name, value in ours.items():
    np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)
  _check_same_losses(one, other)
  left, right = (_evaluation(folder)['metrics'] for folder in (one, other))
  assert left.keys() == right.keys(), left.keys() ^ right.keys()
  for name, value in left.items():
    if value is not None:
      # Validation losses are means over batches, which are smaller with more workers.
      tolerance = 0.05 if name.endswith('loss') else 1e-4
      np.testing.assert_allclose(value, right[name], rtol=tolerance, atol=1e-4, err_msg=name)
  _check_same_predictions(*(os.path.join(folder, 'evaluation.npz') for folder in (one, other)))
  counts = [_evaluation(folder)['details'].get('confusion', [0]) for folder in (one, other)]
  # Every pixel of the truth once, whatever was found there.
  np.testing.assert_array_equal(*(np.sum(each, axis=-1) for each in counts))


def _check_same_losses(one, other):
  """What was written about every five steps of training."""
  ours, theirs = actions.read_history(one), actions.read_history(other)
  assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
  assert [step for step, _ in ours['total_loss']] == [5, 10, 15, 20], ours['total_loss']
  for name, values in ours.items():
    np.testing.assert_allclose(values, theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)


def _check_same_predictions(path, other):
  """What metrics are made of: AP of models that have hardly been trained would be 0 anyway."""
  with np.load(path) as ours, np.load(other) as theirs:
    np.testing.assert_array_equal(ours['image_ids'], theirs['image_ids'])
    if 'score' in ours.files:
      assert ours['score'].size > 10
      np.testing.assert_allclose(
        np.sort(ours['score']), np.sort(theirs['score']), rtol=1e-3, atol=1e-5
      )
    else:
      for name in ('intersection', 'union'):
        differing = np.abs(ours[name] - theirs[name]).sum()
        assert differing <= 0.002 * ours['union'].sum(), (name, differing)


class SelfTrainingTest(tf.test.TestCase):
  def assert_workers_and_devices_run_alike(self, experiment, *overrides):
    """A run in one process, one by two workers, and one on two devices.

    Without a control: what it does is that of `SupervisedTest`, and its start that of the student.
    """
    # With the same teacher labels must be equal to the byte.
    teacher = os.path.join(tiny_run.finished(experiment), 'teacher')
    given = f'teacher.checkpoint={teacher},control.enabled=false'
    settings = ','.join((given, 'report.training_pictures=1', *overrides))
    one, two, devices = (_folder(experiment, name) for name in ('one', 'two', 'devices'))
    _run_here(experiment, one, settings, 'export.enabled=false')
    _run(2, experiment, two, settings)
    _run_on_two_devices(experiment, devices, settings, 'export.enabled=false')
    labels = tiny_run.snapshot(one, 'labels/round-1/*.tfrecord')
    self.assertNotEmpty(labels)
    for folder in (two, devices):
      self.assertEqual(tiny_run.snapshot(folder, 'labels/round-1/*.tfrecord'), labels)
      _check_same(os.path.join(one, 'student'), os.path.join(folder, 'student'))
    # The chief alone has written the run: one report, one SavedModel, events of one process.
    for folder in ('train', 'validation/pictures'):
      paths = tf.io.gfile.glob(os.path.join(two, 'student', folder, 'events*'))
      self.assertLen({_writer(path) for path in paths}, 1, paths)
    self.assertTrue(os.path.exists(os.path.join(two, 'report.html')))
    self.assertTrue(os.path.exists(os.path.join(two, 'export')))

  def test_detection(self):
    self.assert_workers_and_devices_run_alike(tiny_run.SELFTRAIN)

  def test_a_backbone_that_they_train_together(self):
    settings = (
      'init=simclr', 'pretraining.simclr.task.train_data.global_batch_size=8',
      *(f'pretraining.simclr.trainer.{each}' for each in (
        'train_steps=4', 'steps_per_loop=2', 'summary_interval=2', 'checkpoint_interval=2', 'validation_interval=4',
      )),
    )  # fmt: skip
    folders = _folder('simclr-one'), _folder('simclr-two')
    _run_here(tiny_run.SELFTRAIN, folders[0], *settings, stage='pretraining')
    _run(2, tiny_run.SELFTRAIN, folders[1], *settings, flags=['--stage=pretraining'])
    ours, theirs = (tiny_run.weights(os.path.join(folder, 'pretraining')) for folder in folders)
    self.assertEqual(ours.keys(), theirs.keys())
    for name, value in ours.items():
      np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)

  def test_segmentation(self):
    # Labels on disk teach for ten steps, then those of an average; another average is what is evaluated. With single
    # images for each worker rounding grows: batch norm divides by the spread of a few values.
    online = 'task.self_training.online_teacher'
    self.assert_workers_and_devices_run_alike(
      tiny_run.SEGMENTATION, f'{online}.enabled=true',
      f'{online}.decay=0.9', f'{online}.warmup_steps=10',
      'task.train_data.global_batch_size=4', 'task.pseudo_data.global_batch_size=4',
      'trainer.optimizer_config.ema.average_decay=0.9',
    )  # fmt: skip


class SupervisedTest(tf.test.TestCase):
  experiment = tiny_run.SUPERVISED
  batch = 'task.train_data.global_batch_size=4'

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.undisturbed = _folder('one')
    _run_here(cls.experiment, cls.undisturbed, cls.batch)

  def test_four_workers_train_what_one_process_trains(self):
    printed = _run(4, self.experiment, _folder('four'), self.batch)
    self.assertIn('worker 1 of 4: the chief', printed[0])
    self.assertIn('worker 4 of 4: follows', printed[-1])
    _check_same(self.undisturbed, _folder('four'))

  def _stopped(self, folder, report, name):
    """Starts two workers, the second of which gets a signal in a report of its own; what both printed."""
    settings = _settings(self.experiment, self.batch)
    program = [
      '-m',
      'tests.testing.train_and_stop',
      'official_selftrain.pipeline.actions:TrainingProgress.__call__',
      str(report),
      name,
    ]
    with workers.started(2, _arguments(self.experiment, folder), settings, program) as processes:
      printed = workers.outputs(processes, _TIMEOUT)
      self.assertEqual(processes[0].returncode, 2, printed[0])
    errors = [line for line in printed[0].splitlines() if line.startswith('error: ')]
    self.assertLen(errors, 1)
    self.assertIn('another worker has stopped', errors[0])
    self.assertNotIn('Traceback', printed[0])
    return printed, processes[1].returncode

  def test_a_worker_that_is_stopped_ends_all_and_they_go_on_to_the_same_weights(self):
    folder = _folder('stopped')
    # In its third report, after ten steps and two checkpoints.
    _, code = self._stopped(folder, 3, 'SIGKILL')
    self.assertEqual(code, -signal.SIGKILL)
    # Ctrl-C in the first report of those that go on, after fifteen steps.
    printed, code = self._stopped(folder, 1, 'SIGINT')
    self.assertEqual(code, 130, printed[1])
    self.assertIn('interrupted at step', printed[1])
    self.assertNotIn('Traceback', printed[1])
    for text in _run(2, self.experiment, folder, self.batch):
      self.assertIn(' 20/20 steps', text)
      self.assertNotIn(' 10/20 steps', text)
    _check_same(self.undisturbed, folder)


if __name__ == '__main__':
  tf.test.main()
