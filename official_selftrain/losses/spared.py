"""Classes that a batch of labels says nothing about."""

from collections.abc import Sequence

import tensorflow as tf

# Its sigmoid, and its share of a softmax beside a logit of 0, are 1e-13: nothing in float32.
_NEVER = -30.0


def without_classes(logits: tf.Tensor, num_classes: int, classes: Sequence[int]) -> tf.Tensor:
  """Logits of a sigmoid or softmax in which some classes are out of the question.

  Args:
    logits: float [..., n * num_classes], the classes of n anchors one after the other; n is 1 for pixels.
    num_classes: background included.
    classes: ids of classes.

  Returns:
    The same shape and dtype. The logits of `classes` are far below 0 and below all others of their anchor or pixel, and
    pass no gradient on.
  """
  shape = tf.shape(logits)
  by_class = tf.reshape(logits, tf.concat([shape[:-1], [-1, num_classes]], axis=0))
  is_out = tf.reduce_any(tf.one_hot(list(classes), num_classes, on_value=True, off_value=False), 0)
  lowest = tf.stop_gradient(tf.minimum(tf.reduce_min(by_class, -1, keepdims=True), 0.0))
  out = tf.where(is_out, lowest + tf.cast(_NEVER, logits.dtype), by_class)
  return tf.ensure_shape(tf.reshape(out, shape), logits.shape)


def without_labels(labels: tf.Tensor, classes: Sequence[int], instead: int) -> tf.Tensor:
  """Labels in which some classes have another value.

  Args:
    labels: numbers of any shape and type.
    classes: ids of classes.
    instead: takes their place.

  Returns:
    The same shape and dtype.
  """
  is_out = tf.reduce_any(tf.equal(labels[..., None], tf.cast(list(classes), labels.dtype)), -1)
  return tf.where(is_out, tf.cast(instead, labels.dtype), labels)
