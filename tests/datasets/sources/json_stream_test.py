"""Tests for the reading of long JSON lists."""

import contextlib
import io
import json
import pathlib
import tempfile
import unittest
from unittest import mock

import hypothesis
from hypothesis import strategies as st

from official_selftrain.core import errors
from official_selftrain.datasets.sources import json_stream

_VALUES = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
  lambda inner: (
    st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
  ),
  max_leaves=12,
)
_DOCUMENTS = st.dictionaries(
  st.text(max_size=3),
  _VALUES,
  max_size=3,
).flatmap(
  lambda others: st.fixed_dictionaries(
    {'b': st.lists(_VALUES, max_size=5), 'a': st.lists(_VALUES, max_size=5)}
  ).map(lambda lists: {**others, **lists})
)


class ListsTest(unittest.TestCase):
  def setUp(self):
    self.path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / 'x.json'

  def read(self, text: str, *names: str) -> list[json_stream.Entry]:
    self.path.write_text(text, encoding='utf-8')
    return list(json_stream.Lists(self.path, names).entries())

  def assert_error(self, text: str, expected: str) -> None:
    with self.assertRaisesRegex(errors.DataError, f'^{self.path}{expected}'):
      self.read(text, 'a')

  def test_entries_with_name_number_value_and_text(self):
    text = '{"x": [1], "b": [{"k":  1.50}], "y": {"a": [9]}, "a": [ null , "t" ]}'
    self.assertEqual(
      self.read(text, 'a', 'b'),
      [
        ('b', 0, {'k': 1.5}, '{"k":  1.50}'),
        ('a', 0, None, 'null'),
        ('a', 1, 't', '"t"'),
      ],
    )

  def test_found_tells_empty_lists_from_absent_ones(self):
    self.path.write_text('{"a": [], "x": []}')
    lists = json_stream.Lists(self.path, ['a', 'b'])
    self.assertEqual((list(lists.entries()), lists.found), ([], {'a'}))

  def test_a_byte_order_mark_is_passed_over(self):
    self.assertEqual(self.read('\ufeff{"a": [1]}', 'a'), [('a', 0, 1, '1')])

  def test_infinities_are_read(self):
    with mock.patch.object(json_stream, '_CHUNK', 3):
      entries = self.read('{"a": [-Infinity, Infinity]}', 'a')
    self.assertEqual([entry.value for entry in entries], [float('-inf'), float('inf')])

  @hypothesis.given(_DOCUMENTS, st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
  def test_the_same_as_parsing_the_whole_however_it_is_cut(self, document, chunk, indent, escape):
    text = json.dumps(document, indent=indent, ensure_ascii=escape)
    with mock.patch.object(json_stream, '_CHUNK', chunk):
      entries = self.read(text, 'a', 'b')
    for name in ('a', 'b'):
      of_name = [entry for entry in entries if entry.name == name]
      self.assertEqual([entry.value for entry in of_name], document[name])
      self.assertEqual([json.loads(entry.text) for entry in of_name], document[name])
      self.assertEqual([entry.number for entry in of_name], list(range(len(document[name]))))

  @hypothesis.given(_DOCUMENTS, st.data())
  def test_a_file_that_ends_early_is_an_error(self, document, data):
    text = json.dumps(document)
    length = data.draw(st.integers(0, len(text) - 1))
    with mock.patch.object(json_stream, '_CHUNK', 7):
      self.assert_error(text[:length], ' is no JSON: .* at line 1, column .*Restore the file')

  def test_numbers_at_the_end_of_what_was_read_are_not_cut(self):
    for chunk in range(1, 20):
      with mock.patch.object(json_stream, '_CHUNK', chunk):
        entries = self.read('{"a":[12345.678e+12,-0.5]}', 'a')
      self.assertEqual([entry.value for entry in entries], [12345.678e12, -0.5])

  def test_an_error_names_its_line_and_column(self):
    for chunk in (1, 5, 1000):
      with mock.patch.object(json_stream, '_CHUNK', chunk):
        self.assert_error(
          '{"x": 1,\n "a": [1,\n  {"k": ?}]}', ' is no JSON: Expecting value at line 3, column 9'
        )

  def test_syntax_errors(self):
    for text, expected in {
      '{"a": [1 2]}': "expected ',' at line 1, column 10",
      '{"a" [1]}': "expected ':' at line 1, column 6",
      '{1: [1]}': 'expected a key in double quotes at line 1, column 2',
      '{"a": [1,]}': 'Expecting value at line 1, column 10',
      '{"a": [1]} x': 'there is more after its end, at line 1, column 12',
      '': "expected '{' at line 1, column 1",
      f'{{"a": [{"9" * 5000}]}}': '.*digits.* at line 1, column 8',
    }.items():
      with self.subTest(text=text[:20]):
        self.assert_error(text, f' is no JSON: {expected}')

  def test_an_error_early_in_a_long_file_does_not_read_the_rest(self):
    stream = io.StringIO('{"a": [?' + ' ' * 100_000)
    opened = contextlib.nullcontext(stream)
    with mock.patch.object(json_stream, '_CHUNK', 100):
      with mock.patch('builtins.open', return_value=opened):
        with self.assertRaisesRegex(errors.DataError, 'Expecting value'):
          list(json_stream.Lists(self.path, ['a']).entries())
    self.assertEqual(stream.tell(), 100)

  def test_nesting_that_is_too_deep(self):
    self.assert_error('{"a": [' + '[' * 100_000 + ']' * 100_000 + ']}', '.*nested too deeply')

  def test_other_wholes_than_objects(self):
    for text in ('[{"a": []}]', '"a"', '12'):
      self.assert_error(text, ' does not hold a JSON object. Expected: an object with the lists a')

  def test_something_else_than_a_list(self):
    self.assert_error('{"a": {"b": 1}}', ': a is not a list. Expected')

  def test_a_missing_file_and_a_folder(self):
    self.path.mkdir()
    for path, expected in ((self.path, 'Is a directory'), (self.path / 'y', 'No such file')):
      with self.assertRaisesRegex(errors.DataError, f'{path} cannot be read: {expected}'):
        list(json_stream.Lists(path, ['a']).entries())

  def test_text_that_is_not_utf8(self):
    self.path.write_bytes(b'{"a": ["\xff"]}')
    with self.assertRaisesRegex(errors.DataError, 'is not UTF-8 .*Save it as UTF-8'):
      list(json_stream.Lists(self.path, ['a']).entries())


if __name__ == '__main__':
  unittest.main()
