"""The stage that calibrates cuts: a teacher over labelled images that it has not learned from."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from official_selftrain.core import console, errors, files, keys
from official_selftrain.dataloaders import decoders, detection, fractions, tfrecords
from official_selftrain.datasets import tf_examples
from official_selftrain.pipeline import jobs as jobs_lib
from official_selftrain.pipeline import labelling
from official_selftrain.presentation import base
from official_selftrain.pseudo_labels import batches, calibration, reader, segmentation

_TRUTH = 'truth.json'
_LABELS = 'labels'
_HELD_OUT = 'held-out'
_FIELD = 'task.train_data.input_path'

_Decoder = decoders.BoxDecoder | decoders.LabelMapDecoder


def run(
  jobs: jobs_lib.Jobs,
  teacher: str,
  presentation: base.Presentation,
  class_names: Sequence[str],
) -> calibration.Calibration:
  """Labels the held-out images, compares the labels with those of people, and writes the cuts.

  Args:
    jobs: of the run.
    teacher: prefix of its checkpoint; not needed with `calibration.label_dir`.
    presentation: of the task, which knows how labels are measured.
    class_names: from id 1; empty if unknown.

  Returns:
    The cuts.

  Raises:
    DataError: there are too few labelled images, or nothing to calibrate on, or labels of `calibration.label_dir` are
      about images of which two have the same id.
    LabelMismatchError: the labels of `calibration.label_dir` are not of the labelled images.
  """
  params, folder = jobs.params, jobs.calibration_dir
  os.makedirs(folder, exist_ok=True)
  label_dir = params.calibration.label_dir
  train = params.task.train_data
  images = tfrecords.match_files(train.input_path, _FIELD)
  if label_dir:
    reader.check_labels_match(images, label_dir)
  else:
    images = [_write_held_out(images, jobs)]
    label_dir = os.path.join(folder, _LABELS)
    labelling.run(
      labelling.Request(
        task=params.task,
        labels=params.labels,
        teacher=teacher,
        images=tuple(images),
        output_dir=label_dir,
        class_names=tuple(class_names),
        runtime=params.runtime,
        seed=params.seed,
      )
    )
  truth = os.path.join(folder, _TRUTH)
  are_masks = presentation.label_format.name == segmentation.MaskFormat.name
  decoder = None if are_masks else detection.build_decoder(train)
  num_classes = params.task.model.num_classes
  files.write_json(truth, _truth(images, num_classes, decoder, train.skip_errors))
  settings = params.calibration
  made = calibration.calibrate(
    presentation.measure_labels(label_dir, truth),
    settings.rule,
    settings.beta,
    settings.min_precision,
    settings.min_objects,
  )
  made.save(folder)
  cuts = made.class_cuts(num_classes)
  console.note(
    f'cuts calibrated on {made.images} labelled images: {made.cut:g} for all classes together, {min(cuts):g} to '
    f'{max(cuts):g} by class'
  )
  return made


def _write_held_out(paths: Sequence[str], jobs: jobs_lib.Jobs) -> str:
  """Writes the records that the teacher's fraction leaves out of the run's, each with an id of its own.

  Returns:
    The file.
  """
  train, share = jobs.params.task.train_data, jobs.params.calibration.share
  seed, is_tolerant = train.fraction_seed, train.skip_errors
  drawn = dict(fractions.choose(paths, train.fraction, seed, is_tolerant))
  taught = dict(fractions.choose(paths, train.fraction * (1.0 - share), seed, is_tolerant))
  held_out = [
    (
      path,
      bytes(
        one and not two
        for one, two in zip(chosen, taught.get(path, bytes(len(chosen))), strict=True)
      ),
    )
    for path, chosen in drawn.items()
  ]
  if not any(any(chosen) for _, chosen in held_out):
    count = sum(sum(chosen) for chosen in drawn.values())
    raise errors.DataError(
      f'calibration.share of {share:g} holds out none of {count} labelled images: raise it, or give '
      'task.pseudo_data.cut a number.'
    )

  def records() -> Iterator[bytes]:
    files = fractions.PartFiles(held_out)
    for part in files.elements:
      yield from files.open(tf.constant(part), 0).as_numpy_iterator()

  path = os.path.join(jobs.calibration_dir, f'{_HELD_OUT}.tfrecord')
  tf_examples.write_shard(path, _with_own_ids(records()))
  return path


def _with_own_ids(records: Iterable[bytes]) -> Iterator[bytes]:
  """Records in which a place was added to an id that an earlier one has: labels and truth meet by their ids."""
  seen = set()
  for place, record in enumerate(records):
    source_id = batches.source_id(record)
    if source_id in seen:
      while source_id in seen:
        source_id += f':{place}'
      example = tf.train.Example.FromString(record)
      feature = example.features.feature[keys.SOURCE_ID]
      feature.bytes_list.value[:] = [source_id.encode('utf-8')]
      record = example.SerializeToString()
    if source_id:
      seen.add(source_id)
    yield record


@dataclasses.dataclass
class _Truth:
  """COCO JSON in the making."""

  images: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  annotations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  ids: set[str] = dataclasses.field(default_factory=set)

  def add_image(self, image_id: str, height: int, width: int, place: str) -> None:
    """Adds an image; DataError if an earlier one has its id."""
    if image_id in self.ids:
      raise errors.DataError(
        f'{place} has the id {image_id!r}, and so has an earlier labelled image: nobody can tell which of them the '
        'labels in calibration.label_dir are about. Give each image an id (image/source_id) of its own, and import '
        'the labels again.'
      )
    self.ids.add(image_id)
    self.images.append({'id': image_id, 'height': height, 'width': width})

  def add(self, image_id: str, category_id: int, **more: object) -> None:
    """Adds an annotation."""
    entry = {'id': len(self.annotations) + 1, 'image_id': image_id, 'category_id': category_id}
    self.annotations.append(entry | more)


def _truth(
  paths: Sequence[str], num_classes: int, decoder: _Decoder | None, is_tolerant: bool = False
) -> dict[str, Any]:
  """The labels of people in records, as COCO JSON whose image ids are the ids in label shards.

  Args:
    paths: TFRecord files; a record may have boxes and a mask.
    num_classes: with the background.
    decoder: reads the boxes' classes; None for the masks instead.
    is_tolerant: images that cannot be read or decoded are left out, as with `skip_errors`.

  Raises:
    DataError: two images have the same id.
  """
  truth = _Truth()
  for path in paths:
    records = tfrecords.readable(path) if is_tolerant else tf.data.TFRecordDataset(path)
    for index, record in enumerate(records):
      try:
        _add(truth, record, f'{os.path.basename(path)}:{index}', decoder)
      except tf.errors.OpError:
        if not is_tolerant:
          raise
  names = [{'id': class_id, 'name': str(class_id)} for class_id in range(1, num_classes)]
  return {'images': truth.images, 'annotations': truth.annotations, 'categories': names}


def _add(truth: _Truth, record: tf.Tensor, place: str, decoder: _Decoder | None) -> None:
  """Adds one record; `place` is the id of an image without one."""
  features = tf.train.Example.FromString(record.numpy()).features.feature
  ids = features[keys.SOURCE_ID].bytes_list.value
  image_id = (ids[0].decode('utf-8', 'replace') if ids else '') or place
  height, width = tf.io.decode_image(
    features[keys.IMAGE_ENCODED].bytes_list.value[0], expand_animations=False
  ).shape[:2]
  if decoder is None:
    encoded = features[keys.SEGMENTATION_MASK].bytes_list.value[0]
    mask = tf.io.decode_png(encoded, channels=1).numpy()[..., 0]
    truth.add_image(image_id, height, width, place)
    _add_mask(truth, image_id, mask)
    return
  truth.add_image(image_id, height, width, place)
  sides = (keys.BOX_XMIN, keys.BOX_YMIN, keys.BOX_XMAX, keys.BOX_YMAX)
  edges = np.array([features[side].float_list.value for side in sides], np.float64).T
  class_ids = decoder.decode_classes(record[None]).flat_values.numpy().tolist()
  crowds = features[keys.BOX_IS_CROWD].int64_list.value or [0] * len(class_ids)
  for class_id, box, is_crowd in zip(class_ids, edges.reshape(-1, 4), crowds, strict=True):
    if class_id < 1:
      continue  # A text that the label map lacks.
    xmin, ymin, xmax, ymax = (box * [width, height, width, height]).tolist()
    bbox = [xmin, ymin, xmax - xmin, ymax - ymin]
    truth.add(image_id, class_id, bbox=bbox, area=bbox[2] * bbox[3], iscrowd=int(is_crowd))


def _add_mask(truth: _Truth, image_id: str, mask: np.ndarray) -> None:
  """Adds the pixels of each class as one annotation; those that nobody labelled are a crowd."""
  for value in np.unique(mask).tolist():
    if value == 0:
      continue
    encoded = coco_mask.encode(np.asfortranarray((mask == value).astype(np.uint8)))
    is_void = value == keys.IGNORE_LABEL
    truth.add(
      image_id,
      1 if is_void else int(value),
      bbox=coco_mask.toBbox(encoded).tolist(),
      area=float((mask == value).sum()),
      iscrowd=int(is_void),
      segmentation={'size': list(mask.shape), 'counts': encoded['counts'].decode('ascii')},
    )
