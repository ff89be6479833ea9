"""Leases: one owner at a time, also when owners die."""

import multiprocessing
import os
import signal
import tempfile
import time
import unittest
from unittest import mock

from official_selftrain.core import lease

_SHORT = 0.6


def _count_alone(path, log, turns):
  """Takes the lease some times; notes when it has it and when it gives it back."""
  while turns:
    with lease.hold(path, _SHORT) as is_ours:
      if is_ours:
        with open(log, 'a', encoding='utf-8') as stream:
          stream.write(f'in {os.getpid()}\n')
          stream.flush()
          time.sleep(0.02)
          stream.write(f'out {os.getpid()}\n')
        turns -= 1
    time.sleep(0.001)


def _hold_forever(path, is_held):
  with lease.hold(path, _SHORT) as is_ours:
    is_held.put(is_ours)
    time.sleep(60)


def _files_beside(path):
  return sorted(set(os.listdir(os.path.dirname(path))) - {os.path.basename(path), 'log'})


class LeaseTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = os.path.join(folder.name, 'locks', 'a')

  def test_one_owner(self):
    self.assertFalse(lease.is_held(self.path))
    with lease.hold(self.path) as first:
      self.assertTrue(first)
      self.assertTrue(lease.is_held(self.path))
      with lease.hold(self.path) as second:
        self.assertFalse(second)
      self.assertTrue(lease.is_held(self.path))
    self.assertFalse(os.path.exists(self.path))
    with lease.hold(self.path) as again:
      self.assertTrue(again)
    self.assertEqual(_files_beside(self.path), [])

  def test_waiting_until_it_is_free(self):
    looks = []

    def sleep(_):
      looks.append(lease.is_held(self.path))
      # The other gives it back while this one waits.
      os.remove(self.path)

    with lease.hold(self.path):
      with mock.patch.object(lease.time, 'sleep', sleep), lease.wait(self.path):
        self.assertEqual(looks, [True])
        self.assertTrue(lease.is_held(self.path))

  def test_it_is_given_back_after_an_error(self):
    with self.assertRaises(ValueError), lease.hold(self.path):
      raise ValueError
    self.assertFalse(lease.is_held(self.path))

  def test_a_heartbeat_keeps_it(self):
    with lease.hold(self.path, _SHORT) as is_ours:
      self.assertTrue(is_ours)
      time.sleep(2 * _SHORT)
      with lease.hold(self.path, _SHORT) as other:
        self.assertFalse(other)

  def test_the_lease_of_a_process_that_is_gone_is_taken_over_at_once(self):
    self.killed()
    with lease.hold(self.path) as is_ours:
      self.assertTrue(is_ours)
    self.assertEqual(_files_beside(self.path), [])

  def test_elsewhere_a_dead_owners_lease_is_taken_over_after_its_lifetime(self):
    self.killed()
    # Another machine, or another container, has other processes of the same numbers.
    with mock.patch.object(lease, '_processes', return_value='elsewhere'):
      with lease.hold(self.path, _SHORT) as too_early:
        self.assertFalse(too_early)
      # The times of files are coarse, and the owner renewed its lease until it was killed.
      time.sleep(2 * _SHORT)
      with lease.hold(self.path, _SHORT) as is_ours:
        self.assertTrue(is_ours)
    self.assertEqual(_files_beside(self.path), [])

  def killed(self):
    """Leaves the lease of a process that was killed."""
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=_hold_forever, args=(self.path, queue))
    process.start()
    self.assertTrue(queue.get(timeout=60))
    os.kill(process.pid, signal.SIGKILL)
    process.join()

  def test_a_clock_that_was_set_back_blocks_nobody(self):
    os.makedirs(os.path.dirname(self.path))
    with open(self.path, 'x', encoding='utf-8') as stream:
      stream.write('{"host": "elsewhere", "pid": 1, "processes": "another start", "token": "a"}')
    an_hour_ahead = time.time() + 3600
    os.utime(self.path, (an_hour_ahead, an_hour_ahead))
    with lease.hold(self.path, _SHORT) as ours:
      # Its owner may be alive.
      self.assertFalse(ours)
    time.sleep(1.5 * _SHORT)
    with lease.hold(self.path, _SHORT) as ours:
      self.assertTrue(ours)

  def test_a_lease_that_was_taken_over_while_it_was_looked_at_goes_back(self):
    with lease.hold(self.path) as is_ours:
      self.assertTrue(is_ours)
      # Looks dead at the first look, and alive after the rename.
      with mock.patch.object(lease, 'is_held', side_effect=[False, True, True]):
        with lease.hold(self.path) as other:
          self.assertFalse(other)
      self.assertTrue(lease.is_held(self.path))
    self.assertEqual(_files_beside(self.path), [])

  def test_a_suspended_owner_ends_when_its_lease_is_anothers(self):
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=_hold_forever, args=(self.path, queue))
    process.start()
    self.assertTrue(queue.get(timeout=60))
    with open(self.path, 'w', encoding='utf-8') as stream:
      stream.write('{"token": "another"}')
    process.join(30)
    self.assertEqual(process.exitcode, 2)
    # It leaves the other's alone.
    self.assertTrue(os.path.exists(self.path))

  def test_a_suspended_owner_ends_when_another_has_come_and_gone(self):
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=_hold_forever, args=(self.path, queue))
    process.start()
    self.assertTrue(queue.get(timeout=60))
    os.remove(self.path)
    process.join(30)
    self.assertEqual(process.exitcode, 2)

  def test_an_owner_that_cannot_read_its_lease_for_a_moment_lives_on(self):
    with lease.hold(self.path, _SHORT) as is_ours:
      self.assertTrue(is_ours)
      with open(self.path, encoding='utf-8') as stream:
        content = stream.read()
      with open(self.path, 'w', encoding='utf-8') as stream:
        stream.write(content[:9])
      time.sleep(_SHORT / 2)
      with open(self.path, 'w', encoding='utf-8') as stream:
        stream.write(content)
      time.sleep(_SHORT)
      self.assertTrue(lease.is_held(self.path, _SHORT))
    self.assertEqual(_files_beside(self.path), [])

  def test_three_processes_never_have_it_together(self):
    context = multiprocessing.get_context('spawn')
    log = os.path.join(os.path.dirname(os.path.dirname(self.path)), 'log')
    processes = [context.Process(target=_count_alone, args=(self.path, log, 8)) for _ in range(3)]
    for process in processes:
      process.start()
    for process in processes:
      process.join(60)
    with open(log, encoding='utf-8') as stream:
      lines = stream.read().split('\n')[:-1]
    self.assertEqual(len(lines), 2 * 3 * 8)
    for entry, leaving in zip(lines[::2], lines[1::2], strict=True):
      self.assertEqual((entry[:2], leaving[:3]), ('in', 'out'))
      self.assertEqual(entry[3:], leaving[4:])


if __name__ == '__main__':
  unittest.main()
