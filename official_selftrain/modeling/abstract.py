"""Models without weights: shapes and numbers of variables of networks that would not fit into memory."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import resource_variable_ops


@contextlib.contextmanager
def without_values() -> Iterator[None]:
  """In this context variables have a shape and no value, so building a model takes no memory for its weights.

  Such a model can be inspected, not called. Variables whose shape only their value tells are made as usual.
  """

  def create(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
    if kwargs.get('shape') is None:
      return next_creator(**kwargs)
    names = ('trainable', 'shape', 'dtype', 'name', 'synchronization', 'aggregation')
    return resource_variable_ops.UninitializedVariable(**{name: kwargs.get(name) for name in names})

  with tf.variable_creator_scope(create):
    yield


def num_values(variables: list[tf.Variable]) -> int:
  """How many numbers variables hold together."""
  return sum(int(np.prod(variable.shape, dtype=np.int64)) for variable in variables)
