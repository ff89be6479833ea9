"""Training targets of RetinaNet anchors, with support for ignored anchors.

The same assignment as the Model Garden's `AnchorLabeler` (tests compare them), in about a fifth of its time for
small images because it needs no conditionals, and with one addition: boxes of the ignore band. An anchor that would
have been positive for such a box is neither object nor background.
"""

from typing import NamedTuple

import tensorflow as tf

# Keeps divisions and logarithms finite for degenerate boxes; the value of the Model Garden's box coder.
_EPSILON = 1e-8


class AnchorTargets(NamedTuple):
  """Targets of `num_anchors` anchors in the order of the flattened anchors.

  Attributes:
    classes: int64 [num_anchors], class id of the matched box, -1 for background and ignored anchors.
    boxes: float32 [num_anchors, 4], encoded offsets (dy, dx, dh, dw); those of unmatched anchors are meaningless.
    class_weights: float32 [num_anchors], 0 where the anchor is ignored, else 1.
    box_weights: float32 [num_anchors], where the anchor is positive the score of its box, or 1 if boxes have none; else
      0.
  """

  classes: tf.Tensor
  boxes: tf.Tensor
  class_weights: tf.Tensor
  box_weights: tf.Tensor


def iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
  """Intersection over union of every pair of boxes.

  Args:
    boxes_a: float32 [..., n, 4], yxyx in any one frame.
    boxes_b: float32 [..., m, 4], yxyx in the same frame.

  Returns:
    float32 [..., n, m] in [0, 1]; 0 for pairs that do not overlap, also if both are empty.
  """
  top_left = tf.maximum(boxes_a[..., :, None, :2], boxes_b[..., None, :, :2])
  bottom_right = tf.minimum(boxes_a[..., :, None, 2:], boxes_b[..., None, :, 2:])
  intersections = tf.reduce_prod(tf.nn.relu(bottom_right - top_left), axis=-1)
  areas_a = tf.reduce_prod(boxes_a[..., 2:] - boxes_a[..., :2], axis=-1)
  areas_b = tf.reduce_prod(boxes_b[..., 2:] - boxes_b[..., :2], axis=-1)
  unions = areas_a[..., :, None] + areas_b[..., None, :] - intersections
  return tf.math.divide_no_nan(intersections, unions)


def encode(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
  """Offsets (dy, dx, dh, dw) of boxes from anchors; both float32 [n, 4], yxyx in pixels."""
  box_size = boxes[:, 2:] - boxes[:, :2]
  anchor_size = anchors[:, 2:] - anchors[:, :2]
  box_centre = boxes[:, :2] + 0.5 * box_size
  anchor_centre = anchors[:, :2] + 0.5 * anchor_size
  anchor_size += _EPSILON
  shift = (box_centre - anchor_centre) / anchor_size
  scale = tf.math.log((box_size + _EPSILON) / anchor_size)
  return tf.concat([shift, scale], axis=-1)


def assign(
  anchors: tf.Tensor,
  boxes: tf.Tensor,
  classes: tf.Tensor,
  is_ignored: tf.Tensor,
  match_threshold: float = 0.5,
  unmatched_threshold: float = 0.5,
  scores: tf.Tensor | None = None,
) -> AnchorTargets:
  """Assigns each anchor a box, the background, or nothing.

  An anchor is positive when its best box has an IoU of at least `match_threshold`, background below
  `unmatched_threshold`, ignored between. Every box also takes its best anchor, at any IoU. Then anchors that are
  not positive and whose IoU with a box of the ignore band reaches `match_threshold` become ignored, as does that
  box's best anchor.

  Args:
    anchors: float32 [num_anchors, 4], yxyx in pixels of the network's input.
    boxes: float32 [n, 4], the same frame; n may be 0.
    classes: int64 [n]; a box of class 0 is none, so that images with different numbers of boxes can be batched.
    is_ignored: bool [n], True for boxes of the ignore band.
    match_threshold: IoU from which an anchor is positive.
    unmatched_threshold: IoU below which an anchor is background.
    scores: float32 [n], of boxes, in [0, 1]; None is 1 for all. With scores the best of the boxes that reach
      `match_threshold` is that of the largest IoU times score, and a box takes its best anchor only from boxes that are
      not surer: what a teacher thinks an object might also be must not push aside what it is sure of.

  Returns:
    `AnchorTargets`.
  """
  # One more column, which overlaps nothing: so there always is a best box, and no conditional is needed for n = 0.
  boxes = tf.concat([boxes, tf.zeros([1, 4], boxes.dtype)], axis=0)
  classes = tf.concat([classes, tf.constant([-1], classes.dtype)], axis=0)
  is_object = tf.logical_and(classes > 0, tf.concat([tf.logical_not(is_ignored), [False]], axis=0))
  is_ignored = tf.concat([is_ignored, [False]], axis=0)

  overlaps = iou(anchors, boxes)
  object_overlaps = tf.where(is_object[None, :], overlaps, -1.0)
  best_overlap = tf.reduce_max(object_overlaps, axis=1)
  sureness = tf.concat([tf.ones_like(boxes[:-1, 0]) if scores is None else scores, [0.0]], axis=0)
  rank = object_overlaps
  if scores is not None:
    rank = tf.where(object_overlaps >= match_threshold, object_overlaps * sureness[None, :], -1.0)
  best_box = tf.argmax(rank, axis=1, output_type=tf.int32)
  # [n + 1, num_anchors] with a single 1 per row: the anchor that each box takes.
  best_anchor = tf.one_hot(
    tf.argmax(overlaps, axis=0), tf.shape(anchors)[0], on_value=True, off_value=False
  )

  taken = tf.logical_and(best_anchor, is_object[:, None])
  is_matched = best_overlap >= match_threshold
  claims = tf.where(taken, sureness[:, None], -1.0)
  is_taken = tf.reduce_max(claims, axis=0) >= tf.where(
    is_matched, tf.gather(sureness, best_box), 0.0
  )
  best_box = tf.where(is_taken, tf.argmax(claims, axis=0, output_type=tf.int32), best_box)
  is_positive = tf.logical_or(is_taken, is_matched)
  is_between = tf.logical_and(best_overlap >= unmatched_threshold, best_overlap < match_threshold)
  in_band = tf.logical_or(overlaps >= match_threshold, tf.transpose(best_anchor))
  in_band = tf.reduce_any(tf.logical_and(in_band, is_ignored[None, :]), axis=1)
  is_left_out = tf.logical_and(tf.logical_or(is_between, in_band), tf.logical_not(is_positive))

  return AnchorTargets(
    classes=tf.where(is_positive, tf.gather(classes, best_box), tf.constant(-1, classes.dtype)),
    boxes=encode(tf.where(is_positive[:, None], tf.gather(boxes, best_box), 0.0), anchors),
    class_weights=1.0 - tf.cast(is_left_out, tf.float32),
    box_weights=tf.where(is_positive, tf.gather(sureness, best_box), 0.0),
  )
