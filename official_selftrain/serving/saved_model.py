"""Writes SavedModels that take images as a user has them and answer in terms of these images.

The Model Garden's serving modules do the work; this chooses the task's, keeps the caller's config untouched, and saves
the signature with its variables. The Model Garden saves the module, and with it the Keras model: then Keras traces
every layer by itself into functions that nobody calls, which took most of the time of an export and of the file.
"""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import tensorflow as tf
from official.core import config_definitions as cfg
from official.core import train_utils

from official_selftrain.checkpoints import restore
from official_selftrain.core import class_names, errors
from official_selftrain.modeling import precision
from official_selftrain.serving import modules

INPUT_TYPES = ('image_bytes', 'image_tensor')

# In the folder `assets` of a SavedModel: line n names class n.
CLASS_NAMES_FILE = class_names.ASSET


def export_model(
  params: cfg.ExperimentConfig,
  checkpoint: str,
  directory: str,
  input_type: str = 'image_bytes',
  batch_size: int | None = None,
  class_names: Sequence[str] = (),
) -> None:
  """Writes a model as SavedModel; an older one at the same place is replaced once the new one is whole.

  The signature `serving_default` takes `inputs`: string [batch] of encoded JPEG or PNG images of any sizes, or uint8
  [batch, h, w, 3]. What it gives depends on the task, see `serving.detection` and `serving.segmentation`. The network
  computes in the precision of `runtime.mixed_precision_dtype`; what it gives is float32 and integers. docs/export.md
  shows how to use it.

  Args:
    params: an experiment of detection or segmentation.
    checkpoint: prefix of a checkpoint, or a model directory. Averages of the weights are taken where there are some.
    directory: where the SavedModel goes.
    input_type: one of `INPUT_TYPES`.
    batch_size: fixed batch, or None for any.
    class_names: from id 1 on, the background left out. They become the asset `CLASS_NAMES_FILE`, which a loaded model
      has as `class_names.asset_path`. Without names there is no such file.

  Raises:
    ConfigError: unknown input type, a task without an export module, or names whose number is not that of the classes.
    DataError: no checkpoint.
  """
  if input_type not in INPUT_TYPES:
    raise errors.ConfigError(f'input_type is {input_type!r}: allowed are {", ".join(INPUT_TYPES)}.')
  prefix = tf.train.latest_checkpoint(checkpoint) if tf.io.gfile.isdir(checkpoint) else checkpoint
  if not prefix or not tf.io.gfile.exists(prefix + '.index'):
    raise errors.DataError(f'There is no checkpoint at {checkpoint} to export.')
  num_classes = params.task.model.num_classes
  if class_names and len(class_names) != num_classes - 1:
    raise errors.ConfigError(
      f'There are {len(class_names)} class names, but task.model.num_classes is {num_classes}: give '
      f'{num_classes - 1}, one for each class from 1 on.'
    )
  serving = params.replace()
  size = list(serving.task.model.input_size[:2])
  temporary = directory.rstrip('/') + '.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  with (
    precision.policy(params.runtime.mixed_precision_dtype),
    tempfile.TemporaryDirectory() as assets,
  ):
    module = modules.MODULES.lookup(serving.task)(
      params=serving,
      batch_size=batch_size,
      input_image_size=size,
      input_type=input_type,
      input_name='inputs',
    )
    _read(module.model, prefix)
    signature = {input_type: tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY}
    signatures = module.get_inference_signatures(signature)
    saved = tf.Module()
    # Only now: a head without a decoder makes its variables when it is traced.
    restore.take_averages(tf.train.Checkpoint(model=module.model), prefix)
    saved.weights = module.model.weights
    if class_names:
      names = pathlib.Path(assets, CLASS_NAMES_FILE)
      names.write_text('\n'.join(class_names) + '\n', encoding='utf-8')
      saved.class_names = tf.saved_model.Asset(str(names))
    tf.saved_model.save(saved, temporary, signatures=signatures)
  train_utils.serialize_config(serving, temporary)
  shutil.rmtree(directory, ignore_errors=True)
  os.replace(temporary, directory)


def _read(model: tf.keras.Model, prefix: str) -> None:
  """Puts the values of a checkpoint into a model, which must find all of its own there."""
  status = tf.train.Checkpoint(model=model).read(prefix)
  status.assert_existing_objects_matched().expect_partial()
