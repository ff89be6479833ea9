"""Command line of the benchmarks; `python -m benchmarks --help`."""

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import cases, results
from official_selftrain.core import console, files

_PACKAGES = ('tensorflow', 'tf-models-official', 'numpy')
# Of one processor: more than a desktop at rest, less than one busy process.
_BUSY = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs benchmarks, prints the table, and returns the exit status."""
  options = _parse(arguments)
  console.quiet()
  busy = _load() > _BUSY
  start = {'load': _load(), 'processors': os.cpu_count(), 'quick': options.quick}
  bench: Any = None
  rows: list[results.Row] = []
  for number, name in enumerate(options.names, 1):
    console.say(f'[{number}/{len(options.names)}] {name}')
    began = time.monotonic()
    case = importlib.import_module(f'benchmarks.cases.{name}')
    if options.quick and getattr(case, 'IS_OF_ONE_SIZE', False):
      console.say('  left out: it is about a large amount of data, and has no smaller size')
      continue
    if bench is None and case.NEEDS_WORKBENCH:
      from benchmarks import workbench  # Imports TensorFlow.

      effort = workbench.quick_effort() if options.quick else workbench.Effort()
      bench = workbench.Workbench(os.path.abspath(options.cache_dir), effort)
    rows += case.run(bench)
    console.say(f'  {time.monotonic() - began:.0f} s')
  console.say('\n' + results.table(rows))
  if options.quick:
    console.say('A smoke run: the figures mean nothing.')
  elif busy:
    console.say(f'The machine was busy (load {start["load"]:.1f} at the start): repeat it at rest.')
  if options.output:
    files.write_json(
      options.output, {'rows': results.as_json(rows), 'machine': {**start, **_software()}}
    )
  return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks',
    description='Measures speed as ratios, side by side in one process.',
    epilog=f'Benchmarks: {", ".join(cases.NAMES)}.',
  )
  parser.add_argument('names', nargs='*', metavar='name', help='which benchmarks; all if none')
  parser.add_argument(
    '--quick',
    action='store_true',
    help='a smoke run on little data, without benchmarks of one size',
  )
  parser.add_argument('--output', metavar='FILE', help='write the figures to this JSON file too')
  parser.add_argument(
    '--cache-dir',
    default=os.path.join('.cache', 'bench'),
    help='where data, teacher and labels are kept; %(default)s if not given',
  )
  options = parser.parse_args(arguments)
  unknown = [name for name in options.names if name not in cases.NAMES]
  if unknown:
    parser.error(f'unknown benchmark {unknown[0]!r}; allowed are {", ".join(cases.NAMES)}')
  options.names = options.names or list(cases.NAMES)
  return options


def _load() -> float:
  """Load average of the last minute."""
  return os.getloadavg()[0]


def _software() -> dict[str, str]:
  versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {'python': platform.python_version(), **versions}


if __name__ == '__main__':
  sys.exit(main())
