"""SpineNet as the paper's authors trained it."""

from typing import Any

import tensorflow as tf
from official.modeling import tf_utils
from official.vision.modeling.backbones import spinenet
from official.vision.ops import spatial_transform_ops

# The Model Garden has added a 16th block, an output of level 2.
NUM_BLOCKS = 15


class SpineNet(spinenet.SpineNet):
  """The Model Garden's SpineNet with the authors' blocks, padding and pooling.

  Differences: 15 scale-permuted blocks, so that drop connect rises to its rate in 15 steps, too; evenly padded strides;
  one max pool for what the strided convolution of a connection leaves to shrink, with a window of 3 for a factor of 2
  and of 5 above, where the Model Garden repeats pools of 3.
  """

  def __init__(self, **kwargs: Any):
    """See the Model Garden."""
    super().__init__(block_specs=spinenet.build_block_specs()[:NUM_BLOCKS], **kwargs)

  def _conv(self, x: tf.Tensor, filters: int, size: int = 1, strides: int = 1) -> tf.Tensor:
    """Convolution and batch norm; a strided one is padded evenly."""
    if strides > 1:
      x = tf.keras.layers.ZeroPadding2D(size // 2)(x)
    x = tf.keras.layers.Conv2D(
      filters,
      size,
      strides=strides,
      use_bias=False,
      padding='valid' if strides > 1 else 'same',
      kernel_initializer=self._kernel_initializer,
      kernel_regularizer=self._kernel_regularizer,
      bias_regularizer=self._bias_regularizer,
    )(x)
    return self._norm(
      axis=self._bn_axis,
      momentum=self._norm_momentum,
      epsilon=self._norm_epsilon,
      synchronized=self._use_sync_bn,
    )(x)

  def _act(self, x: tf.Tensor) -> tf.Tensor:
    return tf_utils.get_activation(self._activation_fn)(x)

  def _build_stem(self, inputs: tf.Tensor) -> list[tf.Tensor]:
    x = self._act(self._conv(inputs, 64, 7, 2))
    x = tf.keras.layers.MaxPool2D(pool_size=3, strides=2, padding='same')(x)
    net = []
    for index in range(self._num_init_blocks):
      x = self._block_group(
        inputs=x,
        filters=int(spinenet.FILTER_SIZE_MAP[2] * self._filter_size_scale),
        strides=1,
        block_fn_cand=self._init_block_fn,
        block_repeats=self._block_repeats,
        name=f'stem_block_{index + 1}',
      )
      net.append(x)
    return net

  def _resample_with_alpha(
    self,
    inputs: tf.Tensor,
    input_width: int,
    input_block_fn: str,
    target_width: int,
    target_num_filters: int,
    target_block_fn: str,
    alpha: float = 0.5,
  ) -> tf.Tensor:
    """Brings a parent to the size and the filters of its child (SpineNet paper, section 3.2)."""
    channels = inputs.shape[-1]
    filters = int((channels // 4 if input_block_fn == 'bottleneck' else channels) * alpha)
    x = self._act(self._conv(inputs, filters))
    if input_width > target_width:
      x = self._act(self._conv(x, filters, 3, 2))
      factor = input_width // target_width
      if factor > 2:
        window = 3 if factor == 4 else 5
        x = tf.keras.layers.MaxPool2D(window, strides=factor // 2, padding='same')(x)
    elif input_width < target_width:
      x = spatial_transform_ops.nearest_upsampling(x, scale=target_width // input_width)
    expansion = 4 if target_block_fn == 'bottleneck' else 1
    return self._conv(x, target_num_filters * expansion)
