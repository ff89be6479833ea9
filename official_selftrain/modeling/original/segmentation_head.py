"""The segmentation head of the paper's authors (paper section 3.2 and the released code)."""

from collections.abc import Mapping

import tensorflow as tf
from official.modeling import tf_utils

from official_selftrain.ops import images

Features = Mapping[str, tf.Tensor]


class SegmentationHead(tf.keras.layers.Layer):
  """Enlarges all levels to one, adds them, and applies convolutions and a 1x1 classifier.

  Unlike the Model Garden's, the convolutions have biases, and enlarging follows TF1, see `ops.images.resize_as_tf1`.
  """

  def __init__(
    self,
    num_classes: int,
    level: int = 2,
    num_convs: int = 3,
    num_filters: int = 256,
    activation: str = 'relu',
    use_sync_bn: bool = False,
    norm_momentum: float = 0.997,
    norm_epsilon: float = 1e-3,
    kernel_regularizer: tf.keras.regularizers.Regularizer | None = None,
  ):
    """Builds the layers.

    Args:
      num_classes: classes, background included.
      level: level of the logits; 2 has a stride of 4.
      num_convs: 3x3 convolutions before the classifier.
      num_filters: their filters.
      activation: after each batch norm.
      use_sync_bn: batch norm over all replicas.
      norm_momentum: of batch norm.
      norm_epsilon: of batch norm.
      kernel_regularizer: of all kernels, or None.
    """
    super().__init__()
    self._level = level
    self._activation = tf_utils.get_activation(activation)
    common = {
      'kernel_initializer': tf.keras.initializers.RandomNormal(stddev=0.01),
      'kernel_regularizer': kernel_regularizer,
      'padding': 'same',
    }
    self.convs = [
      tf.keras.layers.Conv2D(num_filters, 3, name=f'conv_{index}', **common)
      for index in range(num_convs)
    ]
    self.norms = [
      tf.keras.layers.BatchNormalization(
        momentum=norm_momentum,
        epsilon=norm_epsilon,
        synchronized=use_sync_bn,
        name=f'norm_{index}',
      )
      for index in range(num_convs)
    ]
    self.classifier = tf.keras.layers.Conv2D(num_classes, 1, name='classifier', **common)

  def fuse(self, decoder: Features) -> tf.Tensor:
    """The sum of all levels, [batch, h, w, filters], in the size of `level`."""
    lowest = min(decoder, key=int)
    factor = 2 ** (int(lowest) - self._level)
    size = tf.shape(decoder[lowest])[1:3] * factor
    enlarged = [
      images.resize_as_tf1(tf.cast(value, tf.float32), size) for value in decoder.values()
    ]
    return tf.cast(tf.add_n(enlarged), decoder[lowest].dtype)

  def call(self, inputs: tuple[Features, Features]) -> tf.Tensor:
    """Logits [batch, h, w, num_classes] from features of the backbone, which are not used, and of the decoder."""
    x = self.fuse(inputs[1])
    for conv, norm in zip(self.convs, self.norms, strict=True):
      x = self._activation(norm(conv(x)))
    return self.classifier(x)
