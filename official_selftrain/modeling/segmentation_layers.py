"""Layers of segmentation models that take images of any size, which the Model Garden's do not.

Its NAS-FPN adds feature maps whose sizes agree only for multiples of 128 pixels. When `num_filters` is below 256, it
also widens every node to 256 filters and back, which multiplies the cost of small models. Its head's pyramid fusion
multiplies the size of each level, so levels that were rounded up do not fit.
"""

import types
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from official.vision.modeling.decoders import nasfpn
from official.vision.modeling.heads import segmentation_heads

Features = Mapping[str, tf.Tensor]


class NASFPN(nasfpn.NASFPN):
  """The Model Garden's NAS-FPN with `num_filters` filters in every node and for all multiples of 32 pixels."""

  def __init__(self, input_specs: Mapping[str, tf.TensorShape], **kwargs: Any):
    """See the Model Garden; levels of `input_specs` that no pyramid has, such as EfficientNet's '6', are left out."""
    # Only needed while the graph is laid; in a namespace, because Keras tracks dictionaries.
    self._first = types.SimpleNamespace(of_level={})
    super().__init__(
      {level: spec for level, spec in input_specs.items() if int(level) <= 5}, **kwargs
    )
    del self._first

  def _resample_feature_map(
    self,
    inputs: tf.Tensor,
    input_level: int,
    target_level: int,
    target_num_filters: int | None = None,
  ) -> tf.Tensor:
    """See the Model Garden; what was upsampled is cut to the size of the level, which is rounded up."""
    filters = target_num_filters or self._config_dict['num_filters']
    result = super()._resample_feature_map(inputs, input_level, target_level, filters)
    if input_level > target_level:
      size = tf.shape(self._first.of_level[target_level])
      result = result[:, : size[1], : size[2], :]
    # The first map of each level comes from the backbone or from pooling, so its size is the level's.
    self._first.of_level.setdefault(target_level, result)
    return result


class SegmentationHead(segmentation_heads.SegmentationHead):
  """The Model Garden's head, whose pyramid fusion also takes levels that were rounded up.

  With `pyramid_fusion` all levels are resized to `level`, bilinearly, and added; then come the convolutions and the
  classifier (paper section 3.2 and appendix; `level` 2 and three convolutions there).
  """

  def call(self, inputs: tuple[Features, Features]) -> tf.Tensor:
    """See the Model Garden."""
    backbone, decoder = inputs
    if self._config_dict['feature_fusion'] != 'pyramid_fusion':
      return super().call(inputs)
    level = str(self._config_dict['level'])
    if level in backbone:
      size = backbone[level].shape[1:3]
    else:
      lowest = min(decoder, key=int)
      factor = 2 ** (int(lowest) - int(level))
      size = [side * factor for side in decoder[lowest].shape[1:3]]
    # Summed in float32, since resizing is done in it anyway.
    resized = [tf.image.resize(tf.cast(value, tf.float32), size) for value in decoder.values()]
    fused = tf.cast(tf.add_n(resized), next(iter(decoder.values())).dtype)
    return super().call((backbone, {level: fused}))
