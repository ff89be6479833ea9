"""Trains and evaluates a registered experiment; what `train.py` and `selftrain train` run.

python train.py --experiment=retinanet_selftrain --mode=train_and_eval
"""

import os
import sys

from absl import app, flags

from official_selftrain.core import console, program

_EXPERIMENT = flags.DEFINE_string(
  'experiment', '', 'Registered experiment, such as retinanet_selftrain; if no file names it.'
)
_MODE = flags.DEFINE_string(
  'mode', 'train_and_eval', 'train, eval, train_and_eval or continuous_eval.'
)
_MODEL_DIR = flags.DEFINE_string(
  'model_dir', None, 'Run directory; runs/<experiment> if not given.'
)
_CONFIG_FILE = flags.DEFINE_multi_string(
  'config_file', [], 'YAML with settings; may be repeated, later ones win.'
)
_PARAMS_OVERRIDE = flags.DEFINE_string(
  'params_override', '', 'Settings such as seed=1,task.pseudo_data.cut=0.6.'
)
_DATASET = flags.DEFINE_string(
  'dataset', '', 'Directory of prepared data; files and classes come from its data card.'
)
_BATCH_SCALE = flags.DEFINE_float(
  'batch_scale',
  1.0,
  'Factor of all batches, with the learning rates and steps that go with it; see docs/scale.md.',
)
_STAGE = flags.DEFINE_string(
  'stage',
  'all',
  'One stage only, such as teacher, labels, gate, control, student, report or export.',
)
_RESTART = flags.DEFINE_string(
  'restart', '', 'Remove this stage and those made from it, then run them again.'
)
_LABEL_WORKER = flags.DEFINE_string(
  'label_worker',
  '',
  'i/n labels the i-th of n parts of the unlabelled shards and stops; see docs/scale.md.',
)


def _run() -> None:
  # After third parties were silenced, and after the flags are parsed: --help must not wait for TensorFlow.
  from official_selftrain import registry_imports  # noqa: F401
  from official_selftrain.core import config, scaling
  from official_selftrain.pipeline import run

  name = config.experiment_name(_EXPERIMENT.value, _CONFIG_FILE.value)
  params = config.load_experiment(
    name,
    _CONFIG_FILE.value,
    _PARAMS_OVERRIDE.value,
    _DATASET.value,
    _BATCH_SCALE.value,
  )
  model_dir = _MODEL_DIR.value or os.path.join('runs', name)
  console.say(f'{name}: mode {_MODE.value}, run directory {model_dir}')
  if _BATCH_SCALE.value != 1.0:
    console.say(scaling.text(_BATCH_SCALE.value))
  run.run(params, _MODE.value, model_dir, _STAGE.value, _RESTART.value, _LABEL_WORKER.value)


def main(argv: list[str]) -> None:
  """Runs the experiment and exits."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected argument {argv[1]!r}: settings go into --params_override.')
  sys.exit(program.run(_run, 'the same command continues where it stopped.'))


if __name__ == '__main__':
  app.run(main)
