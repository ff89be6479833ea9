"""MultiStreamMixin: where the inputs of each stream come from, hooks, precision, and streams that teach nothing."""

import dataclasses
from unittest import mock

import numpy as np
import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.tasks import detection, multi_stream, passes, stream_specs, streams
from tests.tasks import tiny
from tests.testing import replicas


def setUpModule():
  replicas.make_devices()


def _still():
  return tf.keras.optimizers.legacy.SGD(0.0)


def _logs(task, inputs):
  logs = task.train_step(inputs, task.build_model(), _still(), task.build_metrics(training=True))
  return {name: float(value) for name, value in logs.items()}


class InputsTest(tf.test.TestCase):
  def _batches(self, task, params, context):
    """What `build_inputs` gives and how it asks for the batches of each stream."""
    calls = {}

    def batches(stream, config, input_context):
      calls[stream.name] = (config, input_context)
      return tf.data.Dataset.from_tensors(stream.name).repeat(2)

    with mock.patch.object(task, 'stream_batches', batches):
      found = list(task.build_inputs(params, context).as_numpy_iterator())
    return found, calls

  def test_each_stream_is_read_with_its_own_config_and_the_place_of_the_host(self):
    task = tiny.TinyTask(tiny.config())
    given = task.task_config.train_data.replace(global_batch_size=2)
    context = tf.distribute.InputContext(2, 1, 2)
    found, calls = self._batches(task, given, context)
    names = {name: name.encode() for name in keys.SOURCES}
    self.assertEqual(found, [names, names])
    # The trainer passes the config of the first stream.
    self.assertIs(calls[keys.HUMAN][0], given)
    self.assertIs(calls[keys.PSEUDO][0], task.task_config.pseudo_data)
    self.assertEqual([each for _, each in calls.values()], [context, context])

  def test_evaluation_has_the_inputs_of_the_task_itself(self):
    task = tiny.TinyTask(tiny.config())
    params = task.task_config.validation_data
    with mock.patch.object(streams.StreamsMixin, 'build_inputs', return_value='its own') as own:
      self.assertEqual(task.build_inputs(params, None), 'its own')
    own.assert_called_once_with(params, None)

  def test_a_task_with_one_stream_has_its_own_inputs(self):
    task = detection.DetectionTask(tiny.config().supervised())
    params = task.task_config.train_data
    with mock.patch.object(streams.StreamsMixin, 'build_inputs', return_value='its own') as own:
      self.assertEqual(task.build_inputs(params, None), 'its own')
    own.assert_called_once_with(params, None)

  def test_evaluation_has_the_metrics_of_the_task_itself(self):
    task = tiny.TinyTask(tiny.config())
    training = {metric.name for metric in task.build_metrics(training=True)}
    evaluation = {metric.name for metric in task.build_metrics(training=False)}
    self.assertContainsSubset({'human_loss', 'pseudo_loss', 'loss_ratio'}, training)
    # The Model Garden's own, which training has, too.
    self.assertEqual(training & evaluation, {'total_loss'})
    self.assertNotEqual(evaluation, training)


class TaughtStreamsTest(tf.test.TestCase):
  def test_an_extra_stream_counts_by_its_weight(self):
    task = tiny.TinyTask(tiny.config())
    human, pseudo = task.training_streams()
    for weight, names in ((0.0, [*keys.SOURCES]), (0.5, [*keys.SOURCES, 'other'])):
      other = dataclasses.replace(human, name='other', role=stream_specs.Role.EXTRA, weight=weight)
      with mock.patch.object(task, 'training_streams', return_value=(human, pseudo, other)):
        self.assertEqual([stream.name for stream in task.taught_streams()], names)


class _OwnTargets(tiny.TinyTask):
  """Says during training that there is nothing in the unlabelled images."""

  def pseudo_targets(self, inputs, model):
    features, labels = inputs[keys.PSEUDO]
    nothing = {**labels, 'num_boxes': tf.zeros_like(labels['num_boxes'])}
    return {**inputs, keys.PSEUDO: (features, nothing)}


class _HeadAlone(tf.keras.Model):
  """Has a backbone and does not use it."""

  def __init__(self):
    super().__init__()
    self.backbone, self.head = tf.keras.layers.Dense(1), tf.keras.layers.Dense(1)
    for layer in (self.backbone, self.head):
      layer.build([None, 2])

  def call(self, inputs):
    return self.head(inputs)


class StepTest(tf.test.TestCase):
  def test_targets_can_be_made_during_training(self):
    config = tiny.config()
    inputs = tiny.inputs(1, config)
    before = _logs(tiny.TinyTask(config), inputs)
    after = _logs(_OwnTargets(config), inputs)
    self.assertGreater(before['pseudo_share_with_boxes'], 0.0)
    self.assertEqual(after['pseudo_share_with_boxes'], 0.0)
    self.assertEqual(after['human_boxes_per_image'], before['human_boxes_per_image'])

  def test_without_normalisation_losses_are_summed(self):
    # Decay 0 takes the ratio from this step alone: 0.5 * ratio * pseudo is then half the human loss.
    inputs = tiny.inputs(1, tiny.config())
    for normalize in (True, False):
      task = tiny.TinyTask(tiny.config(alpha=0.5, ema_decay=0.0, normalize_loss=normalize))
      logs = _logs(task, inputs)
      decay = float(tf.add_n(task.build_model().losses))
      expected = logs['human_loss'] + 0.5 * logs['pseudo_loss']
      if normalize:
        expected = logs['human_loss']
      self.assertAllClose(logs['loss'], expected + decay, rtol=1e-5)
      self.assertNotAllClose(logs['human_loss'], logs['pseudo_loss'], rtol=1e-2)

  def test_the_factor_of_the_whole_loss(self):
    config = tiny.config(alpha=0.0)
    inputs = tiny.inputs(1, config)
    once = _logs(tiny.TinyTask(config), inputs)
    config.losses.loss_weight = 3.0
    thrice = _logs(tiny.TinyTask(config), inputs)
    self.assertAllClose(thrice['total_loss'], thrice['loss'])
    decay = float(tf.add_n(tiny.TinyTask(config).build_model().losses))
    self.assertAllClose(thrice['loss'] - 3 * decay, 3 * thrice['human_loss'], rtol=1e-5)
    self.assertGreater(thrice['loss'], 2.9 * once['loss'])

  def test_a_model_without_weight_decay(self):
    config = tiny.config(alpha=0.0)
    task = tiny.TinyTask(config)
    model, metrics = task.build_model(), task.build_metrics(training=True)
    with mock.patch.object(type(model), 'losses', new_callable=mock.PropertyMock, return_value=[]):
      logs = task.train_step(tiny.inputs(1, config), model, _still(), metrics)
    self.assertAllClose(logs['loss'], logs['human_loss'], rtol=1e-6)

  def test_logs_are_means_over_the_steps_since_they_were_read(self):
    config = tiny.config()
    task = tiny.TinyTask(config)
    model, metrics = task.build_model(), task.build_metrics(training=True)
    found = []
    for seed in (1, 2):
      logs = task.train_step(tiny.inputs(seed, config), model, _still(), metrics)
      found.append({name: float(value) for name, value in logs.items()})
    alone = float(np.mean(tiny.inputs(2, config)[keys.HUMAN][1]['num_boxes']))
    first = found[0]['human_boxes_per_image']
    self.assertNotEqual(first, alone)
    self.assertAllClose(found[1]['human_boxes_per_image'], (first + alone) / 2)

  def test_a_backbone_variable_that_no_loss_reaches(self):
    model = _HeadAlone()
    before = [np.array(v) for v in model.backbone.trainable_variables]
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(model(tf.ones([1, 2])))
    gradients = tape.gradient(loss, model.trainable_variables)
    multi_stream.apply_gradients(gradients, model, tf.keras.optimizers.legacy.SGD(1.0), 0.1)
    self.assertAllEqual(model.backbone.kernel, before[0])
    self.assertLen(model.trainable_variables, 4)


class ShapeTest(tf.test.TestCase):
  def test_batches_of_known_size_stay_known(self):
    task = tiny.TinyTask(tiny.config())
    model = task.build_model()
    sizes = []

    def forward(human, pseudo):
      outputs = task.forward(model, {keys.HUMAN: human, keys.PSEUDO: pseudo})
      sizes.append([outputs[source]['cls_outputs']['3'].shape[0] for source in keys.SOURCES])
      return [outputs[source]['cls_outputs']['3'] for source in keys.SOURCES]

    side = tiny.SIZE
    known = [tf.TensorSpec([size, side, side, 3]) for size in (2, 3)]
    unknown = [tf.TensorSpec([None, side, side, 3])] * 2
    images = tf.zeros([2, side, side, 3]), tf.zeros([3, side, side, 3])
    for signature, expected in ((known, [2, 3]), (unknown, [None, None])):
      found = tf.function(forward, input_signature=signature)(*images)
      self.assertEqual(sizes[-1], expected)
      self.assertEqual([value.shape[0] for value in found], [2, 3])


class PrecisionTest(tf.test.TestCase):
  def test_what_losses_are_made_of_is_float32(self):
    self.addCleanup(tf.keras.mixed_precision.set_global_policy, 'float32')
    tf.keras.mixed_precision.set_global_policy('mixed_bfloat16')
    images = tf.random.stateless_normal([2, tiny.SIZE, tiny.SIZE, 3], [1, 2])
    for separate in (False, True):
      task = tiny.TinyTask(tiny.config(separate_batch_norm=separate))
      model = task.build_model()
      self.assertEqual(model(images, training=False)['box_outputs']['3'].dtype, tf.bfloat16)
      outputs = task.forward(model, dict.fromkeys(keys.SOURCES, images))
      for tensor in tf.nest.flatten(outputs):
        self.assertEqual(tensor.dtype, tf.float32)

  def test_scaled_losses_move_weights_as_others_do(self):
    config = tiny.config()
    inputs = tiny.inputs(1, config)
    found = []
    for optimizer in (
      tf.keras.optimizers.legacy.SGD(0.1),
      tf.keras.mixed_precision.LossScaleOptimizer(
        tf.keras.optimizers.legacy.SGD(0.1), dynamic=False, initial_scale=1024.0
      ),
    ):
      task = tiny.TinyTask(config)
      model = task.build_model()
      logs = task.train_step(inputs, model, optimizer, task.build_metrics(training=True))
      found.append(([v.numpy() for v in model.trainable_variables], float(logs['loss'])))
    self.assertAllClose(found[0][0], found[1][0], rtol=1e-5, atol=1e-7)
    self.assertAllClose(found[0][1], found[1][1], rtol=1e-6)


class ReplicaTest(tf.test.TestCase):
  def test_the_logged_loss_is_the_whole_one_and_not_a_replicas_share(self):
    strategy = replicas.two_replicas()
    config = tiny.config()
    with strategy.scope():
      task = tiny.TinyTask(config)
      model, optimizer, metrics = task.build_model(), _still(), task.build_metrics(training=True)
    inputs = tiny.inputs(1, config)
    logs = strategy.run(lambda: task.train_step(inputs, model, optimizer, metrics))
    loss = strategy.reduce(tf.distribute.ReduceOp.MEAN, logs['loss'], axis=None)
    (total,) = [metric for metric in metrics if metric.name == 'total_loss']
    self.assertAllClose(total.result(), loss, rtol=1e-5)


class PassAsideTest(tf.test.TestCase):
  def test_outputs_are_those_of_the_batch_and_statistics_stay(self):
    model = tiny.TinyTask(tiny.config()).build_model()
    images = 3 + tf.random.stateless_normal([4, tiny.SIZE, tiny.SIZE, 3], [1, 2])
    before = [np.array(v) for v in model.non_trainable_variables]
    outputs = passes.pass_aside(model, images)
    for variable, value in zip(model.non_trainable_variables, before, strict=True):
      self.assertAllEqual(variable, value)
    expected = model(images, training=True)
    self.assertAllClose(outputs['cls_outputs']['3'], expected['cls_outputs']['3'], atol=1e-6)
    self.assertNotAllClose(model.backbone.norm.moving_variance, np.ones(8), atol=1e-3)


if __name__ == '__main__':
  tf.test.main()
