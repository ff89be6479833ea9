"""Says how long a self-training experiment takes on this machine, before it is run.

python -m official_selftrain.estimate_time --experiment=retinanet_selftrain --dataset=data/mine

Some steps of teacher and control are trained and some images labelled, on the data and devices of the run; what was
learned is thrown away. Checks of the data, gate, report and export are not counted.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from official_selftrain.core import console, program


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.estimate_time',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--experiment', default='', help='a *_selftrain; if no file names it')
  add('--config_file', action='append', default=[], help='YAML; may be repeated, later ones win')
  add('--params_override', default='', help='settings such as trainer.train_steps=1000')
  add('--dataset', default='', help='directory of prepared data, as for train.py')
  add('--batch_scale', type=float, default=1.0, help='as for train.py')
  add('--model_dir', default='', help='as for train.py; nothing is written into it')
  add('--probe_seconds', type=float, default=20.0, help='to train each model; %(default)s')
  flags = parser.parse_args(arguments)
  if not flags.probe_seconds > 0:
    parser.error(f'--probe_seconds={flags.probe_seconds}: it must be above 0.')
  return flags


def _run(flags: argparse.Namespace) -> None:
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.core import config
  from official_selftrain.pipeline import time_estimate, training

  name = config.experiment_name(flags.experiment, flags.config_file)
  params = config.load_experiment(
    name, flags.config_file, flags.params_override, flags.dataset, flags.batch_scale
  )
  training.set_precision(params.runtime)
  model_dir = flags.model_dir or os.path.join('runs', name)
  console.say(time_estimate.text(time_estimate.estimate(params, model_dir, flags.probe_seconds)))


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags))


if __name__ == '__main__':
  sys.exit(main())
