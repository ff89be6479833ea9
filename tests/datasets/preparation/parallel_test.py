"""Tests for work in several processes."""

import dataclasses
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

from official_selftrain.core import errors
from official_selftrain.datasets.preparation import parallel
from tests.datasets.preparation import working

_REPOSITORY = pathlib.Path(__file__).parents[3]
_DOUBLE = parallel.Work(working.double, working.after_crash)
_DOUBLE_OR_DIE = parallel.Work(working.double_or_die, working.after_crash, batch=1)


def _map(function, inputs, processes=1, batch=16):
  with parallel.Workers(processes) as workers:
    return list(workers.map(parallel.Work(function, working.after_crash, batch), inputs))


class MapTest(unittest.TestCase):
  def test_results_are_in_the_order_of_the_inputs(self):
    results = _map(working.double_slowly, range(8), processes=2, batch=1)
    self.assertEqual(results, [0, 2, 4, 6, 8, 10, 12, 14])

  def test_a_last_batch_that_is_not_full_is_done_too(self):
    self.assertEqual(_map(working.double, range(7), batch=3), [0, 2, 4, 6, 8, 10, 12])

  def test_processes_are_used_again_for_further_inputs(self):
    with parallel.Workers(1) as workers:
      self.assertEqual(list(workers.map(_DOUBLE, [1, 2])), [2, 4])
      processes = list(workers._pool._processes)
      self.assertEqual(list(workers.map(_DOUBLE_OR_DIE, [3])), [6])
      self.assertEqual(list(workers._pool._processes), processes)

  def test_closed_workers_can_work_again(self):
    with parallel.Workers(1) as workers:
      self.assertEqual(list(workers.map(_DOUBLE, [1])), [2])
      workers.close()
      self.assertEqual(list(workers.map(_DOUBLE, [2])), [4])

  def test_without_inputs_no_process_is_started(self):
    with parallel.Workers(1) as workers:
      self.assertEqual(list(workers.map(_DOUBLE, [])), [])
      self.assertIsNone(workers._pool)

  def test_inputs_are_drawn_as_they_are_needed(self):
    drawn = []

    def _inputs():
      # Without end: drawing all of them would take forever.
      for value in itertools.count():
        drawn.append(value)
        yield value

    with parallel.Workers(2) as workers:
      results = workers.map(dataclasses.replace(_DOUBLE, batch=2), _inputs())
      for count in range(1, 40):
        self.assertEqual(next(results), 2 * (count - 1))
        # Three batches for each of two processes, and the rest of the batch whose result this is.
        self.assertLessEqual(len(drawn), count - 1 + 3 * 2 * 2)
      results.close()

  def test_processes_do_not_see_gpus(self):
    with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES='0'):
      self.assertEqual(_map(working.environment, ['CUDA_VISIBLE_DEVICES']), ['-1'])
      self.assertEqual(os.environ['CUDA_VISIBLE_DEVICES'], '0')

  def test_what_a_function_raises_is_raised_here(self):
    with self.assertRaises(TypeError):
      _map(working.double, [None])


class CrashTest(unittest.TestCase):
  def test_only_inputs_that_kill_a_process_are_given_up(self):
    expected = [-value if value in (13, 30) else 2 * value for value in range(40)]
    for processes, batch in ((1, 4), (2, 3)):
      with self.subTest(processes=processes):
        self.assertEqual(_map(working.double_or_die, range(40), processes, batch), expected)

  def test_the_first_and_only_input_may_be_the_one(self):
    self.assertEqual(_map(working.double_or_die, [13], batch=1), [-13])

  def test_no_input_is_to_blame_where_processes_die_by_themselves(self):
    with (
      mock.patch.object(parallel, '_start', working.die),
      self.assertRaisesRegex(
        errors.DataError,
        'end as soon as they start, perhaps for want of memory. Make memory free, or give fewer --processes',
      ),
    ):
      _map(working.double, [1])

  def test_work_goes_on_after_a_crash_at_the_end(self):
    with parallel.Workers(1) as workers:
      self.assertEqual(list(workers.map(_DOUBLE_OR_DIE, [1, 30])), [2, -30])
      self.assertEqual(list(workers.map(_DOUBLE_OR_DIE, [2])), [4])


class KillTest(unittest.TestCase):
  def test_processes_end_with_the_one_that_started_them(self):
    folder = self.enterContext(tempfile.TemporaryDirectory())
    code = f'from tests.datasets.preparation import working; working.wait_for_one({folder!r})'
    # The killed process leaves semaphores, of which Python warns.
    program = subprocess.Popen(
      [sys.executable, '-c', code], cwd=_REPOSITORY, stderr=subprocess.DEVNULL
    )
    self.addCleanup(program.wait)
    self.addCleanup(program.kill)
    self.assertTrue(_until(lambda: os.listdir(folder)))
    (name,) = os.listdir(folder)
    worker = pathlib.Path('/proc', name, 'stat')
    self.assertTrue(worker.exists())
    program.send_signal(signal.SIGKILL)
    program.wait()
    is_gone = _until(lambda: not worker.exists() or ') Z ' in worker.read_text())
    if not is_gone:
      os.kill(int(name), signal.SIGKILL)
    self.assertTrue(is_gone, 'the process was left behind')


def _until(condition, seconds=60):
  """Whether a condition comes true in time."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    if condition():
      return True
    time.sleep(0.05)
  return False


if __name__ == '__main__':
  unittest.main()
