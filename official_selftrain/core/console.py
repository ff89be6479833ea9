"""Console output: quiet start-up, one-line messages, tables and progress.

Importing this module is cheap, so that `quiet` can run before TensorFlow is imported.
"""

import collections
import contextlib
import functools
import importlib.abc
import importlib.machinery
import logging
import operator
import os
import shutil
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, SupportsFloat, SupportsIndex, TypeGuard

# Not resolved: log records hold the path that a module was imported by, which may be a link.
_PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_THIRD_PARTY_DIRS = ('site-packages', 'dist-packages')

# Packages whose warnings concern their own dependencies, or advice that a user cannot follow.
_NOISY_PACKAGES = (
  'google.api_core',
  'keras',
  'keras_core',
  'keras_cv',
  'official',
  'pkg_resources',
  'tensorflow',
  'tensorflow_addons',
  'tensorflow_datasets',
  'tensorflow_hub',
  'tensorflow_models',
  'tensorflow_model_optimization',
  'tf_keras',
)
_NOISY_CATEGORIES = (DeprecationWarning, FutureWarning, UserWarning)
_NOISY_LOGGERS = ('absl', 'tensorflow')

# keras_core prints the name of its backend when it is imported, unless this module turns that off.
_KERAS_CORE_PRINTER = 'keras_core.src.utils.io_utils'

_ERASE_REST = '\x1b[K'


def quiet() -> None:
  """Silences what third parties print while they are imported and used.

  To be called before anything else is imported. Hidden are TensorFlow's C++ lines below fatal,
  warnings that come from the packages we build on, their log lines below ERROR, and the banner of
  keras_core. Errors, and warnings and log lines of all other code, stay. A user who asks for more
  gets it: TF_CPP_MIN_LOG_LEVEL, `python -W` or PYTHONWARNINGS, and `--verbosity=0` (or more) win.
  """
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  if not sys.warnoptions:
    packages = '|'.join(name.replace('.', r'\.') for name in _NOISY_PACKAGES)
    for category in _NOISY_CATEGORIES:
      warnings.filterwarnings('ignore', category=category, module=rf'({packages})(\.|$)')
  # absl makes its logger of a class of its own, so absl has to come before getLogger.
  import absl.logging

  if not _verbosity_is_asked_for():
    absl.logging.set_verbosity(absl.logging.WARNING)
  for name in _NOISY_LOGGERS:
    logger = logging.getLogger(name)
    if _hide_third_party not in logger.filters:
      logger.addFilter(_hide_third_party)
  if _KERAS_CORE_PRINTER in sys.modules:
    sys.modules[_KERAS_CORE_PRINTER].disable_interactive_logging()
  elif not any(isinstance(finder, _KerasCoreSilencer) for finder in sys.meta_path):
    sys.meta_path.insert(0, _KerasCoreSilencer())


def _hide_third_party(record: logging.LogRecord) -> bool:
  """Logging filter: keeps errors, other code's lines, and all lines at --verbosity=0 or more."""
  if record.levelno >= logging.ERROR or record.pathname.startswith(_PACKAGE_DIR):
    return True
  if not any(folder in record.pathname for folder in _THIRD_PARTY_DIRS):
    return True
  import absl.logging

  return _verbosity_is_asked_for() and absl.logging.get_verbosity() >= absl.logging.INFO


@contextlib.contextmanager
def warnings_once() -> Iterator[None]:
  """Within it, absl's logger says each text once, as where many settings are read that differ little."""
  import absl.logging

  said: set[str] = set()

  def is_new(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    seen = text in said
    said.add(text)
    return not seen

  logger = absl.logging.get_absl_logger()
  logger.addFilter(is_new)
  try:
    yield
  finally:
    logger.removeFilter(is_new)


def _verbosity_is_asked_for() -> bool:
  """Whether --verbosity is on the command line; `app.run` sets it to INFO by itself."""
  import absl.flags

  return 'verbosity' in absl.flags.FLAGS and bool(absl.flags.FLAGS['verbosity'].present)


class _KerasCoreSilencer(importlib.abc.MetaPathFinder):
  """Tells keras_core not to print, as soon as its printing module is loaded; works once."""

  def find_spec(
    self,
    fullname: str,
    path: Sequence[str] | None,
    target: types.ModuleType | None = None,
  ) -> importlib.machinery.ModuleSpec | None:
    if fullname != _KERAS_CORE_PRINTER:
      return None
    sys.meta_path.remove(self)
    spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
    if spec is not None and spec.loader is not None:
      load = spec.loader.exec_module

      def load_and_silence(module: types.ModuleType) -> None:
        load(module)
        module.disable_interactive_logging()

      spec.loader.exec_module = load_and_silence  # type: ignore[method-assign]
    return spec


def say(text: str) -> None:
  """Prints one message to standard output at once.

  Args:
    text: the message. It replaces a progress bar on the terminal's current line, and the bar's next update
      draws it again below.
  """
  shared = _is_terminal(sys.stdout) and _is_terminal(sys.stderr)
  print(f'\r{_ERASE_REST}{text}' if shared else text, flush=True)


def note(text: str) -> None:
  """Prints a line to standard error without disturbing the progress bar; it does not go into a stage's log."""
  print(text, file=sys.stderr, flush=True)


@functools.cache
def note_once(text: str) -> None:
  """As `note`, unless this process has already said it."""
  note(text)


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
  """Renders rows as aligned plain text.

  Args:
    rows: cells; floats are shown with three decimals, None as `-`, others by `str`.
    headers: one per column.

  Returns:
    Lines without a trailing newline: headers, a rule, one per row. Columns are two spaces apart. A
    column that holds only numbers and None is right-aligned.

  Raises:
    ValueError: a row is not as long as `headers`.
  """
  for row in rows:
    if len(row) != len(headers):
      raise ValueError(f'A row has {len(row)} cells, but there are {len(headers)} headers: {row!r}')
  columns = list(zip(*rows, strict=True)) if rows else [()] * len(headers)
  rendered = []
  for header, column in zip(headers, columns, strict=True):
    cells = [header, *(_cell(value) for value in column)]
    width = max(len(cell) for cell in cells)
    numeric = column and all(value is None or _is_number(value) for value in column)
    cells = [cell.rjust(width) if numeric else cell.ljust(width) for cell in cells]
    rendered.append([cells[0], '-' * width, *cells[1:]])
  return '\n'.join('  '.join(line).rstrip() for line in zip(*rendered, strict=True))


class Stream(Protocol):
  """A text stream that progress is written to."""

  def write(self, text: str, /) -> Any: ...

  def flush(self) -> Any: ...

  def fileno(self) -> int: ...


class Progress:
  """Progress of a loop: one line that is redrawn on a terminal, plain lines elsewhere.

  The rate, and the time to go that follows from it, are taken over the last half minute, so a slow
  first step is soon forgotten. What was done before the start counts as done but not as speed.

  Use as a context manager, or call `close`.
  """

  _WINDOW_SECONDS = 30.0
  _REDRAW_SECONDS = 0.1
  _LINE_SECONDS = 30.0
  _LINE_FRACTION = 0.1
  _BAR_WIDTH = 24

  def __init__(
    self,
    label: str,
    total: int | None,
    unit: str = 'steps',
    stream: Stream | None = None,
    initial: int = 0,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Starts the clock.

    Args:
      label: what the line begins with.
      total: number of items at the end, those before the start included; None when unknown.
      unit: plural name of the items.
      stream: where to write; standard error when None.
      initial: items that an earlier process has done.
      clock: returns seconds.
    """
    self._label = label
    self._total = total
    self._unit = unit
    self._initial = initial
    self._stream: Stream = sys.stderr if stream is None else stream
    self._clock = clock
    self._terminal = _is_terminal(self._stream)
    self._done = initial
    self._values: dict[str, Any] = {}
    self._began = self._shown_at = clock()
    self._shown_done: int | None = None
    self._next_fraction = self._fraction() + self._LINE_FRACTION
    self._samples = collections.deque([(self._began, initial)])
    self._closed = False

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, *unused: object) -> None:
    self.close()

  def update(self, done: int, **values: object) -> None:
    """Notes progress and shows it when it is time to.

    Args:
      done: items done so far, `initial` included.
      **values: what to show next to it, for instance losses; kept until the next value of that name.
    """
    now = self._clock()
    self._done = done
    self._values.update(values)
    self._sample(now)
    if self._is_due(now):
      self._show(now)

  def close(self) -> None:
    """Shows the last state, and ends the line on a terminal. Further calls do nothing."""
    if self._closed:
      return
    self._closed = True
    if self._shown_done != self._done:
      self._show(self._clock())
    if self._terminal:
      self._stream.write('\n')
      self._stream.flush()

  def _sample(self, now: float) -> None:
    """Remembers about sixty points of the window."""
    spacing = self._WINDOW_SECONDS / 60
    while len(self._samples) > 1 and self._samples[1][0] <= now - self._WINDOW_SECONDS:
      self._samples.popleft()
    if now - self._samples[-1][0] >= spacing:
      self._samples.append((now, self._done))

  def _rate(self, now: float) -> float:
    """Items per second over the window; 0 before anything is known."""
    then, done = self._samples[0]
    return max(0.0, (self._done - done) / (now - then)) if now > then else 0.0

  def _fraction(self) -> float:
    return min(1.0, self._done / self._total) if self._total else 0.0

  def _is_due(self, now: float) -> bool:
    finished = self._total is not None and self._done >= self._total
    if finished:
      return self._shown_done != self._done
    waited = now - self._shown_at
    if self._terminal:
      return self._shown_done is None or waited >= self._REDRAW_SECONDS
    # A rounding error must not delay a line by one update.
    return waited >= self._LINE_SECONDS or self._fraction() >= self._next_fraction - 1e-9

  def _show(self, now: float) -> None:
    if self._terminal:
      width = max(20, _width(self._stream) - 1)
      self._stream.write(f'\r{self._line(now, width)}{_ERASE_REST}')
    else:
      self._stream.write(f'{self._line(now, None)}\n')
    self._stream.flush()
    self._shown_at = now
    self._shown_done = self._done
    while self._next_fraction <= self._fraction() + 1e-9:
      self._next_fraction += self._LINE_FRACTION

  def _line(self, now: float, width: int | None) -> str:
    """The text; with a width it has a bar, and parts that do not fit are dropped from the right."""
    count = f'{self._done}' if self._total is None else f'{self._done}/{self._total}'
    parts = [f'{count} {self._unit}', *self._speed(now)]
    parts += [f'{name} {_cell(value)}' for name, value in self._values.items()]
    head = self._label
    if self._total is not None:
      head += f' {int(100 * self._fraction()):3d}%'
    if width is None:
      return '  '.join([head, *parts])
    bar = self._bar() if self._total is not None else ''
    essential = '  '.join([f'{head} {bar}'.rstrip(), *parts[:2]])
    line = f'{head} {bar}'.rstrip() if len(essential) <= width else head
    for part in parts:
      if len(line) + 2 + len(part) > width:
        break
      line += f'  {part}'
    return line[:width]

  def _bar(self) -> str:
    filled = int(self._BAR_WIDTH * self._fraction())
    return f'[{"#" * filled}{"." * (self._BAR_WIDTH - filled)}]'

  def _speed(self, now: float) -> list[str]:
    """Time to go, or the time it took; and items per second."""
    rate = self._rate(now)
    if self._total is not None and self._done >= self._total:
      elapsed = now - self._began
      rate = (self._done - self._initial) / elapsed if elapsed > 0 else 0.0
      timing = [f'took {duration(elapsed)}']
    elif self._total is None:
      timing = []
    else:
      timing = [f'ETA {duration((self._total - self._done) / rate)}' if rate else 'ETA -']
    return [*timing, f'{_significant(rate)} {self._unit}/s'] if rate else timing


def _is_terminal(stream: object) -> bool:
  isatty = getattr(stream, 'isatty', None)
  return bool(isatty and isatty()) and os.environ.get('TERM') != 'dumb'


def _width(stream: Stream) -> int:
  """Width of a stream's terminal in columns: COLUMNS, the terminal's answer, or 80."""
  try:
    columns = int(os.environ.get('COLUMNS', '0'))
    return columns if columns > 0 else os.get_terminal_size(stream.fileno()).columns or 80
  except (AttributeError, ValueError, OSError):
    return shutil.get_terminal_size().columns


def duration(seconds: float) -> str:
  """`m:ss`, or `h:mm:ss` from an hour on."""
  minutes, second = divmod(round(seconds), 60)
  hours, minute = divmod(minutes, 60)
  return f'{hours}:{minute:02d}:{second:02d}' if hours else f'{minute}:{second:02d}'


def _is_number(value: object) -> TypeGuard[SupportsFloat]:
  # NumPy's and TensorFlow's scalars are numbers too, and this module imports neither.
  return not isinstance(value, bool | str) and hasattr(value, '__float__')


def _cell(value: object) -> str:
  if value is None:
    return '-'
  if not _is_number(value):
    return str(value)
  if isinstance(value, SupportsIndex):
    # A tensor or an array has the method, with any content.
    with contextlib.suppress(TypeError):
      return str(operator.index(value))
  number = float(value)
  return f'{number:.3f}' if number == 0 or 1e-3 <= abs(number) < 1e6 else f'{number:.3g}'


def _significant(rate: float) -> str:
  """Three digits at most, never in scientific form."""
  return f'{rate:.0f}' if rate >= 100 else f'{rate:.3g}'
