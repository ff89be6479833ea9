"""Small unlabelled shards and a teacher whose answers are known."""

import functools
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.pseudo_labels import detection, labeller, manifest

SIDE = 16
NUM_CLASSES = 4
BATCH_SIZE = 4
# Scores that are exactly representable, so that tests can compare with ==.
SCORES = (0.75, 0.5, 0.25)


def png(number: int, width: int = 24) -> bytes:
  """A PNG of one grey level: `number` is what the fake teacher sees."""
  return tf.io.encode_png(tf.fill([SIDE, width, 3], np.uint8(number))).numpy()


def record(encoded: bytes | None, source_id: str | None) -> bytes:
  """A serialized unlabelled record; None leaves the feature out."""
  values = {keys.IMAGE_ENCODED: encoded, keys.SOURCE_ID: source_id and source_id.encode()}
  feature = {
    name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    for name, value in values.items()
    if value is not None
  }
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write(path: str | os.PathLike[str], records: Sequence[bytes]) -> str:
  """Writes a TFRecord file and returns its path."""
  with tf.io.TFRecordWriter(os.fspath(path)) as writer:
    for serialized in records:
      writer.write(serialized)
  return os.fspath(path)


def write_images(path: str | os.PathLike[str], numbers: Sequence[int]) -> str:
  """Writes a shard of grey images with ids 'id-<number>'."""
  return write(path, [record(png(number), f'id-{number}') for number in numbers])


def record_offset(path: str, index: int) -> int:
  """Where a record begins, from the lengths in the file."""
  content, offset = pathlib.Path(path).read_bytes(), 0
  for _ in range(index):
    offset += 16 + int.from_bytes(content[offset : offset + 8], 'little')
  return offset


def flip_bit(path: str, offset: int) -> None:
  """Damages one byte of a file."""
  content = bytearray(pathlib.Path(path).read_bytes())
  content[offset] ^= 1
  pathlib.Path(path).write_bytes(content)


def change_content(path: str) -> None:
  """Changes one byte near the end of a file, and nothing of its size."""
  content = bytearray(pathlib.Path(path).read_bytes())
  content[-10] ^= 1
  pathlib.Path(path).write_bytes(content)


def set_date(path: str, date: int) -> None:
  """Sets the date of a file, in nanoseconds."""
  os.utime(path, ns=(date, date))


def preprocess(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
  """Decodes a PNG and gives the model its grey level."""
  image = tf.io.decode_png(encoded, channels=3)
  return {
    'image': tf.reshape(tf.image.resize(image, [2, 2])[:1, :1, :1], [1]),
    keys.IMAGE_HEIGHT: tf.shape(image)[0],
    keys.IMAGE_WIDTH: tf.shape(image)[1],
  }


class FakeTeacher:
  """Finds `level % 4` boxes, scored `SCORES`, of classes 1, 2, 3, in an image of grey level `level`.

  It sees static batches only and can be made to fail at a call, as a killed process would.
  """

  def __init__(self, fail_at: int | None = None):
    self.calls = 0
    self._fail_at = fail_at
    self._lock = threading.Lock()

  def __call__(self, batch: Mapping[str, tf.Tensor]) -> dict[str, Any]:
    with self._lock:  # Two batches are predicted at a time.
      self.calls += 1
      if self.calls == self._fail_at:
        raise KeyboardInterrupt
    level = batch['image'].numpy()[:, 0].astype(np.int64)
    assert len(level) == BATCH_SIZE, len(level)
    boxes = np.array(
      [[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.75, 1.0], [0.5, 0.5, 1.0, 1.0]], np.float32
    )
    return {
      'boxes': np.tile(boxes, [len(level), 1, 1]),
      'scores': np.tile(np.array(SCORES, np.float32), [len(level), 1]),
      'classes': np.tile([1, 2, 3], [len(level), 1]),
      'num_detections': level % 4,
    }


def label_format() -> detection.BoxFormat:
  """The format that fits `FakeTeacher`."""
  return detection.BoxFormat(num_classes=NUM_CLASSES)


@functools.cache
def make_labeller(
  teacher: FakeTeacher | None = None,
  strategy: tf.distribute.Strategy | None = None,
  left_out: tuple[tuple[str, str], ...] = (),
  **config: Any,
) -> labeller.Labeller:
  """A labeller with the fake teacher; the same one for the same arguments, as building costs time."""
  return labeller.Labeller(
    label_format(),
    preprocess,
    teacher or FakeTeacher(),
    manifest.Provenance(
      teacher={'checkpoint': 'ckpt-1', 'sha256': 'ab', 'global_step': 1}, config=config
    ),
    batch_size=BATCH_SIZE,
    num_parallel_calls=2,
    strategy=strategy,
    left_out=dict(left_out),
  )


def contents(folder: str | os.PathLike[str]) -> dict[str, bytes]:
  """All files of a folder by name."""
  return {path.name: path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())}
