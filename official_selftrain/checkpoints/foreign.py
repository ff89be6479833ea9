"""Reads weight files of other libraries as named arrays.

Nothing in a file is executed: pickles, which can run any code, are recognised by their first bytes and refused.
"""

import enum
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping

import h5py  # type: ignore[import-untyped]
import numpy as np

from official_selftrain.core import errors

Arrays = Mapping[str, np.ndarray]

# What a damaged file makes the two libraries raise.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
_MAGIC_BYTES = 512
_CONVERSION = (
  "Convert the file where PyTorch is: python -c \"import numpy, torch; numpy.savez('weights.npz', **{name: "
  "value.numpy() for name, value in torch.load('weights.pth', map_location='cpu', weights_only=True).items()})\""
)


class _Kind(enum.Enum):
  """What a file is, in words."""

  H5 = 'an HDF5 file'
  NPZ = 'a NumPy archive (.npz)'
  ARRAY = 'a single NumPy array (.npy)'
  PICKLE = 'a Python pickle, such as torch.save writes'
  PAGE = 'a web page or another text with tags; the download may have failed'
  ZIP = 'a zip archive without arrays'
  EMPTY = 'empty'
  UNKNOWN = 'of an unknown kind'


def read_npz(path: str) -> dict[str, np.ndarray]:
  """Arrays of a NumPy archive by name.

  Args:
    path: a file that `numpy.savez` or `numpy.savez_compressed` wrote.

  Returns:
    Every array of the file, as it is there.

  Raises:
    DataError: there is no such file, it is of another kind or damaged, or it holds Python objects.
  """
  _check_kind(path, _Kind.NPZ)
  try:
    with np.load(path, allow_pickle=False) as archive:
      return {name: archive[name] for name in archive.files}
  except _DAMAGED as error:
    raise _damaged(path, error) from error


def read_h5(path: str) -> dict[str, np.ndarray]:
  """Arrays of a weight file of Keras 2 by layer and variable.

  Args:
    path: a file that `save_weights('x.h5')` or `save('x.h5')` of a Keras model wrote, such as those of Keras
      Applications.

  Returns:
    Every array of the file, as it is there; names are such as `stem_conv/kernel`.

  Raises:
    DataError: there is no such file, it is of another kind or layout, or damaged.
  """
  _check_kind(path, _Kind.H5)
  try:
    with h5py.File(path, 'r') as file:
      root = file.get('model_weights', file)
      return dict(_keras_2_arrays(root, path))
  except errors.DataError:
    raise
  except _DAMAGED as error:
    raise _damaged(path, error) from error


def _keras_2_arrays(root: h5py.Group, path: str) -> Iterator[tuple[str, np.ndarray]]:
  layers = root.attrs.get('layer_names')
  if layers is None:
    raise errors.DataError(
      f'{path} has no list of layers (layer_names): it is not a weight file of Keras 2. Files of Keras 3 '
      "(.weights.h5) do not name their layers; load them into the model there and write save_weights('weights.h5') "
      'with TensorFlow 2.15.'
    )
  for layer in map(_text, layers):
    group = root[layer]
    for weight in map(_text, group.attrs['weight_names']):
      leaf = weight.split('/')[-1].split(':')[0]
      yield f'{layer}/{leaf}', np.asarray(group[weight][()])


def _text(name: str | bytes) -> str:
  return name.decode() if isinstance(name, bytes) else str(name)


def _damaged(path: str, error: Exception) -> errors.DataError:
  return errors.DataError(f'{path} cannot be read: {errors.first_line(error)}')


def _check_kind(path: str, wanted: _Kind) -> None:
  """Raises DataError unless the first bytes of a file are those of its kind."""
  if not os.path.isfile(path):
    raise errors.DataError(f'There is no file at {path}.')
  kind = _kind(path)
  if kind is wanted:
    return
  advice = ''
  if kind is _Kind.PICKLE:
    advice = f' Pickles can run any code, so they are not read. {_CONVERSION}'
  raise errors.DataError(f'{path} is {kind.value}, not {wanted.value}.{advice}')


def _kind(path: str) -> _Kind:
  with open(path, 'rb') as stream:
    start = stream.read(_MAGIC_BYTES)
  if not start:
    return _Kind.EMPTY
  if start.startswith(b'PK'):
    return _kind_of_zip(path)
  by_magic = {
    b'\x89HDF\r\n\x1a\n': _Kind.H5,
    b'\x93NUMPY': _Kind.ARRAY,
    # The first operation of every pickle since protocol 2.
    b'\x80': _Kind.PICKLE,
  }
  if start.lstrip().startswith(b'<'):
    return _Kind.PAGE
  return next((kind for magic, kind in by_magic.items() if start.startswith(magic)), _Kind.UNKNOWN)


def _kind_of_zip(path: str) -> _Kind:
  try:
    with zipfile.ZipFile(path) as archive:
      names = archive.namelist()
  except _DAMAGED as error:
    raise _damaged(path, error) from error
  if any(name.endswith('.pkl') for name in names):
    return _Kind.PICKLE
  return _Kind.NPZ if names and all(name.endswith('.npy') for name in names) else _Kind.ZIP
