"""Parts of a batch that are trained on one after the other, whose gradients make one update.

Activations are held for one part at a time. The update is that of the whole batch, apart from batch norm, whose
statistics are those of each part: losses are divided by what the whole batch has to show, and factors between streams
are those of the losses of the whole batch.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

Nest = Any
Gradients = list[tf.Tensor | None]

# Label of a part: what the losses of the whole batch are divided by, float32 [1], see `normalized.batch_share`.
WHOLE_COUNT = 'whole_batch_count'


def split(batch: Nest, parts: int) -> list[Nest]:
  """The parts of a batch.

  Args:
    batch: nest of tensors [n, ...], n a multiple of `parts`.
    parts: how many.

  Returns:
    Nests of tensors [n / parts, ...].
  """
  pieces = [tf.split(tensor, parts, axis=0) for tensor in tf.nest.flatten(batch)]
  return [
    tf.nest.pack_sequence_as(batch, [piece[part] for piece in pieces]) for part in range(parts)
  ]


def after(batch: Nest, earlier: Nest) -> Nest:
  """The same tensors, which are there only when `earlier` has been computed; else parts would be computed together."""
  done = [tensor for tensor in tf.nest.flatten(earlier) if tensor is not None]
  with tf.control_dependencies(done):
    return tf.nest.map_structure(tf.identity, batch)


def add(first: Gradients | None, second: Gradients) -> Gradients:
  """Sums of gradients of the same variables; None is zero."""
  if first is None:
    return second
  return [
    one if other is None else other if one is None else one + other
    for one, other in zip(first, second, strict=True)
  ]


def mean(values: Sequence[Nest]) -> Nest:
  """Mean of each scalar over nests of the same structure."""
  return tf.nest.map_structure(lambda *each: tf.add_n(list(each)) / len(each), *values)
