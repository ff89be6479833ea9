"""Prints versions and devices, and what does not fit together, with the command that mends it.

python -m official_selftrain.doctor
"""

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from packaging import requirements

from official_selftrain.core import console, errors, memory, program

_PACKAGE = 'official-selftrain'
_PYTHON = (3, 11)
# Imported to see whether they work; in this order, so that the first failure names the cause.
_MODULES = ('tensorflow', 'tensorflow_models', 'keras_cv', 'tensorflow_addons', 'pycocotools.mask')
_NVIDIA = '/proc/driver/nvidia/version'


class Problem(NamedTuple):
  """Something that does not fit.

  Attributes:
    what: the finding.
    cure: what to do about it.
  """

  what: str
  cure: str


def versions() -> list[tuple[str, str, str, str]]:
  """Of each package that is needed: name, installed version, what is asked for, and `ok` or what is wrong."""
  rows = []
  for requirement in _requirements():
    asked = str(requirement.specifier)
    try:
      installed = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
      rows.append((requirement.name, '-', asked, 'missing'))
      continue
    fits = requirement.specifier.contains(installed, prereleases=True)
    rows.append((requirement.name, installed, asked, 'ok' if fits else 'does not fit'))
  return rows


def _requirements() -> Iterator[requirements.Requirement]:
  """What the package asks for, without its extras."""
  try:
    asked = importlib.metadata.requires(_PACKAGE) or []
  except importlib.metadata.PackageNotFoundError:
    raise errors.ConfigError(
      f'{_PACKAGE} is not installed here, so what it needs is not known: run pip install . in its folder, or make '
      'setup.'
    ) from None
  for text in asked:
    requirement = requirements.Requirement(text)
    if requirement.marker is None or requirement.marker.evaluate({'extra': ''}):
      yield requirement


def problems(rows: Sequence[tuple[str, str, str, str]]) -> list[Problem]:
  """What does not fit, of versions and of what can be imported."""
  found = []
  if sys.version_info[:2] != _PYTHON:
    wanted = '.'.join(map(str, _PYTHON))
    found.append(
      Problem(
        f'This is Python {platform.python_version()}; the packages fit together on {wanted} alone.',
        f'make an environment with Python {wanted}',
      )
    )
  for name, installed, asked, verdict in rows:
    if verdict != 'ok':
      found.append(
        Problem(
          f'{name} is {installed}, and {asked or "any"} is needed.', f"pip install '{name}{asked}'"
        )
      )
  if not found:
    found += _import_problems()
  if not found:
    found += _gpu_problems()
  return found


def _import_problems() -> Iterator[Problem]:
  for module in _MODULES:
    try:
      importlib.import_module(module)
    except Exception as error:  # Whatever an incompatible package raises.
      yield Problem(
        f'{module} cannot be imported: {type(error).__name__}: {error}',
        'install the exact set of requirements.lock in a new environment',
      )
      return


def _gpu_problems() -> Iterator[Problem]:
  import tensorflow as tf

  if os.path.exists(_NVIDIA) and not tf.config.list_physical_devices('GPU'):
    yield Problem(
      'There is an NVIDIA driver, and TensorFlow finds no GPU.',
      'install the CUDA and cuDNN that this TensorFlow was built for; tf.sysconfig.get_build_info() names them',
    )


def devices() -> list[tuple[str, str]]:
  """Name and value of facts about the machine."""
  import tensorflow as tf

  rows = [
    ('Python', f'{platform.python_version()}, {sys.executable}'),
    ('system', platform.platform()),
    ('cores', str(len(os.sched_getaffinity(0)))),
    ('memory', memory.gibibytes(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))),
  ]
  gpus = tf.config.list_physical_devices('GPU')
  for place, gpu in enumerate(gpus):
    details = tf.config.experimental.get_device_details(gpu)
    capability = '.'.join(map(str, details.get('compute_capability', ())))
    rows.append(
      (f'GPU {place}', f'{details.get("device_name", "unknown")}, capability {capability}')
    )
  if not gpus:
    built = 'with' if tf.test.is_built_with_cuda() else 'without'
    rows.append(('GPU', f'none (this TensorFlow was built {built} CUDA)'))
  return rows


def _run() -> int:
  rows = versions()
  print(console.table(rows, ('package', 'installed', 'needed', '')))
  found = problems(rows)
  if not found:
    print()
    print(console.table(devices(), ('', '')))
  print()
  for problem in found:
    print(f'{problem.what}\n  To mend it: {problem.cure}')
  print(f'{len(found)} problem(s) found.' if found else 'Everything fits together.')
  return 2 if found else 0


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status: 2 if something does not fit."""
  parser = argparse.ArgumentParser(prog='python -m official_selftrain.doctor', description=__doc__)
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.parse_args(arguments)
  status = 0

  def work() -> None:
    nonlocal status
    status = _run()

  return program.run(work) or status


if __name__ == '__main__':
  sys.exit(main())
