"""Estimates the memory of a training step from its graph; nothing is computed, so no network is too large.

The rule. Forward pass, losses and gradients are traced with TensorFlow's own gradient functions. The operations are
gone through in the order of the graph, which is about the order of execution; every tensor takes the bytes of its shape
and dtype from the operation that makes it to the last one that reads it. Tensors that are views of others (`Identity`,
`Reshape`, reads of variables, ...) take nothing. What remains of the forward pass because the backward pass reads it is
`kept`; the largest sum at any time is `peak`.

Not in it: workspaces of convolutions, copies that a strategy makes to add up gradients, fragmentation, operations that
run side by side, and what TensorFlow saves by computing in place. With XLA, which fuses operations, a step needs less.
Tensors whose shape is known only when the graph runs count nothing.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import resource_variable_ops

Nest = TypeVar('Nest')

# Images in a traced batch: a prime, so that a number of values is a multiple of it only if there are so many per image.
BATCH = 7_919

# Operations whose outputs share the memory of their inputs, one to one.
_VIEWS = frozenset(
  ('ExpandDims', 'Identity', 'IdentityN', 'PreventGradient', 'Reshape', 'Squeeze', 'StopGradient')
)
_FREE = frozenset(('Const', 'ReadVariableOp'))

GIB = 1024**3


@dataclasses.dataclass(frozen=True)
class Activations:
  """Bytes of a step's tensors, without variables and their gradients.

  Attributes:
    kept: per image, what the forward pass leaves for the backward pass.
    peak: per image, the most at any time.
    shared: kept for any batch size: copies of weights in another precision, for example.
  """

  kept: float
  peak: float
  shared: int


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Memory of training on one device.

  Attributes:
    fixed: bytes that do not depend on the batch.
    per_image: bytes for each image on the device.
    batch: images per step on all devices.
    parts: in which each batch is trained on, `task.gradient_accumulation_steps`; with several of them the sum of their
      gradients is held, too.
    gradients: bytes of that sum.
    divides: the number that devices times parts must divide: the greatest that divides all batches.
  """

  fixed: int
  per_image: float
  batch: int
  parts: int = 1
  gradients: int = 0
  divides: int = 0

  def on(self, devices: int) -> float:
    """Bytes on each of so many devices."""
    images = -(-self.batch // (devices * self.parts))
    return self.fixed + self._sum_of(self.parts) + images * self.per_image

  def fewest(self, limit: float) -> int | None:
    """The smallest number of devices with `limit` bytes each; None if not even one image fits."""
    room = self._room(limit, self.parts)
    return -(-self.batch // (room * self.parts)) if room >= 1 else None

  def fewest_parts(self, limit: float, devices: int) -> int | None:
    """The smallest number of parts with which a batch fits so many devices of `limit` bytes; None if there is none."""
    for parts in range(1, self.divides // devices + 1):
      images = -(-self.batch // (devices * parts))
      if self.divides % (devices * parts) == 0 and images <= self._room(limit, parts):
        return parts
    return None

  def _room(self, limit: float, parts: int) -> int:
    """Images that fit a device; negative where not even the weights do."""
    return int((limit - self.fixed - self._sum_of(parts)) // self.per_image)

  def _sum_of(self, parts: int) -> int:
    return self.gradients if parts > 1 else 0


def activations(
  loss: Callable[[Nest], tf.Tensor], inputs: Nest, variables: Sequence[tf.Variable]
) -> Activations:
  """Traces a step and applies the rule.

  Args:
    loss: from a nest of tensors to a float32 scalar.
    inputs: a nest of `TensorSpec`, each with a leading dimension of `BATCH`.
    variables: those that are trained.

  Returns:
    Their sizes.
  """
  boundary = []

  def step(values: Nest) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
      value = loss(values)
    boundary.append(len(tf.compat.v1.get_default_graph().get_operations()))
    return [g for g in tape.gradient(value, variables) if g is not None]

  graph = tf.function(step, autograph=False).get_concrete_function(inputs).graph
  return _measure(graph, boundary[-1])


def _measure(graph: tf.Graph, boundary: int) -> Activations:
  """Applies the rule to a graph whose first `boundary` operations are the forward pass."""
  operations = graph.get_operations()
  owners = _owners(operations)
  last, first_backward = {}, set()
  for index, operation in enumerate(operations):
    for tensor in operation.inputs:
      last[owners[tensor.ref()]] = index
      if index >= boundary:
        first_backward.add(owners[tensor.ref()])
  results = {owners[tensor.ref()] for tensor in graph.outputs}
  live = peak = 0
  kept = {True: 0, False: 0}
  ending: dict[int, int] = {}
  for index, operation in enumerate(operations):
    for tensor in operation.outputs:
      owner = tensor.ref()
      if owners[owner] != owner or operation.type in _FREE:
        continue
      size, is_of_images = _bytes(tensor)
      if index < boundary and owner in first_backward:
        kept[is_of_images] += size
      if is_of_images and (owner in last or owner in results):
        live += size
        if owner not in results:
          ending[last[owner]] = ending.get(last[owner], 0) + size
    peak = max(peak, live)
    live -= ending.pop(index, 0)
  return Activations(kept[True] / BATCH, peak / BATCH, kept[False])


def _owners(operations: Sequence[tf.Operation]) -> dict[Any, Any]:
  """For each tensor the one whose memory it uses."""
  owners: dict[Any, Any] = {}
  for operation in operations:
    is_view = operation.type in _VIEWS
    for position, tensor in enumerate(operation.outputs):
      owners[tensor.ref()] = owners[operation.inputs[position].ref()] if is_view else tensor.ref()
  return owners


def _bytes(tensor: tf.Tensor) -> tuple[int, bool]:
  """Bytes of a tensor, and whether they grow with the batch."""
  values = tensor.shape.num_elements()
  if not values or tensor.dtype in (tf.resource, tf.variant, tf.string):
    return 0, False
  return values * tensor.dtype.size, values % BATCH == 0


@contextlib.contextmanager
def without_values() -> Iterator[None]:
  """In this context variables have a shape and no value, so building a model takes no memory for its weights.

  Such a model can be inspected, not called. Variables whose shape is known only from their value are made as usual.
  """

  def create(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
    if kwargs.get('shape') is None:
      return next_creator(**kwargs)
    names = ('trainable', 'shape', 'dtype', 'name', 'synchronization', 'aggregation')
    return resource_variable_ops.UninitializedVariable(**{name: kwargs.get(name) for name in names})

  with tf.variable_creator_scope(create):
    yield


def num_values(variables: list[tf.Variable]) -> int:
  """Total number of values in variables."""
  return sum(int(np.prod(variable.shape, dtype=np.int64)) for variable in variables)
