"""A second round after people have corrected labels of the first."""

import json
import os
import pathlib
import shutil

import pytest
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.pipeline import run
from official_selftrain.pseudo_labels import corrections, review
from official_selftrain.pseudo_labels import manifest as manifest_lib
from tests.testing import records, tiny_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# To be seen in no record of the data.
BOX = [7, 0.125, 0.25, 0.5, 0.75]


class RoundsTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.run_dir = os.path.join(tiny_run.root(), 'rounds')
    shutil.copytree(tiny_run.finished(), cls.run_dir)
    labels = os.path.join(cls.run_dir, 'labels', 'round-1')
    found = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(f'{labels}/*.labels.tfrecord')))
    cls.ids = [records.parse(each.numpy())[keys.SOURCE_ID][0].decode() for each in found]
    shards = manifest_lib.Manifest.load(labels).shards
    page = os.path.join(cls.run_dir, 'review.html')
    assert review.main([f'--run={cls.run_dir}', f'--output={page}']) == 0
    text = pathlib.Path(page).read_text()
    start = text.index('id="data">') + len('id="data">')
    data = json.loads(text[start : text.index('</script>', start)])
    head = {name: data[name] for name in ('format', 'labels_sha256', 'cut', 'class_names')}
    images = {
      cls.ids[0]: {'status': 'corrected', 'boxes': [BOX]},
      cls.ids[1]: {'status': 'rejected'},
    }
    path = pathlib.Path(cls.run_dir, 'review.json')
    path.write_text(json.dumps({**head, 'images': images}))
    assert review.main([f'--run={cls.run_dir}', f'--import={path}']) == 0
    cls.first = tiny_run.times(cls.run_dir, '*/ckpt*')
    cls.params = tiny_run.load(override='rounds=2')
    run.run(cls.params, 'train_and_eval', cls.run_dir)
    cls.num_images = sum(shard.records for shard in shards)

  def read(self, *parts):
    return json.loads(pathlib.Path(self.run_dir, *parts).read_text())

  def test_the_first_round_stays_as_it_was(self):
    after = tiny_run.times(self.run_dir, '*/ckpt*')
    self.assertEqual({name: after[name] for name in self.first}, self.first)

  def test_images_that_people_decided_about_have_no_pseudo_labels(self):
    manifest = manifest_lib.Manifest.load(os.path.join(self.run_dir, 'labels', 'round-2'))
    self.assertEqual((manifest.images, manifest.dead), (self.num_images, 2))
    reasons = {letter.source_id: letter.reason for letter in manifest.dead_letters}
    self.assertIn('corrected the labels', reasons[self.ids[0]])
    self.assertIn('rejected', reasons[self.ids[1]])
    student = self.read('student', 'metrics.json')
    self.assertEqual(manifest.provenance.teacher['global_step'], student['step'])

  def test_control_and_student_of_the_second_round_learn_from_the_corrected_image(self):
    for name in ('control-2', 'student-2'):
      text = pathlib.Path(self.run_dir, name, 'params.yaml').read_text()
      self.assertRegex(
        text, 'corrected_path: .*labels/round-1/corrections/corrected-00000.tfrecord'
      )
    for name in ('control', 'student'):
      text = pathlib.Path(self.run_dir, name, 'params.yaml').read_text()
      self.assertIn("corrected_path: ''", text)
    # The control of the second round starts from that of the first.
    text = pathlib.Path(self.run_dir, 'control-2', 'params.yaml').read_text()
    self.assertIn(f'init_checkpoint: {os.path.join(self.run_dir, "control", "ckpt-6")}', text)

  def test_the_report_is_over_both_rounds(self):
    report = self.read('report.json')
    self.assertEqual([each['number'] for each in report['rounds']], [1, 2])
    self.assertEqual((report['rounds'][0]['corrected'], report['rounds'][0]['rejected']), (1, 1))
    self.assertEqual(report['rounds'][1]['metrics']['student'], report['student']['AP'])
    self.assertEqual(report['rounds'][1]['metrics']['control'], report['control']['AP'])
    self.assertEqual(report['steps'], {'teacher': 4, 'control': 6, 'student': 6})
    self.assertIn('id="rounds"', pathlib.Path(self.run_dir, 'report.html').read_text())

  def test_corrections_after_the_fact_are_refused(self):
    folder = corrections.folder_of(os.path.join(self.run_dir, 'labels', 'round-1'))
    found = corrections.load(folder)
    try:
      corrections.Corrections(rejected=(self.ids[2],)).save(folder)
      with self.assertRaisesRegex(
        errors.StageChangedError,
        'stage labels-2 is finished .* its input labels/round-1/corrections has changed.*--restart=labels-2',
      ):
        run.run(self.params, 'train_and_eval', self.run_dir)
    finally:
      found.save(folder)


if __name__ == '__main__':
  tf.test.main()
