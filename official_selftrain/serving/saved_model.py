"""Writes SavedModels that take images as a user has them and answer in terms of these images.

The Model Garden's serving modules do the work; this chooses the task's and keeps the caller's config untouched.
"""

import os
import shutil

import tensorflow as tf
from official.core import config_definitions as cfg
from official.vision.serving import export_saved_model_lib

from official_selftrain.core import errors
from official_selftrain.serving import modules

INPUT_TYPES = ('image_bytes', 'image_tensor')


def export_model(
  params: cfg.ExperimentConfig,
  checkpoint: str,
  directory: str,
  input_type: str = 'image_bytes',
  batch_size: int | None = None,
) -> None:
  """Writes a model as SavedModel; an older one at the same place is replaced once the new one is whole.

  The signature `serving_default` takes `inputs`: string [batch] of encoded JPEG or PNG images of any sizes, or uint8
  [batch, h, w, 3]. What it gives depends on the task, see `serving.detection` and `serving.segmentation`.

  Args:
    params: an experiment of detection or segmentation.
    checkpoint: prefix of a checkpoint, or a model directory.
    directory: where the SavedModel goes.
    input_type: one of `INPUT_TYPES`.
    batch_size: fixed batch, or None for any.

  Raises:
    ConfigError: unknown input type, or a task without an export module.
    DataError: no checkpoint.
  """
  if input_type not in INPUT_TYPES:
    raise errors.ConfigError(f'input_type is {input_type!r}: allowed are {", ".join(INPUT_TYPES)}.')
  prefix = tf.train.latest_checkpoint(checkpoint) if tf.io.gfile.isdir(checkpoint) else checkpoint
  if not prefix or not tf.io.gfile.exists(prefix + '.index'):
    raise errors.DataError(f'There is no checkpoint at {checkpoint} to export.')
  serving = params.replace()
  size = list(serving.task.model.input_size[:2])
  module = modules.MODULES.lookup(serving.task)(
    params=serving,
    batch_size=batch_size,
    input_image_size=size,
    input_type=input_type,
    input_name='inputs',
  )
  temporary = directory.rstrip('/') + '.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  export_saved_model_lib.export_inference_graph(
    input_type=input_type,
    batch_size=batch_size,
    input_image_size=size,
    params=serving,
    checkpoint_path=prefix,
    export_dir=temporary,
    export_module=module,
  )
  shutil.rmtree(directory, ignore_errors=True)
  os.replace(temporary, directory)
