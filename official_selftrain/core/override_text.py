"""Reads overrides as users write them: `--params_override` text and YAML files.

The text has the Model Garden's form. It is read here and not by
`params_dict.nested_csv_str_to_json_str`, because that function refuses nested lists, silently
loses one of `a=1,a.b=2`, and costs the import of TensorFlow before a typing error can be
reported.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from official_selftrain.core import errors

FLAG = '--params_override'

# Key of a settings file: the files that it builds on.
BASE = 'base'

_ASSIGNMENT = re.compile(r'\s*(?P<name>[A-Za-z_]\w*(?:\.\w+)*)\s*=(?P<value>.*)', re.DOTALL)
# The largest settings here have a few hundred.
_MAX_VALUES = 100_000
_CLOSING = {'[': ']', '{': '}', '(': ')'}

# YAML 1.2 floats. YAML 1.1, which PyYAML reads, reads 1e-4 and 1.5e3 as text.
_FLOAT = re.compile(r'[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$')


class _Loader(yaml.FullLoader):
  """Reads what the Model Garden writes to params.yaml, tuples too; refuses a key given twice."""

  def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
      if not isinstance(key, yaml.ScalarNode) or key.tag == 'tag:yaml.org,2002:merge':
        continue
      if key.value in seen:
        raise yaml.constructor.ConstructorError(
          None, None, f'{key.value!r} is given twice', key.start_mark
        )
      seen.add(key.value)
    return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver('tag:yaml.org,2002:float', _FLOAT, list('-+.0123456789'))


def parse_override(text: str) -> dict[str, Any]:
  """Reads the value of `--params_override`.

  Args:
    text: `a.b.c=1,d.e=[1, 2],x=true,lr=1e-3`, where each value is YAML, or one YAML or JSON
      mapping. Of two values for one name the last holds.

  Returns:
    Nested dictionaries; {} for blank text.

  Raises:
    ConfigError: the text has neither form, or a name is given both a value and settings of its own.
  """
  if not text.strip():
    return {}
  if _ASSIGNMENT.match(text):
    result: dict[str, Any] = {}
    for assignment in _split(text):
      _assign(result, assignment)
    return result
  return _read_mapping(text, FLAG, 'name=value,name=value or a YAML mapping')


def read_override_layers(*paths: str | os.PathLike[str]) -> list[tuple[dict[str, Any], str]]:
  """Reads YAML files of `--config_file`, in their order, and the files that each builds on.

  The key `base` names one file or several, relative to the file with the key. They come first, in the order in which
  they are named and each after its own bases, so that later files and the file itself win. A file that is reached
  twice, from one of the files or from two, counts once, at its first place. `base` itself is not a setting and is left
  out.

  Args:
    *paths: local files, or addresses such as gs://bucket/file.yaml that TensorFlow can open.

  Returns:
    Nested dictionaries and the name of the file that each comes from, in the order in which they apply.

  Raises:
    ConfigError: a file is missing, unreadable, not YAML, or not a mapping, with file and line; `base` is not a file
      or list of them; files build on each other in a circle.
  """
  layers: dict[str, tuple[dict[str, Any], str]] = {}
  for path in paths:
    _add_layers(layers, os.fspath(path), ())
  return list(layers.values())


def read_override_file(path: str | os.PathLike[str]) -> dict[str, Any]:
  """The settings of a YAML file of `--config_file` over those of the files that it builds on.

  Args:
    path: see `read_override_layers`.

  Returns:
    Nested dictionaries without the key `base`. A mapping is merged into the mapping below it; any other value,
    lists included, replaces the one below.

  Raises:
    ConfigError: see `read_override_layers`.
  """
  result: dict[str, object] = {}
  for settings, _ in read_override_layers(path):
    _put_over(result, settings)
  return result


def _add_layers(
  layers: dict[str, tuple[dict[str, Any], str]], name: str, above: Sequence[str]
) -> None:
  """Adds a file after its bases; `above` has the files that led to it, in order."""
  identity = _identity(name)
  if identity in [_identity(other) for other in above]:
    circle = ' -> '.join([*above, name])
    raise errors.ConfigError(f'{BASE}: files build on each other in a circle: {circle}.')
  if identity in layers:
    return
  settings = _read_mapping(_read_text(name, above), name, 'a YAML mapping of settings')
  for base in _bases(settings.pop(BASE, []), name):
    _add_layers(layers, base, (*above, name))
  layers[identity] = settings, name


def _bases(value: object, name: str) -> list[str]:
  """Names of the files in `value`, which is the `base` of the file `name`."""
  named = [value] if isinstance(value, str) else value
  if not isinstance(named, list) or not all(_may_be_name(base) for base in named):
    raise errors.ConfigError(
      f'{name}: {BASE} is {_shorten(value)}; expected the name of a file, or a list of names.'
    )
  return [_beside(name, base) for base in named]


def _may_be_name(base: object) -> bool:
  """Whether the system could have a file of this name."""
  if not isinstance(base, str) or not base or '\0' in base:
    return False
  try:
    os.fsencode(base)
  except UnicodeEncodeError:
    return False
  return True


def _beside(name: str, other: str) -> str:
  """The file `other`, named relative to the file `name`; either may be an address."""
  if '://' in other or os.path.isabs(other):
    return other
  if '://' in name:
    return f'{name.rpartition("/")[0]}/{other}'
  return os.path.normpath(os.path.join(os.path.dirname(name), other))


def _identity(name: str) -> str:
  return name if '://' in name else os.path.realpath(name)


def _put_over(below: dict[str, object], settings: Mapping[str, object]) -> None:
  """Merges `settings` into `below`, mapping by mapping; other values replace those below."""
  for key, value in settings.items():
    if isinstance(value, Mapping):
      inner = below.get(key)
      merged: dict[str, object] = dict(inner) if isinstance(inner, Mapping) else {}
      _put_over(merged, value)
      below[key] = merged
    else:
      below[key] = value


def _read_text(name: str, above: Sequence[str]) -> str:
  """Content of a file; messages say which file names it as its base, if one does."""
  wanted_by = f'{above[-1]}: {BASE}' if above else '--config_file'
  try:
    if '://' in name:
      import tensorflow as tf  # TensorFlow is slow to import, and local files do not need it.

      if not tf.io.gfile.exists(name):
        raise FileNotFoundError
      with tf.io.gfile.GFile(name, 'rb') as stream:
        content = stream.read()
    else:
      with open(name, 'rb') as stream:
        content = stream.read()
    return content.decode('utf-8')
  except FileNotFoundError:
    raise errors.ConfigError(f'{wanted_by}: {name!r} does not exist.') from None
  except UnicodeDecodeError as error:
    line = content.count(b'\n', 0, error.start) + 1
    raise errors.ConfigError(f'{name}:{line}: is not UTF-8 text.') from None
  except OSError as error:
    raise errors.ConfigError(f'{wanted_by}: cannot read {name!r}: {error.strerror}.') from None


def _read_mapping(text: str, origin: str, form: str) -> dict[str, Any]:
  """YAML `text` as a dictionary; errors start with `origin` and the line."""
  with _refused(lambda error: _explain(origin, error), origin):
    loader = _Loader(text)
    try:
      node = loader.get_single_node()
      if node is None:
        raise errors.ConfigError(f'{origin}: is empty; expected {form}.')
      value = loader.construct_document(node)
    finally:
      loader.dispose()
    if not isinstance(node, yaml.MappingNode):
      where = _where(origin, node.start_mark)
      raise errors.ConfigError(f'{where}: expected {form}, got {_shorten(value)}.')
    _check_size(value, origin)
    return value


@contextlib.contextmanager
def _refused(explain: Callable[[yaml.YAMLError], str], origin: str) -> Iterator[None]:
  """Turns what the YAML reader raises into ConfigError."""
  try:
    yield
  except yaml.YAMLError as error:
    raise errors.ConfigError(explain(error)) from None
  except RecursionError:
    raise errors.ConfigError(f'{origin}: is nested too deeply.') from None
  # PyYAML's constructors of numbers and dates pass on what Python raises.
  except ValueError as error:
    if isinstance(error, errors.ConfigError):
      raise
    raise errors.ConfigError(f'{origin}: {errors.first_line(error)}.') from None


def _check_size(value: object, origin: str) -> None:
  """Refuses settings that are small only on paper: a few aliases (`*a`) of aliases may stand for billions of values."""
  count, waiting = 0, [value]
  while waiting:
    each = waiting.pop()
    count += 1
    if count > _MAX_VALUES:
      raise errors.ConfigError(f'{origin}: there are more than {_MAX_VALUES:,} values in it.')
    if isinstance(each, Mapping):
      waiting.extend(each.values())
    elif isinstance(each, list | tuple | set):
      waiting.extend(each)


def _explain(origin: str, error: yaml.YAMLError) -> str:
  """Where and what is wrong, from an error of the YAML reader."""
  mark = getattr(error, 'problem_mark', None) or getattr(error, 'context_mark', None)
  problem = getattr(error, 'problem', None) or getattr(error, 'reason', None) or 'cannot be read'
  column = f' (column {mark.column + 1})' if mark else ''
  return f'{_where(origin, mark)}: is not valid YAML{column}: {problem}.'


def _where(origin: str, mark: yaml.Mark | None) -> str:
  """A file with the line; a flag is one line."""
  return origin if mark is None or origin == FLAG else f'{origin}:{mark.line + 1}'


def _split(text: str) -> list[str]:
  """Cuts at commas outside brackets and quotation marks; a trailing comma is allowed."""
  parts = []
  closing: list[str] = []
  quote = ''
  begin = 0
  position = 0
  previous = '='
  while position < len(text):
    char = text[position]
    if quote:
      if char == '\\' and quote == '"':
        position += 1
      elif char == quote:
        quote = ''
    elif char in '\'"' and (previous in '=,:[{(' or text[position - 1] == char):
      # An apostrophe inside a word opens nothing; doubled inside quotes it means one apostrophe.
      quote = char
    elif char in _CLOSING:
      closing.append(_CLOSING[char])
    elif closing and char == closing[-1]:
      closing.pop()
    elif char == ',' and not closing:
      parts.append(text[begin:position])
      begin = position + 1
    if not char.isspace():
      previous = char
    position += 1
  if quote or closing:
    missing = quote or closing[-1]
    raise errors.ConfigError(f'{FLAG}: a closing {missing} is missing in {_shorten(text[begin:])}.')
  if text[begin:].strip():
    parts.append(text[begin:])
  return parts


def _assign(result: dict[str, Any], assignment: str) -> None:
  """Puts one `a.b=value` into nested dictionaries."""
  match = _ASSIGNMENT.fullmatch(assignment)
  if not match:
    raise errors.ConfigError(
      f'{FLAG}: expected name=value, got {_shorten(assignment.strip())}. Write a list as '
      '[1, 2], and put text with commas in quotation marks.'
    )
  name = match['name']

  def _explained(error: yaml.YAMLError) -> str:
    problem = getattr(error, 'problem', None) or 'not valid YAML'
    return (
      f'{FLAG}: cannot read {name} = {match["value"].strip()}: {problem}. Text with special '
      f"characters must be in quotation marks: {name}='...'."
    )

  with _refused(_explained, FLAG):
    value = yaml.load(match['value'], Loader=_Loader)
    _check_size(value, FLAG)
  for part in reversed(name.split('.')):
    value = {part: value}
  _merge(result, value, '')


def _merge(target: dict[str, Any], update: Mapping[str, Any], prefix: str) -> None:
  """Adds `update` to `target`, nested; `prefix` is the dotted name of both with its dot."""
  for key, value in update.items():
    name = f'{prefix}{key}'
    old = target.get(key)
    if isinstance(old, dict) and isinstance(value, dict):
      _merge(old, value, f'{name}.')
    elif key in target and isinstance(old, dict) != isinstance(value, dict):
      inner = next(iter(old if isinstance(old, dict) else value), '...')
      raise errors.ConfigError(
        f'{FLAG}: {name} is given a value of its own, and so is {name}.{inner}.'
      )
    else:
      target[key] = value


def _shorten(value: object, width: int = 80) -> str:
  text = repr(value)
  return text if len(text) <= width else f'{text[: width - 3]}...'
