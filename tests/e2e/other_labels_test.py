"""Labels of another program, imported, calibrated and learned from without a teacher of ours."""

import collections
import itertools
import json
import os
import pathlib
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import config, keys
from official_selftrain.pipeline import run, training
from official_selftrain.pseudo_labels import calibration, import_labels
from official_selftrain.pseudo_labels.exporters import run_settings
from tests.testing import records, tiny_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SIDE = 64


def _results(files):
  """COCO results for labelled records: every object at 0.9, beside a wrong box of the next class at 0.4."""
  results = []
  for path in sorted(tf.io.gfile.glob(files)):
    for record in tf.data.TFRecordDataset(path):
      parsed = records.parse(record.numpy())
      sides = (keys.BOX_XMIN, keys.BOX_YMIN, keys.BOX_XMAX, keys.BOX_YMAX)
      edges = np.array([parsed[side] for side in sides]).T.reshape(-1, 4) * SIDE
      for (xmin, ymin, xmax, ymax), class_id in zip(
        edges.tolist(), parsed[keys.BOX_CLASS], strict=True
      ):
        common = {'image_id': int(parsed[keys.SOURCE_ID][0])}
        box = {
          'bbox': [xmin, ymin, xmax - xmin, ymax - ymin],
          'category_id': class_id,
          'score': 0.9,
        }
        wrong = {'bbox': [0, 0, 5, 5], 'category_id': class_id % 10 + 1, 'score': 0.4}
        results += [common | box, common | wrong]
  return results


def _truth(data, scores):
  """COCO results for the unlabelled images: what is there, at these scores."""
  annotations = json.loads(pathlib.Path(data.unlabelled_truth).read_text())['annotations']
  return [
    {name: a[name] for name in ('image_id', 'category_id', 'bbox')} | {'score': score}
    for a, score in zip(annotations, scores, strict=False)
  ]


def _import(folder, name, images, results):
  path = pathlib.Path(folder, f'{name}.json')
  path.write_text(json.dumps(results))
  names = ','.join(map(str, range(10)))
  flags = ['--format=coco_results', f'--labels={path}', f'--images={images}']
  output = os.path.join(folder, name)
  status = import_labels.main([*flags, f'--class_names={names}', f'--output={output}'])
  assert status == 0, name


class OtherLabelsTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = os.path.join(tiny_run.root(), 'other-labels')
    os.makedirs(cls.folder)
    data = tiny_run.data()
    _import(cls.folder, 'unlabelled', data.unlabelled, _truth(data, itertools.repeat(0.9)))
    _import(cls.folder, 'labelled', data.train, _results(data.train))
    override = (
      f'task.pseudo_data.label_dir={cls.folder}/unlabelled,calibration.label_dir={cls.folder}/labelled,'
      'task.pseudo_data.cut=calibrated,calibration.min_objects=1,task.self_training.student_init=random,'
      'export.enabled=false'
    )
    cls.params = tiny_run.load(override=override)
    cls.run_dir = os.path.join(cls.folder, 'run')
    run.run(cls.params, 'train_and_eval', cls.run_dir, stage='student')
    run.run(cls.params, 'train_and_eval', cls.run_dir)

  def test_no_teacher_was_trained(self):
    self.assertFalse(os.path.exists(os.path.join(self.run_dir, 'teacher')))
    self.assertCountEqual(
      [p.stem for p in pathlib.Path(self.run_dir, 'stages').glob('*.json')],
      ['calibration', 'gate', 'control', 'student', 'report'],
    )

  def test_cuts_lie_between_right_and_wrong_boxes(self):
    found = calibration.load(os.path.join(self.run_dir, 'calibration'))
    # All cuts up to the highest one below 0.9 keep the right boxes alone from 0.45 on.
    self.assertEqual(found.cut, 0.9)
    self.assertTrue(
      all(each.cut == 0.9 and each.precision == 1.0 for each in found.classes.values())
    )

  def test_the_report_compares_student_and_control(self):
    report = json.loads(pathlib.Path(self.run_dir, 'report.json').read_text())
    self.assertIsNone(report['teacher'])
    self.assertEqual(report['steps'], {'control': 6, 'student': 6})
    self.assertEqual(report['calibration']['overall']['precision'], 1.0)
    labels = report['pseudo_labels']
    # Labels that are the truth.
    at_cut = min(labels['quality'], key=lambda row: abs(row['cut'] - 0.9))
    self.assertEqual((at_cut['precision'], at_cut['recall']), (1.0, 1.0))
    page = pathlib.Path(self.run_dir, 'report.html').read_text()
    for part in ('id="calibration"', 'coco_results', 'Truth and student side by side'):
      self.assertTrue(part in page, part)


class MatchedCutsTest(tf.test.TestCase):
  """Labels of many scores, of which each class keeps as many per image as people drew."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = os.path.join(tiny_run.root(), 'matched')
    os.makedirs(folder)
    data = tiny_run.data()
    rng = np.random.default_rng(7)
    # Two boxes for each object, of which about one should be taught.
    results = [
      each
      for _ in range(2)
      for each in _truth(data, (float(score) for score in rng.uniform(0.2, 0.9, 10_000)))
    ]
    _import(folder, 'unlabelled', data.unlabelled, results)
    cls.scores = collections.defaultdict(list)
    for each in results:
      cls.scores[each['category_id']].append(each['score'])
    drawn = collections.Counter(each['category_id'] for each in _results(data.train)[::2])
    images = [
      sum(1 for path in tf.io.gfile.glob(files) for _ in tf.data.TFRecordDataset(path))
      for files in (data.unlabelled, data.train)
    ]
    cls.wanted = {name: count * images[0] / images[1] for name, count in drawn.items()}
    override = (
      f'task.pseudo_data.label_dir={folder}/unlabelled,task.pseudo_data.cut=matched,export.enabled=false,'
      'task.pseudo_data.ignore_cut=0.25,task.self_training.student_init=random'
    )
    cls.run_dir = os.path.join(folder, 'run')
    cls.params = tiny_run.load(override=override)
    run.run(cls.params, 'train_and_eval', cls.run_dir)

  def _matched(self):
    return json.loads(pathlib.Path(self.run_dir, 'stages', 'gate.json').read_text())['result'][
      'matched'
    ]

  def test_each_class_keeps_as_many_labels_as_people_drew(self):
    cuts = self._matched()['class_cuts']
    self.assertLen(cuts, 10)
    self.assertGreater(len(set(cuts)), 3)
    for class_id, cut in enumerate(cuts, start=1):
      found, wanted = np.float32(self.scores[class_id]), self.wanted.get(class_id)
      if not wanted:
        self.assertEqual(cut, self._matched()['cut'])
        continue
      at_lowest = int((found >= np.float32(0.25)).sum())
      if at_lowest < wanted:
        self.assertLess(cut, 0.3)
        continue
      edges = np.float32([int(cut * 20) / 20, int(cut * 20) / 20 + 0.05])
      in_bin = int(((found >= edges[0]) & (found < edges[1])).sum())
      kept = int((found >= np.float32(cut)).sum())
      self.assertLessEqual(abs(kept - wanted), in_bin + 1, class_id)

  def test_the_student_learns_with_them_and_the_report_and_exports_name_them(self):
    matched = self._matched()
    pseudo = config.read_override_file(os.path.join(self.run_dir, 'student', 'params.yaml'))
    pseudo = pseudo['task']['pseudo_data']
    self.assertEqual((pseudo['cut'], pseudo['class_cuts']), (matched['cut'], matched['class_cuts']))
    self.assertEqual(pseudo['ignore_cut'], 0.25)
    labels = json.loads(pathlib.Path(self.run_dir, 'report.json').read_text())['pseudo_labels']
    cuts = matched['class_cuts']
    self.assertEqual(labels['class_cuts'], [min(cuts), max(cuts)])
    found = run_settings.read(self.run_dir).cuts
    self.assertEqual((found.cut, found.ignore_cut), (matched['cut'], 0.25))
    self.assertEqual(dict(found.per_class), dict(enumerate(cuts, start=1)))

  def test_a_second_start_trains_nothing(self):
    with mock.patch.object(training, 'run', side_effect=AssertionError('trains')):
      run.run(self.params, 'train_and_eval', self.run_dir)
    self.assertEqual(training.finished_steps(os.path.join(self.run_dir, 'student')), 6)


if __name__ == '__main__':
  tf.test.main()
