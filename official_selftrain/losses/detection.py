"""The Model Garden's focal loss in 0.4 of its time, and the box loss as the authors' TF1 code computes it.

Both box losses sum a Huber loss over the four offsets of positive anchors and divide by 4 * (positives + 1). Theirs
leaves out, one by one, offsets whose target is exactly 0: of boxes centred on an anchor, or as high or as wide.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def focal_loss(
  logits: tf.Tensor, classes: tf.Tensor, weights: tf.Tensor, alpha: float, gamma: float
) -> tf.Tensor:
  """Focal loss of Lin et al. (2017), summed: the Model Garden's `FocalLoss`, with its gradient written down.

  A logit x counts as z = x where its class is wrong and as z = -x where it is right. With p = sigmoid(z), the
  probability given to the wrong answer, the loss is a * p^gamma * softplus(z), and its derivative by z is
  a * p^gamma * (p + gamma * (1 - p) * softplus(z)). That derivative is all that is kept for the backward pass, where
  the Model Garden's operations keep a dozen tensors of this size.

  Args:
    logits: float32 [batch, num_anchors, num_classes].
    classes: integers [batch, num_anchors]; below 0 where all classes are wrong.
    weights: float32 [batch, num_anchors], of anchors; they get no gradient.
    alpha: a of right classes; that of wrong ones is 1 - alpha.
    gamma: 0 makes it cross entropy.

  Returns:
    float32 scalar.
  """
  places = tf.range(logits.shape[-1], dtype=classes.dtype)
  is_right = tf.cast(tf.equal(classes[..., None], places), tf.float32)
  sign = 1.0 - 2.0 * is_right
  factor = (1.0 - alpha + (2.0 * alpha - 1.0) * is_right) * tf.stop_gradient(weights)[..., None]
  z = sign * tf.stop_gradient(logits)
  entropy = tf.nn.softplus(z)
  # From logarithms: a general power takes longer, and 1 - p would lose the digits of a p near 1.
  log_p = z - entropy
  p, other = tf.exp(log_p), tf.exp(-entropy)
  modulated = factor * tf.exp(gamma * log_p)
  slope = sign * modulated * (p + gamma * other * entropy)
  # Zero, with the slope as its gradient. `tf.custom_gradient` would keep the graph of every training step for good.
  linear = tf.reduce_sum(tf.stop_gradient(slope) * logits)
  return tf.reduce_sum(modulated * entropy) + (linear - tf.stop_gradient(linear))


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
