"""Reads the long lists of a JSON file one entry at a time, so that memory does not grow with the file."""

import contextlib
import itertools
import json
import os
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, TextIO

from official_selftrain.core import errors

# Characters that are read at once; tests read fewer.
_CHUNK = 1 << 20
# At least the longest word of JSON that can be cut off at the end of what was read, `-Infinity`.
_MARGIN = 16
_BLANK = ' \t\r\n'
_DECODER = json.JSONDecoder()


class Entry(NamedTuple):
  """One entry of a list.

  Attributes:
    name: the list's key in the outermost object.
    number: place in the list, from 0 on.
    value: the parsed entry.
    text: the same as it is in the file.
  """

  name: str
  number: int
  value: Any
  text: str


class Lists:
  """Some lists in the outermost object of a JSON file.

  Attributes:
    path: the file, in UTF-8 with or without a byte order mark.
    found: the names of the lists that `entries` has come to so far, those without entries included.
  """

  def __init__(self, path: str | os.PathLike[str], names: Collection[str]) -> None:
    """Takes the file and the keys of the lists; nothing is read yet."""
    self.path = os.fspath(path)
    self.found: set[str] = set()
    self._names = frozenset(names)

  def entries(self) -> Iterator[Entry]:
    """The entries of the lists, in the order of the file; all else is passed over.

    Memory is that for the longest entry and for some MB of the file. NaN and infinities are read as `json` reads them.

    Raises:
      DataError: the file cannot be read, is no JSON or no object, or one of the lists is something else.
    """
    with _opened(self.path) as text:
      yield from self._entries(text)

  def _entries(self, text: '_Text') -> Iterator[Entry]:
    if text.peek() not in ('{', ''):
      raise errors.DataError(f'{self.path} does not hold a JSON object. {self._expected()}')
    for _ in text.parts('{', '}'):
      name = text.key()
      if name not in self._names:
        text.skip()
        continue
      if text.peek() != '[':
        raise errors.DataError(f'{self.path}: {name} is not a list. {self._expected()}')
      self.found.add(name)
      for number in text.parts('[', ']'):
        yield Entry(name, number, *text.value())
    text.end()

  def _expected(self) -> str:
    return f'Expected: an object with the lists {", ".join(sorted(self._names))}.'


def items_of(path: str) -> Iterator[Any]:
  """The items of a file that is one JSON list, one at a time.

  Raises:
    DataError: the file cannot be read, is no JSON or no list.
  """
  with _opened(path) as text:
    if text.peek() not in ('[', ''):
      raise errors.DataError(f'{path} does not hold a JSON list.')
    for _ in text.parts('[', ']'):
      yield text.value()[0]
    text.end()


@contextlib.contextmanager
def _opened(path: str) -> Iterator['_Text']:
  """Opens a file of JSON in UTF-8; errors of reading it become those for the user."""
  try:
    with open(path, encoding='utf-8-sig', newline='') as stream:
      yield _Text(stream)
  except RecursionError:
    raise errors.DataError(f'{path} is no JSON: it is nested too deeply.') from None
  except OSError as error:
    raise errors.DataError(f'{path} cannot be read: {error.strerror}.') from error
  except UnicodeDecodeError as error:
    raise errors.DataError(
      f'{path} cannot be read: it is not UTF-8 ({error.reason}). Save it as UTF-8.'
    ) from error
  except _SyntaxError as error:
    raise errors.DataError(f'{path} is no JSON: {error}. Restore the file.') from error


class _SyntaxError(Exception):
  """What is wrong with a text, and where."""


class _Text:
  """JSON text, of which a part is in memory, and a place in it."""

  def __init__(self, stream: TextIO) -> None:
    self._stream = stream
    self._buffer = ''
    # Of the next character, in the buffer.
    self._next = 0
    # Of the buffer's first character, from 0 on.
    self._line = self._column = 0
    self._is_at_end = False

  def peek(self) -> str:
    """Goes over blanks; returns the next character, which stays, or '' at the end."""
    while True:
      while self._next < len(self._buffer):
        if self._buffer[self._next] not in _BLANK:
          return self._buffer[self._next]
        self._next += 1
      if self._is_at_end:
        return ''
      self._grow()

  def place(self, index: int | None = None) -> str:
    """Line and column of a character of the buffer, from 1 on, by default of the next one."""
    line, column = self._place(self._next if index is None else index)
    return f'line {line + 1}, column {column + 1}'

  def key(self) -> str:
    """Takes a key of an object, and the colon after it."""
    if self.peek() != '"':
      raise _SyntaxError(f'expected a key in double quotes at {self.place()}')
    name, _ = self.value()
    self._take(':')
    return str(name)

  def parts(self, opening: str, closing: str) -> Iterator[int]:
    """Numbers the parts of a list or object; each must be taken before the next is asked for."""
    self._take(opening)
    if self.peek() != closing:
      for index in itertools.count():
        yield index
        if self.peek() == closing:
          break
        self._take(',')
    self._take(closing)

  def value(self) -> tuple[Any, str]:
    """Takes a value; returns it and its text."""
    self.peek()
    while True:
      try:
        value, end = _DECODER.raw_decode(self._buffer, self._next)
      except json.JSONDecodeError as error:
        # What is wrong at the end, or a string without an end, may be right when more has been read.
        is_cut = error.pos + _MARGIN > len(self._buffer) or error.msg.startswith('Unterminated')
        if self._is_at_end or not is_cut:
          raise _SyntaxError(f'{error.msg} at {self.place(error.pos)}') from None
      except ValueError as error:
        # An integer of more than 4,300 digits.
        raise _SyntaxError(f'{error} at {self.place()}') from None
      else:
        # A number near the end may go on.
        if self._is_at_end or end + _MARGIN <= len(self._buffer):
          text = self._buffer[self._next : end]
          self._next = end
          return value, text
      self._grow()

  def skip(self) -> None:
    """Takes a value and forgets it, a list or object part by part."""
    if self.peek() == '[':
      for _ in self.parts('[', ']'):
        self.value()
    elif self.peek() == '{':
      for _ in self.parts('{', '}'):
        self.key()
        self.value()
    else:
      self.value()

  def end(self) -> None:
    """Raises an error if there is more than blanks."""
    if self.peek():
      raise _SyntaxError(f'there is more after its end, at {self.place()}')

  def _take(self, character: str) -> None:
    if self.peek() != character:
      raise _SyntaxError(f'expected {character!r} at {self.place()}')
    self._next += 1

  def _place(self, index: int) -> tuple[int, int]:
    """Line and column of a character of the buffer, from 0 on."""
    lines = self._buffer.count('\n', 0, index)
    if lines:
      return self._line + lines, index - self._buffer.rindex('\n', 0, index) - 1
    return self._line, self._column + index

  def _grow(self) -> None:
    """Drops what has been taken and reads more; at least as much as is left, so that a long value takes few tries."""
    self._line, self._column = self._place(self._next)
    left = self._buffer[self._next :]
    more = self._stream.read(max(_CHUNK, len(left)))
    self._is_at_end = not more
    self._buffer = left + more
    self._next = 0
