"""The normalised loss: properties of the paper, a NumPy second implementation, gradients."""

import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.losses import normalized
from tests.testing import replicas


def setUpModule():
  replicas.make_devices()


def _numpy_losses(human, pseudo, alpha, decay):
  """Appendix B step by step: averages from zero, updated before use."""
  average_h = average_p = 0.0
  losses = []
  for loss_h, loss_p in zip(human, pseudo, strict=True):
    average_h = decay * average_h + (1 - decay) * loss_h
    average_p = decay * average_p + (1 - decay) * loss_p
    losses.append((loss_h + alpha * average_h / average_p * loss_p) / (1 + alpha))
  return losses, average_h, average_p


def _run(human, pseudo, alpha, decay=0.9997, normalize=True):
  averages = normalized.LossAverages(decay)
  step = tf.function(lambda h, p: normalized.combine(h, p, averages, alpha, normalize))
  combined = [
    step(tf.constant(h, tf.float32), tf.constant(p, tf.float32))
    for h, p in zip(human, pseudo, strict=True)
  ]
  return combined, averages


class CombineTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.human = rng.uniform(0.3, 2.0, 50)
    self.pseudo = rng.uniform(0.1, 30.0, 50)

  @parameterized.parameters((0.25, 0.9997), (1.0, 0.9997), (3.0, 0.9), (0.5, 0.0))
  def test_equals_numpy_over_50_steps(self, alpha, decay):
    combined, averages = _run(self.human, self.pseudo, alpha, decay)
    expected, average_h, average_p = _numpy_losses(self.human, self.pseudo, alpha, decay)
    self.assertAllClose([c.loss for c in combined], expected, rtol=1e-4)
    self.assertAllClose([averages.human, averages.pseudo], [average_h, average_p], rtol=1e-4)

  def test_alpha_zero_is_the_human_loss(self):
    combined, _ = _run(self.human, self.pseudo, alpha=0.0)
    self.assertAllClose([c.loss for c in combined], self.human, rtol=1e-6)

  @parameterized.parameters(0.01, 1.0, 250.0)
  def test_a_pseudo_loss_in_proportion_changes_nothing(self, factor):
    for alpha in (0.25, 1.0, 4.0):
      combined, _ = _run(self.human, factor * self.human, alpha)
      self.assertAllClose([c.loss for c in combined], self.human, rtol=1e-4)

  def test_magnitude_does_not_depend_on_alpha(self):
    rng = np.random.default_rng(1)
    human, pseudo = rng.uniform(0.9, 1.1, 400), rng.uniform(18, 22, 400)
    means = [
      np.mean([c.loss for c in _run(human, pseudo, alpha)[0][100:]]) for alpha in (0.25, 1.0, 4.0)
    ]
    self.assertAllClose(means, [1.0] * 3, atol=0.01)

  def test_plain_sum_grows_with_alpha(self):
    for alpha in (0.0, 1.0, 3.0):
      combined, _ = _run(self.human, self.human, alpha, normalize=False)
      self.assertAllClose([c.loss for c in combined], (1 + alpha) * self.human, rtol=1e-6)
      self.assertAllEqual([c.ratio for c in combined], np.ones(50))

  def test_start_up_bias_cancels(self):
    combined, _ = _run([2.0], [8.0], alpha=1.0)
    self.assertAllClose(combined[0].ratio, 0.25, rtol=1e-4)
    self.assertAllClose(combined[0].loss, 2.0, rtol=1e-4)

  def test_no_gradient_through_the_ratio(self):
    averages = normalized.LossAverages(0.5)
    human, pseudo = tf.Variable(3.0), tf.Variable(4.0)
    with tf.GradientTape() as tape:
      loss = normalized.combine(human * 1.0, pseudo * 1.0, averages, alpha=2.0).loss
    d_human, d_pseudo = tape.gradient(loss, [human, pseudo])
    self.assertAllClose(d_human, 1 / 3)
    self.assertAllClose(d_pseudo, 2 / 3 * 0.75)

  def test_decay_zero_and_one(self):
    combined, averages = _run([1.0, 5.0], [2.0, 4.0], alpha=1.0, decay=0.0)
    self.assertAllClose([averages.human, averages.pseudo], [5.0, 4.0])
    self.assertAllClose(combined[1].ratio, 1.25)
    _, frozen = _run([1.0], [2.0], alpha=1.0, decay=1.0)
    self.assertAllEqual([frozen.human, frozen.pseudo], [0.0, 0.0])

  def test_a_loss_that_is_not_finite_does_not_spoil_the_averages(self):
    for bad in (np.nan, np.inf):
      _, averages = _run([1.0, bad, 1.0], [2.0, 2.0, 2.0], alpha=1.0, decay=0.5)
      self.assertAllClose([averages.human, averages.pseudo], [0.75, 1.5])

  def test_pseudo_loss_of_zero_gives_no_nan(self):
    combined, _ = _run([1.0], [0.0], alpha=1.0)
    self.assertAllClose(combined[0].loss, 0.5)

  def test_state_is_no_weight_of_the_model_but_is_in_its_checkpoint(self):
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.build([None, 2])
    model.loss_averages = normalized.LossAverages(0.9)
    self.assertLen(model.weights, 2)
    model.loss_averages.human.assign(3.5)
    prefix = tf.train.Checkpoint(model=model).write(os.path.join(self.get_temp_dir(), 'ckpt'))
    model.loss_averages.human.assign(0.0)
    tf.train.Checkpoint(model=model).read(prefix).assert_consumed()
    self.assertAllEqual(model.loss_averages.human, 3.5)


class ReplicaTest(tf.test.TestCase):
  """Two replicas with losses and counts of their own; hand-worked."""

  def run_on_two(self, function, *pairs):
    """Results of both replicas; each pair has the arguments of replica 0 and 1."""
    strategy = replicas.two_replicas()

    @tf.function
    def step(arguments):
      return strategy.run(function, args=arguments)

    arguments = tuple(
      strategy.experimental_distribute_values_from_function(
        lambda context, pair=pair: tf.constant(pair[context.replica_id_in_sync_group])
      )
      for pair in pairs
    )
    return [float(value) for value in strategy.experimental_local_results(step(arguments))]

  def test_mean_over_replicas(self):
    self.assertEqual(self.run_on_two(normalized.mean_over_replicas, (1.0, 4.0)), [2.5, 2.5])

  def test_shares_turn_means_of_replicas_into_the_mean_of_the_batch(self):
    shares = self.run_on_two(lambda count: normalized.batch_share(count, 1.0), (2.0, 5.0))
    # 2 replicas; 2 + 1 and 5 + 1 of 7 + 1.
    self.assertAllClose(shares, [2 * 3 / 8, 2 * 6 / 8])
    sums = np.array([30.0, 12.0])
    means = sums / np.array([3.0, 6.0])
    self.assertAllClose(np.mean(shares * means), sums.sum() / 8)

  def test_one_replica_has_the_whole_share(self):
    self.assertEqual(float(normalized.batch_share(tf.constant(3.0), 1.0)), 1.0)

  def test_averages_are_those_of_all_replicas(self):
    strategy = replicas.two_replicas()
    with strategy.scope():
      averages = normalized.LossAverages(0.5)

    def combine(human, pseudo):
      return normalized.combine(human, pseudo, averages, alpha=1.0).loss

    losses = self.run_on_two(combine, (1.0, 3.0), (4.0, 12.0))
    self.assertAllClose([averages.human, averages.pseudo], [0.5 * 2.0, 0.5 * 8.0])
    # The ratio is 0.25 on both; each replica has its own losses.
    self.assertAllClose(losses, [(1 + 0.25 * 4) / 2, (3 + 0.25 * 12) / 2])

  def test_alpha_on_its_way_to_0(self):
    found = [float(normalized.falling(0.5, tf.constant(step), 4)) for step in (0, 1, 3, 4, 9)]
    self.assertAllClose(found, [0.5, 0.375, 0.125, 0.0, 0.0])


if __name__ == '__main__':
  tf.test.main()
