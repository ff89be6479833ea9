"""Record streams in an order that depends only on the files and a seed.

A stream yields serialized records with their ordinals, endlessly for training. Every epoch is shuffled again, and a
later process can start where an earlier one stopped, see `record_order`.
"""

import dataclasses
import glob as globbing
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.dataloaders import record_order
from official_selftrain.ops import pipelines

# Of a record in a file: its length and a checksum before it, another one after it.
_LENGTH_BYTES, _FRAME_BYTES = 8, 16
# Records whose ids are read together.
_AT_ONCE = 256


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


class TFRecordFiles:
  """All records of TFRecord files, serialized; a `record_order.RecordFiles`."""

  def __init__(self, paths: Sequence[str]) -> None:
    """Takes the files."""
    self.elements = list(paths)

  def open(self, file: tf.Tensor, first: tf.Tensor | int) -> tf.data.Dataset:
    """See `record_order.RecordFiles`; string scalars."""
    return tf.data.TFRecordDataset(file).skip(first)

  def usable(self, index: int) -> np.ndarray:
    """See `record_order.RecordFiles`."""
    return np.ones(count_records(self.elements[index]), bool)


def readable(paths: str | Sequence[str]) -> tf.data.Dataset:
  """The serialized records of files, without those that cannot be read."""
  return tf.data.TFRecordDataset(paths).ignore_errors(log_warning=False)


def count_records(path: str) -> int:
  """Number of records in a TFRecord file; reads their lengths alone.

  Args:
    path: a file without compression. One with a URL is read in TensorFlow's blocks of 512 KiB, so that only what lies
      between blocks is jumped over.

  Raises:
    DataError: the file ends within a record, or cannot be read.
  """
  try:
    if '://' in path:
      size = tf.io.gfile.stat(path).length
      with tf.io.gfile.GFile(path, 'rb') as stream:
        count, end = _count(lambda place: _read_at(stream, place), size)
    else:
      with open(path, 'rb', buffering=0) as local:
        number = local.fileno()
        size = os.fstat(number).st_size
        count, end = _count(lambda place: os.pread(number, _LENGTH_BYTES, place), size)
  except (OSError, tf.errors.OpError) as error:
    raise errors.DataError(f'{path} cannot be read: {errors.first_line(error)}') from error
  if end != size:
    raise errors.DataError(f'{path} ends within record {count - 1}.')
  return count


def _count(length_at: Callable[[int], bytes], size: int) -> tuple[int, int]:
  """Number of records, and where the last of them ends.

  Args:
    length_at: reads the length of the record that begins at a place.
    size: of the file.
  """
  count = place = 0
  while place < size:
    place += int.from_bytes(length_at(place), 'little') + _FRAME_BYTES
    count += 1
  return count, place


def _read_at(stream: tf.io.gfile.GFile, place: int) -> bytes:
  stream.seek(place)
  content: bytes = stream.read(_LENGTH_BYTES)
  return content


def source_ids(path: str, is_tolerant: bool = False) -> list[str]:
  """`image/source_id` of each record of a file, '' where there is none; images are not decoded.

  Args:
    path: the file.
    is_tolerant: the file ends at a record that cannot be read, as with `skip_errors`.

  Raises:
    DataError: a record cannot be read.
  """
  spec = {keys.SOURCE_ID: tf.io.RaggedFeature(tf.string)}
  records = tf.data.TFRecordDataset(path)
  if is_tolerant:
    records = records.ignore_errors(log_warning=True)
  dataset = records.batch(_AT_ONCE).map(
    lambda batch: tf.io.parse_example(batch, spec)[keys.SOURCE_ID]
  )
  found: list[str] = []
  try:
    for batch in pipelines.without_tuner(dataset.prefetch(1)):
      found.extend(
        values[0].decode('utf-8', 'surrogateescape') if values else '' for values in batch.to_list()
      )
  except tf.errors.OpError as error:
    raise errors.DataError(
      f'{path} cannot be read, at or after record {len(found)}: {errors.first_line(error)}'
    ) from error
  return found


def record_stream(
  files: record_order.RecordFiles,
  options: record_order.StreamOptions,
  input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
  """Stream of `(ordinal, element)` over files.

  With several input pipelines (hosts) each reads all records in the one order that seed and files give and keeps every
  n-th, so that hosts together see what one host would see, whatever their number. Serialized records that are not
  kept cost their reading alone; decoding comes after.

  Args:
    files: what is read.
    options: order and start.
    input_context: the host's place among others, as given by `tf.distribute`.

  Returns:
    Dataset of `(int64 ordinal, element)`, endless when training.

  Raises:
    DataError: with a late start, a file cannot be read.
  """
  dataset = record_order.ordered(files, options).enumerate(start=options.start)
  if input_context and input_context.num_input_pipelines > 1:
    dataset = dataset.shard(input_context.num_input_pipelines, input_context.input_pipeline_id)
  return dataset


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
