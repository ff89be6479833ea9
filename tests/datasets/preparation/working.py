"""What the processes of tests do; imported by them, so without TensorFlow."""

import os
import pathlib
import time


def double(value: int) -> int:
  """Twice the value."""
  return 2 * value


def double_slowly(value: int) -> int:
  """Twice the value; the smaller it is, the later."""
  time.sleep(0.2 / (1 + value))
  return 2 * value


def double_or_die(value: int) -> int:
  """Twice the value; ends the process without a word at 13 and 30, as a fault in native code does."""
  if value in (13, 30):
    os._exit(1)
  return 2 * value


def die() -> None:
  """Ends the process without a word."""
  os._exit(1)


def environment(name: str) -> str | None:
  """A variable of the process."""
  return os.environ.get(name)


def after_crash(value: int) -> int:
  """The value, negated."""
  return -value


def note_process(folder: str) -> int:
  """Writes the number of this process into a file, and waits for longer than any test takes."""
  pathlib.Path(folder, str(os.getpid())).touch()
  time.sleep(600)
  return 0


def wait_for_one(folder: str) -> None:
  """Starts a process that notes itself, and waits for it."""
  from official_selftrain.datasets.preparation import parallel

  with parallel.Workers(1) as workers:
    list(workers.map(parallel.Work(note_process, note_process), [folder]))
