"""Ops inside boxes: which boxes are visited, and in which order."""

import numpy as np
import tensorflow as tf

from official_selftrain.augment import ops


class VisitsTest(tf.test.TestCase):
  def _visit(self, boxes):
    """A function of probability and seed: how often each of twelve pixels was visited, [1, 12, 3]."""
    op = ops.OnlyBoxesOp(ops.PixelOp(lambda patch, _: patch + 1))
    image, mask = tf.zeros([1, 12, 3], tf.uint8), tf.zeros([0, 0, 1], tf.uint8)
    graph = tf.function(
      lambda probability, seed: op.apply(
        image, mask, boxes, 0.0, tf.zeros([6]), ops.draw_visits(boxes, probability, seed)
      )[0],
      input_signature=[tf.TensorSpec([]), tf.TensorSpec([2], tf.int32)],
    )
    return lambda probability, seed: graph(probability, seed).numpy()

  def test_a_third_of_the_probability(self):
    # Twelve boxes of one pixel, 200 seeds: 2400 independent visits.
    boxes = tf.constant([[0.0, i, 1.0, i + 1.0] for i in range(12)])
    visit = self._visit(boxes)
    for probability in (0.0, 0.2, 0.8, 1.0):
      visits = np.stack([visit(probability, [i, 5])[0, :, 0] for i in range(200)])
      expected = probability / 3
      deviation = np.sqrt(expected * (1 - expected) / 2400)
      self.assertAllClose(visits.mean(), expected, atol=4 * deviation + 1e-9)
      # No box is preferred, and boxes are independent.
      self.assertAllClose(visits.mean(0), [expected] * 12, atol=16 * deviation)
      self.assertAllClose(
        np.var(visits.sum(1)), 12 * expected * (1 - expected), rtol=0.45, atol=1e-9
      )

  def test_each_box_is_visited_at_most_once(self):
    visit = self._visit(tf.constant([[0.0, i, 1.0, i + 1.0] for i in range(12)]))
    self.assertAllEqual(visit(3.0, [0, 5])[0, :, 0], [1] * 12)

  def test_order_is_random(self):
    # The last box to be flipped decides how the three pixels end.
    op = ops.registry()['Flip_Only_BBoxes']
    motion = tf.constant([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    image = tf.constant(np.arange(9, dtype=np.uint8).reshape([1, 3, 3]))
    boxes = tf.constant([[0.0, 0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 3.0]])
    none = tf.zeros([0, 0, 1], tf.uint8)
    flip = tf.function(
      lambda seed: op.apply(
        image, none, boxes, 1.0, motion, ops.draw_visits(boxes, tf.constant(3.0), seed)
      )[0]
    )
    ends = [tuple(flip(tf.constant([i, 3]))[0, :, 0].numpy()) for i in range(60)]
    self.assertEqual(set(ends), {(3, 6, 0), (6, 0, 3)})
    self.assertBetween(ends.count((3, 6, 0)), 15, 45)


if __name__ == '__main__':
  tf.test.main()
