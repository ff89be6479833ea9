"""Writes ONNX files with tf2onnx, and runs them with ONNX Runtime."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, files

FILE = 'model.onnx'
# ONNX Runtime knows it since 1.11 of 2022.
_OPSET = 16
_AXES = ('batch', 'height', 'width')


def write(
  function: tf.types.experimental.GenericFunction, facts: Mapping[str, Any], path: str
) -> None:
  """Converts a function.

  Args:
    function: with one input, `inputs`, and a dictionary of outputs.
    facts: become metadata of the model, values other than text as JSON.
    path: of the file.

  Raises:
    ConfigError: a package is missing, or the network cannot be converted.
  """
  try:
    import onnx
    import onnxruntime  # noqa: F401  # Before minutes of work.
    import tf2onnx
  except ImportError as error:
    raise errors.ConfigError(
      f'format onnx: {error}. Install what it needs: pip install "official-selftrain[onnx]"'
    ) from error
  logging.getLogger('tf2onnx').setLevel(logging.CRITICAL)
  try:
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=_OPSET)
  except Exception as error:  # It raises what its parts raise.
    raise errors.ConfigError(
      f'This network cannot be converted to ONNX: {errors.first_line(error)} Use format tflite or saved_model.'
    ) from error
  properties = {
    name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()
  }
  onnx.helper.set_model_props(model, properties)
  for value in (*model.graph.input, *model.graph.output):
    for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
      if dimension.dim_param:
        dimension.dim_param = _AXES[axis]
  files.write_bytes(path, model.SerializeToString())


def caller(path: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
  """Loads a file; gives a function from `inputs` to outputs by name, on the CPU."""
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3
  session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
  names = [output.name for output in session.get_outputs()]

  def call(images: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(names, session.run(names, {'inputs': images}), strict=True))

  return call
