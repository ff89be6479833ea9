"""Puts the parts of a detector together."""

from typing import Any

import tensorflow as tf
from official.vision.modeling import retinanet_model

from official_selftrain.modeling import detection_generator


def retinanet(
  model: Any, backbone: tf.keras.Model, decoder: tf.keras.Model | None, head: tf.keras.layers.Layer
) -> tf.keras.Model:
  """The Model Garden's `RetinaNetModel` around these parts, with our detection generator.

  Args:
    model: `task.model`, a `configs.detection.DetectionModel`.
    backbone: from images to features by level.
    decoder: from these to features of one width, or None.
    head: from these to classes, boxes and attributes by level.

  Returns:
    The model.
  """
  return retinanet_model.RetinaNetModel(
    backbone,
    decoder,
    head,
    detection_generator.build(model),
    min_level=model.min_level,
    max_level=model.max_level,
    **model.anchor.as_dict(),
  )
