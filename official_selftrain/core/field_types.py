"""Compares values with the annotations of Model Garden configs.

Nothing here changes a config: `fit_config` returns what to put into it and the list of everything
that does not fit.
"""

import copy
import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union

if TYPE_CHECKING:
  from official.modeling import hyperparams

# 1e-4 in quotation marks; YAML 1.1 readers also read it as text without them.
_EXPONENT = re.compile(r'[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+')
_SCALARS = (bool, int, float, str)
_MAX_REPR = 80


@dataclasses.dataclass(frozen=True)
class Problem:
  """One override that is refused.

  Attributes:
    name: dotted name of the field.
    value: the value that was given.
    reason: what is wrong, what is allowed, and what to do.
  """

  name: str
  value: object
  reason: str

  def __str__(self) -> str:
    text = repr(self.value)
    text = text if len(text) <= _MAX_REPR else f'{text[: _MAX_REPR - 3]}...'
    stop = '' if self.reason.endswith('?') else '.'
    return f'{self.name} = {text} ({_kind(self.value)}): {self.reason}{stop}'


# What to put into the config (None when there are problems), and the problems.
_Fit = tuple[Any, list[Problem]]


def fit_config(
  config: 'hyperparams.Config', overrides: Mapping[str, Any], name: str = ''
) -> tuple[dict[str, Any], list[Problem]]:
  """Compares overrides with the fields of a config, at every depth.

  Args:
    config: the config that would be changed; left alone.
    overrides: nested dictionaries of new values.
    name: dotted name of `config`, empty at the top.

  Returns:
    What to pass to `merge_into`: dictionaries where a config is merged into, finished values
    elsewhere; and the problems, in the order of `overrides`.
  """
  hints = _hints(type(config))
  known = [field for field in config.__dict__ if field not in config.RESERVED_ATTR]
  merged: dict[str, Any] = {}
  problems = []
  for field, value in overrides.items():
    path = f'{name}.{field}' if name else f'{field}'
    if field not in known:
      problems.append(Problem(path, value, _unknown(field, known, name)))
      continue
    current = config.__dict__[field]
    annotation = hints.get(field, Any)
    if field == 'type' and is_one_of(config):
      annotation = _choice(known, annotation)
    merged[field], found = _fit_field(annotation, current, value, path)
    problems += found
  return merged, problems


def merge_into(config: 'hyperparams.Config', merged: Mapping[str, Any]) -> None:
  """Puts what `fit_config` returned into the config that it was made for."""
  # `override` cannot replace text by a mapping, or a list by another list, so these are
  # emptied first.
  config.override(_emptied(merged), is_strict=True)
  config.override(merged, is_strict=True)


def is_one_of(config: object) -> bool:
  """Whether `config` is a Model Garden one-of config: `type` names the field that counts."""
  return isinstance(config, _hyperparams().OneOfConfig)


def describe(annotation: object) -> str:
  """The values that an annotation allows, in a user's words: `float`, `list of int`, `one of a, b or null`."""
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if annotation is type(None):
    return 'null'
  if origin in (Union, types.UnionType):
    parts = [describe(arg) for arg in args if arg is not type(None)]
    return ' or '.join(dict.fromkeys(parts + ['null'] * (type(None) in args)))
  if origin is Literal:
    return 'one of ' + ', '.join(_plain(arg) for arg in args)
  container: Any = origin or annotation
  if _is_class(container, Mapping):
    return f'mapping of {describe(args[0])} to {describe(args[1])}' if args else 'mapping'
  if _is_config(container):
    return 'mapping' if not _hints(container) else f'mapping with settings of {container.__name__}'
  if _is_sequence(container):
    if not args:
      return 'list'
    if _is_class(container, tuple) and args[-1] is not Ellipsis:
      return f'list of {len(args)} values ({", ".join(describe(arg) for arg in args)})'
    return f'list of {describe(args[0])}'
  return (
    'text, number, bool, null, list or mapping'
    if annotation is Any
    else getattr(annotation, '__name__', str(annotation))
  )


def _fit_field(annotation: object, current: object, value: object, path: str) -> _Fit:
  """`_fit`, but a field whose own current value breaks its annotation takes that type as well."""
  result, problems = _fit(annotation, current, value, path)
  if not problems or _is_params(current) or type(value) is not type(current):
    return result, problems
  return (value, []) if _fit(annotation, current, current, path)[1] else (result, problems)


def _fit(annotation: object, current: object, value: object, path: str) -> _Fit:
  """Compares one value with an annotation; `current` is the value that it would replace."""
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin in (Union, types.UnionType):
    return _fit_union(args, annotation, current, value, path)
  container: Any = origin or annotation
  if isinstance(value, Mapping) and _is_config(container):
    return _fit_mapping(container, current, value, path)
  if isinstance(value, Mapping) and (annotation is Any or _is_class(container, Mapping)):
    return _fit_free(args[1] if args else Any, current, value, path)
  if isinstance(value, list | tuple) and (annotation is Any or _is_sequence(container)):
    return _fit_list(container, args, current, value, path)
  if origin is Literal:
    fits = any(value == arg and type(value) is type(arg) for arg in args)
    return (value, []) if fits else (None, [_mismatch(annotation, value, path)])
  if annotation is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
    return float(value), []
  if annotation is float and type(value) is int:
    return float(value), []
  scalar = value is None or isinstance(value, _SCALARS)
  if scalar and annotation in (Any, type(value)):
    return value, []
  return None, [_mismatch(annotation, value, path)]


def _fit_union(
  args: Sequence[Any], annotation: object, current: object, value: object, path: str
) -> _Fit:
  # An exact type first: 1 stays an int in Union[float, int], '1e-4' text in Union[str, float].
  exact = sorted(args, key=lambda arg: type(value) is not arg)
  attempts = [_fit(arg, current, value, path) for arg in exact]
  for result, problems in attempts:
    if not problems:
      return result, []
  # Problems deeper than this field tell more than that the whole value fits no member.
  for _, problems in attempts:
    if any(problem.name != path for problem in problems):
      return None, problems
  return None, [_mismatch(annotation, value, path)]


def _fit_mapping(cls: type, current: object, value: Mapping[str, Any], path: str) -> _Fit:
  """A mapping for a field annotated with a config class."""
  if _is_params(current) and _hints(type(current)):
    return fit_config(current, value, path)
  if not _hints(cls):
    return _fit_free(Any, current, value, path)
  # Built here, because the Model Garden finds the class in `Optional[X]` but not in `X | None`.
  return _built(cls(), value, path)


def _fit_free(element: Any, current: object, value: Mapping[str, Any], path: str) -> _Fit:
  """A mapping for a config without declared fields, merged into the old one."""
  fresh = _hyperparams().Config()
  result: Any = copy.deepcopy(current) if _is_params(current) else fresh
  problems = []
  for key, inner in value.items():
    name = f'{path}.{key}'
    if not isinstance(key, str) or key in fresh.RESERVED_ATTR:
      reason = 'is reserved' if isinstance(key, str) else f'must be text, got {key!r}'
      problems.append(Problem(name, inner, f'the name {reason}'))
      continue
    fitted, found = _fit(element, result.__dict__.get(key), inner, name)
    problems += found
    if not found:
      if key not in result:
        result.override({key: None}, is_strict=False)
      merge_into(result, {key: fitted})
  return result, problems


def _fit_list(
  container: Any, args: tuple[Any, ...], current: object, value: Sequence[Any], path: str
) -> _Fit:
  fixed = _is_class(container, tuple) and args and args[-1] is not Ellipsis
  if fixed and len(args) != len(value):
    whole = container[args]
    return None, [_mismatch(whole, value, path)]
  elements = args if fixed else [args[0] if args else Any] * len(value)
  olds: Sequence[object] = [None] * len(value)
  if isinstance(current, list | tuple) and len(current) == len(value):
    olds = current
  results, problems = [], []
  for index, (element, inner) in enumerate(zip(elements, value, strict=True)):
    name = f'{path}[{index}]'
    if isinstance(inner, list | tuple):
      # The Model Garden's configs hold one level of lists only.
      problems.append(Problem(name, inner, 'a list inside a list is not supported'))
      continue
    old = olds[index]
    result, found = _fit(element, old, inner, name)
    if isinstance(result, dict) and not found:
      result, _ = _built(copy.deepcopy(old), inner, name)
    results.append(result)
    problems += found
  if not problems and len({_is_params(result) for result in results}) > 1:
    return None, [Problem(path, value, 'mappings and plain values cannot share a list')]
  return (tuple(results) if _is_class(container, tuple) else results), problems


def _built(config: 'hyperparams.Config', value: Mapping[str, Any], path: str) -> _Fit:
  """`config`, which nobody else holds, with `value` merged into it."""
  merged, problems = fit_config(config, value, path)
  if not problems:
    merge_into(config, merged)
  return config, problems


def _emptied(merged: Mapping[str, Any]) -> dict[str, Any]:
  return {k: _emptied(v) if isinstance(v, dict) else None for k, v in merged.items()}


def _unknown(field: object, known: Sequence[str], name: str) -> str:
  """Why a name is refused, and which are allowed."""
  where = f'in {name}' if name else 'at the top level'
  allowed = f'Allowed {where}: {", ".join(sorted(known)) or "nothing"}'
  if not isinstance(field, str):
    return f'the name {field!r} is not text; quote it. {allowed}'
  if '.' in field and field.partition('.')[0] in known:
    return f'unknown name; in YAML write nested mappings instead of dots. {allowed}'
  close = difflib.get_close_matches(field, known, n=1)
  if close:
    return f'unknown name, did you mean {close[0]!r}? {allowed}'
  return f'unknown name. {allowed}'


def _mismatch(annotation: object, value: object, path: str) -> Problem:
  reason = f'must be {describe(annotation)}'
  hint = _hint(annotation, value)
  return Problem(path, value, f'{reason}; {hint}' if hint else reason)


def _hint(annotation: object, value: object) -> str:
  """A suggestion of what to write instead, if there is one."""
  members = _members(annotation)
  choices = [a for m in members if typing.get_origin(m) is Literal for a in typing.get_args(m)]
  text_choices = [choice for choice in choices if isinstance(choice, str)]
  if isinstance(value, str):
    close = difflib.get_close_matches(value, text_choices, n=1)
    if close:
      return f'did you mean {close[0]!r}?'
  if bool in members and value in (0, 1) and type(value) is int:
    return f'write {_plain(bool(value))}'
  if int in members and isinstance(value, float) and value.is_integer():
    return f'write {int(value)}'
  if str in members or Any in members or text_choices:
    if isinstance(value, bool):
      return 'YAML reads unquoted yes, no, on, off, true and false as bool, so quote it'
    if value is None and str in members:
      return "write '' for empty text"
    if value is not None and not isinstance(value, str | Mapping | list | tuple):
      return 'quote it'
  lists = [member for member in members if _is_sequence(typing.get_origin(member) or member)]
  if lists and isinstance(value, _SCALARS) and not _fit(lists[0], None, [value], '')[1]:
    return f'write [{_plain(value)}]'
  return ''


def _members(annotation: object) -> list[Any]:
  if typing.get_origin(annotation) in (Union, types.UnionType):
    return list(typing.get_args(annotation))
  return [annotation]


def _choice(known: Sequence[str], annotation: object) -> Any:
  """Allowed values of the `type` of a one-of config: its other fields, and null where annotated so."""
  names = tuple(sorted(field for field in known if field != 'type'))
  optional = type(None) in _members(annotation)
  choice: Any = Literal[names]
  return choice | None if optional else choice


def _kind(value: object) -> str:
  if value is None:
    return 'null'
  if isinstance(value, Mapping):
    return 'mapping'
  return 'list' if isinstance(value, list | tuple) else type(value).__name__


def _plain(value: object) -> str:
  """A scalar as YAML has it."""
  if value is None:
    return 'null'
  return str(value).lower() if isinstance(value, bool) else str(value)


def _is_class(annotation: object, base: type) -> bool:
  return isinstance(annotation, type) and issubclass(annotation, base)


def _is_config(annotation: object) -> bool:
  return _is_class(annotation, _hyperparams().ParamsDict)


def _is_params(value: object) -> bool:
  return isinstance(value, _hyperparams().ParamsDict)


def _is_sequence(annotation: object) -> bool:
  return _is_class(annotation, Sequence) and not _is_class(annotation, str)


def _hints(cls: type) -> Mapping[str, Any]:
  """Annotations of a config class without those of its base class; empty for a free-form config."""
  base = _hyperparams().Config
  if not issubclass(cls, base):
    return {}
  return {
    name: hint
    for name, hint in typing.get_type_hints(cls).items()
    if name not in base.__annotations__
  }


def _hyperparams() -> Any:
  from official.modeling import hyperparams  # Imports TensorFlow.

  return hyperparams
