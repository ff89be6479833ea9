"""Tests for what every program does around its work."""

import contextlib
import errno
import io
import os
import sqlite3
import unittest
from unittest import mock

from official_selftrain.core import errors, program


def _run(work, *rest):
  """The exit status, and what was printed to stdout and stderr."""
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = program.run(work, *rest)
  return status, out.getvalue(), err.getvalue()


class RunTest(unittest.TestCase):
  def test_success(self):
    self.assertEqual(_run(lambda: print('done')), (0, 'done\n', ''))

  def test_what_the_user_can_fix_is_one_line(self):
    def _fail():
      print('half')
      raise errors.DataError('images/ is empty')

    self.assertEqual(_run(_fail), (2, 'half\n', 'error: images/ is empty\n'))

  def test_a_full_disk_is_one_line(self):
    for error in (
      OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'run/model'),
      RuntimeError('run/model; No space left on device'),
      sqlite3.OperationalError('database or disk is full'),
    ):
      status, _, err = _run(mock.Mock(side_effect=error))
      self.assertEqual(status, 2)
      self.assertEqual(err, f'error: {error}. Make room, and run the same command again.\n')

  def test_ctrl_c_says_what_comes_next(self):
    work = mock.Mock(side_effect=KeyboardInterrupt)
    self.assertEqual(_run(work), (130, '', 'interrupted: the same command starts over.\n'))
    self.assertEqual(_run(work, 'run it again.'), (130, '', 'interrupted: run it again.\n'))

  def test_bugs_keep_their_traceback(self):
    with self.assertRaisesRegex(ValueError, 'ours'):
      program.run(mock.Mock(side_effect=ValueError('ours')))

  def test_third_parties_are_silenced_before_the_work(self):
    calls = mock.Mock()
    with mock.patch('official_selftrain.core.console.quiet', calls.quiet):
      program.run(calls.work)
    self.assertEqual(calls.mock_calls, [mock.call.quiet(), mock.call.work()])

  def test_onednn_is_on_unless_the_user_says_otherwise(self):
    seen = []
    for value in ({}, {'TF_ENABLE_ONEDNN_OPTS': '0'}):
      with mock.patch.dict(os.environ, value):
        if not value:
          os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None)
        program.run(lambda: seen.append(os.environ['TF_ENABLE_ONEDNN_OPTS']))
    self.assertEqual(seen, ['1', '0'])


if __name__ == '__main__':
  unittest.main()
