"""The section on what models started from."""

import unittest

from official_selftrain.report import contents, judgement, page, start_section, summary
from tests.report import examples

_STARTS = {
  'teacher': 'the simclr backbone of this run, 500 steps',
  'control': 'the teacher',
  'student': 'the teacher',
}
_PRETRAINING = contents.Pretraining(
  kind='simclr',
  steps=500,
  metrics={'contrastive_accuracy': 0.4094},
  curves={'training_loss': [(100, 4.5), (500, 3.25)], 'contrastive_accuracy': [(100, 0.1)]},
)


class StartSectionTest(unittest.TestCase):
  def test_nothing_known(self):
    self.assertIsNone(start_section.starts(examples.inputs()))

  def test_starts_without_a_pre_training(self):
    text = str(start_section.starts(examples.inputs(starts={'teacher': 'random <weights>'})))
    self.assertIn('random &lt;weights&gt;', text)
    self.assertNotIn('Pre-training', text)
    self.assertNotIn('control', text)

  def test_curves_and_metrics(self):
    inputs = examples.inputs(starts=_STARTS, pretraining=_PRETRAINING)
    text = str(start_section.starts(inputs))
    for part in (
      'the simclr backbone of this run, 500 steps',
      'Pre-training (simclr), 500 steps: training loss',
      'Pre-training (simclr), 500 steps: contrastive accuracy',
      '0.409',
    ):
      self.assertIn(part, text)
    self.assertIn('id="starts"', page.render_html(inputs, judgement.verdict(inputs)))

  def test_it_is_in_the_json(self):
    inputs = examples.inputs(starts=_STARTS, pretraining=_PRETRAINING)
    found = summary.to_json(inputs, judgement.verdict(inputs))
    self.assertEqual(found['starts'], _STARTS)
    self.assertEqual(found['pretraining']['metrics'], {'contrastive_accuracy': 0.4094})
    self.assertEqual(found['pretraining']['curves']['training_loss'], [[100, 4.5], [500, 3.25]])
    none = examples.inputs()
    self.assertIsNone(summary.to_json(none, judgement.verdict(none))['pretraining'])


if __name__ == '__main__':
  unittest.main()
