"""Boxes from several views of an image: at several sizes, and mirrored (data distillation, Radosavovic et al. 2018)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from official_selftrain.configs import detection as configs
from official_selftrain.configs import families
from official_selftrain.dataloaders import detection as parsing
from official_selftrain.modeling import detection_generator
from official_selftrain.modeling import retinanet as modeling
from official_selftrain.ops import box_fusion

_PARTS = ('backbone', 'decoder', 'head')

Inputs = Mapping[str, tf.Tensor]


def sizes(model: configs.DetectionModel, scales: Iterable[float]) -> list[parsing.Size]:
  """The size of the image at each scale: the nearest that the model can have, each once.

  Args:
    model: `task.model`.
    scales: relative to its input.

  Returns:
    Heights and widths in pixels.
  """
  step, _ = families.of(model).side(model)
  height, width = model.input_size[:2]

  def nearest(side: int, scale: float) -> int:
    return max(1, round(side * scale / step)) * step

  return list(dict.fromkeys((nearest(height, each), nearest(width, each)) for each in scales))


def labelling_functions(
  config: configs.DetectionModel, model: tf.keras.Model, labels: configs.BoxLabelling
) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """See `DetectionSelfTrainingTask.labelling_functions`.

  Args:
    config: `task.model`.
    model: the teacher. A network takes images of one size, so there is a copy of it for each other one.
    labels: scales, mirroring and suppression.
  """
  own = (config.input_size[0], config.input_size[1])
  all_sizes = sizes(config, labels.scales)
  further = [size for size in all_sizes if size != own]
  generator = detection_generator.build_for_labels(
    config, labels.soft_nms_sigma, labels.min_score, labels.max_boxes
  )
  models = {size: model if size == own else _copy(config, model, size) for size in all_sizes}
  suppression = config.detection_generator

  @tf.function
  def predict(inputs: Inputs) -> dict[str, tf.Tensor]:
    views = []
    for size in all_sizes:
      names = parsing.INFERENCE_NAMES if size == own else parsing.size_names(size)
      image, info = (inputs[name] for name in names)
      for is_mirrored in (False, True)[: 1 + labels.flip]:
        views.append(_view(models[size], image, info, generator, is_mirrored))
    boxes, scores, classes, is_finite = (
      tf.stack(values, axis=1) for values in zip(*views, strict=True)
    )
    fused = box_fusion.fuse(
      boxes,
      scores,
      classes,
      generator.get_config()['max_num_detections'],
      suppression.nms_iou_threshold,
      suppression.use_class_agnostic_nms,
    )
    return {
      'boxes': fused.boxes,
      'scores': fused.scores,
      'classes': fused.classes,
      'num_detections': fused.num_boxes,
      'is_finite': tf.reduce_all(is_finite, axis=1),
    }

  return parsing.inference_preprocessor(config, further), predict


def _copy(
  config: configs.DetectionModel, model: tf.keras.Model, size: parsing.Size
) -> tf.keras.Model:
  """The model for images of another size."""
  other = config.replace(input_size=[*size, config.input_size[2]])
  copy = modeling.build(other)
  copy.make_variables(other.input_size)
  # Layers of several order their weights by what is trained.
  copy.backbone.trainable = model.backbone.trainable
  for part in _PARTS:
    layer = getattr(copy, part)
    if layer is not None:
      layer.set_weights(getattr(model, part).get_weights())
  return copy


def _view(
  model: tf.keras.Model,
  image: tf.Tensor,
  info: tf.Tensor,
  generator: detection_generator.DetectionGenerator,
  is_mirrored: bool,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
  """Boxes [batch, n, 4] relative to the original image, scores and classes [batch, n], `is_finite` [batch]."""
  # Height and width of the part of the frame that shows the image.
  content = tf.round(info[:, 0, :] * info[:, 2, :])
  if is_mirrored:
    # Only that part, so that the padding stays where it was in training.
    image = tf.reverse_sequence(image, tf.cast(content[:, 1], tf.int32), seq_axis=2, batch_axis=0)
  found = model.detect(image, info[:, 1, :], generator, with_finite=True)
  boxes = found['detection_boxes'] / tf.tile(content, [1, 2])[:, None, :]
  if is_mirrored:
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    boxes = tf.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=-1)
  # Version 3 of the suppression counts in float32.
  count = tf.cast(found['num_detections'], tf.int32)
  is_found = tf.range(tf.shape(boxes)[1])[None] < count[:, None]
  scores = tf.where(is_found, found['detection_scores'], 0.0)
  return boxes, scores, tf.cast(found['detection_classes'], tf.int32), found['is_finite']
