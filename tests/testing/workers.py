"""Several worker processes on one machine, each given the same command, as on several machines."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent import futures

REPOSITORY = pathlib.Path(__file__).parents[2]


def free_hosts(number: int) -> str:
  """`worker_hosts` of so many ports that nobody uses now."""
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
    for each in sockets:
      each.bind(('localhost', 0))
    return ','.join(f'localhost:{each.getsockname()[1]}' for each in sockets)


@contextlib.contextmanager
def started(
  number: int,
  arguments: Sequence[str],
  overrides: str,
  first: Sequence[str] = ('train.py',),
) -> Iterator[list[subprocess.Popen[str]]]:
  """Starts `train.py` once for each worker; those that still run at the end are killed.

  Args:
    number: of workers; 1 starts a run without a cluster.
    arguments: all but the overrides.
    overrides: settings of every worker.
    first: the program that the last worker runs instead, with its first arguments.
  """
  hosts = json.dumps(free_hosts(number))
  own = 'runtime.distribution_strategy=multi_worker_mirrored,runtime.all_reduce_alg=ring'
  processes = []
  try:
    for index in range(number):
      cluster = f',{own},runtime.worker_hosts={hosts},runtime.task_index={index}'
      settings = overrides + (cluster if number > 1 else '')
      program = list(first) if index == number - 1 else ['train.py']
      command = [sys.executable, *program, *arguments, f'--params_override={settings}']
      processes.append(
        subprocess.Popen(
          command,
          cwd=REPOSITORY,
          env={**os.environ, 'CUDA_VISIBLE_DEVICES': ''},
          stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT,
          text=True,
        )
      )
    yield processes
  finally:
    for process in processes:
      if process.poll() is None:
        process.kill()


def outputs(processes: Sequence[subprocess.Popen[str]], timeout: float) -> list[str]:
  """What each of them printed until its end; all are read at once, so that none waits for a reader.

  Raises:
    TimeoutExpired: one of them did not end in time.
  """
  with futures.ThreadPoolExecutor(len(processes)) as pool:
    return list(pool.map(lambda process: process.communicate(timeout=timeout)[0], processes))
