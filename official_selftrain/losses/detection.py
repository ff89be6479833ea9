"""The Model Garden's focal loss in 0.4 of its time, and the box loss as the authors' TF1 code computes it.

Both box losses sum a Huber loss over the four offsets of positive anchors and divide by 4 * (positives + 1). Theirs
leaves out, one by one, offsets whose target is exactly 0: of boxes centred on an anchor, or as high or as wide.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

# Of a probability from its target: what is less counts as this.
_SMALLEST_ERROR = 1e-7


def focal_loss(
  logits: tf.Tensor,
  classes: tf.Tensor,
  weights: tf.Tensor,
  alpha: float,
  gamma: float,
  scores: tf.Tensor | None = None,
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
    scores: float32 [batch, num_anchors] in [0, 1], targets of the right classes, see `_soft_focal_loss`; None is 1.

  Returns:
    float32 scalar.
  """
  places = tf.range(logits.shape[-1], dtype=classes.dtype)
  is_right = tf.cast(tf.equal(classes[..., None], places), tf.float32)
  if scores is not None:
    return _soft_focal_loss(logits, is_right * scores[..., None], weights, alpha, gamma)
  sign = 1.0 - 2.0 * is_right
  factor = (1.0 - alpha + (2.0 * alpha - 1.0) * is_right) * tf.stop_gradient(weights)[..., None]
  z = sign * tf.stop_gradient(logits)
  entropy = tf.nn.softplus(z)
  # From logarithms: a general power takes longer, and 1 - p would lose the digits of a p near 1.
  log_p = z - entropy
  p, other = tf.exp(log_p), tf.exp(-entropy)
  modulated = factor * tf.exp(gamma * log_p)
  slope = sign * modulated * (p + gamma * other * entropy)
  return _with_slope(tf.reduce_sum(modulated * entropy), slope, logits)


def _soft_focal_loss(
  logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, alpha: float, gamma: float
) -> tf.Tensor:
  """Quality focal loss of Li et al. (2020), summed, balanced like the focal loss, which it is for targets of 0 and 1.

  With p = sigmoid(logit) and a target t it is a * |t - p|^gamma * (-t log(p) - (1 - t) log(1 - p)), which is least at
  p = t, and a = t * alpha + (1 - t) * (1 - alpha).

  Args:
    logits: float32 [batch, num_anchors, num_classes].
    targets: float32 of the same shape, in [0, 1].
    weights: float32 [batch, num_anchors], of anchors; they get no gradient.
    alpha: a of a target of 1.
    gamma: 0, which makes it cross entropy, or at least 1: between them the slope is not finite around p = t.

  Returns:
    float32 scalar.
  """
  x = tf.stop_gradient(logits)
  p = tf.sigmoid(x)
  error = p - targets
  # Where p = t the slope is 0, and nothing must be divided by 0.
  distance = tf.maximum(tf.abs(error), _SMALLEST_ERROR)
  entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, x)
  factor = (1.0 - alpha + (2.0 * alpha - 1.0) * targets) * tf.stop_gradient(weights)[..., None]
  power = distance**gamma
  turning = gamma * power / distance * tf.sign(error) * p * (1.0 - p)
  slope = factor * (power * error + turning * entropy)
  return _with_slope(tf.reduce_sum(factor * power * entropy), slope, logits)


def _with_slope(value: tf.Tensor, slope: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
  """A value whose gradient by the logits is `slope`; `value` must have none of its own."""
  # Zero, with the slope as its gradient. `tf.custom_gradient` would keep the graph of every training step for good.
  linear = tf.reduce_sum(tf.stop_gradient(slope) * logits)
  return value + (linear - tf.stop_gradient(linear))


def original_box_loss(
  box_outputs: Mapping[str, tf.Tensor], labels: Mapping[str, Any], delta: float
) -> tf.Tensor:
  """Huber loss of box regression, without the offsets whose target is exactly 0.

  Args:
    box_outputs: [batch, h, w, anchors * 4] for each level name '3', '4', ...: offsets (dy, dx, dh, dw).
    labels: `box_targets` float32 by level, and `box_weights` float32 [batch, num_anchors], 1 or a score for positive
      anchors and 0 for others, levels in ascending order.
    delta: difference from which the loss grows linearly, in units of the offsets; above 0.

  Returns:
    float32 scalar, the sum divided by 4 * (weights of this batch + 1). It is not weighted against the class loss.
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
