"""Record streams in an order that depends only on the files and a seed.

A stream yields serialized records with their ordinals, endlessly for training. Every epoch is shuffled again, and a
later process can start where an earlier one stopped, because the order never depends on timing. Records are skipped
before they are decoded, so a late start is cheap.
"""

import dataclasses
import glob as globbing
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from official_selftrain.core import errors

# Files read at the same time; more hides the latency of remote storage, fewer keep memory small.
_MAX_CYCLE_LENGTH = 16

# A file's records: `open_file(path)` gives a dataset whose elements may be any nest of tensors.
FileReader = Callable[[tf.Tensor], tf.data.Dataset]


def match_files(input_path: str | Sequence[str], field: str) -> list[str]:
  """Files that match a path, a comma-separated list of paths, or patterns with `*`, `?` or `[`.

  Args:
    input_path: as in the Model Garden's `input_path`.
    field: dotted name of the setting, for the message.

  Returns:
    The files in sorted order per pattern, patterns in the given order.

  Raises:
    DataError: if a pattern matches nothing, or nothing was given.
  """
  texts = [input_path] if isinstance(input_path, str) else list(input_path)
  patterns = [part.strip() for text in texts for part in text.split(',') if part.strip()]
  if not patterns:
    raise errors.DataError(
      f'{field} is empty: give a file, a pattern such as data/train-*.tfrecord, or a list.'
    )
  files = []
  for pattern in patterns:
    matched = sorted(tf.io.gfile.glob(pattern)) if globbing.has_magic(pattern) else [pattern]
    if not matched or not tf.io.gfile.exists(matched[0]):
      raise errors.DataError(
        f'{field}: no file matches {pattern!r}. Check the path and the working directory.'
      )
    files.extend(matched)
  return files


def check_not_empty(files: Sequence[str], field: str) -> None:
  """Raises DataError when none of the files holds a record; an endless stream of nothing would hang.

  Args:
    files: TFRecord files.
    field: dotted name of the setting, for the message.
  """
  if not any(tf.io.gfile.stat(path).length for path in files):
    raise errors.DataError(
      f'{field}: the data set is empty: {len(files)} file(s) without a record, first {files[0]}.'
    )


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


def record_stream(
  files: Sequence[str] | Sequence[tuple[str | bytes, ...]],
  open_file: FileReader,
  options: StreamOptions,
  input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
  """Stream of `(ordinal, element)` over files.

  With several input pipelines (hosts) each reads all records in the one order that seed and files give and keeps every
  n-th, so that hosts together see what one host would see, whatever their number. Serialized records that are not
  kept cost their reading alone; decoding comes after.

  Args:
    files: paths, or tuples of paths that are read together (an image file and its labels) or of a path and what else
      `open_file` has to know of it.
    open_file: opens one of them; receives a string tensor, [] or [n].
    options: order and start.
    input_context: the host's place among others, as given by `tf.distribute`.

  Returns:
    Dataset of `(int64 ordinal, element)`, endless when training.
  """
  cycle = options.cycle_length or min(len(files), _MAX_CYCLE_LENGTH)
  dataset = tf.data.Dataset.from_tensor_slices(list(files))
  if options.is_training:
    # What is cached is the first pass, so the order of files is drawn once then.
    dataset = dataset.shuffle(
      len(files), seed=options.seed, reshuffle_each_iteration=not options.cache
    )

  def _open(path: tf.Tensor) -> tf.data.Dataset:
    elements = open_file(path)
    return elements.ignore_errors(log_warning=True) if options.skip_errors else elements

  dataset = dataset.interleave(
    _open,
    cycle_length=cycle,
    block_length=options.block_length,
    num_parallel_calls=min(cycle, 4),
    deterministic=True,
  )
  if options.cache:
    dataset = dataset.cache()
  if options.is_training:
    dataset = dataset.shuffle(options.shuffle_buffer_size, seed=options.seed + 1).repeat()
  if options.start:
    dataset = dataset.skip(options.start)
  dataset = dataset.enumerate(start=options.start)
  if input_context and input_context.num_input_pipelines > 1:
    dataset = dataset.shard(input_context.num_input_pipelines, input_context.input_pipeline_id)
  return dataset


def open_tfrecord(path: tf.Tensor) -> tf.data.Dataset:
  """Serialized records of one TFRecord file."""
  return tf.data.TFRecordDataset(path)


def example_seed(stream_seed: int, ordinal: tf.Tensor) -> tf.Tensor:
  """Seed of the example at a place in a stream.

  Args:
    stream_seed: the stream's seed.
    ordinal: int64 scalar, the place.

  Returns:
    int32 [2].
  """
  low = tf.cast(ordinal % (1 << 31), tf.int32)
  high = tf.cast(ordinal // (1 << 31), tf.int32)
  base = tf.random.fold_in(tf.constant([stream_seed, 0], tf.int32), low)
  return tf.random.fold_in(base, high)


@dataclasses.dataclass(frozen=True)
class Fault:
  """What is wrong with a record.

  Attributes:
    text: 'file, record n: reason'.
    is_unreadable: it cannot be read or decoded, so `skip_errors` leaves it out; else its content is wrong.
  """

  text: str
  is_unreadable: bool


def examine(
  files: Sequence[str], decode: Callable[[tf.Tensor], object], limit: int | None = None
) -> Iterator[Fault | None]:
  """Looks at records one after the other.

  Args:
    files: TFRecord files, scanned in order.
    decode: receives the serialized record; raises `tf.errors.OpError` if it cannot be decoded and ValueError if its
      content is wrong.
    limit: records per file to look at; None looks at all.

  Yields:
    For each record its fault, or None if it is fine. A file ends at a record that cannot be read.
  """
  for path in files:
    index = 0
    try:
      for record in tf.data.TFRecordDataset(path).take(-1 if limit is None else limit):
        fault = None
        try:
          decode(record)
        except (tf.errors.OpError, ValueError) as error:
          is_unreadable = isinstance(error, tf.errors.OpError)
          fault = Fault(f'{path}, record {index}: {errors.first_line(error)}', is_unreadable)
        yield fault
        index += 1
    except tf.errors.OpError as error:
      yield Fault(f'{path}, record {index}: {errors.first_line(error)}', is_unreadable=True)


def first_bad_record(
  files: Sequence[str], decode: Callable[[tf.Tensor], object], limit: int | None = None
) -> str | None:
  """Finds the first record that cannot be read or decoded; used to explain a failure after the fact.

  Args:
    files: TFRecord files, scanned in order.
    decode: raises for a bad record; receives the serialized record.
    limit: records per file to look at; None looks at all.

  Returns:
    'file, record n: reason', or None if all records are fine.
  """
  return next((fault.text for fault in examine(files, decode, limit) if fault), None)
