"""Stages: skipped when done, refused when changed, resumed after a crash, restarted on request. No TensorFlow."""

import os
import re
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import errors, files
from official_selftrain.pipeline import stages


class _Work:
  """A stage whose product is a file; it may be told to fail, and says how often it ran."""

  def __init__(self, model_dir, name, **inputs):
    self.model_dir = model_dir
    self.name = name
    self.inputs = inputs
    self.runs = 0
    self.failure = None
    self.part = 'checkpoint'

  def __call__(self):
    self.runs += 1
    files.write_text(os.path.join(self.model_dir, self.name, self.part), str(self.runs))
    if self.failure:
      raise self.failure
    return {'digest': f'{self.name}-{self.runs}', 'runs': self.runs}

  def stage(self, *depends_on, redo_when_changed=False):
    return stages.Stage(
      self.name, (self.name,), depends_on, lambda: self.inputs, self, redo_when_changed
    )


class _Case(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = folder.name
    self.records = stages.StageRecords(folder.name)
    self.work = _Work(folder.name, 'teacher')

  def execute(self, settings=None, work=None, redo_when_changed=False, **options):
    stage = (work or self.work).stage('trainer', 'seed', redo_when_changed=redo_when_changed)
    return self.records.execute(stage, settings or {}, **options)

  def exists(self, *parts):
    return os.path.exists(os.path.join(self.folder, *parts))


class ExecuteTest(_Case):
  def test_a_finished_stage_is_skipped_and_gives_what_it_recorded(self):
    announce = mock.Mock()
    for ran in (True, False, False):
      self.assertIs(self.execute({'trainer.rate': 1}, announce=announce), ran)
    self.assertEqual(self.work.runs, 1)
    announce.assert_called_once_with()
    self.assertEqual(self.records.result('teacher'), {'digest': 'teacher-1', 'runs': 1})
    self.assertTrue(self.records.is_done('teacher'))

  def test_another_process_sees_the_same(self):
    settings = {'trainer.levels': [3, 5], 'trainer.clip': None, 'seed': 0.1}
    self.execute(settings)
    self.records = stages.StageRecords(self.folder)
    self.assertFalse(self.execute(settings))
    self.assertEqual(self.records.result('teacher')['runs'], 1)

  def test_a_finished_stage_whose_product_is_gone_runs_again(self):
    self.execute()
    files.remove(os.path.join(self.folder, 'teacher'))
    self.execute()
    self.assertEqual(self.work.runs, 2)

  def test_a_stage_that_failed_runs_again_without_losing_its_files(self):
    self.work.failure = RuntimeError('out of memory')
    with self.assertRaisesRegex(RuntimeError, 'out of memory'):
      self.execute()
    self.assertFalse(self.records.is_done('teacher'))
    self.assertTrue(self.exists('teacher', 'checkpoint'))
    self.work.failure = None
    self.assertTrue(self.execute())
    self.assertEqual(self.records.result('teacher')['runs'], 2)
    self.assertTrue(self.records.is_done('teacher'))

  def test_a_process_that_is_killed_leaves_a_started_stage(self):
    # A kill runs no handler, so the last record is the one that was written before the work began.
    record = {'stage': 'teacher', 'settings': {}, 'inputs': {}, 'seconds': 0.0, 'status': 'running'}
    files.write_json(self.records.path('teacher'), record)
    self.assertFalse(self.records.is_done('teacher'))
    with self.assertRaisesRegex(errors.StageChangedError, 'teacher is not finished'):
      self.records.result('teacher')
    self.execute()
    self.assertTrue(self.records.is_done('teacher'))

  def test_a_result_that_was_never_made_is_an_error_that_names_the_stage(self):
    with self.assertRaisesRegex(
      errors.StageChangedError, f'stage labels is not finished in {re.escape(self.folder)}.*run it'
    ):
      self.records.result('labels')
    self.assertIsNone(self.records.read('labels'))

  def test_seconds_add_up_over_processes(self):
    clock = iter([100.0, 107.0, 500.0, 503.0])
    self.work.failure = KeyboardInterrupt()
    with mock.patch.object(stages.time, 'monotonic', lambda: next(clock)):
      with self.assertRaises(KeyboardInterrupt):
        self.execute()
      self.assertEqual(self.records.read('teacher')['seconds'], 7.0)
      self.assertEqual(self.records.seconds(), {})
      self.work.failure = None
      self.execute()
    self.assertEqual(self.records.seconds(), {'teacher': 10.0})

  def test_seconds_ignore_other_files_beside_the_records(self):
    self.execute()
    files.write_text(os.path.join(self.folder, stages.RECORDS_DIR, 'table.txt'), 'AP')
    self.assertEqual(list(self.records.seconds()), ['teacher'])


class ChangeTest(_Case):
  def test_a_changed_setting_of_a_finished_stage_names_stage_field_and_what_to_do(self):
    self.execute({'trainer.rate': 0.1, 'seed': 0})
    with self.assertRaises(errors.StageChangedError) as caught:
      self.execute({'trainer.rate': 0.2, 'seed': 0})
    message = str(caught.exception)
    self.assertIn('The stage teacher is finished', message)
    self.assertIn('trainer.rate was 0.1 and is now 0.2', message)
    self.assertIn('--restart=teacher', message)
    self.assertIn(self.folder, message)
    self.assertEqual(self.work.runs, 1)

  def test_a_changed_setting_of_a_half_finished_stage_is_refused_too(self):
    self.work.failure = KeyboardInterrupt()
    with self.assertRaises(KeyboardInterrupt):
      self.execute({'seed': 0})
    self.work.failure = None
    with self.assertRaisesRegex(
      errors.StageChangedError, 'teacher has started .*seed was 0 and is now 1'
    ):
      self.execute({'seed': 1})
    self.assertEqual(self.work.runs, 1)
    self.execute({'seed': 0})
    self.assertEqual(self.work.runs, 2)

  def test_a_stage_that_left_nothing_to_go_on_with_takes_new_settings(self):
    self.work.part = 'log.txt'
    self.work.failure = errors.DataError('no such file')
    with self.assertRaises(errors.DataError):
      self.execute({'seed': 0})
    self.work.failure = None
    self.assertTrue(self.execute({'seed': 1}))
    self.assertEqual(self.records.read('teacher')['settings'], {'seed': 1})

  def test_check_refuses_without_running_anything(self):
    stage = self.work.stage('trainer', 'seed')
    self.assertIsNone(self.records.check(stage, {'seed': 0}))
    self.execute({'seed': 0})
    self.assertIsNone(self.records.check(stage, {'seed': 0}))
    with self.assertRaisesRegex(errors.StageChangedError, 'seed was 0 and is now 1'):
      self.records.check(stage, {'seed': 1})
    cheap = self.work.stage('seed', redo_when_changed=True)
    self.assertIsNone(self.records.check(cheap, {'seed': 1}))
    self.assertEqual(self.work.runs, 1)

  def test_a_new_and_a_vanished_setting_are_changes(self):
    self.execute({'trainer.rate': 0.1})
    with self.assertRaisesRegex(errors.StageChangedError, 'trainer.clip was None and is now 1.0'):
      self.execute({'trainer.rate': 0.1, 'trainer.clip': 1.0})
    with self.assertRaisesRegex(errors.StageChangedError, 'trainer.rate was 0.1 and is now None'):
      self.execute({})

  def test_a_changed_input_names_it(self):
    work = _Work(self.folder, 'student', labels='abc', teacher='def')
    self.execute(work=work)
    work.inputs = {'labels': 'xyz', 'teacher': 'def'}
    with self.assertRaisesRegex(errors.StageChangedError, 'student .*its input labels has changed'):
      self.execute(work=work)

  def test_settings_of_others_and_harmless_ones_are_ignored(self):
    self.execute({'trainer.rate': 1, 'trainer.summary_interval': 10, 'labels.min_score': 0.1})
    changed = {'trainer.rate': 1, 'trainer.summary_interval': 20, 'labels.min_score': 0.2}
    self.assertFalse(self.execute(changed))
    self.assertEqual(self.work.runs, 1)

  def test_cheap_stages_are_redone_when_changed(self):
    work = _Work(self.folder, 'report', student='a')
    self.execute({'trainer.rate': 1}, work, redo_when_changed=True)
    self.execute({'trainer.rate': 2}, work, redo_when_changed=True)
    self.assertEqual(work.runs, 2)
    work.inputs = {'student': 'b'}
    self.execute({'trainer.rate': 2}, work, redo_when_changed=True)
    self.assertEqual(work.runs, 3)
    self.execute({'trainer.rate': 2}, work, redo_when_changed=True)
    self.assertEqual(work.runs, 3)
    self.assertEqual(self.records.read('report')['settings'], {'trainer.rate': 2})


class RelevantSettingsTest(unittest.TestCase):
  def test_prefixes_match_whole_parts_of_a_name(self):
    settings = {'task.model.size': 1, 'task.modelling': 2, 'task.model': 3, 'seed': 4, 'seeds': 5}
    self.assertEqual(
      stages.relevant_settings(settings, ('task.model', 'seed')),
      {'seed': 4, 'task.model': 3, 'task.model.size': 1},
    )

  def test_logging_and_checkpoint_rhythm_are_left_out(self):
    settings = {
      'trainer.checkpoint_interval': 1,
      'trainer.steps_per_loop': 2,
      'trainer.train_steps': 3,
    }
    self.assertEqual(stages.relevant_settings(settings, ('trainer',)), {'trainer.train_steps': 3})


class RestartTest(_Case):
  def test_a_kill_in_between_is_mended_by_the_next_start(self):
    stage = self.work.stage('seed')
    for kill_at in (1, 2, 3):
      with self.subTest(kill_at):
        self.execute({'seed': 0})
        removals = [mock.DEFAULT] * (kill_at - 1) + [KeyboardInterrupt]
        remove = mock.Mock(wraps=files.remove, side_effect=removals)
        with mock.patch.object(stages.files, 'remove', remove):
          with self.assertRaises(KeyboardInterrupt):
            self.records.restart([stage])
        self.execute({'seed': 0})
        self.assertTrue(self.records.is_done('teacher'))
        self.assertTrue(self.exists('teacher', 'checkpoint'))
    with mock.patch.object(stages.console, 'say'):
      self.records.restart([stage])
    self.assertEqual(os.listdir(self.folder), [stages.RECORDS_DIR])

  def test_products_and_records_of_the_given_stages_go_and_others_stay(self):
    works = {name: _Work(self.folder, name) for name in ('teacher', 'labels', 'student')}
    for work in works.values():
      self.execute({'seed': 0}, work)
    with mock.patch.object(stages.console, 'say') as say:
      self.records.restart([works[name].stage('seed') for name in ('labels', 'student')])
    self.assertEqual(
      [call.args[0] for call in say.call_args_list],
      [f'{name}: removed, starts afresh.' for name in ('student', 'labels')],
    )
    self.assertTrue(self.exists('teacher', 'checkpoint') and self.records.is_done('teacher'))
    self.assertEqual(sorted(os.listdir(self.folder)), [stages.RECORDS_DIR, 'teacher'])
    for name in ('labels', 'student'):
      self.assertIsNone(self.records.read(name))
    # What was refused before is accepted now.
    self.assertTrue(self.execute({'seed': 1}, works['labels']))
    self.assertEqual(works['labels'].runs, 2)

  def test_single_files_are_removed_and_missing_products_are_no_error(self):
    files.write_text(os.path.join(self.folder, 'report.json'), '{}')
    stage = stages.Stage('report', ('report.json', 'report.html'), (), dict, dict)
    with mock.patch.object(stages.console, 'say'):
      self.records.restart([stage])
    self.assertFalse(self.exists('report.json'))


if __name__ == '__main__':
  unittest.main()
