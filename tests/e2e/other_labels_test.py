"""Labels of another program, imported, calibrated and learned from without a teacher of ours."""

import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.pipeline import run
from official_selftrain.pseudo_labels import calibration, import_labels
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


class OtherLabelsTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = os.path.join(tiny_run.root(), 'other-labels')
    os.makedirs(cls.folder)
    data = tiny_run.data()
    truth = json.loads(pathlib.Path(data.unlabelled_truth).read_text())
    of_unlabelled = [
      {'image_id': a['image_id'], 'category_id': a['category_id'], 'bbox': a['bbox'], 'score': 0.9}
      for a in truth['annotations']
    ]
    for name, images, results in (
      ('unlabelled', data.unlabelled, of_unlabelled),
      ('labelled', data.train, _results(data.train)),
    ):
      path = pathlib.Path(cls.folder, f'{name}.json')
      path.write_text(json.dumps(results))
      names = ','.join(map(str, range(10)))
      flags = ['--format=coco_results', f'--labels={path}', f'--images={images}']
      output = os.path.join(cls.folder, name)
      status = import_labels.main([*flags, f'--class_names={names}', f'--output={output}'])
      assert status == 0, name
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


if __name__ == '__main__':
  tf.test.main()
