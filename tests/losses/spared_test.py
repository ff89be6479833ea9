"""Losses in which some classes do not take part, beside the same losses without these classes (NumPy)."""

import numpy as np
import tensorflow as tf

from official_selftrain.losses import detection, spared

CLASSES, SPARED = 5, (2, 4)
LEFT = [0, 1, 3]


def _logits(*shape):
  return np.random.default_rng(1).normal(0, 4, shape).astype(np.float32)


class LogitsTest(tf.test.TestCase):
  def test_a_softmax_of_the_other_classes(self):
    logits = tf.constant(_logits(2, 3, 3, CLASSES))
    with tf.GradientTape() as tape:
      tape.watch(logits)
      found = tf.nn.softmax(spared.without_classes(logits, CLASSES, SPARED))
      target = tf.reduce_sum(found[..., 1])
    left = logits.numpy()[..., LEFT].astype(np.float64)
    expected = np.exp(left) / np.exp(left).sum(-1, keepdims=True)
    self.assertAllClose(found.numpy()[..., LEFT], expected, atol=1e-6)
    self.assertAllClose(found.numpy()[..., SPARED], np.zeros([2, 3, 3, 2]), atol=1e-12)
    gradient = tape.gradient(target, logits).numpy()
    self.assertAllEqual(gradient[..., SPARED], np.zeros([2, 3, 3, 2]))
    self.assertGreater(np.abs(gradient[..., LEFT]).max(), 0.01)

  def test_each_anchor_has_its_own_classes(self):
    logits = tf.constant(_logits(2, 3, 3, 7 * CLASSES))
    found = spared.without_classes(logits, CLASSES, SPARED).numpy().reshape(2, 3, 3, 7, CLASSES)
    given = logits.numpy().reshape(found.shape)
    self.assertAllEqual(found[..., LEFT], given[..., LEFT])
    self.assertAllLess(found[..., SPARED], -30.0 + 1e-3)
    self.assertTrue((found[..., SPARED].max(-1) < given.min(-1)).all())

  def test_a_focal_loss_of_the_other_classes(self):
    logits = tf.constant(_logits(2, 50, CLASSES))
    classes = np.random.default_rng(2).integers(-1, CLASSES, [2, 50])
    weights = np.random.default_rng(3).uniform(size=[2, 50]).astype(np.float32)
    with tf.GradientTape() as tape:
      tape.watch(logits)
      found = detection.focal_loss(
        spared.without_classes(logits, CLASSES, SPARED),
        spared.without_labels(tf.constant(classes), SPARED, -1),
        tf.constant(weights),
        0.25,
        1.5,
      )
    p = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)[..., LEFT]))
    right = np.equal(classes[..., None], LEFT)
    each = np.where(right, -0.25 * (1 - p) ** 1.5 * np.log(p), -0.75 * p**1.5 * np.log(1 - p))
    self.assertAllClose(found, (each * weights[..., None]).sum(), rtol=1e-5)
    gradient = tape.gradient(found, logits).numpy()
    self.assertAllEqual(gradient[..., SPARED], np.zeros([2, 50, 2]))
    self.assertTrue((gradient[..., LEFT] != 0).all())


class LabelsTest(tf.test.TestCase):
  def test_other_labels_stay(self):
    labels = tf.constant([[0, 1, 2], [3, 4, 255]], tf.uint8)
    found = spared.without_labels(labels, SPARED, 255)
    self.assertEqual(found.dtype, tf.uint8)
    self.assertAllEqual(found, [[0, 1, 255], [3, 255, 255]])
    numbers = spared.without_labels(tf.constant([-1.0, 2.0, 3.0]), SPARED, -1)
    self.assertAllEqual(numbers, [-1.0, -1.0, 3.0])


if __name__ == '__main__':
  tf.test.main()
