"""The section on rounds: rows worked out by hand."""

import unittest

from official_selftrain.core import comparison
from official_selftrain.report import contents, judgement, page, rounds_section
from tests.report import examples


def _round(number, control, student, **more):
  return contents.Round(
    number=number,
    metrics={'control': control, 'student': student},
    comparison=more.pop('comparison', None),
    labels_per_image=more.pop('labels_per_image', 2.0),
    **more,
  )


class RoundsTest(unittest.TestCase):
  def text(self, *rounds):
    inputs = examples.inputs(rounds=rounds)
    return str(rounds_section.rounds(inputs))

  def test_one_round_has_no_section(self):
    self.assertIsNone(rounds_section.rounds(examples.inputs(rounds=())))
    self.assertIsNone(rounds_section.rounds(examples.inputs(rounds=(_round(1, 0.4, 0.5),))))

  def test_rows(self):
    found = comparison.Comparison(
      difference=0.1, low=0.05, high=0.15, confidence=0.9, images=200, resamples=1000
    )
    quality = contents.QualityAtCut(cut=0.5, precision=0.8, recall=0.6, f1=0.69, count_ratio=0.75)
    text = self.text(
      _round(1, 0.4, 0.5, comparison=found, quality=quality, corrected=7),
      _round(2, 0.45, None, labels_per_image=3.25),
    )
    for cell in ('+0.100 [+0.050, +0.150]', '0.800', '0.600', '>7<', '0.450', '3.25'):
      self.assertIn(cell, text)
    self.assertIn('student vs control [90%]', text)
    self.assertIn('images corrected', text)

  def test_columns_that_nobody_needs_are_left_out(self):
    text = self.text(_round(1, 0.4, 0.5), _round(2, 0.4, 0.5))
    self.assertNotIn('corrected', text)
    self.assertNotIn('precision', text)

  def test_it_is_on_the_page(self):
    inputs = examples.inputs(rounds=(_round(1, 0.4, 0.5), _round(2, 0.4, 0.5)))
    self.assertIn('id="rounds"', page.render_html(inputs, judgement.verdict(inputs)))


if __name__ == '__main__':
  unittest.main()
