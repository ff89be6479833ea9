"""Batches of preprocessed images out of image shards, made by tf.data while the model is busy.

A batch never holds images of two shards: the labels of a shard then depend on that shard alone, not
on which shards were already done when a run was resumed. All shards go through one dataset, because
starting one costs as much as a hundred small images. At most `num_parallel_calls` batches are being made, and two wait
for the model.
"""

import collections
import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import message  # type: ignore[import-untyped]

from official_selftrain.core import keys
from official_selftrain.ops import pipelines
from official_selftrain.pseudo_labels import shards

PreprocessFn = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]

_NUMBER = 'number'
_SERIALIZED = 'serialized'

# A batch of 32 images of 640 x 640 pixels is 157 MB, so few are held at a time, and none is left to AUTOTUNE, which
# holds more of them the more processors there are. Within a batch, images are made in parallel: two batches keep 32
# processors busy.
PARALLEL_BATCHES = 2
_PARALLEL_IMAGES = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRecord:
  """An image without its pixels.

  Attributes:
    index: position in the shard.
    end: offset in the shard, in bytes, after the record.
    source_id: the record's id; empty when it has none.
    fingerprint: 64-bit FarmHash of the encoded image, as a signed integer.
    height: of the original image, in pixels.
    width: of the original image, in pixels.
  """

  index: int
  end: int = 0
  source_id: str = ''
  fingerprint: int = 0
  height: int = 0
  width: int = 0


@dataclasses.dataclass(frozen=True)
class Batch:
  """Images of one shard.

  Attributes:
    records: one per image.
    features: the model's inputs for `batch_size` images; rows after the last image are padding.
  """

  records: list[ImageRecord]
  features: dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class EndOfShard:
  """Comes after the last batch of a shard.

  Attributes:
    records: number of positions in the shard.
    unreadable: reasons of the positions whose record cannot be read, by index.
    undecodable: (source id, reason) of the images that cannot be preprocessed, by index.
  """

  records: int
  unreadable: dict[int, str]
  undecodable: dict[int, tuple[str, str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Chunk:
  """Records that were handed to tf.data to become one batch."""

  number: int
  records: list[shards.Record]


class _Made(NamedTuple):
  """A batch as it leaves tf.data.

  Attributes:
    number: of its chunk, int64 scalar.
    record: source id, fingerprint and size of the images, each `[batch]`.
    features: the model's inputs, each `[batch, ...]`.
  """

  number: tf.Tensor
  record: dict[str, tf.Tensor]
  features: dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class _Reading:
  """State shared by the thread that reads records and the one that takes batches.

  Attributes:
    image_files: what to read.
    plan: what was given to tf.data and not yet taken, in order.
    failures: why reading ended early.
  """

  image_files: tuple[str, ...]
  plan: collections.deque[_Chunk | EndOfShard] = dataclasses.field(
    default_factory=collections.deque
  )
  failures: list[Exception] = dataclasses.field(default_factory=list)


def fingerprint(encoded: tf.Tensor) -> tf.Tensor:
  """64-bit FarmHash of a string scalar, as an int64 scalar; equal on every machine."""
  return tf.bitcast(tf.fingerprint(encoded[tf.newaxis])[0], tf.int64)


def parse_image_record(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
  """Parses an unlabelled record.

  Args:
    serialized: string scalar, a tf.Example with at least `image/encoded`.

  Returns:
    `image/encoded`, and `image/source_id`, which is empty when the record has none.
  """
  spec = {
    keys.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
    keys.SOURCE_ID: tf.io.FixedLenFeature([], tf.string, default_value=''),
  }
  return tf.io.parse_single_example(serialized, spec)


def source_id(serialized: bytes) -> str:
  """`image/source_id` of a record; '' where there is none, or where the record is no `tf.Example`."""
  try:
    feature = tf.train.Example.FromString(serialized).features.feature
  except message.DecodeError:
    return ''
  values = feature[keys.SOURCE_ID].bytes_list.value
  return values[0].decode('utf-8', 'replace') if values else ''


class ImageBatches:
  """Reads shards into batches; the input pipeline is built once, for all shards."""

  def __init__(self, preprocess_fn: PreprocessFn, batch_size: int, num_parallel_calls: int):
    """Builds the input pipeline.

    Args:
      preprocess_fn: turns one encoded image (string scalar) into the model's inputs for one image,
        with static shapes. The result holds the size of the original image as image/height and
        image/width, integer scalars. An image that does not decode raises inside the graph, as
        `tf.io.decode_image` does.
      batch_size: images per batch.
      num_parallel_calls: batches preprocessed at a time; each needs the memory of a batch of inputs.

    Raises:
      ValueError: `preprocess_fn` returns no original size or a shape that is not static.
    """
    self._batch_size = batch_size
    self._preprocess = _preprocess_record(preprocess_fn)
    self._reading = _Reading(())
    signature = {
      _NUMBER: tf.TensorSpec([], tf.int64),
      _SERIALIZED: tf.TensorSpec([batch_size], tf.string),
    }
    dataset = tf.data.Dataset.from_generator(self._generate, output_signature=signature)
    dataset = dataset.map(self._map, num_parallel_calls=num_parallel_calls, deterministic=True)
    # A batch with an image that cannot be decoded is dropped here; the gap in the numbers shows it.
    self._dataset = pipelines.without_tuner(
      dataset.ignore_errors().prefetch(pipelines.BATCHES_AHEAD)
    )

  def _map(self, item: Mapping[str, tf.Tensor]) -> _Made:
    """Preprocesses a whole batch; the number of calls, not of images, is what tf.data costs."""
    outputs = self._preprocess.get_concrete_function().structured_outputs
    signature = tf.nest.map_structure(
      lambda value: tf.TensorSpec(value.shape, value.dtype), outputs
    )
    result = tf.map_fn(
      self._preprocess,
      item[_SERIALIZED],
      parallel_iterations=_PARALLEL_IMAGES,
      fn_output_signature=signature,
    )
    return _Made(item[_NUMBER], **result)

  def _generate(self) -> Iterator[dict[str, int | list[bytes]]]:
    """Reads records for tf.data.

    No exception ever escapes: `ignore_errors` would swallow it.
    """
    reading = self._reading
    try:
      number = 0
      for image_file in reading.image_files:
        for item in self._chunks(image_file):
          if isinstance(item, EndOfShard):
            reading.plan.append(item)
            continue
          reading.plan.append(_Chunk(number, item))
          serialized = [record.serialized or b'' for record in item]
          padding = [serialized[-1]] * (self._batch_size - len(serialized))
          yield {_NUMBER: number, _SERIALIZED: serialized + padding}
          number += 1
    except Exception as error:
      reading.failures.append(error)

  def _chunks(self, image_file: str) -> Iterator[list[shards.Record] | EndOfShard]:
    """Readable records of one shard, by `batch_size`, then its end."""
    chunk: list[shards.Record] = []
    unreadable = {}
    count = 0
    for record in shards.iterate(image_file):
      count += 1
      if record.serialized is None:
        unreadable[record.index] = record.reason
        continue
      chunk.append(record)
      if len(chunk) == self._batch_size:
        yield chunk
        chunk = []
    if chunk:
      yield chunk
    yield EndOfShard(count, unreadable)

  def read(self, image_files: Sequence[str]) -> Generator[Batch | EndOfShard, None, None]:
    """Reads shards one after another, a few batches ahead of the caller.

    Only one reading may be under way at a time.

    Args:
      image_files: image shards.

    Yields:
      The batches of the first shard, its `EndOfShard`, the batches of the second one, and so on.

    Raises:
      DataError: An image shard does not exist or may not be read.
    """
    # A new object each time: the thread of a reading that was given up may still be running.
    reading = self._reading = _Reading(tuple(image_files))
    undecodable: dict[int, tuple[str, str]] = {}
    for item in self._items():
      while reading.plan:
        planned = reading.plan.popleft()
        if isinstance(planned, EndOfShard):
          yield dataclasses.replace(planned, undecodable=undecodable)
          undecodable = {}
        elif item is not None and planned.number == int(item.number):
          yield Batch(_image_records(planned.records, item.record), item.features)
          break
        else:
          batch, failed = self._one_by_one(planned)
          undecodable.update(failed)
          if batch is not None:
            yield batch
    if reading.failures:
      raise reading.failures[0]

  def _items(self) -> Iterator[_Made | None]:
    """The batches that went through tf.data without an error, and None after the last one."""
    yield from self._dataset
    yield None

  def _one_by_one(self, chunk: _Chunk) -> tuple[Batch | None, dict[int, tuple[str, str]]]:
    """Preprocesses the images of a batch that failed, each for itself.

    Returns:
      A batch of the good images, if any, and (source id, reason) of the others by position.
    """
    good, results, failed = [], [], {}
    for record in chunk.records:
      source_id = ''
      serialized = tf.constant(record.serialized)
      try:
        source_id = _text(parse_image_record(serialized)[keys.SOURCE_ID].numpy())
        results.append(self._preprocess(serialized))
        good.append(record)
      except tf.errors.OpError as error:
        failed[record.index] = (source_id, _reason(error))
      except UnicodeDecodeError:
        # TensorFlow quotes the record in its message, and fails when that is not text.
        failed[record.index] = (source_id, 'could not parse the record as a tf.Example')
    if not good:
      return None, failed
    results += results[-1:] * (self._batch_size - len(good))
    stacked = tf.nest.map_structure(lambda *rows: tf.stack(rows), *results)
    return Batch(_image_records(good, stacked['record']), stacked['features']), failed


def _preprocess_record(
  preprocess_fn: PreprocessFn,
) -> tf.types.experimental.PolymorphicFunction:
  """Makes the tf.function from one serialized record to `record` and `features`.

  Raises:
    ValueError: `preprocess_fn` returns no original size or a shape that is not static.
  """

  @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
  def preprocess(serialized: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
    record = parse_image_record(serialized)
    features = dict(preprocess_fn(record[keys.IMAGE_ENCODED]))
    missing = {keys.IMAGE_HEIGHT, keys.IMAGE_WIDTH} - set(features)
    if missing:
      raise ValueError(f'preprocess_fn must return the original size; missing: {sorted(missing)}')
    size = {name: features[name] for name in (keys.IMAGE_HEIGHT, keys.IMAGE_WIDTH)}
    record[keys.IMAGE_FINGERPRINT] = fingerprint(record.pop(keys.IMAGE_ENCODED))
    return {'record': {**record, **size}, 'features': features}

  outputs = preprocess.get_concrete_function().structured_outputs
  for name, value in outputs['features'].items():
    if not value.shape.is_fully_defined():
      raise ValueError(f'preprocess_fn returns {name} of shape {value.shape}; it must be static')
  return preprocess


def _image_records(
  records: Sequence[shards.Record], columns: Mapping[str, tf.Tensor]
) -> list[ImageRecord]:
  """The records of a batch's images, without the pixels; padding has no record."""
  rows = {name: np.asarray(value).tolist() for name, value in columns.items()}
  return [
    ImageRecord(
      index=record.index,
      end=record.end,
      source_id=_text(rows[keys.SOURCE_ID][row]),
      fingerprint=rows[keys.IMAGE_FINGERPRINT][row],
      height=rows[keys.IMAGE_HEIGHT][row],
      width=rows[keys.IMAGE_WIDTH][row],
    )
    for row, record in enumerate(records)
  ]


def _text(value: bytes) -> str:
  """An id as text; bytes that are not UTF-8 are replaced."""
  return value.decode('utf-8', 'replace')


def _reason(error: tf.errors.OpError) -> str:
  """The line of an error that says what happened, without the names of graph nodes."""
  noise = ('Graph execution error', 'Detected at', 'Traceback', 'File ', '[[')
  lines = [line.strip() for line in error.message.splitlines()]
  lines = [line.split('}} ')[-1] for line in lines if line and not line.startswith(noise)]
  return lines[-1] if lines else type(error).__name__
