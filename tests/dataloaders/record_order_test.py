"""Starting in the middle of a stream: what it gives, and what it reads for that."""

import os

import hypothesis
import hypothesis.strategies as st
import numpy as np
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.dataloaders import record_order, tfrecords

_DATA_AT = 12


class RecordOrderTestCase(tf.test.TestCase):
  def write(self, counts, size=1):
    """Files with so many records each; record 3 of file 1 is '1:3', repeated `size` times."""
    folder = self.create_tempdir().full_path
    paths = [os.path.join(folder, f'{n}.tfrecord') for n in range(len(counts))]
    for number, (path, count) in enumerate(zip(paths, counts, strict=True)):
      with tf.io.TFRecordWriter(path) as writer:
        for place in range(count):
          writer.write(f'{number}:{place}'.encode() * size)
    return paths

  def remote(self, paths):
    """Copies in TensorFlow's file system in memory, which stands for remote storage."""
    copies = [f'ram://{self.id()}/{os.path.basename(path)}' for path in paths]
    for path, copy in zip(paths, copies, strict=True):
      # Writing adds to a file that is there.
      if tf.io.gfile.exists(copy):
        tf.io.gfile.remove(copy)
      tf.io.gfile.copy(path, copy)
    return copies

  def damage(self, path, place, size=1):
    """Makes a record unreadable; `size` as in `write`."""
    number = os.path.basename(path).partition('.')[0]
    before = sum(16 + size * len(f'{number}:{n}') for n in range(place))
    with open(path, 'r+b') as stream:
      stream.seek(before + _DATA_AT)
      stream.write(b'?')

  def read(self, paths, count, **options):
    files = tfrecords.TFRecordFiles(paths)
    dataset = record_order.ordered(files, record_order.StreamOptions(**options))
    return [each.decode() for each in dataset.take(count).as_numpy_iterator()]


class LateStartTest(RecordOrderTestCase):
  @hypothesis.settings(deadline=None, max_examples=8, derandomize=True)
  @hypothesis.given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    st.integers(1, 130),
    st.fixed_dictionaries(
      {
        'seed': st.integers(0, 2**31 - 2),
        'shuffle_buffer_size': st.sampled_from((1, 2, 7, 1000)),
        'cache': st.booleans(),
        'block_length': st.integers(1, 3),
        'cycle_length': st.sampled_from((None, 1, 2, 20)),
      }
    ),
  )
  def test_goes_on_as_if_it_had_never_stopped(self, counts, start, options):
    paths = self.write(counts)
    whole = self.read(paths, start + 40, **options)
    self.assertEqual(self.read(paths, 40, start=start, **options), whole[start:])

  def test_a_second_late_start_goes_on_after_the_first(self):
    paths = self.write([30, 20, 5])
    whole = self.read(paths, 250, seed=8, shuffle_buffer_size=6)
    for start in (54, 55, 56, 110, 200):
      late = self.read(paths, 250 - start, seed=8, shuffle_buffer_size=6, start=start)
      self.assertEqual(late, whole[start:])

  def test_files_without_a_record(self):
    with self.assertRaisesRegex(errors.DataError, r'0\.tfrecord and 1 more: there is no record'):
      self.read(self.write([0, 0]), 1, start=5)

  def test_the_global_seed_changes_nothing_between_the_two(self):
    paths = self.write([30, 20])
    tf.random.set_seed(5)
    whole = self.read(paths, 120, seed=1)
    self.assertEqual(self.read(paths, 50, seed=1, start=70), whole[70:])

  def test_files_with_a_url_give_what_local_ones_give(self):
    paths = self.write([30, 20, 5], size=40)
    whole = self.read(paths, 180, seed=8, shuffle_buffer_size=6)
    remote = self.remote(paths)
    self.assertEqual(self.read(remote, 180, seed=8, shuffle_buffer_size=6), whole)
    for start in (3, 54, 130):
      late = self.read(remote, 180 - start, seed=8, shuffle_buffer_size=6, start=start)
      self.assertEqual(late, whole[start:])

  def test_unreadable_records_that_are_left_out_do_not_count(self):
    paths = self.write([6, 6])
    self.damage(paths[0], 4)
    options = {'skip_errors': True, 'seed': 2}
    whole = self.read(paths, 50, **options)
    self.assertNotIn('0:4', whole)
    self.assertEqual(self.read(paths, 19, start=31, **options), whole[31:])

  def test_records_that_were_seen_are_not_read_again(self):
    paths = self.write([400, 400], size=50)
    options = {'seed': 4, 'shuffle_buffer_size': 5}
    whole = self.read(paths, 1500, **options)
    # In the second epoch.
    start = 1400
    seen = whole[800:start]
    for path, number in zip(paths, '01', strict=True):
      for place in range(200):
        self.assertIn(f'{number}:{place}' * 50, seen)
        self.damage(path, place, size=50)
    late = self.read(paths, 100, start=start, **options)
    self.assertEqual(late, whole[start:])
    with self.assertRaises(tf.errors.DataLossError):
      self.read(paths, 1, **options)

  def test_hardly_more_than_the_buffer_is_read_again(self):
    counts = [3000, 2000]
    paths = self.write(counts)
    options = {'seed': 4, 'shuffle_buffer_size': 50}
    first = {}

    class Files(tfrecords.TFRecordFiles):
      def open(self, file, first_record):
        def _note(path, record):
          first[path.decode()] = int(record)
          return np.int64(record)

        place = tf.numpy_function(_note, (file, first_record), tf.int64)
        return super().open(file, tf.ensure_shape(place, []))

    stream = record_order.ordered(Files(paths), record_order.StreamOptions(start=4000, **options))
    next(iter(stream))
    read_again = 4000 - sum(first.values())
    self.assertLen(first, 2)
    self.assertBetween(read_again, 0, 12 * 50)


class CountRecordsTest(RecordOrderTestCase):
  def test_counts(self):
    for path, count in zip(self.write([0, 1, 300], size=200), (0, 1, 300), strict=True):
      self.assertEqual(tfrecords.count_records(path), count)

  def test_a_file_that_ends_within_a_record_is_named(self):
    (path,) = self.write([3])
    for size in (os.path.getsize(path) - 1, 20 + 19 + 3):
      with open(path, 'r+b') as stream:
        stream.truncate(size)
      with self.assertRaisesRegex(errors.DataError, r'0\.tfrecord ends within record 2\.'):
        tfrecords.count_records(path)

  def test_files_with_a_url(self):
    paths = self.write([0, 1, 300], size=200)
    for path, count in zip(self.remote(paths), (0, 1, 300), strict=True):
      self.assertEqual(tfrecords.count_records(path), count)
    for size in (os.path.getsize(paths[2]) - 1, os.path.getsize(paths[2]) - 1010):
      os.truncate(paths[2], size)
      with self.assertRaisesRegex(errors.DataError, r'ram://.*/2\.tfrecord ends within record 299'):
        tfrecords.count_records(self.remote(paths)[2])

  def test_files_with_a_url_longer_than_what_is_read_at_once(self):
    (path,) = self.write([4], size=400_000)
    (remote,) = self.remote([path])
    self.assertEqual(tfrecords.count_records(remote), 4)

  def test_content_is_not_looked_at(self):
    (path,) = self.write([3], size=5)
    self.damage(path, 1, size=5)
    for each in (path, *self.remote([path])):
      self.assertEqual(tfrecords.count_records(each), 3)

  def test_a_missing_file_is_named(self):
    with self.assertRaisesRegex(errors.DataError, r'/no/file cannot be read: .*No such file'):
      tfrecords.count_records('/no/file')
    with self.assertRaisesRegex(errors.DataError, r'ram://no/file cannot be read: '):
      tfrecords.count_records('ram://no/file')


if __name__ == '__main__':
  tf.test.main()
