"""Tests of `benchmarks.timing`."""

import unittest

from benchmarks import timing


class PairedRatioTest(unittest.TestCase):
  def test_is_the_median_of_the_ratios_and_not_the_ratio_of_the_medians(self):
    # Ratios 2, 0.5, 3; the medians are 4 and 2.
    ratio = timing.paired_ratio([2.0, 4.0, 6.0], [1.0, 8.0, 2.0])
    self.assertEqual(ratio.median, 2.0)

  def test_a_disturbance_that_hits_both_of_a_pair_does_not_count(self):
    ratio = timing.paired_ratio([2.0, 20.0, 2.0, 6.0], [4.0, 40.0, 4.0, 12.0])
    self.assertEqual(ratio, timing.Ratio(median=0.5, low=0.5, high=0.5, rounds=4))

  def test_quartiles(self):
    ratio = timing.paired_ratio([5.0, 1.0, 4.0, 2.0, 3.0], [1.0] * 5)
    self.assertEqual(ratio, timing.Ratio(median=3.0, low=2.0, high=4.0, rounds=5))

  def test_even_number_of_pairs(self):
    self.assertEqual(timing.paired_ratio([1.0, 2.0], [1.0, 1.0]).median, 1.5)

  def test_one_pair(self):
    self.assertEqual(timing.paired_ratio([3.0], [2.0]), timing.Ratio(1.5, 1.5, 1.5, 1))

  def test_no_pairs(self):
    with self.assertRaisesRegex(ValueError, 'got 0 numerators and 0 denominators'):
      timing.paired_ratio([], [])

  def test_half_a_pair(self):
    with self.assertRaisesRegex(ValueError, 'got 2 numerators and 1 denominators'):
      timing.paired_ratio([1.0, 2.0], [1.0])


class InterleaveTest(unittest.TestCase):
  def test_contenders_take_turns_and_warm_up_is_dropped(self):
    calls = []

    def contender(name: str, seconds: list[float]) -> timing.Measure:
      def measure() -> float:
        calls.append(name)
        return seconds.pop(0)

      return measure

    contenders = {'a': contender('a', [9.0, 1.0, 2.0]), 'b': contender('b', [8.0, 3.0, 4.0])}
    seconds = timing.interleave(contenders, rounds=2, warm_up=1)
    self.assertEqual(seconds, {'a': [1.0, 2.0], 'b': [3.0, 4.0]})
    self.assertEqual(calls, ['a', 'b'] * 3)

  def test_no_rounds(self):
    with self.assertRaisesRegex(ValueError, 'rounds is 0'):
      timing.interleave({'a': lambda: 1.0}, rounds=0)


class ClocksTest(unittest.TestCase):
  def test_both_run_the_work_and_do_not_run_backwards(self):
    for clock in (timing.wall, timing.cpu):
      done = []
      seconds = clock(lambda done=done: done.append(1))()
      self.assertEqual(done, [1])
      self.assertGreaterEqual(seconds, 0.0)


if __name__ == '__main__':
  unittest.main()
