"""Segmentation models that take images of any size: the Model Garden's, with what stands in the way of that mended.

Multi-scale inference and evaluation call one model at many sizes. Three things in the Model Garden allow only one:
models are built for a fixed input size; NAS-FPN adds feature maps whose sizes agree only for multiples of 128 pixels;
and the head's pyramid fusion multiplies the size of each level, so levels that were rounded up do not fit. Its NAS-FPN
also widens every node to 256 filters and back when `num_filters` is smaller, which multiplies the cost of small models.
"""

import types
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from official.vision.modeling import backbones, factory, segmentation_model
from official.vision.modeling.decoders import nasfpn
from official.vision.modeling.heads import segmentation_heads

from official_selftrain.modeling.original import backbones as original_backbones
from official_selftrain.modeling.original import segmentation_head

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


def build(model: Any, l2_weight_decay: float = 0.0) -> tf.keras.Model:
  """Builds a segmentation model.

  Args:
    model: `task.model`, a Model Garden `SemanticSegmentationModel` config.
    l2_weight_decay: factor of half the sum of squared kernels, 0 for none.

  Returns:
    A model from float32 [batch, h, w, 3], h and w any multiples of 32 (`configs.segmentation.STRIDE`), to
    `logits` [batch, h / 4, w / 4, classes] where the head's level is 2.
  """
  l2_regularizer = tf.keras.regularizers.l2(l2_weight_decay / 2.0) if l2_weight_decay else None
  specs = tf.keras.layers.InputSpec(shape=[None, None, None, 3])
  is_original = model.family == 'original'
  if is_original:
    backbone = original_backbones.build(specs, model, l2_regularizer)
  else:
    backbone = backbones.factory.build_backbone(
      specs, model.backbone, model.norm_activation, l2_regularizer
    )
  decoder = None
  if model.decoder.type == 'nasfpn':
    settings = model.decoder.get()
    decoder = NASFPN(
      backbone.output_specs,
      min_level=model.min_level,
      max_level=model.max_level,
      num_filters=settings.num_filters,
      num_repeats=settings.num_repeats,
      use_separable_conv=settings.use_separable_conv,
      kernel_regularizer=l2_regularizer,
      **model.norm_activation.as_dict(),
    )
  stock = factory.build_segmentation_model(specs, model, l2_regularizer, backbone, decoder)
  if is_original:
    head = _original_head(model, l2_regularizer)
  else:
    head = SegmentationHead.from_config(stock.head.get_config())
  built = segmentation_model.SegmentationModel(stock.backbone, stock.decoder, head)
  built(tf.keras.Input(model.input_size), training=False)
  return built


def _original_head(model: Any, regularizer: Any) -> segmentation_head.SegmentationHead:
  return segmentation_head.SegmentationHead(
    model.num_classes,
    level=model.head.level,
    num_convs=model.head.num_convs,
    num_filters=model.head.num_filters,
    kernel_regularizer=regularizer,
    **model.norm_activation.as_dict(),
  )
