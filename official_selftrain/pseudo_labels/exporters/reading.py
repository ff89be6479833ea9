"""Reads labels and images for an export: ids first, all of them, then one image at a time."""

import array
import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import detection, formats, reader, segmentation
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.pseudo_labels.exporters import base, names

LabelsT = TypeVar('LabelsT', base.Boxes, base.Mask)
LabelFormat: TypeAlias = detection.BoxFormat | segmentation.MaskFormat

_LABEL_FORMATS: dict[str, type[detection.BoxFormat] | type[segmentation.MaskFormat]] = {
  kind.name: kind for kind in (detection.BoxFormat, segmentation.MaskFormat)
}
# Label records whose ids are parsed in one call of TensorFlow.
_IDS_AT_ONCE = 1024
# Every reader of JSON can hold an integer with so many digits.
_MAX_DIGITS = 15
_HASH_BYTES = 8
# Entry of an example for its place among all of them, from 1.
_NUMBER = 'number'

_Example: TypeAlias = Mapping[str, Any]


def label_format(manifest: manifest_lib.Manifest) -> LabelFormat:
  """The format of labels, from their manifest.

  Raises:
    DataError: they are of a kind that this version does not know, or have other settings.
  """
  kind = _LABEL_FORMATS.get(manifest.format)
  try:
    if kind is None:
      raise TypeError(f'labels of {manifest.format}')
    return kind(**manifest.format_settings)
  except TypeError as error:
    raise errors.DataError(
      f'These labels were written by another version: {error}. Export them with the version that wrote them, '
      f'{manifest.provenance.versions}.'
    ) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
  """Pseudo labels with their images; opened by `open_labels`.

  Attributes:
    label_files: the label shards.
    manifest: of the labels.
    class_names: from class 1 on.
    dataset: what `reader.read_pairs` returns.
  """

  label_files: tuple[str, ...]
  manifest: manifest_lib.Manifest
  class_names: tuple[str, ...]
  dataset: tf.data.Dataset


def open_labels(
  label_dir: str,
  image_files: Sequence[str],
  cuts: cuts_lib.Cuts,
  class_names: Sequence[str] = (),
) -> Labelled:
  """Opens labels and checks that they belong to the images; reads neither.

  Args:
    label_dir: folder of the label shards and their manifest.
    image_files: the image shards that were labelled, in the manifest's order.
    cuts: which labels become objects, which are ignored.
    class_names: from class 1 on; empty takes those in the manifest, or the ids if it has none.

  Raises:
    DataError: there is no manifest, or it is of another version.
    ConfigError: the names are not one for each class, or there is an ignore band for masks.
    LabelMismatchError: the labels do not belong to the images.
  """
  manifest = manifest_lib.Manifest.load(label_dir)
  written = label_format(manifest)
  if isinstance(written, segmentation.MaskFormat) and cuts.ignore_cut is not None:
    raise errors.ConfigError(
      '--ignore_cut is given, but labels of segmentation have no ignore band: all pixels below the cut are ignored. '
      'Leave it out.'
    )
  return Labelled(
    label_files=tuple(os.path.join(label_dir, entry.label_file) for entry in manifest.shards),
    manifest=manifest,
    class_names=_class_names(class_names or manifest.class_names, written.num_classes),
    dataset=reader.read_pairs(image_files, label_dir, written, cuts),
  )


def _class_names(given: Sequence[str], num_classes: int) -> tuple[str, ...]:
  """Names from class 1 on; the ids if none are given; ConfigError for names that are not one for each class."""
  if not given:
    return tuple(str(class_id) for class_id in range(1, num_classes))
  advice = 'Give one name for each class with --class_names, in the order of ids from 1.'
  if len(given) != num_classes - 1:
    raise errors.ConfigError(
      f'There are {len(given)} class names, but the labels have {num_classes - 1} classes. {advice}'
    )
  for class_id, name in enumerate(given, start=1):
    if not name.strip() or not names.is_printable(name):
      raise errors.ConfigError(
        f'Class {class_id} has the name {name!a}, which is empty or does not fit on a line. {advice}'
      )
    if given.index(name) != class_id - 1:
      raise errors.ConfigError(
        f'The class name {name!r} is given twice, for class {given.index(name) + 1} and {class_id}. {advice}'
      )
  return tuple(given)


def have_numbers(labelled: Labelled) -> bool:
  """Looks through the ids of all images, without the images: 16 bytes of memory for each.

  Returns:
    Whether all ids are different numbers, as those of COCO are.

  Raises:
    DataError: two images would have files of the same name; names both.
  """
  hashes, numbers, are_numbers = array.array('Q'), array.array('q'), True
  for source_id in ids_of(labelled):
    hashes.append(_hash(names.stem(source_id)))
    are_numbers = are_numbers and _is_number(source_id)
    if are_numbers:
      numbers.append(int(source_id))
  repeated = set(_repeated(hashes))
  if repeated:
    _refuse_same_names(labelled, repeated)
  return are_numbers and not _repeated(numbers)


def check_ids(labelled: Labelled) -> None:
  """Looks through the ids of all images, without the images: 8 bytes of memory for each.

  Raises:
    DataError: two images have the same id.
  """
  repeated = set(_repeated(array.array('Q', map(_hash, ids_of(labelled)))))
  if not repeated:
    return
  seen: set[str] = set()
  for source_id in ids_of(labelled):
    if source_id in seen:
      raise errors.DataError(
        f'Two images have the id {source_id!r}, so nobody can tell which of them labels are about. Give each image an '
        'id (image/source_id) of its own, and label them again.'
      )
    if _hash(source_id) in repeated:
      seen.add(source_id)


def _is_number(source_id: str) -> bool:
  return source_id.isascii() and source_id.isdecimal() and len(source_id) <= _MAX_DIGITS


def _hash(text: str) -> int:
  return int.from_bytes(
    hashlib.blake2b(text.encode('utf-8'), digest_size=_HASH_BYTES).digest(), 'little'
  )


def _repeated(values: array.array) -> list[int]:
  """Values that are there more than once."""
  ordered = np.sort(np.frombuffer(values, values.typecode))
  return np.unique(ordered[1:][ordered[1:] == ordered[:-1]]).tolist()


def _refuse_same_names(labelled: Labelled, hashes: set[int]) -> None:
  """Raises DataError for the first two ids that give the same name; equal hashes alone may be an accident."""
  seen: dict[str, str] = {}
  for source_id in ids_of(labelled):
    stem = names.stem(source_id)
    if _hash(stem) not in hashes:
      continue
    if stem in seen:
      raise errors.DataError(
        f'The images with the ids {seen[stem]!r} and {source_id!r} would both have files called {stem!r}. Give the '
        'images ids (image/source_id) that stay different as file names, and label them again.'
      )
    seen[stem] = source_id


def ids_of(labelled: Labelled) -> Iterator[str]:
  """Ids of all images that are not dead letters, in their order.

  Raises:
    DataError: a label shard cannot be read.
  """
  spec = {name: formats.RECORD_SPEC[name] for name in (keys.LABEL_STATUS, keys.SOURCE_ID)}
  records = tf.data.TFRecordDataset(list(labelled.label_files)).batch(_IDS_AT_ONCE)
  with _explained():
    for batch in records.map(lambda serialized: tf.io.parse_example(serialized, spec)):
      rows = zip(batch[keys.LABEL_STATUS].numpy(), batch[keys.SOURCE_ID].numpy(), strict=True)
      yield from (_text(source_id) for status, source_id in rows if status != formats.DEAD.encode())


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Read(Generic[LabelsT]):
  """One image that was read.

  Attributes:
    image: the image.
    labels: its labels after the cuts.
    is_turned: whether viewers turn it, see `names.Header`.
  """

  image: base.Image
  labels: LabelsT
  is_turned: bool


def boxes(labelled: Labelled, are_numbers: bool) -> Iterator[Read[base.Boxes]]:
  """Reads all images that are not dead letters, with and without objects, one at a time.

  Args:
    labelled: labels of detection.
    are_numbers: what `have_numbers` returns.

  Yields:
    The images in the order of the shards.

  Raises:
    LabelMismatchError: a label record is not about its image.
    DataError: a record cannot be read, or has a box of the background.
  """
  for example in _examples(labelled):
    yield _read(example, are_numbers, _boxes(example))


def masks(labelled: Labelled, are_numbers: bool) -> Iterator[Read[base.Mask]]:
  """`boxes` for labels of segmentation."""
  for example in _examples(labelled):
    yield _read(example, are_numbers, _mask(example))


def _examples(labelled: Labelled) -> Iterator[_Example]:
  with _explained():
    for number, example in enumerate(labelled.dataset.as_numpy_iterator(), start=1):
      yield {**example, _NUMBER: number}


def _read(example: _Example, are_numbers: bool, labels: LabelsT) -> Read[LabelsT]:
  source_id = _text(example[keys.SOURCE_ID])
  content = example[keys.IMAGE_ENCODED]
  header = names.read_header(content, source_id)
  image = base.Image(
    number=example[_NUMBER],
    image_id=int(source_id) if are_numbers else example[_NUMBER],
    source_id=source_id,
    stem=names.stem(source_id),
    extension=header.extension,
    content=content,
    height=int(example[keys.IMAGE_HEIGHT]),
    width=int(example[keys.IMAGE_WIDTH]),
    channels=header.channels,
  )
  return Read(image, labels, header.is_turned)


def _text(value: bytes) -> str:
  return value.decode('utf-8', 'replace')


def _boxes(example: _Example) -> base.Boxes:
  edges = example[keys.GROUNDTRUTH_BOXES].astype(np.float64).tolist()
  class_ids = example[keys.GROUNDTRUTH_CLASSES].tolist()
  if base.BACKGROUND in class_ids:
    source_id = _text(example[keys.SOURCE_ID])
    raise errors.DataError(
      f'The image with id {source_id!r} has a box of class {base.BACKGROUND}, the background, which has no name. Write '
      'the labels again with a teacher whose classes begin with 1.'
    )
  columns = (
    class_ids,
    map(base.shortest, example[keys.GROUNDTRUTH_SCORES]),
    example[keys.GROUNDTRUTH_IS_IGNORED].tolist(),
  )
  return base.Boxes(
    tuple(
      base.Box(class_id, score, is_ignored, *box)
      for class_id, score, is_ignored, box in zip(*columns, edges, strict=True)
    )
  )


def _mask(example: _Example) -> base.Mask:
  return base.Mask(example[keys.SEMANTIC_MASK][..., 0], example[keys.SEMANTIC_CONFIDENCE][..., 0])


@contextlib.contextmanager
def _explained() -> Iterator[None]:
  """Turns TensorFlow's errors into ones for the user."""
  try:
    yield
  except tf.errors.OpError as error:
    raise reader.mismatch_error(error) or errors.DataError(
      f'Labels or images cannot be read: {errors.first_line(error)}. Find the file with python -m '
      'official_selftrain.pseudo_labels.verify, and restore it or write the labels again.'
    ) from error
