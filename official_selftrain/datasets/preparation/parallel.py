"""Work on many inputs in several processes, with results in order and bounded memory."""

import collections
import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar

from official_selftrain.core import console

_Input = TypeVar('_Input')
_Output = TypeVar('_Output')

# Inputs that travel to a process at once, if not said otherwise, and batches in flight per process.
_BATCH = 16
_IN_FLIGHT = 3


class Workers(Generic[_Input, _Output]):
  """Processes that apply a function; started on first use, since each of them imports what the function needs."""

  def __init__(
    self,
    function: Callable[[_Input], _Output],
    after_crash: Callable[[_Input], _Output],
    processes: int,
    batch: int = _BATCH,
  ) -> None:
    """Prepares the processes.

    Args:
      function: of a module, so that another process can import it; must not raise for what a user can cause.
      after_crash: gives the result for an input on which a process died, by a fault in native code or for want of
        memory.
      processes: number of processes, at least 1.
      batch: inputs that travel to a process at once; 1 for inputs that take long.
    """
    self._function = function
    self._after_crash = after_crash
    self._processes = processes
    self._batch = batch
    self._pool: concurrent.futures.ProcessPoolExecutor | None = None

  def __enter__(self) -> 'Workers[_Input, _Output]':
    return self

  def __exit__(self, *exception: object) -> None:
    self._stop()

  def map(self, inputs: Iterable[_Input]) -> Iterator[_Output]:
    """Applies the function to inputs, which are drawn as they are needed; yields results in the order of the inputs."""
    pending: collections.deque[tuple[list[_Input], concurrent.futures.Future[list[_Output]]]]
    pending = collections.deque()
    for batch in _batches(inputs, self._batch):
      pending.append((batch, self._submit(batch)))
      if len(pending) >= _IN_FLIGHT * self._processes:
        yield from self._next(pending)
    while pending:
      yield from self._next(pending)

  def _next(
    self,
    pending: 'collections.deque[tuple[list[_Input], concurrent.futures.Future[list[_Output]]]]',
  ) -> list[_Output]:
    """Results of the oldest batch."""
    batch, future = pending.popleft()
    try:
      return future.result()
    except BrokenProcessPool:
      # All batches in flight are lost, and any of them may hold the input that did it.
      self._stop()
      results = self._one_by_one(batch)
      waiting = list(pending)
      pending.clear()
      pending.extend((each, self._submit(each)) for each, _ in waiting)
      return results

  def _one_by_one(self, batch: list[_Input]) -> list[_Output]:
    """Results of a batch in which an input may kill its process."""
    results = []
    for each in batch:
      try:
        results.append(self._submit([each]).result()[0])
      except BrokenProcessPool:
        self._stop()
        results.append(self._after_crash(each))
    return results

  def _submit(self, batch: list[_Input]) -> 'concurrent.futures.Future[list[_Output]]':
    for _ in range(2):
      if self._pool is None:
        # A fork of a process in which TensorFlow runs would hang.
        self._pool = concurrent.futures.ProcessPoolExecutor(
          self._processes,
          mp_context=multiprocessing.get_context('spawn'),
          initializer=_start,
        )
      try:
        return self._pool.submit(_apply, self._function, batch)
      except BrokenProcessPool:
        self._stop()
    raise AssertionError('A new pool is not broken.')

  def _stop(self) -> None:
    if self._pool is not None:
      self._pool.shutdown(cancel_futures=True)
      self._pool = None


def _start() -> None:
  """Prepares a process: no messages of third parties; Ctrl-C is left to the process that started this one."""
  console.quiet()
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """Ends this process when the one that started it is gone; a pool's process would wait for it forever."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)


def _apply(function: Callable[[_Input], _Output], batch: list[_Input]) -> list[_Output]:
  return [function(each) for each in batch]


def _batches(inputs: Iterable[_Input], length: int) -> Iterator[list[_Input]]:
  batch: list[_Input] = []
  for each in inputs:
    batch.append(each)
    if len(batch) == length:
      yield batch
      batch = []
  if batch:
    yield batch
