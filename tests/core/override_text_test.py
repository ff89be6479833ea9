"""Tests for reading overrides from text and files."""

import pathlib
import tempfile
import unittest

from hypothesis import given
from hypothesis import strategies as st

from official_selftrain.core import errors, override_text


class ParseOverrideTest(unittest.TestCase):
  def test_assignments_nest_at_dots(self):
    self.assertEqual(
      override_text.parse_override('a.b.c=1, d.e=[1,2],x=true, lr = 1e-3'),
      {'a': {'b': {'c': 1}}, 'd': {'e': [1, 2]}, 'x': True, 'lr': 0.001},
    )

  def test_values_are_yaml(self):
    cases = {
      '3': 3,
      '-2.5': -2.5,
      '1e-4': 1e-4,
      '1.5e3': 1500.0,
      '.5e1': 5.0,
      '2E+2': 200.0,
      '1.e-2': 0.01,
      'abc': 'abc',
      "'1e-4'": '1e-4',
      'null': None,
      '': None,
      "''": '',
      "'a,b=c'": 'a,b=c',
      '"a, \\"b"': 'a, "b',
      "'it''s, so'": "it's, so",
      "it's": "it's",
      'gs://bucket/train-?????-of-00256*': 'gs://bucket/train-?????-of-00256*',
      '/data/x[0-9].tfrecord': '/data/x[0-9].tfrecord',
      '[[1, 2], [3, 4]]': [[1, 2], [3, 4]],
      '{a: 1, b: [x, y]}': {'a': 1, 'b': ['x', 'y']},
      '[]': [],
    }
    for text, value in cases.items():
      with self.subTest(text=text):
        parsed = override_text.parse_override(f'n={text},last=1')
        self.assertEqual(parsed, {'n': value, 'last': 1})
        self.assertIs(type(parsed['n']), type(value))

  def test_mapping_text(self):
    expected = {'task': {'losses': {'loss_weight': 0.001}, 'name': 'x=y'}}
    for text in (
      '{"task": {"losses": {"loss_weight": 1e-3}, "name": "x=y"}}',
      '{task: {losses: {loss_weight: 0.001}, name: x=y}}',
      'task:\n  losses:\n    loss_weight: 1e-3\n  name: x=y\n',
    ):
      with self.subTest(text=text):
        self.assertEqual(override_text.parse_override(text), expected)

  def test_blank_text_and_trailing_comma(self):
    self.assertEqual(override_text.parse_override(''), {})
    self.assertEqual(override_text.parse_override(' \n'), {})
    self.assertEqual(override_text.parse_override('a=1,'), {'a': 1})

  def test_the_last_of_two_values_holds_and_mappings_are_merged(self):
    self.assertEqual(override_text.parse_override('a.b=1,a.c=3,a.b=2'), {'a': {'b': 2, 'c': 3}})
    self.assertEqual(
      override_text.parse_override('a.b.c=1,a={b: {d: 2}},a.b.e=3'),
      {'a': {'b': {'c': 1, 'd': 2, 'e': 3}}},
    )

  def test_errors(self):
    cases = {
      'a=1,b': "--params_override: expected name=value, got 'b'. Write a list as [1, 2], and "
      'put text with commas in quotation marks.',
      'x=[1,2': "--params_override: a closing ] is missing in 'x=[1,2'.",
      "a=1,x='y": '--params_override: a closing \' is missing in "x=\'y".',
      'x=*.tfrecord': '--params_override: cannot read x = *.tfrecord: expected alphabetic or '
      "numeric character, but found '.'. Text with special characters must be in quotation marks: "
      "x='...'.",
      'a.b=1,a.b.c=2': '--params_override: a.b is given a value of its own, and so is a.b.c.',
      'a.b.c=2,a.b=1': '--params_override: a.b is given a value of its own, and so is a.b.c.',
      'task': "--params_override: expected name=value,name=value or a YAML mapping, got 'task'.",
      '[1, 2]': '--params_override: expected name=value,name=value or a YAML mapping, got [1, 2].',
      '{a: 1, b: 2, a: 3}': "--params_override: is not valid YAML (column 14): 'a' is given twice.",
      '{a: *b}': "--params_override: is not valid YAML (column 5): found undefined alias 'b'.",
    }
    for text, message in cases.items():
      with self.subTest(text=text):
        with self.assertRaises(errors.ConfigError) as caught:
          override_text.parse_override(text)
        self.assertEqual(str(caught.exception), message)

  @given(
    st.dictionaries(
      st.from_regex(r'[a-z]{1,3}', fullmatch=True),
      st.one_of(
        st.integers(),
        st.booleans(),
        st.none(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.lists(st.integers(), max_size=3),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
      ),
      min_size=1,
      max_size=4,
    ).filter(lambda values: not set(values) & {'on', 'off', 'no', 'yes', 'y', 'n'})
  )
  def test_what_is_written_is_read_back(self, values):
    def write(value):
      if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
      return (
        {None: 'null', True: 'true', False: 'false'}[value]
        if (value is None or isinstance(value, bool))
        else repr(value)
      )

    text = ','.join(f'{name}={write(value)}' for name, value in values.items())
    self.assertEqual(override_text.parse_override(text), values)


class ReadOverrideFileTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / 'my.yaml'

  def _error(self, content):
    self.path.write_bytes(content)
    with self.assertRaises(errors.ConfigError) as caught:
      override_text.read_override_file(self.path)
    return str(caught.exception).replace(str(self.path), 'my.yaml')

  def test_mapping_with_tuples_exponents_and_anchors(self):
    self.path.write_text(
      'task:\n  a: &x {p: 1e-4}\n  b: {<<: *x, q: 1.0e-2}\n  c: !!python/tuple [1, 2]\n',
      encoding='utf-8',
    )
    self.assertEqual(
      override_text.read_override_file(self.path),
      {'task': {'a': {'p': 1e-4}, 'b': {'p': 1e-4, 'q': 0.01}, 'c': (1, 2)}},
    )

  def test_missing_file(self):
    with self.assertRaisesRegex(
      errors.ConfigError, r"^--config_file: 'no/such\.yaml' does not exist\.$"
    ):
      override_text.read_override_file('no/such.yaml')

  def test_missing_file_at_an_address(self):
    address = f'file://{self.path}'
    with self.assertRaises(errors.ConfigError) as caught:
      override_text.read_override_file(address)
    self.assertEqual(str(caught.exception), f"--config_file: '{address}' does not exist.")
    self.path.write_text('a: 1', encoding='utf-8')
    self.assertEqual(override_text.read_override_file(address), {'a': 1})

  def test_directory(self):
    with self.assertRaisesRegex(
      errors.ConfigError, r'^--config_file: cannot read .*: Is a directory\.$'
    ):
      override_text.read_override_file(self.path.parent)

  def test_broken_content_is_named_with_its_line(self):
    cases = {
      b'': 'my.yaml: is empty; expected a YAML mapping of settings.',
      b'# nothing\n': 'my.yaml: is empty; expected a YAML mapping of settings.',
      b'\n\n- a\n- b\n': "my.yaml:3: expected a YAML mapping of settings, got ['a', 'b'].",
      b'a: 1\nb: [1, 2\nc: 3\n': 'my.yaml:3: is not valid YAML (column 2): '
      "expected ',' or ']', but got ':'.",
      b'a: 1\n\tb: 2\n': 'my.yaml:2: is not valid YAML (column 1): '
      "found character '\\t' that cannot start any token.",
      b'a:\n  b: 1\n  c: 2\n  b: 3\n': 'my.yaml:4: is not valid YAML (column 3): '
      "'b' is given twice.",
      b'a: 1\nb: \xff\n': 'my.yaml:2: is not UTF-8 text.',
    }
    for content, message in cases.items():
      with self.subTest(content=content):
        self.assertEqual(self._error(content), message)

  def test_code_in_yaml_is_refused(self):
    message = self._error(b'a: !!python/object/apply:os.system ["true"]\n')
    self.assertRegex(message, r'^my\.yaml:1: is not valid YAML \(column 4\): could not determine')


class BaseTest(unittest.TestCase):
  """Files that build on others."""

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def write(self, **contents):
    """Files `<name>.yaml`, with `__` for a slash; returns the path of the last one."""
    for name, content in contents.items():
      path = self.folder / f'{name.replace("__", "/")}.yaml'
      path.parent.mkdir(exist_ok=True)
      path.write_text(content, encoding='utf-8')
    return str(path)

  def assert_refused(self, path, message):
    with self.assertRaises(errors.ConfigError) as caught:
      override_text.read_override_file(path)
    self.assertEqual(str(caught.exception).replace(f'{self.folder}/', ''), message)

  def test_own_values_win_and_mappings_are_merged(self):
    path = self.write(
      shared='a: {b: 1, c: {d: 2, e: 3}}\nlist: [1, 2]\nswap: {x: 1}\nkept: 5\n',
      mine='base: shared.yaml\na: {c: {e: 4}, f: 6}\nlist: [7]\nswap: 8\n',
    )
    expected = {'a': {'b': 1, 'c': {'d': 2, 'e': 4}, 'f': 6}, 'list': [7], 'swap': 8, 'kept': 5}
    self.assertEqual(override_text.read_override_file(path), expected)

  def test_what_an_anchor_shares_is_not_changed_in_both_places(self):
    path = self.write(shared='a: &x {n: 1}\nb: *x\n', mine='base: shared.yaml\na: {n: 2}\n')
    self.assertEqual(override_text.read_override_file(path), {'a': {'n': 2}, 'b': {'n': 1}})

  def test_names_are_relative_to_the_file_that_has_them(self):
    path = self.write(
      base__root='n: 1\nr: 1\n',
      base__inner='base: root.yaml\nn: 2\n',
      mine='base: base/inner.yaml\n',
    )
    self.assertEqual(override_text.read_override_file(path), {'n': 2, 'r': 1})
    absolute = self.write(absolute=f'base: {self.folder}/base/root.yaml\n')
    self.assertEqual(override_text.read_override_file(absolute), {'n': 1, 'r': 1})

  def test_layers_in_their_order_with_their_names(self):
    path = self.write(
      root='n: 0\n',
      left='base: root.yaml\nn: 1\n',
      right='base: [root.yaml]\nm: 2\n',
      mine='base: [left.yaml, right.yaml]\nm: 3\n',
    )
    layers = override_text.read_override_layers(path)
    # The root counts once: after `left` it would undo the settings of `left`.
    self.assertEqual(
      [(settings, pathlib.Path(name).name) for settings, name in layers],
      [
        ({'n': 0}, 'root.yaml'),
        ({'n': 1}, 'left.yaml'),
        ({'m': 2}, 'right.yaml'),
        ({'m': 3}, 'mine.yaml'),
      ],
    )
    self.assertEqual(override_text.read_override_file(path), {'n': 1, 'm': 3})

  def test_addresses(self):
    self.write(base__root='n: 1\n', mine='base: base/root.yaml\nm: 2\n')
    address = f'file://{self.folder}/mine.yaml'
    self.assertEqual(override_text.read_override_file(address), {'n': 1, 'm': 2})

  def test_circles_are_refused(self):
    path = self.write(a='base: b.yaml\nn: 1\n', b='base: c.yaml\n', c='base: ./a.yaml\n')
    self.assert_refused(
      str(self.folder / 'a.yaml'),
      'base: files build on each other in a circle: a.yaml -> b.yaml -> c.yaml -> a.yaml.',
    )
    path = self.write(own='base: own.yaml\n')
    self.assert_refused(path, 'base: files build on each other in a circle: own.yaml -> own.yaml.')

  def test_what_is_no_file_is_refused(self):
    for value, shown in (
      ('', 'None'),
      ("''", "''"),
      ('3', '3'),
      ('{a: b}', "{'a': 'b'}"),
      ('[a.yaml, 1]', "['a.yaml', 1]"),
      (r'"a\0b"', r"'a\x00b'"),
      (r'"a\ud800"', r"'a\ud800'"),
    ):
      path = self.write(mine=f'base: {value}\n')
      self.assert_refused(
        path, f'mine.yaml: base is {shown}; expected the name of a file, or a list of names.'
      )

  def test_a_missing_base_is_named_with_the_file_that_wants_it(self):
    path = self.write(middle='base: gone.yaml\n', mine='base: middle.yaml\n')
    self.assert_refused(path, "middle.yaml: base: 'gone.yaml' does not exist.")

  def test_a_broken_base_is_named_itself(self):
    path = self.write(broken='a: 1\na: 2\n', mine='base: broken.yaml\n')
    self.assert_refused(path, "broken.yaml:2: is not valid YAML (column 1): 'a' is given twice.")


if __name__ == '__main__':
  unittest.main()
