"""The authors' box loss: worked by hand, against NumPy, and against the Model Garden's."""

import numpy as np
import tensorflow as tf

from official_selftrain.losses import detection


def _random(seed, dtype=np.float32):
  """Outputs, targets and weights of 2 images with 6 x 4 and 3 x 2 cells and 2 anchors; half the targets are 0."""
  rng = np.random.default_rng(seed)
  shapes = {'3': [2, 6, 4, 8], '4': [2, 3, 2, 8]}
  outputs = {k: rng.normal(0, 0.3, shape).astype(dtype) for k, shape in shapes.items()}
  targets = {
    k: (rng.normal(0, 0.3, shape) * rng.integers(0, 2, shape)).astype(np.float32)
    for k, shape in shapes.items()
  }
  return outputs, targets, rng.integers(0, 2, [2, 60]).astype(np.float32)


def _loss(outputs, targets, weights, delta=0.1):
  outputs, targets = ({k: tf.constant(v) for k, v in each.items()} for each in (outputs, targets))
  labels = {'box_targets': targets, 'box_weights': tf.constant(weights)}
  return detection.original_box_loss(outputs, labels, delta)


def _by_loops(outputs, targets, weights, delta):
  total = 0.0
  for i, of_image in enumerate(weights):
    flat = [
      np.concatenate([v[i].reshape([-1, 4]) for v in each.values()]) for each in (outputs, targets)
    ]
    for anchor in np.flatnonzero(of_image):
      for output, target in zip(flat[0][anchor], flat[1][anchor], strict=True):
        if target != 0.0:
          error = abs(float(output) - float(target))
          total += error**2 / 2 if error <= delta else delta * (error - delta / 2)
  return total / (4 * (weights.sum() + 1))


class OriginalBoxLossTest(tf.test.TestCase):
  def test_by_hand(self):
    # Two anchors, the first positive. Differences: none that counts, 0.04 below delta, 0.3 and -0.5 above it.
    outputs = {'3': np.array([[[[0.7, 0.24, 0.5, -1.0, 9.0, 9.0, 9.0, 9.0]]]], np.float32)}
    targets = {'3': np.array([[[[0.0, 0.2, 0.2, -0.5, 1.0, 1.0, 1.0, 1.0]]]], np.float32)}
    loss = _loss(outputs, targets, np.array([[1.0, 0.0]], np.float32))
    expected = 0.04**2 / 2 + 0.1 * (0.3 - 0.05) + 0.1 * (0.5 - 0.05)
    self.assertAllClose(loss, expected / (4 * 2), rtol=1e-5)

  def test_equals_loops(self):
    for delta in (0.1, 0.5):
      inputs = _random(1)
      self.assertAllClose(_loss(*inputs, delta), _by_loops(*inputs, delta), rtol=1e-5)

  def test_equals_the_huber_loss_where_no_target_is_0(self):
    outputs, targets, weights = _random(2)
    targets = {k: np.where(v == 0.0, np.float32(0.01), v) for k, v in targets.items()}
    flat = [
      np.concatenate([v.reshape([2, -1, 4]) for v in each.values()], axis=1)
      for each in (targets, outputs)
    ]
    huber = tf.keras.losses.Huber(0.1, reduction=tf.keras.losses.Reduction.SUM)
    expected = huber(*flat, sample_weight=weights / (weights.sum() + 1))
    self.assertAllClose(_loss(outputs, targets, weights), expected, rtol=1e-5)
    # And differs where targets are 0.
    self.assertLess(_loss(*_random(2)), 0.7 * expected)

  def test_levels_go_with_the_weights_in_ascending_order(self):
    outputs, targets, weights = _random(3)
    swapped = [dict(reversed(each.items())) for each in (outputs, targets)]
    self.assertAllEqual(_loss(*swapped, weights), _loss(outputs, targets, weights))

  def test_half_precision_outputs_and_no_positives(self):
    outputs, targets, weights = _random(4, np.float16)
    loss = _loss(outputs, targets, weights)
    self.assertEqual(loss.dtype, tf.float32)
    self.assertAllClose(loss, _by_loops(outputs, targets, weights, 0.1), rtol=1e-5)
    self.assertAllEqual(_loss(outputs, targets, np.zeros_like(weights)), 0.0)

  def test_gradient_by_hand(self):
    outputs = tf.Variable([[[[0.7, 0.24, 0.5, -1.0]]]])
    labels = {
      'box_targets': {'3': tf.constant([[[[0.0, 0.2, 0.2, -0.5]]]])},
      'box_weights': tf.ones([1, 1]),
    }
    with tf.GradientTape() as tape:
      loss = detection.original_box_loss({'3': outputs}, labels, 0.1)
    expected = np.array([[[[0.0, 0.04, 0.1, -0.1]]]]) / 8
    self.assertAllClose(tape.gradient(loss, outputs), expected, rtol=1e-4)


if __name__ == '__main__':
  tf.test.main()
