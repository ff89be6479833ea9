"""Which worker a process is, and what it says of others; runs of several workers are in `e2e/workers_test.py`."""

import json
import os
import time
import unittest
from unittest import mock

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.core import errors
from official_selftrain.pipeline import distribution


def _runtime(index=-1, hosts='a:1,b:1,c:1', name='multi_worker_mirrored'):
  return cfg.RuntimeConfig(distribution_strategy=name, worker_hosts=hosts, task_index=index)


def _cluster(kind, index, **cluster):
  value = {'cluster': cluster, 'task': {'type': kind, 'index': index}}
  return mock.patch.dict(os.environ, {'TF_CONFIG': json.dumps(value)})


class PlaceTest(unittest.TestCase):
  def setUp(self):
    self.enterContext(mock.patch.dict(os.environ))
    os.environ.pop('TF_CONFIG', None)

  def _place(self, runtime):
    return (
      distribution.number_of_workers(runtime),
      distribution.index(runtime),
      distribution.is_chief(runtime),
    )

  def test_a_run_of_one_process_is_its_own_chief(self):
    for name in ('off', 'mirrored', 'tpu'):
      self.assertEqual(self._place(_runtime(hosts=None, name=name)), (1, 0, True))
    self.assertEqual(self._place(_runtime(hosts='a:1')), (1, 0, True))

  def test_workers_of_the_settings(self):
    self.assertEqual(self._place(_runtime(0)), (3, 0, True))
    self.assertEqual(self._place(_runtime(2)), (3, 2, False))

  def test_workers_of_a_cluster_manager(self):
    runtime = _runtime(hosts=None)
    with _cluster('worker', 0, worker=['a:1', 'b:1']):
      self.assertEqual(self._place(runtime), (2, 0, True))
    with _cluster('worker', 1, worker=['a:1', 'b:1']):
      self.assertEqual(self._place(runtime), (2, 1, False))
    with _cluster('chief', 0, chief=['a:1'], worker=['b:1', 'c:1']):
      self.assertEqual(self._place(runtime), (3, 0, True))
    with _cluster('worker', 0, chief=['a:1'], worker=['b:1', 'c:1']):
      self.assertEqual(self._place(runtime), (3, 1, False))

  def test_settings_that_do_not_fit(self):
    with self.assertRaisesRegex(errors.ConfigError, "several workers need 'multi_worker_mirrored'"):
      distribution.check(_runtime(0, name='mirrored'))
    for index in (-1, 3):
      with self.assertRaisesRegex(
        errors.ConfigError, rf'task_index is {index}: give each of the 3 workers its place'
      ):
        distribution.check(_runtime(index))
    for hosts in ('a,b', 'a:1,b:x', '"a:1,b:2"'):
      with self.assertRaisesRegex(errors.ConfigError, 'it must be host:port for each worker'):
        distribution.check(_runtime(0, hosts=hosts))
    for good in (_runtime(2), _runtime(hosts=None, name='mirrored'), _runtime(hosts='a:1')):
      distribution.check(good)

  def test_xla_without_a_number_of_gpus(self):
    for name, num_gpus, is_idle in (
      ('mirrored', 0, True),
      ('off', 0, True),
      ('mirrored', 1, False),
      ('tpu', 0, False),
    ):
      runtime = cfg.RuntimeConfig(distribution_strategy=name, num_gpus=num_gpus, enable_xla=True)
      with mock.patch.object(distribution.logging, 'warning') as warning:
        distribution.check(runtime)
      self.assertEqual(warning.call_count, int(is_idle))
      if is_idle:
        self.assertIn('enable_xla has no effect', warning.call_args.args[0])

  def test_several_workers_do_not_go_back_together(self):
    for setting, message in (
      ({'recovery_max_trials': 1}, r'^teacher\.trainer\.recovery_max_trials is 1: several workers'),
      ({'best_checkpoint_export_subdir': 'best'}, r"best_checkpoint_export_subdir is 'best'"),
    ):
      trainers = {'trainer': cfg.TrainerConfig(), 'teacher.trainer': cfg.TrainerConfig(**setting)}
      distribution.check_trainers(_runtime(hosts=None, name='mirrored'), trainers)
      with self.assertRaisesRegex(errors.ConfigError, message):
        distribution.check_trainers(_runtime(0), trainers)
    distribution.check_trainers(_runtime(0), {'trainer': cfg.TrainerConfig(recovery_max_trials=-1)})


class DevicesTest(unittest.TestCase):
  def _devices(self, number, *runtime, swaps_weights=False):
    gpus = [mock.Mock()] * number
    with (
      mock.patch.object(distribution.tf.config, 'list_physical_devices', return_value=gpus),
      mock.patch.object(distribution.distribute_utils, 'get_distribution_strategy') as made,
      mock.patch.object(distribution, '_strategy', distribution._strategy.__wrapped__),
    ):
      name, num_gpus = runtime
      settings = cfg.RuntimeConfig(distribution_strategy=name, num_gpus=num_gpus)
      distribution.build_strategy(settings, swaps_weights)
    return made.call_args.kwargs['distribution_strategy'], made.call_args.kwargs['num_gpus']

  def test_mirrored_takes_all_gpus(self):
    self.assertEqual(self._devices(4, 'mirrored', 0), ('mirrored', 4))
    self.assertEqual(self._devices(4, 'mirrored', 2), ('mirrored', 2))
    self.assertEqual(self._devices(0, 'mirrored', 0)[0], 'off')

  def test_more_gpus_than_there_are(self):
    for found, (name, num_gpus) in (
      (0, ('mirrored', 2)),
      (2, ('mirrored', 8)),
      (0, ('one_device', 1)),
      (0, ('off', 1)),
      (0, ('mirrored', 1)),
    ):
      with self.assertRaisesRegex(
        errors.ConfigError,
        rf'^runtime\.num_gpus is {num_gpus}, and TensorFlow finds {found} on this machine',
      ):
        self._devices(found, name, num_gpus)

  def test_averages_of_weights_are_trained_on_the_gpu_if_there_is_one(self):
    for name in ('off', 'mirrored'):
      for found, expected in ((0, 0), (1, 1)):
        devices = self._devices(found, name, 0, swaps_weights=True)
        self.assertEqual(devices, ('one_device', expected))


class WaitingTest(unittest.TestCase):
  def test_one_process_waits_for_nobody(self):
    order = []
    runtime = _runtime(hosts=None, name='off')
    with distribution.together(runtime), distribution.chief_first(runtime):
      order.append('body')
    self.assertEqual(order, ['body'])

  def test_the_chief_goes_first(self):
    for index, expected in ((0, ['body', 'meet']), (1, ['meet', 'body'])):
      order = []
      with mock.patch.object(distribution, 'meet', lambda _, o=order: o.append('meet')):
        with distribution.chief_first(_runtime(index)):
          order.append('body')
      self.assertEqual(order, expected)

  def test_a_wait_can_be_interrupted(self):
    def interrupt(*_, **__):
      raise KeyboardInterrupt

    with mock.patch.object(distribution.queue.Queue, 'get', interrupt):
      started = time.monotonic()
      with self.assertRaises(KeyboardInterrupt):
        distribution._in_thread(lambda: time.sleep(5))
      self.assertLess(time.monotonic() - started, 4)

  def test_errors_of_the_thread_come_back(self):
    with self.assertRaisesRegex(ValueError, 'broken'):
      distribution._in_thread(lambda: (_ for _ in ()).throw(ValueError('broken')))
    distribution._in_thread(lambda: None)

  def test_a_lost_worker_is_one_line(self):
    lost = tf.errors.UnavailableError(None, None, 'Socket closed\nmore')
    with self.assertRaisesRegex(
      errors.WorkerError, r'^another worker has stopped \(Socket closed\)\. .*last checkpoint\.$'
    ):
      with distribution.explain(_runtime(0)):
        raise lost
    # Without other workers it is, for example, storage that cannot be reached.
    with self.assertRaises(tf.errors.UnavailableError):
      with distribution.explain(_runtime(hosts=None, name='off')):
        raise lost
    with self.assertRaises(tf.errors.InvalidArgumentError):
      with distribution.explain(_runtime(0)):
        raise tf.errors.InvalidArgumentError(None, None, 'bad data')


if __name__ == '__main__':
  unittest.main()
