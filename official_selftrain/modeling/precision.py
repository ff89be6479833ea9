"""The precision in which networks compute, and float32 for everything made from their outputs."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import tensorflow as tf
from official.modeling import performance

Nest = TypeVar('Nest')


def to_float32(outputs: Nest) -> Nest:
  """Casts the raw outputs of a network to float32, before anything is computed from them.

  In bfloat16 a sigmoid cannot tell 0.997 from 1, and TensorFlow's suppression takes float32 only. Our models do this
  themselves, so losses, detections, labels and exports all start from float32.

  Args:
    outputs: a nest of tensors of any floating type.

  Returns:
    The same nest in float32.
  """
  return tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float32), outputs)


@contextlib.contextmanager
def policy(dtype: str | None) -> Iterator[None]:
  """In this context models are built for a precision.

  Args:
    dtype: `runtime.mixed_precision_dtype`; None is float32.

  Yields:
    Nothing; the Keras policy from before is set again afterwards.
  """
  before = tf.keras.mixed_precision.global_policy()
  performance.set_mixed_precision_policy(dtype or 'float32')
  try:
    yield
  finally:
    tf.keras.mixed_precision.set_global_policy(before)
