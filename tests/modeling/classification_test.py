"""Classifiers: pooling, logits and weight decay by hand."""

import tensorflow as tf
from official.vision.configs import backbones

from official_selftrain.configs import classification as configs
from official_selftrain.modeling import classification


class PooledFeaturesTest(tf.test.TestCase):
  def test_levels_of_one_width_are_averaged(self):
    features = {'3': tf.fill([1, 4, 4, 2], 1.0), '4': tf.fill([1, 2, 2, 2], 4.0)}
    self.assertAllClose(classification.PooledFeatures()(features), [[2.5, 2.5]])

  def test_else_the_last_level_counts(self):
    last = tf.reshape(tf.range(8.0), [1, 2, 2, 2])
    features = {'9': tf.ones([1, 4, 4, 3]), '10': last}
    # Channel 0 has 0, 2, 4, 6.
    self.assertAllClose(classification.PooledFeatures()(features), [[3.0, 4.0]])


def _spinenet():
  """Settings of a classifier on a small SpineNet, whose levels have one width."""
  small = backbones.SpineNet(model_id='nano', min_level=3, max_level=5)
  return configs.ClassificationModel(
    num_classes=3,
    input_size=[128, 128, 3],
    backbone=backbones.Backbone(type='spinenet', spinenet=small),
  )


class BuildTest(tf.test.TestCase):
  def test_logits_are_those_of_the_pooled_features(self):
    model = classification.build(_spinenet())
    images = tf.random.stateless_normal([2, 128, 128, 3], [1, 2])
    features = model.backbone(images)
    pooled = tf.add_n([tf.reduce_mean(level, [1, 2]) for level in features.values()]) / 3.0
    kernel, bias = model.head.weights
    self.assertAllClose(model(images), pooled @ kernel + bias, atol=1e-5)
    self.assertEqual(model(images).dtype, tf.float32)

  def test_weight_decay_is_half_the_sum_of_squares(self):
    model = classification.build(_spinenet(), l2_weight_decay=0.1)
    kernels = [v for v in model.trainable_variables if 'kernel' in v.name]
    expected = 0.1 * sum(float(tf.nn.l2_loss(kernel)) for kernel in kernels)
    self.assertAllClose(tf.add_n(model.losses), expected, rtol=1e-5)


if __name__ == '__main__':
  tf.test.main()
