"""How a task is presented, and how its presentation is found by the task's config."""

import abc
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import tensorflow as tf

from official_selftrain.core import class_registry
from official_selftrain.presentation import label_facts
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import formats, quality
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.report import contents
from official_selftrain.tasks import contract


@dataclasses.dataclass(frozen=True)
class Presentation(abc.ABC):
  """Facts and pictures of a run.

  Attributes:
    task: the self-training task.
    label_format: how its labels are written.
    class_names: from id 1; empty if unknown.
    table_metrics: columns of the report's table.
    class_metric: the metric of single classes.
    unit: plural word for one label.
  """

  task: contract.SelfTrainingTask
  label_format: formats.LabelFormat
  class_names: tuple[str, ...]

  table_metrics: ClassVar[tuple[str, ...]]
  class_metric: ClassVar[str]
  unit: ClassVar[str]

  @property
  @abc.abstractmethod
  def shown_classes(self) -> tuple[str, ...]:
    """Names of the classes with figures of their own, in the order of their ids."""

  @abc.abstractmethod
  def per_class(self, metrics: Mapping[str, float]) -> dict[str, float]:
    """`class_metric` by class name, of all metrics of a model."""

  @abc.abstractmethod
  def human_labels(self, records: tf.data.Dataset) -> label_facts.HumanLabels:
    """Counts the labels of serialized labelled records; those that cannot be parsed are left out."""

  @abc.abstractmethod
  def classes_in(self, record: tf.Tensor) -> set[str]:
    """Names, as in `shown_classes`, of the classes that a serialized labelled record has."""

  @abc.abstractmethod
  def measure_labels(self, label_dir: str, truth_file: str) -> quality.Measured:
    """Compares pseudo labels with held-out truth.

    Args:
      label_dir: label shards and manifest.
      truth_file: COCO annotations of the unlabelled images.

    Raises:
      DataError: a file is missing or broken, or they are about different images.
    """

  def ignored_from(self, cuts: cuts_lib.Cuts) -> float | None:
    """The score from which labels below the cut are ignored; None makes them background."""
    return cuts.ignore_cut

  @abc.abstractmethod
  def pseudo_label_sheet(
    self, images: Sequence[str], label_dir: str, cuts: cuts_lib.Cuts, count: int
  ) -> contents.Sheet:
    """Unlabelled images with their labels, in the groups of `sheet_groups`.

    Args:
      images: unlabelled shards.
      label_dir: their label shards.
      cuts: the cuts that the student trains with.
      count: images per group.
    """

  @abc.abstractmethod
  def validation_sheet(
    self, records: Iterable[tf.Tensor], models: Mapping[contents.Kind, tf.keras.Model]
  ) -> contents.Sheet:
    """Validation images, one per row: truth, then what each model finds.

    Args:
      records: serialized validation records.
      models: models by `teacher` and `student`.
    """

  def facts(
    self,
    label_dir: str,
    cuts: cuts_lib.Cuts,
    human: label_facts.HumanLabels,
    measured: quality.Measured | None,
  ) -> contents.PseudoLabelFacts:
    """Facts about the pseudo labels.

    Args:
      label_dir: label shards and manifest.
      cuts: the cuts that the student trains with.
      human: the human labels that they are compared with, see `human_labels`.
      measured: what `measure_labels` found, None without truth.
    """
    found = label_facts.gather(
      self.label_format, label_dir, cuts, human, self.class_names, measured
    )
    return dataclasses.replace(found, ignore_cut=self.ignored_from(cuts))


def side_by_side(models: Iterable[str]) -> str:
  """What the columns of a validation sheet are, for its explanation."""
  *others, last = ('Truth', *models)
  return f'{", ".join(others)} and {last} side by side'


def label_shards(label_dir: str) -> list[str]:
  """Paths of the label shards that a manifest names."""
  manifest = manifest_lib.Manifest.load(label_dir)
  return [os.path.join(label_dir, shard.label_file) for shard in manifest.shards]


# Presentations by the config class of the self-training task that they show.
PRESENTATIONS: class_registry.ClassRegistry[type[Presentation]] = class_registry.ClassRegistry(
  'presentation'
)
