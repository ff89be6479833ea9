"""What the report of a run shows of segmentation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.dataloaders import segmentation as parsing
from official_selftrain.evaluation import segmentation as evaluation
from official_selftrain.pseudo_labels import cuts, mask_quality
from official_selftrain.pseudo_labels import segmentation as label_formats
from official_selftrain.report import records
from official_selftrain.tasks import label_facts, segmentation_pictures, task_report

_BACKGROUND_NAME = 'background'


class SegmentationReport(task_report.TaskReport):
  """Facts and pictures of a segmentation run."""

  label_format: label_formats.MaskLabels

  # Columns of the table, the metric of single classes, and the word for labels.
  table_metrics = ('mean_iou', 'mean_iou_resized', 'pixel_accuracy')
  class_metric = 'IoU'
  unit = 'object pixels'

  @property
  def shown_classes(self) -> tuple[str, ...]:
    """Names of the classes with figures of their own, the background first."""
    ids = range(1, self.label_format.num_classes)
    return (_BACKGROUND_NAME, *(label_facts.class_name(self.class_names, k) for k in ids))

  def per_class(self, metrics: Mapping[str, float]) -> dict[str, float]:
    """IoU by class name, of a model's metrics."""
    named = ((name, f'{evaluation.PER_CLASS}{k}') for k, name in enumerate(self.shown_classes))
    return {name: metrics[key] for name, key in named if key in metrics}

  def measure_labels(self, label_dir: str, truth: str) -> dict[str, Any]:
    """Compares the labels with held-out truth, see `pseudo_labels.mask_quality`."""
    known = mask_quality.CocoTruth(truth)
    shards = task_report.label_shards(label_dir)
    return mask_quality.evaluate_labels(shards, known, self.label_format.num_classes)

  def human_labels(self, files: Sequence[str]) -> label_facts.HumanLabels:
    """See `human_labels`."""
    return human_labels(files)

  def ignored_from(self, settings: cuts.Cuts) -> float:
    """See `TaskReport`; all pixels below the cut are ignored."""
    del settings
    return 0.0

  def pseudo_label_sheet(
    self, images: Sequence[str], label_dir: str, settings: cuts.Cuts, count: int
  ) -> records.Sheet:
    """Unlabelled images with their labels, `count` per group, see `segmentation_pictures`."""
    return segmentation_pictures.pseudo_label_sheet(
      images, label_dir, self.label_format, settings, self.shown_classes, count
    )

  def validation_sheet(
    self, validation_records: Iterable[tf.Tensor], models: dict[records.Kind, tf.keras.Model]
  ) -> records.Sheet:
    """Validation images with truth and what each model finds, see `segmentation_pictures`."""
    examples = map(self.task.decoded_validation_example, validation_records)
    return segmentation_pictures.validation_sheet(self.task, examples, models, self.shown_classes)


def human_labels(files: Sequence[str]) -> label_facts.HumanLabels:
  """Counts the pixels of objects in labelled TFRecord files; records that cannot be read are left out."""
  counts = np.zeros(keys.IGNORE_LABEL + 1, np.int64)
  images = 0

  def count(record: tf.Tensor) -> tf.Tensor:
    mask = tf.io.decode_png(parsing.parse_record(record)[keys.SEGMENTATION_MASK], channels=1)
    return tf.math.bincount(tf.cast(tf.reshape(mask, [-1]), tf.int32), minlength=len(counts))

  for row in tf.data.TFRecordDataset(list(files)).map(count).ignore_errors():
    counts += row.numpy()
    images += 1
  objects = range(label_formats.BACKGROUND + 1, keys.IGNORE_LABEL)
  return label_facts.HumanLabels(images, {k: int(counts[k]) for k in objects if counts[k]})
