"""What is checked of a run before its first training: batches of all trainings, unlabelled files."""

import os
import tempfile
import unittest
from unittest import mock

import tensorflow as tf

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, errors
from official_selftrain.pipeline import distribution, first_checks, graph, jobs

_ALL = ('pretraining', 'teacher', 'labels', 'control', 'student', 'report')


class CheckBatchesTest(unittest.TestCase):
  def assert_accepted(self, override, replicas=4, kinds=_ALL, evaluates=True):
    params = config.load_experiment('retinanet_selftrain', [], override).replace()
    made = jobs.Jobs(params, 'runs/mine')
    stages = [graph.Stage(kind=kind) for kind in kinds]
    strategy = mock.Mock(num_replicas_in_sync=replicas)
    with mock.patch.object(distribution, 'build_strategy', return_value=strategy):
      first_checks.check_batches(made, stages, evaluates)

  def assert_refused(self, message, *arguments, **named):
    with self.assertRaises(errors.ConfigError) as caught:
      self.assert_accepted(*arguments, **named)
    self.assertEqual(str(caught.exception), message)

  def test_batches_that_all_replicas_share(self):
    self.assert_accepted('init=supervised')
    self.assert_accepted('init=simclr')
    # Weights that are imported: nothing is trained.
    self.assert_accepted('init=imagenet,pretraining.checkpoint=weights.npz')

  def test_what_trains_nothing_needs_no_devices(self):
    params = config.load_experiment('retinanet_selftrain').replace()
    made = jobs.Jobs(params, 'runs/mine')
    with mock.patch.object(distribution, 'build_strategy', side_effect=AssertionError('built')):
      first_checks.check_batches(
        made, [graph.Stage(kind=kind) for kind in ('report', 'export')], True
      )
      with self.assertRaisesRegex(AssertionError, 'built'):
        first_checks.check_batches(made, [graph.Stage(kind='student')], True)

  def test_the_settings_that_decide_are_named(self):
    batch = 'global_batch_size'
    self.assert_refused(
      f'student: task.train_data.{batch} is 6: on 4 replicas it must be a multiple of 4.',
      f'task.train_data.{batch}=6,task.pseudo_data.{batch}=10',
    )
    self.assert_refused(
      f'teacher: teacher.{batch} (0 takes that of both streams together) is 10: on 4 replicas it must be a '
      'multiple of 4.',
      f'task.train_data.{batch}=4,task.pseudo_data.{batch}=6',
    )
    self.assert_refused(
      f'pretraining: pretraining.supervised.task.validation_data.{batch} is 100: on 8 replicas it must be a '
      'multiple of 8.',
      'init=supervised',
      8,
    )

  def test_a_given_teacher_is_not_trained_and_without_evaluation_its_batch_is_not_used(self):
    odd = 'teacher.global_batch_size=7'
    self.assert_refused(
      'teacher: teacher.global_batch_size (0 takes that of both streams together) is 7: on 4 replicas it must be a '
      'multiple of 4.',
      odd,
    )
    self.assert_accepted(f'{odd},teacher.checkpoint=there')
    odd = 'task.validation_data.global_batch_size=7'
    self.assert_accepted(odd, evaluates=False)
    with self.assertRaisesRegex(errors.ConfigError, '^teacher: task.validation_data.global_batch'):
      self.assert_accepted(odd)


class UnlabelledTest(unittest.TestCase):
  def test_files_that_the_labeller_would_refuse_are_refused_before_the_teacher_is_trained(self):
    with tempfile.TemporaryDirectory() as folder:
      paths = [os.path.join(folder, name) for name in ('a/x', 'b/x', 'a/y')]
      for path in paths:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with tf.io.TFRecordWriter(path) as writer:
          writer.write(b'record')
      open(paths[2], 'wb').close()
      params = config.load_experiment('retinanet_selftrain', [], '').replace()
      for chosen, message in (
        (paths[:1], None),
        (paths[:2], '2 unlabelled image files are called x'),
        ([paths[0], paths[2]], 'a/y holds no record'),
      ):
        params.task.pseudo_data.input_path = ','.join(chosen)
        if message is None:
          self.assertIsNone(first_checks._check_unlabelled(params))
          continue
        with self.assertRaisesRegex(errors.DataError, message):
          first_checks._check_unlabelled(params)


if __name__ == '__main__':
  unittest.main()
