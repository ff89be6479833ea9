"""Start-up: wall time of `python train.py --help`, measured from outside.

Stands alone, because a user waits in seconds and not in ratios: a process of its own from start to exit. For
comparison there is the time of a Python process that does nothing, which no program can beat.
"""

import pathlib
import subprocess
import sys
from typing import Any

from benchmarks import results, timing

NEEDS_WORKBENCH = False
_ROOT = pathlib.Path(__file__).resolve().parents[2]
_ROUNDS = 7


def run(bench: Any) -> list[results.Row]:
  """Measures; `bench` is not used."""
  del bench
  seconds = timing.interleave(
    {
      'help': timing.wall(lambda: _python('train.py', '--help')),
      'nothing': timing.wall(lambda: _python('-c', 'pass')),
    },
    _ROUNDS,
  )
  return [
    results.Row(
      'startup',
      'python train.py --help : python -c pass',
      's',
      ours=results.median(seconds['help']),
      reference=results.median(seconds['nothing']),
      target=results.Target(at_most=1.0),
    )
  ]


def _python(*arguments: str) -> None:
  # absl exits with 1 after it has printed the help text.
  output = subprocess.run(
    [sys.executable, *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
  ).stdout
  assert '-c' in arguments or '--experiment' in output, output
