"""Turns a TF1 checkpoint of the paper's authors into one of the Model Garden's.

python -m official_selftrain.import_tf1 \\
  --checkpoint=downloads/spinenet190/model.ckpt --config_file=experiments/coco_spinenet190.yaml \\
  --output=imported/spinenet190

Every variable is accounted for: used, skipped for a reason, or an error that lists what is left. The output is a model
directory: train.py --mode=eval and the export program take it, and so do init_checkpoint and teacher.checkpoint. With
--modules=backbone it holds the backbone alone, for init_checkpoint_modules=backbone; classification checkpoints
(EfficientNet, Noisy Student, ResNet) and those of SimCLR are imported this way.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from official_selftrain.core import console, errors, files, program

_MODULES = ('all', 'backbone')


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.import_tf1',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--checkpoint', required=True, help='prefix of the TF1 checkpoint, or its folder'
  )
  parser.add_argument('--config_file', action='append', default=[], help='YAML; may be repeated')
  parser.add_argument(
    '--params_override', default='', help='settings such as task.model.num_classes=91'
  )
  parser.add_argument('--experiment', default='', help='if no file names it')
  parser.add_argument('--output', required=True, help='model directory to write; must not exist')
  parser.add_argument('--modules', default='all', choices=_MODULES, help='parts of the model')
  parser.add_argument(
    '--use_averages', action='store_true', help='take moving averages of weights instead of weights'
  )
  return parser.parse_args(arguments)


def _params(flags: argparse.Namespace) -> Any:
  """The experiment whose model the checkpoint belongs to."""
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.core import config

  return config.load_experiment(flags.experiment, flags.config_file, flags.params_override)


def _run(flags: argparse.Namespace) -> None:
  files.check_is_local('--output', flags.output)
  if os.path.exists(flags.output):
    raise errors.ConfigError(f'--output={flags.output} exists already; name a new directory.')
  params = _params(flags)
  from official.core import task_factory

  from official_selftrain.checkpoints import restore, write

  checkpoint = restore.find(flags.checkpoint)
  temporary = flags.output.rstrip('/') + '.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  model = task_factory.get_task(params.task).build_model()
  accounting = write.import_model(model, checkpoint, temporary, flags.modules, flags.use_averages)
  write.write_params(params, temporary)
  os.replace(temporary, flags.output)
  console.say(f'{checkpoint}:\n{accounting.text()}\nwritten to {flags.output}')
  if flags.modules == 'backbone':
    console.say(f'train.py starts from it with --params_override=init={flags.output}')


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags))


if __name__ == '__main__':
  sys.exit(main())
