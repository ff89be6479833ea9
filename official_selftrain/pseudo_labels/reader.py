"""Images and their pseudo labels, joined record by record when they are read.

The join is by position; each label record carries the fingerprint of the image it was made from, so
a wrong pairing is an error at the first record, never a training run on mixed-up labels.
"""

import itertools
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.ops import pipelines
from official_selftrain.pseudo_labels import batches, formats, integrity, shards
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import manifest as manifest_lib

MISMATCH = 'PSEUDO_LABEL_MISMATCH:'


def pair_files(
  image_file: tf.Tensor,
  label_file: tf.Tensor,
  damaged: bool = False,
  first: tf.Tensor | int = 0,
) -> tf.data.Dataset:
  """Pairs an image shard with its label shard; made for `tf.data.Dataset.interleave` over both
  lists of files.

  Args:
    image_file: path of the image shard, string scalar.
    label_file: path of its label shard, string scalar.
    damaged: whether to survive broken records in the image shard (`Manifest.damaged`); slower,
      because Python reads.
    first: int64 scalar, the record of both shards to begin with.

  Returns:
    Dataset of (image record, label record), serialized string scalars, in the order of the shard
    and without the dead letters.
  """
  if damaged:
    signature = tf.TensorSpec([], tf.string)
    images = tf.data.Dataset.from_generator(
      _surviving_records, args=(image_file,), output_signature=signature
    )
  else:
    images = tf.data.TFRecordDataset(image_file)
  labels = tf.data.TFRecordDataset(label_file)
  return tf.data.Dataset.zip((images.skip(first), labels.skip(first))).filter(
    lambda _, label: _is_alive(label)
  )


def _surviving_records(path: bytes) -> Iterator[bytes]:
  """All records of a file, an empty one where a record cannot be read (its label is a dead one)."""
  for record in shards.iterate(path.decode()):
    yield record.serialized or b''


def _is_alive(label: tf.Tensor) -> tf.Tensor:
  """Whether a serialized label record is about an image that the teacher has seen."""
  parsed = tf.io.parse_single_example(
    label, {keys.LABEL_STATUS: formats.RECORD_SPEC[keys.LABEL_STATUS]}
  )
  return parsed[keys.LABEL_STATUS] != formats.DEAD


def join(
  image: tf.Tensor, label: tf.Tensor, label_format: formats.LabelFormat, cuts: cuts_lib.Cuts
) -> dict[str, tf.Tensor]:
  """Joins an image record with its label record and applies the cuts.

  Args:
    image: serialized image record, string scalar.
    label: serialized label record, string scalar.
    label_format: the labels' format.
    cuts: which labels become objects, which are ignored.

  Returns:
    image/encoded string, image/source_id string, image/height and image/width int64 of the original
    image, and what the format decodes: for detection groundtruth_boxes, _classes, _scores, _area,
    _is_crowd and _is_ignored.

  Raises:
    tf.errors.InvalidArgumentError: When it runs on a label record that is not about this image;
      the message holds `MISMATCH`, see `mismatch_error`.
  """
  image_record = batches.parse_image_record(image)
  parsed = tf.io.parse_single_example(label, _label_spec(label_format))
  same = tf.equal(
    batches.fingerprint(image_record[keys.IMAGE_ENCODED]), parsed[keys.IMAGE_FINGERPRINT]
  )
  message = tf.strings.join(
    [
      f"{MISMATCH} the image with id '",
      image_record[keys.SOURCE_ID],
      "' is read with the pseudo labels of id '",
      parsed[keys.SOURCE_ID],
      "', record ",
      tf.strings.as_string(parsed[keys.LABEL_INDEX]),
      ' of its shard.',
    ]
  )
  check = tf.debugging.Assert(same, [message], summarize=1)
  with tf.control_dependencies([] if check is None else [check]):
    encoded = tf.identity(image_record[keys.IMAGE_ENCODED])
  return {
    keys.IMAGE_ENCODED: encoded,
    keys.SOURCE_ID: parsed[keys.SOURCE_ID],
    keys.IMAGE_HEIGHT: parsed[keys.IMAGE_HEIGHT],
    keys.IMAGE_WIDTH: parsed[keys.IMAGE_WIDTH],
    **label_format.apply_cuts(label_format.decode(parsed), cuts),
  }


def has_objects(
  label: tf.Tensor, label_format: formats.LabelFormat, cuts: cuts_lib.Cuts
) -> tf.Tensor:
  """Whether a label record holds an object after the cuts; needs no image.

  Args:
    label: serialized label record, string scalar.
    label_format: the labels' format.
    cuts: which labels become objects.

  Returns:
    bool scalar.
  """
  parsed = tf.io.parse_single_example(label, _label_spec(label_format))
  return label_format.has_objects(label_format.apply_cuts(label_format.decode(parsed), cuts))


def _label_spec(label_format: formats.LabelFormat) -> dict[str, formats.FeatureSpec]:
  """Parsing specification of a label record."""
  return {**formats.RECORD_SPEC, **label_format.feature_spec()}


class PairedFiles:
  """Image shards and their label shards as training reads them; a `dataloaders.record_order.RecordFiles`."""

  def __init__(
    self,
    image_files: Sequence[str],
    label_files: Sequence[str],
    label_format: formats.LabelFormat,
    cuts: cuts_lib.Cuts,
    damaged: bool = False,
    entries: Sequence[manifest_lib.ShardEntry] = (),
  ) -> None:
    """Takes the shards, and how they are read.

    Args:
      image_files: image shards.
      label_files: the label shard of each.
      label_format: the labels' format.
      cuts: which labels become objects, and whether images without an object are read at all.
      damaged: see `pair_files`.
      entries: what the manifest says about each shard; without them labels are read more often, see `usable`.
    """
    self.elements = list(zip(image_files, label_files, strict=True))
    self._entries = entries
    self._label_format = label_format
    self._cuts = cuts
    self._damaged = damaged

  def open(self, file: tf.Tensor, first: tf.Tensor | int) -> tf.data.Dataset:
    """See `record_order.RecordFiles`; `file` is string [2], elements are what `pair_files` gives."""
    pairs = pair_files(file[0], file[1], self._damaged, first)
    # Filtered before the stream numbers its elements.
    return pairs if self._cuts.keep_empty else pairs.filter(lambda _, label: self._has_any(label))

  def usable(self, index: int) -> np.ndarray:
    """See `record_order.RecordFiles`.

    Reads the labels, unless images without an object are kept and the shard has no dead letter.
    """
    if self._cuts.keep_empty and self._entries and not self._entries[index].dead:
      return np.ones(self._entries[index].records, bool)

    def _is_read(label: tf.Tensor) -> tf.Tensor:
      alive = _is_alive(label)
      return alive if self._cuts.keep_empty else tf.cond(alive, lambda: self._has_any(label), _no)

    labels = tf.data.TFRecordDataset(self.elements[index][1])
    return np.array(list(pipelines.map_in_order(labels, _is_read).as_numpy_iterator()), bool)

  def _has_any(self, label: tf.Tensor) -> tf.Tensor:
    return has_objects(label, self._label_format, self._cuts)


def _no() -> tf.Tensor:
  return tf.constant(False)


def read_pairs(
  image_files: Sequence[str],
  label_dir: str,
  label_format: formats.LabelFormat,
  cuts: cuts_lib.Cuts,
) -> tf.data.Dataset:
  """Reads images with their pseudo labels, in order, once.

  Args:
    image_files: the image shards that were labelled, in the manifest's order.
    label_dir: folder of the label shards and their manifest.
    label_format: the labels' format.
    cuts: which labels become objects, which are ignored, and whether images without an object are
      read at all.

  Returns:
    Dataset of what `join` returns.

  Raises:
    LabelMismatchError: The labels do not belong to the images.
  """
  manifest = check_labels_match(image_files, label_dir)
  label_files = [os.path.join(label_dir, entry.label_file) for entry in manifest.shards]
  pairs = tf.data.Dataset.from_tensor_slices((list(image_files), label_files))
  damaged = manifest.damaged
  dataset = pairs.flat_map(
    lambda image_file, label_file: pair_files(image_file, label_file, damaged)
  )
  dataset = pipelines.map_in_order(
    dataset, lambda image, label: join(image, label, label_format, cuts)
  )
  return dataset if cuts.keep_empty else dataset.filter(label_format.has_objects)


def mismatch_error(error: Exception) -> errors.LabelMismatchError | None:
  """Turns the error that `join` raises inside a graph into one for the user.

  Args:
    error: any exception that came out of a dataset or a training step.

  Returns:
    The error to raise instead, or None when the exception is about something else.
  """
  found = re.search(re.escape(MISMATCH) + r' (.*? of its shard)', str(error), re.DOTALL)
  if found is None:
    return None
  # TensorFlow escapes the quotes of a string that it prints.
  sentence = found.group(1).replace("\\'", "'")
  return errors.LabelMismatchError(
    f'Pseudo labels do not belong to the images: {sentence}. The image files were changed, '
    'reordered or exchanged after they were labelled; restore them, or delete the labels and write them again'
  )


def check_labels_match(image_files: Sequence[str], label_dir: str) -> manifest_lib.Manifest:
  """Checks, before anything is trained, that labels belong to images and are what was written.

  Compares names, sizes and dates; label shards are read only as `integrity` says.

  Args:
    image_files: the image shards that are about to be read.
    label_dir: folder of the label shards and their manifest.

  Returns:
    The manifest.

  Raises:
    DataError: There is no manifest.
    LabelMismatchError: Names the first shard that differs, how, and what to do.
  """
  manifest = manifest_lib.Manifest.load(label_dir)
  advice = f'Read the labelled files in the same order, or write the labels in {label_dir} again'
  for image_file, entry in zip(image_files, manifest.shards, strict=False):
    name = os.path.basename(image_file)
    if name != entry.image_file:
      raise errors.LabelMismatchError(
        f'The labels are for {entry.image_file} where {name} is read. {advice}'
      )
    size = shards.file_size(image_file)
    if size != entry.image_bytes:
      raise errors.LabelMismatchError(
        f'{image_file} has {size} bytes, but had {entry.image_bytes} when it was labelled. {advice}'
      )
    label_file = os.path.join(label_dir, entry.label_file)
    fault = integrity.size_fault(label_file, entry)
    if fault:
      raise errors.LabelMismatchError(f'The label shard {label_file} of {name} {fault}. {advice}')
  if len(image_files) != len(manifest.shards):
    raise errors.LabelMismatchError(
      f'{len(image_files)} image files are read, but {len(manifest.shards)} were labelled. {advice}'
    )
  changed = f'Restore it, or delete it and write the labels in {label_dir} again'
  integrity.check_dates(label_dir, manifest.shards, changed)
  return manifest


def check_classes(
  manifest: manifest_lib.Manifest, num_classes: int, class_names: Sequence[str] = ()
) -> None:
  """Checks that labels are about the classes of the model that is to learn them.

  Args:
    manifest: of the labels.
    num_classes: `task.model.num_classes`, with the background as class 0.
    class_names: names from class 1 on; empty when they are not known.

  Raises:
    LabelMismatchError: Number, order or names differ; says where they differ first. Names are compared when the labels
      and the model have some.
  """
  advice = 'Use a teacher with the classes of the student, or write the labels again'
  written = manifest.format_settings.get('num_classes')
  if written != num_classes:
    raise errors.LabelMismatchError(
      f'The pseudo labels were written for {written} classes, but task.model.num_classes is {num_classes} (both count '
      f'the background). {advice}'
    )
  if not manifest.class_names or not class_names:
    return
  pairs = itertools.zip_longest(manifest.class_names, class_names)
  for class_id, (theirs, ours) in enumerate(pairs, start=1):
    if theirs != ours:
      in_labels, in_run = (repr(name) if name else 'without a name' for name in (theirs, ours))
      is_reordered = sorted(manifest.class_names) == sorted(class_names)
      order = ' The names are the same, in another order.' if is_reordered else ''
      raise errors.LabelMismatchError(
        f'Class {class_id} is {in_labels} in the pseudo labels, but {in_run} in this run.{order} {advice}'
      )
