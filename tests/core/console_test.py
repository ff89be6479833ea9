"""Tests for quiet start-up, messages, tables and progress."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import unittest
import warnings
from unittest import mock

import numpy as np
import pytest
from absl import logging as absl_logging

from official_selftrain.core import console


class _Terminal(io.StringIO):
  """A terminal that remembers all that was written."""

  def isatty(self):
    return True


class _Clock:
  """A clock that the test advances."""

  def __init__(self):
    self.now = 1000.0

  def __call__(self):
    return self.now


def _drawn(stream):
  """The lines that were drawn over each other."""
  return [line.removesuffix('\x1b[K') for line in stream.getvalue().split('\r')[1:]]


class WarningsOnceTest(unittest.TestCase):
  def test_each_text_once(self):
    with self.assertLogs('absl', 'WARNING') as logs:
      with console.warnings_once():
        for name in ('steps', 'rate', 'steps'):
          absl_logging.warning('%s are those of the digits', name)
      absl_logging.warning('steps are those of the digits')
    texts = [record.getMessage().split()[0] for record in logs.records]
    self.assertEqual(texts, ['steps', 'rate', 'steps'])


class QuietTest(unittest.TestCase):
  def _run(self, code, **environment):
    for name in ('TF_CPP_MIN_LOG_LEVEL', 'PYTHONWARNINGS'):
      environment.setdefault(name, None)
    merged = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), **environment}
    return subprocess.run(
      [sys.executable, '-c', code],
      env={k: v for k, v in merged.items() if v is not None},
      capture_output=True,
      text=True,
      check=False,
      timeout=200,
    )

  @pytest.mark.slow
  def test_nothing_is_printed_while_the_whole_stack_is_imported(self):
    done = self._run(
      'from official_selftrain.core import console\n'
      'console.quiet()\n'
      'import tensorflow, tensorflow_models, keras_cv, tensorflow_addons, tensorflow_hub\n'
    )
    self.assertEqual((done.returncode, done.stdout, done.stderr), (0, '', ''))

  def test_our_lines_real_errors_and_what_the_user_asked_for_stay(self):
    done = self._run(
      'from official_selftrain.core import console\n'
      'console.quiet()\n'
      'console.quiet()\n'
      'import os, sys, logging, warnings\n'
      'from absl import flags as absl_flags, logging as absl_logging\n'
      'def log(level, path, text):\n'
      "  record = logging.LogRecord('absl', level, path, 1, text, None, None)\n"
      "  logging.getLogger('absl').handle(record)\n"
      'logging.basicConfig()\n'
      "theirs = 'site-packages/official/x.py'\n"
      "ours = os.path.join(os.path.dirname(console.__file__), 'x.py')\n"
      "log(logging.WARNING, theirs, 'their warning')\n"
      "log(logging.ERROR, theirs, 'their error')\n"
      "log(logging.WARNING, ours, 'our warning')\n"
      "log(logging.WARNING, 'my_tool.py', 'a warning of the user')\n"
      'absl_logging.set_verbosity(absl_logging.INFO)\n'
      "log(logging.WARNING, theirs, 'hidden: app.run sets this by itself')\n"
      "absl_flags.FLAGS(['program', '--verbosity=0'])\n"
      "log(logging.WARNING, theirs, 'asked for')\n"
      'def warn(text, kind, module):\n'
      "  warnings.warn_explicit(text, kind, 'f.py', 1, module=module)\n"
      "warn('hidden', UserWarning, 'tensorflow_addons.utils')\n"
      "warn('hidden', FutureWarning, 'google.api_core._python_version_support')\n"
      "warn('arithmetic', RuntimeWarning, 'keras.src.losses')\n"
      "warn('ours', UserWarning, 'official_selftrain.core.config')\n"
      "warn('like keras', UserWarning, 'keras_of_mine')\n"
      "print(os.environ['TF_CPP_MIN_LOG_LEVEL'], len(logging.getLogger('absl').filters))\n",
      TF_CPP_MIN_LOG_LEVEL='1',
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEqual(done.stdout, '1 1\n')
    self.assertEqual(
      done.stderr.splitlines(),
      [
        'ERROR:absl:their error',
        'WARNING:absl:our warning',
        'WARNING:absl:a warning of the user',
        'WARNING:absl:asked for',
        'f.py:1: RuntimeWarning: arithmetic',
        'f.py:1: UserWarning: ours',
        'f.py:1: UserWarning: like keras',
      ],
    )

  def test_warnings_that_the_user_asked_python_for_are_shown(self):
    done = self._run(
      'from official_selftrain.core import console\n'
      'console.quiet()\n'
      'import warnings\n'
      "warnings.warn_explicit('shown', UserWarning, 'f.py', 1, module='tensorflow_addons')\n",
      PYTHONWARNINGS='default',
    )
    self.assertEqual(done.stderr, 'f.py:1: UserWarning: shown\n')

  def test_importing_core_is_cheap(self):
    done = self._run(
      'import sys\n'
      'from official_selftrain.core import config, console, errors, files, keys\n'
      "heavy = {'tensorflow', 'official', 'numpy', 'keras'}\n"
      "print(heavy & {module.split('.')[0] for module in sys.modules})\n"
    )
    self.assertEqual((done.stdout, done.stderr), ('set()\n', ''))

  def test_filter_lets_errors_of_third_parties_pass(self):
    def record(level):
      return logging.LogRecord('absl', level, 'site-packages/a.py', 1, 'text', None, None)

    before = absl_logging.get_verbosity()
    self.addCleanup(absl_logging.set_verbosity, before)
    absl_logging.set_verbosity(absl_logging.WARNING)
    self.assertTrue(console._hide_third_party(record(logging.ERROR)))
    self.assertFalse(console._hide_third_party(record(logging.WARNING)))


class SayTest(unittest.TestCase):
  def test_a_line_is_printed_and_flushed(self):
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), mock.patch.object(stream, 'flush') as flush:
      console.say('teacher: done')
    self.assertEqual(stream.getvalue(), 'teacher: done\n')
    flush.assert_called()

  def test_on_a_terminal_it_replaces_the_bar(self):
    out, err = _Terminal(), _Terminal()
    with mock.patch.dict(os.environ, {'TERM': 'xterm'}):
      with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        console.say('saved')
    self.assertEqual(out.getvalue(), '\r\x1b[Ksaved\n')


class TableTest(unittest.TestCase):
  def test_numbers_are_right_aligned_and_text_left(self):
    got = console.table(
      [['teacher', 0.38312, 1500], ['student', 0.5, None], ['a', np.float32(12.25), np.int64(7)]],
      ['model', 'AP', 'steps'],
    )
    self.assertEqual(
      got.split('\n'),
      [
        'model        AP  steps',
        '-------  ------  -----',
        'teacher   0.383   1500',
        'student   0.500      -',
        'a        12.250      7',
      ],
    )

  def test_without_rows_there_is_a_heading(self):
    self.assertEqual(console.table([], ['a', 'bc']), 'a  bc\n-  --')

  def test_extreme_numbers(self):
    lines = console.table([[1e-5], [2.5e7], [float('nan')], [0.0]], ['x']).split('\n')
    self.assertEqual(lines, ['      x', '-------', '  1e-05', '2.5e+07', '    nan', '  0.000'])

  def test_ragged_rows_are_refused(self):
    with self.assertRaisesRegex(
      ValueError, r"^A row has 1 cells, but there are 2 headers: \['a'\]$"
    ):
      console.table([['a']], ['x', 'y'])


class PlainProgressTest(unittest.TestCase):
  def test_a_line_every_tenth(self):
    stream, clock = io.StringIO(), _Clock()
    with console.Progress('teacher', 40, stream=stream, clock=clock) as progress:
      for done in range(1, 41):
        clock.now += 0.5
        progress.update(done, loss=1 / done)
    lines = stream.getvalue().splitlines()
    self.assertEqual(len(lines), 10)
    self.assertEqual(lines[0], 'teacher  10%  4/40 steps  ETA 0:18  2 steps/s  loss 0.250')
    self.assertEqual(lines[4], 'teacher  50%  20/40 steps  ETA 0:10  2 steps/s  loss 0.050')
    self.assertEqual(lines[9], 'teacher 100%  40/40 steps  took 0:20  2 steps/s  loss 0.025')

  def test_a_line_every_half_minute(self):
    stream, clock = io.StringIO(), _Clock()
    progress = console.Progress('labels', 100_000, unit='images', stream=stream, clock=clock)
    for done in (100, 200, 300, 400, 500, 600, 700):
      clock.now += 10
      progress.update(done)
    self.assertEqual(
      stream.getvalue().splitlines(),
      [
        'labels   0%  300/100000 images  ETA 2:46:10  10 images/s',
        'labels   0%  600/100000 images  ETA 2:45:40  10 images/s',
      ],
    )

  def test_resumed_work_is_not_counted_as_speed(self):
    stream, clock = io.StringIO(), _Clock()
    progress = console.Progress('student', 100, stream=stream, initial=55, clock=clock)
    clock.now += 4
    progress.update(60)
    self.assertEqual(stream.getvalue(), '')
    clock.now += 4
    progress.update(65)
    self.assertEqual(stream.getvalue(), 'student  65%  65/100 steps  ETA 0:28  1.25 steps/s\n')
    clock.now += 10
    progress.update(100)
    self.assertEqual(
      stream.getvalue().splitlines()[1], 'student 100%  100/100 steps  took 0:18  2.5 steps/s'
    )

  def test_a_slow_start_is_forgotten(self):
    stream, clock = io.StringIO(), _Clock()
    progress = console.Progress('teacher', 1000, stream=stream, clock=clock)
    clock.now += 60
    progress.update(1)
    for done in range(2, 300):
      clock.now += 0.2
      progress.update(done)
    self.assertEqual(
      stream.getvalue().splitlines(),
      [
        'teacher   0%  1/1000 steps  ETA 16:39:00  0.0167 steps/s',
        'teacher  10%  100/1000 steps  ETA 11:58  1.25 steps/s',
        # 30 s and 150 steps later the first minute is outside the window.
        'teacher  20%  200/1000 steps  ETA 2:40  5 steps/s',
      ],
    )

  def test_unknown_total(self):
    stream, clock = io.StringIO(), _Clock()
    with console.Progress('eval', None, unit='images', stream=stream, clock=clock) as progress:
      clock.now += 31
      progress.update(62)
      clock.now += 1
      progress.update(70)
    self.assertEqual(
      stream.getvalue().splitlines(),
      ['eval  62 images  2 images/s', 'eval  70 images  2.19 images/s'],
    )

  def test_close_shows_where_it_stopped_once(self):
    stream, clock = io.StringIO(), _Clock()
    progress = console.Progress('teacher', 100, stream=stream, clock=clock)
    clock.now += 1
    progress.update(3)
    progress.close()
    progress.close()
    self.assertEqual(stream.getvalue(), 'teacher   3%  3/100 steps  ETA 0:32  3 steps/s\n')

  def test_a_dumb_terminal_gets_plain_lines(self):
    stream, clock = _Terminal(), _Clock()
    with mock.patch.dict(os.environ, {'TERM': 'dumb'}):
      console.Progress('x', 1, stream=stream, clock=clock).update(1)
    self.assertEqual(stream.getvalue(), 'x 100%  1/1 steps  took 0:00\n')

  def test_standard_error_is_the_default(self):
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
      console.Progress('x', 1, clock=_Clock()).update(1)
    self.assertEqual(stream.getvalue(), 'x 100%  1/1 steps  took 0:00\n')


class TerminalProgressTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    self.stream, self.clock = _Terminal(), _Clock()
    patch = mock.patch.dict(os.environ, {'TERM': 'xterm', 'COLUMNS': '120'})
    patch.start()
    self.addCleanup(patch.stop)

  def _progress(self, **kwargs):
    return console.Progress('student', 8, stream=self.stream, clock=self.clock, **kwargs)

  def test_one_line_is_redrawn(self):
    with self._progress() as progress:
      for done in (2, 5, 8):
        self.clock.now += 10
        progress.update(done, loss=np.float32(0.5), pseudo=done)
    self.assertEqual(
      _drawn(self.stream),
      [
        'student  25% [######..................]  2/8 steps  ETA 0:30  0.2 steps/s'
        '  loss 0.500  pseudo 2',
        'student  62% [###############.........]  5/8 steps  ETA 0:12  0.25 steps/s'
        '  loss 0.500  pseudo 5',
        'student 100% [########################]  8/8 steps  took 0:30  0.267 steps/s'
        '  loss 0.500  pseudo 8\x1b[K\n',
      ],
    )

  def test_it_is_not_redrawn_faster_than_eyes_can_see(self):
    progress = self._progress()
    for done in (1, 2, 3, 4):
      self.clock.now += 0.06
      progress.update(done)
    self.assertEqual([line.split()[3] for line in _drawn(self.stream)], ['1/8', '3/8'])

  def test_the_last_step_is_always_drawn(self):
    progress = self._progress()
    progress.update(7)
    progress.update(8)
    self.assertEqual([line[:12] for line in _drawn(self.stream)], ['student  87%', 'student 100%'])

  def test_it_fits_any_width(self):
    expected = {
      96: 'student  50% [############............]  4/8 steps  ETA 0:01  4 steps/s  loss 0.500',
      70: 'student  50% [############............]  4/8 steps  ETA 0:01',
      62: 'student  50% [############............]  4/8 steps  ETA 0:01',
      55: 'student  50%  4/8 steps  ETA 0:01  4 steps/s',
      30: 'student  50%  4/8 steps',
      10: 'student  50%',
    }
    for columns, line in expected.items():
      with self.subTest(columns=columns):
        self.stream, self.clock = _Terminal(), _Clock()
        with mock.patch.dict(os.environ, {'COLUMNS': str(columns)}):
          progress = self._progress()
          self.clock.now += 1
          progress.update(4, loss=0.5, **{'a long name of a value': 1.0})
        self.assertEqual(_drawn(self.stream), [line])
        self.assertLess(len(line), max(columns, 21))

  def test_width_without_an_answer_is_that_of_a_usual_terminal(self):
    with mock.patch.dict(os.environ, {'COLUMNS': ''}):
      self.assertGreater(console._width(self.stream), 0)


class WarningsStayTest(unittest.TestCase):
  def test_the_test_process_was_not_changed(self):
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter('always')
      warnings.warn('kept', UserWarning, stacklevel=1)
    self.assertEqual([str(warning.message) for warning in caught], ['kept'])


if __name__ == '__main__':
  unittest.main()
