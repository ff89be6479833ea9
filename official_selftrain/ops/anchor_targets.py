"""Training targets of RetinaNet anchors, with support for ignored anchors.

The same assignment as the Model Garden's `AnchorLabeler` (tests compare them), in half of its time or less
(`python -m benchmarks anchor_targets`), with two additions: an anchor that would have been positive for a box of the
ignore band is neither object nor background; and boxes may have scores.

What is computed for each box and each anchor has one row per box, and each coordinate is an array of its own, since
TensorFlow is slow where the innermost dimension is short. What only positive anchors need is computed for them alone,
in shapes that depend on their number: this is for input pipelines and an online teacher's step, and not for XLA.
"""

from typing import NamedTuple

import tensorflow as tf

# Keeps divisions and logarithms finite for degenerate boxes; the value of the Model Garden's box coder.
_EPSILON = 1e-8

# AVX-512, the widest on x86-64, holds eight pairs of float32.
_VECTOR = 8


class AnchorTargets(NamedTuple):
  """Targets of `num_anchors` anchors in the order of the flattened anchors.

  Attributes:
    classes: int64 [num_anchors], class id of the matched box, -1 for background and ignored anchors.
    boxes: float32 [num_anchors, 4], encoded offsets (dy, dx, dh, dw); 0 where the anchor is not positive.
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
  ymin_a, xmin_a, ymax_a, xmax_a = (side[..., :, None] for side in tf.unstack(boxes_a, 4, axis=-1))
  ymin_b, xmin_b, ymax_b, xmax_b = (side[..., None, :] for side in tf.unstack(boxes_b, 4, axis=-1))
  heights = tf.nn.relu(tf.minimum(ymax_a, ymax_b) - tf.maximum(ymin_a, ymin_b))
  widths = tf.nn.relu(tf.minimum(xmax_a, xmax_b) - tf.maximum(xmin_a, xmin_b))
  intersections = heights * widths
  areas_a = (ymax_a - ymin_a) * (xmax_a - xmin_a)
  areas_b = (ymax_b - ymin_b) * (xmax_b - xmin_b)
  return tf.math.divide_no_nan(intersections, areas_a + areas_b - intersections)


def encode(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
  """Offsets (dy, dx, dh, dw) of boxes from anchors; both float32 [n, 4], yxyx in pixels."""
  box_size = boxes[:, 2:] - boxes[:, :2]
  anchor_size = anchors[:, 2:] - anchors[:, :2]
  box_centre = boxes[:, :2] + 0.5 * box_size
  anchor_centre = anchors[:, :2] + 0.5 * anchor_size
  anchor_size += _EPSILON
  shift = (box_centre - anchor_centre) / anchor_size
  scale = _log((box_size + _EPSILON) / anchor_size)
  return tf.concat([shift, scale], axis=-1)


def _log(values: tf.Tensor) -> tf.Tensor:
  """Logarithm of float32 [n, 2], of each value the same whatever n.

  Values that are left over after the last full vector of the processor are computed by other code, and the last bit of
  their logarithm may differ. Padding takes that place.
  """
  count = tf.shape(values)[0]
  padded = tf.pad(values, [[0, _VECTOR], [0, 0]], constant_values=1.0)
  return tf.math.log(padded)[:count]


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
  is_object = tf.logical_and(classes > 0, tf.logical_not(is_ignored))
  sureness = tf.ones_like(boxes[:, 0]) if scores is None else scores
  overlaps = iou(boxes, anchors)
  object_overlaps = tf.where(is_object[:, None], overlaps, -1.0)
  best_overlap = tf.reduce_max(object_overlaps, axis=0)
  best_band_overlap = tf.reduce_max(tf.where(is_ignored[:, None], overlaps, -1.0), axis=0)
  # [n, 1]: the anchor that each box takes.
  best_anchor = tf.argmax(overlaps, axis=1)[:, None]
  # [num_anchors]: the sureness of the surest of the boxes that take an anchor, -1 where none does.
  claims = _largest(best_anchor, tf.where(is_object, sureness, -1.0), tf.shape(anchors)[0])
  band_claims = _largest(best_anchor, tf.where(is_ignored, 0.0, -1.0), tf.shape(anchors)[0])

  is_positive = tf.logical_or(best_overlap >= match_threshold, claims >= 0.0)
  positive = tf.where(is_positive)
  box = _boxes_of(
    positive[:, 0],
    tf.gather(object_overlaps, positive[:, 0], axis=1),
    tf.where(is_object, best_anchor[:, 0], -1),
    sureness,
    match_threshold,
    by_score=scores is not None,
  )
  is_between = tf.logical_and(best_overlap >= unmatched_threshold, best_overlap < match_threshold)
  in_band = tf.logical_or(best_band_overlap >= match_threshold, band_claims >= 0.0)
  is_left_out = tf.logical_and(tf.logical_or(is_between, in_band), tf.logical_not(is_positive))

  offsets = encode(tf.gather(boxes, box), tf.gather(anchors, positive[:, 0]))
  return AnchorTargets(
    classes=tf.tensor_scatter_nd_update(
      tf.fill(tf.shape(claims), tf.constant(-1, classes.dtype)), positive, tf.gather(classes, box)
    ),
    boxes=tf.scatter_nd(positive, offsets, tf.shape(anchors, tf.int64)),
    class_weights=1.0 - tf.cast(is_left_out, tf.float32),
    box_weights=tf.scatter_nd(positive, tf.gather(sureness, box), tf.shape(claims, tf.int64)),
  )


def _largest(places: tf.Tensor, values: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
  """float32 `[size]`, the largest of the values at each place, or -1; places are int64 [n, 1], values [n]."""
  return tf.tensor_scatter_nd_max(tf.fill([size], -1.0), places, values)


def _boxes_of(
  anchors: tf.Tensor,
  overlaps: tf.Tensor,
  best_anchor: tf.Tensor,
  sureness: tf.Tensor,
  match_threshold: float,
  by_score: bool,
) -> tf.Tensor:
  """The boxes of positive anchors.

  Args:
    anchors: int64 [k], their places.
    overlaps: float32 [n, k], below 0 for boxes that are no objects.
    best_anchor: int64 [n], the place that each box takes, -1 for boxes that are no objects.
    sureness: float32 [n].
    match_threshold: IoU from which a box may have an anchor that it does not take.
    by_score: prefer the largest IoU times score to the largest IoU.

  Returns:
    int32 [k].
  """
  matches = overlaps >= match_threshold
  rank = tf.where(matches, overlaps * sureness[:, None] if by_score else overlaps, -1.0)
  takes = tf.where(best_anchor[:, None] == anchors, sureness[:, None], -1.0)
  best, taker = _first_best(rank), _first_best(takes)
  is_taken = tf.reduce_max(takes, axis=0) >= tf.where(
    tf.reduce_any(matches, axis=0), tf.gather(sureness, best), 0.0
  )
  return tf.where(is_taken, taker, best)


def _first_best(values: tf.Tensor) -> tf.Tensor:
  """int32 [k], for float32 [n, k] the first of the largest of each column; n may be 0, and then k is."""
  # argmax refuses to look for the largest of none, and where all are NaN it takes what pads.
  padded = tf.pad(values, [[0, 1], [0, 0]], constant_values=-3.0)
  return tf.minimum(tf.argmax(padded, output_type=tf.int32), tf.shape(values)[0] - 1)
