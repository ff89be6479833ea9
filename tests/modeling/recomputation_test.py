"""Tests of official_selftrain.modeling.recomputation."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.modeling.backbones import resnet
from official.vision.modeling.layers import nn_blocks

from official_selftrain.modeling import memory, recomputation
from official_selftrain.modeling.original import efficientnet

_SHAPE = (64, 64, 3)


def _network(name, drop_rate=0.0):
  specs = tf.keras.layers.InputSpec(shape=[None, *_SHAPE])
  if name == 'resnet':
    backbone = resnet.ResNet(18, specs, init_stochastic_depth_rate=drop_rate)
  else:
    backbone = efficientnet.EfficientNet('b0', drop_rate, input_specs=specs)
  return backbone


def _pair(name, drop_rate=0.0):
  """A network and a copy of it that recomputes."""
  plain, other = _network(name, drop_rate), _network(name, drop_rate)
  other.set_weights(plain.get_weights())
  assert recomputation.recompute_blocks(other) > 0
  return plain, other


def _step(model, images, compiled=False):
  """Loss, gradients and moving statistics of one step."""

  @tf.function(jit_compile=compiled)
  def step(images):
    with tf.GradientTape() as tape:
      features = model(images, training=True)
      loss = tf.add_n([tf.reduce_mean(features[level] ** 2) for level in sorted(features)[-2:]])
    variables = model.trainable_variables
    found = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return loss, found

  loss, found = step(images)
  return (
    loss.numpy(),
    [g.numpy() for g in found],
    [v.numpy() for v in model.non_trainable_variables],
  )


def _images(count=4):
  return tf.constant(np.random.default_rng(0).normal(size=(count, *_SHAPE)), tf.float32)


class RecomputationTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(('resnet', False), ('resnet', True), ('efficientnet', False))
  def test_step_is_that_of_the_plain_network(self, name, compiled):
    plain, other = _pair(name)
    images = _images()
    before = [v.numpy() for v in plain.non_trainable_variables]
    loss, gradients, statistics = _step(plain, images, compiled)
    loss_again, gradients_again, statistics_again = _step(other, images, compiled)
    self.assertAllClose(loss_again, loss, rtol=1e-5)
    for found, expected in zip(gradients_again, gradients, strict=True):
      # Betas before another batch norm have a gradient of zero, apart from rounding.
      self.assertAllClose(found, expected, rtol=1e-3, atol=1e-6 + 1e-4 * np.abs(expected).max())
    # Moving statistics move once.
    for found, expected, old in zip(statistics_again, statistics, before, strict=True):
      self.assertAllClose(found, expected, rtol=1e-5, atol=1e-6)
      self.assertFalse(np.array_equal(found, old))

  def test_gradients_belong_to_the_images_that_were_kept(self):
    """Without biases a network is homogeneous: gradient times input is the output, if both are of one draw."""
    _, model = _pair('resnet', drop_rate=0.5)
    _freeze_norms(model)
    losses = []

    @tf.function
    def step(images):
      with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = model(images, training=True)
        loss = tf.reduce_sum(outputs[max(outputs)])
      return loss, tape.gradient(loss, images)

    tf.random.set_seed(3)
    for _ in range(4):
      loss, gradient = step(_images())
      self.assertAllClose(tf.reduce_sum(gradient * _images()), loss, rtol=1e-4)
      losses.append(float(loss))
    self.assertLen(set(losses), 4)  # Each step draws anew.

  def test_stochastic_depth_drops_or_scales_up(self):
    block = nn_blocks.InvertedBottleneckBlock(3, 3, 6, 1, stochastic_depth_drop_rate=0.25)
    inputs = tf.keras.Input((8, 8, 3))
    model = tf.keras.Model(inputs, block(inputs))
    _freeze_norms(model)
    images = _images(200)[:, :8, :8]
    branch = model(images, training=False) - images
    self.assertEqual(recomputation.recompute_blocks(model), 1)
    drawn = tf.function(lambda x: model(x, training=True))(images) - images
    ratio = tf.einsum('bhwc,bhwc->b', drawn, branch) / tf.einsum('bhwc,bhwc->b', branch, branch)
    is_kept = ratio.numpy() > 0.5
    self.assertAllClose(ratio, np.where(is_kept, 1 / 0.75, 0), atol=1e-4)
    self.assertBetween(is_kept.mean(), 0.65, 0.85)  # 3.3 standard deviations around 0.75.

  def test_estimated_activations_fall(self):
    plain, other = _pair('efficientnet')

    def activations(model):
      def loss(images):
        return tf.add_n([tf.reduce_sum(each) for each in model(images, training=True).values()])

      spec = tf.TensorSpec([memory.BATCH, *_SHAPE])
      return memory.activations(loss, spec, model.trainable_variables)

    before, after = activations(plain), activations(other)
    # What is left is the stem, the inputs of 16 blocks, and the inside of the largest.
    self.assertLess(after.kept, 0.3 * before.kept)
    self.assertLess(after.peak, 0.7 * before.peak)

  def test_evaluation_is_untouched(self):
    plain, other = _pair('resnet', drop_rate=0.5)
    for level, features in plain(_images(), training=False).items():
      self.assertAllEqual(other(_images(), training=False)[level], features)

  def test_a_network_without_blocks_has_none(self):
    inputs = tf.keras.Input(_SHAPE)
    model = tf.keras.Model(inputs, tf.keras.layers.Conv2D(4, 3)(inputs))
    self.assertEqual(recomputation.recompute_blocks(model), 0)


def _freeze_norms(model):
  for layer in model.submodules:
    if isinstance(layer, tf.keras.layers.BatchNormalization):
      layer.trainable = False


if __name__ == '__main__':
  tf.test.main()
