"""kill -9 at random moments of a whole small run, each followed by the same command, until it ends by itself.

python -m tests.faults.kills --kills=200

Runs start again until there were so many kills. Each finished run is compared with one that was never disturbed: labels
to the byte, records with none lost or doubled, and the weights of teacher, control and student.
"""

import argparse
import collections
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from tests.testing import tiny_run

_STAGE = re.compile(r'^\[\d/\d\] (\w+)$', re.MULTILINE)
# Seconds for start-up and all stages, about twice what it takes.
_LONGEST = 60.0
_MODELS = ('teacher', 'control', 'student')
_LABELS = 'labels/round-1/*.labels.tfrecord*'


def main(arguments: Sequence[str] | None = None) -> int:
  """Prints the stages in which runs were killed; 1 if a run differed or ended in another way."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=200)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args(arguments)
  print(report(options.kills, options.seed), flush=True)
  return 0


def report(kills: int, seed: int) -> str:
  """Kills runs, prints how far it is, and says where they were killed.

  Args:
    kills: how many there must be.
    seed: of the moments.

  Raises:
    AssertionError: a run ended with an error, or differs from the undisturbed one.
  """
  moments = random.Random(seed)
  finished = tiny_run.finished()
  stages: collections.Counter[str] = collections.Counter()
  runs = 0
  with tempfile.TemporaryDirectory(prefix='selftrain-kills-') as folder:
    while stages.total() < kills:
      run_dir = os.path.join(folder, 'run')
      while (stage := _killed_in(run_dir, moments, may_kill=stages.total() < kills)) is not None:
        stages[stage] += 1
      _compare(run_dir, finished)
      shutil.rmtree(run_dir)
      runs += 1
      print(f'{stages.total()} of {kills} kills, {runs} runs equal', flush=True)
  where = ', '.join(f'{stage} {count}' for stage, count in stages.most_common())
  return f'{stages.total()} kills in {runs} runs ({where}): all ended like the undisturbed run'


def _killed_in(run_dir: str, moments: random.Random, may_kill: bool) -> str | None:
  """Starts the command; the stage in which it was killed, or None if it came to its end before."""
  command = [
    sys.executable,
    'train.py',
    '--experiment=retinanet_selftrain',
    '--mode=train_and_eval',
    f'--model_dir={run_dir}',
    f'--params_override=dataset.directory={tiny_run.shared()}',
    *(f'--config_file={path}' for path in tiny_run.config_files()),
  ]
  with tempfile.TemporaryFile('w+') as printed:
    process = subprocess.Popen(command, cwd=tiny_run.REPOSITORY, stdout=printed, stderr=printed)
    until = time.monotonic() + (moments.uniform(0.0, _LONGEST) if may_kill else 10 * _LONGEST)
    while process.poll() is None and time.monotonic() < until:
      time.sleep(0.02)
    is_killed = process.poll() is None
    process.kill()
    status = process.wait()
    printed.seek(0)
    text = printed.read()
  if not is_killed:
    assert status == 0, text
    return None
  assert may_kill, f'the run did not end:\n{text}'
  found = _STAGE.findall(text)
  return found[-1] if found else 'start'


def _compare(run_dir: str, finished: str) -> None:
  for name in _MODELS:
    ours, theirs = (tiny_run.weights(os.path.join(folder, name)) for folder in (run_dir, finished))
    assert ours.keys() == theirs.keys(), (name, ours.keys() ^ theirs.keys())
    changed = [each for each, value in ours.items() if not np.array_equal(value, theirs[each])]
    assert not changed, (name, changed)
  labels = tiny_run.snapshot(run_dir, _LABELS)
  assert labels and labels == tiny_run.snapshot(finished, _LABELS), sorted(labels)


if __name__ == '__main__':
  sys.exit(main())
