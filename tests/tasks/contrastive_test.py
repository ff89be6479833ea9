"""SimCLR's training step: negatives over all replicas, order of the batch, precision of what is logged."""

from unittest import mock

import numpy as np
import tensorflow as tf

from official_selftrain.configs import contrastive as configs
from official_selftrain.modeling import classification
from official_selftrain.modeling import contrastive as modeling
from official_selftrain.tasks import contrastive
from tests.tasks import tiny
from tests.testing import replicas

_SIDE = 16


def setUpModule():
  replicas.make_devices()


def _config():
  config = configs.ContrastiveTask()
  config.losses.temperature = 0.5
  return config


def _task():
  """The real task around a few convolutions and a projection, with synchronised batch norm."""
  task = contrastive.ContrastiveTask(_config())

  def build(model, l2_weight_decay):
    del model, l2_weight_decay
    tf.keras.utils.set_random_seed(1)
    head = modeling.ProjectionHead(
      configs.Projection(num_layers=2, hidden_size=12, output_size=8), use_sync_bn=True
    )
    built = classification.ClassificationModel(tiny.TinyBackbone(), head)
    built(tf.zeros([1, _SIDE, _SIDE, 3]))
    return built

  with mock.patch.object(contrastive.modeling, 'build', build):
    return task, task.build_model()


def _pairs(seed, count=8):
  """Pairs whose views are alike."""
  rng = np.random.default_rng(seed)
  image = rng.normal(size=[count, 1, _SIDE, _SIDE, 3])
  return tf.constant(image + 0.1 * rng.normal(size=[count, 2, _SIDE, _SIDE, 3]), tf.float32)


def _train(strategy, batches):
  number = strategy.num_replicas_in_sync
  with strategy.scope():
    task, model = _task()
    optimizer = tf.keras.optimizers.legacy.SGD(0.1, momentum=0.9)

  @tf.function
  def step(shares):
    return strategy.run(
      lambda share: task.train_step((share, {}), model, optimizer), args=(shares,)
    )

  losses = []
  for batch in batches:

    def share(context, batch=batch):
      return tf.split(batch, number)[context.replica_id_in_sync_group]

    logs = step(strategy.experimental_distribute_values_from_function(share))
    losses.append(float(strategy.reduce('MEAN', logs['loss'], axis=None)))
  return losses, [np.array(variable) for variable in model.variables]


class ReplicaTest(tf.test.TestCase):
  def test_two_replicas_train_as_one(self):
    batches = [_pairs(seed) for seed in range(3)]
    one = _train(tf.distribute.OneDeviceStrategy('/cpu:0'), batches)
    two = _train(replicas.two_replicas(), batches)
    self.assertAllClose(one[0], two[0], rtol=1e-5)
    self.assertNotAllClose(one[0][0], one[0][-1], rtol=1e-3)
    for left, right in zip(one[1], two[1], strict=True):
      self.assertAllClose(left, right, rtol=1e-4, atol=1e-5)

  def test_with_negatives_of_its_own_replica_alone_it_would_be_another_loss(self):
    """So the comparison above can fail."""
    task, model = _task()
    pairs = _pairs(0)
    whole = float(task.validation_step((pairs, {}), model)['loss'])
    halves = [float(task.validation_step((half, {}), model)['loss']) for half in tf.split(pairs, 2)]
    self.assertGreater(whole - np.mean(halves), 0.2)

  def test_the_last_batches_of_an_evaluation_may_differ_among_replicas(self):
    strategy = replicas.two_replicas()
    with strategy.scope():
      task, model = _task()
      metrics = task.build_metrics(training=False)
    pairs = _pairs(0)
    for shares in ([pairs[:5], pairs[5:]], [pairs[:3], pairs[:0]]):
      expected = {}
      for share in shares:
        # One replica by itself; an empty batch has no mean.
        if len(share):
          logs = task.validation_step((share, {}), model, task.build_metrics(training=False))
          for name, value in logs.items():
            expected[name] = expected.get(name, 0.0) + len(share) * float(value)
      count = sum(map(len, shares))

      def share(context, shares=shares):
        return shares[context.replica_id_in_sync_group]

      for metric in metrics:
        metric.reset_state()

      @tf.function
      def step(each):
        # Of unknown size, as batches of a data set are.
        def validate(pairs):
          pairs = tf.boolean_mask(pairs, tf.ones([tf.shape(pairs)[0]], tf.bool))
          return task.validation_step((pairs, {}), model, metrics)

        return strategy.run(validate, args=(each,))

      logs = step(strategy.experimental_distribute_values_from_function(share))
      loss = strategy.reduce('MEAN', logs['loss'], axis=None)
      self.assertAllClose(loss, expected['contrastive_loss'] / count, rtol=1e-5)
      for metric in metrics:
        self.assertAllClose(metric.result(), expected[metric.name] / count, rtol=1e-5)


class OrderTest(tf.test.TestCase):
  def test_the_order_of_images_and_of_their_views_does_not_matter(self):
    task, model = _task()
    pairs = _pairs(1)
    expected = task.validation_step((pairs, {}), model)['loss']
    for other in (tf.reverse(pairs, [0]), tf.reverse(pairs, [1])):
      self.assertAllClose(task.validation_step((other, {}), model)['loss'], expected, rtol=1e-5)


if __name__ == '__main__':
  tf.test.main()
