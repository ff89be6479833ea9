"""Work on many inputs in several processes, with results in order and bounded memory."""

import collections
import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, Self, TypeVar

from official_selftrain.core import console, errors

_Input = TypeVar('_Input')
_Output = TypeVar('_Output')

# Inputs that travel to a process at once, if not said otherwise, and batches in flight per process.
_BATCH = 16
_IN_FLIGHT = 3


@dataclasses.dataclass(frozen=True)
class Work(Generic[_Input, _Output]):
  """What is done with each input.

  Attributes:
    function: of a module, so that another process can import it; must not raise for what a user can cause.
    after_crash: gives the result for an input on which a process died, by a fault in native code or for want of memory.
    batch: inputs that travel to a process at once; 1 for inputs that take long.
  """

  function: Callable[[_Input], _Output]
  after_crash: Callable[[_Input], _Output]
  batch: int = _BATCH


class Workers:
  """Processes that work; started on first use, and kept until the end, since each of them imports what it needs."""

  def __init__(self, processes: int) -> None:
    """Prepares the processes; `processes` is their number, at least 1."""
    self._processes = processes
    self._pool: concurrent.futures.ProcessPoolExecutor | None = None

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()

  def close(self) -> None:
    """Ends the processes; further work starts others."""
    if self._pool is not None:
      self._pool.shutdown(cancel_futures=True)
      self._pool = None

  def map(self, work: Work[_Input, _Output], inputs: Iterable[_Input]) -> Iterator[_Output]:
    """Works on inputs, which are drawn as they are needed; yields results in the order of the inputs.

    Raises:
      DataError: processes die whatever they do, so that no input is to blame.
    """
    pending: collections.deque[tuple[list[_Input], concurrent.futures.Future[list[_Output]]]]
    pending = collections.deque()
    for batch in _batches(inputs, work.batch):
      pending.append((batch, self._submit(work, batch)))
      if len(pending) >= _IN_FLIGHT * self._processes:
        yield from self._next(work, pending)
    while pending:
      yield from self._next(work, pending)

  def _next(
    self,
    work: Work[_Input, _Output],
    pending: 'collections.deque[tuple[list[_Input], concurrent.futures.Future[list[_Output]]]]',
  ) -> list[_Output]:
    """Results of the oldest batch."""
    batch, future = pending.popleft()
    try:
      return future.result()
    except BrokenProcessPool:
      # All batches in flight are lost, and any of them may hold the input that did it.
      self.close()
      results = self._one_by_one(work, batch)
      waiting = list(pending)
      pending.clear()
      pending.extend((each, self._submit(work, each)) for each, _ in waiting)
      return results

  def _one_by_one(self, work: Work[_Input, _Output], batch: list[_Input]) -> list[_Output]:
    """Results of a batch in which an input may kill its process."""
    results = []
    for each in batch:
      try:
        results.append(self._submit(work, [each]).result()[0])
      except BrokenProcessPool:
        self.close()
        self._check_processes(work)
        results.append(work.after_crash(each))
    return results

  def _check_processes(self, work: Work[_Input, _Output]) -> None:
    """Raises DataError if processes die without any input: when they start, or import what the work needs."""
    try:
      self._pool_of_processes().submit(_apply, work.function, []).result()
    except BrokenProcessPool as error:
      self.close()
      raise errors.DataError(
        'The processes that do the work end as soon as they start, perhaps for want of memory. Make memory free, or '
        'give fewer --processes, and run the same command again.'
      ) from error

  def _submit(
    self, work: Work[_Input, _Output], batch: list[_Input]
  ) -> 'concurrent.futures.Future[list[_Output]]':
    for _ in range(2):
      try:
        return self._pool_of_processes().submit(_apply, work.function, batch)
      except BrokenProcessPool:
        self.close()
    raise AssertionError('A new pool is not broken.')

  def _pool_of_processes(self) -> concurrent.futures.ProcessPoolExecutor:
    if self._pool is None:
      # A fork of a process in which TensorFlow runs would hang.
      self._pool = concurrent.futures.ProcessPoolExecutor(
        self._processes,
        mp_context=multiprocessing.get_context('spawn'),
        initializer=_start,
      )
    return self._pool


def _start() -> None:
  """Prepares a process: no messages of third parties; Ctrl-C is left to the process that started this one."""
  console.quiet()
  # Each process would take all of a GPU's memory, and the next one would find none.
  os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
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
