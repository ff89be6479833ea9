"""Segmentation models of all families, for images of any size.

Multi-scale inference and evaluation call one model at many sizes. The Model Garden's are built for one; the
parts that prevent this are replaced here and in `segmentation_layers`.
"""

import tensorflow as tf
from official.vision.modeling import factory, segmentation_model

from official_selftrain.configs import segmentation as configs
from official_selftrain.core import errors
from official_selftrain.modeling import families, precision, segmentation_layers


class SegmentationModel(segmentation_model.SegmentationModel):
  """The Model Garden's, with logits that are always float32, whatever the network computes in."""

  def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
    """See the Model Garden."""
    return precision.to_float32(super().call(inputs, training))


@families.names_settings
def build(model: configs.SegmentationModel, l2_weight_decay: float = 0.0) -> SegmentationModel:
  """Builds a segmentation model.

  Args:
    model: `task.model`.
    l2_weight_decay: factor of half the sum of squared kernels, 0 for none.

  Returns:
    A model from float32 [batch, h, w, 3], h and w any multiples of 32 (`configs.segmentation.STRIDE`), to
    `logits` float32 [batch, h / 4, w / 4, classes] where the head's level is 2.

  Raises:
    ConfigError: the family has no segmentation models, or not with this backbone.
  """
  networks = families.of(model)
  parts = networks.segmenter
  if parts is None:
    raise errors.ConfigError(
      f'task.model.family is {model.family!r}: it has detectors but no segmentation models; choose another.'
    )
  l2_regularizer = tf.keras.regularizers.l2(l2_weight_decay / 2.0) if l2_weight_decay else None
  specs = tf.keras.layers.InputSpec(shape=[None, None, None, 3])
  backbone = networks.backbone(specs, model, l2_regularizer)
  decoder = None
  if model.decoder.type == 'nasfpn':
    settings = model.decoder.get()
    decoder = segmentation_layers.NASFPN(
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
  head = parts.head(model, l2_regularizer, stock.head)
  built = SegmentationModel(stock.backbone, stock.decoder, head)
  built(tf.keras.Input(model.input_size), training=False)
  return built
