"""EfficientNet as the paper's authors trained it, up to L2."""

from typing import Any

import tensorflow as tf
from official.vision.modeling.backbones import efficientnet
from official.vision.modeling.layers import nn_blocks

# Noisy Student, table 7 there; the Model Garden ends at B7.
L2 = 'l2'
_L2_SCALING = {'width_scale': 4.3, 'depth_scale': 5.3}

SE_RATIO = 0.25
# These do not follow the settings of the model around it.
_CONSTANTS = {
  'activation': 'swish',
  'se_inner_activation': 'swish',
  'norm_momentum': 0.99,
  'norm_epsilon': 1e-3,
}


class EfficientNet(efficientnet.EfficientNet):
  """The Model Garden's EfficientNet with squeeze-excitation, swish, and drop connect that rises with depth.

  Weight decay, if any, includes the depthwise kernels.

  Block k of n is dropped with probability rate * k / n (EfficientNet, section 4); the Model Garden drops all alike.
  """

  def __init__(self, model_id: str, stochastic_depth_drop_rate: float = 0.0, **kwargs: Any):
    """See the Model Garden.

    Args:
      model_id: `b0` to `b7`, or `l2`.
      stochastic_depth_drop_rate: the rate above, 0.2 in the paper.
      **kwargs: what the Model Garden takes, except for activation, squeeze-excitation and the constants of batch norm.
    """
    efficientnet.SCALING_MAP.setdefault(L2, dict(_L2_SCALING))
    depth = efficientnet.SCALING_MAP[model_id]['depth_scale']
    repeats = [spec[1] for spec in efficientnet.EN_B0_BLOCK_SPECS]
    self._num_blocks = sum(efficientnet.round_repeats(count, depth) for count in repeats)
    self._next_block = 0
    super().__init__(
      model_id=model_id,
      se_ratio=SE_RATIO,
      stochastic_depth_drop_rate=stochastic_depth_drop_rate,
      **{**kwargs, **_CONSTANTS},
    )

  def _block_group(
    self, inputs: tf.Tensor, specs: efficientnet.BlockSpec, name: str = 'block_group'
  ) -> tf.Tensor:
    x = inputs
    for repeat in range(specs.block_repeats):
      x = nn_blocks.InvertedBottleneckBlock(
        in_filters=specs.out_filters if repeat else specs.in_filters,
        out_filters=specs.out_filters,
        expand_ratio=specs.expand_ratio,
        strides=1 if repeat else specs.strides,
        kernel_size=specs.kernel_size,
        se_ratio=self._se_ratio,
        stochastic_depth_drop_rate=self._drop_rate(),
        kernel_initializer=self._kernel_initializer,
        kernel_regularizer=self._kernel_regularizer,
        bias_regularizer=self._bias_regularizer,
        activation=self._activation,
        se_inner_activation=self._se_inner_activation,
        use_sync_bn=self._use_sync_bn,
        regularize_depthwise=True,
        norm_momentum=self._norm_momentum,
        norm_epsilon=self._norm_epsilon,
        name=f'blocks_{self._next_block}',
      )(x)
      self._next_block += 1
    return tf.identity(x, name=name)

  def _drop_rate(self) -> float:
    return self._stochastic_depth_drop_rate * self._next_block / self._num_blocks
