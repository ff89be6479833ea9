"""Focal loss: ours over the Model Garden's, value and gradient, in milliseconds per image.

Both get the same made-up logits, classes and weights in memory and run in a `tf.function` that also takes the gradient
by the logits. Two sizes: eight images of the embedded data (128 pixels, 3,069 anchors, 11 classes), and one image of
COCO at 640 pixels (76,725 anchors, 91 classes). The results are compared, too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from official.vision.losses import focal_loss

from benchmarks import results, timing, workbench
from official_selftrain.losses import detection

NEEDS_WORKBENCH = True
_ALPHA, _GAMMA = 0.25, 1.5
_SIZES = {'8 images of digits': (8, 3069, 11), 'COCO size': (1, 76725, 91)}
_TARGET = results.Target(at_most=0.5)
_CALLS = 5
_ROUNDS = 15


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  return [_compare(name, shape, bench.effort.rounds(_ROUNDS)) for name, shape in _SIZES.items()]


def _compare(name: str, shape: tuple[int, int, int], rounds: int) -> results.Row:
  """A row for logits of this shape."""
  rng = np.random.default_rng(0)
  logits = tf.constant(rng.normal(-4.0, 2.0, shape), tf.float32)
  # Most anchors show background, which is a class of its own.
  classes = tf.constant(
    np.where(rng.random(shape[:2]) < 0.02, rng.integers(0, shape[2], shape[:2]), 0)
  )
  weights = tf.constant(rng.random(shape[:2]) < 0.95, tf.float32)
  stock = focal_loss.FocalLoss(_ALPHA, _GAMMA, tf.keras.losses.Reduction.SUM)
  calls = {
    'ours': _with_gradient(lambda x: detection.focal_loss(x, classes, weights, _ALPHA, _GAMMA)),
    'stock': _with_gradient(
      lambda x: stock(tf.one_hot(classes, shape[2]), x, sample_weight=weights)
    ),
  }
  found = {key: call(logits) for key, call in calls.items()}
  for ours, theirs in zip(found['ours'], found['stock'], strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)

  def _repeat(call: Callable[[tf.Tensor], Any]) -> None:
    for _ in range(_CALLS):
      call(logits)[0].numpy()

  seconds = timing.interleave(
    {key: timing.wall(lambda call=call: _repeat(call)) for key, call in calls.items()}, rounds
  )
  return results.compare(
    'focal_loss',
    f'{name}: ours : Model Garden',
    'ms/image',
    seconds['ours'],
    seconds['stock'],
    figure=lambda value: 1e3 * value / (_CALLS * shape[0]),
    target=_TARGET,
  )


def _with_gradient(
  loss: Callable[[tf.Tensor], tf.Tensor],
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
  """A graph from logits to the loss and its gradient."""

  @tf.function
  def both(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.GradientTape() as tape:
      tape.watch(x)
      value = loss(x)
    return value, tape.gradient(value, x)

  return both
