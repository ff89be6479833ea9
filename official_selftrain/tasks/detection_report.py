"""What the report of a run shows of detection: the side of the pipeline's report that knows boxes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.evaluation import coco
from official_selftrain.pseudo_labels import cuts, quality
from official_selftrain.pseudo_labels import detection as label_formats
from official_selftrain.report import records
from official_selftrain.tasks import detection_pictures, label_facts, task_report


class DetectionReport(task_report.TaskReport):
  """Facts and pictures of a detection run."""

  label_format: label_formats.DetectionLabels

  # Columns of the table, the metric of single classes, and the word for labels.
  table_metrics = ('AP', 'AP50', 'AP75')
  class_metric = 'AP'
  unit = 'boxes'

  @property
  def shown_classes(self) -> tuple[str, ...]:
    """Names of the classes with figures of their own, in the order of their ids."""
    return self.class_names

  def per_class(self, metrics: Mapping[str, float]) -> dict[str, float]:
    """AP by class name, of a model's metrics."""
    prefix = coco.PER_CLASS_AP
    return {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}

  def measure_labels(self, label_dir: str, truth: str) -> dict[str, Any]:
    """Compares the labels with held-out truth, see `pseudo_labels.quality.evaluate_labels`."""
    return quality.evaluate_labels(task_report.label_shards(label_dir), truth)

  def human_labels(self, files: Sequence[str]) -> label_facts.HumanLabels:
    """See `human_labels`."""
    return human_labels(files)

  def pseudo_label_sheet(
    self, images: Sequence[str], label_dir: str, settings: cuts.Cuts, count: int
  ) -> records.Sheet:
    """Unlabelled images with their labels, `count` per group, see `detection_pictures`."""
    return detection_pictures.pseudo_label_sheet(
      images, label_dir, self.label_format, settings, self.class_names, count
    )

  def validation_sheet(
    self, validation_records: Iterable[tf.Tensor], models: dict[records.Kind, tf.keras.Model]
  ) -> records.Sheet:
    """Validation images with truth and what each model finds, see `detection_pictures`."""
    examples = map(self.task.decoded_validation_example, validation_records)
    return detection_pictures.validation_sheet(self.task, examples, models, self.class_names)


def human_labels(files: Sequence[str]) -> label_facts.HumanLabels:
  """Counts the boxes of labelled TFRecord files; records that cannot be read are left out."""
  classes: Counter[int] = Counter()
  images = 0
  spec = {keys.BOX_CLASS: tf.io.VarLenFeature(tf.int64)}
  for record in tf.data.TFRecordDataset(list(files)).ignore_errors().batch(256):
    parsed = tf.io.parse_example(record, spec)[keys.BOX_CLASS]
    classes.update(parsed.values.numpy().tolist())
    images += len(record)
  return label_facts.HumanLabels(images, dict(classes))
