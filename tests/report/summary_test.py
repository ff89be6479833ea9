"""Tests for report.json."""

import json
import pathlib
import tempfile
import unittest

import numpy as np

from official_selftrain.report import contents, judgement, summary
from tests.report import examples


def _json(facts) -> dict:
  return summary.to_json(facts, judgement.verdict(facts))


class ToJsonTest(unittest.TestCase):
  def test_keys_and_values(self):
    report = _json(examples.inputs(seconds={'teacher': 12.5}, versions={'numpy': '1.26.4'}))
    self.assertEqual(
      set(report),
      {
        *('teacher', 'control', 'student', 'per_class', 'pseudo_labels', 'verdict', 'seed'),
        *('steps', 'experiment', 'settings', 'settings_not_default', 'seconds', 'versions'),
        *('command', 'class_metric', 'confusion', 'comparisons', 'rounds', 'calibration'),
        *('starts', 'pretraining', 'ceiling', 'changed_settings'),
      },
    )
    self.assertEqual(report['student']['AP'], 0.45)
    self.assertEqual(report['teacher']['AP50'], examples.metrics(0.4)['AP50'])
    self.assertEqual(report['seed'], 7)
    self.assertEqual(report['steps'], {'teacher': 1500, 'control': 1200, 'student': 1200})
    self.assertEqual(report['verdict']['helped'], True)
    self.assertEqual(report['verdict']['student_minus_control'], 0.03)
    self.assertEqual(report['verdict']['metric'], 'AP')
    self.assertEqual(report['verdict']['outcome'], 'helped')
    names = {'student_minus_control', 'student_minus_teacher', 'teacher_minus_control'}
    self.assertEqual(set(report['comparisons']), names)
    found = report['comparisons']['student_minus_control']
    self.assertEqual(found['difference'], 0.03)
    self.assertAlmostEqual(found['low'], 0.02)
    self.assertAlmostEqual(found['high'], 0.04)
    self.assertEqual((found['confidence'], found['resamples'], found['images']), (0.9, 1000, 500))
    self.assertEqual(report['pseudo_labels']['score_histogram']['counts'], [400, 200, 100, 50])
    self.assertAlmostEqual(report['pseudo_labels']['count_ratio'], 2.9 / 3.0)

  def test_what_is_known_about_pixels(self):
    facts = _json(examples.mask_inputs())['pseudo_labels']
    self.assertEqual([row['kept_share'] for row in facts['quality']], [0.95, 0.8125, 0.0])
    self.assertEqual([row['accuracy'] for row in facts['quality']], [0.875, 0.9625, None])
    self.assertIsNone(facts['quality'][2]['precision'])
    self.assertEqual(facts['accuracy_by_confidence'], [[0.425, 0.5], [0.975, 0.99]])
    self.assertEqual(facts['ignore_cut'], 0.0)
    boxes = _json(examples.inputs())['pseudo_labels']
    self.assertEqual([row['kept_share'] for row in boxes['quality']], [None, None])
    self.assertEqual([row['accuracy'] for row in boxes['quality']], [None, None])
    self.assertEqual(boxes['accuracy_by_confidence'], [])

  def test_missing_and_non_finite_values_are_null(self):
    facts = examples.inputs(
      control=None,
      metrics={
        'teacher': {'AP': float('nan'), 'AP50': float('inf')},
        'student': {'AP': np.float32(0.5)},
      },
      pseudo_labels=examples.pseudo_labels(human_labels_per_image=0),
    )
    report = _json(facts)
    self.assertEqual(report['teacher'], {'AP': None, 'AP50': None})
    self.assertIsNone(report['control'])
    self.assertEqual(report['student'], {'AP': 0.5})
    self.assertIsNone(report['per_class']['student']['<b>&'])
    self.assertIsNone(report['pseudo_labels']['count_ratio'])
    self.assertIsNone(_json(examples.inputs(pseudo_labels=None))['pseudo_labels'])

  def test_other_types_become_plain(self):
    settings = {
      'int': np.int64(3),
      'path': pathlib.PurePosixPath('a/b'),
      'array': np.array([[1.5, np.nan]]),
      'flag': np.bool_(True),
      'nested': {1: (2, None)},
    }
    self.assertEqual(
      _json(examples.inputs(settings=settings))['settings'],
      {'int': 3, 'path': 'a/b', 'array': [[1.5, None]], 'flag': True, 'nested': {'1': [2, None]}},
    )

  def test_written_file_reads_back(self):
    facts = examples.inputs()
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, 'report.json')
      summary.write_json(facts, judgement.verdict(facts), path)
      self.assertEqual(json.loads(path.read_text(encoding='utf-8')), _json(facts))


class RecordsTest(unittest.TestCase):
  def test_histogram_needs_one_edge_more_than_counts(self):
    with self.assertRaisesRegex(ValueError, '3 counts and 3 edges do not fit'):
      contents.ScoreHistogram((0.0, 0.5, 1.0), (1, 2, 3))

  def test_quality_at_cut_is_the_nearest_row(self):
    self.assertEqual(examples.pseudo_labels(cut=0.38).quality_at_cut.cut, 0.3)
    self.assertEqual(examples.pseudo_labels(cut=0.45).quality_at_cut.cut, 0.5)
    self.assertIsNone(examples.pseudo_labels(quality=None).quality_at_cut)

  def test_pixels_are_known_if_any_row_has_a_share(self):
    self.assertTrue(examples.mask_facts().has_pixels)
    self.assertFalse(examples.pseudo_labels().has_pixels)
    self.assertFalse(examples.mask_facts(quality=None).has_pixels)
    row = contents.QualityAtCut(
      cut=0.5, precision=1.0, recall=1.0, f1=1.0, count_ratio=1.0, kept_share=0.0
    )
    self.assertTrue(examples.mask_facts(quality=(row,)).has_pixels)

  def test_quantities_from_a_hundred_on_are_whole(self):
    cases = {0: '0.00', 2.345: '2.35', 99.94: '99.94', 100: '100', 99.999: '100', 1450.6: '1,451'}
    for value, expected in cases.items():
      self.assertEqual(contents.quantity(value), expected)

  def test_bounds_have_a_digit_more_where_they_would_read_as_zero(self):
    cases = [
      ((-0.0123, 0.0456), ('-0.012', '+0.046')),
      ((0.0003, 0.0456), ('+0.0003', '+0.0456')),
      ((0.0, 0.0), ('+0.000', '+0.000')),
    ]
    for (low, high), expected in cases:
      self.assertEqual(contents.bounds(examples.difference(0.0, low, high)), expected)

  def test_difference_is_free_of_binary_noise(self):
    self.assertEqual(contents.difference(0.3, 0.1), 0.2)
    self.assertIsNone(contents.difference(None, 0.1))
    self.assertIsNone(contents.difference(0.1, None))


if __name__ == '__main__':
  unittest.main()
