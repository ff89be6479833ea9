"""The teacher at work: batches in, the same batches with predictions out, in order.

While the caller looks at one prediction, the next batches are predicted.
"""

import collections
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from official_selftrain.pseudo_labels import batches, formats

PredictFn = Callable[[dict[str, tf.Tensor]], formats.Predictions]


class Predicted(NamedTuple):
  """Batches of one shard, at most one for each replica, and what the teacher predicts for them."""

  group: list[batches.Batch]
  outputs: list[formats.Predictions]


class Teacher:
  """Predicts on all replicas of a strategy, each of which has a batch of its own.

  With one replica on processors two batches are predicted at a time: one fills the gaps in which the other waits for
  the last of its threads (docs/scale.md has what that gives), and one more is held, so that a thread that is done has
  another. A GPU has no such gaps, and its memory may be full: one batch is predicted while the caller looks at the one
  before it.
  """

  def __init__(self, predict_fn: PredictFn, strategy: tf.distribute.Strategy):
    """Asks which devices there are.

    Args:
      predict_fn: see `labeller.Labeller`; called by two threads at a time.
      strategy: whose replicas predict.
    """
    self._predict_fn = predict_fn
    self._strategy = strategy
    devices = tf.config.list_logical_devices('GPU') + tf.config.list_logical_devices('TPU')
    is_one = bool(devices) or strategy.num_replicas_in_sync > 1
    self._at_a_time, self._ahead = (1, 0) if is_one else (2, 2)

  @contextlib.contextmanager
  def predictions(
    self, reading: Iterator[batches.Batch | batches.EndOfShard]
  ) -> Iterator[Iterator[Predicted | batches.EndOfShard]]:
    """Predicts all batches; on leaving, those that nobody has begun are given up.

    Args:
      reading: as `batches.ImageBatches.read` gives it.

    Yields:
      An iterator over predictions; the end of each shard comes after its last one.
    """
    pool = concurrent.futures.ThreadPoolExecutor(self._at_a_time)
    try:
      yield self._in_order(_grouped(reading, self._strategy.num_replicas_in_sync), pool)
    finally:
      pool.shutdown(cancel_futures=True)

  def _in_order(
    self,
    groups: Iterator[list[batches.Batch] | batches.EndOfShard],
    pool: concurrent.futures.Executor,
  ) -> Iterator[Predicted | batches.EndOfShard]:
    ahead: collections.deque[concurrent.futures.Future[Predicted] | batches.EndOfShard]
    ahead = collections.deque()
    for group in groups:
      if isinstance(group, batches.EndOfShard):
        ahead.append(group)
      else:
        ahead.append(pool.submit(self._predict, group))
      if len(ahead) > self._ahead:
        yield _finished(ahead.popleft())
    yield from map(_finished, ahead)

  def _predict(self, group: list[batches.Batch]) -> Predicted:
    return Predicted(group, self._outputs([batch.features for batch in group]))

  def _outputs(self, features: Sequence[dict[str, tf.Tensor]]) -> list[formats.Predictions]:
    """Predictions for at most as many batches as there are replicas."""
    strategy = self._strategy
    if strategy.num_replicas_in_sync == 1:
      return [self._predict_fn(each) for each in features]

    def value(context: tf.distribute.experimental.ValueContext) -> dict[str, tf.Tensor]:
      # A replica without a batch of its own repeats the last one; nobody looks at what it predicts.
      return features[min(context.replica_id_in_sync_group, len(features) - 1)]

    shared = strategy.experimental_distribute_values_from_function(value)
    outputs = strategy.run(self._predict_fn, args=(shared,))
    results = {name: strategy.experimental_local_results(each) for name, each in outputs.items()}
    return [{name: each[i] for name, each in results.items()} for i in range(len(features))]


def _finished(
  item: concurrent.futures.Future[Predicted] | batches.EndOfShard,
) -> Predicted | batches.EndOfShard:
  return item if isinstance(item, batches.EndOfShard) else item.result()


def _grouped(
  reading: Iterator[batches.Batch | batches.EndOfShard], size: int
) -> Iterator[list[batches.Batch] | batches.EndOfShard]:
  """Lists of up to `size` batches of one shard; its end comes after its last list."""
  group: list[batches.Batch] = []
  for item in reading:
    if isinstance(item, batches.Batch):
      group.append(item)
    if group and (len(group) == size or isinstance(item, batches.EndOfShard)):
      yield group
      group = []
    if isinstance(item, batches.EndOfShard):
      yield item
