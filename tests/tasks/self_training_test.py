"""SelfTrainingMixin: losses per source, resume, separate batch norm, replicas, guard, metrics."""

import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.core import keys
from tests.tasks import tiny
from tests.testing import replicas


def setUpModule():
  replicas.make_devices()


def _optimizer(rate=0.05):
  return tf.keras.optimizers.legacy.SGD(rate, momentum=0.9)


def _train(task, model, optimizer, batches):
  step = tf.function(lambda inputs: task.train_step(inputs, model, optimizer))
  return [float(step(inputs)['loss']) for inputs in batches]


def _focal(logits, targets, weights, scores):
  """Focal loss, alpha 0.25, gamma 1.5, summed; of matched anchors the quality focal loss with their scores (NumPy)."""
  p = 1 / (1 + np.exp(-logits))
  one_hot = np.eye(tiny.NUM_CLASSES)[np.maximum(targets, 0)] * (targets >= 0)[..., None]
  t = one_hot * scores[..., None]
  entropy = -t * np.log(p) - (1 - t) * np.log(1 - p)
  alpha = 0.25 * t + 0.75 * (1 - t)
  return (alpha * np.abs(p - t) ** 1.5 * entropy * weights[..., None]).sum()


def _huber(values, targets, weights, delta=0.1):
  error = np.abs(values - targets)
  loss = np.where(error <= delta, 0.5 * error**2, delta * error - 0.5 * delta**2)
  return (loss.mean(-1) * weights).sum()


def _numpy_source_loss(outputs, labels):
  """Class + 50 * box loss of one source over its own positives + 1."""
  flat = {
      name: np.concatenate([np.reshape(v, [v.shape[0], -1, depth]) for v in nest.values()], axis=1)
      for name, nest, depth in (
          ('logits', outputs['cls_outputs'], tiny.NUM_CLASSES), ('boxes', outputs['box_outputs'], 4),
          ('classes', labels['cls_targets'], 1), ('targets', labels['box_targets'], 4),
      )
  }  # fmt: skip
  weights = labels['box_weights'].numpy()
  classes = _focal(
    flat['logits'], flat['classes'][..., 0].astype(int), labels['cls_weights'].numpy(), weights
  )
  boxes = _huber(flat['boxes'], flat['targets'], weights)
  return (classes + 50 * boxes) / (weights.sum() + 1)


class SparedClassesTest(tf.test.TestCase):
  def test_pseudo_labels_move_no_weight_of_a_spared_class(self):
    config = tiny.config(alpha=1.0, normalize_loss=False)
    inputs = tiny.inputs(1, config)
    found = {}
    for spared in ([], [2]):
      config.pseudo_data.spared_classes = spared
      task = tiny.TinyTask(config)
      model = task.build_model()
      for stream in task.training_streams():
        features, labels = task.pseudo_targets(inputs, model)[stream.name]
        with tf.GradientTape() as tape:
          outputs = model(features, training=False)
          losses = task.stream_losses(stream, outputs, labels)
        gradient = tape.gradient(losses['model_loss'], model.classes.bias).numpy()
        found[stream.name, bool(spared)] = losses, gradient
    for name in ('model_loss', 'cls_loss', 'box_loss'):
      losses = {key: float(value[0][name]) for key, value in found.items()}
      self.assertEqual(losses[keys.HUMAN, True], losses[keys.HUMAN, False])
    (_, spared), (_, plain) = found[keys.PSEUDO, True], found[keys.PSEUDO, False]
    self.assertEqual(spared[2], 0.0)
    self.assertNotEqual(plain[2], 0.0)
    others = [0, 1, 3]
    self.assertAllClose(spared[others], plain[others], rtol=1e-5)
    self.assertAllEqual(found[keys.HUMAN, True][1], found[keys.HUMAN, False][1])
    # The box of an object is learned, whatever its class.
    boxes = [float(found[keys.PSEUDO, each][0]['box_loss']) for each in (True, False)]
    self.assertEqual(boxes[0], boxes[1])
    self.assertGreater(boxes[0], 0.0)


class TrainStepTest(tf.test.TestCase):
  def test_loss_equals_numpy_over_50_steps(self):
    config = tiny.config(alpha=0.5, ema_decay=0.9)
    task = tiny.TinyTask(config)
    model, optimizer = task.build_model(), _optimizer(0.01)
    batches = [tiny.inputs(i, config, human=2, pseudo=3) for i in range(5)]
    step = tf.function(lambda inputs: task.train_step(inputs, model, optimizer))
    moving = [v for v in model.non_trainable_variables if 'moving' in v.name]
    average_h = average_p = 0.0
    for number in range(50):
      inputs = batches[number % 5]
      before = [v.numpy() for v in moving]
      joined = tf.concat([inputs[source][0] for source in keys.SOURCES], axis=0)
      outputs = model(joined, training=True)
      for variable, value in zip(moving, before, strict=True):
        variable.assign(value)
      regularization = float(tf.add_n(model.losses))
      halves = [
        tf.nest.map_structure(lambda t, s=s: t[s].numpy(), outputs)
        for s in (slice(0, 2), slice(2, 5))
      ]
      loss_h, loss_p = (
        _numpy_source_loss(half, inputs[source][1])
        for half, source in zip(halves, keys.SOURCES, strict=True)
      )
      average_h = 0.9 * average_h + 0.1 * loss_h
      average_p = 0.9 * average_p + 0.1 * loss_p
      expected = (loss_h + 0.5 * average_h / average_p * loss_p) / 1.5 + regularization
      self.assertAllClose(step(inputs)['loss'], expected, rtol=2e-4)
    self.assertAllClose(
      [model.loss_averages.human, model.loss_averages.pseudo], [average_h, average_p], rtol=2e-4
    )

  def test_soft_labels_have_their_scores_as_targets_and_weights(self):
    config = tiny.config()
    task = tiny.TinyTask(config)
    inputs = tiny.inputs(3, config)
    (images, labels), (_, soft) = inputs[keys.PSEUDO], _softened(inputs)[keys.PSEUDO]
    outputs = task.build_model()(images, training=False)
    found = [float(task.source_losses(outputs, each)['model_loss']) for each in (labels, soft)]
    outputs = tf.nest.map_structure(lambda t: t.numpy(), outputs)
    expected = [_numpy_source_loss(outputs, each) for each in (labels, soft)]
    self.assertAllClose(found, expected, rtol=1e-4)
    self.assertGreater(abs(found[0] - found[1]), 0.01)

  def test_alpha_zero_trains_like_the_human_half_in_the_same_batch(self):
    config = tiny.config(alpha=0.0)
    task = tiny.TinyTask(config)
    model = task.build_model()
    inputs = tiny.inputs(0, config)
    metrics = task.build_metrics(training=True)
    logs = task.train_step(inputs, model, _optimizer(0.0), metrics)
    regularization = tf.add_n(model.losses)
    self.assertAllClose(logs['loss'], logs['human_loss'] + regularization, rtol=1e-5)

  def test_alpha_falls_with_the_steps_that_are_done(self):
    for parts in (1, 2):
      config = tiny.config(alpha=0.5, alpha_decay_steps=2)
      config.gradient_accumulation_steps = parts
      task = tiny.TinyTask(config)
      model, optimizer = task.build_model(), _optimizer(0.0)
      metrics = task.build_metrics(training=True)
      step = tf.function(lambda inputs: task.train_step(inputs, model, optimizer, metrics))  # noqa: B023
      for alpha in (0.5, 0.25, 0.0, 0.0):
        for metric in metrics:
          metric.reset_state()
        logs = step(tiny.inputs(0, config))
        pseudo = alpha * logs['loss_ratio'] * logs['pseudo_loss']
        expected = (logs['human_loss'] + pseudo) / (1.0 + alpha) + tf.add_n(model.losses)
        self.assertAllClose(logs['loss'], expected, rtol=1e-5)

  def test_training_lowers_both_losses(self):
    config = tiny.config()
    task = tiny.TinyTask(config)
    model = task.build_model()
    losses = _train(task, model, _optimizer(), [tiny.inputs(0, config)] * 30)
    self.assertLess(losses[-1], 0.8 * losses[0])

  def test_metrics_hold_every_logged_value(self):
    config = tiny.config()
    task = tiny.TinyTask(config)
    model = task.build_model()
    inputs = tiny.inputs(1, config)
    logs = task.train_step(inputs, model, _optimizer(0.0), task.build_metrics(training=True))
    labels = inputs[keys.PSEUDO][1]
    positives = np.sum(labels['box_weights']) / len(labels['num_boxes'])
    self.assertGreater(len(labels['num_boxes']), 1)
    self.assertAllClose(logs['pseudo_positives_per_image'], positives)
    self.assertAllClose(logs['pseudo_boxes_per_image'], np.mean(labels['num_boxes']))
    self.assertAllClose(logs['pseudo_share_with_boxes'], np.mean(labels['num_boxes'] > 0))
    self.assertAllClose(
      logs['loss_ratio'], logs['average_human_loss'] / logs['average_pseudo_loss'], rtol=1e-5
    )
    self.assertAllClose(
      logs['human_loss'], logs['human_cls_loss'] + 50 * logs['human_box_loss'], rtol=1e-5
    )

  def test_first_non_finite_loss_is_remembered_with_its_source(self):
    config = tiny.config()
    task = tiny.TinyTask(config)
    model, optimizer = task.build_model(), _optimizer(0.0)
    good = tiny.inputs(0, config)
    labels = dict(good[keys.PSEUDO][1])
    labels['cls_weights'] = labels['cls_weights'] * np.nan
    bad = {**good, keys.PSEUDO: (good[keys.PSEUDO][0], labels)}
    _train(task, model, optimizer, [good, good])
    self.assertEqual(int(model.first_non_finite.step), -1)
    before = [model.loss_averages.human.numpy(), model.loss_averages.pseudo.numpy()]
    _train(task, model, optimizer, [bad])
    self.assertEqual(int(model.first_non_finite.step), 3)
    self.assertEqual(keys.SOURCES[int(model.first_non_finite.source)], keys.PSEUDO)
    # The averages stay as they were, so that the last checkpoint can be used.
    after = [model.loss_averages.human.numpy(), model.loss_averages.pseudo.numpy()]
    self.assertAllEqual(after, before)
    _train(task, model, optimizer, [good])
    self.assertEqual(int(model.first_non_finite.step), 3)


class _WithHooks(tiny.TinyTask):
  """Follows the weights with a moving average, and adds a term of its own."""

  extra_loss_names = ('size',)

  def build_model(self):
    model = super().build_model()
    model.follower = tf.Variable(model.backbone.stem.kernel, trainable=False)
    return model

  def extra_losses(self, outputs, labels):
    return {
      'size': tf.add_n([tf.reduce_mean(v**2) for v in outputs[keys.HUMAN]['box_outputs'].values()])
    }

  def after_update(self, model, optimizer):
    model.follower.assign(0.5 * model.follower + 0.5 * model.backbone.stem.kernel)


class HooksTest(tf.test.TestCase):
  def test_after_update_sees_the_weights_behind_the_optimizer_in_every_step(self):
    config = tiny.config()
    task = _WithHooks(config)
    model, optimizer = task.build_model(), _optimizer()
    expected = model.backbone.stem.kernel.numpy()
    step = tf.function(lambda inputs: task.train_step(inputs, model, optimizer))
    for seed in range(3):
      before = model.backbone.stem.kernel.numpy()
      step(tiny.inputs(seed, config))
      self.assertNotAllClose(model.backbone.stem.kernel, before)
      expected = 0.5 * expected + 0.5 * model.backbone.stem.kernel.numpy()
      self.assertAllClose(model.follower, expected, rtol=1e-6)

  def test_what_after_update_keeps_is_in_the_checkpoint(self):
    config = tiny.config()
    task = _WithHooks(config)
    model, optimizer = task.build_model(), _optimizer()
    _train(task, model, optimizer, [tiny.inputs(0, config)])
    prefix = tf.train.Checkpoint(model=model).write(os.path.join(self.get_temp_dir(), 'ckpt'))
    restored = _WithHooks(config).build_model()
    tf.train.Checkpoint(model=restored).read(prefix)
    self.assertAllEqual(restored.follower, model.follower)

  def test_extra_losses_are_added_and_logged(self):
    config = tiny.config()
    inputs = tiny.inputs(0, config)
    logs = []
    for kind in (tiny.TinyTask, _WithHooks):
      task = kind(config)
      logs.append(
        task.train_step(inputs, task.build_model(), _optimizer(0.0), task.build_metrics(True))
      )
    self.assertNotIn('size', logs[0])
    self.assertGreater(float(logs[1]['size']), 0.0)
    self.assertAllClose(logs[1]['loss'], logs[0]['loss'] + logs[1]['size'], rtol=1e-5)


class ResumeTest(tf.test.TestCase):
  def test_averages_and_weights_are_bit_equal_after_stop_and_resume(self):
    config = tiny.config(ema_decay=0.99)
    batches = [tiny.inputs(i, config) for i in range(6)]

    def build():
      task = tiny.TinyTask(config)
      model, optimizer = task.build_model(), _optimizer()
      return task, model, optimizer, tf.train.Checkpoint(model=model, optimizer=optimizer)

    task, whole, optimizer, _ = build()
    _train(task, whole, optimizer, batches)
    task, model, optimizer, checkpoint = build()
    _train(task, model, optimizer, batches[:3])
    prefix = checkpoint.write(os.path.join(self.get_temp_dir(), 'ckpt'))
    task, resumed, optimizer, checkpoint = build()
    checkpoint.read(prefix)
    _train(task, resumed, optimizer, batches[3:])
    for name in ('human', 'pseudo'):
      self.assertEqual(
        getattr(whole.loss_averages, name).numpy().tobytes(),
        getattr(resumed.loss_averages, name).numpy().tobytes(),
      )
    for left, right in zip(whole.weights, resumed.weights, strict=True):
      self.assertAllClose(left, right, rtol=1e-4, atol=1e-6)


class SeparateBatchNormTest(tf.test.TestCase):
  def test_each_source_has_its_own_statistics_and_the_human_ones_are_kept(self):
    config = tiny.config(separate_batch_norm=True)
    task = tiny.TinyTask(config)
    model = task.build_model()
    human = tf.random.stateless_normal([4, 32, 32, 3], [1, 2])
    pseudo = 5 + 3 * tf.random.stateless_normal([4, 32, 32, 3], [3, 4])
    outputs = task.forward(model, {keys.HUMAN: human, keys.PSEUDO: pseudo})
    mean, variance = tf.nn.moments(model.backbone.stem(human), [0, 1, 2])
    self.assertAllClose(model.backbone.norm.moving_mean, 0.1 * mean, rtol=1e-4)
    self.assertAllClose(model.backbone.norm.moving_variance, 0.9 + 0.1 * variance, rtol=1e-4)
    alone = task.forward(model, {keys.HUMAN: pseudo})[keys.HUMAN]
    self.assertAllClose(
      outputs[keys.PSEUDO]['cls_outputs']['3'], alone['cls_outputs']['3'], atol=1e-5
    )

  def test_shared_statistics_are_those_of_the_joined_batch(self):
    config = tiny.config()
    task = tiny.TinyTask(config)
    model = task.build_model()
    human, pseudo = tf.zeros([3, 32, 32, 3]), tf.ones([1, 32, 32, 3])
    outputs = task.forward(model, {keys.HUMAN: human, keys.PSEUDO: pseudo})
    mean, _ = tf.nn.moments(model.backbone.stem(tf.concat([human, pseudo], 0)), [0, 1, 2])
    self.assertAllClose(model.backbone.norm.moving_mean, 0.1 * mean, rtol=1e-4)
    self.assertEqual([outputs[s]['box_outputs']['4'].shape[0] for s in keys.SOURCES], [3, 1])


def _softened(inputs):
  """A batch whose pseudo boxes have scores."""
  images, labels = inputs[keys.PSEUDO]
  shape = labels['box_weights'].shape
  scores = labels['box_weights'] * np.random.default_rng(0).uniform(0.1, 1.0, shape).astype('f')
  return {**inputs, keys.PSEUDO: (images, {**labels, 'box_weights': scores, 'cls_scores': scores})}


class ReplicaTest(tf.test.TestCase, parameterized.TestCase):
  def _run(self, strategy, per_replica, is_soft=False, **settings):
    config = tiny.config(ema_decay=0.9, **settings)
    number = strategy.num_replicas_in_sync
    with strategy.scope():
      task = tiny.TinyTask(config)
      model, optimizer = task.build_model(), _optimizer()
      optimizer.iterations.assign(0)  # Makes the variable, as the Model Garden's trainer does.
    batches = [tiny.inputs(i, config) for i in range(4)]
    if is_soft:
      batches = [_softened(inputs) for inputs in batches]

    @tf.function
    def step(shares):
      return strategy.run(lambda inputs: task.train_step(inputs, model, optimizer), args=(shares,))

    for inputs in batches:
      parts = [
        tf.nest.map_structure(lambda t, r=r: t[r * per_replica : (r + 1) * per_replica], inputs)
        for r in range(number)
      ]
      shares = (
        strategy.experimental_distribute_values_from_function(
          lambda context, parts=parts: parts[context.replica_id_in_sync_group]
        )
        if number > 1
        else parts[0]
      )
      step(shares)
    return model

  @parameterized.parameters({}, {'alpha_decay_steps': 3}, {'is_soft': True})
  def test_one_and_two_replicas_agree(self, **settings):
    one = self._run(tf.distribute.OneDeviceStrategy('CPU:0'), 4, **settings)
    two = self._run(replicas.two_replicas(), 2, **settings)
    self.assertAllClose(one.loss_averages.human, two.loss_averages.human, rtol=1e-4)
    self.assertAllClose(one.loss_averages.pseudo, two.loss_averages.pseudo, rtol=1e-4)
    for left, right in zip(one.trainable_variables, two.trainable_variables, strict=True):
      self.assertAllClose(left.numpy(), right.numpy(), rtol=1e-3, atol=1e-5)


if __name__ == '__main__':
  tf.test.main()
