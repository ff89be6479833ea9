"""Tests for report.json."""

import json
import pathlib
import tempfile
import unittest

import numpy as np

from official_selftrain.report import judgement, records, summary
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
        'command',
      },
    )
    self.assertEqual(report['student']['AP'], 0.45)
    self.assertEqual(report['teacher']['AP50'], examples.metrics(0.4)['AP50'])
    self.assertEqual(report['seed'], 7)
    self.assertEqual(report['steps'], {'teacher': 1500, 'control': 1200, 'student': 1200})
    self.assertEqual(report['verdict']['helped'], True)
    self.assertEqual(report['verdict']['student_minus_control'], 0.03)
    self.assertEqual(report['verdict']['metric'], 'AP')
    self.assertEqual(report['pseudo_labels']['score_histogram']['counts'], [400, 200, 100, 50])
    self.assertAlmostEqual(report['pseudo_labels']['box_count_ratio'], 2.9 / 3.0)

  def test_missing_and_non_finite_values_are_null(self):
    facts = examples.inputs(
      control=None,
      metrics={
        'teacher': {'AP': float('nan'), 'AP50': float('inf')},
        'student': {'AP': np.float32(0.5)},
      },
      pseudo_labels=examples.pseudo_labels(boxes_per_image_human=0),
    )
    report = _json(facts)
    self.assertEqual(report['teacher'], {'AP': None, 'AP50': None})
    self.assertIsNone(report['control'])
    self.assertEqual(report['student'], {'AP': 0.5})
    self.assertIsNone(report['per_class']['student']['<b>&'])
    self.assertIsNone(report['pseudo_labels']['box_count_ratio'])
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
    with self.assertRaisesRegex(ValueError, r'3 counts needs 4 edges, got 3'):
      records.ScoreHistogram((0.0, 0.5, 1.0), (1, 2, 3))

  def test_quality_at_cut_is_the_nearest_row(self):
    self.assertEqual(examples.pseudo_labels(cut=0.38).quality_at_cut.cut, 0.3)
    self.assertEqual(examples.pseudo_labels(cut=0.45).quality_at_cut.cut, 0.5)
    self.assertIsNone(examples.pseudo_labels(quality=None).quality_at_cut)

  def test_difference_is_free_of_binary_noise(self):
    self.assertEqual(records.difference(0.3, 0.1), 0.2)
    self.assertIsNone(records.difference(None, 0.1))
    self.assertIsNone(records.difference(0.1, None))


if __name__ == '__main__':
  unittest.main()
