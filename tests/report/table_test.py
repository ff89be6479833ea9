"""Tests for the table printed last."""

import unittest

from official_selftrain.report import judgement, table
from tests.report import examples


def _render(facts) -> str:
  return table.render_table(facts, judgement.verdict(facts))


class TableTest(unittest.TestCase):
  def test_exact_text(self):
    self.assertEqual(
      _render(examples.inputs()),
      """\
         steps     AP   AP50   AP75      AP vs control [90%]
------------------------------------------------------------
teacher  1,500  0.400  0.600  0.300  -0.020 [-0.030, -0.010]
control  1,200  0.420  0.620  0.320                        -
student  1,200  0.450  0.650  0.350  +0.030 [+0.020, +0.040]

Yes, self-training helped here. The student reaches 0.450 AP, 0.030 more than the control (90%
interval +0.020 to +0.040). The teacher trained for 1,500 steps; control and student then trained
for 1,200 steps each. The student is 0.050 AP above its teacher (90% interval +0.040 to +0.060).
This is one run with one seed, 7: the 500 validation images were resampled 1,000 times, but training
was not repeated, and another seed may differ by more.""",
    )

  def test_missing_values_are_dashes(self):
    facts = examples.inputs(control=None, metrics={'teacher': {'AP': 0.4}, 'student': {'AP': 0.5}})
    lines = _render(facts).splitlines()
    self.assertEqual(lines[2].split(), ['teacher', '1,500', '0.400', '-', '-', '-'])
    self.assertEqual(lines[3].split(), ['control', '-', '-', '-', '-', '-'])
    self.assertEqual(lines[4].split(), ['student', '1,200', '0.500', '-', '-', '-'])

  def test_columns_are_data(self):
    scores = {'mean_iou': 0.5, 'pixel_accuracy': 0.75}
    facts = examples.inputs(
      metrics={'teacher': scores, 'control': scores, 'student': scores},
      primary_metric='mean_iou',
      table_metrics=('mean_iou', 'pixel_accuracy'),
      comparisons={},
    )
    lines = _render(facts).splitlines()
    self.assertEqual(lines[0], '         steps  mean_iou  pixel_accuracy  mean_iou vs control')
    self.assertEqual(lines[4], 'student  1,200     0.500           0.750               +0.000')

  def test_no_line_is_wider_than_a_hundred(self):
    text = _render(examples.inputs(0.3, 0.6, 0.2))
    self.assertLessEqual(max(map(len, text.splitlines())), 100)


if __name__ == '__main__':
  unittest.main()
