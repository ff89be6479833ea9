"""ResNet as the paper's authors trained it."""

from typing import Any

import tensorflow as tf
from official.modeling import tf_utils
from official.vision.modeling.backbones import resnet

from official_selftrain.modeling.original import padding


class ResNet(resnet.ResNet):
  """The Model Garden's ResNet with evenly padded strides, in the stem and in the bottlenecks."""

  def _stem(self, inputs: tf.Tensor) -> tf.Tensor:
    x = padding.EvenlyPaddedConv2D(
      64,
      7,
      strides=2,
      use_bias=False,
      kernel_initializer=self._kernel_initializer,
      kernel_regularizer=self._kernel_regularizer,
      bias_regularizer=self._bias_regularizer,
      name='stem_conv',
    )(inputs)
    x = self._norm(
      axis=self._bn_axis,
      momentum=self._norm_momentum,
      epsilon=self._norm_epsilon,
      synchronized=self._use_sync_bn,
      name='stem_norm',
    )(x)
    x = tf_utils.get_activation(self._activation, use_keras_layer=True)(x)
    return tf.keras.layers.MaxPool2D(pool_size=3, strides=2, padding='same')(x)

  def _block_group(
    self,
    inputs: tf.Tensor,
    filters: int,
    strides: int,
    block_fn: type[tf.keras.layers.Layer],
    **kwargs: Any,
  ) -> tf.Tensor:
    del block_fn  # The Model Garden's bottleneck.
    return super()._block_group(inputs, filters, strides, padding.BottleneckBlock, **kwargs)
