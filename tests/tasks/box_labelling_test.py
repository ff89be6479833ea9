"""Second boxes of an object: labelling suppresses them in its own way, independently of the model."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.configs import decoders, retinanet

from official_selftrain.configs import detection as configs
from official_selftrain.core import errors
from official_selftrain.modeling import assembly
from official_selftrain.tasks import detection

_SIDE = 64
_SCORES = (0.95, 0.9)
# Of two boxes of 22 by 40 pixels, one 6.4 pixels to the right of the other: (22 - 6.4) / (22 + 6.4).
_IOU = 15.6 / 28.4


def _task(sigma):
  model = configs.DetectionModel(
    num_classes=3,
    input_size=[_SIDE, _SIDE, 3],
    min_level=3,
    max_level=3,
    anchor=retinanet.Anchor(num_scales=1, aspect_ratios=[1.0], anchor_size=1.0),
    decoder=decoders.Decoder(type='identity', identity=decoders.Identity()),
    detection_generator=retinanet.DetectionGenerator(
      nms_version='batched', soft_nms_sigma=sigma, max_num_detections=5
    ),
  )
  return detection.DetectionSelfTrainingTask(configs.DetectionSelfTrainingTask(model=model))


class Head(tf.keras.layers.Layer):
  """Two boxes of class 2 with `_SCORES`, from anchors of 8 by 8 pixels with corners at (24, 24) and (24, 32)."""

  def call(self, features):
    count = tf.shape(features['3'])[0]
    logits = np.full([1, 8, 8, 3], -20.0, np.float32)
    logits[0, 3, 3:5, 2] = np.log(np.divide(_SCORES, np.subtract(1.0, _SCORES)))
    boxes = np.zeros([1, 8, 8, 4], np.float32)
    boxes[0, 3, 3:5, 2:] = np.log(40 / 8), np.log(22 / 8)
    boxes[0, 3, 4, 1] = (6.4 - 8) / 8
    repeat = [count, 1, 1, 1]
    return {'3': tf.tile(logits, repeat)}, {'3': tf.tile(boxes, repeat)}, {}


def _model(task):
  image = tf.keras.Input([_SIDE, _SIDE, 3])
  backbone = tf.keras.Model(image, {'3': tf.keras.layers.AveragePooling2D(8)(image)})
  return assembly.retinanet(task.task_config.model, backbone, None, Head())


def _predict(task, model, labels):
  preprocess, predict = task.labelling_functions(model, labels)
  encoded = tf.io.encode_png(np.zeros([_SIDE, _SIDE, 3], np.uint8))
  found = predict(tf.nest.map_structure(lambda value: value[None], preprocess(encoded)))
  count = found['num_detections'].numpy()[0]
  return {name: found[name].numpy()[0, :count] for name in ('boxes', 'scores', 'classes')}


class OverlappingTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(0.3, None, 0.0)
  def test_hard_suppression_leaves_one(self, sigma):
    task = _task(sigma)
    model = _model(task)
    found = _predict(task, model, configs.BoxLabelling())
    self.assertAllClose(found['scores'], [_SCORES[0]])
    self.assertAllEqual(found['classes'], [2])
    # Centre (28, 28), 40 high and 22 wide, relative to 64.
    self.assertAllClose(found['boxes'], [np.divide([8, 17, 48, 39], 64)])

  def test_the_models_own_soft_suppression_keeps_a_duplicate_above_the_cut(self):
    task = _task(0.3)
    found = _predict(task, _model(task), None)
    expected = [_SCORES[0], _SCORES[1] * np.exp(-0.5 * _IOU**2 / 0.3)]
    self.assertAllClose(found['scores'], expected)
    self.assertGreater(found['scores'][1], 0.5)

  def test_soft_suppression_of_labels_on_request(self):
    task = _task(None)
    model = _model(task)
    found = _predict(task, model, configs.BoxLabelling(soft_nms_sigma=0.15))
    self.assertAllClose(found['scores'], [0.95, 0.9 * np.exp(-0.5 * _IOU**2 / 0.15)])
    self.assertLen(_predict(task, model, None)['scores'], 1)

  @parameterized.parameters(None, 0.3)
  def test_equal_settings_give_the_same_to_the_bit(self, sigma):
    task = _task(sigma)
    model = _model(task)
    own = _predict(task, model, None)
    labels = _predict(task, model, configs.BoxLabelling(soft_nms_sigma=sigma or 0.0))
    for name, values in own.items():
      self.assertAllEqual(labels[name], values)

  def test_the_models_own_suppression_does_not_run_too(self):
    task = _task(0.3)
    model = _model(task)
    with mock.patch.object(model, '_detection_generator', side_effect=AssertionError):
      self.assertLen(_predict(task, model, configs.BoxLabelling())['scores'], 1)
      with self.assertRaises(AssertionError):
        _predict(task, model, None)

  def test_settings_that_do_not_go_together_name_the_setting_of_labels(self):
    task = _task(None)
    model = _model(task)
    task.task_config.model.detection_generator.use_class_agnostic_nms = True
    with self.assertRaisesRegex(
      errors.ConfigError, r'Soft-NMS treats each class .*; set labels\.soft_nms_sigma to 0'
    ):
      task.labelling_functions(model, configs.BoxLabelling(soft_nms_sigma=0.3))


if __name__ == '__main__':
  tf.test.main()
