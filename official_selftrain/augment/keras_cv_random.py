"""Random numbers for keras-cv's layers that follow from a seed alone.

keras-cv 0.9.0 draws in two ways: from `self._random_generator`, a generator with a state, and with bare calls of
`tf.random`. Here both come from `Draws`: a number is a stateless function of the example's seed, of the path of layers
that leads to the draw, and of how many numbers the last of them drew before. So it does not matter which branch of a
`tf.cond` is traced or run before another, and the bytes are the same in eager mode and in graphs.
"""

import contextlib
import dataclasses
import threading
import types
from collections.abc import Iterator
from typing import Any, TypeAlias

import tensorflow as tf

Number: TypeAlias = float | tf.Tensor
Shape = Any  # Numbers, a tensor, or numbers and tensors in brackets.


@dataclasses.dataclass
class _Frame:
  """Where draws come from; `loops` is the number of loop bodies around it."""

  seed: tf.Tensor
  loops: int
  count: int = 0


class Draws(threading.local):
  """Stateless stand-in for `tf.random.Generator` and for the random functions of `tf.random`.

  It draws only inside `seeded`. Arguments named `seed` or `name` are accepted and not read.
  """

  def __init__(self) -> None:
    """Makes it without a seed."""
    self._frames: list[_Frame] = []

  @contextlib.contextmanager
  def seeded(self, seed: tf.Tensor) -> Iterator[None]:
    """What is drawn inside follows from this seed, int32 [2]."""
    with self._frame(_Frame(seed, _num_loops())):
      yield

  @contextlib.contextmanager
  def scope(self, salt: int | tf.Tensor) -> Iterator[None]:
    """What is drawn inside has nothing in common with what is drawn outside, or at another salt.

    Args:
      salt: a number; or, inside the body of a loop, the int32 scalar that counts its turns.
    """
    outer = self._top()
    seed = tf.random.fold_in(tf.random.fold_in(outer.seed, -1 - outer.count), salt)
    with self._frame(_Frame(seed, _num_loops() if tf.is_tensor(salt) else outer.loops)):
      yield

  def uniform(
    self,
    shape: Shape,
    minval: Number = 0,
    maxval: Number | None = None,
    dtype: tf.DType = tf.float32,
    **_: object,
  ) -> tf.Tensor:
    """As `tf.random.uniform`."""
    if maxval is None:
      maxval = 1
    return tf.random.stateless_uniform(shape, self._next(), minval, maxval, tf.as_dtype(dtype))

  def normal(
    self,
    shape: Shape,
    mean: Number = 0.0,
    stddev: Number = 1.0,
    dtype: tf.DType = tf.float32,
    **_: object,
  ) -> tf.Tensor:
    """As `tf.random.normal`."""
    return tf.random.stateless_normal(shape, self._next(), mean, stddev, tf.as_dtype(dtype))

  # The name that keras-cv's `GridMask` calls, although TensorFlow's generator has no such method.
  random_normal = normal

  def gamma(
    self,
    shape: Shape,
    alpha: Number,
    beta: Number | None = None,
    dtype: tf.DType = tf.float32,
    **_: object,
  ) -> tf.Tensor:
    """As `tf.random.gamma`: the shape of the result is `shape` and then that of the parameters."""
    alpha = tf.convert_to_tensor(alpha, dtype)
    whole = tf.concat([tf.cast(shape, tf.int32), tf.shape(alpha)], 0)
    return tf.random.stateless_gamma(whole, self._next(), alpha, beta, dtype)

  def shuffle(self, value: tf.Tensor, **_: object) -> tf.Tensor:
    """As `tf.random.shuffle`: the rows in another order."""
    places = tf.argsort(tf.random.stateless_uniform([tf.shape(value)[0]], self._next()))
    return tf.gather(value, places)

  def _next(self) -> tf.Tensor:
    frame = self._top()
    if _num_loops() > frame.loops:
      raise NotImplementedError(
        'a random number inside a loop would be the same in every turn; use `scope` with the counter of the loop.'
      )
    frame.count += 1
    return tf.random.fold_in(frame.seed, frame.count)

  def _top(self) -> _Frame:
    if not self._frames:
      raise RuntimeError('random numbers are drawn inside `seeded` only.')
    return self._frames[-1]

  @contextlib.contextmanager
  def _frame(self, frame: _Frame) -> Iterator[None]:
    self._frames.append(frame)
    try:
      yield
    finally:
      self._frames.pop()


class TensorFlow:
  """TensorFlow, except that `random` is a `Draws`: what the functions of keras-cv see as `tf`."""

  def __init__(self, draws: Draws):
    """Takes the source of random numbers."""
    self.random = draws

  def __getattr__(self, name: str) -> Any:
    return getattr(tf, name)


def rebound(function: types.FunctionType, draws: Draws) -> types.FunctionType | None:
  """A copy of a function that draws its bare random numbers from `draws`.

  Args:
    function: of a module that has TensorFlow as its global `tf`.
    draws: where numbers come from.

  Returns:
    The copy, or None where the function does not mention `tf.random`.
  """
  if not _mentions_random(function.__code__) or function.__globals__.get('tf') is not tf:
    return None
  copy = types.FunctionType(
    function.__code__,
    {**function.__globals__, 'tf': TensorFlow(draws)},
    function.__name__,
    function.__defaults__,
    function.__closure__,
  )
  copy.__kwdefaults__ = function.__kwdefaults__
  return copy


def _mentions_random(code: types.CodeType) -> bool:
  inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
  return 'random' in code.co_names or any(_mentions_random(each) for each in inner)


def _num_loops() -> int:
  """Bodies of loops around the graph that is being built."""
  if tf.executing_eagerly():
    return 0
  count = 0
  graph = tf.compat.v1.get_default_graph()
  while graph is not None:
    count += 'body' in getattr(graph, 'name', '')
    graph = getattr(graph, 'outer_graph', None)
  return count
