"""What a task looks like while it is trained: its augmented inputs, and what its evaluations find."""

import abc
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import tensorflow as tf

from official_selftrain.core import class_registry
from official_selftrain.evaluation import detections
from official_selftrain.ops import images
from official_selftrain.report import contents
from official_selftrain.tasks import contract

_Task = TypeVar('_Task')


@dataclasses.dataclass(frozen=True, eq=False)
class Confusion:
  """Which classes are taken for which.

  Attributes:
    names: of the classes, the first for the background, or for no object at all.
    counts: int64 [classes, classes], true class by predicted class.
  """

  names: tuple[str, ...]
  counts: np.ndarray


class TaskPictures(abc.ABC, Generic[_Task]):
  """Pictures and figures of a task that is being trained.

  Attributes:
    task: the task; its evaluator must be built before `watch`.
  """

  def __init__(self, task: _Task):
    """Takes the task."""
    self.task = task
    # By the id that the task's evaluator knows them by.
    self._watched: dict[int, contract.Example] = {}

  @abc.abstractmethod
  def inputs(self, features: tf.Tensor, labels: Mapping[str, Any]) -> list[contents.Tile]:
    """The images of a training batch as the network sees them, with what their labels teach.

    Args:
      features: normalised images, float [batch, height, width, 3].
      labels: of the same batch, see the task's parser.
    """

  @abc.abstractmethod
  def watch(self, examples: Iterable[contract.Example]) -> None:
    """Chooses the images of `findings`.

    Args:
      examples: what the task's `decoded_validation_example` gives.
    """

  @abc.abstractmethod
  def findings(self) -> list[tuple[contents.Tile, ...]]:
    """Two tiles for each watched image: the truth, and what the last evaluation found."""

  @abc.abstractmethod
  def confusion(self, details: Mapping[str, Any]) -> Confusion | None:
    """Of the last evaluation; None where there is nothing to count.

    Args:
      details: the task's `evaluation_details`. To read a metric is an operation of all workers; only the chief is here.
    """

  @abc.abstractmethod
  def curves(self, thresholds: np.ndarray) -> dict[str, detections.Curve]:
    """Precision and recall of the last evaluation by name of the class; empty for a task without scores."""


# By the class of the task's config.
PICTURES: class_registry.ClassRegistry[type[TaskPictures]] = class_registry.ClassRegistry(
  'task pictures'
)


def of(task: object, config: object) -> TaskPictures | None:
  """The pictures of a task with this config; None for a kind of task that has none."""
  kind = PICTURES.find(config)
  return kind(task) if kind else None


def pixels(features: tf.Tensor) -> np.ndarray:
  """uint8 [batch, height, width, 3] of normalised images, float [batch, height, width, 3]."""
  return tf.cast(images.denormalize(tf.cast(features, tf.float32)), tf.uint8).numpy()
