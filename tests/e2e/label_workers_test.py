"""Labels of one run from several processes, each with its own part of the shards."""

import os

import pytest
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pipeline import run
from tests.testing import tiny_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class LabelWorkersTest(tf.test.TestCase):
  def test_parts_become_the_labels_of_one_process(self):
    params = tiny_run.load(override=tiny_run.with_teacher())
    folder = os.path.join(tiny_run.root(), 'label-workers')
    with self.assertRaisesRegex(errors.StageChangedError, 'The stage teacher is not finished'):
      run.run(params, 'train', folder, label_worker='1/2')
    run.run(params, 'train', folder, 'teacher')
    labels = 'labels/round-1/*.tfrecord'
    expected = tiny_run.snapshot(tiny_run.finished(), labels)
    self.assertGreater(len(expected), 2)
    run.run(params, 'train', folder, label_worker='2/2')
    second = tiny_run.snapshot(folder, labels)
    self.assertLen(second, len(expected) // 2)
    self.assertContainsSubset(second.items(), expected.items())
    run.run(params, 'train', folder, label_worker='1/2')
    before = tiny_run.times(folder, labels)
    run.run(params, 'train', folder, 'labels')
    self.assertEqual(tiny_run.snapshot(folder, labels), expected)
    # The stage wrote no shard again.
    self.assertEqual(tiny_run.times(folder, labels), before)

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
