"""Exports a model in any format, and checks what was written against the model.

A model becomes one graph with its weights, by the Model Garden's serving modules. For a SavedModel this is its
signature; the other formats are converted from `answer_pixels` of the module. Then the files are read back, as a user
would, and their answers on images of the user are compared with the model's. Only what agrees gets its place.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from official.core import config_definitions as cfg
from official.core import train_utils
from official.vision.serving import export_base

import official_selftrain
from official_selftrain.checkpoints import restore
from official_selftrain.core import class_names as names_lib
from official_selftrain.core import errors, files, memory
from official_selftrain.modeling import precision
from official_selftrain.serving import (
  agreement,
  example_images,
  modules,
  onnx_file,
  saved_model,
  targets,
  tflite_file,
)

CHECK_FILE = 'check.json'
# One of these is in every export.
_PRODUCTS = frozenset({'saved_model.pb', onnx_file.FILE, tflite_file.FILE})
# A protocol buffer, which an ONNX file is, ends at 2 GiB.
_MOST_BYTES = 2_000_000_000
# All boxes with all scores of an image take tens of megabytes.
_MOST_WITHOUT_NMS = 8

# From uint8 [batch, h, w, 3].
Caller: TypeAlias = Callable[[np.ndarray], agreement.Answers]


def export_model(
  params: cfg.ExperimentConfig,
  checkpoint: str,
  directory: str,
  target: targets.Target | None = None,
  class_names: Sequence[str] = (),
  images: Sequence[np.ndarray] = (),
) -> agreement.Agreement | None:
  """Writes a model; an older one at the same place is replaced once the new one is whole and agrees.

  docs/export.md shows what lies in the folder and how to use it.

  Args:
    params: an experiment of detection or segmentation.
    checkpoint: prefix of a checkpoint, or a model directory. Averages of the weights are taken where there are some.
    directory: where the export goes.
    target: what it is to look like; a SavedModel if None.
    class_names: from id 1 on, the background left out. Without names the export has none.
    images: uint8 [height, width, 3] each, to compare on; `int8` is calibrated on them, too.

  Returns:
    How well the export agrees with the model, also written to `CHECK_FILE`; None without images.

  Raises:
    ConfigError: a folder with something else than an earlier export in it, a target that the task or the format cannot
      be, a task without an export module, names whose number is not that of the classes, packages that are missing, or
      a network that the format cannot express.
    DataError: no checkpoint, no images for `int8`, or an export that does not agree.
  """
  target = target or targets.Target()
  target.check(params.task.data_kind)
  _check_replaceable(directory)
  prefix = tf.train.latest_checkpoint(checkpoint) if tf.io.gfile.isdir(checkpoint) else checkpoint
  if not prefix or not tf.io.gfile.exists(prefix + '.index'):
    raise errors.DataError(f'There is no checkpoint at {checkpoint} to export.')
  num_classes = params.task.model.num_classes
  if class_names and len(class_names) != num_classes - 1:
    raise errors.ConfigError(
      f'There are {len(class_names)} class names, but task.model.num_classes is {num_classes}: give '
      f'{num_classes - 1}, one for each class from 1 on.'
    )
  if target.precision == 'int8' and not images:
    raise errors.DataError(
      'precision is int8, and there are no images to calibrate it on: name some.'
    )
  serving = params.replace()
  if target.nms == 'none':
    serving.task.model.detection_generator.apply_nms = False
  # The other formats compute in float32.
  dtype = params.runtime.mixed_precision_dtype if target.format == 'saved_model' else None
  with precision.policy(dtype), _replacing(directory) as temporary:
    module = _module(serving, prefix, target)
    if target.format == 'saved_model':
      call = _write_saved_model(module, prefix, target, class_names, temporary)
    else:
      call = _write_converted(module, prefix, target, class_names, images, temporary)
    train_utils.serialize_config(serving, temporary)
    if not images:
      return None
    is_mixed = dtype not in (None, 'float32')
    computed = agreement.MIXED if is_mixed else target.precision
    found = _compare(module, call, target, images, computed)
    if found.is_wrong:
      raise errors.DataError(
        f'The export does not agree with the model, {found.sentence()}. It was not written; use another format, and '
        'please report this with the settings of the model.'
      )
    files.write_json(os.path.join(temporary, CHECK_FILE), found.facts())
  return found


def _check_replaceable(directory: str) -> None:
  """Raises ConfigError for a folder that holds something else than an export, which would be lost."""
  if os.path.isfile(directory):
    raise errors.ConfigError(f'{directory} is a file: an export is a folder. Name another one.')
  found = set(os.listdir(directory)) if os.path.isdir(directory) else set()
  if found and (not found & _PRODUCTS or 'checkpoint' in found):
    raise errors.ConfigError(
      f'{directory} has files in it and is no earlier export, so it is not replaced. Name another folder.'
    )


@contextlib.contextmanager
def _replacing(directory: str) -> Iterator[str]:
  """A folder that takes the place of another one when all went well."""
  temporary = directory.rstrip('/') + '.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  os.makedirs(temporary)
  try:
    yield temporary
    shutil.rmtree(directory, ignore_errors=True)
    os.replace(temporary, directory)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _module(
  params: cfg.ExperimentConfig, prefix: str, target: targets.Target
) -> export_base.ExportModule:
  """The task's serving module with the values of a checkpoint, in which it must find all of its own."""
  module = modules.MODULES.lookup(params.task)(
    params=params,
    batch_size=target.batch_size,
    input_image_size=list(params.task.model.input_size[:2]),
    input_type=target.input_type,
    input_name='inputs',
  )
  try:
    status = tf.train.Checkpoint(model=module.model).read(prefix)
    status.assert_existing_objects_matched().expect_partial()
  # The one for shapes that differ, the other for variables that the checkpoint does not have.
  except (ValueError, AssertionError) as error:
    raise errors.DataError(
      f'{prefix} does not hold all weights of the network of this run: was it trained with other settings of '
      f'task.model? ({errors.first_line(error)})'
    ) from error
  return module


def _take_averages(module: export_base.ExportModule, prefix: str) -> None:
  """Only after tracing: a head without a decoder makes its variables when it is traced."""
  restore.take_averages(tf.train.Checkpoint(model=module.model), prefix)


def _write_saved_model(
  module: export_base.ExportModule,
  prefix: str,
  target: targets.Target,
  class_names: Sequence[str],
  directory: str,
) -> Caller:
  key = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
  signatures = module.get_inference_signatures({target.input_type: key})
  _take_averages(module, prefix)
  saved_model.write(module.model.weights, signatures, class_names, directory)
  return saved_model.caller(directory)


def _write_converted(
  module: export_base.ExportModule,
  prefix: str,
  target: targets.Target,
  class_names: Sequence[str],
  images: Sequence[np.ndarray],
  directory: str,
) -> Caller:
  model = module.params.task.model
  shape = target.image_shape(model.input_size)
  spec = tf.TensorSpec(shape, tf.uint8, name='inputs')
  # Without AutoGraph, which would wrap our errors: nothing there depends on the values of tensors.
  function = tf.function(module.answer_pixels, input_signature=[spec], autograph=False)
  function.get_concrete_function()
  _take_averages(module, prefix)
  weights = module.model.weights
  size = sum(int(np.prod(each.shape)) * each.dtype.size for each in weights)
  if size > _MOST_BYTES:
    raise errors.ConfigError(
      f'The network has {memory.gibibytes(size)} of weights, too many for one file of format {target.format}, '
      'which ends at 2 GiB. Use format saved_model.'
    )
  if class_names:
    files.write_text(os.path.join(directory, names_lib.ASSET), names_lib.lines(class_names))
  facts = _facts(module, target, shape, class_names)
  if target.format == 'onnx':
    path = os.path.join(directory, onnx_file.FILE)
    onnx_file.write(function, facts, path)
    return onnx_file.caller(path)
  path = os.path.join(directory, tflite_file.FILE)
  examples = [example_images.to_size(image, shape[1:3]) for image in images]
  tflite_file.write(function, weights, target.precision, examples, facts, path)
  return tflite_file.caller(path)


def _facts(
  module: export_base.ExportModule,
  target: targets.Target,
  shape: Sequence[int | None],
  class_names: Sequence[str],
) -> dict[str, object]:
  """What a program must know of a model that it finds without its folder."""
  return {
    'made_by': f'official_selftrain {official_selftrain.__version__}',
    'task': module.params.task.data_kind,
    'experiment': module.params.experiment,
    'inputs': 'RGB, 0 to 255, uint8 [batch, height, width, 3]; scaling, padding and normalisation are inside',
    'inputs_shape': list(shape),
    'network_input': list(module.params.task.model.input_size),
    'boxes': 'ymin, xmin, ymax, xmax relative to the image, 0 to 1',
    'classes': 'from 1; 0 is the background',
    'class_names': list(class_names),
    'nms': target.nms,
    'precision': target.precision,
  }


def _compare(
  module: export_base.ExportModule,
  call: Caller,
  target: targets.Target,
  images: Sequence[np.ndarray],
  computed: str,
) -> agreement.Agreement:
  """Asks model and export, which computes in `computed`; if any batch will do, for an image with its mirror image."""
  network = module.params.task.model.input_size
  if target.nms == 'none':
    images = images[:_MOST_WITHOUT_NMS]
  expected: list[agreement.Answers] = []
  found: list[agreement.Answers] = []
  for image in images:
    if target.format != 'saved_model':
      image = example_images.to_size(image, target.image_shape(network)[1:3])
    batch = np.stack([image, image[:, ::-1]])
    if target.format == 'tflite' or target.batch_size:
      batch = np.repeat(image[np.newaxis], target.batch_size or 1, axis=0)
    if target.input_type == 'image_bytes':
      encoded = tf.stack([tf.io.encode_png(each) for each in batch])
      ours = module.inference_from_image_bytes(encoded)
    else:
      ours = module.inference_from_image_tensors(tf.constant(batch))
    theirs = call(batch)
    rows = range(min(len(batch), 2))
    expected += [{name: value[row].numpy() for name, value in ours.items()} for row in rows]
    found += [{name: value[row] for name, value in theirs.items()} for row in rows]
  model = module.params.task.model
  is_detector = hasattr(model, 'detection_generator')
  threshold = model.detection_generator.pre_nms_score_threshold if is_detector else 0.0
  return agreement.compare(expected, found, len(images), network, computed, threshold)
