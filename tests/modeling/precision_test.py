"""Outputs are float32, whatever a network computes in, so close values stay distinct in everything made from them."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.configs import decoders, retinanet

from official_selftrain.configs import detection as configs
from official_selftrain.configs import segmentation as segmentation_configs
from official_selftrain.modeling import assembly, detection_generator, precision
from official_selftrain.modeling import segmentation as segmenters

_SIDE = 64


def _model(**settings):
  """Settings of one anchor per location on level 3, and two classes."""
  return configs.DetectionModel(
    num_classes=2,
    input_size=[_SIDE, _SIDE, 3],
    min_level=3,
    max_level=3,
    anchor=retinanet.Anchor(num_scales=1, aspect_ratios=[1.0], anchor_size=1.0),
    decoder=decoders.Decoder(type='identity', identity=decoders.Identity()),
    detection_generator=retinanet.DetectionGenerator(**settings),
  )


def _raw(first, second, dtype):
  """Raw boxes and scores in which the first two of 8 x 8 locations have these logits, and others -20."""
  logits = np.full([1, 8, 8, 2], -20.0, np.float32)
  logits[0, 0, :2, 1] = first, second
  boxes = tf.zeros([1, 8, 8, 4], dtype)
  return {'3': boxes}, {'3': tf.cast(logits, dtype)}


class Head(tf.keras.layers.Layer):
  """Gives the same logits for any features, in the precision that layers compute in."""

  def call(self, features):
    boxes, scores = _raw(9.0, 9.0625, self.compute_dtype)
    return scores, boxes, {}


def _retinanet(model):
  backbone = tf.keras.Sequential([tf.keras.layers.AveragePooling2D(8)])
  wrapped = tf.keras.Model(image := tf.keras.Input(model.input_size), {'3': backbone(image)})
  return assembly.retinanet(model, wrapped, None, Head())


class PolicyTest(tf.test.TestCase):
  def test_the_policy_before_comes_back(self):
    before = tf.keras.mixed_precision.global_policy().name
    with self.assertRaisesRegex(ValueError, 'stop'), precision.policy('bfloat16'):
      self.assertEqual(tf.keras.mixed_precision.global_policy().compute_dtype, 'bfloat16')
      with precision.policy(None):
        self.assertEqual(tf.keras.mixed_precision.global_policy().compute_dtype, 'float32')
      self.assertEqual(tf.keras.mixed_precision.global_policy().compute_dtype, 'bfloat16')
      raise ValueError('stop')
    self.assertEqual(tf.keras.mixed_precision.global_policy().name, before)

  def test_nests_keep_their_structure(self):
    given = ({'3': tf.constant([1.5], tf.bfloat16)}, {}, [tf.constant(2.0)])
    found = precision.to_float32(given)
    self.assertEqual(found, ({'3': [1.5]}, {}, [2.0]))
    self.assertEqual({value.dtype for value in tf.nest.flatten(found)}, {tf.float32})


class DetectionTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(precision.policy('bfloat16'))

  @parameterized.product(version=('v1', 'v2', 'v3', 'batched'), sigma=(None, 0.3))
  def test_close_logits_keep_different_scores(self, version, sigma):
    # A sigmoid in bfloat16 gives 1 for both, as does bfloat16 for 9.03 give 9.
    model = _model(
      nms_version=version, soft_nms_sigma=sigma, pre_nms_top_k=50, max_num_detections=2
    )
    anchors = _retinanet(model)._anchor_boxes(tf.zeros([1, _SIDE, _SIDE, 3]))
    raw = _raw(9.0, 9.03, tf.float32)
    found = detection_generator.build(model)(*raw, anchors, tf.constant([[64.0, 64.0]]))
    expected = 1.0 / (1.0 + np.exp(-np.array([[9.03, 9.0]])))
    self.assertAllClose(found['detection_scores'], expected, rtol=0.0, atol=1e-6)
    scores = found['detection_scores'].numpy()[0]
    self.assertEqual(scores.dtype, np.float32)
    self.assertGreater(scores[0], scores[1])
    self.assertAllEqual(found['detection_boxes'][0, :, 1], [8.0, 0.0])

  @parameterized.product(version=('v2', 'batched'), sigma=(None, 0.3), decoded=(False, True))
  def test_a_network_in_bfloat16(self, version, sigma, decoded):
    # 1/16 is the step of bfloat16 at 9.
    settings = {'pre_nms_top_k': 50, 'max_num_detections': 2, 'return_decoded': decoded}
    model = _retinanet(_model(nms_version=version, soft_nms_sigma=sigma, **settings))
    found = model(tf.zeros([1, _SIDE, _SIDE, 3]), training=False)
    expected = 1.0 / (1.0 + np.exp(-np.array([[9.0625, 9.0]])))
    self.assertAllClose(found['detection_scores'], expected, rtol=0.0, atol=1e-6)
    self.assertGreater(*found['detection_scores'].numpy()[0])
    floats = [value for value in tf.nest.flatten(found) if value.dtype.is_floating]
    self.assertLen(floats, 6 if decoded else 4)
    self.assertEqual({value.dtype for value in floats}, {tf.float32})

  def test_training_outputs(self):
    found = _retinanet(_model())(tf.zeros([1, _SIDE, _SIDE, 3]), training=True)
    self.assertEqual(sorted(found), ['box_outputs', 'cls_outputs'])
    self.assertEqual({value.dtype for value in tf.nest.flatten(found)}, {tf.float32})
    self.assertAllEqual(found['cls_outputs']['3'][0, 0, :3, 1], [9.0, 9.0625, -20.0])


class SegmentationTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters('model_garden', 'original')
  def test_logits(self, family):
    config = segmentation_configs.small_nasfpn(num_classes=4, image_size=64)
    config.override(
      {
        'family': family,
        'backbone': {'resnet': {'model_id': 50, 'depth_multiplier': 1.0}},
        'decoder': {'nasfpn': {'num_filters': 8, 'num_repeats': 1}},
        'head': {'num_filters': 8},
      }
    )
    with precision.policy('bfloat16'):
      model = segmenters.build(config)
    self.assertEqual(model.head.compute_dtype, 'bfloat16')
    images = tf.random.stateless_normal([1, 64, 64, 3], [0, 0])
    for training in (False, True):
      logits = model(images, training=training)['logits']
      self.assertEqual((logits.dtype, logits.shape), (tf.float32, (1, 16, 16, 4)))
      # They were computed in bfloat16.
      self.assertAllEqual(tf.cast(tf.cast(logits, tf.bfloat16), tf.float32), logits)


if __name__ == '__main__':
  tf.test.main()
