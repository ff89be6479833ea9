"""Paired differences: hand-worked intervals and outcomes."""

import dataclasses
import math
import unittest

from official_selftrain.report import study_contents, study_effects
from tests.report import study_facts
from tests.report.study_facts import flat

Interval = study_contents.Interval
# Quantiles of Student's t at 0.95 by degrees of freedom, from a printed table.
_T = {1: 6.314, 2: 2.920, 3: 2.353}


class EffectTest(unittest.TestCase):
  def test_the_interval_is_students(self):
    found = study_effects.effect([0.01, 0.03, 0.05])
    self.assertAlmostEqual(found.mean, 0.03)
    reach = _T[2] * 0.02 / math.sqrt(3)
    self.assertAlmostEqual(found.over_seeds.low, 0.03 - reach, places=5)
    self.assertAlmostEqual(found.over_seeds.high, 0.03 + reach, places=5)
    two = study_effects.effect([0.0, 0.2])
    self.assertAlmostEqual(two.over_seeds.high, 0.1 + _T[1] * 0.1, places=3)

  def test_outcomes(self):
    for differences, intervals, outcome in (
      ([0.03, 0.03, 0.04], [], 'helps'),
      ([-0.03, -0.03, -0.04], [], 'hurts'),
      ([0.03, -0.03, 0.04], [], 'noise'),
      # Sure over seeds, but not over images.
      ([0.03, 0.03, 0.04], [Interval(-0.02, 0.08)] * 3, 'noise'),
      ([0.03, 0.03, 0.04], [Interval(0.01, 0.05)] * 3, 'helps'),
      ([-0.03, -0.03, -0.04], [Interval(-0.05, -0.01)] * 3, 'hurts'),
      # Sure over images, but not over seeds.
      ([0.03, -0.03, 0.04], [Interval(0.01, 0.05)] * 3, 'noise'),
      ([0.03, 0.03], [Interval(0.01, 0.05)] * 2, 'unknown'),
      ([0.03], [], 'unknown'),
      ([0.0, 0.0, 0.0], [], 'noise'),
    ):
      with self.subTest(differences=differences, intervals=intervals):
        self.assertEqual(study_effects.effect(differences, intervals).outcome, outcome)

  def test_few_images_decide_nothing(self):
    differences = [0.1, 0.11, 0.12]
    for images, outcome in ((29, 'unknown'), (30, 'helps'), (None, 'helps')):
      interval = study_contents.Interval(0.05, 0.15, images)
      found = study_effects.effect(
        differences, [study_contents.Interval(0.05, 0.15, 300), interval, interval]
      )
      self.assertEqual((found.outcome, found.over_images.images), (outcome, images or 300))

  def test_interval_over_images_is_the_mean_and_needs_all(self):
    intervals = [Interval(0.0, 0.1), Interval(0.02, 0.14), Interval(0.04, 0.06)]
    found = study_effects.effect([0.05, 0.08, 0.05], intervals)
    self.assertAlmostEqual(found.over_images.low, 0.02)
    self.assertAlmostEqual(found.over_images.high, 0.1)
    self.assertIsNone(study_effects.effect([0.05, 0.08], [intervals[0], None]).over_images)
    self.assertIsNone(study_effects.effect([0.05]).over_seeds)


class StudyTest(unittest.TestCase):
  def test_self_training_in_each_setting(self):
    facts = study_facts.study({'S1': 0.05, 'S4': -0.03}, flat(0.1))
    found = study_effects.self_training(facts)
    self.assertEqual(
      [tuple(each.context.values()) for each in found][:2], [('S1', 'random'), ('S1', 'simclr')]
    )
    self.assertEqual([each.effect.outcome for each in found], ['helps', 'helps', 'hurts', 'hurts'])
    self.assertAlmostEqual(found[0].effect.mean, 0.05)
    self.assertAlmostEqual(found[2].effect.over_images.low, -0.04)

  def test_pairs_cancel_the_luck_of_a_seed(self):
    facts = study_facts.study(flat(0.0), {'S1': 0.06, 'S4': 0.0})
    found = {(e.context['augmentation'], e.model): e for e in study_effects.of_axis(facts, 'init')}
    self.assertEqual(set(found), {(a, m) for a in ('S1', 'S4') for m in ('control', 'student')})
    for (augmentation, model), each in found.items():
      self.assertEqual((each.choice, each.baseline, each.effect.seeds), ('simclr', 'random', 3))
      self.assertAlmostEqual(each.effect.mean, 0.06 if augmentation == 'S1' else 0.0)
      self.assertEqual(each.effect.outcome, 'helps' if augmentation == 'S1' else 'noise', model)

  def test_intervals_between_runs_are_of_the_right_pair(self):
    facts = study_facts.study(flat(0.0), flat(0.06))
    between = {
      ('student', f'S1_simclr_seed{s}', f'S1_random_seed{s}'): Interval(-0.01, 0.13)
      for s in (1, 2, 3)
    }
    facts = dataclasses.replace(facts, between=between)
    found = {
      (e.context['augmentation'], e.model): e.effect for e in study_effects.of_axis(facts, 'init')
    }
    self.assertEqual(found['S1', 'student'].outcome, 'noise')
    self.assertIsNone(found['S1', 'control'].over_images)
    self.assertEqual(found['S4', 'student'].outcome, 'helps')

  def test_without_a_control_the_teacher_is_the_baseline(self):
    facts = study_facts.study(flat(0.05), flat(0.06))
    results = [
      dataclasses.replace(r, metrics={m: v for m, v in r.metrics.items() if m != 'control'})
      for r in facts.results
    ]
    facts = dataclasses.replace(facts, results=tuple(results))
    (first, *_) = study_effects.self_training(facts)
    # Teachers are 0.02 below the controls that were.
    self.assertAlmostEqual(first.effect.mean, 0.07)
    self.assertEqual(first.baseline, 'teacher')
    self.assertEqual(
      {each.model for each in study_effects.of_axis(facts, 'init')}, {'teacher', 'student'}
    )

  def test_a_run_without_partner_is_left_out(self):
    facts = study_facts.study(flat(0.05), flat(0.06))
    missing = [r for r in facts.results if r.name not in ('S1_random_seed2', 'S4_simclr_seed1')]
    facts = dataclasses.replace(facts, results=tuple(missing))
    found = study_effects.of_axis(facts, 'init')
    self.assertEqual({each.effect.seeds for each in found}, {2})

  def test_pooled_over_the_other_axes(self):
    facts = study_facts.study({'S1': 0.05, 'S4': 0.01}, flat(0.06))
    named = study_effects.self_training(facts)
    found = study_effects.pooled(named, 'augmentation', 'S4')
    # Both inits of a seed have the same noise, so the spread is that of one.
    differences = [0.01 + study_facts.NOISE[seed] for seed in (1, 2, 3)]
    self.assertAlmostEqual(found.mean, 0.01)
    self.assertAlmostEqual(found.over_seeds.low, study_effects.effect(differences).over_seeds.low)
    starts = [e for e in study_effects.of_axis(facts, 'init') if e.model == 'control']
    self.assertAlmostEqual(study_effects.pooled(starts, 'augmentation', 'S1').mean, 0.06)
    self.assertIsNone(study_effects.pooled(named, 'augmentation', 'S3'))

  def test_pooled_leaves_out_what_other_values_do_not_have(self):
    facts = study_facts.study({'S1': 0.05, 'S4': 0.01}, flat(0.06))
    without = [
      dataclasses.replace(r, metrics={**r.metrics, 'student': r.metrics['student'] + 0.5})
      if r.values == {'augmentation': 'S4', 'init': 'simclr'}
      else r
      for r in facts.results
      if r.values != {'augmentation': 'S1', 'init': 'simclr'}
    ]
    named = study_effects.self_training(dataclasses.replace(facts, results=tuple(without)))
    self.assertAlmostEqual(study_effects.pooled(named, 'augmentation', 'S4').mean, 0.01)
    self.assertAlmostEqual(study_effects.pooled(named, 'augmentation', 'S1').mean, 0.05)


if __name__ == '__main__':
  unittest.main()
