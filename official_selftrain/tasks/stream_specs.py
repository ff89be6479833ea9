"""Declares what a task trains on: streams by name, and how the loss of each enters the sum."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, Protocol

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.dataloaders import record_order


class Role(enum.Enum):
  """The part of a stream's loss in the sum (paper section 3.2 and appendix B).

  `HUMAN` and `PSEUDO` are the two sides of the normalised loss. The loss of an `EXTRA` stream is added outside it,
  times the stream's weight, as in the paper's joint training.
  """

  HUMAN = 'human'
  PSEUDO = 'pseudo'
  EXTRA = 'extra'


@dataclasses.dataclass(frozen=True)
class Start:
  """The start of a training run's streams.

  Attributes:
    seed: of the streams' order and augmentation.
    family: models that must not see the same crops in the same order get other numbers.
    step: training steps that earlier processes finished; the streams continue there.
  """

  seed: int = 0
  family: int = 0
  step: int = 0


class StreamParser(Protocol):
  """Turns a stream of decoded examples into one of features and labels."""

  def parse_stream(self, dataset: tf.data.Dataset, stream_seed: int) -> tf.data.Dataset:
    """From `(int64 ordinal, decoded example)` to `(features, labels)`, in the same order.

    Features are the images, or a mapping with further views of them, which the task's `forward` knows how to use.
    """


# From options and the host's place among others to `(int64 ordinal, decoded example)`.
ReadExamples = Callable[
  [cfg.DataConfig, record_order.StreamOptions, tf.distribute.InputContext | None], tf.data.Dataset
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stream:
  """One stream of training examples.

  Attributes:
    name: used in logs and messages.
    field: name of its config below `task`.
    config: its `DataConfig`.
    seed_offset: keeps its draws apart from those of the task's other streams; far from theirs.
    read: its decoded examples.
    parser: makes what augments them and gives features and labels.
    role: how its loss enters the sum.
    weight: factor of the loss of an `EXTRA` stream.
    shows_views: features are [batch, views, height, width, 3]; a sheet of the first ones goes to TensorBoard.
    log_names: names of its losses and statistics in logs, after the stream's name; `loss` is the minimised one.
    check_record: decodes one serialized record eagerly and raises for a bad one; None where labels are not records
      that people wrote.
    find_bad_record: looks for the record that made a run fail and says what is wrong with it; None if there is none.
  """

  name: str
  field: str
  config: cfg.DataConfig
  seed_offset: int
  read: ReadExamples
  parser: Callable[[Any], StreamParser]
  role: Role
  weight: float = 1.0
  shows_views: bool = False
  log_names: tuple[str, ...] = ('loss',)
  check_record: Callable[[cfg.DataConfig, tf.Tensor], None] | None = None
  find_bad_record: Callable[[cfg.DataConfig], str | None] = lambda _: None

  @property
  def dotted(self) -> str:
    """Dotted name of its config."""
    return f'task.{self.field}'


def taught(streams: tuple[Stream, ...]) -> tuple[Stream, ...]:
  """The streams that teach something: an extra one of weight 0 does not."""
  return tuple(each for each in streams if each.role is not Role.EXTRA or each.weight)
