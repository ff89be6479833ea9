"""Reads all pseudo labels of a folder and checks that they are what was written.

  python -m official_selftrain.pseudo_labels.verify --labels=runs/mine/labels/round-1 --images='data/unlabelled-*'

Every label shard is hashed and its records are counted. With `--images` each record is also compared with the image
that it is about: by the fingerprint of the encoded image, by id and by place. A table has one row for each shard. The
program ends with status 2 when something is wrong, as it does for a folder without a manifest.

The start of a run compares sizes and dates only, see `integrity`.
"""

import argparse
import collections
import dataclasses
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.core import console, errors, files, keys, program
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pseudo_labels import formats, integrity, shards
from official_selftrain.pseudo_labels import manifest as manifest_lib

_HEADERS = ('label shard', 'records', 'labelled', 'empty', 'dead', 'MB', 'state')
_GOOD = 'as written'
_GOOD_WITH_IMAGES = 'as written, fits its images'
# Records whose images are hashed in one call of TensorFlow.
_RECORDS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Verified:
  """One label shard.

  Attributes:
    entry: what the manifest says of it.
    fault: what is wrong, as the end of a sentence about the shard; '' when nothing is.
  """

  entry: manifest_lib.ShardEntry
  fault: str


def verify(label_dir: str, image_files: Sequence[str] | None = None) -> Iterator[Verified]:
  """Verifies the label shards of a folder, one at a time.

  Args:
    label_dir: folder of the label shards and their manifest.
    image_files: the image shards that were labelled, in the manifest's order; None compares no images.

  Yields:
    A result for each shard, in the manifest's order.

  Raises:
    DataError: There is no manifest.
    LabelMismatchError: There are more or fewer image shards than label shards.
  """
  entries = manifest_lib.Manifest.load(label_dir).shards
  if image_files is not None and len(image_files) != len(entries):
    raise errors.LabelMismatchError(
      f'There are {len(image_files)} image files, but {len(entries)} label shards in {label_dir}. Give --images the '
      'files that were labelled'
    )
  paths = itertools.repeat(None) if image_files is None else image_files
  for entry, image_file in zip(entries, paths, strict=False):
    label_file = os.path.join(label_dir, entry.label_file)
    fault = _shard_fault(label_file, entry)
    if not fault and image_file is not None:
      fault = _image_fault(label_file, image_file, entry)
    yield Verified(entry, fault)


def _shard_fault(label_file: str, entry: manifest_lib.ShardEntry) -> str:
  """The fault of a label shard by itself, or ''."""
  fault = integrity.size_fault(label_file, entry)
  if fault:
    return fault
  if files.sha256(label_file) != entry.label_sha256:
    return integrity.OTHER_DIGEST
  statuses: collections.Counter[str] = collections.Counter()
  for record in shards.iterate(label_file):
    if record.serialized is None:
      return f'has a record that cannot be read, {record.index}: {record.reason}'
    label = _features(record.serialized)
    place = _number(label, keys.LABEL_INDEX)
    if place != record.index:
      return f'has the label of image {place} at place {record.index}'
    statuses[_text(label, keys.LABEL_STATUS)] += 1
  found = tuple(statuses[name] for name in (formats.LABELLED, formats.EMPTY, formats.DEAD))
  expected = (entry.labelled, entry.empty, entry.dead)
  if (*found, statuses.total()) != (*expected, entry.records):
    return (
      f'has {statuses.total()} records ({found[0]} labelled, {found[1]} empty, {found[2]} dead), but the manifest says '
      f'{entry.records} ({expected[0]}, {expected[1]}, {expected[2]})'
    )
  return ''


def _image_fault(label_file: str, image_file: str, entry: manifest_lib.ShardEntry) -> str:
  """Why a label shard, which is whole, is not about the images of a shard, or ''."""
  name = os.path.basename(image_file)
  if name != entry.image_file:
    return f'is about {entry.image_file}, but is paired with {name}'
  size = shards.file_size(image_file)
  if size != entry.image_bytes:
    return f'is about {entry.image_bytes} bytes of images, but {image_file} has {size}'
  pairs = itertools.zip_longest(shards.iterate(image_file), shards.iterate(label_file))
  while some := list(itertools.islice(pairs, _RECORDS_AT_ONCE)):
    complete = [(image, label) for image, label in some if image and label]
    if len(complete) < len(some):
      return f'does not have as many records as {image_file}'
    fault = _records_fault(complete, name)
    if fault:
      return fault
  return ''


def _records_fault(pairs: Sequence[tuple[shards.Record, shards.Record]], image_name: str) -> str:
  """Why label records are not about their image records, or ''; dead letters are about no image that can be read."""
  alive = []
  for image, label in pairs:
    features = _features(label.serialized or b'')
    if _text(features, keys.LABEL_STATUS) == formats.DEAD:
      continue
    if image.serialized is None:
      return f'has labels of image {image.index}, which cannot be read: {image.reason}'
    alive.append((image, features))
  if not alive:
    return ''
  try:
    ids, fingerprints = _identities([image.serialized or b'' for image, _ in alive])
  except (tf.errors.OpError, UnicodeDecodeError):
    # TensorFlow quotes the record in its message, which fails when that is not text.
    return f'has labels of records that hold no image, among those from {alive[0][0].index} on'
  for (image, of_label), image_id, fingerprint in zip(alive, ids, fingerprints, strict=True):
    index = image.index
    source_id = image_id or f'{image_name}:{index}'
    label_id = _text(of_label, keys.SOURCE_ID)
    if source_id != label_id:
      return f'has labels of id {label_id!r} at place {index}, where the image has id {source_id!r}'
    if fingerprint != _number(of_label, keys.IMAGE_FINGERPRINT):
      return f'was made from another image than the one at place {index} (id {source_id!r})'
  return ''


def _identities(serialized: Sequence[bytes]) -> tuple[list[str], list[int]]:
  """Ids, '' where there is none, and fingerprints of image records.

  Raises:
    tf.errors.OpError, UnicodeDecodeError: a record is not a tf.Example with an image.
  """
  spec = {
    keys.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
    keys.SOURCE_ID: tf.io.FixedLenFeature([], tf.string, default_value=''),
  }
  parsed = tf.io.parse_example(tf.constant(serialized), spec)
  ids = [each.decode('utf-8', 'replace') for each in parsed[keys.SOURCE_ID].numpy().tolist()]
  fingerprints = tf.fingerprint(parsed[keys.IMAGE_ENCODED]).numpy().view(np.int64)[:, 0]
  return ids, fingerprints.tolist()


def _features(serialized: bytes) -> Mapping[str, tf.train.Feature]:
  """Features of a label record by name."""
  return tf.train.Example.FromString(serialized).features.feature


def _bytes(features: Mapping[str, tf.train.Feature], name: str) -> bytes:
  """The first value of a bytes feature, b'' without one."""
  values = features[name].bytes_list.value if name in features else ()
  return values[0] if values else b''


def _text(features: Mapping[str, tf.train.Feature], name: str) -> str:
  """The first value of a bytes feature as text, '' without one."""
  return _bytes(features, name).decode('utf-8', 'replace')


def _number(features: Mapping[str, tf.train.Feature], name: str) -> int | None:
  """The first value of an integer feature, None without one."""
  values = features[name].int64_list.value if name in features else ()
  return values[0] if values else None


def main(arguments: Sequence[str] | None = None) -> int:
  """Command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.pseudo_labels.verify',
    description='Reads pseudo labels completely and checks that they are what was written.',
  )
  add = parser.add_argument
  add('--labels', required=True, help='folder of the label shards and their manifest.json')
  add(
    '--images',
    help='the image shards that were labelled: paths or a pattern; not compared if not given',
  )
  options = parser.parse_args(arguments)
  return program.run(lambda: _run(options.labels, options.images))


def _run(label_dir: str, images: str | None) -> None:
  """Prints the table.

  Raises:
    DataError: There is no manifest, or no image file matches.
    LabelMismatchError: Something is wrong; names the first shard.
  """
  image_files = None if images is None else tfrecords.match_files(images, '--images')
  good = _GOOD if image_files is None else _GOOD_WITH_IMAGES
  results = list(verify(label_dir, image_files))
  rows = [
    (
      each.entry.label_file,
      each.entry.records,
      each.entry.labelled,
      each.entry.empty,
      each.entry.dead,
      each.entry.label_bytes / 1e6,
      each.fault or good,
    )
    for each in results
  ]
  print(console.table(rows, _HEADERS))
  wrong = [each for each in results if each.fault]
  if wrong:
    raise errors.LabelMismatchError(
      f'{len(wrong)} of {len(results)} label shards in {label_dir} are wrong. The first, {wrong[0].entry.label_file}, '
      f'{wrong[0].fault}. Restore the files, or delete them and write the labels again'
    )


if __name__ == '__main__':
  sys.exit(main())
