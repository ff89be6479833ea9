"""Writes a SavedModel that takes images as a user has them and gives boxes relative to them.

The Model Garden's serving module does the work; this chooses its settings and keeps the caller's config untouched.
"""

import os
import shutil

import tensorflow as tf
from official.core import config_definitions as cfg
from official.vision.serving import export_saved_model_lib

from official_selftrain.core import errors

INPUT_TYPES = ('image_bytes', 'image_tensor')


def export_detector(
  params: cfg.ExperimentConfig,
  checkpoint: str,
  directory: str,
  input_type: str = 'image_bytes',
  batch_size: int | None = None,
) -> None:
  """Writes a detector as SavedModel; an older one at the same place is replaced once the new one is whole.

  The signature `serving_default` takes `inputs`: string [batch] of encoded JPEG or PNG images, or uint8
  [batch, h, w, 3]. It gives `detection_boxes` float32 [batch, n, 4], yxyx relative to the image's sides,
  `detection_scores` float32 [batch, n], `detection_classes` int [batch, n] and `num_detections` int [batch].

  Args:
    params: an experiment with a RetinaNet task.
    checkpoint: prefix of a checkpoint, or a model directory.
    directory: where the SavedModel goes.
    input_type: one of `INPUT_TYPES`.
    batch_size: fixed batch, or None for any.

  Raises:
    ConfigError: unknown input type.
    DataError: no checkpoint.
  """
  if input_type not in INPUT_TYPES:
    raise errors.ConfigError(f'input_type is {input_type!r}: allowed are {", ".join(INPUT_TYPES)}.')
  prefix = tf.train.latest_checkpoint(checkpoint) if tf.io.gfile.isdir(checkpoint) else checkpoint
  if not prefix or not tf.io.gfile.exists(prefix + '.index'):
    raise errors.DataError(f'There is no checkpoint at {checkpoint} to export.')
  serving = params.replace()
  serving.task.export_config.output_normalized_coordinates = True
  temporary = directory.rstrip('/') + '.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  export_saved_model_lib.export_inference_graph(
    input_type=input_type,
    batch_size=batch_size,
    input_image_size=list(serving.task.model.input_size[:2]),
    params=serving,
    checkpoint_path=prefix,
    export_dir=temporary,
    input_name='inputs',
  )
  shutil.rmtree(directory, ignore_errors=True)
  os.replace(temporary, directory)
