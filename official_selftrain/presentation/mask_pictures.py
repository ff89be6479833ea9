"""Masks while a network is trained: those that its inputs teach, and those that its evaluations find."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.configs import segmentation as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import segmentation as parsing
from official_selftrain.evaluation import detections
from official_selftrain.presentation import task_pictures
from official_selftrain.report import contents
from official_selftrain.tasks import contract
from official_selftrain.tasks import segmentation as tasks


@task_pictures.PICTURES.register(configs.SegmentationTask)
class SegmentationPictures(task_pictures.TaskPictures[tasks.SegmentationTask]):
  """Pictures and figures of segmentation."""

  def inputs(self, features: tf.Tensor, labels: Mapping[str, Any]) -> list[contents.Tile]:
    """See `TaskPictures`; pixels that do not count are hatched."""
    masks = labels['masks'].numpy()[..., 0].astype(np.uint8)
    return [
      contents.Tile(image, mask=mask)
      for image, mask in zip(task_pictures.pixels(features), masks, strict=True)
    ]

  def watch(self, examples: Iterable[contract.Example]) -> None:
    """See `TaskPictures`."""
    self._watched = {int(parsing.image_id(each['image'])): each for each in examples}
    self.task.watch(self._watched)

  def findings(self) -> list[tuple[contents.Tile, ...]]:
    """See `TaskPictures`."""
    masks = self.task.evaluation_masks()
    tiles: list[tuple[contents.Tile, ...]] = []
    for image_id, example in self._watched.items():
      if image_id in masks:
        image, true = example['image'].numpy(), example[keys.SEMANTIC_MASK].numpy()[..., 0]
        height, width = true.shape
        found = masks[image_id][:height, :width]
        tiles.append((contents.Tile(image, mask=true), contents.Tile(image, mask=found)))
    return tiles

  def confusion(self, details: Mapping[str, Any]) -> task_pictures.Confusion | None:
    """See `TaskPictures`; pixels."""
    names = map(self.task.class_label, range(self.task.task_config.model.num_classes))
    return task_pictures.Confusion(tuple(names), np.array(details['confusion'], np.int64))

  def curves(self, thresholds: np.ndarray) -> dict[str, detections.Curve]:
    """See `TaskPictures`: each pixel has the class of its best score, so there is no threshold."""
    del thresholds
    return {}
