"""Fractions of records: how many are drawn, which, and that streams hold these and no others."""

import os

import hypothesis
import tensorflow as tf
from hypothesis import strategies as st

from official_selftrain.configs import inputs
from official_selftrain.core import errors, keys, splits
from official_selftrain.dataloaders import fractions, record_order, tfrecords


class FractionsTestCase(tf.test.TestCase):
  """Files of 3, 8 and 9 records, whose ids count on."""

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.ids = [f'image {n}' for n in range(20)]
    self.files = [
      self.write('a.tfrecord', self.ids[:3]),
      self.write('b.tfrecord', self.ids[3:11]),
      self.write('c.tfrecord', self.ids[11:]),
    ]

  def write(self, name, ids):
    """A file of examples with these ids, and without an id for None."""
    path = os.path.join(self.folder, name)
    with tf.io.TFRecordWriter(path) as writer:
      for each in ids:
        example = tf.train.Example()
        example.features.feature['place'].int64_list.value.append(len(ids))
        if each is not None:
          example.features.feature[keys.SOURCE_ID].bytes_list.value.append(each.encode())
        writer.write(example.SerializeToString())
    return path

  def chosen(self, fraction, seed=0, files=None):
    """Ids of the drawn records, in the order of the files."""
    files = fractions.PartFiles(fractions.choose(files or self.files, fraction, seed))
    return [_id(record) for part in files.elements for record in files.open(tf.constant(part), 0)]


def _id(record):
  feature = tf.train.Example.FromString(record.numpy()).features.feature
  return feature[keys.SOURCE_ID].bytes_list.value[0].decode()


class ChooseTest(FractionsTestCase):
  def test_a_fraction_is_the_beginning_of_the_ranking(self):
    for fraction, count in ((0.05, 1), (0.2, 4), (0.525, 11), (0.99, 20), (1.0, 20)):
      expected = set(splits.ranking(self.ids, 7)[:count])
      self.assertEqual(self.chosen(fraction, 7), [each for each in self.ids if each in expected])

  @hypothesis.settings(deadline=None, max_examples=6)
  @hypothesis.given(
    st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.integers(0, 2**40), st.permutations(range(3))
  )
  def test_smaller_ones_are_within_larger_ones_in_any_order_of_the_files(self, a, b, seed, order):
    small = self.chosen(min(a, b), seed)
    large = self.chosen(max(a, b), seed, [self.files[n] for n in order])
    self.assertLen(set(small), len(small))
    self.assertLessEqual(set(small), set(large))
    self.assertLen(small, max(1, int(min(a, b) * 20 + 0.5)))

  def test_another_seed_draws_others(self):
    draws = {tuple(self.chosen(0.3, seed)) for seed in range(10)}
    self.assertGreater(len(draws), 8)

  def test_the_draw_is_the_same_in_other_files(self):
    one = self.write('all.tfrecord', self.ids[::-1])
    self.assertEqual(sorted(self.chosen(0.4, 3, [one])), sorted(self.chosen(0.4, 3)))

  def test_files_without_a_drawn_record_are_left_out(self):
    parts = fractions.choose(self.files, 0.05, 0)
    self.assertLen(parts, 1)
    self.assertEqual(sum(parts[0][1]), 1)

  def test_records_without_unique_ids_are_told_apart_by_their_places(self):
    for ids in ([None] * 10, ['', *self.ids[:9]], ['same'] * 10):
      path = self.write('odd.tfrecord', ids)
      ((found, is_chosen),) = fractions.choose([path], 0.3, 5)
      expected = set(splits.ranking([f'0:{n}' for n in range(10)], 5)[:3])
      self.assertEqual(found, path)
      self.assertEqual(list(is_chosen), [f'0:{n}' in expected for n in range(10)])

  def test_the_records_of_a_stream(self):
    for fraction, count in ((1.0, 20), (0.25, 5)):
      stream = inputs.Stream(fraction=fraction, fraction_seed=3)
      found = [
        tf.train.Example.FromString(each)
        .features.feature[keys.SOURCE_ID]
        .bytes_list.value[0]
        .decode()
        for each in fractions.of_stream(self.files, stream).as_numpy_iterator()
      ]
      self.assertCountEqual(found, splits.ranking(self.ids, 3)[:count])

  def test_damage_is_named_or_ends_its_file(self):
    with open(self.files[1], 'r+b') as stream:
      stream.truncate(os.path.getsize(self.files[1]) - 5)
    with self.assertRaisesRegex(
      errors.DataError, r'b\.tfrecord cannot be read, at or after record'
    ):
      fractions.choose(self.files, 0.5, 0)
    # 3 + 7 + 9 records can be read.
    parts = fractions.choose(self.files, 1.0, 0, is_tolerant=True)
    self.assertEqual([len(is_chosen) for _, is_chosen in parts], [3, 7, 9])
    # What is open ends there, too.
    opened = fractions.PartFiles(parts).open(tf.constant(parts[1]), 2)
    self.assertEqual([_id(record) for record in opened], self.ids[5:10])

  def test_no_records_are_refused(self):
    with self.assertRaisesRegex(errors.DataError, r'There is no record in 1 file\(s\)'):
      fractions.choose([self.write('empty.tfrecord', [])], 0.5, 0)


class StreamTest(FractionsTestCase):
  def read(self, count, context=None, **options):
    files = fractions.PartFiles(fractions.choose(self.files, 0.4, 1))
    stream = tfrecords.record_stream(files, record_order.StreamOptions(**options), context)
    return [_id(record) for _, record in stream.take(count)]

  def test_each_epoch_holds_each_drawn_record_once(self):
    expected = sorted(self.chosen(0.4, 1))
    self.assertLen(expected, 8)
    found = self.read(24, seed=2)
    for epoch in range(3):
      self.assertEqual(sorted(found[8 * epoch : 8 * epoch + 8]), expected)

  def test_a_later_start_goes_on_where_the_stream_was(self):
    for options in ({}, {'shuffle_buffer_size': 2}, {'cache': True}):
      whole = self.read(30, seed=2, **options)
      self.assertEqual(self.read(17, seed=2, start=13, **options), whole[13:])

  def test_hosts_share_the_drawn_records(self):
    for hosts in (2, 3, 5):
      found = []
      for host in range(hosts):
        context = tf.distribute.InputContext(num_input_pipelines=hosts, input_pipeline_id=host)
        found += self.read(-1, context, is_training=False)
      self.assertEqual(sorted(found), sorted(self.chosen(0.4, 1)))


if __name__ == '__main__':
  tf.test.main()
