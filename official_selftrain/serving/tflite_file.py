"""Writes TensorFlow Lite files that need no operators but the built-in ones, and runs them."""

import contextlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import convert
from tensorflow.lite.tools import flatbuffer_utils

from official_selftrain.core import class_names, errors, files
from official_selftrain.modeling import assembly

FILE = 'model.tflite'
# Files that an app finds in the model, as in any ZIP archive: TensorFlow Lite's way to ship the names of classes.
FACTS_FILE = 'facts.json'
# TensorFlow numbers a scope that is entered again.
_ANSWERS = re.compile(rf'\b{assembly.ANSWERS}(_\d+)?/')
_MISSING = re.compile(r"(?:Flex|Custom) ops?: ([\w, .']+)")


def write(
  function: tf.types.experimental.GenericFunction,
  weights: Sequence[tf.Variable],
  precision: str,
  examples: Sequence[np.ndarray],
  facts: Mapping[str, Any],
  path: str,
) -> None:
  """Converts a function.

  Args:
    function: with one input, `inputs` uint8 [batch, height, width, 3] of static shape, and a dictionary of outputs.
    weights: variables that it uses.
    precision: one of `targets.PRECISIONS`. With `float16` only the weights are stored so; with `int8` what can be
      computed in integers is, and inputs and outputs stay what they are.
    examples: uint8 [height, width, 3] of the function's size, to calibrate `int8`.
    facts: go into the file, with `class_names`.
    path: of the file.

  Raises:
    ConfigError: the network cannot be converted.
  """
  module = tf.Module()
  module.function = function
  module.weights = list(weights)
  concrete = function.get_concrete_function()
  converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
  converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
  if precision != 'float32':
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
  if precision == 'float16':
    converter.target_spec.supported_types = [tf.float16]
  try:
    with _quiet():
      if precision == 'int8':
        content = _quantize(converter, examples, concrete.inputs[0].shape[0])
      else:
        content = converter.convert()
  except (convert.ConverterError, ValueError, RuntimeError) as error:
    missing = _MISSING.search(str(error))
    reason = f'it has no {missing[1]}' if missing else errors.first_line(error)
    raise errors.ConfigError(
      f'This network cannot be converted to TensorFlow Lite: {reason} Use format onnx or saved_model.'
    ) from error
  files.write_bytes(path, _with_files(content, facts))


def _quantize(
  converter: tf.lite.TFLiteConverter, examples: Sequence[np.ndarray], batch: int
) -> bytes:
  """Converts the network to integers; what comes after it, coordinates and suppression, stays in float32."""
  converter.target_spec.supported_ops = [
    tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    tf.lite.OpsSet.TFLITE_BUILTINS,
  ]
  converter.representative_dataset = lambda: (
    [np.repeat(each[np.newaxis], batch, axis=0)] for each in examples
  )
  # The public way to what lies between calibration and quantisation.
  debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
  calibrated = flatbuffer_utils.convert_bytearray_to_object(debugger.calibrated_model)
  answers = []
  for graph in calibrated.subgraphs:
    for tensor in graph.tensors:
      # The names of outputs have no scope, and the loop of the suppression is a graph of its own.
      name = tensor.name.decode()
      if _ANSWERS.search(name) or '/' not in name or graph is not calibrated.subgraphs[0]:
        # Without a range from calibration it is left alone, unless a neighbour lends one to it.
        tensor.quantization = None
        answers.append(name)
  debugger.calibrated_model = bytes(flatbuffer_utils.convert_object_to_bytearray(calibrated))
  debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=answers)
  return bytes(debugger.get_nondebug_quantized_model())


def _with_files(content: bytes, facts: Mapping[str, Any]) -> bytes:
  """Appends an archive, which the interpreter does not read."""
  stream = io.BytesIO(content)
  stream.seek(0, os.SEEK_END)
  with zipfile.ZipFile(stream, 'a') as archive:
    archive.writestr(FACTS_FILE, json.dumps(facts, indent=2))
    if facts['class_names']:
      archive.writestr(class_names.ASSET, class_names.lines(facts['class_names']))
  return stream.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Hides what the converter's C++ prints, which no setting of TensorFlow does."""
  copy = os.dup(2)
  try:
    with open(os.devnull, 'w', encoding='utf-8') as nowhere:
      os.dup2(nowhere.fileno(), 2)
    yield
  finally:
    os.dup2(copy, 2)
    os.close(copy)


def caller(path: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
  """Loads a file; gives a function from `inputs` to outputs by name."""
  runner = tf.lite.Interpreter(path).get_signature_runner()

  def call(images: np.ndarray) -> dict[str, np.ndarray]:
    # What the runner gives lies in memory that the next call overwrites.
    return {name: value.copy() for name, value in runner(inputs=images).items()}

  return call
