"""Puts the parts of a detector together."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import tensorflow as tf
from official.vision.modeling import factory, retinanet_model
from official.vision.ops import anchor

from official_selftrain.configs import detection as configs
from official_selftrain.modeling import detection_generator, precision, spinenet

# Name scope of what comes after the network, where coordinates must keep their precision.
ANSWERS = 'answers'

ByLevel: TypeAlias = Mapping[str, tf.Tensor]
Regularizer: TypeAlias = tf.keras.regularizers.Regularizer
BackboneBuilder = Callable[
  [tf.keras.layers.InputSpec, configs.DetectionModel, Regularizer | None], tf.keras.Model
]


class RawOutputs(NamedTuple):
  """The outputs of a head, always in float32, whatever the network computes in; by level, '3', '4', ...

  Attributes:
    scores: logits [batch, h, w, anchors * num_classes], the first of each anchor for background.
    boxes: offsets (dy, dx, dh, dw) [batch, h, w, anchors * 4].
    attributes: [batch, h, w, anchors * size] by attribute, then level; empty here.
  """

  scores: ByLevel
  boxes: ByLevel
  attributes: Mapping[str, ByLevel]


class RetinaNetModel(retinanet_model.RetinaNetModel):
  """The Model Garden's, whose raw outputs are float32, and which can suppress in more than one way."""

  def raw_outputs(self, images: tf.Tensor) -> RawOutputs:
    """Outputs of the head for normalised images, float32 [batch, height, width, 3]."""
    return self._head_outputs(self._features(images)[-1])

  def detect(
    self,
    images: tf.Tensor,
    image_shape: tf.Tensor | None,
    generator: detection_generator.DetectionGenerator,
    with_finite: bool = False,
  ) -> Mapping[str, tf.Tensor]:
    """Detections with another generator than the model's own, which does not run.

    Args:
      images: normalised, float32 [batch, height, width, 3].
      image_shape: [batch, 2], height and width in pixels to which boxes are clipped, or None.
      generator: decodes and suppresses.
      with_finite: adds `is_finite`, bool [batch], of all raw outputs: suppression takes a NaN score for none at all.

    Returns:
      See `DetectionGenerator`.
    """
    raw = self.raw_outputs(images)
    with tf.name_scope(ANSWERS):
      found = generator(
        raw.boxes, raw.scores, self._anchor_boxes(images), image_shape, raw.attributes
      )
      return {**found, 'is_finite': _is_finite(raw)} if with_finite else found

  def call(
    self,
    images: tf.Tensor,
    image_shape: tf.Tensor | None = None,
    anchor_boxes: ByLevel | None = None,
    output_intermediate_features: bool = False,
    training: bool | None = None,
  ) -> dict[str, tf.Tensor | ByLevel]:
    """See the Model Garden; `images` is one tensor."""
    outputs: dict[str, tf.Tensor | ByLevel] = {}
    stages = self._features(images)
    if output_intermediate_features:
      for name, features in zip(('backbone', 'decoder'), stages, strict=False):
        outputs |= {f'{name}_{level}': value for level, value in features.items()}
    raw = self._head_outputs(stages[-1])
    outputs |= {'cls_outputs': raw.scores, 'box_outputs': raw.boxes}
    if raw.attributes:
      outputs['attribute_outputs'] = raw.attributes
    if training:
      return outputs
    if anchor_boxes is None:
      anchor_boxes = self._anchor_boxes(images)
    found = self.detection_generator(
      raw.boxes, raw.scores, anchor_boxes, image_shape, raw.attributes
    )
    # Without attributes, their entries are empty dictionaries.
    return outputs | {
      name: value for name, value in found.items() if not (isinstance(value, dict) and not value)
    }

  def make_variables(self, input_size: Sequence[int]) -> None:
    """Makes the variables of a head without a decoder, which the Model Garden leaves to the first call.

    Args:
      input_size: height, width and channels of images.
    """
    if not self.head.built:
      self.head(self._features(tf.keras.Input(input_size))[-1])

  def _features(self, images: tf.Tensor) -> list[ByLevel]:
    """Features of the backbone and, if there is one, of the decoder."""
    features = [self.backbone(images)]
    return [*features, self.decoder(features[0])] if self.decoder else features

  def _head_outputs(self, features: ByLevel) -> RawOutputs:
    return RawOutputs(*precision.to_float32(self.head(features)))

  def _anchor_boxes(self, images: tf.Tensor) -> ByLevel:
    """float32 [batch, h, w, anchors * 4] by level: (ymin, xmin, ymax, xmax) in pixels."""
    names = ('min_level', 'max_level', 'num_scales', 'aspect_ratios', 'anchor_size')
    settings = {name: self._config_dict[name] for name in names}
    anchors = anchor.Anchor(image_size=tuple(images.shape[1:3]), **settings).multilevel_boxes
    multiples = [tf.shape(images)[0], 1, 1, 1]
    return {level: tf.tile(boxes[tf.newaxis], multiples) for level, boxes in anchors.items()}


def _is_finite(raw: RawOutputs) -> tf.Tensor:
  """Whether all scores and boxes of an image are, bool [batch]."""
  outputs = [*raw.scores.values(), *raw.boxes.values()]
  each = [tf.reduce_all(tf.math.is_finite(output), axis=[1, 2, 3]) for output in outputs]
  return tf.reduce_all(tf.stack(each), axis=0)


def retinanet(
  model: configs.DetectionModel,
  backbone: tf.keras.Model,
  decoder: tf.keras.Model | None,
  head: tf.keras.layers.Layer,
) -> RetinaNetModel:
  """A `RetinaNetModel` around these parts, with our detection generator.

  Args:
    model: `task.model`.
    backbone: from images to features by level.
    decoder: from these to features of one width, or None.
    head: from these to classes, boxes and attributes by level.

  Returns:
    The model.
  """
  return RetinaNetModel(
    backbone,
    decoder,
    head,
    detection_generator.build(model),
    min_level=model.min_level,
    max_level=model.max_level,
    **model.anchor.as_dict(),
  )


def from_model_garden(
  model: configs.DetectionModel,
  l2_weight_decay: float,
  build_backbone: BackboneBuilder | None = None,
) -> RetinaNetModel:
  """A `RetinaNetModel` of the Model Garden's networks.

  Args:
    model: `task.model`.
    l2_weight_decay: factor of half the sum of squared kernels, 0 for none.
    build_backbone: takes the place of the Model Garden's choice by `model.backbone`.

  Returns:
    The model.
  """
  spinenet.register_sizes()
  specs = tf.keras.layers.InputSpec(shape=[None, *model.input_size])
  regularizer = tf.keras.regularizers.l2(l2_weight_decay / 2.0) if l2_weight_decay else None
  backbone = build_backbone(specs, model, regularizer) if build_backbone else None
  stock = factory.build_retinanet(specs, model, regularizer, backbone)
  return retinanet(model, stock.backbone, stock.decoder, stock.head)
