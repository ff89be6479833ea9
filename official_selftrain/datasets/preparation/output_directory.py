"""The directory that a preparation writes: what it may overwrite there, and that one process at a time does."""

import contextlib
import glob
import os
from collections.abc import Iterator, Mapping

from official_selftrain.core import dataset_card, errors, files, lease
from official_selftrain.datasets.preparation import store
from official_selftrain.datasets.sources import spec

ANNOTATIONS = 'validation.json'
HELD_OUT_TRUTH = 'held_out/unlabelled_truth.json'
WORK = '.work'

_LEASE = 'lease'


def check(output: str, sources: Mapping[store.Part, str]) -> None:
  """Sees to it that a preparation overwrites and deletes only what another one has written.

  Args:
    output: the directory; it need not exist.
    sources: SPEC by set.

  Raises:
    ConfigError: the directory is in remote storage, or its path has a comma.
    DataError: the directory has files of other origin that would be overwritten or deleted, or a source is one of
      the files.
  """
  files.check_is_local('--output', output)
  if ',' in output:
    raise errors.ConfigError(
      f'--output={output}: commas separate paths in task.train_data.input_path; give a directory without one.'
    )
  written = _written(output)
  is_ours = os.path.isdir(os.path.join(output, WORK)) or dataset_card.is_card(output)
  if written and not is_ours:
    raise errors.DataError(
      f'{output} has files that no preparation has written, and this one would overwrite or delete: '
      f'{", ".join(written)}. Give another --output, or move them elsewhere.'
    )
  places = {os.path.realpath(os.path.join(output, name)) for name in written}
  names = {os.path.basename(place) for place in places}
  for part, text in sources.items():
    path = spec.path_of(text)
    for found in (path, *glob.iglob(path, recursive=True)):
      if os.path.basename(found) in names and os.path.realpath(found) in places:
        raise errors.DataError(
          f'--{part.value}={text}: {found} lies in --output, where it would be overwritten or deleted. Give another '
          '--output.'
        )


@contextlib.contextmanager
def hold(output: str) -> Iterator[None]:
  """Keeps other preparations out of a directory while the body runs.

  Args:
    output: the directory, which is created when missing.

  Raises:
    DataError: another process prepares data there.
    OSError: it cannot be written.
  """
  path = os.path.join(output, WORK, _LEASE)
  with lease.hold(path) as is_ours:
    if not is_ours:
      raise errors.DataError(
        f'Another process{lease.owner(path)} prepares data in {output}. Wait until it has ended, or give another '
        f'--output. If it has died on another machine, try again in {lease.LIFETIME:.0f} seconds.'
      )
    yield


def record_files(output: str) -> list[str]:
  """Names of the TFRecord files of a preparation in a directory, sorted."""
  found = (
    glob.glob(os.path.join(glob.escape(output), f'{part.value}-*-of-*.tfrecord'))
    for part in store.Part
  )
  return sorted(os.path.basename(path) for paths in found for path in paths)


def _written(output: str) -> list[str]:
  """Names of the files that are there and are called like those of a preparation."""
  single = (dataset_card.FILE_NAME, ANNOTATIONS, HELD_OUT_TRUTH)
  return [name for name in single if os.path.lexists(os.path.join(output, name))] + record_files(
    output
  )
