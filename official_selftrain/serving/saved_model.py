"""Writes SavedModels that take images as a user has them and answer in terms of these images.

The Model Garden's serving modules do the work; this saves the signature with its variables. The Model Garden saves the
module, and with it the Keras model: then Keras traces every layer by itself into functions that nobody calls, which
took most of the time of an export and of the file.
"""

import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_selftrain.core import class_names as names_lib


def write(
  weights: Sequence[tf.Variable],
  signatures: Mapping[str, tf.types.experimental.GenericFunction],
  class_names: Sequence[str],
  directory: str,
) -> None:
  """Writes a SavedModel.

  Args:
    weights: variables of the signatures.
    signatures: functions by name. `serving_default` takes `inputs`: string [batch] of encoded JPEG or PNG images of any
      sizes, or uint8 [batch, h, w, 3]. What it gives depends on the task, see `serving.detection` and
      `serving.segmentation`.
    class_names: from id 1 on. They become the asset `class_names.ASSET`, which a loaded model has as
      `class_names.asset_path`. Without names there is no such file.
    directory: of the SavedModel.
  """
  saved = tf.Module()
  saved.weights = list(weights)
  with tempfile.TemporaryDirectory() as assets:
    if class_names:
      names = pathlib.Path(assets, names_lib.ASSET)
      names.write_text(names_lib.lines(class_names), encoding='utf-8')
      saved.class_names = tf.saved_model.Asset(str(names))
    tf.saved_model.save(saved, directory, signatures=signatures)


def caller(directory: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
  """Loads a SavedModel; gives a function from pixels, uint8 [batch, height, width, 3], to outputs by name."""
  loaded = tf.saved_model.load(directory)
  signature = loaded.signatures[tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
  is_encoded = signature.structured_input_signature[1]['inputs'].dtype == tf.string

  def call(images: np.ndarray) -> dict[str, np.ndarray]:
    given = [tf.io.encode_png(each) for each in images] if is_encoded else images
    answers = signature(inputs=tf.stack(given) if is_encoded else tf.constant(given))
    return {name: value.numpy() for name, value in answers.items()}

  # The functions of a model live as long as the object that was loaded.
  call.loaded = loaded  # type: ignore[attr-defined]
  return call
