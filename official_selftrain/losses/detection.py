"""The box loss as the authors' TF1 code computes it; its class loss is the Model Garden's focal loss.

Both box losses sum a Huber loss over the four offsets of positive anchors and divide by 4 * (positives + 1). Theirs
leaves out, one by one, offsets whose target is exactly 0: of boxes centred on an anchor, or as high or as wide.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def original_box_loss(
  box_outputs: Mapping[str, tf.Tensor], labels: Mapping[str, Any], delta: float
) -> tf.Tensor:
  """Huber loss of box regression, without the offsets whose target is exactly 0.

  Args:
    box_outputs: [batch, h, w, anchors * 4] for each level name '3', '4', ...: offsets (dy, dx, dh, dw).
    labels: `box_targets` float32 by level, and `box_weights` float32 [batch, num_anchors], 1 for positive anchors and 0
      for others, levels in ascending order.
    delta: difference from which the loss grows linearly, in units of the offsets; above 0.

  Returns:
    float32 scalar, the sum divided by 4 * (positives of this batch + 1). It is not weighted against the class loss.
  """
  outputs, targets = (_flatten(by_level) for by_level in (box_outputs, labels['box_targets']))
  weights = labels['box_weights']
  error = tf.abs(outputs - targets)
  near = tf.minimum(error, delta)
  huber = 0.5 * near**2 + delta * (error - near)
  is_counted = tf.cast(tf.not_equal(targets, 0.0), tf.float32) * weights[..., None]
  return tf.reduce_sum(is_counted * huber) / (4.0 * (tf.reduce_sum(weights) + 1.0))


def _flatten(by_level: Mapping[str, tf.Tensor]) -> tf.Tensor:
  """float32 [batch, num_anchors, 4] of all levels in ascending order."""
  levels = [by_level[name] for name in sorted(by_level, key=int)]
  flat = [tf.reshape(values, [tf.shape(values)[0], -1, 4]) for values in levels]
  return tf.cast(tf.concat(flat, axis=1), tf.float32)
