"""Tests for steps of input pipelines."""

import inspect
import time
from unittest import mock

import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops

from official_selftrain.ops import pipelines
from tests.testing import replicas


def setUpModule():
  replicas.make_devices()


class MapInOrderTest(tf.test.TestCase):
  def test_results_are_in_the_order_of_the_elements(self):
    def later_the_smaller(i):
      def wait(value):
        time.sleep(0.01 * (7 - int(value) % 8))
        return value

      return 10 * tf.ensure_shape(tf.py_function(wait, [i], tf.int64), [])

    found = pipelines.map_in_order(tf.data.Dataset.range(24), later_the_smaller)
    self.assertEqual([int(value) for value in found], list(range(0, 240, 10)))

  def test_autograph_stays_out(self):
    dataset = tf.data.Dataset.range(3)
    with self.assertRaisesRegex(tf.errors.OperatorNotAllowedInGraphError, 'as a Python .bool.'):
      pipelines.map_in_order(dataset, lambda i: i if i > 1 else -i)


class WithoutTunerTest(tf.test.TestCase):
  def test_what_is_made_of_it_has_none(self):
    dataset = pipelines.without_tuner(tf.data.Dataset.range(3))
    zipped = tf.data.Dataset.zip((tf.data.Dataset.range(3), dataset.batch(2).prefetch(1)))
    self.assertIs(zipped.options().autotune.enabled, False)
    self.assertAllEqual(list(dataset.as_numpy_iterator()), [0, 1, 2])

  def test_nor_have_the_iterators_of_devices(self):
    def options():
      """Whether each dataset that a strategy makes an iterator of, in the order of making, has a tuner."""
      found = []
      iterate = tf.data.Dataset.__iter__

      def record(dataset):
        found.append(dataset.options().autotune.enabled)
        return iterate(dataset)

      with mock.patch.object(tf.data.Dataset, '__iter__', record):
        batches = strategy.distribute_datasets_from_function(
          lambda _: pipelines.without_tuner(tf.data.Dataset.range(6).batch(2).prefetch(1))
        )
        iterator = iter(batches)
      values = strategy.experimental_local_results(next(iterator))
      self.assertAllEqual(tf.concat(values, 0), [0, 1, 2, 3])
      return found

    strategy = replicas.two_replicas()
    name = 'tensorflow.python.data.ops.multi_device_iterator_ops._create_device_dataset'
    original = inspect.unwrap(multi_device_iterator_ops._create_device_dataset)
    with mock.patch(name, original):
      # Why the function is replaced: no option of ours reaches these datasets.
      self.assertEqual(options(), [None, None])
      pipelines.remove_tuner_of_devices()
      self.assertEqual(options(), [False, False])
      replaced = multi_device_iterator_ops._create_device_dataset
      pipelines.remove_tuner_of_devices()
      self.assertIs(multi_device_iterator_ops._create_device_dataset, replaced)


if __name__ == '__main__':
  tf.test.main()
