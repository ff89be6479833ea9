"""Run directories: which ones can be used, and one process in each."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from official_selftrain.core import errors, lease

_LOCK = '.lock'


class OccupiedError(errors.ConfigError):
  """Another process is working in a run directory.

  Attributes:
    lease_path: lease that is free again when it has ended.
  """

  def __init__(self, text: str, lease_path: str):
    super().__init__(text)
    self.lease_path = lease_path


@contextlib.contextmanager
def occupied(model_dir: str, lifetime: float = lease.LIFETIME) -> Iterator[None]:
  """Makes a run directory and keeps other processes from training in it while the body runs.

  Args:
    model_dir: the run directory.
    lifetime: seconds after which that of a dead process is free, see `lease.hold`.

  Raises:
    OccupiedError: another process is working in it.
    ConfigError: see `make`.
  """
  make(model_dir)
  lock = os.path.join(model_dir, _LOCK)
  with lease.hold(lock, lifetime) as is_ours:
    if not is_ours:
      raise OccupiedError(
        f'--model_dir={model_dir}: another process is working in it{lease.owner(lock)}. Wait '
        f'for it, or use another directory. If it has died on another machine, try again in {lifetime:.0f} seconds.',
        lock,
      )
    yield


def make(model_dir: str) -> None:
  """Makes a run directory.

  Raises:
    ConfigError: it is in remote storage, which stage records cannot be written to, or nothing can be written there.
  """
  scheme, separator, _ = model_dir.partition('://')
  if separator:
    raise errors.ConfigError(
      f'--model_dir={model_dir}: a run directory must be a local path or a mounted one, because records of stages are '
      f'renamed into place; {scheme}:// cannot do that. Train locally and copy the directory, or mount the storage. '
      'Input files may lie in remote storage.'
    )
  try:
    os.makedirs(model_dir, exist_ok=True)
    with tempfile.TemporaryFile(dir=model_dir):
      pass
  except OSError as error:
    raise errors.ConfigError(
      f'--model_dir={model_dir}: nothing can be written there: {error.strerror}.'
    ) from error
