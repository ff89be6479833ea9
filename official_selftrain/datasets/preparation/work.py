"""What the processes of a preparation do: they get numbers and read all else from the store."""

import functools

from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import examination, shards, store

# Under this name the store keeps what the annotations of each set mean.
MEANINGS = 'meanings'


def examine(store_path: str, key: int) -> tuple[int, store.Finding]:
  """Examines one image; returns its number with what was found."""
  opened, examiner = _open(store_path)
  finding, _ = examiner.examine(opened.entry(key))
  return key, finding


def after_crash(key: int) -> tuple[int, store.Finding]:
  """What is found of an image on which a process died."""
  fault = faults.Fault(faults.Kind.CORRUPT, 'a decoder crashed on it')
  return key, store.Finding((fault,), is_final=False)


def write(store_path: str, job: shards.Job) -> shards.Written:
  """Writes one file."""
  opened, examiner = _open(store_path)
  return shards.Writer(opened, examiner, opened.fact(MEANINGS)).write(job)


def not_written(job: shards.Job) -> shards.Written:
  """The result of a file in whose writing a process died."""
  return shards.Written(job.path, fault='its process died, perhaps for want of memory')


@functools.lru_cache(maxsize=1)
def _open(store_path: str) -> tuple[store.Store, examination.Examiner]:
  """Store and examiner of this process."""
  opened = store.Store(store_path)
  return opened, examination.Examiner(opened.fact(MEANINGS))
