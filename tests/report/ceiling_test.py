"""What is said of a model with more human labels."""

import dataclasses
import unittest

from official_selftrain.report import ceiling, judgement, page, summary, table
from tests.report import examples


def _inputs(value, control=0.42, student=0.45, **changes):
  facts = examples.inputs(control=control, student=student)
  return examples.inputs(
    control=control,
    student=student,
    metrics={**facts.metrics, 'ceiling': examples.metrics(value)},
    steps={**facts.steps, 'ceiling': 2700},
    comparisons=examples.comparisons(teacher=0.4, control=control, student=student, ceiling=value),
    num_ceiling_images=218,
    **changes,
  )


class CeilingTest(unittest.TestCase):
  def test_the_share_of_the_missing_labels_that_self_training_replaces(self):
    said = ceiling.sentence(_inputs(0.57))
    self.assertEqual(
      said,
      'With human labels for 218 images the model reaches 0.570 AP: these labels are worth 0.150, of which '
      'self-training gives 20%.',
    )
    self.assertIn(said, judgement.verdict(_inputs(0.57)).sentence)

  def test_no_share_where_a_difference_may_be_chance(self):
    for facts in (_inputs(0.57, student=0.41), _inputs(0.57, student=0.425)):
      said = ceiling.sentence(facts)
      self.assertTrue(said.endswith('0.570 AP: these labels are worth 0.150.'), said)

  def test_labels_that_would_not_help(self):
    for value, words in (
      (0.425, 'hardly more than the control'),
      (0.3, 'no more than the control'),
    ):
      said = ceiling.sentence(_inputs(value))
      self.assertIn(words, said)
      self.assertIn('that more labels of this kind alone would help is not shown here', said)
      self.assertNotIn('%', said)

  def test_a_large_difference_that_may_be_chance(self):
    facts = _inputs(0.45)
    wide = examples.comparisons(0.05, teacher=0.4, control=0.42, student=0.45, ceiling=0.45)
    said = ceiling.sentence(dataclasses.replace(facts, comparisons=wide))
    self.assertIn('0.450 AP, 0.030 more than the control: that more labels', said)
    self.assertNotIn('worth', said)

  def test_a_small_difference_that_is_none_of_chance_has_no_share(self):
    sure = examples.comparisons(0.001, teacher=0.4, control=0.42, student=0.45, ceiling=0.426)
    said = ceiling.sentence(dataclasses.replace(_inputs(0.426), comparisons=sure))
    self.assertTrue(said.endswith('0.426 AP: these labels are worth 0.006.'), said)

  def test_without_one_nothing_is_said_or_shown(self):
    facts = examples.inputs()
    self.assertEqual(ceiling.sentence(facts), '')
    self.assertEqual([row.model for row in table.rows(facts)], ['teacher', 'control', 'student'])
    self.assertIsNone(summary.to_json(facts, judgement.verdict(facts))['ceiling'])

  def test_table_page_and_json_have_it(self):
    facts = _inputs(0.57)
    verdict = judgement.verdict(facts)
    row = table.rows(facts)[-1]
    self.assertEqual((row.model, row.cells[0], row.cells[1]), ('ceiling', '2,700', '0.570'))
    self.assertEqual(row.cells[-1], '+0.150 [+0.140, +0.160]')
    self.assertEqual(summary.to_json(facts, verdict)['ceiling']['AP'], 0.57)
    html = page.render_html(facts, verdict)
    self.assertIn('Ceiling AP', html)
    self.assertIn('The ceiling had human labels for more images', html)


if __name__ == '__main__':
  unittest.main()
