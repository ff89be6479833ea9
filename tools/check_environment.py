"""Checks that the installed packages import together; if not, says which version to install.

A set of versions that resolves need not import: TensorFlow 2.15 meets packages that are years
younger. First come the packages that the project is built on, with the versions known to work; then
everything else in requirements.lock that is installed, because a notebook or a user's own script
imports pandas or pyarrow from the same environment. All of it happens in one process, so TensorFlow
is loaded once. Run by `make setup`; also by hand in any environment: `python
tools/check_environment.py`.
"""

import contextlib
import importlib
import importlib.metadata
import io
import os
import pathlib
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

LOCK = pathlib.Path(__file__).resolve().parent.parent / 'requirements.lock'


class Requirement(NamedTuple):
  """A package that has to import.

  Attributes:
    module: what is imported.
    distribution: its name for pip.
    pins: the versions that it is known to import with: its own, and those of packages that it
      needs and whose newer releases break it.
  """

  module: str
  distribution: str
  pins: tuple[str, ...]


# A package comes after those that it imports, so that the first failure names the cause.
REQUIREMENTS = (
  Requirement('tensorflow', 'tensorflow', ('tensorflow==2.15.1', 'numpy<2', 'protobuf<5')),
  # `import tensorflow_datasets` logs a failure and continues as an empty package; its API raises.
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
  Requirement('pyarrow', 'pyarrow', ('pyarrow<26', 'numpy<2')),
)

# Distributions of the lock that say nothing when they are imported here, and why.
NOT_IMPORTED = {
  'kaggle': 'looks for credentials, and may ask a server about them, when it is imported',
  'tensorflow-io-gcs-filesystem': 'TensorFlow has loaded it; it cannot register a second time',
}

Importer = Callable[[str], types.ModuleType]


def public_modules(files: Iterable[pathlib.PurePath]) -> list[str]:
  """The top-level packages and modules of a distribution.

  Args:
    files: the paths that it installs, relative to site-packages.

  Returns:
    Its packages and single modules, sorted: `google.protobuf` for a package in a namespace. Names
    with a leading underscore are left out. Where there are only modules in a namespace, the first
    of them. Empty where there is no code, as in a package of type stubs.
  """
  sources = [file for file in files if file.suffix in ('.py', '.so') and '..' not in file.parts]
  packages = {file.parent for file in sources if file.name == '__init__.py'}
  found, scattered = set(), set()
  for file in sources:
    above = [folder for folder in file.parents if folder in packages]
    path = above[-1] if above else file.with_name(file.name.partition('.')[0])
    if all(part.isidentifier() and not part.startswith('_') for part in path.parts):
      target = found if above or len(path.parts) == 1 else scattered
      target.add('.'.join(path.parts))
  return sorted(found) or sorted(scattered)[:1]


def locked_requirements(lock_text: str) -> Iterator[Requirement]:
  """Yields every module of every locked distribution that is installed, in the lock's order.

  Args:
    lock_text: the text of requirements.lock.

  Yields:
    A requirement with the locked version as its pin. `NOT_IMPORTED` is left out.
  """
  for line in lock_text.splitlines():
    if '==' not in line or line.startswith('#'):
      continue
    pin = line.split()[0]
    name = pin.partition('==')[0]
    if name in NOT_IMPORTED:
      continue
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      for module in public_modules(importlib.metadata.distribution(name).files or ()):
        yield Requirement(module, name, (pin,))


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
    None, or one line: the package, the error and the versions that are known to work.
  """
  try:
    importer(requirement.module)
    importlib.metadata.version(requirement.distribution)
  # Packages fail at import in every way there is, up to leaving the program; each is reported.
  except (Exception, SystemExit) as error:
    reason = ' '.join(str(error).split()) or 'no message'
    pins = ' '.join(f"'{pin}'" for pin in requirement.pins)
    name = requirement.distribution
    return (
      f'Environment: {name} does not import ({type(error).__name__}: {reason}); '
      f'to fix it: pip install {pins}, or: make clean setup'
    )
  return None


def first_problem(
  requirements: Sequence[Requirement],
  importer: Importer = importlib.import_module,
) -> str | None:
  """The first package that does not import, as one line; None when all do."""
  for requirement in requirements:
    problem = problem_with(requirement, importer)
    if problem is not None:
      return problem
  return None


def summary(requirements: Sequence[Requirement], num_others: int, seconds: float) -> str:
  """One line with the versions of Python and of the packages that the project is built on.

  Args:
    requirements: those packages; they have to be installed.
    num_others: how many more distributions of the lock were imported.
    seconds: how long all the imports took.
  """
  versions = [f'Python {".".join(map(str, sys.version_info[:3]))}']
  for requirement in requirements:
    name = requirement.distribution
    versions.append(f'{name} {importlib.metadata.version(name)}')
  rest = f'{num_others} more locked packages import, {seconds:.0f} s'
  return f'Environment: {", ".join(versions)}; {rest}'


def main() -> int:
  """Prints one line; returns 0 when everything imports and 1 when something does not."""
  start = time.monotonic()
  others = list(locked_requirements(LOCK.read_text()))
  with quiet():
    problem = first_problem([*REQUIREMENTS, *others])
  if problem:
    print(problem, file=sys.stderr)
    return 1
  own = {requirement.distribution for requirement in REQUIREMENTS}
  num_others = len({requirement.distribution for requirement in others} - own)
  print(summary(REQUIREMENTS, num_others, time.monotonic() - start))
  return 0


if __name__ == '__main__':
  sys.exit(main())
