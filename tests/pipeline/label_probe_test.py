"""What labelling will take, by arithmetic."""

import os
import tempfile
import unittest

import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pipeline import label_probe


def _probe(**changes):
  fields = {
    'shards': 10,
    'images': 36_000,
    'images_per_second': 10.0,
    'label_bytes': 2**30,
    'start_seconds': 0.0,
  }
  return label_probe.Probe(**(fields | changes))


class ProbeTest(unittest.TestCase):
  def test_workers_share_the_shards(self):
    probe = _probe()
    self.assertAlmostEqual(probe.hours(1), 1.0)
    self.assertAlmostEqual(probe.hours(10), 0.1)
    # Ten shards for four workers: two of them have three.
    self.assertAlmostEqual(probe.hours(4), 0.3)
    # More workers than shards do not help.
    self.assertAlmostEqual(probe.hours(1000), 0.1)

  def test_each_worker_starts_once(self):
    self.assertAlmostEqual(_probe(start_seconds=36.0).hours(10), 0.11)

  def test_the_table(self):
    text = _probe().text(4, 2.5)
    for expected in ('36,000', '10.0', 'with 4 worker(s)', '0.30 hours', '  1 GiB', '3.00'):
      self.assertIn(expected, text)
    self.assertNotIn('without a shard', text)
    self.assertNotIn('cost', _probe().text(4, 0.0))

  def test_workers_without_work_are_named_and_cost_nothing(self):
    text = _probe().text(12, 1.0)
    self.assertRegex(text, r'workers without a shard +2')
    self.assertRegex(text, r'cost +1\.00')


class DamagedTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path, self.sample = (os.path.join(folder.name, name) for name in 'ab')
    with tf.io.TFRecordWriter(self.path) as writer:
      for number in range(5):
        writer.write(b'record %d' % number)

  def damage(self, place, content):
    with open(self.path, 'r+b') as stream:
      stream.seek(place)
      stream.write(content)

  def test_the_sample_has_what_can_be_read(self):
    self.damage(12, b'?')  # In the first record's data.
    label_probe._write_sample(self.sample, self.path, 3)
    found = list(tf.data.TFRecordDataset(self.sample).as_numpy_iterator())
    self.assertEqual(found, [b'record 1', b'record 2', b'record 3'])

  def test_a_file_without_records_is_named(self):
    self.damage(0, b'?')  # In its length: nobody knows where the second one begins.
    with self.assertRaisesRegex(errors.DataError, f'{self.path} has no record that can be read'):
      label_probe._write_sample(self.sample, self.path, 3)

  def test_records_that_cannot_be_read_are_counted(self):
    self.damage(12, b'?')
    with open(self.path, 'ab') as stream:
      stream.write(b'abc')  # The file ends within a record.
    self.assertEqual(label_probe.count(self.path), 6)


if __name__ == '__main__':
  unittest.main()
