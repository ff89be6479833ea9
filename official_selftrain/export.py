"""Exports a trained model as SavedModel.

python -m official_selftrain.export --run=runs/retinanet_selftrain --output=student
python -m official_selftrain.export --run=runs/retinanet_selftrain --model=teacher --output=teacher
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from official_selftrain.core import class_names, console, errors, program

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
  parser.add_argument('--output', required=True, help='where the SavedModel goes')
  parser.add_argument(
    '--input_type', default='image_bytes', choices=('image_bytes', 'image_tensor')
  )
  parser.add_argument('--batch_size', type=int, default=None, help='fixed batch; any if not given')
  return parser.parse_args(arguments)


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


def _run(flags: argparse.Namespace) -> None:
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.core import config

  params = config.load_run(flags.run)
  model_dir = (
    os.path.join(flags.run, _model(flags.model, params))
    if hasattr(params, 'teacher')
    else flags.run
  )
  from official_selftrain.pipeline import model_cards
  from official_selftrain.serving import saved_model

  checkpoint = flags.checkpoint or model_dir
  names = class_names.of_model(checkpoint)
  saved_model.export_model(
    params,
    checkpoint,
    flags.output,
    flags.input_type,
    flags.batch_size,
    names,
  )
  name = os.path.basename(os.path.abspath(model_dir)) if hasattr(params, 'teacher') else 'model'
  model_cards.write(
    params,
    name,
    checkpoint,
    names,
    # The report is about the last checkpoint.
    flags.run if _is_last(checkpoint, model_dir) else '',
    flags.output,
  )
  console.say(f'SavedModel with input {flags.input_type}: {flags.output}')


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags))


if __name__ == '__main__':
  sys.exit(main())
