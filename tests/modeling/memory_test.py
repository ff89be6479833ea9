"""The rule of memory on graphs small enough to count by hand."""

import dataclasses

import tensorflow as tf

from official_selftrain.modeling import memory


def _images(values, dtype=tf.float32):
  return tf.TensorSpec([memory.BATCH, values], dtype)


def _weights(*shape):
  with memory.without_values():
    return tf.Variable(lambda: tf.zeros(shape), shape=tf.TensorShape(shape), dtype=tf.float32)


class ActivationsTest(tf.test.TestCase):
  def test_a_layer_with_relu(self):
    kernel = tf.Variable(tf.zeros([10, 6]))

    def loss(images):
      return tf.reduce_sum(tf.nn.relu(tf.matmul(images, kernel)))

    found = memory.activations(loss, _images(10), [kernel])
    # Images for the kernel's gradient and the output of relu for its own; not what is between the two.
    self.assertEqual(found.kept, (10 + 6) * 4)
    # The images are there from the start, with them either the two outputs, or the last and two gradients.
    self.assertEqual(found.peak, (10 + 6 + 6 + 6) * 4)
    self.assertEqual(found.shared, 0)

  def test_a_sum_keeps_nothing(self):
    first, second = tf.Variable(tf.zeros([10])), tf.Variable(tf.zeros([10]))

    def loss(images):
      return tf.reduce_sum(images + first + second)

    self.assertEqual(memory.activations(loss, _images(10), [first, second]).kept, 0)

  def test_views_cost_nothing(self):
    kernel = tf.Variable(tf.zeros([10, 6]))

    def loss(images):
      hidden = tf.nn.relu(tf.matmul(tf.identity(tf.reshape(images, [-1, 10])), kernel))
      return tf.reduce_sum(tf.reshape(hidden, [-1, 3]))

    self.assertEqual(memory.activations(loss, _images(10), [kernel]).kept, (10 + 6) * 4)

  def test_half_precision_halves_images_and_keeps_a_copy_of_the_kernel(self):
    kernel = tf.Variable(tf.zeros([10, 6]))

    def loss(images):
      hidden = tf.nn.relu(tf.matmul(images, tf.cast(kernel, tf.bfloat16)))
      other = tf.matmul(hidden, tf.cast(kernel, tf.bfloat16), transpose_b=True)
      return tf.reduce_sum(tf.cast(other, tf.float32))

    found = memory.activations(loss, _images(10, tf.bfloat16), [kernel])
    self.assertEqual(found.kept, (10 + 6) * 2)
    # The first product's copy is not read again, because nobody asks for the gradient of the images.
    self.assertEqual(found.shared, 60 * 2)

  def test_no_value_is_needed(self):
    kernel = _weights(100_000, 100_000)
    self.assertEqual(memory.num_values([kernel]), 10**10)

    def loss(images):
      return tf.reduce_sum(tf.matmul(images, kernel))

    self.assertEqual(memory.activations(loss, _images(100_000), [kernel]).kept, 400_000)


class EstimateTest(tf.test.TestCase):
  def test_devices_share_the_images(self):
    estimate = memory.Estimate(fixed=1000, per_image=10.0, batch=64)
    self.assertEqual([estimate.on(n) for n in (1, 2, 3, 64)], [1640, 1320, 1220, 1010])

  def test_fewest_devices(self):
    estimate = memory.Estimate(fixed=1000, per_image=10.0, batch=64)
    self.assertEqual([estimate.fewest(size) for size in (1640, 1639, 1100, 1010)], [1, 2, 7, 64])
    self.assertIsNone(estimate.fewest(1009))
    for size in (1639, 1100, 1010):
      self.assertLessEqual(estimate.on(estimate.fewest(size)), size)
      self.assertGreater(estimate.on(estimate.fewest(size) - 1), size)

  def test_parts_of_a_batch(self):
    whole = memory.Estimate(fixed=1000, per_image=10.0, batch=64, gradients=100, divides=32)
    parts = dataclasses.replace(whole, parts=4)
    # A quarter of the images at a time, and the sum of their gradients.
    self.assertEqual([whole.on(2), parts.on(2)], [1320, 1000 + 100 + 80])
    self.assertEqual([parts.fewest(1180), parts.fewest(1179)], [2, 3])
    self.assertIsNone(parts.fewest(1109))

  def test_fewest_parts(self):
    estimate = memory.Estimate(fixed=1000, per_image=10.0, batch=64, gradients=100, divides=32)
    for limit, devices, expected in (
      (1640, 1, 1), (1639, 1, 2), (1420, 1, 2), (1419, 1, 4), (1320, 2, 1), (1260, 2, 2), (1120, 1, 32),
      (1119, 1, None), (1110, 3, None),
    ):  # fmt: skip
      parts = estimate.fewest_parts(limit, devices)
      self.assertEqual(parts, expected, (limit, devices))
      if parts:
        self.assertLessEqual(dataclasses.replace(estimate, parts=parts).on(devices), limit)


if __name__ == '__main__':
  tf.test.main()
