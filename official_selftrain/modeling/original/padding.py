"""Padding of strided convolutions as the TF1 code of ResNet and SpineNet has it.

Both sides get the same margin, (kernel size - 1) / 2, for any stride. TensorFlow's own 'same' puts the odd pixel
of an even image at the bottom and right, so its windows are shifted by half a stride.
"""

from typing import Any

import tensorflow as tf
from official.modeling import tf_utils
from official.vision.modeling.layers import nn_blocks


class EvenlyPaddedConv2D(tf.keras.layers.Conv2D):
  """A convolution with equal margins on all sides."""

  def __init__(self, filters: int, kernel_size: int, **kwargs: Any):
    """See Keras; `kernel_size` is odd, and there is no `padding`."""
    super().__init__(filters, kernel_size, **{**kwargs, 'padding': 'valid'})

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """Convolves [batch, h, w, c]."""
    margin = [self.kernel_size[0] // 2] * 2
    return super().call(tf.pad(inputs, [[0, 0], margin, margin, [0, 0]]))


class BottleneckBlock(nn_blocks.BottleneckBlock):
  """The Model Garden's bottleneck, whose strided convolution is padded evenly."""

  def build(self, input_shape: tf.TensorShape) -> None:
    """See Keras."""
    super().build(input_shape)
    if self._strides == 1:
      return
    self._conv2 = EvenlyPaddedConv2D(
      self._filters,
      3,
      strides=self._strides,
      use_bias=False,
      kernel_initializer=tf_utils.clone_initializer(self._kernel_initializer),
      kernel_regularizer=self._kernel_regularizer,
      bias_regularizer=self._bias_regularizer,
    )
