"""Tests of official_selftrain.pseudo_labels.shards."""

import os
import pathlib
import unittest

import tensorflow as tf

from official_selftrain.core import errors, files
from official_selftrain.pseudo_labels import shards
from tests.pseudo_labels import unlabelled

_RECORDS = [b'zero', b'one' * 50, b'', b'three', b'four' * 9]


class MaskedCrcTest(unittest.TestCase):
  def test_published_check_value(self):
    # CRC-32C of '123456789' is e3069283; TFRecord rotates it right by 15 and adds a constant.
    rotated = ((0xE3069283 >> 15) | (0xE3069283 << 17)) & 0xFFFFFFFF
    self.assertEqual(shards.masked_crc32c(b'123456789'), (rotated + 0xA282EAD8) % 2**32)


class ShardsTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.path = unlabelled.write(os.path.join(self.get_temp_dir(), 'a.tfrecord'), _RECORDS)

  def _read(self):
    return [(record.index, record.serialized) for record in shards.iterate(self.path)]

  def _reasons(self):
    return {r.index: r.reason for r in shards.iterate(self.path) if r.serialized is None}

  def test_reads_what_tensorflow_wrote(self):
    self.assertEqual(self._read(), list(enumerate(_RECORDS)))
    ends = [record.end for record in shards.iterate(self.path)]
    self.assertEqual(ends, [unlabelled.record_offset(self.path, i) for i in range(1, 6)])

  def test_a_bad_data_checksum_costs_one_record(self):
    unlabelled.flip_bit(self.path, unlabelled.record_offset(self.path, 1) + 12 + 3)
    expected = list(enumerate(_RECORDS))
    expected[1] = (1, None)
    self.assertEqual(self._read(), expected)
    self.assertEqual(self._reasons(), {1: 'checksum of the record data (150 bytes) does not match'})

  def test_a_bad_length_costs_the_rest_and_says_how_much(self):
    offset = unlabelled.record_offset(self.path, 3)
    unread = os.path.getsize(self.path) - offset
    unlabelled.flip_bit(self.path, offset)
    self.assertEqual(self._read(), [*enumerate(_RECORDS[:3]), (3, None)])
    self.assertRegex(self._reasons()[3], f'length does not match; the other {unread} bytes')

  def _cut_file(self, size):
    content = pathlib.Path(self.path).read_bytes()
    pathlib.Path(self.path).write_bytes(content[:size])

  def test_a_file_cut_inside_a_record(self):
    self._cut_file(os.path.getsize(self.path) - 7)
    self.assertEqual(self._read(), [*enumerate(_RECORDS[:4]), (4, None)])
    self.assertRegex(self._reasons()[4], '7 bytes before the end of the record; 45 bytes unread')

  def test_a_file_cut_inside_a_header(self):
    self._cut_file(unlabelled.record_offset(self.path, 4) + 5)
    self.assertEqual(self._read(), [*enumerate(_RECORDS[:4]), (4, None)])
    self.assertRegex(self._reasons()[4], 'inside a record header; 5 bytes unread')

  def test_a_file_cut_between_records_is_whole(self):
    self._cut_file(unlabelled.record_offset(self.path, 4))
    self.assertEqual(self._read(), list(enumerate(_RECORDS[:4])))

  def test_not_a_tfrecord_file(self):
    pathlib.Path(self.path).write_bytes(b'plain text, and not that short')
    self.assertEqual(self._read(), [(0, None)])

  def test_missing_file(self):
    with self.assertRaisesRegex(errors.DataError, 'Cannot read the TFRecord file .*nowhere'):
      list(shards.iterate(self.path + '.nowhere'))

  def test_write_is_read_back_and_leaves_nothing_else(self):
    path = os.path.join(self.get_temp_dir(), 'new', 'b.tfrecord')
    digest = shards.write(path, iter(_RECORDS))
    self.assertEqual([r.numpy() for r in tf.data.TFRecordDataset(path)], _RECORDS)
    self.assertEqual(digest, files.sha256(path))
    self.assertEqual(os.listdir(os.path.dirname(path)), ['b.tfrecord'])

  def test_an_interrupted_write_leaves_the_old_file(self):
    def interrupted():
      yield b'new'
      raise KeyboardInterrupt

    old = pathlib.Path(self.path).read_bytes()
    with self.assertRaises(KeyboardInterrupt):
      shards.write(self.path, interrupted())
    self.assertEqual(pathlib.Path(self.path).read_bytes(), old)
    self.assertTrue(os.path.exists(files.temporary_path(self.path)))
    shards.remove_leftovers(self.path)
    self.assertFalse(os.path.exists(files.temporary_path(self.path)))
    self.assertEqual(pathlib.Path(self.path).read_bytes(), old)

  def test_label_shard_name(self):
    name = shards.label_shard_name('data/unlabelled-00000-of-00008.tfrecord')
    self.assertEqual(name, 'unlabelled-00000-of-00008.labels.tfrecord')
    self.assertEqual(
      shards.label_shard_name('x/train.record-00000-of-00002'),
      'train.record-00000-of-00002.labels.tfrecord',
    )


if __name__ == '__main__':
  tf.test.main()
