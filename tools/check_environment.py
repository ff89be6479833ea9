"""Checks that the installed packages import together; if not, says which pin mends it.

A set of versions that resolves need not import: TensorFlow 2.15 meets packages that are years
younger. Run by `make setup`; also by hand in any environment: `python tools/check_environment.py`.
"""

import contextlib
import importlib
import importlib.metadata
import io
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple


class Requirement(NamedTuple):
  """A package that has to import.

  Attributes:
    module: what is imported.
    distribution: its name for pip.
    pins: the versions that it is known to import with; beside its own those of packages that it
      needs and whose newer releases break it.
  """

  module: str
  distribution: str
  pins: tuple[str, ...]


# A package comes after those that it imports, so that the first failure names the cause.
REQUIREMENTS = (
  Requirement('tensorflow', 'tensorflow', ('tensorflow==2.15.1', 'numpy<2', 'protobuf<5')),
  # `import tensorflow_datasets` logs a failure and goes on as an empty package; its API raises.
  Requirement(
    'tensorflow_datasets.public_api',
    'tensorflow-datasets',
    ('tensorflow-metadata<1.16', 'protobuf<5'),
  ),
  Requirement(
    'tensorflow_models', 'tf-models-official', ('tf-models-official==2.15.0', 'setuptools<81')
  ),
  Requirement('keras_cv', 'keras-cv', ('keras-cv==0.9.0', 'keras-core==0.1.7')),
  Requirement('tensorflow_addons', 'tensorflow-addons', ('tensorflow-addons==0.23.0',)),
  Requirement('pycocotools.mask', 'pycocotools', ('pycocotools>=2.0.7', 'numpy<2')),
)

Importer = Callable[[str], types.ModuleType]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Silences what packages print and log while they are imported, in Python and in native code."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  sys.stdout.flush()
  sys.stderr.flush()
  saved = os.dup(2)
  with open(os.devnull, 'wb') as sink:
    os.dup2(sink.fileno(), 2)
  try:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
      warnings.simplefilter('ignore')
      yield
  finally:
    sys.stderr.flush()
    os.dup2(saved, 2)
    os.close(saved)


def problem_with(requirement: Requirement, importer: Importer) -> str | None:
  """Tries one import.

  Args:
    requirement: what to import.
    importer: `importlib.import_module`, or a stand-in.

  Returns:
    None, or one line: the package, the error and the pins that mend it.
  """
  try:
    importer(requirement.module)
    importlib.metadata.version(requirement.distribution)
  except Exception as error:  # Packages fail at import in every way there is; each is reported.
    reason = ' '.join(str(error).split()) or 'no message'
    pins = ' '.join(f"'{pin}'" for pin in requirement.pins)
    name = requirement.distribution
    return (
      f'Environment: {name} does not import ({type(error).__name__}: {reason}); '
      f'mend it with: pip install {pins}, or with: make clean setup'
    )
  return None


def first_problem(
  requirements: Sequence[Requirement] = REQUIREMENTS,
  importer: Importer = importlib.import_module,
) -> str | None:
  """The first package that does not import, as one line; None when all do."""
  for requirement in requirements:
    problem = problem_with(requirement, importer)
    if problem is not None:
      return problem
  return None


def summary(requirements: Sequence[Requirement] = REQUIREMENTS) -> str:
  """One line with the versions of Python and of the packages, which have to be installed."""
  versions = [f'Python {".".join(map(str, sys.version_info[:3]))}']
  for requirement in requirements:
    name = requirement.distribution
    versions.append(f'{name} {importlib.metadata.version(name)}')
  return 'Environment: ' + ', '.join(versions)


def main() -> int:
  """Prints one line; returns 0 when everything imports and 1 when something does not."""
  with quiet():
    problem = first_problem()
  print(problem or summary(), file=sys.stderr if problem else sys.stdout)
  return 1 if problem else 0


if __name__ == '__main__':
  sys.exit(main())
