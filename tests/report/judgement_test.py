"""Tests for the verdict: its truth table, its texts and the advice derived from facts."""

import dataclasses
import unittest
from unittest import mock

from official_selftrain.core import comparison
from official_selftrain.report import contents, judgement
from tests.report import examples

NAN = float('nan')


class OutcomeTest(unittest.TestCase):
  def test_truth_table(self):
    # teacher, control, student -> outcome. Intervals reach 0.01 to both sides.
    table = [
      (0.40, 0.42, 0.45, 'helped'),
      (0.40, 0.42, 0.4301, 'helped'),
      (0.40, 0.42, 0.43, 'too_close'),  # The interval ends at zero.
      (0.40, 0.42, 0.4299, 'too_close'),
      (0.40, 0.42, 0.42, 'too_close'),
      (0.40, 0.42, 0.41, 'too_close'),
      (0.40, 0.42, 0.4099, 'hurt'),
      (0.46, 0.42, 0.44, 'not_helped'),  # Above the control, below the teacher.
      (0.46, 0.445, 0.44, 'not_helped'),  # As good as the control, below the teacher.
      (0.46, 0.45, 0.43, 'hurt'),  # Below both.
      (0.449, 0.42, 0.45, 'too_close'),  # Above the control, as good as the teacher.
      (0.455, 0.42, 0.45, 'too_close'),
      (0.40, None, 0.45, 'unknown'),
      (0.40, NAN, 0.45, 'unknown'),
      (0.40, 0.42, None, 'unknown'),
      (0.40, 0.42, NAN, 'unknown'),
      (None, 0.42, 0.45, 'helped'),
      (None, 0.42, 0.40, 'hurt'),
    ]
    for teacher, control, student, expected in table:
      with self.subTest(teacher=teacher, control=control, student=student):
        answer = judgement.verdict(examples.inputs(teacher, control, student))
        self.assertEqual(answer.outcome, expected)
        self.assertEqual(answer.helped, expected == 'helped')

  def test_a_lead_without_an_interval_decides_nothing(self):
    known = examples.comparisons(teacher=0.4, control=0.42, student=0.45)
    cases = {
      'student_minus_control': 'the control, but without results per image nobody can say how much of '
      'that is chance.',
      'student_minus_teacher': 'the control (90% interval +0.020 to +0.040), and 0.050 more than its '
      "teacher, but without the teacher's results per image nobody can say how much of the latter is "
      'chance.',
    }
    for missing, text in cases.items():
      rest = {name: found for name, found in known.items() if name != missing}
      answer = judgement.verdict(examples.inputs(comparisons=rest))
      self.assertEqual(answer.outcome, 'unknown')
      self.assertEqual(
        answer.headline,
        'It is unknown whether self-training helped: the student has 0.450 AP, 0.030 more than '
        + text,
      )
      (advice,) = answer.advice
      self.assertRegex(advice, r'^Evaluate all models on the same images, with AP, AP50')
    answer = judgement.verdict(examples.inputs(comparisons={}, num_validation_images=None))
    self.assertTrue(answer.details.endswith('one seed, 7: another seed may differ.'))

  def test_the_advice_names_the_metrics_that_can_be_resampled(self):
    (advice,) = judgement.verdict(examples.inputs(comparisons={})).advice
    *first, last = comparison.METRICS
    self.assertIn(f'{", ".join(first)} or {last} ', advice)

  def test_differences(self):
    answer = judgement.verdict(examples.inputs(0.4, 0.42, 0.45))
    self.assertEqual(answer.student_minus_control, 0.03)
    self.assertEqual(answer.student_minus_teacher, 0.05)
    answer = judgement.verdict(examples.inputs(0.4, None, 0.45))
    self.assertIsNone(answer.student_minus_control)
    self.assertEqual(answer.student_minus_teacher, 0.05)

  def test_a_control_that_trained_less_cannot_show_a_gain(self):
    steps = {'teacher': 1500, 'control': 900, 'student': 1200}
    answer = judgement.verdict(examples.inputs(steps=steps))
    self.assertEqual(answer.outcome, 'unknown')
    self.assertRegex(answer.headline, r'0\.450 AP, 0\.030 more than the control, but trained l')
    self.assertRegex(answer.advice[0], r'^Train the control like the student')
    self.assertEqual(len(answer.advice), 1)
    self.assertRegex(answer.sentence, r'1,200 steps but the control for 900, so .* not .* equal')

  def test_a_control_that_trained_less_while_the_teacher_has_no_results_per_image(self):
    known = examples.comparisons(teacher=0.48, control=0.46, student=0.45)
    del known['student_minus_teacher']
    steps = {'teacher': 1500, 'control': 900, 'student': 1200}
    facts = examples.inputs(0.48, 0.46, 0.45, steps=steps, comparisons=known)
    answer = judgement.verdict(facts)
    self.assertEqual(answer.outcome, 'unknown')
    self.assertRegex(
      answer.headline,
      r'0\.450 AP, 0\.010 less than the control \(90% .*\), and 0\.030 less than its teacher, but w',
    )
    self.assertRegex(' '.join(answer.advice), r'^Train the control .* Evaluate all models')

  def test_few_images_are_too_close_and_the_sentence_says_how_many(self):
    for images, told in ((1, '1 validation image '), (29, '29 validation images ')):
      for values in ((0.4, 0.42, 0.45), (0.4, 0.5, 0.45), (0.5, 0.42, 0.45), (0.4, 0.45, 0.45)):
        with self.subTest(images=images, values=values):
          teacher, control, student = values
          found = examples.comparisons(teacher=teacher, control=control, student=student)
          few = {name: dataclasses.replace(each, images=images) for name, each in found.items()}
          answer = judgement.verdict(examples.inputs(*values, comparisons=few))
          self.assertEqual((answer.outcome, answer.helped), ('too_close', False))
          self.assertRegex(answer.headline, rf'^Too close to call\. .*, but {told}cannot show ')
          self.assertIn('it takes at least 30.', answer.headline)
          self.assertNotIn('interval', answer.headline + answer.details)
          self.assertIn(f'seed, 7, measured on {told.strip()}: another', answer.details)
          self.assertRegex(answer.advice[0], r'^Evaluate on at least 30 validation images')
    enough = examples.comparisons(teacher=0.4, control=0.42, student=0.45)
    enough = {name: dataclasses.replace(each, images=30) for name, each in enough.items()}
    self.assertTrue(judgement.verdict(examples.inputs(comparisons=enough)).helped)

  def test_a_longer_trained_student_can_still_have_been_hurt_or_be_too_close(self):
    steps = {'teacher': 1500, 'control': 900, 'student': 1200}
    for control, expected in ((0.445, 'too_close'), (0.47, 'hurt')):
      answer = judgement.verdict(examples.inputs(0.4, control, 0.45, steps=steps))
      self.assertEqual(answer.outcome, expected)

  def test_metric_and_confidence_are_data(self):
    scores = {'teacher': {'mean_iou': 0.50}, 'control': {'mean_iou': 0.60}}
    found = examples.comparisons(0.05, teacher=0.5, control=0.6, student=0.63)
    facts = examples.inputs(
      metrics=scores | {'student': {'mean_iou': 0.63}},
      primary_metric='mean_iou',
      comparisons={
        name: dataclasses.replace(each, confidence=0.95) for name, each in found.items()
      },
    )
    answer = judgement.verdict(facts)
    self.assertEqual(answer.outcome, 'too_close')
    self.assertIn('0.630 mean_iou', answer.headline)
    self.assertIn('95% interval -0.020 to +0.080', answer.headline)


class TextTest(unittest.TestCase):
  def test_helped_in_full(self):
    self.assertEqual(
      judgement.verdict(examples.inputs()).sentence,
      'Yes, self-training helped here. The student reaches 0.450 AP, 0.030 more than the control '
      '(90% interval +0.020 to +0.040). The teacher trained for 1,500 steps; control and student '
      'then trained for 1,200 steps each. The student is 0.050 AP above its teacher (90% interval '
      '+0.040 to +0.060). This is one run with one seed, 7: the 500 validation images were resampled '
      '1,000 times, but training was not repeated, and another seed may differ by more.',
    )

  def test_headlines(self):
    cases = [
      (
        (0.4, 0.5, 0.45),
        r'^No, self-training hurt here\. .* 0\.450 AP, 0\.050 less than the control '
        r'\(90% interval -0\.060 to -0\.040\)\.$',
      ),
      (
        (0.4, 0.45, 0.45),
        r'^Too close to call\. .* exactly as much as the control, and the interval includes zero '
        r'\(90% interval -0\.010 to \+0\.010\)\.$',
      ),
      (
        (0.5, 0.42, 0.45),
        r'^No, self-training did not help here\. .* 0\.050 less than its teacher '
        r'\(90% interval -0\.060 to -0\.040\)\.$',
      ),
      (
        (0.4, 0.45, 0.4522),
        r'^Too close to call\. .* 0\.0022 more than the control, and the interval includes zero',
      ),
      (
        (0.448, 0.42, 0.45),
        r'^Too close to call\. .* clearly more than the control, but 0\.0020 more than its teacher, '
        r'and that interval includes zero',
      ),
      ((0.4, None, 0.45), r'^It is unknown .* the control was not trained'),
      ((0.4, NAN, 0.45), r'^It is unknown .* the control has no AP'),
      ((0.4, 0.42, None), r'^It is unknown .* the student has no AP'),
    ]
    for values, pattern in cases:
      with self.subTest(values=values):
        answer = judgement.verdict(examples.inputs(*values))
        self.assertRegex(answer.headline, pattern)
        self.assertTrue(answer.sentence.startswith(answer.headline))

  def test_level_with_the_teacher(self):
    details = judgement.verdict(examples.inputs(0.45, 0.42, 0.45)).details
    self.assertIn('The student is level with its teacher (90% interval -0.010', details)

  def test_steps_are_those_of_each_round(self):
    one_round = examples.inputs(rounds=(mock.sentinel.first,))
    two_rounds = examples.inputs(rounds=(mock.sentinel.first, mock.sentinel.second))
    self.assertNotIn('rounds', judgement.verdict(one_round).details)
    self.assertIn(
      'in each of 2 rounds control and student then trained for 1,200 steps each.',
      judgement.verdict(two_rounds).details,
    )

  def test_every_outcome_names_seed_and_steps(self):
    for values in (
      (0.4, 0.42, 0.45),
      (0.4, 0.5, 0.45),
      (0.4, None, 0.45),
      (0.4, 0.45, 0.451),
      (0.5, 0.4, 0.45),
    ):
      sentence = judgement.verdict(examples.inputs(*values)).sentence
      self.assertRegex(
        sentence, r'1,500 steps.*1,200 steps.*one run with one seed, 7:.*another seed'
      )


class AdviceTest(unittest.TestCase):
  def _advice(self, facts: contents.PseudoLabelFacts | None, **changes) -> tuple[str, ...]:
    # Control and teacher are equal, so that only the pseudo labels can be at fault.
    values = {'teacher': 0.45, 'control': 0.45, 'student': 0.43} | changes
    return judgement.verdict(examples.inputs(pseudo_labels=facts, **values)).advice

  def test_none_when_it_helped(self):
    self.assertEqual(judgement.verdict(examples.inputs()).advice, ())

  def test_cut_follows_the_count_ratio(self):
    few = examples.pseudo_labels(labels_per_image=1.5, suggested_cut=0.35)
    self.assertEqual(
      self._advice(few),
      (
        'Lower the cut from 0.5 to 0.35: 0.5 leaves 1.50 boxes per image where people drew 3.00 '
        '(ratio 0.50).',
      ),
    )
    many = examples.pseudo_labels(labels_per_image=6.0, suggested_cut=None)
    self.assertRegex(self._advice(many)[0], r'^Raise the cut from 0\.5: .* \(ratio 2\.00\)')

  def test_a_low_cut_of_soft_labels_is_meant(self):
    wrong = contents.QualityAtCut(cut=0.5, precision=0.3, recall=0.9, f1=0.45, count_ratio=2.0)
    many = examples.pseudo_labels(
      labels_per_image=6.0, suggested_cut=0.7, quality=(wrong,), is_soft=True
    )
    self.assertNotIn('cut', ' '.join(self._advice(many)))
    few = examples.pseudo_labels(labels_per_image=1.5, suggested_cut=0.35, is_soft=True)
    self.assertIn('Lower the cut from 0.5 to 0.35', self._advice(few)[0])

  def test_what_an_ignore_band_hides_needs_no_lower_cut(self):
    few = examples.pseudo_labels(labels_per_image=1.5, suggested_cut=0.1, ignore_cut=0.15)
    self.assertNotIn('Lower the cut', ' '.join(self._advice(few)))
    above = dataclasses.replace(few, suggested_cut=0.35)
    self.assertIn('Lower the cut from 0.5 to 0.35', self._advice(above)[0])

  def test_labels_of_another_program_were_made_by_no_teacher_of_this_run(self):
    one = {'labels.scales': [1.0], 'labels.flip': False, 'labels.soft_nms_sigma': 0.0}
    wrong = contents.QualityAtCut(cut=0.5, precision=0.3, recall=0.9, f1=0.45, count_ratio=1.0)
    facts = examples.pseudo_labels(source='coco, x.json', quality=(wrong,))
    (advice,) = self._advice(facts, settings=one)
    self.assertRegex(advice, '^Get better labels or use a lower alpha')

  def test_a_class_that_is_spared_is_meant_to_have_no_labels(self):
    facts = examples.pseudo_labels(counts_per_class={'cat': 500, '<b>&': 0})
    self.assertRegex(self._advice(facts)[0], '^Look at class <b>&')
    spared = dataclasses.replace(facts, spared=('<b>&',))
    self.assertNotIn('Look at class', ' '.join(self._advice(spared)))

  def test_a_student_without_a_metric(self):
    for value in (None, float('nan')):
      advice = self._advice(examples.pseudo_labels(), student=value)
      self.assertEqual(
        advice, ('Look at the evaluation of the student: it has no metric to compare.',)
      )

  def test_cuts_of_classes_are_no_single_cut(self):
    few = examples.pseudo_labels(labels_per_image=1.5, suggested_cut=0.35, class_cuts=(0.3, 0.7))
    self.assertEqual(
      self._advice(few)[0],
      'Lower the cuts of the classes: they leave 1.50 boxes per image where people drew 3.00 (ratio 0.50).',
    )

  def test_pixels_are_counted_in_whole_numbers(self):
    few = examples.mask_facts(labels_per_image=750.4, suggested_cut=0.35)
    self.assertEqual(
      self._advice(few, unit='object pixels')[0],
      'Lower the cut from 0.5 to 0.35: 0.5 leaves 750 object pixels per image where people drew '
      '1,500 (ratio 0.50).',
    )

  def test_a_suggestion_on_the_wrong_side_is_left_out(self):
    few = examples.pseudo_labels(labels_per_image=1.5, suggested_cut=0.6)
    self.assertRegex(self._advice(few)[0], r'^Lower the cut from 0\.5: ')

  def test_unfinished_teacher(self):
    advice = self._advice(examples.pseudo_labels(), teacher=0.347, control=0.569, student=0.499)
    self.assertEqual(len(advice), 1)
    self.assertRegex(advice[0], r'^Train the teacher longer: .* 1,500 steps, .* gained 0\.222 AP')

  def test_overtrained_control(self):
    advice = self._advice(examples.pseudo_labels(), teacher=0.45, control=0.43, student=0.41)
    self.assertRegex(advice[0], r'^Use fewer student steps .* cost even the control 0\.020 AP')
    # A loss that may be chance is no reason.
    (advice,) = self._advice(examples.pseudo_labels(), teacher=0.45, control=0.445, student=0.43)
    self.assertRegex(advice, r'^Nothing in this run stands out')

  def test_quality(self):
    def at(precision: float, recall: float, **changes) -> tuple[str, ...]:
      row = contents.QualityAtCut(
        cut=0.5, precision=precision, recall=recall, f1=0.5, count_ratio=1.0
      )
      return self._advice(examples.pseudo_labels(quality=(row,), **changes))

    self.assertRegex(at(0.5, 0.9)[0], r'only 50% of the pseudo labels are right')
    self.assertRegex(at(0.9, 0.3)[0], r'^Keep an ignore band .* find 30% of the objects')
    self.assertRegex(at(0.9, 0.3, ignore_cut=0.2)[0], r'^Nothing in this run stands out')
    # Masks: everything below the cut is in the band, so nothing is taught as background.
    self.assertRegex(at(0.9, 0.3, ignore_cut=0.0)[0], r'^Nothing in this run stands out')
    self.assertRegex(at(NAN, NAN)[0], r'^Nothing in this run stands out')

  def test_coverage_amount_and_classes(self):
    cases = [
      (
        examples.pseudo_labels(dead=150, labelled=1252),
        r'^Look at the images that were left out, 10% of all',
      ),
      (examples.pseudo_labels(empty=750, labelled=748), r'nothing in 50% of them'),
      (
        examples.pseudo_labels(num_images=240, labelled=230, empty=8),
        r'^Add unlabelled images: 240 are few for 80 labelled',
      ),
      (
        examples.pseudo_labels(counts_per_class={'cat': 950, '<b>&': 50}),
        r'^Look at class <b>&: it is 40\.0% of the human labels but 5\.0% of the pseudo labels\. Give each class a cut '
        r'of its own: task\.pseudo_data\.cut=matched\.$',
      ),
      (
        examples.pseudo_labels(counts_per_class={'cat': 950, '<b>&': 50}, class_cuts=(0.3, 0.6)),
        r'^Look at class <b>&: .* of the pseudo labels\.$',
      ),
    ]
    for facts, pattern in cases:
      with self.subTest(pattern=pattern):
        self.assertRegex(self._advice(facts)[0], pattern)

  def test_views_where_the_teacher_saw_each_image_once(self):
    one = {'labels.scales': [1.0], 'labels.flip': False, 'labels.soft_nms_sigma': 0.0}
    (advice,) = self._advice(examples.pseudo_labels(), settings=one)
    self.assertRegex(
      advice,
      r'^Let the teacher see .*, and mirrored \(labels\.scales=\[0\.75,1\.0,1\.25,1\.5\],labels\.flip=true\)',
    )
    for more in ({'dataset.invalid_ops': ['Flip']}, {'dataset.name': 'digits'}):
      (advice,) = self._advice(examples.pseudo_labels(), settings=one | more)
      self.assertRegex(
        advice,
        r'^Let the teacher see each image at several sizes \(labels\.scales=\[0\.75,1\.0,1\.25,1\.5\]\):',
      )
    masks = {'labels.scales': [1.0], 'labels.flip': False}
    for settings in (one | {'labels.flip': True}, one | {'labels.scales': [1.0, 1.5]}, masks):
      with self.subTest(settings=settings):
        (advice,) = self._advice(examples.pseudo_labels(), settings=settings)
        self.assertRegex(advice, r'^Nothing in this run stands out')

  def test_an_alpha_that_falls_where_an_alpha_that_stays_hurt(self):
    stays = {'task.self_training.alpha_decay_steps': 0}
    (advice,) = self._advice(examples.pseudo_labels(), settings=stays)
    self.assertRegex(
      advice,
      r'^Let the student end on human labels \(task\.self_training\.alpha_decay_steps=null\)',
    )
    for falls in (None, 200):
      settings = {'task.self_training.alpha_decay_steps': falls}
      (advice,) = self._advice(examples.pseudo_labels(), settings=settings)
      self.assertRegex(advice, r'^Nothing in this run stands out')
    level = self._advice(examples.pseudo_labels(), settings=stays, student=0.45)
    self.assertNotIn('alpha', ' '.join(level))

  def test_no_finding_and_no_facts(self):
    self.assertRegex(
      self._advice(examples.pseudo_labels())[0], r'stands out \(count ratio 0\.97 at the cut 0'
    )
    self.assertRegex(self._advice(None)[0], r'stands out, so try more than 1,200 student steps')
    none_drawn = examples.pseudo_labels(human_labels_per_image=0.0)
    self.assertRegex(self._advice(none_drawn)[0], r'stands out, so try')

  def test_at_most_three_and_too_close_wants_more_seeds_first(self):
    bad = examples.pseudo_labels(
      labels_per_image=1.0, dead=300, num_images=390, counts_per_class={'cat': 9}
    )
    self.assertEqual(len(self._advice(bad, teacher=0.3)), 3)
    advice = self._advice(bad, teacher=0.3, control=0.448, student=0.45)
    self.assertRegex(advice[0], r'^Repeat with two more seeds and compare the medians; more valid')
    self.assertEqual(len(advice), 3)

  def test_without_control_it_asks_for_one(self):
    advice = self._advice(examples.pseudo_labels(), control=None)
    self.assertEqual(len(advice), 1)
    self.assertRegex(advice[0], r'^Train the control')


if __name__ == '__main__':
  unittest.main()
