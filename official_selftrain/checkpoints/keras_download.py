"""Weights that Keras Applications offers for download."""

import os

import tensorflow as tf

from official_selftrain.core import errors

_ADDRESS = 'https://storage.googleapis.com/keras-applications'
# Keras wraps what the network does in a plain exception with this text.
_KERAS_FAILURE = 'URL fetch failure'


def source(model_id: str) -> str:
  """The call that downloads, for a report."""
  return f"tf.keras.applications.EfficientNet{model_id.upper()}(weights='imagenet')"


def download(model_id: str, path: str) -> None:
  """Lets Keras download an EfficientNet trained on ImageNet, check its digest, and write it again.

  The download is kept in Keras's cache, usually ~/.keras/models, and not repeated.

  Args:
    model_id: `b0` to `b7`.
    path: the .h5 file to write; the same weights give the same bytes.

  Raises:
    DataError: the download failed.
  """
  build = getattr(tf.keras.applications, f'EfficientNet{model_id.upper()}')
  try:
    network = build(weights='imagenet', include_top=False)
  except Exception as error:
    if not isinstance(error, OSError) and _KERAS_FAILURE not in str(error):
      raise
    file = f'efficientnet{model_id}_notop.h5'
    raise errors.DataError(
      f'Keras could not download {file} ({errors.first_line(error)}). On a machine with a network, fetch '
      f'{_ADDRESS}/{file}, and give it as --weights={file}.'
    ) from error
  os.makedirs(os.path.dirname(path), exist_ok=True)
  network.save_weights(path)
