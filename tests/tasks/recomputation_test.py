"""A student whose backbone is computed twice is trained as one whose activations are kept: `task.recompute_blocks`."""

import pytest
import tensorflow as tf

from official_selftrain.configs import detection as configs
from official_selftrain.core import errors, keys
from official_selftrain.tasks import detection
from tests.tasks import tiny
from tests.testing import replicas

_SIDE = 64
_STEPS = 2


def setUpModule():
  replicas.make_devices()


def _task(recompute, parts=1):
  model = configs.small_retinanet(num_classes=tiny.NUM_CLASSES, image_size=_SIDE)
  config = configs.DetectionSelfTrainingTask(model=model)
  config.train_data.global_batch_size = config.pseudo_data.global_batch_size = 4
  config.recompute_blocks, config.gradient_accumulation_steps = recompute, parts
  return detection.DetectionSelfTrainingTask(config)


def _trained(recompute, parts=1, strategy=None):
  """All weights, moving statistics and averages included, and the last losses."""
  tf.keras.utils.set_random_seed(1)
  strategy = strategy or tf.distribute.get_strategy()
  number = strategy.num_replicas_in_sync
  with strategy.scope():
    task = _task(recompute, parts)
    model = task.build_model()
    task.make_variables(model)
    optimizer = tf.keras.optimizers.legacy.SGD(0.01, momentum=0.9)

  @tf.function
  def step(batches):
    return strategy.run(lambda batch: task.train_step(batch, model, optimizer), args=(batches,))

  for index in range(_STEPS):
    batch = tiny.inputs(index, task.task_config, human=4, pseudo=4)
    pieces = [
      tf.nest.map_structure(lambda each, n=n: tf.split(each, number)[n], batch)
      for n in range(number)
    ]
    values = strategy.experimental_distribute_values_from_function(
      lambda context, pieces=pieces: pieces[context.replica_id_in_sync_group]
    )
    logs = step(values if number > 1 else batch)
  losses = {
    name: float(strategy.reduce('SUM', value, axis=None))
    for name, value in logs.items()
    if name.endswith(('loss', keys.HUMAN, keys.PSEUDO))
  }
  return [v.numpy() for v in model.weights], losses


class RecomputationTest(tf.test.TestCase):
  def assert_same_update(self, parts, strategy=None):
    weights, losses = _trained(False, parts, strategy)
    again, losses_again = _trained(True, parts, strategy)
    self.assertNotEmpty(losses)
    self.assertAllClose(losses_again, losses, rtol=1e-5)
    for found, expected in zip(again, weights, strict=True):
      self.assertAllClose(found, expected, rtol=1e-4, atol=1e-5)

  def test_update_is_the_same(self):
    self.assert_same_update(parts=1)

  @pytest.mark.slow
  def test_update_is_the_same_in_parts_on_two_replicas(self):
    self.assert_same_update(2, replicas.two_replicas())

  def test_a_backbone_without_blocks_is_refused(self):
    task = _task(recompute=True)
    inputs = tf.keras.Input([_SIDE, _SIDE, 3])
    model = tf.keras.Model(inputs, tf.keras.layers.Conv2D(4, 3)(inputs))
    model.backbone = tf.keras.Model(inputs, tf.keras.layers.Conv2D(4, 3)(inputs))
    with self.assertRaisesRegex(
      errors.ConfigError,
      'recompute_blocks: this backbone has no blocks .*gradient_accumulation_steps',
    ):
      task.finished(model)


if __name__ == '__main__':
  tf.test.main()
