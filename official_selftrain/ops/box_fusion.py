"""One answer from the boxes that a detector finds in several views of an image.

Suppression keeps one box of each object, as in a single view. Then all boxes of all views that overlap it vote: its
corners become the mean of theirs, weighted by their scores (box voting, Gidaris & Komodakis 2015), and its score the
mean over the views, of which those that do not see it count as 0. So what only one view sees is unsure, and what all of
them see lies where most of them see it.
"""

from typing import NamedTuple

import tensorflow as tf

from official_selftrain.ops import anchor_targets

# Boxes that overlap it by this much say where it lies.
_VOTES = 0.6


class Fused(NamedTuple):
  """Boxes of a batch, the surest first.

  Attributes:
    boxes: float32 [batch, n, 4], in the frame of the given ones.
    scores: float32 [batch, n]; 0 behind the last box.
    classes: int32 [batch, n]; 0 behind the last box.
    num_boxes: int32 [batch].
  """

  boxes: tf.Tensor
  scores: tf.Tensor
  classes: tf.Tensor
  num_boxes: tf.Tensor


def fuse(
  boxes: tf.Tensor,
  scores: tf.Tensor,
  classes: tf.Tensor,
  most: int,
  nms_iou: float = 0.5,
  is_class_agnostic: bool = False,
) -> Fused:
  """Fuses boxes of several views.

  Args:
    boxes: float32 [batch, views, m, 4], yxyx relative to the image's sides, all in the frame of the image.
    scores: float32 [batch, views, m]; 0 for padding.
    classes: int32 [batch, views, m], 1 and above.
    most: boxes of an image that are kept.
    nms_iou: boxes that overlap a surer one by more are the same object.
    is_class_agnostic: whether they are, too, if their classes differ.

  Returns:
    `Fused` with n = `most`.
  """
  batch, views = tf.shape(boxes)[0], boxes.shape[1]
  per_view = boxes.shape[2]
  flat_scores = tf.reshape(scores, [batch, views * per_view])
  flat_classes = tf.reshape(classes, [batch, views * per_view])
  flat = tf.reshape(boxes, [batch, views * per_view, 4])
  # Boxes of different classes lie apart and so never overlap.
  shift = 0.0 if is_class_agnostic else 2.0 * tf.cast(flat_classes, tf.float32)[..., None]
  chosen, count = tf.image.non_max_suppression_padded(
    flat + shift,
    flat_scores,
    most,
    iou_threshold=nms_iou,
    score_threshold=0.0,
    pad_to_max_output_size=True,
    canonicalized_coordinates=True,
  )
  kept, kept_classes = (tf.gather(values, chosen, batch_dims=1) for values in (flat, flat_classes))
  is_vote = anchor_targets.iou(kept, flat) >= _VOTES
  is_vote &= kept_classes[:, :, None] == flat_classes[:, None, :]
  votes = tf.where(is_vote, flat_scores[:, None, :], 0.0)
  weights = tf.math.divide_no_nan(votes, tf.reduce_sum(votes, -1, keepdims=True))
  by_view = tf.reduce_max(tf.reshape(votes, [batch, most, views, per_view]), axis=-1)
  # A box without area overlaps nothing, not even itself.
  is_box = (tf.range(most)[None] < count[:, None]) & tf.reduce_any(votes > 0, axis=-1)
  fused_scores = tf.where(is_box, tf.reduce_mean(by_view, axis=-1), 0.0)
  order = tf.argsort(fused_scores, direction='DESCENDING', stable=True)
  # No product of matrices: some devices round its factors.
  means = tf.reduce_sum(weights[..., None] * flat[:, None], axis=2)
  fused_boxes = tf.where(is_box[..., None], means, 0.0)
  found_classes = tf.where(is_box, kept_classes, 0)
  fused_boxes, fused_scores, found_classes = (
    tf.gather(values, order, batch_dims=1) for values in (fused_boxes, fused_scores, found_classes)
  )
  num_boxes = tf.reduce_sum(tf.cast(is_box, tf.int32), axis=-1)
  return Fused(fused_boxes, fused_scores, found_classes, num_boxes)
