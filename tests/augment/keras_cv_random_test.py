"""Stateless stand-in for generators: what a number depends on, and on what not."""

import numpy as np
import tensorflow as tf

from official_selftrain.augment import keras_cv_random

SEED = np.array([3, 5], np.int32)


def _drawn(seed, function):
  draws = keras_cv_random.Draws()
  with draws.seeded(seed):
    return function(draws)


class DrawsTest(tf.test.TestCase):
  def test_a_seed_gives_its_numbers(self):
    def both(draws):
      return draws.uniform([4]), draws.uniform([4])

    first, second = _drawn(SEED, both)
    self.assertAllEqual(_drawn(SEED, both), [first, second])
    self.assertNotAllClose(first, second)
    self.assertNotAllClose(_drawn(SEED + 1, both)[0], first)

  def test_a_scope_does_not_change_what_follows(self):
    def with_and_without(salts):
      def function(draws):
        draws.uniform([])
        inner = []
        for salt in salts:
          with draws.scope(salt):
            inner.append(draws.uniform([]))
        return inner, draws.uniform([])

      return _drawn(SEED, function)

    none, after = with_and_without([])
    one, after_one = with_and_without([7])
    two, after_two = with_and_without([8, 7])
    self.assertEqual((none, after), ([], after_one))
    self.assertEqual(after_one, after_two)
    # Nor does one scope change another.
    self.assertEqual(one[0], two[1])
    self.assertNotEqual(two[0], two[1])

  def test_a_scope_after_another_number_has_other_numbers(self):
    def function(draws):
      results = []
      for _ in range(2):
        draws.uniform([])
        with draws.scope(1):
          results.append(draws.uniform([]))
      return results

    self.assertNotEqual(*_drawn(SEED, function))

  def test_distributions(self):
    def function(draws):
      return (
        draws.uniform([2000], -1.0, 3.0),
        draws.uniform([2000], 2, 5, tf.int32, seed=None),
        draws.normal([2000], 1.0, 0.5),
        draws.gamma([2000], [1.0, 4.0]),
        draws.shuffle(tf.range(50), seed=3),
      )

    uniform, whole, normal, gamma, order = _drawn(SEED, function)
    self.assertAllInRange(uniform, -1.0, 3.0)
    self.assertAllClose(np.mean(uniform), 1.0, atol=0.1)
    self.assertEqual(set(whole.numpy()), {2, 3, 4})
    self.assertAllClose([np.mean(normal), np.std(normal)], [1.0, 0.5], atol=0.05)
    self.assertAllClose(np.mean(gamma, 0), [1.0, 4.0], atol=0.2)
    self.assertAllEqual(np.sort(order), np.arange(50))
    self.assertNotAllEqual(order, np.arange(50))

  def test_loops(self):
    draws = keras_cv_random.Draws()

    def turns(scoped):
      @tf.function(autograph=False)
      def graph(seed):
        def body(turn, numbers):
          if not scoped:
            return turn + 1, numbers.write(turn, draws.uniform([]))
          with draws.scope(turn):
            return turn + 1, numbers.write(turn, draws.uniform([]))

        with draws.seeded(seed):
          numbers = tf.TensorArray(tf.float32, 3)
          return tf.while_loop(lambda turn, _: turn < 3, body, [0, numbers])[1].stack()

      return graph

    numbers = turns(True)(SEED).numpy()
    self.assertLen(set(numbers), 3)
    with draws.seeded(SEED):
      eager = []
      for turn in range(3):
        with draws.scope(tf.constant(turn)):
          eager.append(draws.uniform([]))
    self.assertAllEqual(numbers, eager)
    with self.assertRaisesRegex(NotImplementedError, 'a random number inside a loop'):
      turns(False)(SEED)

  def test_without_a_seed(self):
    with self.assertRaisesRegex(RuntimeError, 'inside `seeded` only'):
      keras_cv_random.Draws().uniform([])


def _bare(shape):
  return tf.random.uniform(shape), tf.constant(1)


def _fixed(shape):
  return tf.zeros(shape)


class ReboundTest(tf.test.TestCase):
  def test_bare_calls_of_tensorflow_follow_the_seed(self):
    draws = keras_cv_random.Draws()
    copy = keras_cv_random.rebound(_bare, draws)
    results = []
    for _ in range(2):
      with draws.seeded(SEED):
        results.append(copy([5])[0])
    self.assertAllEqual(*results)
    with draws.seeded(SEED):
      self.assertAllEqual(results[0], draws.uniform([5]))

  def test_other_functions_are_left_alone(self):
    self.assertIsNone(keras_cv_random.rebound(_fixed, keras_cv_random.Draws()))


if __name__ == '__main__':
  tf.test.main()
