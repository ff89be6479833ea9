"""The whole loop on a tiny setting, in this process: products, second call, changed settings, modes, stages."""

import contextlib
import io
import json
import os
import pathlib
import re
import time
from unittest import mock

import pytest
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.pipeline import actions, run, training
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.report import foresight
from tests.testing import damage, tiny_run

# The first test waits for the whole run.
pytestmark = pytest.mark.timeout(600)

_MODELS = ('teacher', 'control', 'student')
_FINISHED = 'is finished already: nothing to do.'


def _run(params, mode, model_dir, **options):
  """Runs and returns what was printed to standard output."""
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    run.run(params, mode, model_dir, **options)
  return printed.getvalue()


class _Case(tf.test.TestCase):
  def folder(self, name):
    return os.path.join(tiny_run.root(), name)

  def read(self, *parts):
    return json.loads(pathlib.Path(*parts).read_text())

  def exists(self, *parts):
    return os.path.exists(os.path.join(*parts))


class FinishedRunTest(_Case):
  """What `train_and_eval` writes."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.run_dir = tiny_run.finished()

  def test_all_products_are_there(self):
    for name in ('params.yaml', 'report.json', 'report.html', 'labels/round-1/manifest.json',
                 'labels/round-1/dead_letters.jsonl', 'export/saved_model.pb'):  # fmt: skip
      self.assertTrue(self.exists(self.run_dir, name), name)
    for name in _MODELS:
      for part in ('params.yaml', 'checkpoint', 'metrics.json', 'history.jsonl', 'train'):
        self.assertTrue(self.exists(self.run_dir, name, part), f'{name}/{part}')
    shards = sorted(pathlib.Path(self.run_dir, 'labels', 'round-1').glob('*.labels.tfrecord'))
    self.assertLen(shards, 3)
    leftovers = pathlib.Path(self.run_dir).rglob('*.tmp')
    self.assertEmpty(list(leftovers))

  def test_models_trained_the_steps_they_were_asked_for(self):
    steps = [training.finished_steps(os.path.join(self.run_dir, name)) for name in _MODELS]
    self.assertEqual(steps, [4, 6, 6])
    for name, last in zip(_MODELS, steps, strict=True):
      curves = actions.read_history(os.path.join(self.run_dir, name))
      self.assertEqual([step for step, _ in curves['total_loss']], list(range(2, last + 1, 2)))
    self.assertContainsSubset(
      {'human_loss', 'pseudo_loss', 'loss_ratio', 'pseudo_positives_per_image'}, curves
    )

  def test_report_json(self):
    report = self.read(self.run_dir, 'report.json')
    self.assertContainsSubset({*_MODELS, 'pseudo_labels', 'verdict', 'seed', 'steps'}, report)
    self.assertEqual(report['steps'], {'teacher': 4, 'control': 6, 'student': 6})
    self.assertEqual(report['seed'], 0)
    for name in _MODELS:
      metrics = report[name]
      self.assertContainsSubset({'AP', 'AP50', 'AP75', 'ARmax100'}, metrics)
      for metric in ('AP', 'AP50', 'AP75'):
        self.assertBetween(metrics[metric], 0.0, 1.0, f'{name} {metric}')
      self.assertLessEqual(metrics['AP'], metrics['AP50'])
      self.assertLen(report['per_class'][name], 10)
    labels = report['pseudo_labels']
    self.assertEqual(labels['num_images'], 24)
    self.assertEqual(labels['labelled'] + labels['empty'] + labels['dead'], 24)
    self.assertEqual(labels['labels_per_image'] > 0, labels['kept_share_at_cut'] > 0)
    self.assertEqual(set(report['seconds']), {*_MODELS, 'labels', 'gate'})

  def test_what_is_to_be_expected_is_said_before_the_student_is_trained(self):
    doubts = self.read(self.run_dir, 'stages', 'gate.json')['result']['doubts']
    ratio = self.read(self.run_dir, 'report.json')['pseudo_labels']['count_ratio']
    self.assertGreater(ratio, 2)
    self.assertStartsWith(doubts[0], f'The labels have {ratio:.1f} times as many boxes per image')

  def test_report_html_needs_no_network(self):
    html = pathlib.Path(self.run_dir, 'report.html').read_text()
    # Not assertIn, which would print the page.
    self.assertTrue('src="data:image/' in html)
    self.assertEmpty(re.findall(r'(?:src|href)="(?!data:|#)[^"]{,80}', html))

  def test_manifest_names_teacher_and_versions(self):
    manifest = manifest_lib.Manifest.load(os.path.join(self.run_dir, 'labels', 'round-1'))
    teacher = manifest.provenance.teacher
    self.assertEqual(teacher['global_step'], 4)
    self.assertEqual(teacher['checkpoint'], os.path.join(self.run_dir, 'teacher', 'ckpt-4'))
    self.assertIn('tensorflow', manifest.provenance.versions)
    self.assertEqual([shard.records for shard in manifest.shards], [8, 8, 8])

  def test_control_and_student_start_from_the_teacher(self):
    # Read from the recorded settings of each model.
    for name in ('control', 'student'):
      text = pathlib.Path(self.run_dir, name, 'params.yaml').read_text()
      self.assertIn(f'init_checkpoint: {os.path.join(self.run_dir, "teacher", "ckpt-4")}', text)
      self.assertIn('decay_steps: 6', text)
    self.assertIn(
      'global_batch_size: 4', pathlib.Path(self.run_dir, 'control', 'params.yaml').read_text()
    )

  def test_running_again_says_so_changes_nothing_and_is_fast(self):
    before = tiny_run.times(self.run_dir)
    started = time.monotonic()
    with mock.patch.object(training, 'run', side_effect=AssertionError('trains')):
      printed = _run(tiny_run.load(), 'train_and_eval', self.run_dir)
    self.assertLess(time.monotonic() - started, 20)
    self.assertIn(_FINISHED, printed)
    # The table comes last, as after the first run.
    self.assertRegex(printed, r'Report with pictures: .*report\.html\n\n(.|\n)*student')
    self.assertEqual(tiny_run.times(self.run_dir), before)

  def test_harmless_settings_may_change(self):
    printed = _run(
      tiny_run.load(override='trainer.checkpoint_interval=6,labels.batch_size=8'),
      'train_and_eval',
      self.run_dir,
    )
    self.assertIn(_FINISHED, printed)

  def test_a_run_of_a_version_that_did_not_know_a_setting(self):
    records = {p: p.read_text() for p in pathlib.Path(self.run_dir, 'stages').glob('*.json')}
    new = 'task.recompute_blocks'
    changed = 0
    try:
      for path, text in records.items():
        record = json.loads(text)
        changed += record['settings'].pop(new, None) is not None
        path.write_text(json.dumps(record))
      self.assertGreater(changed, 1)
      self.assertIn(_FINISHED, _run(tiny_run.load(), 'train_and_eval', self.run_dir))
      with self.assertRaisesRegex(errors.StageChangedError, f'{new} was None and is now True'):
        _run(tiny_run.load(override=f'{new}=true'), 'train_and_eval', self.run_dir)
    finally:
      for path, text in records.items():
        path.write_text(text)

  def test_a_changed_setting_names_field_and_stage(self):
    cases = {
      'teacher.trainer.train_steps=6': (
        'teacher',
        'teacher.trainer.train_steps was 4 and is now 6',
      ),
      'seed=1': ('teacher', 'seed was 0 and is now 1'),
      'labels.max_boxes=5': ('labels', 'labels.max_boxes was 100 and is now 5'),
      'control.global_batch_size=2': ('control', 'control.global_batch_size was 0 and is now 2'),
      'task.pseudo_data.cut=0.004': ('student', 'task.pseudo_data.cut was 0.005 and is now 0.004'),
      'task.self_training.alpha=1.5': ('student', 'task.self_training.alpha was'),
    }
    before = tiny_run.times(self.run_dir)
    for override, (stage, change) in cases.items():
      with self.subTest(override):
        with self.assertRaises(errors.StageChangedError) as caught:
          _run(tiny_run.load(override=override), 'train_and_eval', self.run_dir)
        self.assertIn(f'The stage {stage} is finished', str(caught.exception))
        self.assertIn(change, str(caught.exception))
        self.assertIn(f'--restart={stage}', str(caught.exception))
    self.assertEqual(tiny_run.times(self.run_dir), before)

  def test_eval_prints_metrics_of_the_model_that_is_asked_for(self):
    for stage, steps in (('all', 6), ('teacher', 4)):
      printed = _run(tiny_run.load(), 'eval', self.run_dir, stage=stage)
      self.assertRegex(printed, r'AP50 +\d\.\d{4}')
      name = 'student' if stage == 'all' else stage
      self.assertEqual(self.read(self.run_dir, name, 'metrics.json')['step'], steps)

  def test_eval_gives_the_metrics_of_the_report(self):
    printed = _run(tiny_run.load(), 'eval', self.run_dir)
    report = self.read(self.run_dir, 'report.json')
    self.assertRegex(printed, rf'AP50 +{report["student"]["AP50"]:.4f}')

  def test_continuous_eval_of_a_finished_run_ends(self):
    # Else it would wait for further checkpoints until the time limit of tests.
    printed = _run(tiny_run.load(), 'continuous_eval', self.run_dir)
    self.assertRegex(printed, r'AP50 +\d\.\d{4}')

  def test_unknown_mode_and_stage(self):
    with self.assertRaisesRegex(errors.ConfigError, "--mode is 'predict': allowed are train, eval"):
      _run(tiny_run.load(), 'predict', self.run_dir)
    with self.assertRaisesRegex(
      errors.ConfigError, '--stage=teach: .* has the stages teacher, labels'
    ):
      _run(tiny_run.load(), 'train', self.run_dir, stage='teach')
    with self.assertRaisesRegex(
      errors.ConfigError, '--stage=labels: mode eval evaluates one of teacher, control, student'
    ):
      _run(tiny_run.load(), 'eval', self.run_dir, stage='labels')


@pytest.mark.slow
class StageByStageTest(_Case):
  """Stages alone, mode train, a teacher that is given, restart, and the report of a run that was only trained."""

  def test_one_run_in_pieces(self):
    run_dir = self.folder('pieces')
    params = tiny_run.load(override=tiny_run.with_teacher('export.enabled=false'))
    with self.assertRaisesRegex(
      errors.StageChangedError, 'teacher is not finished .* run it first'
    ):
      _run(params, 'train', run_dir, stage='labels')
    _run(params, 'train', run_dir, stage='teacher')
    self.assertFalse(self.exists(run_dir, 'labels'))
    self.assertFalse(self.exists(run_dir, 'teacher', 'checkpoint'))
    printed = _run(params, 'train', run_dir, stage='labels')
    self.assertIn('[1/1] labels', printed)
    # The same teacher, at any path, writes the same labels.
    pattern = 'labels/round-1/*.tfrecord'
    labels = tiny_run.snapshot(run_dir, pattern)
    self.assertEqual(labels, tiny_run.snapshot(tiny_run.finished(), pattern))
    with self.assertRaisesRegex(errors.DataError, 'student: there is no checkpoint in .*Train it'):
      _run(params, 'eval', run_dir)
    _run(params, 'train', run_dir)
    self.assertEqual(training.finished_steps(os.path.join(run_dir, 'student')), 6)
    for absent in ('control', 'report.json', 'export', 'student/metrics.json'):
      self.assertFalse(self.exists(run_dir, absent), absent)
    self.assertIn(_FINISHED, _run(params, 'train', run_dir))

    trained = tiny_run.times(run_dir, 'student/ckpt*')
    _run(params, 'train_and_eval', run_dir)
    self.assertEqual(tiny_run.times(run_dir, 'student/ckpt*'), trained)
    report = self.read(run_dir, 'report.json')
    whole = self.read(tiny_run.finished(), 'report.json')
    self.assertEqual(report['teacher'], whole['teacher'])
    self.assertIsNone(report['control'])
    self.assertIsNotNone(report['student']['AP'])
    self._check_restart(run_dir)
    self._check_new_validation_data(run_dir)

  def _check_restart(self, run_dir):
    changed = tiny_run.load(
      override=tiny_run.with_teacher('export.enabled=false,task.pseudo_data.cut=0.004')
    )
    labels = tiny_run.times(run_dir, 'labels/**/*.tfrecord')
    printed = _run(changed, 'train_and_eval', run_dir, restart='student')
    for name in ('student', 'report'):
      self.assertIn(f'{name}: removed, will start again.', printed)
    self.assertNotIn('labels: removed', printed)
    self.assertEqual(tiny_run.times(run_dir, 'labels/**/*.tfrecord'), labels)
    self.assertEqual(training.finished_steps(os.path.join(run_dir, 'student')), 6)
    self.assertEqual(self.read(run_dir, 'report.json')['pseudo_labels']['cut'], 0.004)
    with self.assertRaisesRegex(errors.ConfigError, '--restart=nothing: this run'):
      _run(changed, 'train_and_eval', run_dir, restart='nothing')

  def _check_new_validation_data(self, run_dir):
    changed = tiny_run.load(
      override=tiny_run.with_teacher(
        'export.enabled=false,task.pseudo_data.cut=0.004,task.per_category_metrics=false'
      )
    )
    with mock.patch.object(training, 'run', wraps=training.run) as evaluate:
      printed = _run(changed, 'train_and_eval', run_dir)
    self.assertEqual(
      [(call.args[0].name, call.args[1]) for call in evaluate.call_args_list],
      [('teacher', 'eval'), ('student', 'eval')],
    )
    self.assertNotIn(_FINISHED, printed)
    self.assertEqual(self.read(run_dir, 'report.json')['per_class']['student'], {})


class GateTest(_Case):
  def test_no_box_above_the_cut_stops_before_control_and_student(self):
    run_dir = self.folder('gate')
    params = tiny_run.load(
      override=f'teacher.checkpoint={tiny_run.finished()}/teacher,task.pseudo_data.cut=0.99'
    )
    with mock.patch.object(training, 'run', side_effect=AssertionError('trains')):
      with self.assertRaises(errors.GateError) as caught:
        _run(params, 'train', run_dir)
    message = str(caught.exception)
    self.assertStartsWith(message, 'At cut 0.99 the 24 unlabelled images keep 0 pseudo labels')
    self.assertRegex(message, 'highest score is at most 0?.*train the teacher longer')
    self.assertFalse(self.exists(run_dir, 'control', 'checkpoint'))
    self.assertFalse(self.exists(run_dir, 'student', 'checkpoint'))
    # The labels are kept: another cut costs no inference.
    self.assertLen(tiny_run.snapshot(run_dir, 'labels/round-1/*.labels.tfrecord'), 3)


class DamagedUnlabelledDataTest(_Case):
  @pytest.mark.slow
  def test_dead_letters_are_counted_and_the_run_continues(self):
    copy, paths = tiny_run.copy_of_data(self.folder('damaged-data'))
    first, second = (damage.one_file(copy.unlabelled, index) for index in (0, 2))
    damage.change(first, 3, damage.break_image)
    damage.break_checksum(second, 5)
    run_dir = self.folder('damaged')
    settings = f'{paths},export.enabled=false,task.pseudo_data.spared_classes=auto'
    override = tiny_run.with_teacher(settings)
    with mock.patch.object(foresight, 'starved', return_value=('2',)):
      printed = _run(tiny_run.load(override=override), 'train_and_eval', run_dir)
    labels = os.path.join(run_dir, 'labels', 'round-1')
    manifest = manifest_lib.Manifest.load(labels)
    self.assertEqual((manifest.images, manifest.dead), (24, 2))
    self.assertEqual(manifest.labelled + manifest.empty, 22)
    letters = [(letter.shard, letter.index) for letter in manifest.dead_letters]
    self.assertEqual(letters, [(os.path.basename(first), 3), (os.path.basename(second), 5)])
    self.assertRegex(manifest.dead_letters[1].reason, 'checksum')
    self.assertEqual(training.finished_steps(os.path.join(run_dir, 'student')), 6)
    report = self.read(run_dir, 'report.json')
    self.assertEqual(report['pseudo_labels']['dead'], 2)
    self.assertLen(report['pseudo_labels']['dead_letters'], 2)
    self.assertEqual(report['pseudo_labels']['spared'], ['2'])
    text = pathlib.Path(run_dir, 'student', 'params.yaml').read_text()
    self.assertIn('    spared_classes: [3]\n', text)
    self.assertIn('Report with pictures', printed)

  def test_labels_of_other_images(self):
    copy, paths = tiny_run.copy_of_data(self.folder('swapped-data'))
    run_dir = self.folder('swapped')
    params = tiny_run.load(override=tiny_run.with_teacher(paths))
    _run(params, 'train', run_dir, stage='teacher')
    _run(params, 'train', run_dir, stage='labels')
    shard = damage.one_file(copy.unlabelled, 1)
    damage.break_checksum(shard, 6)
    with self.assertRaisesRegex(
      errors.DataError,
      f'^gate: {shard}, record 6: checksum .* could be read when it was labelled',
    ):
      _run(params, 'train', run_dir, stage='student')
    damage.break_checksum(shard, 6)
    # Size and checksums stay right: only the fingerprints of the images can tell.
    damage.swap(shard, 0, 1)
    ids = [tf.train.Example.FromString(r).features.feature[keys.SOURCE_ID].bytes_list.value[0].decode()
           for r in damage.records(shard)[:2]]  # fmt: skip
    with self.assertRaises(errors.LabelMismatchError) as caught:
      _run(params, 'train', run_dir, stage='student')
    message = str(caught.exception)
    self.assertStartsWith(message, 'Pseudo labels do not belong to the images')
    self.assertRegex(message, f"image with id '{ids[0]}' .* labels of id '{ids[1]}'|"
                              f"image with id '{ids[1]}' .* labels of id '{ids[0]}'")  # fmt: skip
    self.assertNotIn('Graph execution', message)
    # A file of another size is refused before anything is built.
    damage.change(shard, 0, damage.break_image)
    with self.assertRaisesRegex(
      errors.StageChangedError,
      'stage labels is finished .* its input task.pseudo_data.input_path has changed.*--restart=labels',
    ):
      _run(params, 'train', run_dir, stage='student')


if __name__ == '__main__':
  tf.test.main()
