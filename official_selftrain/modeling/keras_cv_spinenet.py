"""SpineNet as a keras-cv backbone, so that keras-cv's models can use it.

The network is the Model Garden's, layer by layer: checkpoints of one fit the other. Importing this module imports
keras-cv, which takes seconds.
"""

from typing import Any

import keras_cv
import tensorflow as tf
from official.vision.modeling.backbones import spinenet as garden

from official_selftrain.configs import keras_cv as configs
from official_selftrain.modeling import spinenet


@tf.keras.utils.register_keras_serializable(package='official_selftrain')
class SpineNetBackbone(keras_cv.models.Backbone):
  """The Model Garden's SpineNet with keras-cv's interface.

  Calling it gives all levels, {'P3': float32 [batch, h / 8, w / 8, filters], ...}; `pyramid_level_inputs` names the
  layers that make them. Images are expected normalised: there is no `include_rescaling`.
  """

  presets = {
    name: {
      'metadata': {'description': f'SpineNet-{arguments["model_id"]}, without weights.'},
      'config': arguments,
    }
    for name, arguments in configs.PRESETS[configs.SPINENET].items()
  }

  def __init__(
    self,
    *,
    model_id: str,
    input_shape: tuple[int, int, int] = (640, 640, 3),
    min_level: int = 3,
    max_level: int = 7,
    stochastic_depth_drop_rate: float = 0.0,
    activation: str = 'relu',
    use_sync_bn: bool = False,
    norm_momentum: float = 0.99,
    norm_epsilon: float = 0.001,
    name: str | None = None,
    trainable: bool = True,
  ):
    """Builds the network.

    Args:
      model_id: size, a key of the Model Garden's `SCALING_MAP` or `nano`.
      input_shape: height, width and channels; the first two are multiples of 128, since the graph depends on them.
      min_level: first level, 2 or more.
      max_level: last level, 7 or less.
      stochastic_depth_drop_rate: of the last block; blocks before it have less, linearly.
      activation: `relu` or `swish`.
      use_sync_bn: batch norm over all replicas.
      norm_momentum: of batch norm.
      norm_epsilon: of batch norm.
      name: see Keras.
      trainable: see Keras.

    Raises:
      ValueError: unknown `model_id`, or sizes that are no multiples of 128.
    """
    spinenet.register_sizes()
    if model_id not in garden.SCALING_MAP:
      raise ValueError(
        f'model_id is {model_id!r}: sizes of SpineNet are {", ".join(garden.SCALING_MAP)}.'
      )
    if any(side is None or side % 128 for side in input_shape[:2]):
      raise ValueError(
        f'input_shape is {tuple(input_shape)}: height and width of SpineNet are multiples of 128.'
      )
    network = garden.SpineNet(
      tf.keras.layers.InputSpec(shape=[None, *input_shape]),
      min_level=min_level,
      max_level=max_level,
      init_stochastic_depth_rate=stochastic_depth_drop_rate,
      activation=activation,
      use_sync_bn=use_sync_bn,
      norm_momentum=norm_momentum,
      norm_epsilon=norm_epsilon,
      **garden.SCALING_MAP[model_id],
    )
    # keras-cv finds levels by the names of layers, which the Model Garden's do not have.
    levels = {
      f'P{level}': tf.keras.layers.Activation('linear', name=f'P{level}')(features)
      for level, features in network.output.items()
    }
    super().__init__(inputs=network.inputs, outputs=levels, name=name, trainable=trainable)
    self.pyramid_level_inputs = {level: level for level in levels}
    self._arguments = {
      'model_id': model_id,
      'input_shape': tuple(input_shape),
      'min_level': min_level,
      'max_level': max_level,
      'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
      'activation': activation,
      'use_sync_bn': use_sync_bn,
      'norm_momentum': norm_momentum,
      'norm_epsilon': norm_epsilon,
    }

  def get_config(self) -> dict[str, Any]:
    """Arguments of the constructor."""
    return {**super().get_config(), **self._arguments}

  @classmethod
  def from_preset(
    cls, preset: str, load_weights: bool | None = None, **kwargs: Any
  ) -> 'SpineNetBackbone':
    """Builds an architecture by name, without a network and without weights.

    Args:
      preset: a key of `presets`, such as `spinenet_49`; or a folder that keras-cv wrote, with or without weights.
      load_weights: for folders, see keras-cv; there are no weights for names.
      **kwargs: arguments of the constructor, on top of the preset's.

    Raises:
      ValueError: unknown preset, or weights asked for by name.
    """
    if preset not in cls.presets:
      return super().from_preset(preset, load_weights=load_weights, **kwargs)
    if load_weights:
      raise ValueError(f'There are no weights for {preset}; load_weights must be left out.')
    return cls(**{**cls.presets[preset]['config'], **kwargs})
