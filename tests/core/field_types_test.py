"""Tests for comparing values with the annotations of configs."""

import copy
import dataclasses
import datetime
import typing
import unittest
from collections.abc import Mapping
from typing import Any, Literal, Optional, Union

from official.modeling import hyperparams

from official_selftrain.core import field_types

# Annotations as the Model Garden's configs have them; ruff would rather write `X | None`.
# ruff: noqa: UP006, UP007, UP045


@dataclasses.dataclass
class Head(hyperparams.Config):
  name: str = ''
  size: int = 1
  rate: float = 0.5


@dataclasses.dataclass
class Kind(hyperparams.OneOfConfig):
  type: Optional[str] = None
  big: Head = dataclasses.field(default_factory=lambda: Head(size=9))
  small: Head = dataclasses.field(default_factory=Head)


@dataclasses.dataclass
class FixedKind(hyperparams.OneOfConfig):
  type: str = 'big'
  big: Head = dataclasses.field(default_factory=Head)


@dataclasses.dataclass
class Everything(hyperparams.Config):
  flag: bool = False
  count: int = 3
  rate: float = 0.5
  text: str = 'a'
  maybe_text: Optional[str] = None
  maybe_count: int | None = None
  start: Literal['teacher', 'checkpoint', 'random'] = 'teacher'
  level: Optional[Literal[1, 2]] = None
  sizes: typing.List[int] = dataclasses.field(default_factory=lambda: [1, 2])
  rates: list[float] = dataclasses.field(default_factory=list)
  names: typing.Sequence[str] = ()
  pair: typing.Tuple[int, float] = (1, 0.5)
  shape: typing.Tuple[int, ...] = (1,)
  bare: list = dataclasses.field(default_factory=list)
  paths: Union[typing.Sequence[str], str, hyperparams.Config] = ''
  level_or_name: Union[int, str] = 2
  scale: Union[str, float, None] = None
  head: Head = dataclasses.field(default_factory=Head)
  maybe_head: Optional[Head] = None
  new_style_head: Head | None = None
  heads: typing.List[Head] = dataclasses.field(default_factory=list)
  kind: Kind = dataclasses.field(default_factory=Kind)
  fixed: FixedKind = dataclasses.field(default_factory=FixedKind)
  free: Optional[hyperparams.Config] = None
  weights: typing.Dict[str, float] = dataclasses.field(default_factory=dict)
  anything: Any = None
  badly_annotated: int = None


def _fit(**overrides):
  """A config with the overrides merged in, and the refusals as text."""
  config = Everything()
  merged, problems = field_types.fit_config(config, overrides)
  if not problems:
    field_types.merge_into(config, merged)
  return config, [str(problem) for problem in problems]


class AcceptedTest(unittest.TestCase):
  def test_values_of_the_annotated_type(self):
    cases = [
      ('flag', True, True),
      ('count', -2, -2),
      ('rate', 0.25, 0.25),
      ('rate', 1, 1.0),
      ('rate', '1e-4', 1e-4),
      ('rate', '-2.5E+3', -2500.0),
      ('text', '', ''),
      ('text', '1e-4', '1e-4'),
      ('maybe_text', None, None),
      ('maybe_text', 'b', 'b'),
      ('maybe_count', 4, 4),
      ('start', 'random', 'random'),
      ('level', 2, 2),
      ('level', None, None),
      ('sizes', [], []),
      ('sizes', (3, 4, 5), [3, 4, 5]),
      ('rates', [1, '1e-3', 0.5], [1.0, 1e-3, 0.5]),
      ('names', ['x'], ['x']),
      ('pair', [2, 3], (2, 3.0)),
      ('shape', [4, 5, 6], (4, 5, 6)),
      ('bare', ['a', 1, None], ['a', 1, None]),
      ('paths', 'train*', 'train*'),
      ('paths', ['a', 'b'], ['a', 'b']),
      ('level_or_name', 3, 3),
      ('level_or_name', 'low', 'low'),
      ('scale', 'dynamic', 'dynamic'),
      ('scale', '1e-4', '1e-4'),
      ('scale', 2, 2.0),
      ('anything', 5, 5),
      ('anything', ['a'], ['a']),
      ('badly_annotated', None, None),
      ('badly_annotated', 1, 1),
    ]
    for name, value, expected in cases:
      with self.subTest(name=name, value=value):
        config, problems = _fit(**{name: value})
        got = getattr(config, name)
        self.assertEqual((got, problems), (expected, []))
        self.assertIs(type(got), type(expected))

  def test_a_mapping_is_merged_into_the_config(self):
    config, problems = _fit(head={'size': 2}, kind={'type': 'big', 'big': {'rate': 1}})
    self.assertEqual(problems, [])
    self.assertEqual(config.head.as_dict(), {'name': '', 'size': 2, 'rate': 0.5})
    self.assertEqual(
      config.kind.as_dict(), {'type': 'big', 'big': {'name': '', 'size': 9, 'rate': 1.0}}
    )

  def test_a_mapping_builds_the_annotated_class_where_there_was_none(self):
    for name in ('maybe_head', 'new_style_head'):
      with self.subTest(name=name):
        config, problems = _fit(**{name: {'size': 4}})
        self.assertEqual(problems, [])
        self.assertIs(type(getattr(config, name)), Head)
        self.assertEqual(getattr(config, name).as_dict(), {'name': '', 'size': 4, 'rate': 0.5})

  def test_null_removes_an_optional_config(self):
    config = Everything(maybe_head=Head(size=3))
    merged, problems = field_types.fit_config(config, {'maybe_head': None})
    field_types.merge_into(config, merged)
    self.assertEqual((config.maybe_head, problems), (None, []))

  def test_the_class_that_is_there_counts_more_than_the_annotation(self):
    @dataclasses.dataclass
    class LongHead(Head):
      length: int = 7

    config = Everything(head=LongHead())
    merged, problems = field_types.fit_config(config, {'head': {'length': 8}})
    field_types.merge_into(config, merged)
    self.assertEqual((config.head.length, problems), (8, []))

  def test_list_of_configs_of_another_length_is_built(self):
    config, problems = _fit(heads=[{'name': 'a'}, {'size': 2, 'rate': 1}])
    self.assertEqual(problems, [])
    self.assertEqual([type(head) for head in config.heads], [Head, Head])
    self.assertEqual(
      config.as_dict()['heads'],
      [{'name': 'a', 'size': 1, 'rate': 0.5}, {'name': '', 'size': 2, 'rate': 1.0}],
    )

  def test_list_of_configs_of_the_same_length_is_merged(self):
    config = Everything(heads=[Head(name='a', size=5), Head(name='b', size=6)])
    before = copy.deepcopy(config.heads)
    merged, problems = field_types.fit_config(config, {'heads': [{'rate': 2.0}, {'size': 8}]})
    self.assertEqual(config.heads, before)
    field_types.merge_into(config, merged)
    self.assertEqual(problems, [])
    self.assertEqual(
      config.as_dict()['heads'],
      [{'name': 'a', 'size': 5, 'rate': 2.0}, {'name': 'b', 'size': 8, 'rate': 0.5}],
    )

  def test_free_form_configs_take_any_names_and_merge(self):
    config = Everything(free=hyperparams.Config({'a': 1, 'b': {'c': 2}}), paths='train*')
    merged, problems = field_types.fit_config(
      config,
      {
        'free': {'b': {'c': 'now text', 'd': [1]}, 'e': None},
        'paths': {'x': 'train*', 'y': 'more*'},
        'weights': {'x': 1, 'y': '1e-1'},
      },
    )
    field_types.merge_into(config, merged)
    self.assertEqual(problems, [])
    self.assertEqual(config.free.as_dict(), {'a': 1, 'b': {'c': 'now text', 'd': [1]}, 'e': None})
    self.assertEqual(config.paths.as_dict(), {'x': 'train*', 'y': 'more*'})
    self.assertEqual(config.weights.as_dict(), {'x': 1.0, 'y': 0.1})

  def test_nothing_is_changed_by_comparing(self):
    config = Everything(free=hyperparams.Config({'a': 1}))
    before = copy.deepcopy(config.as_dict())
    field_types.fit_config(
      config, {'free': {'b': 2}, 'head': {'size': 3}, 'heads': [{}], 'sizes': [7], 'count': 1}
    )
    self.assertEqual(config.as_dict(), before)


class RefusedTest(unittest.TestCase):
  def assert_problems(self, overrides, *messages):
    config, problems = _fit(**overrides)
    self.assertEqual(problems, list(messages))
    self.assertEqual(config.as_dict(), Everything().as_dict())

  def test_scalars(self):
    cases = [
      ('flag', 1, '1 (int): must be bool; write true.'),
      ('flag', 'yes', "'yes' (str): must be bool."),
      ('count', True, 'True (bool): must be int.'),
      ('count', 2.5, '2.5 (float): must be int.'),
      ('count', 1000.0, '1000.0 (float): must be int; write 1000.'),
      ('count', '5', "'5' (str): must be int."),
      ('count', None, 'None (null): must be int.'),
      ('count', [1], '[1] (list): must be int.'),
      ('rate', 'abc', "'abc' (str): must be float."),
      ('rate', '5', "'5' (str): must be float."),
      ('rate', False, 'False (bool): must be float.'),
      ('rate', {'a': 1}, "{'a': 1} (mapping): must be float."),
      ('text', 5, '5 (int): must be str; quote it.'),
      ('text', None, "None (null): must be str; write '' for empty text."),
      (
        'text',
        False,
        'False (bool): must be str; YAML reads unquoted yes, no, on, off, true and false as bool, '
        'so quote it.',
      ),
      ('maybe_text', 2, '2 (int): must be str or null; quote it.'),
      ('maybe_count', 'a', "'a' (str): must be int or null."),
      ('level_or_name', 1.5, '1.5 (float): must be int or str; quote it.'),
      ('badly_annotated', 'a', "'a' (str): must be int."),
    ]
    for name, value, reason in cases:
      with self.subTest(name=name, value=value):
        self.assert_problems({name: value}, f'{name} = {reason}')

  def test_dates(self):
    self.assert_problems(
      {'text': datetime.date(2020, 1, 2)},
      'text = datetime.date(2020, 1, 2) (date): must be str; quote it.',
    )
    self.assert_problems(
      {'anything': datetime.date(2020, 1, 2)},
      'anything = datetime.date(2020, 1, 2) (date): must be text, number, bool, null, list or '
      'mapping; quote it.',
    )

  def test_choices(self):
    self.assert_problems(
      {'start': 'techer'},
      "start = 'techer' (str): must be one of teacher, checkpoint, random; did you mean 'teacher'?",
    )
    self.assert_problems(
      {'start': None}, 'start = None (null): must be one of teacher, checkpoint, random.'
    )
    self.assert_problems({'level': 3}, 'level = 3 (int): must be one of 1, 2 or null.')
    self.assert_problems({'level': True}, 'level = True (bool): must be one of 1, 2 or null.')

  def test_one_of(self):
    self.assert_problems(
      {'kind': {'type': 'bigg'}},
      "kind.type = 'bigg' (str): must be one of big, small or null; did you mean 'big'?",
    )
    self.assert_problems(
      {'kind': {'type': 'type'}}, "kind.type = 'type' (str): must be one of big, small or null."
    )
    self.assert_problems({'fixed': {'type': None}}, 'fixed.type = None (null): must be one of big.')

  def test_lists(self):
    self.assert_problems({'sizes': 3}, 'sizes = 3 (int): must be list of int; write [3].')
    self.assert_problems({'sizes': 'a'}, "sizes = 'a' (str): must be list of int.")
    self.assert_problems({'names': 'a'}, "names = 'a' (str): must be list of str; write [a].")
    self.assert_problems(
      {'sizes': [1, 'a', 2.0]},
      "sizes[1] = 'a' (str): must be int.",
      'sizes[2] = 2.0 (float): must be int; write 2.',
    )
    self.assert_problems({'pair': [1]}, 'pair = [1] (list): must be list of 2 values (int, float).')
    self.assert_problems({'pair': [1, 'a']}, "pair[1] = 'a' (str): must be float.")
    self.assert_problems({'shape': [1, None]}, 'shape[1] = None (null): must be int.')
    self.assert_problems(
      {'bare': [[1]]}, 'bare[0] = [1] (list): a list inside a list is not supported.'
    )
    self.assert_problems(
      {'bare': [1, {'a': 1}]},
      "bare = [1, {'a': 1}] (list): mappings and plain values cannot share a list.",
    )
    self.assert_problems({'paths': ['a', 1]}, 'paths[1] = 1 (int): must be str; quote it.')
    self.assert_problems(
      {'paths': 1}, 'paths = 1 (int): must be list of str or str or mapping; quote it.'
    )

  def test_configs(self):
    allowed = 'Allowed in head: name, rate, size.'
    self.assert_problems({'head': 3}, 'head = 3 (int): must be mapping with settings of Head.')
    self.assert_problems(
      {'head': None}, 'head = None (null): must be mapping with settings of Head.'
    )
    self.assert_problems(
      {'maybe_head': 'x'}, "maybe_head = 'x' (str): must be mapping with settings of Head or null."
    )
    self.assert_problems(
      {'head': {'sise': 1}}, f"head.sise = 1 (int): unknown name, did you mean 'size'? {allowed}"
    )
    self.assert_problems({'head': {'zzz': 1}}, f'head.zzz = 1 (int): unknown name. {allowed}')
    self.assert_problems(
      {'head': {True: 1}}, f'head.True = 1 (int): the name True is not text; quote it. {allowed}'
    )
    self.assert_problems(
      {'head': {'_locked': True}}, f'head._locked = True (bool): unknown name. {allowed}'
    )
    self.assert_problems(
      {'maybe_head': {'size': 'a', 'nam': 'b'}},
      "maybe_head.size = 'a' (str): must be int.",
      "maybe_head.nam = 'b' (str): unknown name, did you mean 'name'? Allowed in maybe_head: name, "
      'rate, size.',
    )
    self.assert_problems(
      {'heads': [{'size': 1}, {'size': 'a'}, 3]},
      "heads[1].size = 'a' (str): must be int.",
      'heads[2] = 3 (int): must be mapping with settings of Head.',
    )

  def test_free_form(self):
    self.assert_problems({'free': {1: 2}}, 'free.1 = 2 (int): the name must be text, got 1.')
    self.assert_problems({'free': {'_locked': 2}}, 'free._locked = 2 (int): the name is reserved.')
    self.assert_problems({'weights': {'a': 'b'}}, "weights.a = 'b' (str): must be float.")
    self.assert_problems({'weights': 3}, 'weights = 3 (int): must be mapping of str to float.')

  def test_dots_in_names(self):
    config, problems = _fit(**{'head.size': 3})
    self.assertEqual(config.head.size, 1)
    self.assertRegex(
      problems[0],
      r'^head\.size = 3 \(int\): unknown name; in YAML write nested mappings instead of dots\. '
      r'Allowed at the top level: anything, badly_annotated, bare, ',
    )

  def test_long_values_are_shortened(self):
    _, problems = _fit(count='x' * 500)
    self.assertEqual(problems, [f"count = '{'x' * 76}... (str): must be int."])

  def test_all_problems_are_found_in_the_order_given(self):
    _, problems = _fit(rate='a', head={'size': 'b', 'rate': 1}, count=1, text=2)
    self.assertEqual([line.split()[0] for line in problems], ['rate', 'head.size', 'text'])


class DescribeTest(unittest.TestCase):
  def test_words(self):
    cases = {
      float: 'float',
      Optional[str]: 'str or null',
      Union[None, int, str]: 'int or str or null',
      Literal['a', None, True]: 'one of a, null, true',
      typing.List[int]: 'list of int',
      tuple[int, ...]: 'list of int',
      tuple[int, str]: 'list of 2 values (int, str)',
      typing.Tuple: 'list',
      typing.Sequence[Literal['a', 'b']]: 'list of one of a, b',
      dict: 'mapping',
      Mapping[str, int]: 'mapping of str to int',
      hyperparams.Config: 'mapping',
      Head: 'mapping with settings of Head',
      Any: 'text, number, bool, null, list or mapping',
    }
    for annotation, words in cases.items():
      with self.subTest(words=words):
        self.assertEqual(field_types.describe(annotation), words)


if __name__ == '__main__':
  unittest.main()
