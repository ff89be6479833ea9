"""Names of our EfficientNets' variables in the weight files of Keras Applications and of PyTorch.

Both families of ours are the Model Garden's blocks in a row, so one walk serves them: stem, blocks, head.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from official.vision.modeling.backbones import efficientnet
from official.vision.modeling.layers import nn_blocks

from official_selftrain.checkpoints import normalization, tf1_names

Named = tf1_names.Named

# Layers of a block: the Model Garden's attribute, and what Keras and PyTorch call it.
_EXPANSION = (('_conv0', 'expand_conv', '_expand_conv'), ('_norm0', 'expand_bn', '_bn0'))
_REST = (
  ('_conv1', 'dwconv', '_depthwise_conv'),
  ('_norm1', 'bn', '_bn1'),
  ('_conv2', 'project_conv', '_project_conv'),
  ('_norm2', 'project_bn', '_bn2'),
)
_SQUEEZE_EXCITATION = (('_se_reduce', 'se_reduce'), ('_se_expand', 'se_expand'))
_KERAS_ENDS = ('stem_conv', 'stem_bn', 'top_conv', 'top_bn')
_PYTORCH_ENDS = ('_conv_stem', '_bn0', '_conv_head', '_bn1')

# PyTorch's leaf and the order in which its axes are ours. Its kernels are [out, in, h, w], depthwise ones
# [channels, 1, h, w]; ours are [h, w, in, out] and [h, w, channels, 1].
_PYTORCH_LEAVES = {
  'kernel': ('weight', (2, 3, 1, 0)),
  'depthwise_kernel': ('weight', (2, 3, 0, 1)),
  'gamma': ('weight', (0,)),
  'beta': ('bias', (0,)),
  'moving_mean': ('running_mean', (0,)),
  'moving_variance': ('running_var', (0,)),
}


class Target(NamedTuple):
  """Where an array of a file goes.

  Attributes:
    variable: one of our network's.
    axes: the array's axes in the order of the variable's.
  """

  variable: tf.Variable
  axes: tuple[int, ...]

  def shape_in_file(self) -> list[int]:
    """The shape that the array must have."""
    shape = list(self.variable.shape)
    return [shape[self.axes.index(axis)] for axis in range(len(shape))]

  def assign(self, array: np.ndarray) -> None:
    """Gives the variable the array's values."""
    self.variable.assign(np.transpose(array, self.axes).astype(self.variable.dtype.as_numpy_dtype))


def keras(network: tf.keras.Model) -> dict[str, Target]:
  """Variables of an EfficientNet by their names in files of `tf.keras.applications`.

  Args:
    network: an EfficientNet of either family, `b0` to `b7`.

  Returns:
    A target for each variable; names are of layer and variable, such as `block1a_dwconv/depthwise_kernel`.
  """
  named = tf1_names.of_layers(_keras_layers(network))
  return {
    name: Target(variable, tuple(range(len(variable.shape)))) for name, variable in named.items()
  }


def pytorch(network: tf.keras.Model) -> dict[str, Target]:
  """Variables of an EfficientNet without squeeze-excitation by their names in a PyTorch state dict.

  The names are those of the packages `efficientnet_pytorch` and `efficientnet_lite_pytorch`.

  Args:
    network: the Model Garden's EfficientNet, `b0`.

  Returns:
    A target for each variable; names are such as `_blocks.0._depthwise_conv.weight`.
  """
  targets = {}
  for name, variable in tf1_names.of_layers(_pytorch_layers(network)).items():
    scope, leaf = name.split('/')
    spelling, axes = _PYTORCH_LEAVES[leaf]
    targets[f'{scope}.{spelling}'] = Target(variable, axes)
  return targets


def stem(network: tf.keras.Model) -> normalization.Stem:
  """The first layers of an EfficientNet of either family."""
  conv, norm, *_ = _ends(network)
  return normalization.Stem(conv, norm)


def _ends(network: tf.keras.Model) -> list[tf1_names.Layer]:
  """Convolution and batch norm of the stem, then those of the head."""
  kinds = (tf.keras.layers.Conv2D, tf.keras.layers.BatchNormalization)
  return [layer for layer in network.layers if isinstance(layer, kinds)]


def _blocks(network: tf.keras.Model) -> list[tf1_names.Layer]:
  """Blocks from input to output; a functional model without branches has its layers in that order."""
  kind = nn_blocks.InvertedBottleneckBlock
  return [layer for layer in network.layers if isinstance(layer, kind)]


def _roles(block: tf1_names.Layer) -> tuple[tuple[str, str, str], ...]:
  return (*_EXPANSION, *_REST) if block._expand_ratio > 1 else _REST


def _keras_layers(network: tf.keras.Model) -> Named:
  yield from zip(_KERAS_ENDS, _ends(network), strict=True)
  for scope, block in zip(_keras_scopes(network._model_id), _blocks(network), strict=True):
    for attribute, name, _ in _roles(block):
      yield scope + name, getattr(block, attribute)
    if block._squeeze_excitation:
      for attribute, name in _SQUEEZE_EXCITATION:
        yield scope + name, getattr(block._squeeze_excitation, attribute)


def _keras_scopes(model_id: str) -> Iterator[str]:
  """`block1a_`, `block2a_`, `block2b_`, ...: groups are counted, and blocks of a group have letters."""
  depth = efficientnet.SCALING_MAP[model_id]['depth_scale']
  for group, spec in enumerate(efficientnet.EN_B0_BLOCK_SPECS, 1):
    for number in range(efficientnet.round_repeats(spec[1], depth)):
      yield f'block{group}{chr(ord("a") + number)}_'


def _pytorch_layers(network: tf.keras.Model) -> Named:
  yield from zip(_PYTORCH_ENDS, _ends(network), strict=True)
  for number, block in enumerate(_blocks(network)):
    for attribute, _, name in _roles(block):
      yield f'_blocks.{number}.{name}', getattr(block, attribute)
