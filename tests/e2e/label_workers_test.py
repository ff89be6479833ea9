"""Labels of one run from several processes, each with its own part of the shards, and from several devices."""

import os
from unittest import mock

import pytest
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pipeline import distribution, run
from tests.testing import replicas, tiny_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_LABELS = 'labels/round-1/*.tfrecord'


class LabelWorkersTest(tf.test.TestCase):
  def test_parts_become_the_labels_of_one_process(self):
    params = tiny_run.load(override=tiny_run.with_teacher())
    folder = os.path.join(tiny_run.root(), 'label-workers')
    with self.assertRaisesRegex(errors.StageChangedError, 'The stage teacher is not finished'):
      run.run(params, 'train', folder, label_worker='1/2')
    run.run(params, 'train', folder, 'teacher')
    expected = tiny_run.snapshot(tiny_run.finished(), _LABELS)
    self.assertGreater(len(expected), 2)
    run.run(params, 'train', folder, label_worker='2/2')
    second = tiny_run.snapshot(folder, _LABELS)
    self.assertLen(second, len(expected) // 2)
    self.assertContainsSubset(second.items(), expected.items())
    run.run(params, 'train', folder, label_worker='1/2')
    before = tiny_run.times(folder, _LABELS)
    run.run(params, 'train', folder, 'labels')
    self.assertEqual(tiny_run.snapshot(folder, _LABELS), expected)
    # The stage wrote no shard again.
    self.assertEqual(tiny_run.times(folder, _LABELS), before)

  def _given_teacher(self, experiment, folder, override):
    teacher = os.path.join(tiny_run.finished(experiment), 'teacher')
    params = tiny_run.load(experiment, f'{override},teacher.checkpoint={teacher}')
    run.run(params, 'train', folder, 'teacher')
    return params

  def assert_two_devices_label_alike(self, name, experiment, expected, override=''):
    override = ','.join(filter(None, ['runtime.distribution_strategy=mirrored', override]))
    folder = os.path.join(tiny_run.root(), 'label-devices', f'{experiment}-{name}')
    params = self._given_teacher(experiment, folder, override)
    strategy = replicas.two_replicas()
    with mock.patch.object(distribution, 'build_strategy', return_value=strategy) as build:
      run.run(params, 'train', folder, 'labels')
    build.assert_called()
    self.assertNotEmpty(expected)
    self.assertEqual(tiny_run.snapshot(folder, _LABELS), expected)

  def test_two_devices_give_the_boxes_of_one(self):
    expected = tiny_run.snapshot(tiny_run.finished(), _LABELS)
    self.assert_two_devices_label_alike('boxes', tiny_run.SELFTRAIN, expected)

  def test_two_devices_fuse_views_as_one_does(self):
    views = 'labels.scales=[0.75,1.0,1.5]'
    folder = os.path.join(tiny_run.root(), 'label-views')
    params = self._given_teacher(tiny_run.SELFTRAIN, folder, views)
    run.run(params, 'train', folder, 'labels')
    expected = tiny_run.snapshot(folder, _LABELS)
    # Other boxes than those of one view.
    self.assertNotEqual(expected, tiny_run.snapshot(tiny_run.finished(), _LABELS))
    self.assert_two_devices_label_alike('views', tiny_run.SELFTRAIN, expected, views)

  def test_two_devices_give_the_masks_of_one(self):
    expected = tiny_run.snapshot(tiny_run.finished(tiny_run.SEGMENTATION), _LABELS)
    self.assert_two_devices_label_alike('masks', tiny_run.SEGMENTATION, expected)

  def test_messages(self):
    params = tiny_run.load(override=tiny_run.with_teacher())
    for wrong in ('0/2', '3/2', '1', 'a/b', '1/0'):
      with self.assertRaisesRegex(errors.ConfigError, r'it must be i/n with i from 1 to n'):
        run.run(params, 'train', 'nowhere', label_worker=wrong)
    with self.assertRaisesRegex(errors.ConfigError, '--stage=student makes no labels'):
      run.run(params, 'train', 'nowhere', 'student', label_worker='1/2')
    with self.assertRaisesRegex(errors.ConfigError, 'for self-training experiments'):
      run.run(tiny_run.load(tiny_run.SUPERVISED), 'train', 'nowhere', label_worker='1/2')
    self.assertFalse(os.path.exists('nowhere'))


if __name__ == '__main__':
  tf.test.main()
