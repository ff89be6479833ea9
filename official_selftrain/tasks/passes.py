"""Training passes, and what they do to the moving statistics of batch norm."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.modeling import precision

Nest: TypeAlias = Any


def pass_aside(model: tf.keras.Model, features: Nest) -> Nest:
  """A training pass with the batch's own statistics, which leaves the moving ones of batch norm as they were.

  Args:
    model: a model, or a part of one.
    features: of a batch.

  Returns:
    Its outputs, cast to float32.
  """
  with statistics_kept(model):
    return precision.to_float32(model(features, training=True))


@contextlib.contextmanager
def statistics_kept(model: tf.keras.Model) -> Iterator[None]:
  """Training passes in it leave the moving statistics of batch norm as they were."""
  moving = [v for v in model.non_trainable_variables if 'moving_' in v.name]
  before = [tf.identity(variable) for variable in moving]
  yield
  for variable, value in zip(moving, before, strict=True):
    variable.assign(value)


def forward_separately(model: tf.keras.Model, features: Mapping[str, Nest]) -> Mapping[str, Nest]:
  """One training pass per stream, of which that of the human images alone moves the statistics.

  Args:
    model: a model.
    features: of a batch, by stream.

  Returns:
    Its outputs by stream, cast to float32.
  """
  outputs = {}
  # Human images last: what is put back was there before.
  for source in sorted(features, key=lambda source: source == keys.HUMAN):
    if source == keys.HUMAN:
      outputs[source] = precision.to_float32(model(features[source], training=True))
    else:
      outputs[source] = pass_aside(model, features[source])
  return {source: outputs[source] for source in features}
