"""Record streams: order from the seed alone, resume, sharding, and messages about bad input."""

import os
import pathlib

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.dataloaders import record_order, tfrecords


class RecordsTestCase(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.files = [
      self._write(f'part-{n}.tfrecord', [f'{n}:{i}' for i in range(5)]) for n in range(4)
    ]

  def _write(self, name, texts):
    path = os.path.join(self.folder, name)
    with tf.io.TFRecordWriter(path) as writer:
      for text in texts:
        writer.write(text.encode())
    return path

  def _read(self, count=None, context=None, **options):
    files = tfrecords.TFRecordFiles(self.files)
    stream = tfrecords.record_stream(files, record_order.StreamOptions(**options), context)
    elements = stream if count is None else stream.take(count)
    return [(int(i), r.numpy().decode()) for i, r in elements]


class RecordStreamTest(RecordsTestCase):
  def test_every_epoch_holds_every_record_once_in_a_new_order(self):
    texts = [text for _, text in self._read(60, seed=3)]
    everything = sorted(f'{n}:{i}' for n in range(4) for i in range(5))
    for epoch in range(3):
      self.assertEqual(sorted(texts[20 * epoch : 20 * epoch + 20]), everything)
    self.assertNotEqual(texts[:20], texts[20:40])

  def test_order_depends_on_the_seed_and_on_nothing_else(self):
    self.assertEqual(self._read(50, seed=1), self._read(50, seed=1))
    self.assertNotEqual(self._read(50, seed=1), self._read(50, seed=2))

  def test_a_later_start_continues_where_an_earlier_stream_stopped(self):
    whole = self._read(70, seed=5)
    for start in (1, 19, 33):
      self.assertEqual(self._read(70 - start, seed=5, start=start), whole[start:])
      cached = self._read(70, seed=5, cache=True)
      self.assertEqual(self._read(70 - start, seed=5, start=start, cache=True), cached[start:])

  def test_evaluation_is_one_pass_in_a_fixed_order(self):
    first = self._read(is_training=False)
    self.assertEqual(first, self._read(is_training=False))
    self.assertEqual([i for i, _ in first], list(range(20)))
    # One record of each file in turn.
    self.assertEqual([text for _, text in first], [f'{n}:{i}' for i in range(5) for n in range(4)])
    blocks = self._read(is_training=False, block_length=2, cycle_length=2)
    self.assertEqual(
      [text for _, text in blocks[:8]], ['0:0', '0:1', '1:0', '1:1', '0:2', '0:3', '1:2', '1:3']
    )

  def _files_of_epochs(self, epochs, **options):
    """Order of the files in each epoch, where nothing else is shuffled."""
    found = self._read(
      20 * epochs, shuffle_buffer_size=1, cycle_length=1, block_length=5, **options
    )
    texts = [text for _, text in found]
    self.assertEqual([text[2] for text in texts], list('01234' * 4 * epochs))
    return [''.join(text[0] for text in texts[20 * e : 20 * e + 20 : 5]) for e in range(epochs)]

  def test_training_draws_files_anew_in_each_epoch(self):
    for order in (found := self._files_of_epochs(4)):
      self.assertEqual(sorted(order), list('0123'))
    self.assertGreater(len(set(found)), 1)

  def test_cached_records_come_in_the_files_order_of_the_first_epoch(self):
    self.assertLen(set(self._files_of_epochs(4, cache=True)), 1)

  def test_only_cached_records_outlive_their_files(self):
    for cache, later in ((True, set('0123')), (False, set('x'))):
      self.setUp()
      # A large buffer would read many epochs ahead.
      options = record_order.StreamOptions(cache=cache, shuffle_buffer_size=1)
      files = tfrecords.TFRecordFiles(self.files)
      stream = tfrecords.record_stream(files, options).as_numpy_iterator()
      for _ in range(20):
        next(stream)
      for path in self.files:
        self._write(os.path.basename(path), [f'x:{i}' for i in range(5)])
      # What was read ahead of the second epoch is gone by the third.
      epochs = [next(stream)[1].decode()[0] for _ in range(60)]
      self.assertEqual(set(epochs[40:]), later)

  def _parts(self, pipelines, count, **options):
    """What each of several pipelines reads."""
    contexts = [
      tf.distribute.InputContext(num_input_pipelines=pipelines, input_pipeline_id=index)
      for index in range(pipelines)
    ]
    return [self._read(count, context, **options) for context in contexts]

  def test_pipelines_together_read_what_one_reads_in_its_order(self):
    cases = (
      ({'is_training': False}, 20),
      ({'seed': 3}, 60),
      ({'seed': 3, 'cache': True}, 60),
      ({'seed': 3, 'start': 7}, 60),
    )
    for options, count in cases:
      one = self._read(count, **options)
      for pipelines in (2, 4, 5):  # The last is more than there are files.
        parts = self._parts(pipelines, count // pipelines, **options)
        for index, part in enumerate(parts):
          self.assertEqual(part, one[index::pipelines])

  def test_skip_errors_leaves_out_what_cannot_be_read(self):
    with open(self.files[0], 'r+b') as stream:
      stream.truncate(os.path.getsize(self.files[0]) - 3)
    with self.assertRaises(tf.errors.DataLossError):
      self._read(is_training=False)
    self.assertLen(self._read(is_training=False, skip_errors=True), 19)


class ExampleSeedTest(tf.test.TestCase):
  def test_differs_by_stream_and_place_and_repeats(self):
    places = [0, 1, 2, 2**31 - 1, 2**31, 2**40]
    seeds = {
      tuple(tfrecords.example_seed(s, tf.constant(p, tf.int64)).numpy())
      for s in (0, 1)
      for p in places
    }
    self.assertLen(seeds, 12)
    again = tfrecords.example_seed(1, tf.constant(2**40, tf.int64))
    self.assertIn(tuple(again.numpy()), seeds)
    self.assertEqual(again.dtype, tf.int32)

  def test_the_halves_of_a_place_are_folded_in_one_after_the_other(self):
    for place, halves in ((5, (5, 0)), (2**31 + 7, (7, 1)), (3 * 2**31 - 1, (2**31 - 1, 2))):
      expected = tf.constant([9, 0])
      for half in halves:
        expected = tf.random.fold_in(expected, half)
      found = tfrecords.example_seed(9, tf.constant(place, tf.int64))
      self.assertAllEqual(found, expected)


class MatchFilesTest(RecordsTestCase):
  def test_patterns_lists_and_commas(self):
    pattern = os.path.join(self.folder, 'part-*')
    self.assertEqual(tfrecords.match_files(pattern, 'f'), self.files)
    self.assertEqual(
      tfrecords.match_files(f'{self.files[1]}, {self.files[0]}', 'f'),
      [self.files[1], self.files[0]],
    )
    self.assertEqual(tfrecords.match_files([self.files[2]], 'f'), [self.files[2]])

  def test_patterns_with_a_url(self):
    for path in reversed(self.files):
      tf.io.gfile.copy(path, f'ram://patterns/{os.path.basename(path)}')
    found = tfrecords.match_files('ram://patterns/part-*', 'f')
    self.assertEqual(found, [f'ram://patterns/part-{n}.tfrecord' for n in range(4)])
    self.files, local = found, self._read(30, seed=3)
    self.assertEqual(self._read(30, seed=3), local)

  def test_messages(self):
    with self.assertRaisesRegex(
      errors.DataError, r"task\.x\.input_path: no file matches '.*none-\*'"
    ):
      tfrecords.match_files(os.path.join(self.folder, 'none-*'), 'task.x.input_path')
    with self.assertRaisesRegex(errors.DataError, r"f: no file matches '.*missing\.tfrecord'"):
      tfrecords.match_files(f'{self.files[0]},{self.folder}/missing.tfrecord', 'f')
    with self.assertRaisesRegex(errors.DataError, 'f is empty: give a file'):
      tfrecords.match_files('', 'f')

  def test_empty_data_set(self):
    empty = self._write('empty.tfrecord', [])
    with self.assertRaisesRegex(
      errors.DataError, r'f: the data set is empty: 1 file\(s\) without a record'
    ):
      tfrecords.check_not_empty([empty], 'f')
    self.assertIsNone(tfrecords.check_not_empty([empty, self.files[0]], 'f'))


class FirstBadRecordTest(RecordsTestCase):
  def test_names_file_and_record_of_a_corrupt_frame(self):
    path = pathlib.Path(self.files[1])
    content = bytearray(path.read_bytes())
    size = len(content) // 5
    content[2 * size + 13] ^= 0xFF
    path.write_bytes(bytes(content))
    found = tfrecords.first_bad_record(self.files, lambda record: None)
    self.assertRegex(found, r'part-1\.tfrecord, record 2: corrupted record')

  def test_names_a_record_that_does_not_decode(self):
    def decode(record):
      if record.numpy() == b'2:4':
        raise ValueError('no picture\nmore')

    self.assertRegex(
      tfrecords.first_bad_record(self.files, decode), r'part-2\.tfrecord, record 4: no picture$'
    )

  def test_examine_tells_what_cannot_be_decoded_from_what_is_wrong(self):
    def decode(record):
      if record.numpy() == b'0:1':
        raise tf.errors.InvalidArgumentError(None, None, 'no picture')
      if record.numpy() == b'0:3':
        raise ValueError('no class')

    found = list(tfrecords.examine(self.files[:2], decode))
    self.assertLen(found, 10)
    faults = {i: (fault.text[-30:], fault.is_unreadable) for i, fault in enumerate(found) if fault}
    self.assertEqual(
      faults,
      {
        1: ('0.tfrecord, record 1: no picture'[-30:], True),
        3: ('0.tfrecord, record 3: no class'[-30:], False),
      },
    )
    self.assertLen(list(tfrecords.examine(self.files, decode, limit=1)), 4)

  def test_nothing_wrong(self):
    self.assertIsNone(tfrecords.first_bad_record(self.files, lambda record: None))


if __name__ == '__main__':
  np.random.seed(0)
  tf.test.main()
