"""Joins labels from elsewhere with their images, and writes label shards as the labeller does."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.datasets.checks import masks as mask_checks
from official_selftrain.ops import masks
from official_selftrain.pseudo_labels import (
  batches,
  detection,
  formats,
  histograms,
  label_shard,
  labeller,
  segmentation,
  teachers,
)
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.pseudo_labels.importers import entries

Missing = Literal['empty', 'unlabelled']
LabelFormat = detection.BoxFormat | segmentation.MaskFormat

_BATCH = 16
_SURE = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
  """How labels are taken over.

  Attributes:
    class_names: from class 1 on.
    renamed: names of classes by the names that they have in the labels.
    missing: what an image is that the labels do not mention: one without objects, or one without labels, which nobody
      learns from.
  """

  class_names: tuple[str, ...]
  renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
  missing: Missing = 'empty'


@dataclasses.dataclass
class Found:
  """What was met while labels were joined with images, in this run of the program.

  Attributes:
    earlier_shards: shards that an earlier run had finished, of whose images nothing is known here.
    unmentioned: images that the labels do not mention.
    other_classes: number of boxes that were left out because their class is not in use, by its name.
    marked: number of boxes that were left out because they are marked as ones to leave alone and have no score, see
      `entries.Box`. With a score they are boxes of an ignore band, which a cut finds again.
  """

  earlier_shards: int = 0
  unmentioned: int = 0
  other_classes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  marked: int = 0


class UnusableLabelsError(Exception):
  """Why the labels of an image cannot be used."""


class Importer(labeller.Labeller):
  """A labeller whose teacher is a file of labels; images are decoded only to see that they can be, and how large."""

  def __init__(
    self,
    label_format: LabelFormat,
    labels: entries.Entries,
    rules: Rules,
    provenance: manifest_lib.Provenance,
  ):
    """Builds the importer.

    Args:
      label_format: how labels are stored.
      labels: all labels.
      rules: how they are taken over.
      provenance: what is recorded about where they come from.
    """
    super().__init__(label_format, _measure, _no_outputs, provenance, _BATCH)
    self.found = Found()
    self._labels = labels
    self._rules = rules
    self._encode_mask = isinstance(label_format, segmentation.MaskFormat)
    self._num_classes = label_format.num_classes

  def _finished(self, label_file: str, image_bytes: int) -> manifest_lib.ShardResult | None:
    result = super()._finished(label_file, image_bytes)
    self.found.earlier_shards += result is not None
    return result

  def _check_any_usable(self, manifest: manifest_lib.Manifest) -> None:
    """Leaves it to `check_useful`, which knows more."""

  def _add_labels(self, predicted: teachers.Predicted, shard: label_shard.LabelShard) -> None:
    for batch in predicted.group:
      for image in batch.records:
        self._add(image, shard)

  def _add(self, image: batches.ImageRecord, shard: label_shard.LabelShard) -> None:
    """Adds one image."""
    labels = self._labels.find(shard.source_id(image))
    if labels is None:
      self.found.unmentioned += 1
      if self._rules.missing == 'unlabelled':
        shard.add_dead(image, 'the labels do not mention this image')
        return
      labels = entries.Boxes()
    try:
      shard.add(image, self._prediction(labels, image))
    except UnusableLabelsError as error:
      shard.add_dead(image, str(error))

  def _prediction(self, labels: entries.Labels, image: batches.ImageRecord) -> dict[str, Any]:
    """What the format's `encode` takes."""
    if isinstance(labels, entries.Mask) != self._encode_mask:
      # Only an image that is not mentioned can get here.
      raise UnusableLabelsError('there is no mask of this image')
    if isinstance(labels, entries.Mask):
      return read_mask(labels, image.height, image.width, self._num_classes)
    if labels.is_rejected:
      raise UnusableLabelsError('a person rejected this image')
    used = tuple(box for box in labels.boxes if box.score is not None or not box.is_ignored)
    self.found.marked += len(labels.boxes) - len(used)
    labels = dataclasses.replace(labels, boxes=used)
    chosen, edges = relative_boxes(labels, image.height, image.width, self._rules, self.found)
    class_ids = {name: index for index, name in enumerate(self._rules.class_names, 1)}
    scores = [_SURE if box.score is None else box.score for box in chosen]
    return {
      'boxes': edges,
      'scores': np.clip(np.array(scores, np.float32), 0.0, 1.0),
      'classes': np.array([class_ids[box.class_name] for box in chosen], np.int64),
    }


def relative_boxes(
  labels: entries.Boxes, height: int, width: int, rules: Rules, found: Found
) -> tuple[list[entries.Box], np.ndarray]:
  """The boxes of an image whose classes are in use.

  Args:
    labels: of the image.
    height: of the image, in pixels.
    width: of the image, in pixels.
    rules: which classes there are.
    found: boxes of other classes are counted here.

  Returns:
    The boxes, with the names of the classes as they are here, and float32 [n, 4] (ymin, xmin, ymax, xmax) relative to
    the sides of the image.

  Raises:
    UnusableLabelsError: the labels are about an image of another size.
  """
  if not labels.is_relative and labels.size is not None and labels.size != (height, width):
    stated = ' x '.join(map(str, labels.size))
    raise UnusableLabelsError(
      f'the labels are about an image of {stated} pixels (height x width), but it has {height} x {width}'
    )
  chosen = []
  for box in labels.boxes:
    name = rules.renamed.get(box.class_name, box.class_name)
    if name in rules.class_names:
      chosen.append(dataclasses.replace(box, class_name=name))
    else:
      found.other_classes[name] += 1
  edges = np.array([[b.ymin, b.xmin, b.ymax, b.xmax] for b in chosen], np.float64).reshape(-1, 4)
  if not labels.is_relative:
    edges /= [height, width, height, width]
  return chosen, edges.astype(np.float32)


def read_mask(labels: entries.Mask, height: int, width: int, num_classes: int) -> dict[str, Any]:
  """Reads a mask and its confidences into what `MaskFormat.encode` takes.

  Pixels of value 255 have confidence 0, which is below every cut, so they are ignored when the labels are read.

  Raises:
    UnusableLabelsError: a file cannot be read, does not fit the image, or has values that are no class.
  """
  classes = read_classes(labels.path, height, width, num_classes)
  steps = np.full_like(classes, masks.CONFIDENCE_STEPS)
  if labels.confidence:
    steps = _read_png(labels.confidence, height, width, {value: value for value in range(256)})
  is_void = classes == keys.IGNORE_LABEL
  classes = np.where(is_void, segmentation.BACKGROUND, classes).astype(np.uint8)
  steps = np.where(is_void, 0, steps).astype(np.uint8)
  counts = masks.count_pixels(
    tf.constant(classes), tf.constant(steps), num_classes, histograms.NUM_BINS
  )
  encoded = [tf.io.encode_png(each[..., np.newaxis]).numpy() for each in (classes, steps)]
  return {
    'classes': encoded[0],
    'confidences': encoded[1],
    'counts': counts.numpy(),
    'is_finite': True,
  }


def read_classes(path: str, height: int, width: int, num_classes: int) -> np.ndarray:
  """The class of each pixel in a PNG, uint8 [height, width], 255 where nobody labelled.

  Raises:
    UnusableLabelsError: the file cannot be read, does not fit the image, or has values that are no class.
  """
  values: mask_checks.Values = {v: v for v in (*range(num_classes), keys.IGNORE_LABEL)}
  return _read_png(path, height, width, values)


def _read_png(path: str, height: int, width: int, values: mask_checks.Values) -> np.ndarray:
  """uint8 [height, width]."""
  try:
    content = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise UnusableLabelsError(f'{path} cannot be read: {error.strerror}') from error
  checked = mask_checks.check(content, path, height, width, values)
  if checked.encoded is None:
    raise UnusableLabelsError('; '.join(fault.detail for fault in checked.faults))
  return tf.io.decode_png(checked.encoded, channels=1).numpy()[..., 0]


def check_useful(manifest: manifest_lib.Manifest, labels: entries.Entries, found: Found) -> None:
  """Raises DataError if labels and images, or their classes, have nothing to do with each other.

  Of shards that an earlier run had finished it is only known how many images have labels.
  """
  if found.earlier_shards:
    if labels.num_labels and not manifest.labelled:
      raise errors.DataError(
        f'None of the {manifest.images} images has a label. The same command, given again, begins anew and says why.'
      )
    return
  if not labels.num_used:
    raise errors.DataError(
      f'None of the {labels.num_images} images of the labels is among the {manifest.images} images. The labels are of '
      f'images such as {", ".join(map(repr, labels.examples(3)))}. They must be called by their ids (image/source_id) '
      'or names; for results of COCO give --annotation_file.'
    )
  if found.other_classes and not manifest.labelled:
    names = ', '.join(f'{name!r} ({count})' for name, count in found.other_classes.most_common(5))
    raise errors.DataError(
      f'All boxes are of classes that are not in use: {names}. Give their names here with --rename=THEIRS=YOURS.'
    )
  if manifest.dead == manifest.images:
    first = manifest.dead_letters[0]
    raise errors.DataError(
      f'None of the {manifest.images} images could be used. The first one, record {first.index} of {first.shard}: '
      f'{first.reason}.'
    )


def _measure(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
  """The size of an image that can be decoded."""
  image = tf.io.decode_image(encoded, expand_animations=False)
  size = tf.shape(image)
  return {keys.IMAGE_HEIGHT: size[0], keys.IMAGE_WIDTH: size[1]}


def _no_outputs(features: Mapping[str, tf.Tensor]) -> formats.Predictions:
  """Nothing: there is no teacher, and `_add_labels` does not ask for it."""
  del features
  return {}


def label_format_of(task: str, class_names: Sequence[str], max_boxes: int) -> LabelFormat:
  """The format of the labels of a task, `detection` or `segmentation`; every score is kept."""
  if task == segmentation.MaskFormat.name:
    return segmentation.MaskFormat(num_classes=len(class_names) + 1)
  return detection.BoxFormat(num_classes=len(class_names) + 1, min_score=0.0, max_boxes=max_boxes)
