"""Tests for steps of input pipelines."""

import time

import tensorflow as tf

from official_selftrain.ops import pipelines


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


if __name__ == '__main__':
  tf.test.main()
