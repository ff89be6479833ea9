"""What labelling will take, by arithmetic."""

import unittest

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


if __name__ == '__main__':
  unittest.main()
