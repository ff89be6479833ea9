"""Tests for reading TFRecord files without TensorFlow, against TensorFlow."""

import os
import pathlib
import tempfile
import unittest

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from official_selftrain.core import errors, keys
from official_selftrain.datasets.sources import tf_records

_INTS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5)
_FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=5)
_BYTES = st.lists(st.binary(max_size=200), max_size=3)
_FEATURES = st.dictionaries(
  st.text(max_size=8),
  st.one_of(
    _INTS.map(lambda values: ('int64_list', values)),
    _FLOATS.map(lambda values: ('float_list', values)),
    _BYTES.map(lambda values: ('bytes_list', values)),
  ),
  max_size=6,
)


def _example(features):
  """A serialised `tf.Example` of (kind, values) by name."""
  example = tf.train.Example()
  for name, (kind, values) in features.items():
    getattr(example.features.feature[name], kind).value.extend(values)
  return example.SerializeToString(deterministic=True)


class ExampleTest(unittest.TestCase):
  @hypothesis.given(_FEATURES)
  def test_the_values_are_those_that_tensorflow_wrote(self, features):
    found = tf_records.Example(_example(features))
    self.assertEqual(set(found.names()), set(features))
    for name, (kind, values) in features.items():
      # float32 values are exact in float64.
      self.assertEqual(found.values(name), tuple(values))
      self.assertEqual(found.has_bytes(name), kind == 'bytes_list' and bool(values))

  def test_values_that_are_not_packed(self):
    # As protocol buffers of version 2 write them: feature 'n' of two integers, each with its own tag.
    int_list = b'\x08\x07\x08\x01'
    feature = b'\x1a\x04' + int_list
    entry = b'\x0a\x01n\x12' + bytes([len(feature)]) + feature
    features = b'\x0a' + bytes([len(entry)]) + entry
    message = b'\x0a' + bytes([len(features)]) + features
    self.assertEqual(
      list(tf.train.Example.FromString(message).features.feature['n'].int64_list.value), [7, 1]
    )
    self.assertEqual(tf_records.Example(message).values('n'), (7, 1))

  def test_a_feature_that_is_not_there_has_no_values(self):
    found = tf_records.Example(_example({'a': ('int64_list', [1])}))
    self.assertEqual(found.values('b'), ())
    self.assertFalse(found.has_bytes('b'))

  def test_a_part_of_a_buffer(self):
    message = _example({'a': ('int64_list', [-5])})
    found = tf_records.Example(b'xx' + message + b'yyy', 2, 2 + len(message))
    self.assertEqual(found.values('a'), (-5,))

  @hypothesis.given(st.binary(max_size=60))
  def test_any_bytes_are_read_or_refused(self, content):
    try:
      found = tf_records.Example(content)
      for name in found.names():
        found.values(name)
    except ValueError:
      with self.assertRaises(ValueError):
        raise

  def test_what_is_no_message_is_refused(self):
    for content, expected in (
      (b'\x0a\x05ab', 'field 1 is longer than its message by 3 bytes'),
      (b'\x0b', 'a field has the unknown wire type 3'),
      (b'\x02\x00', 'a field has the number 0'),
      (b'\x80', 'a number does not end'),
    ):
      with self.assertRaisesRegex(ValueError, expected):
        tf_records.Example(content)


class ListRecordsTest(unittest.TestCase):
  def setUp(self):
    self.path = os.path.join(self.enterContext(tempfile.TemporaryDirectory()), 'a.tfrecord')

  def write(self, *records):
    with tf.io.TFRecordWriter(self.path) as writer:
      for record in records:
        writer.write(record)

  def listed(self):
    return list(tf_records.list_records(self.path))

  def record(self, number, encoded=b'image'):
    return _example(
      {
        keys.SOURCE_ID: ('bytes_list', [f'id {number}'.encode()]),
        keys.IMAGE_ENCODED: ('bytes_list', [encoded]),
      }
    )

  def test_places_ids_and_images(self):
    images = [np.random.default_rng(n).bytes(100 * n + 1) for n in range(5)]
    self.write(*(self.record(n, image) for n, image in enumerate(images)))
    found = self.listed()
    self.assertEqual([each.source_id for each in found], [f'id {n}' for n in range(5)])
    self.assertEqual([each.problem for each in found], [''] * 5)
    with open(self.path, 'rb') as stream:
      for each, image in reversed(list(zip(found, images, strict=True))):
        self.assertEqual(tf_records.read_image(stream, each.offset, each.size), image)

  def test_records_without_an_image_say_so(self):
    self.write(
      _example({keys.SOURCE_ID: ('int64_list', [7])}),
      b'\x0a\x05ab',
      _example(
        {keys.IMAGE_ENCODED: ('float_list', [1.0]), keys.SOURCE_ID: ('bytes_list', [b'\xff'])}
      ),
      self.record(3),
    )
    found = self.listed()
    nothing = f'the record has no bytes in {keys.IMAGE_ENCODED}'
    self.assertEqual(
      [each.problem for each in found],
      [
        nothing,
        'the record is no tf.Example: field 1 is longer than its message by 3 bytes',
        nothing,
        '',
      ],
    )
    self.assertEqual([each.source_id for each in found], ['7', '', '\udcff', 'id 3'])
    with open(self.path, 'rb') as stream:
      for each in (found[0], found[2]):
        with self.assertRaisesRegex(ValueError, f'has no bytes in {keys.IMAGE_ENCODED}'):
          tf_records.read_image(stream, each.offset, each.size)

  def test_an_empty_file_has_no_records(self):
    self.write()
    self.assertEqual(self.listed(), [])

  def assert_damaged(self, whole, expected):
    """Asserts that so many records are listed before the error."""
    found = []
    with self.assertRaisesRegex(errors.DataError, expected):
      for each in tf_records.list_records(self.path):
        found.append(each.source_id)
    self.assertEqual(found, [f'id {n}' for n in range(whole)])

  def test_damage_names_the_record(self):
    self.write(*(self.record(n) for n in range(3)))
    content = pathlib.Path(self.path).read_bytes()
    third = self.listed()[2].offset
    for changed, expected in (
      (
        content[:-1],
        r'record 2, at byte \d+ of \d+, has \d+ bytes of data by its length, but the file ends before',
      ),
      (content[: third + 5], 'record 2, .*, ends after 5 bytes'),
      (
        content[:third] + b'\1' + content[third + 1 :],
        'record 2, .*, has a length that its checksum does not fit.*Copy or write the file again',
      ),
    ):
      pathlib.Path(self.path).write_bytes(changed)
      self.assert_damaged(2, expected)

  def test_a_file_that_is_not_there(self):
    with self.assertRaisesRegex(errors.DataError, 'a.tfrecord cannot be read: No such file'):
      self.listed()


class BeginsRecordTest(unittest.TestCase):
  @hypothesis.given(st.binary(min_size=12, max_size=40))
  def test_by_chance_nothing_begins_a_record(self, content):
    self.assertFalse(tf_records.begins_record(content))

  def test_too_few_bytes(self):
    self.assertFalse(tf_records.begins_record(b'\0' * 11))


if __name__ == '__main__':
  unittest.main()
