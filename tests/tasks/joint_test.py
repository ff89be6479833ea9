"""Joint training: the classifier's loss, its place in the sum, batch norm, replicas, streams."""

import numpy as np
import tensorflow as tf
from official.vision.tasks import retinanet as garden

from official_selftrain.configs import joint as joint_configs
from official_selftrain.core import keys
from official_selftrain.tasks import detection, joint, stream_specs
from tests.tasks import tiny
from tests.testing import replicas

CLASSES = 5


def setUpModule():
  replicas.make_devices()


def _config(weight, smoothing=0.0, **self_training):
  config = tiny.config(**self_training)
  config.joint = joint_configs.Joint(
    weight=weight, num_classes=CLASSES, label_smoothing=smoothing, input_size=[16, 16]
  )
  return config


def _batch(seed, size=6):
  rng = np.random.default_rng(seed)
  images = tf.constant(rng.normal(size=[size, 16, 16, 3]), tf.float32)
  return images, {'classes': tf.constant(rng.integers(0, CLASSES, size), tf.int64)}


def _inputs(seed, config):
  return {**tiny.inputs(seed, config), joint.STREAM: _batch(seed)}


def _step(task, model, optimizer, inputs):
  metrics = task.build_metrics()
  return {name: float(v) for name, v in task.train_step(inputs, model, optimizer, metrics).items()}


def _still():
  return tf.keras.optimizers.legacy.SGD(0.0)


class Alone(tiny.TinyModelMixin, detection.DetectionTask):
  """Detection without pseudo labels, around the tiny model."""


class LossTest(tf.test.TestCase):
  def test_the_loss_is_cross_entropy_of_pooled_features_by_hand(self):
    config = _config(weight=0.3, smoothing=0.2)
    task = tiny.TinyTask(config)
    model = task.build_model()
    inputs = _inputs(1, config)
    images, labels = inputs[joint.STREAM]
    low = model.backbone.stem(images).numpy()
    mean, variance = low.mean((0, 1, 2)), low.var((0, 1, 2))
    low = np.maximum((low - mean) / np.sqrt(variance + 1e-3), 0)
    high = np.maximum(model.backbone.down(low).numpy(), 0)
    pooled = (low.mean((1, 2)) + high.mean((1, 2))) / 2  # Both levels are 8 wide.
    kernel, bias = (v.numpy() for v in model.class_head.trainable_variables)
    logits = pooled @ kernel + bias
    targets = np.eye(CLASSES)[labels['classes']] * 0.8 + 0.2 / CLASSES
    log_shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    logs = _step(task, model, _still(), inputs)
    self.assertAllClose(logs['joint_loss'], -(targets * log_shares).sum(-1).mean(), rtol=1e-5)
    right = (logits.argmax(-1) == labels['classes'].numpy()).mean()
    self.assertAllClose(logs['joint_accuracy'], right)

  def test_it_is_added_outside_the_normalised_loss(self):
    plain = tiny.config(alpha=0.5)
    task = tiny.TinyTask(plain)
    expected = _step(task, task.build_model(), _still(), tiny.inputs(1, plain))
    for weight in (0.2, 0.5):
      config = _config(weight, alpha=0.5)
      config.losses.l2_weight_decay = 0.0
      task = tiny.TinyTask(config)
      logs = _step(task, task.build_model(), _still(), _inputs(1, config))
      self.assertGreater(logs['joint_loss'], 1.0)
      self.assertAllClose(logs['loss'], expected['loss'] + weight * logs['joint_loss'], rtol=1e-5)
      for name in ('human_loss', 'pseudo_loss', 'loss_ratio'):
        self.assertAllClose(logs[name], expected[name], rtol=1e-6)

  def test_without_self_training_it_is_added_to_the_loss_of_the_labels(self):
    config = _config(weight=0.5).supervised()
    task = Alone(config)
    inputs = _inputs(1, config)
    del inputs[keys.PSEUDO]
    model = task.build_model()
    logs = _step(task, model, _still(), inputs)
    decay = float(tf.add_n(model.losses))
    self.assertAllClose(logs['loss'], logs['human_loss'] + 0.5 * logs['joint_loss'] + decay)

  def test_it_teaches_the_backbone(self):
    config = _config(weight=0.5).supervised()
    task = Alone(config)
    model = task.build_model()
    inputs = _inputs(1, config)
    del inputs[keys.PSEUDO]
    model.class_head.trainable = False
    model.class_head.weights[0].assign(tf.random.stateless_normal([8, CLASSES], [1, 2]))
    optimizer = tf.keras.optimizers.legacy.SGD(0.5)
    step = tf.function(lambda: task.train_step(inputs, model, optimizer))
    before = [np.array(value) for value in model.class_head.weights]
    first = _step(task, model, _still(), inputs)['joint_loss']
    for _ in range(40):
      step()
    # The classifier is as it was, so only the backbone can have learned.
    for value, old in zip(model.class_head.weights, before, strict=True):
      np.testing.assert_array_equal(value, old)
    self.assertLess(_step(task, model, _still(), inputs)['joint_loss'], first - 0.01)


class BatchNormTest(tf.test.TestCase):
  def test_moving_statistics_are_those_of_the_other_images(self):
    for separate in (False, True):
      config = _config(weight=0.5, separate_batch_norm=separate)
      task = tiny.TinyTask(config)
      model = task.build_model()
      inputs = _inputs(1, config)
      human, pseudo = inputs[keys.HUMAN][0], inputs[keys.PSEUDO][0]
      seen = human if separate else tf.concat([human, pseudo], 0)
      mean, variance = tf.nn.moments(model.backbone.stem(seen), [0, 1, 2])
      task.forward(model, {name: features for name, (features, _) in inputs.items()})
      self.assertAllClose(model.backbone.norm.moving_mean, 0.1 * mean, rtol=1e-4, atol=1e-6)
      self.assertAllClose(model.backbone.norm.moving_variance, 0.9 + 0.1 * variance, rtol=1e-4)


class BackboneRateTest(tf.test.TestCase):
  def _moved(self, rate, weight=0.0):
    """Whether each variable is of the backbone, and how far a step of SGD moves it."""
    config = _config(weight).supervised()
    config.backbone_learning_rate = rate
    task = Alone(config)
    model = task.build_model()
    batch = tiny.batch(1, 4, config)
    inputs = {keys.HUMAN: batch, joint.STREAM: _batch(1)} if weight else {keys.HUMAN: batch}
    if rate == 1.0 and not weight:
      inputs = batch  # The step of the task itself.
    before = [v.numpy() for v in model.trainable_variables]
    backbone = {v.ref() for v in model.backbone.trainable_variables}
    task.train_step(inputs, model, tf.keras.optimizers.legacy.SGD(0.01, momentum=0.9))
    return [
      (v.ref() in backbone, v.numpy() - old)
      for v, old in zip(model.trainable_variables, before, strict=True)
    ]

  def test_the_backbone_moves_by_its_share(self):
    for weight in (0.0, 0.5):
      whole, tenth = self._moved(1.0, weight), self._moved(0.1, weight)
      self.assertLen({is_backbone for is_backbone, _ in whole}, 2)
      for (is_backbone, step), (_, other) in zip(whole, tenth, strict=True):
        share = 0.1 if is_backbone else 1.0
        scale = np.abs(step).max()
        self.assertGreater(scale, 0.0)
        self.assertAllClose(other / scale, share * step / scale, atol=1e-3)


class WeightZeroTest(tf.test.TestCase):
  def test_there_is_no_stream_no_classifier_and_no_log(self):
    config = _config(weight=0.0)
    task = tiny.TinyTask(config)
    self.assertEqual([s.name for s in task.training_streams()], [keys.HUMAN, keys.PSEUDO])
    self.assertFalse(hasattr(task.build_model(), 'class_head'))
    self.assertFalse([m.name for m in task.build_metrics() if m.name.startswith(joint.STREAM)])

  def test_a_supervised_task_then_trains_as_the_model_gardens_does(self):
    config = _config(weight=0.0).supervised()
    task = Alone(config)
    names = [m.name for m in garden.RetinaNetTask(config).build_metrics(training=True)]
    self.assertEqual([m.name for m in task.build_metrics(training=True)], names)
    logs = task.train_step(tiny.batch(1, 4, config), task.build_model(), _still())
    self.assertIn('loss', logs)

  def test_other_weights_are_drawn_as_without_it(self):
    without = tiny.TinyTask(tiny.config()).build_model()
    with_it = tiny.TinyTask(_config(weight=0.2)).build_model()
    for left, right in zip(without.backbone.weights, with_it.backbone.weights, strict=True):
      np.testing.assert_array_equal(left, right)


class ReplicaTest(tf.test.TestCase):
  def _run(self, strategy):
    config = _config(weight=0.5, ema_decay=0.9)
    number = strategy.num_replicas_in_sync
    with strategy.scope():
      task = tiny.TinyTask(config)
      model = task.build_model()
      optimizer = tf.keras.optimizers.legacy.SGD(0.05, momentum=0.9)
    batches = [_inputs(seed, config) for seed in range(3)]

    @tf.function
    def step(shares):
      return strategy.run(lambda share: task.train_step(share, model, optimizer), args=(shares,))

    losses = []
    for batch in batches:

      def share(context, batch=batch):
        place = context.replica_id_in_sync_group
        return tf.nest.map_structure(lambda v: tf.split(v, number)[place], batch)

      logs = step(strategy.experimental_distribute_values_from_function(share))
      losses.append(float(strategy.reduce('MEAN', logs['loss'], axis=None)))
    return losses, [np.array(v) for v in model.trainable_variables], model

  def test_two_replicas_train_as_one(self):
    one = self._run(tf.distribute.OneDeviceStrategy('/cpu:0'))
    two = self._run(replicas.two_replicas())
    self.assertAllClose(one[0], two[0], rtol=1e-5)
    for left, right in zip(one[1], two[1], strict=True):
      self.assertAllClose(left, right, rtol=1e-4, atol=1e-6)
    self.assertAllClose(
      one[2].backbone.norm.moving_mean, two[2].backbone.norm.moving_mean, rtol=1e-4, atol=1e-6
    )


class StreamTest(tf.test.TestCase):
  def test_the_stream_is_an_extra_one_with_a_config_and_draws_of_its_own(self):
    streams = tiny.TinyTask(_config(weight=0.2)).training_streams()
    found = {stream.name: stream for stream in streams}
    own = found[joint.STREAM]
    self.assertEqual((own.dotted, own.role), ('task.joint.data', stream_specs.Role.EXTRA))
    self.assertEqual(own.weight, 0.2)
    self.assertLen({stream.seed_offset for stream in streams}, 3)


if __name__ == '__main__':
  tf.test.main()
