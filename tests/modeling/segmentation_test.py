"""Segmentation models at several sizes, and what the Model Garden's do instead."""

import numpy as np
import tensorflow as tf
from official.vision.configs import backbones, decoders
from official.vision.modeling import factory
from official.vision.modeling.decoders import nasfpn
from official.vision.modeling.layers import nn_layers

from official_selftrain.configs import segmentation as configs
from official_selftrain.modeling import segmentation, segmentation_layers

SPECS = {level: tf.TensorShape([None, None, None, 6]) for level in ('2', '3', '4', '5')}


def _config(**changes):
  config = configs.small_nasfpn(num_classes=4, image_size=64)
  config.override(
    {
      'backbone': {'resnet': {'depth_multiplier': 0.125}},
      'decoder': {'nasfpn': {'num_filters': 8, 'num_repeats': 1}},
      'head': {'num_filters': 8},
    }
  )
  config.override(changes)
  return config


def _pyramid(height, width, filters=6):
  levels = range(2, 6)
  sizes = {level: (-(-height // 2**level), -(-width // 2**level)) for level in levels}
  return {
    str(k): tf.random.stateless_normal([1, *size, filters], [k, 0]) for k, size in sizes.items()
  }


class NasfpnTest(tf.test.TestCase):
  def test_equals_the_model_gardens_where_that_works(self):
    # 256 filters are its default width, and 128 pixels a size that it takes.
    options = {'num_repeats': 1, 'num_filters': 256, 'use_separable_conv': True}
    ours, theirs = segmentation_layers.NASFPN(SPECS, **options), nasfpn.NASFPN(SPECS, **options)
    theirs.set_weights(ours.get_weights())
    features = _pyramid(128, 128)
    found, expected = ours(features), theirs(features)
    self.assertEqual(sorted(found), ['3', '4', '5', '6', '7'])
    for level in expected:
      self.assertAllClose(found[level], expected[level], rtol=1e-4, atol=1e-5)

  def test_all_nodes_have_the_filters_that_were_asked_for(self):
    def widest(model):
      return max(weight.shape[-1] for weight in model.weights)

    self.assertEqual(widest(segmentation_layers.NASFPN(SPECS, num_filters=8, num_repeats=1)), 8)
    self.assertEqual(widest(nasfpn.NASFPN(SPECS, num_filters=8, num_repeats=1)), 256)

  def test_levels_that_are_rounded_up_fit(self):
    features = _pyramid(96, 160)
    found = segmentation_layers.NASFPN(SPECS, num_filters=8, num_repeats=2)(features)
    sizes = {level: tuple(value.shape[1:3]) for level, value in found.items()}
    self.assertEqual(sizes, {'3': (12, 20), '4': (6, 10), '5': (3, 5), '6': (2, 3), '7': (1, 2)})
    with self.assertRaisesRegex(ValueError, 'Dimensions must be equal|[Ii]ncompatible'):
      tf.function(nasfpn.NASFPN(SPECS, num_filters=8, num_repeats=2))(features)


class HeadTest(tf.test.TestCase):
  def _head(self):
    return segmentation_layers.SegmentationHead(3, 2, 1, 8, feature_fusion='pyramid_fusion')

  def test_levels_are_resized_to_the_heads_and_added(self):
    head = self._head()
    seen = []
    decoder = {
      str(k): tf.fill([1, max(64 // 2**k, 1), max(64 // 2**k, 1), 8], float(k)) for k in range(3, 8)
    }
    backbone = {'2': tf.zeros([1, 16, 16, 6])}
    head.build(None)
    head._convs[0].call = lambda x: seen.append(x) or x
    head((backbone, decoder))
    self.assertAllClose(seen[0], np.full([1, 16, 16, 8], 3.0 + 4 + 5 + 6 + 7))

  def test_equals_the_model_gardens_fusion_where_levels_are_not_rounded(self):
    features = _pyramid(128, 256)
    decoder = {level: features[level] for level in ('3', '4', '5')}
    expected = nn_layers.pyramid_feature_fusion(decoder, 2)
    head = self._head()
    seen = []
    head.build(None)
    head._convs[0].call = lambda x: seen.append(x) or tf.zeros([*x.shape[:3], 8])
    head((features, decoder))
    self.assertAllClose(seen[0], expected, atol=1e-5)

  def test_three_convolutions_and_a_classifier(self):
    model = segmentation.build(_config(head={'num_convs': 3}))
    kernels = [w.shape for w in model.head.trainable_weights if 'kernel' in w.name]
    self.assertEqual(kernels, [[3, 3, 8, 8]] * 3 + [[1, 1, 8, 4]])


class BuildTest(tf.test.TestCase):
  def test_one_model_takes_many_sizes(self):
    model = segmentation.build(_config())
    for size in ((64, 64), (32, 96), (160, 128)):
      logits = tf.function(model)(tf.zeros([1, *size, 3]))['logits']
      self.assertEqual(logits.shape, [1, size[0] // 4, size[1] // 4, 4])

  def test_the_stock_model_takes_one(self):
    specs = tf.keras.layers.InputSpec(shape=[None, 128, 128, 3])
    stock = factory.build_segmentation_model(specs, _config())
    self.assertEqual(stock(tf.zeros([1, 128, 128, 3]))['logits'].shape, [1, 32, 32, 4])
    with self.assertRaisesRegex(ValueError, 'incompatible'):
      stock(tf.zeros([1, 64, 64, 3]))

  def test_weight_decay_is_half_the_sum_of_squares_of_kernels(self):
    model = segmentation.build(_config(), l2_weight_decay=0.1)
    kernels = [w for w in model.trainable_weights if 'kernel' in w.name]
    expected = 0.05 * sum(float(tf.reduce_sum(w**2)) for w in kernels)
    self.assertAllClose(float(tf.add_n(model.losses)), expected, rtol=1e-4)
    self.assertEqual(segmentation.build(_config()).losses, [])

  def test_efficientnet_and_fpn(self):
    efficient = backbones.Backbone(
      type='efficientnet', efficientnet=backbones.EfficientNet(model_id='b0')
    )
    pyramid = decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=8))
    for changes in ({'backbone': efficient}, {'decoder': pyramid, 'max_level': 6}):
      config = _config()
      for name, value in changes.items():
        setattr(config, name, value)
      with self.subTest(changes=list(changes)):
        logits = segmentation.build(config)(tf.zeros([1, 96, 64, 3]))['logits']
        self.assertEqual(logits.shape, [1, 24, 16, 4])

  def test_checkpoints_are_the_model_gardens(self):
    model = segmentation.build(_config())
    self.assertEqual(sorted(model.checkpoint_items), ['backbone', 'decoder', 'head'])


if __name__ == '__main__':
  tf.test.main()
