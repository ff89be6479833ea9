"""Shared by the training parsers of all tasks."""

import abc
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_selftrain.augment import mixing
from official_selftrain.core import keys
from official_selftrain.dataloaders import tfrecords
from official_selftrain.ops import pipelines

Example = dict[str, tf.Tensor]
Labels = dict[str, Any]


class TrainingParser(abc.ABC):
  """Maps decoded examples of a stream to `(image, labels)`; what is drawn follows from each example's seed."""

  def __init__(self, mixers: Sequence[mixing.Mixer]):
    """Takes the policies that mix images, see `augment.mixing`."""
    self._mixers = tuple(mixers)

  @abc.abstractmethod
  def augment(self, example: Example) -> Example:
    """Applies the stream's policy to a decoded example with `keys.SEED`."""

  @abc.abstractmethod
  def targets(self, example: Example) -> tuple[tf.Tensor, Labels]:
    """An augmented example as image [height, width, 3], normalised, and labels."""

  def __call__(self, example: Example) -> tuple[tf.Tensor, Labels]:
    """`targets` of `augment`: parses one decoded example with `keys.SEED`."""
    return self.targets(self.augment(example))

  def parse_stream(self, dataset: tf.data.Dataset, stream_seed: int) -> tf.data.Dataset:
    """Augments the examples of a stream, mixes them if asked, and makes targets.

    Args:
      dataset: of `(int64 ordinal, decoded example)`, see `tfrecords.record_stream`.
      stream_seed: the stream's seed; with the ordinal it gives each example its own.

    Returns:
      Dataset of `(image, labels)`, in the same order.
    """

    def _seeded(ordinal: tf.Tensor, example: Example) -> Example:
      return {**example, keys.SEED: tfrecords.example_seed(stream_seed, ordinal)}

    if not self._mixers:
      return pipelines.map_in_order(dataset, lambda *pair: self(_seeded(*pair)))
    augmented = pipelines.map_in_order(dataset, lambda *pair: self.augment(_seeded(*pair)))
    return pipelines.map_in_order(mixing.mix_stream(augmented, self._mixers), self.targets)
