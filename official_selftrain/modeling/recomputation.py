"""Training in less memory: what a block of the backbone computes is thrown away and computed again for the gradients.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. A block keeps its input only; the backward pass runs
its forward pass once more, just before it needs what is inside. So memory falls to the inputs of all blocks plus the
inside of one, and a step makes the backbone's forward pass twice. The update is the same: the second pass draws the
same random numbers, and leaves the moving statistics of batch norm alone, which the first has updated.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import tensorflow as tf
from official.projects.bigbird import recompute_grad
from official.vision.modeling.layers import nn_blocks, nn_layers

# Each takes one tensor and gives one tensor.
BLOCKS: TypeAlias = (
  nn_blocks.ResidualBlock | nn_blocks.BottleneckBlock | nn_blocks.InvertedBottleneckBlock
)
_MAX_SEED = tf.int32.max


def recompute_blocks(model: tf.keras.Model) -> int:
  """Makes the blocks of a model's backbone throw away what is inside during training.

  Evaluation, labelling, export and checkpoints are as before.

  Args:
    model: with a backbone of the Model Garden's or of ours; changed in place.

  Returns:
    The number of blocks; 0 for a network that has none, such as one of keras-cv.
  """
  blocks = [layer for layer in model.submodules if isinstance(layer, BLOCKS)]
  for block in blocks:
    _recompute(block)
  return len(blocks)


def _recompute(block: BLOCKS) -> None:
  """Replaces `block.call`, and that of the stochastic depth in it."""
  inside = list(block.submodules)
  norms = [layer for layer in inside if isinstance(layer, tf.keras.layers.BatchNormalization)]
  for layer in inside:
    if isinstance(layer, nn_layers.StochasticDepth):
      _seed(layer)
  compute = block.call

  def call(inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
    context = recompute_grad.get_recompute_context()
    if not training or context is not None:
      return compute(inputs, training=training)

    def again(features: tf.Tensor) -> tf.Tensor:
      # Through `__call__`, which tells the layers inside that this is training; the backward pass has forgotten it.
      with _updates_once(norms):
        return block(features, training=True)

    seed = tf.random.uniform([], maxval=_MAX_SEED, dtype=tf.int32)
    return recompute_grad.recompute_grad(again, seed)(inputs)

  block.call = call


@contextlib.contextmanager
def _updates_once(norms: Sequence[tf.keras.layers.BatchNormalization]) -> Iterator[None]:
  """In the second pass batch norm keeps its moving statistics: with a momentum of 1 an update changes nothing."""
  momenta = [norm.momentum for norm in norms]
  try:
    if recompute_grad.get_recompute_context().is_recomputing:
      for norm in norms:
        norm.momentum = 1.0
    yield
  finally:
    for norm, momentum in zip(norms, momenta, strict=True):
      norm.momentum = momentum


def _seed(layer: nn_layers.StochasticDepth) -> None:
  """Makes stochastic depth draw from the seed of its block, so that both passes drop the same images."""
  compute = layer.call
  rate = layer.get_config()['stochastic_depth_drop_rate']

  def call(inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
    context = recompute_grad.get_recompute_context()
    if not training or context is None:
      return compute(inputs, training=training)
    shape = [tf.shape(inputs)[0]] + [1] * (inputs.shape.rank - 1)
    drawn = tf.random.stateless_uniform(shape, seed=[context.seed, 0], dtype=inputs.dtype)
    return inputs / (1.0 - rate) * tf.floor(1.0 - rate + drawn)

  layer.call = call
