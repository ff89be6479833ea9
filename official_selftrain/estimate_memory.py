"""Says how much memory a self-training experiment needs, and on how many devices it fits. Needs no device itself.

python -m official_selftrain.estimate_memory --config_file=experiments/coco_efficientnet_b7.yaml --devices=32

The model is built without weights and a step of the student is traced, not run; official_selftrain/modeling/memory.py
explains the rule and what it leaves out. Where a batch does not fit, the table says into how many parts to split it.
In real steps on a CPU resident memory grew by 0.99 to 1.23 times the estimate per image (experiments/README.md), so
leave a quarter of a device free.
"""

import argparse
import sys
from collections.abc import Sequence

from official_selftrain.core import console, program


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m official_selftrain.estimate_memory',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--config_file', action='append', default=[], help='YAML; may be repeated, later ones win')
  add('--params_override', default='', help='settings such as task.train_data.global_batch_size=64')
  add('--batch_scale', type=float, default=1.0, help='as for train.py')
  add('--experiment', default='', help='if no file names it')
  add('--devices', type=int, default=8, help='devices that share a batch; %(default)s if not given')
  add('--memory_gib', type=float, action='append', help='of a device; may be repeated; 16 and 80')
  flags = parser.parse_args(arguments)
  if flags.devices < 1:
    parser.error(f'--devices={flags.devices}: it must be at least 1.')
  return flags


def _run(flags: argparse.Namespace) -> None:
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.core import config
  from official_selftrain.pipeline import memory_estimate, training

  params = config.load_experiment(
    flags.experiment, flags.config_file, flags.params_override, batch_scale=flags.batch_scale
  )
  training.set_precision(params.runtime)
  console.say(memory_estimate.estimate(params).text(flags.devices, flags.memory_gib or [16, 80]))


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = _arguments(arguments)
  return program.run(lambda: _run(flags))


if __name__ == '__main__':
  sys.exit(main())
