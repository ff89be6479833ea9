"""Gaussian Soft-NMS for a batch of images and all classes at once (Bodla et al. 2017, arXiv:1704.04503, section 3).

`hard_nms` is ordinary suppression by the same means, for places where TensorFlow's operators do not exist: all that is
used here has a counterpart in TensorFlow Lite and in ONNX.

Hard suppression removes boxes that overlap a better one of their class; this lowers their scores instead:

    score <- score * exp(-IoU^2 / (2 * sigma))

after each pick, until nothing above the threshold is left or enough is picked. `sigma` is that of TensorFlow's
`soft_nms_sigma` (`tf.image.non_max_suppression_with_scores`), so that the Model Garden's setting of this name means the
same everywhere. Bodla et al. write exp(-IoU^2 / s): their s is 2 * sigma. The 0.3 of Zoph et al. is taken for
TensorFlow's sigma; docs/networks.md says why, and how sure that is.

Three observations make it fast. Few anchors have any score above the threshold, so one pass over the scores leaves
little. Scores only fall, so the picks of a class come in falling order, and picking the best box of an image, whatever
its class, gives the best boxes over all classes without having to suppress each class to its end. And classes become a
third axis along which boxes of different classes are apart: one formula gives the overlap, and only the picks need a
loop. All images of a batch pick at the same time.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Detections(NamedTuple):
  """The detections of a batch, best first; rows from `num_detections` on are 0.

  Attributes:
    boxes: float32 [batch, max_num_detections, 4], as they were given.
    scores: float32 [batch, max_num_detections], lowered.
    classes: int32 [batch, max_num_detections], index into the last axis of the scores that were given.
    num_detections: int32 [batch].
  """

  boxes: tf.Tensor
  scores: tf.Tensor
  classes: tf.Tensor
  num_detections: tf.Tensor


class _Candidates(NamedTuple):
  """Boxes with scores above the threshold; rows are filled up with zeros to `most`, the most of any image, or 1.

  Within an image they are ordered by class, then by falling score, then as they were given. Among equal scores the
  first is picked, as TensorFlow's op does within a class and the Model Garden between classes.

  Attributes:
    scores: float32 [batch, most].
    boxes: float32 [batch * most, 4].
    classes: float32 [batch * most].
  """

  scores: tf.Tensor
  boxes: tf.Tensor
  classes: tf.Tensor


def soft_nms(
  boxes: tf.Tensor,
  scores: tf.Tensor,
  sigma: float,
  score_threshold: float = 0.05,
  pre_nms_top_k: int = 5000,
  max_num_detections: int = 100,
) -> Detections:
  """Lowers the scores of boxes that overlap better ones of their class, and picks the best boxes of all classes.

  Equal, up to rounding, to Soft-NMS of each class on its own followed by the best `max_num_detections` of all. Batch
  size and number of boxes may be unknown when the graph is built.

  Args:
    boxes: [batch, n, 4], two opposite corners (y, x, y, x) in any one frame, shared by all classes.
    scores: [batch, n, num_classes], without background; `num_classes` is static.
    sigma: width of the decay, above 0; half the sigma in the formula of Bodla et al.
    score_threshold: a box is a candidate, and is picked, while its score is above this; not below 0.
    pre_nms_top_k: candidates per image and class; the best ones, the earlier among equals.
    max_num_detections: picks per image.

  Returns:
    `Detections`.

  Raises:
    ValueError: `sigma` is not above 0, or `score_threshold` is below 0.
  """
  if sigma <= 0.0 or score_threshold < 0.0:
    raise ValueError(
      f'sigma is {sigma} and score_threshold {score_threshold}: sigma must be above 0, the threshold not below 0.'
    )
  return _select(
    boxes,
    scores,
    lambda iou: tf.exp(-0.5 / sigma * iou * iou),
    score_threshold,
    pre_nms_top_k,
    max_num_detections,
  )


def hard_nms(
  boxes: tf.Tensor,
  scores: tf.Tensor,
  iou_threshold: float,
  score_threshold: float = 0.05,
  pre_nms_top_k: int | None = None,
  max_num_detections: int = 100,
) -> Detections:
  """Removes boxes that overlap a better one of their class by more than a threshold, as `tf.image` does it.

  Equal to `tf.image.combined_non_max_suppression`, which is faster, and which neither TensorFlow Lite nor every ONNX
  runtime has.

  Args:
    boxes: see `soft_nms`.
    scores: see `soft_nms`.
    iou_threshold: intersection over union above which a box is removed.
    score_threshold: see `soft_nms`.
    pre_nms_top_k: see `soft_nms`; all if None.
    max_num_detections: see `soft_nms`.

  Returns:
    `Detections`.

  Raises:
    ValueError: `score_threshold` is below 0.
  """
  if score_threshold < 0.0:
    raise ValueError(f'score_threshold is {score_threshold}: it must not be below 0.')
  return _select(
    boxes,
    scores,
    lambda iou: tf.cast(iou <= iou_threshold, iou.dtype),
    score_threshold,
    pre_nms_top_k,
    max_num_detections,
  )


def _select(
  boxes: tf.Tensor,
  scores: tf.Tensor,
  decay: Callable[[tf.Tensor], tf.Tensor],
  score_threshold: float,
  pre_nms_top_k: int | None,
  max_num_detections: int,
) -> Detections:
  """Picks the best boxes of all classes; `decay` gives the factor of a score for an overlap with a better box."""
  candidates = _candidates(
    tf.cast(boxes, tf.float32), tf.cast(scores, tf.float32), score_threshold, pre_nms_top_k
  )
  indices, picked = _pick(candidates, decay, score_threshold, max_num_detections)
  picked = tf.reshape(picked, [scores.shape[0] or -1, max_num_detections])
  is_picked = picked > score_threshold
  classes = tf.cast(tf.gather(candidates.classes, indices), tf.int32)
  return Detections(
    boxes=tf.where(is_picked[..., None], tf.gather(candidates.boxes, indices), 0.0),
    scores=tf.where(is_picked, picked, 0.0),
    classes=tf.where(is_picked, classes, 0),
    num_detections=tf.reduce_sum(tf.cast(is_picked, tf.int32), axis=1),
  )


def promising(
  boxes: tf.Tensor, scores: tf.Tensor, score_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
  """Leaves out boxes without any score above a threshold, so that hard suppression need not sort what it never picks.

  Args:
    boxes: [batch, n, ...].
    scores: [batch, n, num_classes], without background; `num_classes` is static.
    score_threshold: that of the suppression, not below 0.

  Returns:
    Boxes [batch, most, ...] and scores [batch, most, num_classes] in their order, filled up with zeros to `most`, the
    number of boxes that are left of the image with most of them, or 1.
  """
  is_left = tf.reduce_max(scores, axis=2) > score_threshold
  found = tf.where(is_left)
  sizes = tf.reduce_sum(tf.cast(is_left, tf.int64), axis=1)
  most = tf.maximum(tf.reduce_max(sizes), 1)
  starts = tf.gather(tf.cumsum(sizes, exclusive=True), found[:, 0])
  ranks = tf.range(tf.shape(found, tf.int64)[0]) - starts
  places = tf.stack([found[:, 0], ranks], axis=1)

  def table(values: tf.Tensor) -> tf.Tensor:
    shape = [tf.shape(values, tf.int64)[:1], most[None], tf.shape(values, tf.int64)[2:]]
    made = tf.scatter_nd(places, tf.gather_nd(values, found), tf.concat(shape, axis=0))
    return tf.ensure_shape(made, [values.shape[0], None, *values.shape[2:]])

  return table(boxes), table(scores)


def _candidates(
  boxes: tf.Tensor, scores: tf.Tensor, score_threshold: float, pre_nms_top_k: int | None
) -> _Candidates:
  """Gathers boxes above the threshold, at most `pre_nms_top_k` per image and class, or all."""
  num_classes = scores.shape[2]
  batch = tf.shape(scores, tf.int64)[0]
  # First the rows with any candidate, then the candidates: the large tensor is read once, along its last axis.
  is_row = tf.reduce_max(scores, axis=2) > score_threshold
  rows = tf.where(is_row)
  is_candidate = tf.gather_nd(scores, rows) > score_threshold
  found = tf.where(is_candidate)
  rows, classes = tf.gather(rows, found[:, 0]), found[:, 1]
  values = tf.gather_nd(scores, tf.concat([rows, classes[:, None]], axis=1))
  # A group is one class in one image.
  groups = rows[:, 0] * num_classes + classes
  sizes = _sizes(is_row, is_candidate)

  # By group, then by score. Sorting is stable, and `tf.where` gives boxes in their order.
  order = tf.argsort(values, direction='DESCENDING', stable=True)
  order = tf.gather(order, tf.argsort(tf.gather(groups, order), stable=True))
  values, rows, classes, groups = (
    tf.gather(each, order) for each in (values, rows, classes, groups)
  )
  starts = tf.cumsum(tf.reshape(sizes, [-1]), exclusive=True)
  ranks = tf.range(tf.size(groups, tf.int64)) - tf.gather(starts, groups)
  top_k = tf.int64.max if pre_nms_top_k is None else pre_nms_top_k
  is_kept = ranks < top_k
  kept = tf.minimum(sizes, top_k)
  most = tf.maximum(tf.reduce_max(tf.reduce_sum(kept, axis=1)), 1)

  # The place of each in [batch, most].
  starts = tf.reshape(tf.cumsum(kept, axis=1, exclusive=True), [-1])
  places = rows[:, 0] * most + tf.gather(starts, groups) + ranks
  columns = [tf.gather_nd(boxes, rows), values[:, None]]
  table = tf.concat([*columns, tf.cast(classes, tf.float32)[:, None]], axis=1)
  table = tf.scatter_nd(
    tf.boolean_mask(places, is_kept)[:, None],
    tf.boolean_mask(table, is_kept),
    tf.stack([batch * most, 6]),
  )
  return _Candidates(tf.reshape(table[:, 4], [batch, most]), table[:, :4], table[:, 5])


def _sizes(is_row: tf.Tensor, is_candidate: tf.Tensor) -> tf.Tensor:
  """Number of candidates of each image and class, int64 [batch, num_classes].

  Args:
    is_row: bool [batch, n], whether a box has a candidate.
    is_candidate: bool [number of such boxes, num_classes].
  """
  ends = tf.cumsum(tf.reduce_sum(tf.cast(is_row, tf.int64), axis=1))
  upto = tf.pad(tf.cumsum(tf.cast(is_candidate, tf.int64)), [[1, 0], [0, 0]])
  upto = tf.gather(upto, ends)
  return upto - tf.pad(upto[:-1], [[1, 0], [0, 0]])


def _pick(
  candidates: _Candidates,
  decay: Callable[[tf.Tensor], tf.Tensor],
  score_threshold: float,
  max_num_detections: int,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Picks the best box of every image, lowers the scores of those that it overlaps, and so on.

  Args:
    candidates: the boxes.
    decay: from overlaps to the factors of the scores.
    score_threshold: the loop ends when no image has a score above it.
    max_num_detections: most picks.

  Returns:
    For [batch, max_num_detections], the row of the pick in `candidates.boxes`, int32, and its score at that time,
    float32. Where the score is not above the threshold, there was nothing left to pick.
  """
  shape = tf.shape(candidates.scores)
  batch, most = shape[0], shape[1]
  first = tf.range(batch) * most  # Row of each image's first candidate.
  low, high, area = _boxes_by_class(candidates)
  low_of_image, high_of_image = (
    tf.transpose(tf.reshape(corner, [batch, most, 3]), [0, 2, 1]) for corner in (low, high)
  )
  area_of_image = tf.reshape(area, [batch, most])

  def _continue(number: tf.Tensor, best: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
    del number
    return tf.reduce_any(best > score_threshold)

  def _step(
    number: tf.Tensor, best: tf.Tensor, scores: tf.Tensor, indices: tf.Tensor, picked: tf.Tensor
  ) -> tuple[tf.Tensor, ...]:
    index = first + tf.argmax(scores, axis=1, output_type=tf.int32)
    top_left = tf.maximum(low_of_image, tf.gather(low, index)[..., None])
    bottom_right = tf.minimum(high_of_image, tf.gather(high, index)[..., None])
    shared = tf.reduce_prod(tf.nn.relu(bottom_right - top_left), axis=1)
    iou = shared / (area_of_image + tf.gather(area, index)[:, None] - shared)
    lowered = tf.reshape(scores * decay(iou), [-1])
    lowered = tf.tensor_scatter_nd_update(lowered, index[:, None], tf.zeros_like(best))
    lowered = tf.reshape(lowered, [batch, most])
    return (
      number + 1,
      tf.reduce_max(lowered, axis=1),
      lowered,
      tf.tensor_scatter_nd_update(indices, [[number]], index[None]),
      tf.tensor_scatter_nd_update(picked, [[number]], best[None]),
    )

  *_, indices, picked = tf.while_loop(
    _continue,
    _step,
    (
      tf.constant(0),
      tf.reduce_max(candidates.scores, axis=1),
      candidates.scores,
      tf.zeros([max_num_detections, batch], tf.int32),
      tf.zeros([max_num_detections, batch]),
    ),
    # A batch size that is known outside is not known inside.
    shape_invariants=tuple(
      tf.TensorShape(shape)
      for shape in ([], [None], [None, None], *[[max_num_detections, None]] * 2)
    ),
    maximum_iterations=max_num_detections,
  )
  return tf.transpose(indices), tf.transpose(picked)


def _boxes_by_class(candidates: _Candidates) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Boxes as cuboids, one unit deep along an axis of classes, where those of different classes do not overlap.

  Args:
    candidates: the boxes.

  Returns:
    Lower and upper corners float32 [batch * most, 3], and areas [batch * most]. Empty boxes get the area 1: they
    overlap nothing, and a division by 0 is avoided.
  """
  corners = tf.reshape(candidates.boxes, [-1, 2, 2])
  depth = candidates.classes[:, None]
  low = tf.concat([tf.reduce_min(corners, axis=1), depth], axis=1)
  high = tf.concat([tf.reduce_max(corners, axis=1), depth + 1.0], axis=1)
  area = tf.reduce_prod(high - low, axis=1)
  return low, high, tf.where(area > 0.0, area, 1.0)
