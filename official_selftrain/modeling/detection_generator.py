"""Turns the raw outputs of a RetinaNet into detections.

The Model Garden's `MultilevelDetectionGenerator` with four additions: Soft-NMS for any `nms_version`, where the
Model Garden's `v2`, `v3` and `batched` ignore `soft_nms_sigma` and its `v1` needs to know the batch size; boxes as the
authors' TF1 code decodes them; `batched` without what no score speaks for, where there is much of it; and hard
suppression that TensorFlow Lite and ONNX can express.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from official.vision.modeling.layers import detection_generator
from official.vision.ops import box_ops

from official_selftrain.configs import detection as configs
from official_selftrain.configs import families
from official_selftrain.core import errors
from official_selftrain.ops import nms

_SETTINGS = 'task.model.detection_generator'

# So many scores of an image are worth a pass that leaves out boxes without a score above the threshold: with fewer,
# `batched` is faster without it (`python -m benchmarks soft_nms`).
_MANY_SCORES = 1_500_000

# One pixel at the lower and the right end of a box.
_LAST_PIXEL = (0.0, 0.0, 1.0, 1.0)


@tf.keras.utils.register_keras_serializable(package='official_selftrain')
class DetectionGenerator(detection_generator.MultilevelDetectionGenerator):
  """Decodes boxes and suppresses overlapping ones; see the Model Garden for its inputs and outputs.

  With `soft_nms_sigma` above 0, suppression is `ops.nms.soft_nms`, with the settings of the same names; entries from
  `num_detections` on are then boxes and scores of 0 with class 1, as with `batched`. Without, it is the Model Garden's,
  or `ops.nms.hard_nms`.
  """

  def __init__(self, *, inclusive_boxes: bool = False, portable: bool = False, **kwargs: Any):
    """Keeps the settings.

    Args:
      inclusive_boxes: decode as the authors' TF1 code does, where boxes are rows and columns of pixels: an
        anchor's height and width are 1 more than the differences of its coordinates, a box ends 1 before its start
        plus its height or width, and clipping is to [0, side - 1]. Encoding knows nothing of this, in their code
        either, so decoding does not invert it.
      portable: hard suppression is `ops.nms.hard_nms` for all of `nms_version`.
      **kwargs: see the Model Garden.
    """
    super().__init__(**kwargs)
    self._config_dict['inclusive_boxes'] = inclusive_boxes
    self._config_dict['portable'] = portable

  def __call__(
    self,
    raw_boxes: Mapping[str, tf.Tensor],
    raw_scores: Mapping[str, tf.Tensor],
    anchor_boxes: Mapping[str, tf.Tensor],
    image_shape: tf.Tensor | None,
    raw_attributes: Mapping[str, tf.Tensor] | None = None,
  ) -> Mapping[str, Any]:
    """Generates detections.

    Args:
      raw_boxes: [batch, h, w, anchors * 4] for each level name '3', '4', ...: offsets (dy, dx, dh, dw).
      raw_scores: [batch, h, w, anchors * num_classes] for each level: logits, the first of each anchor for background.
      anchor_boxes: [batch, h, w, anchors * 4] for each level: (ymin, xmin, ymax, xmax) in pixels.
      image_shape: [batch, 2], height and width in pixels to which boxes are clipped; None leaves them as they are.
      raw_attributes: see the Model Garden; not with Soft-NMS.

    Returns:
      `detection_boxes` float32 [batch, n, 4] in pixels, `detection_scores` float32 [batch, n], `detection_classes`
      int32 [batch, n] and `num_detections` int32 [batch]; the Model Garden has the rest.

    Raises:
      ValueError: attributes with a suppression of ours.
    """
    settings = self._config_dict
    is_ours = settings['soft_nms_sigma'] or settings['portable']
    if not (settings['apply_nms'] and is_ours):
      return super().__call__(raw_boxes, raw_scores, anchor_boxes, image_shape, raw_attributes)
    if raw_attributes:
      raise ValueError(
        f'This suppression does not pass attributes on: {", ".join(raw_attributes)}.'
      )
    boxes, scores, attributes = self._decode_multilevel_outputs(
      raw_boxes, raw_scores, anchor_boxes, image_shape
    )
    with tf.device('cpu:0') if settings['use_cpu_nms'] else contextlib.nullcontext():
      found = self._suppress(boxes[:, :, 0], scores)
    result = {
      'num_detections': found.num_detections,
      'detection_boxes': found.boxes,
      'detection_classes': found.classes + 1,  # Background is class 0.
      'detection_scores': found.scores,
      'detection_attributes': {},
    }
    if settings['return_decoded']:
      result |= {
        'decoded_boxes': boxes,
        'decoded_box_scores': scores,
        'decoded_box_attributes': attributes,
      }
    return result

  def _suppress(self, boxes: tf.Tensor, scores: tf.Tensor) -> nms.Detections:
    """Soft-NMS, or `portable` hard suppression, of decoded boxes [batch, n, 4]."""
    settings = self._config_dict
    threshold, most = settings['pre_nms_score_threshold'], settings['max_num_detections']
    top_k = settings['pre_nms_top_k']
    if settings['soft_nms_sigma']:
      return nms.soft_nms(boxes, scores, settings['soft_nms_sigma'], threshold, top_k, most)
    # The operator behind `batched` looks at all.
    top_k = None if settings['nms_version'] == 'batched' else top_k
    return nms.hard_nms(boxes, scores, settings['nms_iou_threshold'], threshold, top_k, most)

  def _decode_multilevel_outputs(
    self,
    raw_boxes: Mapping[str, tf.Tensor],
    raw_scores: Mapping[str, tf.Tensor],
    anchor_boxes: Mapping[str, tf.Tensor],
    image_shape: tf.Tensor | None,
    raw_attributes: Mapping[str, tf.Tensor] | None = None,
  ) -> tuple[tf.Tensor, tf.Tensor, Mapping[str, tf.Tensor]]:
    """Boxes [batch, n, 1, 4], scores [batch, n, num_classes - 1] and attributes of all levels; see the Model Garden."""
    decode = super()._decode_multilevel_outputs
    if self._config_dict['inclusive_boxes']:
      anchors = _up_to_the_end(anchor_boxes)
      boxes, scores, attributes = decode(raw_boxes, raw_scores, anchors, None, raw_attributes)
      boxes = _up_to_the_last_pixel(boxes, image_shape)
    else:
      boxes, scores, attributes = decode(
        raw_boxes, raw_scores, anchor_boxes, image_shape, raw_attributes
      )
    if self._leaves_out(scores) and not attributes:
      threshold = self._config_dict['pre_nms_score_threshold']
      boxes, scores = nms.promising(boxes, scores, threshold)
    return boxes, scores, attributes

  def _leaves_out(self, scores: tf.Tensor) -> bool:
    """Whether boxes without a score above the threshold are left out before hard suppression of all classes at once."""
    settings = self._config_dict
    is_batched = settings['apply_nms'] and settings['nms_version'] == 'batched'
    needs_all = settings['return_decoded'] or settings['soft_nms_sigma'] or settings['portable']
    _, boxes, classes = scores.shape
    is_large = boxes is not None and boxes * classes >= _MANY_SCORES
    return is_batched and not needs_all and is_large and settings['pre_nms_score_threshold'] >= 0

  def _decode_multilevel_outputs_and_pre_nms_top_k(
    self,
    raw_boxes: Mapping[str, tf.Tensor],
    raw_scores: Mapping[str, tf.Tensor],
    anchor_boxes: Mapping[str, tf.Tensor],
    image_shape: tf.Tensor | None,
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """The same for `v3`: boxes [batch, num_classes - 1, n, 4] and scores [batch, num_classes - 1, n]."""
    decode = super()._decode_multilevel_outputs_and_pre_nms_top_k
    if not self._config_dict['inclusive_boxes']:
      return decode(raw_boxes, raw_scores, anchor_boxes, image_shape)
    boxes, scores = decode(raw_boxes, raw_scores, _up_to_the_end(anchor_boxes), None)
    return _up_to_the_last_pixel(boxes, image_shape), scores


def build(model: configs.DetectionModel, portable: bool = False) -> DetectionGenerator:
  """The detection generator of a model, which decodes as its family does.

  Args:
    model: `task.model`.
    portable: with means that TensorFlow Lite and ONNX have, too; finds the same, more slowly.

  Returns:
    The layer.

  Raises:
    ConfigError: settings that do not go together, or a negative `soft_nms_sigma`.
  """
  sigma = model.detection_generator.soft_nms_sigma
  return _build(model, sigma, f'{_SETTINGS}.soft_nms_sigma', portable)


def build_for_labels(
  model: configs.DetectionModel, soft_nms_sigma: float, min_score: float = 1.0, max_boxes: int = 0
) -> DetectionGenerator:
  """The same with the suppression of labelling.

  Args:
    model: `task.model`.
    soft_nms_sigma: `labels.soft_nms_sigma`, in place of the model's own; 0 is hard suppression.
    min_score: boxes from this score on are found, whatever the model's own threshold; `labels.min_score`.
    max_boxes: at least as many boxes are found in an image; `labels.max_boxes`.

  Returns:
    The layer.

  Raises:
    ConfigError: see `build`.
  """
  deeper = model.replace()
  settings = deeper.detection_generator
  settings.pre_nms_score_threshold = min(settings.pre_nms_score_threshold, min_score)
  settings.max_num_detections = max(settings.max_num_detections, max_boxes)
  return _build(deeper, soft_nms_sigma, 'labels.soft_nms_sigma')


def _build(
  model: configs.DetectionModel, sigma: float | None, name: str, portable: bool = False
) -> DetectionGenerator:
  """Builds the layer; `name` is the setting that `sigma` comes from."""
  settings = model.detection_generator
  family = families.of(model)
  if (sigma or 0.0) < 0.0:
    raise errors.ConfigError(
      f'{name} is {sigma}: it must be above 0 for Soft-NMS, or 0 for hard suppression.'
    )
  is_converted = portable and settings.apply_nms
  if sigma and settings.use_class_agnostic_nms:
    raise errors.ConfigError(
      f'{_SETTINGS}.use_class_agnostic_nms: Soft-NMS treats each class on its own; set {name} to 0, or this to false.'
    )
  if is_converted and settings.pre_nms_score_threshold < 0.0:
    raise errors.ConfigError(
      f'{_SETTINGS}.pre_nms_score_threshold is {settings.pre_nms_score_threshold}: it must not be below 0 in an export '
      'to tflite or onnx. Export with --nms=none.'
    )
  if is_converted and settings.use_class_agnostic_nms:
    raise errors.ConfigError(
      f'{_SETTINGS}.use_class_agnostic_nms: suppression across classes cannot be exported to tflite or onnx. Export '
      'with --nms=none and suppress in your program.'
    )
  fields = {**settings.as_dict(), 'soft_nms_sigma': sigma}
  tflite = {**fields.pop('tflite_post_processing'), 'input_image_size': tuple(model.input_size[:2])}
  return DetectionGenerator(
    inclusive_boxes=family.has_inclusive_boxes,
    portable=portable,
    tflite_post_processing_config=tflite,
    **fields,
  )


def _up_to_the_end(anchor_boxes: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  """Anchors whose differences of coordinates are one more, which is what the Model Garden takes for their size."""
  return {
    level: tf.reshape(tf.reshape(boxes, [-1, 4]) + _LAST_PIXEL, tf.shape(boxes))
    for level, boxes in anchor_boxes.items()
  }


def _up_to_the_last_pixel(boxes: tf.Tensor, image_shape: tf.Tensor | None) -> tf.Tensor:
  """The reverse for decoded boxes [batch, ..., 4], clipped to the last pixels of images [batch, 2]."""
  boxes -= _LAST_PIXEL
  if image_shape is None:
    return boxes
  last = tf.cast(image_shape, boxes.dtype)[:, None, None] - 1.0
  return box_ops.clip_boxes(boxes, last)
