"""Tests of `benchmarks.results`."""

import json
import unittest

from benchmarks import results, timing


def row(value: float, target: results.Target | None) -> results.Row:
  ratio = timing.Ratio(value, value, value, 3)
  return results.Row('name', 'a : b', 's', ours=1.0, reference=2.0, ratio=ratio, target=target)


class TargetTest(unittest.TestCase):
  def test_limits_belong_to_the_range(self):
    self.assertTrue(results.Target(at_least=0.85).is_met(0.85))
    self.assertFalse(results.Target(at_least=0.85).is_met(0.849))
    self.assertTrue(results.Target(at_most=1.05).is_met(1.05))
    self.assertFalse(results.Target(at_most=1.05).is_met(1.051))

  def test_text(self):
    self.assertEqual(str(results.Target(at_least=0.85)), '>= 0.85')
    self.assertEqual(str(results.Target(at_least=0.5, at_most=2.0)), '>= 0.5 and <= 2')


class RowTest(unittest.TestCase):
  def test_verdict_is_about_the_ratio(self):
    self.assertEqual(row(0.9, results.Target(at_least=0.85)).verdict, 'met')
    self.assertEqual(row(0.8, results.Target(at_least=0.85)).verdict, 'missed')
    self.assertEqual(row(0.8, None).verdict, '')

  def test_verdict_without_ratio_is_about_our_figure(self):
    slow = results.Row('name', 'a', 's', ours=1.5, target=results.Target(at_most=1.0))
    self.assertEqual(slow.verdict, 'missed')


class CompareTest(unittest.TestCase):
  def test_ratio_of_rates_is_the_inverse_of_the_ratio_of_times(self):
    # 10 images in 1, 2, 4 seconds against 2, 2, 2: rates 10, 5, 2.5 against 5, 5, 5.
    compared = results.compare(
      'name', 'a : b', 'images/s', [1.0, 2.0, 4.0], [2.0, 2.0, 2.0], figure=lambda s: 10 / s
    )
    self.assertEqual((compared.ours, compared.reference), (5.0, 5.0))
    self.assertEqual(compared.ratio, timing.Ratio(median=1.0, low=0.75, high=1.5, rounds=3))


class TableTest(unittest.TestCase):
  def test_one_line_per_row_with_figures_and_verdict(self):
    lines = results.table([row(1.04, results.Target(at_most=1.05)), row(0.5, None)]).splitlines()
    self.assertEqual(len(lines), 4)
    self.assertRegex(lines[0], r'^benchmark +ours : reference +unit +ours +reference +ratio')
    self.assertRegex(lines[2], r'1\.000 +2\.000 +1\.040 +1\.040 \.\. 1\.040 +<= 1\.05 +met$')
    self.assertRegex(lines[3], r'0\.500 \.\. 0\.500$')

  def test_json_has_everything(self):
    (entry,) = json.loads(json.dumps(results.as_json([row(0.9, results.Target(at_least=0.85))])))
    self.assertEqual(entry['ratio'], {'median': 0.9, 'low': 0.9, 'high': 0.9, 'rounds': 3})
    self.assertEqual(entry['target'], {'at_least': 0.85, 'at_most': None})
    self.assertEqual(entry['verdict'], 'met')


if __name__ == '__main__':
  unittest.main()
