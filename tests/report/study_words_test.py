"""What is said about studies whose answers are known."""

import dataclasses
import unittest

from official_selftrain.report import study_contents, study_words
from tests.report import study_facts
from tests.report.study_facts import flat


def _said(facts):
  return '\n'.join(study_words.sentences(facts))


class WordsTest(unittest.TestCase):
  def test_self_training_helps_and_pretraining_hurts(self):
    said = _said(study_facts.study({'S1': 0.05, 'S4': 0.03}, {'S1': -0.02, 'S4': -0.04}))
    self.assertIn('12 of 12 runs are finished.', said)
    self.assertIn(
      'Self-training helps in all 4 settings (+0.030 to +0.050 AP), compared with the control of equal steps.',
      said,
    )
    self.assertIn(
      'Init simclr, without self-training, hurts in all 2 settings (-0.040 to -0.020 AP), compared with init random.',
      said,
    )
    self.assertIn('Init simclr, with self-training, hurts in all 2 settings', said)

  def test_a_ceiling_says_what_the_missing_labels_are_worth(self):
    facts = study_facts.study({'S1': 0.05, 'S4': 0.0}, flat(0.0))
    self.assertNotIn('Labelling more', _said(facts))

    def with_ceiling(gap):
      results = [
        dataclasses.replace(r, metrics={**r.metrics, 'ceiling': r.metrics['control'] + gap})
        for r in facts.results
      ]
      return _said(dataclasses.replace(facts, results=tuple(results)))

    said = with_ceiling(0.2)
    self.assertIn(
      'Labelling more images helps in all 4 settings (+0.200 AP), compared with the control of equal steps.',
      said,
    )
    # A share of noise is none: with S4 self-training gives nothing that can be told from it.
    self.assertIn('Self-training gives 25% of what that is worth.', said)
    self.assertIn('Labelling more images hurts in all 4 settings (-0.100 AP)', with_ceiling(-0.1))
    self.assertNotIn('what that is worth', with_ceiling(-0.1))

  def test_nothing_helps(self):
    said = _said(study_facts.study(flat(0.0), flat(0.0), noise=8.0))
    self.assertIn('Self-training is within noise in all 4 settings (+0.000 AP)', said)
    self.assertIn('Init simclr, without self-training, is within noise in all 2 settings', said)
    for word in ('helps', 'hurts'):
      self.assertNotIn(word, said)

  def test_mixed(self):
    said = _said(study_facts.study({'S1': 0.05, 'S4': -0.05}, flat(0.0)))
    self.assertIn(
      'Self-training helps in 2 of 4 settings (+0.050 AP) and hurts in 2 of 4 settings (-0.050 AP)',
      said,
    )

  def test_a_choice_that_a_model_does_not_read_is_not_said_of_it(self):
    facts = study_facts.study(flat(0.05), flat(0.02))
    # As where the axis is the cut: runs that differ in it share their control.
    shared = [
      dataclasses.replace(r, metrics={**r.metrics, 'control': 0.4 + r.seed / 100})
      for r in facts.results
    ]
    said = _said(dataclasses.replace(facts, results=tuple(shared)))
    self.assertNotIn('without self-training', said)
    self.assertIn('Init simclr, with self-training, helps in all 2 settings', said)

  def test_few_seeds_cannot_tell(self):
    for seeds, words in (((1, 2), 'With 2 seeds'), ((1,), 'With 1 seed ')):
      said = _said(study_facts.study(flat(0.3), flat(0.3), seeds=seeds))
      self.assertIn(words, said)
      self.assertIn('cannot tell an effect from chance: it takes at least 3', said)
      self.assertIn('Self-training cannot be judged in all 4 settings (+0.30', said)
      self.assertNotIn('helps', said)

  def test_few_images_cannot_tell(self):
    facts = study_facts.study(flat(0.3), flat(0.3))
    few = [
      dataclasses.replace(r, lead=dataclasses.replace(r.lead, images=5)) for r in facts.results
    ]
    said = _said(dataclasses.replace(facts, results=tuple(few)))
    self.assertIn(
      'With fewer than 30 validation images this study cannot tell an effect from chance', said
    )
    self.assertIn('Self-training cannot be judged in all 4 settings', said)

  def test_one_setting_is_said_with_its_intervals(self):
    facts = study_facts.study(flat(0.05), flat(0.0))
    one = [r for r in facts.results if tuple(r.values.values()) == ('S1', 'random')]
    said = _said(dataclasses.replace(facts, results=tuple(one)))
    self.assertRegex(
      said,
      r'Self-training helps here: \+0\.050 \(\+0\.04\d to \+0\.05\d over 3 seeds, '
      r'\+0\.040 to \+0\.060 over images\) AP',
    )

  def test_unfinished(self):
    facts = study_facts.study(flat(0.05), flat(0.0))
    left = [
      study_contents.Result(name=r.name, values=r.values, seed=r.seed, status=status)
      for r, status in zip(facts.results, ['failed'] + 11 * ['left'], strict=True)
    ]
    some = dataclasses.replace(facts, results=(*facts.results[:6], *left[6:]))
    self.assertIn(
      '6 of 12 runs are finished, 6 are left, so all of this is provisional.', _said(some)
    )
    some = dataclasses.replace(facts, results=(left[0], *facts.results[1:]))
    self.assertIn('11 of 12 runs are finished, 1 failed.', _said(some))
    none = dataclasses.replace(facts, results=tuple(left[1:]))
    self.assertEqual(_said(none), 'Nothing is finished yet: 11 runs are left.')


if __name__ == '__main__':
  unittest.main()
