"""Writes the images of a store as TFRecord files, each by itself, so that several processes can share the work."""

import dataclasses
import hashlib
import pathlib
import sqlite3
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, files, keys
from official_selftrain.datasets import tf_examples
from official_selftrain.datasets.checks import class_maps
from official_selftrain.datasets.preparation import examination, store
from official_selftrain.datasets.sources import image_names, items


@dataclasses.dataclass(frozen=True)
class Place:
  """An image in a shard.

  Attributes:
    key: its number in the store.
    source_id: its id in the record.
  """

  key: int
  source_id: str


@dataclasses.dataclass(frozen=True)
class Job:
  """One file to write.

  Attributes:
    path: of the file.
    places: the images, in the order in which they are written.
    has_annotations: records have the annotations.
    has_instance_masks: records have a mask for each box.
  """

  path: str
  places: tuple[Place, ...]
  has_annotations: bool
  has_instance_masks: bool = False


@dataclasses.dataclass(frozen=True)
class Written:
  """A file that was written.

  Attributes:
    path: of the file.
    digest: see `tf_examples.RecordsDigest`; hex.
    fault: why it was not written; '' if it was.
  """

  path: str
  digest: str = ''
  fault: str = ''


class Writer:
  """Writes files in one process."""

  def __init__(
    self,
    source: store.Store,
    examiner: examination.Examiner,
    meanings: Mapping[store.Part, examination.Meaning],
  ) -> None:
    """Takes the store, which it only reads, and what gives the bytes and meanings of annotations."""
    self._store = source
    self._examiner = examiner
    self._meanings = meanings

  def write(self, job: Job) -> Written:
    """Writes one file; it appears only when it is whole."""
    digest = tf_examples.RecordsDigest()
    try:
      tf_examples.write_shard(job.path, self._records(job, digest))
    except (errors.DataError, OSError, tf.errors.OpError, sqlite3.Error) as error:
      pathlib.Path(files.temporary_path(job.path)).unlink(missing_ok=True)
      return Written(job.path, fault=errors.first_line(error))
    return Written(job.path, digest.hexdigest())

  def _records(self, job: Job, digest: tf_examples.RecordsDigest) -> Iterator[bytes]:
    entries = self._store.entries_of([place.key for place in job.places])
    for place, entry in zip(job.places, entries, strict=True):
      finding, content = entry.finding, self._examiner.content(entry)
      assert finding is not None
      features = tf_examples.size_features(finding.height, finding.width, place.source_id)
      features[keys.FILE_NAME] = tf_examples.text_feature(
        image_names.display_name(entry.item.image.name)
      )
      if job.has_annotations:
        features |= self._annotations(entry, finding, content, job.has_instance_masks)
      serialized = tf_examples.serialize_features(features)
      is_changed = finding.is_changed
      digest.add(
        serialized, hashlib.sha256(content.image).digest() if is_changed else finding.digest
      )
      yield tf_examples.with_image(serialized, content.image)

  def _annotations(
    self,
    entry: store.Entry,
    finding: store.Finding,
    content: examination.Content,
    has_instance_masks: bool,
  ) -> dict[str, tf.train.Feature]:
    meaning = self._meanings[entry.part]
    if meaning.task is items.Task.SEGMENTATION:
      return tf_examples.encoded_class_map_features(content.mask)
    if meaning.task is items.Task.CLASSIFICATION:
      return tf_examples.image_class_features(meaning.class_names.index(entry.item.class_name))
    ids = {name: index for index, name in enumerate(meaning.class_names, 1)}
    boxes = finding.boxes
    edges = np.array([[b.ymin, b.xmin, b.ymax, b.xmax] for b in boxes], np.float64).reshape(-1, 4)
    sides = [finding.height, finding.width, finding.height, finding.width]
    features = tf_examples.box_features(
      edges / sides,
      np.array([ids[box.class_name] for box in boxes], np.int64),
      np.array([box.is_crowd for box in boxes], np.int64),
      np.array([area_of(box) for box in boxes], np.float64),
    )
    features[keys.BOX_CLASS_NAME] = tf_examples.text_feature(*(box.class_name for box in boxes))
    if has_instance_masks:
      features |= tf_examples.mask_features(
        class_maps.mask_of(box, finding.height, finding.width) for box in boxes
      )
    return features


def area_of(box: items.Box) -> float:
  """Area of an object in pixels: of its mask, if it is known, else of its box."""
  return box.area if box.area is not None else (box.ymax - box.ymin) * (box.xmax - box.xmin)
