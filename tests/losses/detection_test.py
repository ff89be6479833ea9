"""Focal loss and the authors' box loss: worked by hand, against NumPy, and against the Model Garden's."""

import gc
import weakref

import numpy as np
import tensorflow as tf
from official.vision.losses import focal_loss

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


def _focal_inputs(seed, scale=4.0):
  """Logits of 2 images with 50 anchors and 5 classes; some anchors have no class, some no weight."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(-1.0, scale, [2, 50, 5]).astype(np.float32)
  return logits, rng.integers(-1, 5, [2, 50]), rng.choice([0.0, 0.5, 1.0], [2, 50]).astype('f')


def _with_gradient(loss, logits):
  """Value and gradient by the logits, in a graph."""

  @tf.function
  def both(x):
    with tf.GradientTape() as tape:
      tape.watch(x)
      value = loss(x)
    return value, tape.gradient(value, x)

  return [each.numpy() for each in both(tf.constant(logits))]


def _slopes(loss, logits):
  """Slopes of a loss at some of the logits of `_focal_inputs`, by differences."""
  for place in [(0, 0, 0), (0, 3, 2), (1, 17, 4), (1, 49, 1)]:
    step = np.zeros(logits.shape)
    step[place] = 1e-5
    yield place, (loss(logits + step) - loss(logits - step)) / 2e-5


def _focal_by_numpy(logits, classes, weights, alpha, gamma):
  """In float64, as in the paper: -a (1 - p_t)^gamma log(p_t)."""
  right = classes[..., None] == np.arange(logits.shape[-1])
  p = 1 / (1 + np.exp(-logits.astype(np.float64)))
  p_t, a_t = np.where(right, p, 1 - p), np.where(right, alpha, 1 - alpha)
  return (-a_t * (1 - p_t) ** gamma * np.log(p_t) * weights[..., None]).sum()


class FocalLossTest(tf.test.TestCase):
  def test_by_hand(self):
    # p = 3/4 for the right class and 1/4 for a wrong one: both have p_t = 3/4.
    logits = np.array([[[np.log(3.0), -np.log(3.0)]]], np.float32)
    value, gradient = _with_gradient(
      lambda x: detection.focal_loss(x, np.array([[0]]), np.array([[2.0]], np.float32), 0.25, 2.0),
      logits,
    )
    entropy = -np.log(0.75)
    self.assertAllClose(value, 2.0 * (0.25 + 0.75) * 0.25**2 * entropy, rtol=1e-5)
    slope = 2.0 * 0.25**2 * (0.25 + 2.0 * 0.75 * entropy)
    self.assertAllClose(gradient, [[[-0.25 * slope, 0.75 * slope]]], rtol=1e-5)

  def test_value_and_gradient_are_those_of_the_model_garden(self):
    for seed, (alpha, gamma) in enumerate([(0.25, 1.5), (0.25, 2.0), (0.5, 1.0), (0.9, 3.0)]):
      logits, classes, weights = _focal_inputs(seed)
      stock = focal_loss.FocalLoss(alpha, gamma, tf.keras.losses.Reduction.SUM)
      expected = _with_gradient(
        lambda x, c=classes, w=weights, f=stock: f(tf.one_hot(c, 5), x, sample_weight=w), logits
      )
      found = _with_gradient(
        lambda x, c=classes, w=weights, a=alpha, g=gamma: detection.focal_loss(x, c, w, a, g),
        logits,
      )
      for ours, theirs in zip(found, expected, strict=True):
        self.assertAllClose(ours, theirs, rtol=1e-5, atol=1e-6)
      self.assertAllClose(found[0], _focal_by_numpy(logits, classes, weights, alpha, gamma), 1e-5)

  def test_gradient_is_the_slope_of_the_value(self):
    logits, classes, weights = _focal_inputs(7, scale=2.0)
    loss = lambda x: _focal_by_numpy(x, classes, weights, 0.25, 1.5)  # noqa: E731
    _, gradient = _with_gradient(
      lambda x: detection.focal_loss(x, classes, weights, 0.25, 1.5), logits
    )
    for place, slope in _slopes(loss, logits):
      self.assertAllClose(gradient[place], slope, rtol=1e-4, atol=1e-6)

  def test_logits_that_are_sure_and_wrong_or_right(self):
    logits = np.array([[[200.0, -200.0], [-200.0, 200.0]]], np.float32)
    value, gradient = _with_gradient(
      lambda x: detection.focal_loss(x, np.array([[0, 0]]), np.ones([1, 2], 'f'), 0.25, 1.5), logits
    )
    # The first anchor is right about both classes; the second is wrong about both, by 200.
    self.assertAllClose(value, 0.25 * 200.0 + 0.75 * 200.0, rtol=1e-6)
    self.assertAllClose(gradient, [[[0.0, 0.0], [-0.25, 0.75]]], atol=1e-6)

  def test_nothing_keeps_the_graph_of_a_step(self):
    logits, classes, weights = _focal_inputs(9)

    @tf.function
    def step(x):
      with tf.GradientTape() as tape:
        tape.watch(x)
        loss = detection.focal_loss(x, classes, weights, 0.25, 1.5)
      return tape.gradient(loss, x)

    graph = weakref.ref(step.get_concrete_function(tf.constant(logits)).graph)
    self.assertIsNotNone(graph())
    del step
    gc.collect()
    self.assertIsNone(graph())

  def test_gamma_0_is_cross_entropy(self):
    logits, classes, weights = _focal_inputs(8)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.one_hot(classes, 5), logits)
    found = detection.focal_loss(tf.constant(logits), classes, weights, 0.5, 0.0)
    self.assertAllClose(found, 0.5 * tf.reduce_sum(entropy * weights[..., None]), rtol=1e-5)


def _soft_by_numpy(logits, classes, scores, alpha, gamma):
  """In float64, as Li et al. (2020) write it, with the balance of the focal loss."""
  t = np.where(classes[..., None] == np.arange(logits.shape[-1]), scores[..., None], 0.0)
  p = 1 / (1 + np.exp(-logits.astype(np.float64)))
  entropy = -t * np.log(p) - (1 - t) * np.log(1 - p)
  return ((t * alpha + (1 - t) * (1 - alpha)) * np.abs(t - p) ** gamma * entropy).sum()


class SoftFocalLossTest(tf.test.TestCase):
  def _scores(self, seed):
    return np.random.default_rng(seed).uniform(0.1, 1.0, [2, 50]).astype(np.float32)

  def test_by_hand(self):
    # p = 3/4 in both. The target of the first class is 1/2, that of the second 0.
    logits = np.full([1, 1, 2], np.log(3.0), np.float32)
    weights = np.array([[2.0]], np.float32)
    value, gradient = _with_gradient(
      lambda x: detection.focal_loss(
        x, np.array([[0]]), weights, 0.25, 2.0, np.array([[0.5]], np.float32)
      ),
      logits,
    )
    half, none = -0.5 * np.log(0.75) - 0.5 * np.log(0.25), -np.log(0.25)
    self.assertAllClose(value, 2.0 * (0.5 * 0.25**2 * half + 0.75 * 0.75**2 * none), rtol=1e-5)
    first = 0.5 * (0.25**3 + 2 * 0.25 * 0.75 * 0.25 * half)
    second = 0.75 * (0.75**3 + 2 * 0.75 * 0.75 * 0.25 * none)
    self.assertAllClose(gradient, [[[2.0 * first, 2.0 * second]]], rtol=1e-5)

  def test_scores_of_1_are_hard_labels(self):
    for seed, (alpha, gamma) in enumerate([(0.25, 1.5), (0.25, 2.0), (0.5, 0.0), (0.9, 3.0)]):
      logits, classes, weights = _focal_inputs(seed)
      hard, soft = (
        _with_gradient(
          lambda x, s=scores, c=classes, w=weights, a=alpha, g=gamma: detection.focal_loss(
            x, c, w, a, g, s
          ),
          logits,
        )
        for scores in (None, np.ones([2, 50], np.float32))
      )
      for one, other in zip(hard, soft, strict=True):
        self.assertAllClose(one, other, rtol=1e-4, atol=1e-5)

  def test_value_and_slope_are_those_of_numpy(self):
    for seed, (alpha, gamma) in enumerate([(0.25, 1.5), (0.25, 2.0), (0.5, 1.0), (0.9, 3.0)]):
      logits, classes, _ = _focal_inputs(seed, scale=2.0)
      scores = self._scores(seed)
      weights = np.ones([2, 50], np.float32)
      value, gradient = _with_gradient(
        lambda x, c=classes, w=weights, a=alpha, g=gamma, s=scores: detection.focal_loss(
          x, c, w, a, g, s
        ),
        logits,
      )
      by_numpy = lambda x, c=classes, s=scores, a=alpha, g=gamma: _soft_by_numpy(x, c, s, a, g)  # noqa: E731
      self.assertAllClose(value, by_numpy(logits), rtol=1e-4)
      for place, slope in _slopes(by_numpy, logits):
        self.assertAllClose(gradient[place], slope, rtol=1e-3, atol=1e-5)

  def test_it_is_least_where_the_probability_is_the_score(self):
    scores = np.array([[0.1, 0.5, 0.9]], np.float32)
    at_score = np.log(scores / (1 - scores))[..., None]
    for gamma in (0.0, 1.5, 2.0):

      def loss(x, gamma=gamma):
        zeros, ones = np.zeros([1, 3], np.int64), np.ones([1, 3], np.float32)
        return detection.focal_loss(x, zeros, ones, 0.25, gamma, scores)

      _, gradient = _with_gradient(loss, at_score)
      self.assertAllClose(gradient, np.zeros([1, 3, 1]), atol=1e-3)
      _, above = _with_gradient(loss, at_score + 0.5)
      _, below = _with_gradient(loss, at_score - 0.5)
      self.assertAllGreater(above, 0.0)
      self.assertAllLess(below, 0.0)


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
