"""NT-Xent: by hand, against NumPy and keras-cv, over replicas, and what must not matter."""

import keras_cv
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.core import errors
from official_selftrain.losses import ntxent
from tests.testing import replicas


def _views(count=6, size=5, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=[2, count, size]).astype(np.float32)


def _slow(first, second, temperature):
  """Loss and accuracy, one pair of views after another."""
  views = np.concatenate([first, second]).astype(np.float64)
  views /= np.linalg.norm(views, axis=1, keepdims=True)
  count = len(first)
  losses, hits = [], []
  for i in range(2 * count):
    partner = (i + count) % (2 * count)
    others = [j for j in range(2 * count) if j != i]
    similarity = {j: views[i] @ views[j] / temperature for j in others}
    total = sum(np.exp(value) for value in similarity.values())
    losses.append(-np.log(np.exp(similarity[partner]) / total))
    hits.append(max(others, key=similarity.get) == partner)
  return np.mean(losses), np.mean(hits)


class OneReplicaTest(parameterized.TestCase, tf.test.TestCase):
  def test_by_hand(self):
    # Both views of an image agree, and the two images are at a right angle: similarities 1, 0, 0.
    first = tf.constant([[2.0, 0.0], [0.0, 3.0]])
    found = ntxent.ntxent(first, 5.0 * first, temperature=1.0)
    self.assertAllClose(found.loss, np.log(1.0 + 2.0 / np.e), rtol=1e-6)
    self.assertAllClose(found.accuracy, 1.0)

  @parameterized.product(count=(2, 7), temperature=(0.1, 0.5, 2.0))
  def test_against_numpy(self, count, temperature):
    first, second = _views(count)
    found = ntxent.ntxent(first, second, temperature)
    loss, accuracy = _slow(first, second, temperature)
    self.assertAllClose(found.loss, loss, rtol=1e-5)
    self.assertAllClose(found.accuracy, accuracy)

  def test_keras_cv_has_the_sum_of_both_views_where_we_have_the_mean(self):
    first, second = _views()
    theirs = keras_cv.losses.SimCLRLoss(temperature=0.3)(first, second)
    self.assertAllClose(2.0 * ntxent.ntxent(first, second, 0.3).loss, theirs, rtol=1e-5)

  def test_order_and_role_do_not_matter(self):
    first, second = _views()
    expected = ntxent.ntxent(first, second, 0.2)
    order = np.random.default_rng(1).permutation(len(first))
    for views in ((first[order], second[order]), (second, first)):
      found = ntxent.ntxent(*views, 0.2)
      self.assertAllClose(found.loss, expected.loss, rtol=1e-5)
      self.assertAllClose(found.accuracy, expected.accuracy)

  def test_length_does_not_matter(self):
    first, second = _views()
    self.assertAllClose(
      ntxent.ntxent(100.0 * first, second, 0.2).loss,
      ntxent.ntxent(first, second, 0.2).loss,
      rtol=1e-5,
    )

  def test_half_precision_gives_float32(self):
    first, second = _views()
    found = ntxent.ntxent(tf.cast(first, tf.bfloat16), tf.cast(second, tf.bfloat16), 0.1)
    self.assertEqual((found.loss.dtype, found.accuracy.dtype), (tf.float32, tf.float32))
    self.assertAllClose(found.loss, _slow(first, second, 0.1)[0], rtol=0.05)

  def test_compiles(self):
    first, second = map(tf.constant, _views())
    compiled = tf.function(lambda *views: ntxent.ntxent(*views, 0.1).loss, jit_compile=True)
    self.assertAllClose(compiled(first, second), ntxent.ntxent(first, second, 0.1).loss, rtol=1e-5)

  def test_errors(self):
    first, second = _views()
    for temperature in (0.0, -1.0, float('nan')):
      with self.assertRaisesRegex(errors.ConfigError, f'temperature is {temperature}: it must be'):
        ntxent.ntxent(first, second, temperature)
    with self.assertRaisesRegex(ValueError, r'shapes \(6, 5\) and \(4, 5\): they must be equal'):
      ntxent.ntxent(first, second[:4], 0.1)
    with self.assertRaisesRegex(ValueError, 'A batch of one image has no other images'):
      ntxent.ntxent(first[:1], second[:1], 0.1)


class TwoReplicasTest(tf.test.TestCase):
  def test_loss_accuracy_and_gradients_are_those_of_the_whole_batch(self):
    first, second = _views(count=8, size=4)
    weights = np.random.default_rng(2).normal(size=[4, 3]).astype(np.float32)

    def step(kernel, one, two, share):
      with tf.GradientTape() as tape:
        found = ntxent.ntxent(one @ kernel, two @ kernel, 0.2)
        loss = found.loss * share
      return found.loss, found.accuracy, tape.gradient(loss, kernel)

    expected = step(tf.Variable(weights), first, second, 1.0)
    strategy = replicas.two_replicas()
    with strategy.scope():
      kernel = tf.Variable(weights)
    halves = [
      strategy.experimental_distribute_values_from_function(
        lambda context, views=views: tf.constant(
          views[4 * context.replica_id_in_sync_group : 4 * context.replica_id_in_sync_group + 4]
        )
      )
      for views in (first, second)
    ]

    @tf.function
    def distributed(one, two):
      return strategy.run(lambda a, b: step(kernel, a, b, 0.5), args=(one, two))

    loss, accuracy, gradient = distributed(*halves)
    mean, total = tf.distribute.ReduceOp.MEAN, tf.distribute.ReduceOp.SUM
    self.assertAllClose(strategy.reduce(mean, loss, None), expected[0], rtol=1e-5)
    self.assertAllClose(strategy.reduce(mean, accuracy, None), expected[1])
    self.assertAllClose(strategy.reduce(total, gradient, None), expected[2], rtol=1e-4, atol=1e-6)
    # The halves by themselves would have fewer images to differ from.
    alone = ntxent.ntxent(first[:4] @ weights, second[:4] @ weights, 0.2)
    self.assertNotAllClose(alone.loss, strategy.experimental_local_results(loss)[0], rtol=1e-3)


if __name__ == '__main__':
  tf.test.main()
