"""Exported models: what they are for, and what they say of encoded images."""

import os
import pathlib
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import tensorflow as tf

from official_selftrain.core import class_names, errors, files, override_text
from official_selftrain.ops import masks
from official_selftrain.pseudo_labels.exporters import base

Task: TypeAlias = Literal['detection', 'segmentation']
Prediction: TypeAlias = base.Boxes | base.Mask

_EXPORT = 'export'
_GRAPH = 'saved_model.pb'
_PARAMS = 'params.yaml'


class Model:
  """A SavedModel of `official_selftrain.export` that takes encoded images.

  Attributes:
    path: its folder.
    task: what it predicts.
    class_names: from class 1 on; the ids where the export has no names.
    digest: of its graph and weights.
    batch_size: what it was exported for; None for any.
  """

  def __init__(self, given: str):
    """Loads a model.

    Args:
      given: a SavedModel, or the directory of a run that has one.

    Raises:
      ConfigError: it is neither, or does not take encoded images.
      DataError: it cannot be loaded.
    """
    self.path = _find(given)
    try:
      # The functions of a model live as long as the object that was loaded.
      self._loaded = tf.saved_model.load(self.path)
    except (OSError, ValueError, tf.errors.OpError) as error:
      raise errors.DataError(
        f'--model: {self.path} cannot be loaded ({errors.first_line(error)}). Export the model again.'
      ) from error
    self._predict = self._loaded.signatures[tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
    inputs = self._predict.structured_input_signature[1].get('inputs')
    outputs = self._predict.structured_outputs
    if (
      inputs is None
      or inputs.dtype != tf.string
      or not {'classes', 'num_detections'} & set(outputs)
    ):
      raise errors.ConfigError(
        f'--model: {self.path} does not take image files, or leaves suppression to you. Export it with '
        'python -m official_selftrain.export --input_type=image_bytes --nms=inside.'
      )
    self.task: Task = 'detection' if 'num_detections' in outputs else 'segmentation'
    self.batch_size: int | None = inputs.shape[0]
    self.class_names = class_names.of_model(self.path) or _ids(self.path)
    self.digest = _digest(self.path)

  def __call__(self, encoded: Sequence[bytes]) -> list[Prediction]:
    """Predictions for images, each relative to its own image; no more images than `batch_size`.

    Raises:
      tf.errors.InvalidArgumentError: an image cannot be decoded.
    """
    missing = (self.batch_size or len(encoded)) - len(encoded)
    found = self._predict(inputs=tf.constant([*encoded, *[encoded[0]] * missing]))
    arrays = {name: value.numpy() for name, value in found.items()}
    one = _boxes if self.task == 'detection' else _mask
    return [one({name: value[i] for name, value in arrays.items()}) for i in range(len(encoded))]


def _find(given: str) -> str:
  for path in (given, os.path.join(given, _EXPORT)):
    if os.path.isfile(os.path.join(path, _GRAPH)):
      return path
  if os.path.isfile(os.path.join(given, _PARAMS)):
    raise errors.ConfigError(
      f'--model: the run {given} has no exported model. Make one: python -m official_selftrain.export --run={given} '
      f'--output={os.path.join(given, _EXPORT)}'
    )
  raise errors.ConfigError(f'--model: {given} is neither an exported model nor a run that has one.')


def _ids(path: str) -> tuple[str, ...]:
  """Ids of the classes of a model without names."""
  settings = override_text.read_override_file(os.path.join(path, _PARAMS))
  return tuple(str(number) for number in range(1, settings['task']['model']['num_classes']))


def _digest(path: str) -> str:
  weights = pathlib.Path(path, 'variables').iterdir()
  parts = sorted([pathlib.Path(path, _GRAPH), *weights])
  named = [(each.relative_to(path).as_posix(), files.sha256(each)) for each in parts]
  return files.digest_of(named)


def _boxes(found: dict[str, np.ndarray]) -> base.Boxes:
  number = int(found['num_detections'])
  rows = zip(
    found['detection_classes'][:number].tolist(),
    map(base.shortest, found['detection_scores'][:number]),
    np.clip(found['detection_boxes'][:number].astype(np.float64), 0.0, 1.0).tolist(),
    strict=True,
  )
  return base.Boxes(
    tuple(
      base.Box(class_id, score, False, *box)
      for class_id, score, box in rows
      if score > 0 and box[2] > box[0] and box[3] > box[1]
    )
  )


def _mask(found: dict[str, np.ndarray]) -> base.Mask:
  height, width = found['image_sizes'].tolist()
  steps = np.rint(found['confidences'][:height, :width] * masks.CONFIDENCE_STEPS)
  return base.Mask(found['classes'][:height, :width], steps.astype(np.uint8))
