"""What is shown of any task, and how it is found by the task's config."""

import abc
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from official_selftrain.core import class_registry
from official_selftrain.presentation import label_facts
from official_selftrain.pseudo_labels import cuts, formats
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.report import contents


@dataclasses.dataclass(frozen=True)
class Presentation(abc.ABC):
  """Facts and pictures of a run.

  Attributes:
    task: the self-training task.
    label_format: how its labels are written.
    class_names: from id 1; empty if unknown.
  """

  task: Any
  label_format: formats.LabelFormat
  class_names: tuple[str, ...]

  @abc.abstractmethod
  def human_labels(self, files: Sequence[str]) -> label_facts.HumanLabels:
    """Counts the labels of labelled TFRecord files; records that cannot be read are left out."""

  def facts(
    self,
    label_dir: str,
    settings: cuts.Cuts,
    labelled_files: Sequence[str],
    measured: dict[str, Any] | None,
  ) -> tuple[contents.PseudoLabelFacts, int]:
    """Facts about the pseudo labels.

    Args:
      label_dir: label shards and manifest.
      settings: the cuts the student trains with.
      labelled_files: TFRecord files of the human labels, which they are compared with.
      measured: what `measure_labels` found, None without truth.

    Returns:
      The facts, and the number of images with human labels.
    """
    human = self.human_labels(labelled_files)
    found = label_facts.gather(
      self.label_format, label_dir, settings, human, self.class_names, measured
    )
    return dataclasses.replace(found, ignore_cut=self.ignored_from(settings)), human.images

  def ignored_from(self, settings: cuts.Cuts) -> float | None:
    """The score from which labels below the cut are ignored; None makes them background."""
    return settings.ignore_cut


def label_shards(label_dir: str) -> list[str]:
  """Paths of the label shards that a manifest names."""
  manifest = manifest_lib.Manifest.load(label_dir)
  return [os.path.join(label_dir, shard.label_file) for shard in manifest.shards]


# Presentations by the config class of the self-training task they show.
PRESENTATIONS: class_registry.ClassRegistry[type[Presentation]] = class_registry.ClassRegistry(
  'presentation'
)
