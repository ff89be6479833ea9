"""A fraction of the records of some files: the same one in every process, and within every larger one.

A study of how much labelled data is needed (paper, Section 3.2: 20% to 100% of COCO) varies the fraction without new
files. `datasets.prepare --fraction` draws in the same way and can stratify.
"""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.configs import inputs
from official_selftrain.core import errors, splits
from official_selftrain.dataloaders import tfrecords

# A file, and a byte for each of its records: 1 if it belongs to the fraction.
Part = tuple[str, bytes]


def choose(
  files: Sequence[str], fraction: float, seed: int, is_tolerant: bool = False
) -> list[Part]:
  """Draws records without replacement, by their ids.

  All records are read once; no image is decoded. Records without ids, or with ids that are not unique, are told apart
  by their places in the files; then the draw is another one when the files are written anew.

  Args:
    files: TFRecord files of `tf.Example`s.
    fraction: share of all records, in (0, 1]; see `splits.count_of`.
    seed: of the draw. With one seed the records of a smaller fraction are among those of every larger one.
    is_tolerant: a file ends at a record that cannot be read, as with `skip_errors`.

  Returns:
    The files in their order, without those of which no record was drawn.

  Raises:
    DataError: a record cannot be read, or there is none.
    ConfigError: the fraction is out of its range.
  """
  ids = [tfrecords.source_ids(path, is_tolerant) for path in files]
  names = [name for each in ids for name in each]
  if not names:
    raise errors.DataError(f'There is no record in {len(files)} file(s), first {files[0]}.')
  if '' in names or len(set(names)) < len(names):
    ids = [[f'{n}:{place}' for place in range(len(each))] for n, each in enumerate(ids)]
    names = [name for each in ids for name in each]
  count = splits.count_of(fraction, len(names))
  chosen = frozenset(splits.ranking(names, seed)[:count])
  parts = [
    (path, bytes(name in chosen for name in each)) for path, each in zip(files, ids, strict=True)
  ]
  return [(path, is_chosen) for path, is_chosen in parts if any(is_chosen)]


def of_stream(files: Sequence[str], stream: inputs.Stream) -> tf.data.Dataset:
  """The serialized records of files that are in a stream's fraction, without those that cannot be read."""
  if stream.fraction >= 1:
    return tfrecords.readable(files)
  parts = PartFiles(choose(files, stream.fraction, stream.fraction_seed, stream.skip_errors))
  opened = [parts.open(tf.constant(list(part)), 0) for part in parts.elements]
  return functools.reduce(tf.data.Dataset.concatenate, opened)


class PartFiles:
  """Drawn records, serialized; a `record_order.RecordFiles`."""

  def __init__(self, parts: Sequence[Part]) -> None:
    """Takes what `choose` returns."""
    self.elements = list(parts)

  def open(self, file: tf.Tensor, first: tf.Tensor | int) -> tf.data.Dataset:
    """See `record_order.RecordFiles`.

    Args:
      file: string [2], a part.
      first: int64 scalar, the record of the file to begin with.

    Returns:
      Dataset of string scalars.
    """
    is_chosen = tf.io.decode_raw(file[1], tf.uint8) > 0
    # No further than was read when records were drawn: a file may end there, see `choose`.
    whole = tf.data.TFRecordDataset(file[0]).take(tf.size(is_chosen, tf.int64))
    records = whole.skip(first).enumerate(start=first)
    return records.filter(lambda i, _: is_chosen[i]).map(lambda _, record: record)

  def usable(self, index: int) -> np.ndarray:
    """See `record_order.RecordFiles`."""
    return np.frombuffer(self.elements[index][1], np.uint8) > 0
