"""The order of the records of a stream, and how to start in the middle of it without reading what came before.

The order depends on the numbers of records and on seeds, never on content or timing. Each epoch draws from TensorFlow's
generators the same seeds as `Dataset.shuffle` with `repeat` does, so that any epoch can be made by itself. Within an
epoch the order is first gone through with numbers in place of records, which shows what was seen already. Files are
then read from their first records that were not; records before these are jumped over by their lengths. What is read
again is what came while such a record waited in the shuffle buffer: some times the buffer's size.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from official_selftrain.core import console, errors
from official_selftrain.ops import pipelines

# Files read at the same time; more hides the latency of remote storage, fewer keep memory small.
_MAX_CYCLE_LENGTH = 16
_PARALLEL_READS = 4
# Numbers of records that are gone through at a time.
_AT_ONCE = 100_000


class RecordFiles(Protocol):
  """Files, and how their records are read."""

  @property
  def elements(self) -> Sequence[Any]:
    """One element per file for `tf.data.Dataset.from_tensor_slices`: its path, or a tuple of strings."""

  def open(self, file: tf.Tensor, first: tf.Tensor | int) -> tf.data.Dataset:
    """Elements of a stream that one file gives.

    Args:
      file: one of `elements`, as a string tensor.
      first: int64 scalar, the record of the file to begin with. What is before it is not read.

    Returns:
      Dataset of any nest of string tensors.
    """

  def usable(self, index: int) -> np.ndarray:
    """Which records of a file `open` gives; bool [records].

    Args:
      index: of the file in `elements`.

    Raises:
      DataError: a record cannot be read.
    """


@dataclasses.dataclass(frozen=True)
class StreamOptions:
  """The order of a stream.

  Attributes:
    seed: orders files and records; streams that must not run in lockstep get different seeds.
    is_training: endless and shuffled, or one pass in file order.
    shuffle_buffer_size: records to draw from; a buffer larger than the data set shuffles it perfectly.
    start: records that earlier processes consumed, those of all input pipelines together.
    skip_errors: leave out records that cannot be read instead of failing.
    cache: keep serialized records in memory after the first pass.
    block_length: consecutive records to take from one file.
    cycle_length: files read at once; None chooses.
  """

  seed: int = 0
  is_training: bool = True
  shuffle_buffer_size: int = 10_000
  start: int = 0
  skip_errors: bool = False
  cache: bool = False
  block_length: int = 1
  cycle_length: int | None = None


def ordered(files: RecordFiles, options: StreamOptions) -> tf.data.Dataset:
  """Elements of a stream from `options.start` on, endless when training.

  Raises:
    DataError: with a late start, a file cannot be read, or there is no record.
  """
  if not options.is_training or not options.start:
    return _from_the_beginning(files, options)
  if options.skip_errors:
    # How many records cannot be read is only known once all were.
    console.note(
      f'{_named(files)}: reading {options.start:,} records again, because skip_errors is set'
    )
    return _from_the_beginning(files, options).skip(options.start)
  return _Late(files, options).dataset()


def _from_the_beginning(files: RecordFiles, options: StreamOptions) -> tf.data.Dataset:
  dataset = _unshuffled(files, options)
  if options.is_training:
    dataset = dataset.shuffle(options.shuffle_buffer_size, seed=options.seed + 1).repeat()
  return dataset


def _unshuffled(files: RecordFiles, options: StreamOptions) -> tf.data.Dataset:
  """All elements, in the order in which they come into the shuffle buffer."""
  count = len(files.elements)
  dataset = tf.data.Dataset.from_tensor_slices(list(files.elements))
  if options.is_training:
    # What is cached is the first pass, so the order of files is drawn once then.
    dataset = dataset.shuffle(count, seed=options.seed, reshuffle_each_iteration=not options.cache)

  def _open(file: tf.Tensor) -> tf.data.Dataset:
    elements = files.open(file, 0)
    return elements.ignore_errors(log_warning=True) if options.skip_errors else elements

  dataset = _interleave(dataset, _open, options, count)
  return dataset.cache() if options.cache else dataset


class _Late:
  """A training stream that starts in the middle."""

  def __init__(self, files: RecordFiles, options: StreamOptions) -> None:
    self._files = files
    self._options = options
    self._usable = [files.usable(index) for index in range(len(files.elements))]
    self._counts = np.array([mask.sum() for mask in self._usable], np.int64)
    total = int(self._counts.sum())
    if not total:
      raise errors.DataError(f'{_named(files)}: there is no record that could be trained on.')
    self._epoch, self._seen = divmod(options.start, total)
    console.note(
      f'{_named(files)}: going on in epoch {self._epoch + 1} after {self._seen:,} of {total:,} records'
    )
    # What `Dataset.shuffle` draws for its epochs.
    self._file_seeds = tf.data.Dataset.random(seed=options.seed).batch(2)
    self._record_seeds = tf.data.Dataset.random(seed=options.seed + 1).batch(2)

  def dataset(self) -> tf.data.Dataset:
    """See `ordered`."""
    options = self._options
    seeds = tf.data.Dataset.zip((self._file_seeds, self._record_seeds))
    (file_seeds, record_seeds), *_ = seeds.skip(self._epoch).take(1)
    later = seeds.skip(self._epoch + 1)
    if options.cache:
      # All records must be read once more in any case.
      cached = _unshuffled(self._files, options)
      first = _shuffled(cached, options.shuffle_buffer_size, record_seeds)
      rest = later.flat_map(lambda _, each: _shuffled(cached, options.shuffle_buffer_size, each))
    else:
      first = self._one_epoch(file_seeds, record_seeds, *self._places(file_seeds, record_seeds))
      rest = later.flat_map(self._one_epoch)
    return first.skip(self._seen).concatenate(rest)

  def _one_epoch(
    self,
    file_seeds: tf.Tensor,
    record_seeds: tf.Tensor,
    blanks: np.ndarray | None = None,
    firsts: np.ndarray | None = None,
  ) -> tf.data.Dataset:
    """All records, once.

    Args:
      file_seeds: int64 [2], order the files.
      record_seeds: int64 [2], order the records.
      blanks: int64 [files], how many elements of each file are given without content.
      firsts: int64 [files], the record of each file that comes after them.
    """
    elements = list(self._files.elements)
    nothing = np.zeros(len(elements), np.int64)
    places = nothing if blanks is None else blanks, nothing if firsts is None else firsts
    dataset = tf.data.Dataset.from_tensor_slices((elements, *places))

    def _open(file: tf.Tensor, count: tf.Tensor, first: tf.Tensor) -> tf.data.Dataset:
      records = self._files.open(file, first)
      if blanks is None:
        return records
      blank = tf.nest.map_structure(lambda _: tf.constant(''), records.element_spec)
      return tf.data.Dataset.from_tensors(blank).repeat(count).concatenate(records)

    return self._arranged(dataset, _open, file_seeds, record_seeds)

  def _places(
    self, file_seeds: tf.Tensor, record_seeds: tf.Tensor
  ) -> tuple[np.ndarray, np.ndarray]:
    """`blanks` and `firsts` of `_one_epoch`, by an epoch of numbers in place of records."""
    is_seen = [np.zeros(count, bool) for count in self._counts]
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(len(self._counts)), self._counts))

    def _number(index: tf.Tensor, count: tf.Tensor) -> tf.data.Dataset:
      return tf.data.Dataset.range(count).map(lambda place: (index, place))

    numbers = self._arranged(dataset, _number, file_seeds, record_seeds, is_parallel=False)
    seen = pipelines.without_tuner(numbers.take(self._seen).batch(_AT_ONCE))
    for indices, places in seen.as_numpy_iterator():
      for index in np.unique(indices):
        is_seen[index][places[indices == index]] = True
    blanks = np.array([_leading(seen) for seen in is_seen], np.int64)
    firsts = [
      mask.size if blank == count else int(np.flatnonzero(mask)[blank])
      for mask, blank, count in zip(self._usable, blanks, self._counts, strict=True)
    ]
    return blanks, np.array(firsts, np.int64)

  def _arranged(
    self,
    dataset: tf.data.Dataset,
    open_file: Callable[..., tf.data.Dataset],
    file_seeds: tf.Tensor,
    record_seeds: tf.Tensor,
    is_parallel: bool = True,
  ) -> tf.data.Dataset:
    """The order of one epoch."""
    count = len(self._files.elements)
    dataset = _shuffled(dataset, count, file_seeds)
    dataset = _interleave(dataset, open_file, self._options, count, is_parallel)
    return _shuffled(dataset, self._options.shuffle_buffer_size, record_seeds)


def _interleave(
  dataset: tf.data.Dataset,
  open_file: Callable[..., tf.data.Dataset],
  options: StreamOptions,
  count: int,
  is_parallel: bool = True,
) -> tf.data.Dataset:
  """Elements of `count` files; the order is the same whether several are read at once or not."""
  cycle = options.cycle_length or min(count, _MAX_CYCLE_LENGTH)
  return dataset.interleave(
    open_file,
    cycle_length=cycle,
    block_length=options.block_length,
    num_parallel_calls=min(cycle, _PARALLEL_READS) if is_parallel else None,
    deterministic=True,
  )


def _shuffled(dataset: tf.data.Dataset, buffer_size: int, seeds: tf.Tensor) -> tf.data.Dataset:
  """`Dataset.shuffle` for one epoch, which has no argument for both of its seeds."""
  specs = tf.nest.flatten(dataset.element_spec)
  shuffled = tf.raw_ops.ShuffleDataset(
    input_dataset=tf.data.experimental.to_variant(dataset),
    buffer_size=buffer_size,
    seed=seeds[0],
    seed2=seeds[1],
    reshuffle_each_iteration=False,
    output_types=[spec.dtype for spec in specs],
    output_shapes=[spec.shape for spec in specs],
  )
  return tf.data.experimental.from_variant(shuffled, dataset.element_spec)


def _named(files: RecordFiles) -> str:
  """The first of the files, and how many more there are."""
  first, *others = files.elements
  name = os.path.basename(first if isinstance(first, str) else first[0])
  return f'{name} and {len(others)} more' if others else name


def _leading(seen: np.ndarray) -> int:
  """How many of the first values are true; bool [n]."""
  return int(seen.size if seen.all() else np.argmin(seen))
