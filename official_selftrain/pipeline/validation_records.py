"""Compares the validation records with `task.annotation_file`, and with the classes of the model, before training.

Evaluation takes the truth from the annotation file and joins it with detections by image id and category id. Records
that number classes otherwise (COCO's categories are 80 with ids up to 90) train well and silently get an AP of nearly
zero. One pass over the records, which decodes no image, finds that beforehand.
"""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.configs import detection as detection_configs
from official_selftrain.core import console, errors, keys
from official_selftrain.dataloaders import decoders, detection, tfrecords
from official_selftrain.datasets import coco
from official_selftrain.ops import pipelines

_RECORDS_AT_ONCE = 256
_MAX_ID = 2**63 - 1
# Converters drop a few boxes, for example those without area. Less than this share of a class in common, and at least
# so many boxes apart, is another numbering.
_LEAST_SHARE = 0.5
_FEW_BOXES = 5
_EXAMPLES = 5

_PATH = 'task.validation_data.input_path'
# pycocotools reads these of every annotation, and only when it evaluates.
_NEEDED_NUMBERS = ('iscrowd', 'area')
# Boxes by class that are no crowds.
Counts = collections.Counter[int]


def check(task: cfg.TaskConfig, class_names: Sequence[str] = ()) -> None:
  """Checks the validation records of a detection task; other tasks have no annotation file.

  Args:
    task: a task with its paths filled in.
    class_names: names of the classes from id 1; empty if unknown.

  Raises:
    ConfigError: ids are to be regenerated, which no annotation file matches, or names contradict the annotation file.
    DataError: a record or the annotation file cannot be read, an annotation lacks what evaluation needs, ids are no
      numbers or not unique, records and annotation file are not about the same images or number classes differently,
      the label map lacks a class, the model has too few classes, or records, which have the truth where there is no
      annotation file, more boxes than are read.
  """
  if not isinstance(task, detection_configs.DetectionTask):
    return
  stream = task.validation_data
  annotations = None
  truth: dict[str, Counts] = {}
  most_boxes = stream.parser.max_num_instances if task.use_coco_metrics else _MAX_ID
  if task.annotation_file:
    most_boxes = _MAX_ID
    _check_ids_are_read(stream)
    annotations = coco.read(task.annotation_file)
    _check_annotations(annotations)
    check_names(annotations, class_names, task.model.num_classes)
    truth = _counts_of(annotations)
  found: dict[str, Counts] = {}
  if stream.input_path and not stream.tfds_name:
    found = _read(tfrecords.match_files(stream.input_path, _PATH), stream, most_boxes)
    if annotations:
      _check_images(annotations, found)
      _check_classes(annotations, found, truth)
  _check_num_classes(task, truth.values(), f'{task.annotation_file} (task.annotation_file)')
  _check_num_classes(task, found.values(), _PATH)


def class_names_of(annotation_file: str, num_classes: int) -> tuple[str, ...]:
  """Names of the categories of an annotation file, for runs that have none in their settings.

  Args:
    annotation_file: JSON in the format of COCO's `instances_*.json`.
    num_classes: number of the model's classes, the background included.

  Returns:
    Names of the ids from 1 to num_classes - 1; 'unused-12' for an id, here 12, that no category has. Categories with
    other ids are left out; `check` refuses them if they have boxes. Empty when no category is left.

  Raises:
    DataError: the file cannot be read.
  """
  categories = coco.read(annotation_file).categories
  ids = range(1, num_classes)
  if not any(category_id in ids for category_id in categories):
    return ()
  return tuple(categories.get(k, f'unused-{k}') for k in ids)


def check_names(
  annotations: coco.Annotations, class_names: Sequence[str], num_classes: int
) -> None:
  """Raises ConfigError when class names, from id 1, are not those of the file's categories below `num_classes`."""
  if not class_names:
    return
  for category_id, name in annotations.categories.items():
    if not 1 <= category_id < num_classes:
      continue
    ours = class_names[category_id - 1] if category_id <= len(class_names) else None
    if ours != name:
      said = 'has no name' if ours is None else f'is {ours!r}'
      raise errors.ConfigError(
        f'dataset.class_names: class {category_id} {said}, but category {category_id} is {name!r} in '
        f'{annotations.path} (task.annotation_file). List the names in the order of ids, from 1; an id without a '
        'category needs a name too.'
      )


def _check_annotations(annotations: coco.Annotations) -> None:
  """Checks what evaluation needs of annotations, and notes which of them it leaves out.

  Raises:
    DataError: an annotation lacks a number that pycocotools reads.
  """
  where = f'{annotations.path} (task.annotation_file)'
  for name in _NEEDED_NUMBERS:
    place = annotations.first_without_number(name)
    if place:
      raise errors.DataError(
        f'{where}: {place} has no number {name!r}, which the COCO evaluator needs. Give every annotation '
        'iscrowd, 0 or 1, and area in square pixels.'
      )
  if annotations.ignored:
    console.note(
      f'{annotations.ignored} annotations of {where} have an image_id that no image of the file has. They are ignored.'
    )
  unlisted = [str(k) for k in annotations.category_ids() if k not in annotations.categories]
  if annotations.categories and unlisted:
    console.note(
      f'{where} has annotations of category {_some(unlisted)}, which is not in its list of categories. They do not '
      'count in AP.'
    )


def _check_ids_are_read(stream: detection_configs.DataConfig) -> None:
  """Raises ConfigError for ids that are made from images, where an annotation file has others."""
  if stream.decoder.get().regenerate_source_id:
    raise errors.ConfigError(
      f'task.validation_data.decoder.{stream.decoder.type}.regenerate_source_id is true: ids that are made from the '
      'images are never those of task.annotation_file. Turn it off and write the ids of the file into image/source_id, '
      "or set task.annotation_file to '' to take the truth from the records."
    )


def _read(
  files: Sequence[str], stream: detection_configs.DataConfig, most_boxes: int
) -> dict[str, Counts]:
  """Boxes by class of each image, by its id as a plain number in decimals, in the order of the records.

  Raises:
    DataError: a record cannot be read or has more than `most_boxes` boxes, an id is not a number from 0 to 2^63 - 1,
      two records have the same, or the label map lacks a class text.
  """
  found: dict[str, Counts] = {}
  unknown: dict[str, int] = {}
  for place, (text, counts, strangers, boxes) in enumerate(_labels(files, stream)):
    if boxes > most_boxes:
      raise errors.DataError(
        f'{_PATH}: record {place} has {boxes} boxes, crowds included, and evaluation would see the first {most_boxes}. '
        'Set task.validation_data.parser.max_num_instances to the most boxes that a record has, or give an annotation '
        'file (task.annotation_file).'
      )
    for stranger in strangers:
      unknown.setdefault(stranger, place)
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_ID):
      raise errors.DataError(
        f'{_PATH}: image/source_id of record {place} is {text!r}; the COCO evaluator needs numbers from 0 to 2^63 - 1. '
        f'Write them, or set task.validation_data.decoder.{stream.decoder.type}.regenerate_source_id.'
      )
    image_id = str(int(text))
    if image_id in found:
      raise errors.DataError(
        f'{_PATH}: records {list(found).index(image_id)} and {place}, counted over all files, have the same image id, '
        f'{image_id}. The COCO evaluator would take them for one image. Remove one, or write other ids.'
      )
    found[image_id] = counts
  if unknown:
    label_map = stream.decoder.label_map_decoder.label_map
    raise errors.DataError(
      f'{_PATH}: boxes have the class text {_some([repr(text) for text in unknown])}, the first in record '
      f'{min(unknown.values())}, which the label map {label_map} '
      '(task.validation_data.decoder.label_map_decoder.label_map) does not have. Add a line with the id and the text, '
      'or correct the text in the records.'
    )
  return found


def _labels(
  files: Sequence[str], stream: detection_configs.DataConfig
) -> Iterator[tuple[str, Counts, list[str], int]]:
  """Of each record, in order: id, boxes by class, class texts that the label map lacks, and boxes with crowds.

  Raises:
    DataError: a record cannot be read.
  """
  decoder = detection.build_decoder(stream)
  spec = {keys.BOX_CLASS_NAME: tf.io.RaggedFeature(tf.string)}

  def decode(records: tf.Tensor) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    return {**decoder.decode_labels(records), **tf.io.parse_example(records, spec)}

  has_label_map = isinstance(decoder, decoders.LabelMapDecoder)
  dataset = tf.data.TFRecordDataset(list(files))
  if stream.skip_errors:
    # One at a time, so that a bad record takes no other with it.
    dataset = dataset.ignore_errors().batch(1).map(decode).ignore_errors()
  else:
    dataset = pipelines.map_in_order(dataset.batch(_RECORDS_AT_ONCE), decode)
  try:
    for batch in pipelines.without_tuner(dataset.prefetch(1)):
      ids = [each.decode('utf-8', 'replace') for each in batch['source_id'].numpy().tolist()]
      rows = (batch[name].to_list() for name in ('classes', 'is_crowd', keys.BOX_CLASS_NAME))
      for image_id, classes, is_crowd, texts in zip(ids, *rows, strict=True):
        flags = is_crowd or [0] * len(classes)
        boxes = [k for k, crowd in zip(classes, flags, strict=False) if not crowd]
        # The Model Garden gives texts that are not in the label map the class -1.
        named = zip(texts, classes, flags, strict=False) if has_label_map else ()
        unknown = [
          text.decode('utf-8', 'replace') for text, k, crowd in named if k < 0 and not crowd
        ]
        yield image_id, Counts(boxes), unknown, len(classes)
  except tf.errors.OpError as error:
    reason = tfrecords.first_bad_record(files, lambda record: decode(record[tf.newaxis]))
    raise errors.DataError(f'{_PATH}: {reason or errors.first_line(error)}') from error


def _check_num_classes(
  task: detection_configs.DetectionTask, images: Iterable[Counts], where: str
) -> None:
  """Raises DataError when boxes of images have a class that the model lacks; 0 is the background."""
  num_classes = task.model.num_classes
  classes = {class_id for counts in images for class_id in counts}
  outside = [class_id for class_id in sorted(classes) if not 1 <= class_id < num_classes]
  if outside:
    raise errors.DataError(
      f'{where} has boxes of class {outside[-1]}, but task.model.num_classes is {num_classes}, which allows classes '
      f'from 1 to {num_classes - 1}. Set it to at least the largest id + 1, or renumber the classes.'
    )


def _counts_of(annotations: coco.Annotations) -> dict[str, Counts]:
  """Boxes by category of all images of an annotation file."""
  result = {}
  for image_id in annotations.image_ids():
    boxes = annotations.pixel_boxes(image_id)
    assert boxes is not None
    result[image_id] = Counts(boxes.classes[~boxes.is_crowd].tolist())
  return result


def _check_images(annotations: coco.Annotations, records: Mapping[str, Counts]) -> None:
  """Compares ids: records without annotations are an error, annotated images without a record give a warning.

  Raises:
    DataError: a record has an id that the file has not.
  """
  known = set(annotations.image_ids())
  strangers = [image_id for image_id in records if image_id not in known]
  if strangers:
    raise errors.DataError(
      f'{len(strangers)} of {len(records)} validation records have an image/source_id that no image of '
      f'{annotations.path} (task.annotation_file) has: {_some(strangers)}; ids of the file: '
      f'{_some(annotations.image_ids())}. Give the annotation file of these records, or write its ids into them.'
    )
  unseen = [image_id for image_id in annotations.image_ids() if image_id not in records]
  if unseen:
    console.note(
      f'{len(unseen)} of {len(known)} images of {annotations.path} (task.annotation_file) have no validation record: '
      f'{_some(unseen)}. AP covers the other {len(records)} only and cannot be compared with the AP of all.'
    )


def _some(values: Sequence[str]) -> str:
  """The first few of some values."""
  return ', '.join(values[:_EXAMPLES]) + (', ...' if len(values) > _EXAMPLES else '')


@dataclasses.dataclass(frozen=True)
class _Agreement:
  """Agreement of boxes by class between records and annotations, image by image.

  Attributes:
    in_records: boxes by class over all images.
    in_file: the same of the annotation file.
    in_both: boxes that both sides have in the same image and class.
  """

  in_records: Counts
  in_file: Counts
  in_both: Counts

  def of(self, class_id: int) -> tuple[int, int]:
    """Boxes of a class that agree, and those of the side that has more."""
    return self.in_both[class_id], max(self.in_records[class_id], self.in_file[class_id])

  def share(self) -> float:
    """Share of all boxes that agree."""
    most = max(self.in_records.total(), self.in_file.total())
    return self.in_both.total() / most if most else 1.0

  def disagreeing(self) -> list[int]:
    """Classes that mean different things, those with most boxes first."""
    found = []
    for class_id in {*self.in_records, *self.in_file}:
      same, most = self.of(class_id)
      if same < _LEAST_SHARE * most and (most - same >= _FEW_BOXES or self.share() < _LEAST_SHARE):
        found.append(class_id)
    return sorted(found, key=lambda class_id: (-self.of(class_id)[1], class_id))


def _agreement(records: Mapping[str, Counts], truth: Mapping[str, Counts]) -> _Agreement:
  totals = _Agreement(Counts(), Counts(), Counts())
  for image_id, counts in records.items():
    totals.in_records.update(counts)
    totals.in_file.update(truth[image_id])
    totals.in_both.update(counts & truth[image_id])
  return totals


def _check_classes(
  annotations: coco.Annotations, records: Mapping[str, Counts], truth: Mapping[str, Counts]
) -> None:
  """Compares the classes of boxes image by image; records without any box are not compared.

  Raises:
    DataError: a class of the records is not a category of the file, or they number classes differently.
  """
  used = sorted({class_id for counts in records.values() for class_id in counts})
  if not used:
    return
  found = _agreement(records, truth)
  strangers = [class_id for class_id in used if class_id not in annotations.category_ids()]
  differ = found.disagreeing()
  advice = _renumbering(annotations, records, truth) or (
    'Write the category ids of the file into the records, or give the annotation file that they were made from.'
  )
  where = f'{annotations.path} (task.annotation_file)'
  if strangers:
    raise errors.DataError(
      f'{_PATH} has boxes of class {_some([str(k) for k in strangers])}, which is the id of no category of {where}. '
      f'{advice}'
    )
  first = _first_difference(annotations, records, truth)
  if differ:
    class_id = differ[0]
    name = annotations.categories.get(class_id)
    raise errors.DataError(
      f'{_PATH} and {where} number classes differently, so that the AP of class '
      f'{_some([str(k) for k in differ])} would be close to zero. '
      f'Class {class_id}{f" ({name!r} in the file)" if name else ""} has {found.in_records[class_id]} boxes in the '
      f'records and {found.in_file[class_id]} in the file, {found.in_both[class_id]} of them in the same images. '
      f'{first} {advice}'
    )
  if first:
    console.note(
      f'{_PATH} and {where} do not have the same boxes: {found.in_records.total()} and {found.in_file.total()}, '
      f'{found.in_both.total()} of them in the same images and classes. {first} The file decides about AP.'
    )


def _first_difference(
  annotations: coco.Annotations, records: Mapping[str, Counts], truth: Mapping[str, Counts]
) -> str:
  """The first image and class with another number of boxes, as a sentence; '' when there is none."""
  for image_id, counts in records.items():
    for class_id in sorted({*counts, *truth[image_id]}):
      if counts[class_id] != truth[image_id][class_id]:
        name = annotations.categories.get(class_id, 'no name')
        return (
          f'First difference: image {image_id} has {counts[class_id]} boxes of class {class_id} ({name}) in its record '
          f'and {truth[image_id][class_id]} in the file.'
        )
  return ''


def _renumbering(
  annotations: coco.Annotations, records: Mapping[str, Counts], truth: Mapping[str, Counts]
) -> str:
  """Advice for records that number the categories from 1 on without gaps; '' when they do not."""
  ids = [category_id for category_id in annotations.category_ids() if category_id > 0]
  if ids == list(range(1, len(ids) + 1)):
    return ''
  renumbered = {}
  for image_id, counts in records.items():
    if any(not 1 <= class_id <= len(ids) for class_id in counts):
      return ''
    renumbered[image_id] = Counts({ids[k - 1]: number for k, number in counts.items()})
  if _agreement(renumbered, truth).disagreeing():
    return ''
  return (
    f'The records number the {len(ids)} categories from 1 to {len(ids)} in the order of their ids, which go from '
    f'{ids[0]} to {ids[-1]} with gaps. Write the ids of the file into the records, for training and validation, and '
    f'set task.model.num_classes to {ids[-1] + 1}.'
  )
