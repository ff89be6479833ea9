"""Start in the middle of a stream of a million records: seconds to the next record.

Beside it stands reading all records before it, which is what `Dataset.skip` does. The records here are small; with
photographs there is a hundred times as much to read, and a late start reads no more than here.
"""

import os
import shutil
import tempfile
from typing import Any

import tensorflow as tf

from benchmarks import results, timing
from official_selftrain.dataloaders import record_order, tfrecords

NEEDS_WORKBENCH = False
IS_OF_ONE_SIZE = True

_FILES, _PER_FILE, _RECORD_BYTES = 20, 50_000, 500
# In the middle of the third epoch.
_START = 2 * _FILES * _PER_FILE + _FILES * _PER_FILE // 2
_ROUNDS = 3


def run(bench: Any) -> list[results.Row]:
  """Measures; `bench` is not used."""
  del bench
  folder = tempfile.mkdtemp(prefix='late-start-')
  try:
    files = tfrecords.TFRecordFiles(_write(folder))
    late = record_order.StreamOptions(start=_START)
    begun = record_order.ordered(files, record_order.StreamOptions()).skip(_START)
    expected = _next(begun)
    assert _next(record_order.ordered(files, late)) == expected
    seconds = timing.interleave(
      {
        'late': timing.wall(lambda: _next(record_order.ordered(files, late))),
        'read': timing.wall(lambda: _next(begun)),
      },
      _ROUNDS,
    )
  finally:
    shutil.rmtree(folder, ignore_errors=True)
  return [
    results.compare(
      'late_start',
      f'record {_START:,} of {_FILES * _PER_FILE:,} per epoch : reading up to it',
      's',
      seconds['late'],
      seconds['read'],
      figure=lambda value: value,
    )
  ]


def _write(folder: str) -> list[str]:
  paths = [os.path.join(folder, f'{number:02d}.tfrecord') for number in range(_FILES)]
  for number, path in enumerate(paths):
    with tf.io.TFRecordWriter(path) as writer:
      for place in range(_PER_FILE):
        writer.write(f'{number}:{place}'.encode().ljust(_RECORD_BYTES))
  return paths


def _next(dataset: tf.data.Dataset) -> bytes:
  return next(dataset.take(1).as_numpy_iterator())
