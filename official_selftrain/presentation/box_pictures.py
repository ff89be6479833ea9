"""Boxes while a detector is trained: those that its inputs teach, and those that its evaluations find."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.configs import detection as configs
from official_selftrain.core import class_names as names_lib
from official_selftrain.core import keys
from official_selftrain.dataloaders import detection as parsing
from official_selftrain.evaluation import detections
from official_selftrain.presentation import task_pictures
from official_selftrain.report import contents
from official_selftrain.tasks import contract
from official_selftrain.tasks import detection as tasks

# Detections below it are neither drawn nor counted as confusions.
SHOWN_SCORE = 0.3


@task_pictures.PICTURES.register(configs.DetectionTask)
class DetectionPictures(task_pictures.TaskPictures[tasks.DetectionTask]):
  """Pictures and figures of detection."""

  def inputs(self, features: tf.Tensor, labels: Mapping[str, Any]) -> list[contents.Tile]:
    """See `TaskPictures`; boxes are those that some anchor learns."""
    taught = parsing.taught_boxes(self.task.task_config.model, labels)
    return [
      contents.Tile(image, self._boxes(boxes, classes))
      for image, (boxes, classes) in zip(task_pictures.pixels(features), taught, strict=True)
    ]

  def watch(self, examples: Iterable[contract.Example]) -> None:
    """See `TaskPictures`."""
    # Evaluation takes only ids that are numbers.
    self._watched = {int(each['source_id'].numpy()): each for each in examples}

  def findings(self) -> list[tuple[contents.Tile, ...]]:
    """See `TaskPictures`; boxes of some score, the surest on top."""
    tallies, boxes = self.task.evaluation_tallies(), self.task.evaluation_boxes()
    if not tallies:
      return []
    places = {image_id: place for place, image_id in enumerate(tallies['image_ids'].tolist())}
    tiles: list[tuple[contents.Tile, ...]] = []
    for image_id, example in self._watched.items():
      if image_id not in places:
        continue
      rows = (tallies['image'] == places[image_id]) & (tallies['score'] >= SHOWN_SCORE)
      found = np.flatnonzero(rows)[np.argsort(tallies['score'][rows], kind='stable')]
      image = example['image'].numpy()
      true = example[keys.GROUNDTRUTH_BOXES].numpy() * np.tile(image.shape[:2], 2)
      classes = tallies['category_ids'][tallies['category'][found]]
      drawn = self._boxes(boxes['box'][found], classes, tallies['score'][found])
      truth = self._boxes(true, example[keys.GROUNDTRUTH_CLASSES].numpy())
      tiles.append((contents.Tile(image, truth), contents.Tile(image, drawn)))
    return tiles

  def confusion(self, details: Mapping[str, Any]) -> task_pictures.Confusion | None:
    """See `TaskPictures` and `evaluation.detections.confusion`."""
    del details
    tallies = self.task.evaluation_tallies()
    if not tallies or not len(tallies['category_ids']):
      return None
    counts = detections.confusion(tallies, self.task.evaluation_boxes(), SHOWN_SCORE)
    # What is no object comes first, as the background does in masks.
    names = ('none', *map(self._name, tallies['category_ids'].tolist()))
    return task_pictures.Confusion(names, np.roll(counts, 1, axis=(0, 1)))

  def curves(self, thresholds: np.ndarray) -> dict[str, detections.Curve]:
    """See `TaskPictures`."""
    tallies = self.task.evaluation_tallies()
    if not tallies:
      return {}
    found = detections.curves(tallies, thresholds)
    return {self._name(class_id): curve for class_id, curve in found.items()}

  def _name(self, class_id: int) -> str:
    return names_lib.name_of(self.task.class_names, class_id)

  def _boxes(
    self, boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray | None = None
  ) -> tuple[contents.Box, ...]:
    """Boxes to draw, yxyx in pixels: those with scores as a model's, others as truth."""
    kind: contents.Kind = 'truth' if scores is None else 'student'
    shown_scores = [None] * len(boxes) if scores is None else scores.tolist()
    return tuple(
      contents.Box(ymin, xmin, ymax, xmax, self._name(class_id), score, kind)
      for (ymin, xmin, ymax, xmax), class_id, score in zip(
        boxes.tolist(), classes.tolist(), shown_scores, strict=True
      )
    )
