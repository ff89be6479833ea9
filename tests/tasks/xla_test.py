"""The step of a student, and hard NMS, compile with XLA, which wants static shapes, and give the same results."""

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.configs import detection as box_configs
from official_selftrain.configs import segmentation as mask_configs
from official_selftrain.core import keys
from official_selftrain.modeling import retinanet
from official_selftrain.tasks import detection, segmentation
from tests.tasks import tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_SIDE = 64
_STEPS = 3


def _boxes():
  """The network of the embedded digits, at half their size, and batches for it."""
  config = box_configs.DetectionSelfTrainingTask(
    model=box_configs.small_retinanet(num_classes=tiny.NUM_CLASSES, image_size=_SIDE)
  )
  task = detection.DetectionSelfTrainingTask(config)
  return task, lambda step: tiny.inputs(step, config, human=2, pseudo=2)


def _masks():
  config = mask_configs.SegmentationSelfTrainingTask(
    model=mask_configs.small_nasfpn(num_classes=4, image_size=_SIDE)
  )

  def half(seed):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 4, [2, _SIDE, _SIDE, 1])
    mask[rng.uniform(size=mask.shape) < 0.3] = keys.IGNORE_LABEL
    images = rng.normal(size=[2, _SIDE, _SIDE, 3])
    return tf.constant(images, tf.float32), {'masks': tf.constant(mask, tf.uint8)}

  task = segmentation.SegmentationSelfTrainingTask(config)
  return task, lambda step: {keys.HUMAN: half(2 * step), keys.PSEUDO: half(2 * step + 1)}


class TrainStepTest(tf.test.TestCase):
  def _train(self, make, is_compiled):
    """Logs of a few steps, and the weights after them."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(1)
    task, inputs = make()
    model = task.build_model()
    task.make_variables(model)
    optimizer = tf.keras.optimizers.legacy.SGD(0.01, momentum=0.9)
    step = tf.function(
      lambda batch: task.train_step(batch, model, optimizer), jit_compile=is_compiled
    )
    logs = [{name: np.array(v) for name, v in step(inputs(i)).items()} for i in range(_STEPS)]
    return logs, [weight.numpy() for weight in model.trainable_weights]

  def assert_compiles(self, make):
    expected, expected_weights = self._train(make, is_compiled=False)
    logs, weights = self._train(make, is_compiled=True)
    self.assertNotEqual(expected[0]['loss'], expected[-1]['loss'])
    for one, other in zip(logs, expected, strict=True):
      self.assertAllClose(one, other, rtol=1e-4, atol=1e-5)
    self.assertAllClose(weights, expected_weights, rtol=1e-3, atol=1e-4)

  def test_boxes(self):
    self.assert_compiles(_boxes)

  def test_masks(self):
    self.assert_compiles(_masks)


class SuppressionTest(tf.test.TestCase):
  def _detect(self, version, is_compiled):
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(1)
    config = box_configs.small_retinanet(num_classes=tiny.NUM_CLASSES, image_size=_SIDE)
    config.detection_generator.override(
      {'nms_version': version, 'pre_nms_score_threshold': 0.001, 'max_num_detections': 20}
    )
    model = retinanet.build(config, 0.0)

    def detect(images):
      sides = tf.constant([[_SIDE, _SIDE]] * 2, tf.float32)
      found = model.detect(images, sides, model.detection_generator)
      return {name: found[f'detection_{name}'] for name in ('boxes', 'scores', 'classes')}

    images = tf.random.stateless_normal([2, _SIDE, _SIDE, 3], [1, 2])
    return tf.function(detect, jit_compile=is_compiled)(images)

  def test_versions_that_compile_find_the_same(self):
    for version in box_configs.COMPILED_NMS:
      found = self._detect(version, is_compiled=True)
      self.assertGreater(tf.reduce_min(found['scores']), 0)
      self.assertAllClose(found, self._detect(version, is_compiled=False), atol=1e-4)

  def test_the_default_does_not(self):
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, 'unsupported operations'):
      self._detect('batched', is_compiled=True)


if __name__ == '__main__':
  tf.test.main()
