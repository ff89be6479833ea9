"""What the report of a run shows of detection: the side of the pipeline's report that knows boxes."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.evaluation import coco
from official_selftrain.pseudo_labels import cuts, quality
from official_selftrain.pseudo_labels import detection as label_formats
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.report import records
from official_selftrain.tasks import detection_pictures, label_facts


@dataclasses.dataclass(frozen=True)
class DetectionReport:
  """Facts and pictures of a detection run.

  Attributes:
    task: the self-training task.
    label_format: how its labels are written.
    class_names: from id 1; empty if unknown.
  """

  task: Any
  label_format: label_formats.DetectionLabels
  class_names: tuple[str, ...]

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
    manifest = manifest_lib.Manifest.load(label_dir)
    shards = [os.path.join(label_dir, shard.label_file) for shard in manifest.shards]
    return quality.evaluate_labels(shards, truth)

  def facts(
    self,
    label_dir: str,
    settings: cuts.Cuts,
    labelled_files: Sequence[str],
    measured: dict[str, Any] | None,
  ) -> tuple[records.PseudoLabelFacts, int]:
    """Facts about the pseudo labels.

    Args:
      label_dir: label shards and manifest.
      settings: the cuts the student trains with.
      labelled_files: TFRecord files of the human labels, which they are compared with.
      measured: what `measure_labels` found, None without truth.

    Returns:
      The facts, and the number of images with human labels.
    """
    human = human_labels(labelled_files)
    facts = label_facts.gather(
      self.label_format, label_dir, settings, human, self.class_names, measured
    )
    return facts, human.images

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
