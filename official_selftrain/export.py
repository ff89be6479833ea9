"""Exports a trained model as SavedModel, ONNX or TensorFlow Lite, and checks it on images of the run.

python -m official_selftrain.export --run=runs/retinanet_selftrain --output=student
python -m official_selftrain.export --run=runs/retinanet_selftrain --model=teacher --output=teacher
python -m official_selftrain.export --run=runs/retinanet_selftrain --format=onnx --output=student-onnx
python -m official_selftrain.export --run=runs/retinanet_selftrain --format=tflite --precision=int8 --output=phone
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from official_selftrain.core import class_names, console, errors, files, override_text, program
from official_selftrain.serving import targets

if TYPE_CHECKING:
  import numpy as np

_PARAMS = 'params.yaml'
_FORMATS = {'saved_model': 'SavedModel', 'onnx': 'ONNX', 'tflite': 'TensorFlow Lite'}
_MODEL = re.compile('(teacher|ceiling|(student|control)(-[0-9]+)?)')


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog='python -m official_selftrain.export', description=__doc__)
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.add_argument('--run', required=True, help='run or model directory, with its params.yaml')
  parser.add_argument(
    '--model',
    default='',
    help='of a self-training run: teacher, control, student or ceiling, of a later round control-2, student-2 and so '
    'on; the last student if not given',
  )
  parser.add_argument('--checkpoint', default='', help='prefix, if not the latest of the model')
  parser.add_argument('--output', required=True, help='folder of the export')
  parser.add_argument('--format', default='saved_model', choices=targets.FORMATS)
  parser.add_argument(
    '--input_type',
    default=None,
    choices=targets.INPUT_TYPES,
    help='image_bytes (whole JPEG or PNG files), which only a SavedModel takes and is its default, or image_tensor',
  )
  parser.add_argument(
    '--batch_size',
    type=int,
    default=None,
    help='fixed batch; if not given, any, and 1 for tflite',
  )
  parser.add_argument(
    '--image_size',
    type=_size,
    default=None,
    metavar='HEIGHT,WIDTH',
    help='fixed size of the images that onnx and tflite take; if not given, any, and that of the network for tflite',
  )
  parser.add_argument(
    '--nms',
    default='inside',
    choices=targets.NMS,
    help='none: all boxes with all scores, for suppression in your program',
  )
  parser.add_argument(
    '--precision',
    default='float32',
    choices=targets.PRECISIONS,
    help='of the weights of tflite; int8 computes in integers, too',
  )
  parser.add_argument(
    '--images',
    default='',
    help='TFRecords, image files or a folder on which the export is compared with the model, and for which int8 is '
    'calibrated; the validation images of the run if not given',
  )
  parser.add_argument(
    '--num_images',
    type=_count,
    default=None,
    help='how many of these; 8 if not given, and 64 for int8; 0 does not compare',
  )
  return parser.parse_args(arguments)


def _size(text: str) -> tuple[int, int]:
  try:
    height, width = map(int, text.split(','))
  except ValueError as error:
    raise argparse.ArgumentTypeError(f'{text!r}: give HEIGHT,WIDTH, such as 480,640') from error
  return height, width


def _count(text: str) -> int:
  if not text.isdecimal():
    raise argparse.ArgumentTypeError(f'{text!r}: give a whole number from 0')
  return int(text)


def _model(name: str, params: Any) -> str:
  """The folder of a model in a run directory; ConfigError for a name that no model has."""
  name = name or ('student' if params.rounds == 1 else f'student-{params.rounds}')
  if not _MODEL.fullmatch(name):
    raise errors.ConfigError(
      f'--model={name}: choose teacher, control, student or ceiling, or control-N or student-N of round N.'
    )
  return name


def _is_last(checkpoint: str, model_dir: str) -> bool:
  from official_selftrain.checkpoints import restore

  return restore.find(checkpoint) == restore.find(model_dir)


def _images(flags: argparse.Namespace, model_dir: str, records: str) -> 'list[np.ndarray]':
  """Images to check on; none, with a word about it, if a model that is not quantised is all that is left of a run."""
  from official_selftrain.serving import example_images

  is_calibrated = flags.precision == 'int8'
  number = flags.num_images
  if number is None:
    number = targets.NUM_CALIBRATED if is_calibrated else targets.NUM_CHECKED
  if not number and not is_calibrated:
    return []
  if flags.images:
    return example_images.of_user(flags.images, number)
  path = os.path.join(model_dir, _PARAMS)
  try:
    # The paths of a run's data are known once its stages have made them: then they are in the model's folder.
    if os.path.exists(path):
      records = override_text.read_override_file(path)['task']['validation_data']['input_path']
    return example_images.of_records(records, number)
  except errors.DataError as error:
    if is_calibrated:
      raise errors.DataError(f'{error} int8 is calibrated on them: --images=FOLDER.') from error
    console.note(f'not checked: {error} (--images)')
    return []


def _run(flags: argparse.Namespace) -> None:
  files.check_is_local('--output', flags.output)
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.core import config

  params = config.load_run(flags.run)
  model_dir = (
    os.path.join(flags.run, _model(flags.model, params))
    if hasattr(params, 'teacher')
    else flags.run
  )
  from official_selftrain.pipeline import model_cards
  from official_selftrain.serving import exports

  default = 'image_bytes' if flags.format == 'saved_model' else 'image_tensor'
  target = targets.Target(
    format=flags.format,
    input_type=flags.input_type or default,
    batch_size=flags.batch_size,
    image_size=flags.image_size,
    nms=flags.nms,
    precision=flags.precision,
  )
  target.check(params.task.data_kind)
  checkpoint = flags.checkpoint or model_dir
  names = class_names.of_model(checkpoint)
  images = _images(flags, model_dir, params.task.validation_data.input_path)
  agreement = exports.export_model(params, checkpoint, flags.output, target, names, images)
  name = os.path.basename(os.path.abspath(model_dir)) if hasattr(params, 'teacher') else 'model'
  model_cards.write(
    params,
    name,
    checkpoint,
    names,
    # The report is about the last checkpoint.
    flags.run if _is_last(checkpoint, model_dir) else '',
    flags.output,
    target,
    agreement,
  )
  console.say(f'{_FORMATS[flags.format]} with input {target.input_type}: {flags.output}')
  if agreement:
    console.say(agreement.sentence())


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags))


if __name__ == '__main__':
  sys.exit(main())
