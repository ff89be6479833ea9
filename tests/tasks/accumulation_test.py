"""A batch that is trained on in parts makes the update of the whole batch."""

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.configs import joint as joint_configs
from official_selftrain.configs import tasks as task_configs
from official_selftrain.core import errors, keys
from official_selftrain.tasks import accumulation, detection, joint
from tests.tasks import tiny
from tests.testing import replicas

_CLASSES = 5


def setUpModule():
  replicas.make_devices()


class Alone(tiny.TinyModelMixin, detection.DetectionTask):
  """Detection without pseudo labels, around the tiny model."""


def _config(parts, weight=0.0, **self_training):
  config = tiny.config(**self_training)
  config.gradient_accumulation_steps = parts
  config.joint = joint_configs.Joint(weight=weight, num_classes=_CLASSES, input_size=[16, 16])
  return config


def _inputs(seed, config, size=8):
  made = tiny.inputs(seed, config, human=size, pseudo=size)
  if config.joint.weight:
    rng = np.random.default_rng(seed)
    images = tf.constant(rng.normal(size=[size, 16, 16, 3]), tf.float32)
    made[joint.STREAM] = images, {'classes': tf.constant(rng.integers(0, _CLASSES, size), tf.int64)}
  return made


def _built(task):
  """A model whose batch norm does not look at the batch, which is what parts cannot share."""
  model = task.build_model()
  model.backbone.norm.trainable = False
  return model


def _optimizer():
  return tf.keras.optimizers.legacy.SGD(0.05, momentum=0.9)


def _trained(task, inputs):
  """Weights, averages and the last logs after a step on each of the inputs."""
  model, optimizer, metrics = _built(task), _optimizer(), task.build_metrics(training=True)
  step = tf.function(lambda batch: task.train_step(batch, model, optimizer, metrics))
  for batch in inputs:
    logs = step(batch)
  state = [v.numpy() for v in model.weights]
  if hasattr(model, 'loss_averages'):
    state += [model.loss_averages.human.numpy(), model.loss_averages.pseudo.numpy()]
  return state, {name: float(value) for name, value in logs.items()}


class UpdateTest(tf.test.TestCase):
  def assert_same_update(self, make, **settings):
    expected, logs = None, {}
    for parts in (1, 4):
      config = _config(parts, **settings)
      state, found = make(config)
      if expected is None:
        expected, logs = state, found
      self.assertAllClose(state, expected, rtol=1e-5, atol=1e-6)
      self.assertAllClose(found, logs, rtol=1e-5)

  def assert_same_self_training(self, **settings):
    self.assert_same_update(
      lambda config: _trained(tiny.TinyTask(config), [_inputs(n, config) for n in range(2)]),
      **settings,
    )

  def test_self_training_with_joint_training(self):
    self.assert_same_self_training(alpha=0.5, weight=0.3)

  @pytest.mark.slow
  def test_self_training_with_a_plain_sum_and_separate_statistics(self):
    self.assert_same_self_training(alpha=2.0, normalize_loss=False, separate_batch_norm=True)

  def test_labelled_images_alone(self):
    def _make(config):
      batches = [tiny.batch(n, 8, config) for n in range(2)]
      if config.gradient_accumulation_steps > 1:
        batches = [{keys.HUMAN: batch} for batch in batches]
      state, logs = _trained(Alone(config.supervised()), batches)
      # The Model Garden's own step logs under other names.
      return state, {'loss': logs['loss']}

    self.assert_same_update(_make)

  @pytest.mark.slow
  def test_two_replicas(self):
    strategy = replicas.two_replicas()

    def _make(config):
      with strategy.scope():
        task = tiny.TinyTask(config)
        model, optimizer = _built(task), _optimizer()

      @tf.function
      def step(batches):
        return strategy.run(lambda batch: task.train_step(batch, model, optimizer), args=(batches,))

      for number in range(2):
        whole = _inputs(number, config)
        halves = accumulation.split(whole, 2)
        step(
          strategy.experimental_distribute_values_from_function(
            lambda context, halves=halves: halves[context.replica_id_in_sync_group]
          )
        )
      return [v.numpy() for v in model.trainable_weights], {}

    self.assert_same_update(_make, alpha=0.5)

  def test_scaled_losses(self):
    def _make(config):
      task = tiny.TinyTask(config)
      model = _built(task)
      optimizer = tf.keras.mixed_precision.LossScaleOptimizer(
        _optimizer(), dynamic=False, initial_scale=8.0
      )
      task.train_step(_inputs(1, config), model, optimizer)
      return [v.numpy() for v in model.weights], {}

    self.assert_same_update(_make, alpha=0.5)

  def test_batch_norm_sees_one_part_at_a_time_and_each_part_once(self):
    config = _config(2, alpha=0.5)
    task = tiny.TinyTask(config)
    model = task.build_model()
    inputs = _inputs(1, config)
    expected = 0.0
    for part in accumulation.split(inputs, 2):
      seen = tf.concat([part[source][0] for source in keys.SOURCES], 0)
      mean, _ = tf.nn.moments(model.backbone.stem(seen), [0, 1, 2])
      expected = 0.9 * expected + 0.1 * mean
    task.train_step(inputs, model, tf.keras.optimizers.legacy.SGD(0.0))
    self.assertAllClose(model.backbone.norm.moving_mean, expected, rtol=1e-4, atol=1e-6)


class PartsTest(tf.test.TestCase):
  def test_split_keeps_order(self):
    batch = {'a': tf.range(6), 'b': (tf.reshape(tf.range(12), [6, 2]),)}
    first, second = accumulation.split(batch, 2)
    self.assertAllEqual(first['a'], [0, 1, 2])
    self.assertAllEqual(second['b'][0], [[6, 7], [8, 9], [10, 11]])

  def test_sums_of_gradients(self):
    one, two = tf.constant(1.0), tf.constant(2.0)
    self.assertEqual(accumulation.add(None, [one, None]), [one, None])
    self.assertEqual(
      [
        None if g is None else float(g)
        for g in accumulation.add([one, None, None], [two, two, None])
      ],
      [3.0, 2.0, None],
    )

  def test_a_part_waits_for_the_gradients_of_the_one_before(self):
    def _both(first, second):
      squared = tf.square(first, name='squared')
      (later,) = accumulation.after([second], [squared])
      return tf.identity(later, name='later')

    graph = tf.function(_both).get_concrete_function(*[tf.TensorSpec([2])] * 2).graph
    (waiting,) = [
      op for op in graph.get_operations() if op.control_inputs and op.type == 'Identity'
    ]
    self.assertEqual([op.name for op in waiting.control_inputs], ['squared'])


class SettingsTest(tf.test.TestCase):
  def test_batches_that_cannot_be_split(self):
    config = _config(3)
    config.train_data.global_batch_size = config.pseudo_data.global_batch_size = 12
    task_configs.check_batches(config, 2)
    config.pseudo_data.global_batch_size = 9
    task_configs.check_batches(config, 1)
    with self.assertRaisesRegex(
      errors.ConfigError,
      r'task\.pseudo_data\.global_batch_size is 9: with task\.gradient_accumulation_steps=3 on 2 '
      'replicas it must be a multiple of 6',
    ):
      task_configs.check_batches(config, 2)
    config.joint.weight = 0.5
    config.joint.data.global_batch_size = 4
    with self.assertRaisesRegex(errors.ConfigError, r'task\.joint\.data\.global_batch_size is 4'):
      task_configs.check_batches(config, 1)

  def test_batches_that_replicas_cannot_share(self):
    config = _config(1)
    for stream in (config.train_data, config.pseudo_data, config.validation_data):
      stream.global_batch_size = 12
    task_configs.check_batches(config, 4)
    config.validation_data.global_batch_size = 10
    with self.assertRaisesRegex(
      errors.ConfigError,
      r'^task\.validation_data\.global_batch_size is 10: on 4 replicas it must be a multiple of 4\.$',
    ):
      task_configs.check_batches(config, 4)

  def test_batch_norm_is_warned_of(self):
    config = _config(4)
    config.train_data.global_batch_size = config.pseudo_data.global_batch_size = 8
    self.assertIn('batch norm sees 4 images', task_configs.batch_norm_warning(config, 1))


if __name__ == '__main__':
  tf.test.main()
