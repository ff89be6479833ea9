"""The command `selftrain`: the programs of this package under short names.

selftrain train --experiment=retinanet_selftrain --mode=train_and_eval
selftrain predict --model=runs/mine --input=photos --output=predicted
selftrain doctor
"""

import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence

_PACKAGE = 'official_selftrain'
# By name: the module, and what it is for.
COMMANDS = {
  'train': ('train', 'train and evaluate an experiment, as python train.py does'),
  'prepare': ('datasets.prepare', 'make TFRecords from your own images and labels'),
  'predict': ('predict', 'predict on a folder of images with an exported model'),
  'export': ('export', 'export a trained model as SavedModel'),
  'study': ('study', 'run an experiment along axes of settings and say what helps'),
  'labels export': ('pseudo_labels.export', 'write pseudo labels for other tools'),
  'labels import': ('pseudo_labels.import_labels', 'take in labels that people corrected'),
  'labels review': ('pseudo_labels.review', 'look through pseudo labels in a browser'),
  'labels verify': ('pseudo_labels.verify', 'read every label shard'),
  'augment': ('augment', 'draw what augmentation does to images'),
  'memory': ('estimate_memory', 'estimate the memory that an experiment needs'),
  'time': ('estimate_time', 'estimate how long an experiment takes on this machine'),
  'import-tf1': ('import_tf1', "read the paper's TF1 checkpoints"),
  'import-weights': ('import_weights', 'read ImageNet weights of other packages'),
  'doctor': ('doctor', 'print versions and devices, and what does not fit together'),
}


def usage() -> str:
  """All commands, one to a line."""
  width = max(map(len, COMMANDS))
  lines = [f'  {name.ljust(width)}  {words}' for name, (_, words) in COMMANDS.items()]
  return '\n'.join(
    ['usage: selftrain COMMAND ..., where COMMAND --help has its arguments', '', *lines]
  )


def _print_usage() -> None:
  """Prints it; whoever reads the output may stop in the middle, as `head` does."""
  try:
    print(usage(), flush=True)
  except BrokenPipeError:
    # The interpreter flushes once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command as the main program, with what follows its name; returns the exit status."""
  given = list(sys.argv[1:] if arguments is None else arguments)
  if not given or given[0] in ('-h', '--help', 'help'):
    _print_usage()
    return 0
  words = 2 if ' '.join(given[:2]) in COMMANDS else 1
  name = ' '.join(given[:words])
  if name not in COMMANDS:
    print(f'error: there is no command {name!r}.\n\n{usage()}', file=sys.stderr)
    return 2
  module = f'{_PACKAGE}.{COMMANDS[name][0]}'
  assert importlib.util.find_spec(module), module
  sys.argv = [f'selftrain {name}', *given[words:]]
  runpy.run_module(module, run_name='__main__', alter_sys=True)
  return 0


if __name__ == '__main__':
  sys.exit(main())
