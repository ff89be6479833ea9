"""A label shard while it is being made: a record for each image of an image shard, whatever is known of it."""

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from official_selftrain.core import keys
from official_selftrain.pseudo_labels import batches, formats, shards
from official_selftrain.pseudo_labels import manifest as manifest_lib

_NUM_DETECTIONS = 'num_detections'
# Per shard; the manifest and dead_letters.jsonl have the others.
_MAX_WARNINGS = 3


class LabelShard:
  """The label shard that is being made, in memory: a shard's labels are small."""

  def __init__(
    self,
    image_file: str,
    label_format: formats.LabelFormat,
    left_out: Mapping[str, str] | None = None,
  ):
    """Starts without an image.

    Args:
      image_file: path of the image shard.
      label_format: how labels are stored.
      left_out: why images become dead letters, by id.
    """
    self.image_file = image_file
    self.image_name = os.path.basename(image_file)
    self.serialized: dict[int, bytes] = {}
    self.statuses: collections.Counter[str] = collections.Counter()
    self.letters: list[manifest_lib.DeadLetter] = []
    self.summary = label_format.new_summary()
    self._format = label_format
    self._left_out = left_out or {}

  def _add(
    self, image: batches.ImageRecord, status: str, features: Mapping[str, tf.train.Feature]
  ) -> None:
    """Adds the record of one image."""
    common = {
      keys.LABEL_STATUS: formats.bytes_feature(status.encode()),
      keys.LABEL_INDEX: formats.int64_feature([image.index]),
      keys.SOURCE_ID: formats.bytes_feature(self.source_id(image).encode()),
      keys.IMAGE_FINGERPRINT: formats.int64_feature([image.fingerprint]),
      keys.IMAGE_HEIGHT: formats.int64_feature([image.height]),
      keys.IMAGE_WIDTH: formats.int64_feature([image.width]),
    }
    example = tf.train.Example(features=tf.train.Features(feature={**common, **features}))
    # Features are a protobuf map: without this their order, and so the file's digest, would vary
    # between processes.
    self.serialized[image.index] = example.SerializeToString(deterministic=True)
    self.statuses[status] += 1

  def source_id(self, image: batches.ImageRecord) -> str:
    """The record's id, or where it is when it has none."""
    return image.source_id or f'{self.image_name}:{image.index}'

  def add_predictions(
    self, images: Sequence[batches.ImageRecord], outputs: formats.Predictions
  ) -> None:
    """Adds images that the teacher has seen; rows of `outputs` after the last one are padding."""
    found = self._format.postprocess(outputs)
    arrays = {name: np.asarray(value) for name, value in found.items()}
    for row, image in enumerate(images):
      self.add(image, _prediction(arrays, row))

  def add(self, image: batches.ImageRecord, prediction: Mapping[str, np.ndarray]) -> None:
    """Adds an image with what the format's `encode` takes; one that is not usable makes it a dead letter."""
    reason = self._left_out.get(self.source_id(image))
    if reason is not None:
      self.add_dead(image, reason)
      return
    try:
      features = self._format.encode(prediction)
    except formats.UnusablePredictionError as error:
      self.add_dead(image, str(error))
      return
    self._format.count(self.summary, features)
    has_labels = self._format.num_objects(features) > 0
    self._add(image, formats.LABELLED if has_labels else formats.EMPTY, features)

  def add_dead(self, image: batches.ImageRecord, reason: str) -> None:
    """Adds an image without a usable prediction."""
    letter = manifest_lib.DeadLetter(
      shard=self.image_name, index=image.index, source_id=self.source_id(image), reason=reason
    )
    if len(self.letters) < _MAX_WARNINGS:
      logging.warning('%s, record %d (%s) gets no labels: %s', *dataclasses.astuple(letter))
    self.letters.append(letter)
    self._add(image, formats.DEAD, {})

  def _add_unseen(self, end: batches.EndOfShard) -> None:
    """Adds the positions that never reached the teacher."""
    found = {index: ('', reason) for index, reason in end.unreadable.items()} | end.undecodable
    for index, (source_id, reason) in sorted(found.items()):
      self.add_dead(batches.ImageRecord(index=index, source_id=source_id), reason)

  def write(
    self, label_file: str, end: batches.EndOfShard, settings: str
  ) -> manifest_lib.ShardResult:
    """Adds the positions that never reached the teacher; writes the label shard, then its marker."""
    self._add_unseen(end)
    in_order = [self.serialized[index] for index in range(end.records)]
    digest = shards.write(label_file, in_order)
    entry = manifest_lib.ShardEntry(
      image_file=self.image_name,
      image_bytes=shards.file_size(self.image_file),
      records=end.records,
      label_file=os.path.basename(label_file),
      label_bytes=os.path.getsize(label_file),
      label_sha256=digest,
      labelled=self.statuses[formats.LABELLED],
      empty=self.statuses[formats.EMPTY],
      dead=self.statuses[formats.DEAD],
      damaged=bool(end.unreadable),
    )
    result = manifest_lib.ShardResult(
      entry=entry,
      summary=self.summary,
      dead_letters=tuple(sorted(self.letters, key=lambda letter: letter.index)),
      settings=settings,
    )
    manifest_lib.write_marker(label_file, result)
    return result


def _prediction(outputs: Mapping[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
  """The prediction for one image of a batch, without the rows after its last detection."""
  image = {name: value[row] for name, value in outputs.items()}
  if _NUM_DETECTIONS not in image:
    return image
  count = int(image.pop(_NUM_DETECTIONS))
  return {name: value[:count] if value.ndim else value for name, value in image.items()}
