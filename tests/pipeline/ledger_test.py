"""Stages: skipped when done, refused when changed, resumed after a crash, restarted on request. No TensorFlow."""

import contextlib
import dataclasses
import os
import pathlib
import re
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import errors, files
from official_selftrain.pipeline import graph, ledger, planning


class _Work:
  """A stage whose product is a file; it can be made to fail, and counts how often it ran."""

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

  def stage(self, *reads, is_cheap=False):
    return graph.Stage(
      kind=self.name, reads=graph.Reads(reads), makes=(self.name,), is_cheap=is_cheap
    )


class _Case(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = folder.name
    self.ledger = ledger.Ledger(folder.name)
    self.work = _Work(folder.name, 'teacher')

  def decide(self, stage, inputs):
    record, traces = self.ledger.read(stage.name), self.ledger.traces(stage)
    return planning.decide(stage, record, inputs, traces, self.folder)

  def execute(self, settings=None, work=None, is_cheap=False):
    """Does what a run does with one stage; returns whether it ran."""
    work = work or self.work
    stage = work.stage('trainer', 'seed', is_cheap=is_cheap)
    inputs = planning.Inputs(stage.reads.select(settings or {}), work.inputs)
    if self.decide(stage, inputs) is planning.Action.SKIP:
      return False
    self.ledger.execute(stage, inputs, 'some-key', work)
    return True

  def exists(self, *parts):
    return os.path.exists(os.path.join(self.folder, *parts))


class ExecuteTest(_Case):
  def test_a_finished_stage_is_skipped_and_gives_what_it_recorded(self):
    for ran in (True, False, False):
      self.assertIs(self.execute({'trainer.rate': 1}), ran)
    self.assertEqual(self.work.runs, 1)
    self.assertEqual(self.ledger.result('teacher'), {'digest': 'teacher-1', 'runs': 1})
    self.assertTrue(self.ledger.is_done('teacher'))

  def test_another_process_sees_the_same(self):
    settings = {'trainer.levels': [3, 5], 'trainer.clip': None, 'seed': 0.1}
    self.execute(settings)
    self.ledger = ledger.Ledger(self.folder)
    self.assertFalse(self.execute(settings))
    self.assertEqual(self.ledger.result('teacher')['runs'], 1)

  def test_a_product_that_is_gone_is_not_made_again_silently(self):
    self.execute()
    files.remove(os.path.join(self.folder, 'teacher'))
    with self.assertRaisesRegex(
      errors.StageChangedError,
      r'teacher is finished in .* product \(teacher\) is gone.*--restart=teacher',
    ):
      self.execute()
    self.assertEqual(self.work.runs, 1)

  def test_a_cheap_product_that_is_gone_is_made_again(self):
    self.execute(is_cheap=True)
    files.remove(os.path.join(self.folder, 'teacher'))
    self.assertTrue(self.execute(is_cheap=True))
    self.assertEqual(self.work.runs, 2)

  def test_what_other_settings_left_does_not_mix_with_the_new_product(self):
    self.work.part = 'history.jsonl'
    self.work.failure = errors.DataError('no such file')
    with self.assertRaises(errors.DataError):
      self.execute({'seed': 0})
    files.write_text(os.path.join(self.folder, 'teacher', 'old.txt'), 'old')
    self.work.failure = None
    self.execute({'seed': 1})
    self.assertFalse(self.exists('teacher', 'old.txt'))
    self.assertTrue(self.exists('teacher', 'history.jsonl'))

  def test_a_stage_that_failed_runs_again_without_losing_its_files(self):
    self.work.failure = RuntimeError('out of memory')
    with self.assertRaisesRegex(RuntimeError, 'out of memory'):
      self.execute()
    self.assertFalse(self.ledger.is_done('teacher'))
    self.assertTrue(self.exists('teacher', 'checkpoint'))
    self.work.failure = None
    self.assertTrue(self.execute())
    self.assertEqual(self.ledger.result('teacher')['runs'], 2)
    self.assertTrue(self.ledger.is_done('teacher'))

  def test_a_damaged_record_is_named(self):
    self.execute()
    path = self.ledger.path('teacher')
    for content in ('', '{"status": "do', '[]', '{"status": "done"}'):
      files.write_text(path, content)
      with self.assertRaisesRegex(
        errors.DataError, 'teacher.json is damaged.* Delete it; the stage teacher then goes on'
      ):
        self.execute()
    os.remove(path)
    self.assertTrue(self.execute())

  def test_a_process_that_is_killed_leaves_a_started_stage(self):
    # A kill runs no handler, so the last record is the one that was written before the work began.
    record = {'stage': 'teacher', 'settings': {}, 'inputs': {}, 'seconds': 0.0, 'status': 'running'}
    files.write_json(self.ledger.path('teacher'), record)
    self.assertFalse(self.ledger.is_done('teacher'))
    with self.assertRaisesRegex(errors.StageChangedError, 'teacher is not finished'):
      self.ledger.result('teacher')
    self.execute()
    self.assertTrue(self.ledger.is_done('teacher'))

  def test_a_result_that_was_never_made_is_an_error_that_names_the_stage(self):
    with self.assertRaisesRegex(
      errors.StageChangedError, f'stage labels is not finished in {re.escape(self.folder)}.*run it'
    ):
      self.ledger.result('labels')
    self.assertIsNone(self.ledger.read('labels'))

  def test_seconds_add_up_over_processes(self):
    clock = iter([100.0, 107.0, 500.0, 503.0])
    self.work.failure = KeyboardInterrupt()
    with mock.patch.object(ledger.time, 'monotonic', lambda: next(clock)):
      with self.assertRaises(KeyboardInterrupt):
        self.execute()
      self.assertEqual(self.ledger.read('teacher').seconds, 7.0)
      self.assertEqual(self.ledger.seconds(('teacher', 'labels')), {})
      self.work.failure = None
      self.execute()
    self.assertEqual(self.ledger.seconds(('teacher', 'labels')), {'teacher': 10.0})


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

  def test_a_stage_that_left_nothing_to_continue_from_takes_new_settings(self):
    self.work.part = 'log.txt'
    self.work.failure = errors.DataError('no such file')
    with self.assertRaises(errors.DataError):
      self.execute({'seed': 0})
    self.work.failure = None
    self.assertTrue(self.execute({'seed': 1}))
    self.assertEqual(self.ledger.read('teacher').inputs.settings, {'seed': 1})

  def test_what_is_not_known_yet_is_not_compared_and_all_else_is(self):
    work = _Work(self.folder, 'student', labels='abc', teacher='def')
    self.execute({'seed': 0}, work)
    stage = work.stage('trainer', 'seed')
    unknown = {'labels': None, 'teacher': 'def'}
    self.assertIs(self.decide(stage, planning.Inputs({'seed': 0}, unknown)), planning.Action.SKIP)
    for inputs, change in (
      (planning.Inputs({'seed': 1}, unknown), 'seed was 0 and is now 1'),
      (planning.Inputs({'seed': 0}, {'labels': None}), 'its input teacher has changed'),
      (planning.Inputs({'seed': 0}, {**unknown, 'files': 'x'}), 'its input files has changed'),
    ):
      with self.assertRaisesRegex(errors.StageChangedError, change):
        self.decide(stage, inputs)

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
    self.execute({'trainer.rate': 1}, work, is_cheap=True)
    self.execute({'trainer.rate': 2}, work, is_cheap=True)
    self.assertEqual(work.runs, 2)
    work.inputs = {'student': 'b'}
    self.execute({'trainer.rate': 2}, work, is_cheap=True)
    self.assertEqual(work.runs, 3)
    self.execute({'trainer.rate': 2}, work, is_cheap=True)
    self.assertEqual(work.runs, 3)
    self.assertEqual(self.ledger.read('report').inputs.settings, {'trainer.rate': 2})


class RestartTest(_Case):
  def test_the_next_start_recovers_from_a_kill_in_between(self):
    stage = self.work.stage('seed')
    for kill_at in (1, 2, 3):
      with self.subTest(kill_at):
        self.execute({'seed': 0})
        removals = [mock.DEFAULT] * (kill_at - 1) + [KeyboardInterrupt]
        remove = mock.Mock(wraps=files.remove, side_effect=removals)
        with mock.patch.object(ledger.files, 'remove', remove):
          with self.assertRaises(KeyboardInterrupt):
            self.ledger.remove((stage,))
        self.execute({'seed': 0})
        self.assertTrue(self.ledger.is_done('teacher'))
        self.assertTrue(self.exists('teacher', 'checkpoint'))
    with mock.patch.object(ledger.console, 'say'):
      self.ledger.remove((stage,))
    self.assertEqual(os.listdir(self.folder), [ledger.RECORDS_DIR])

  def test_products_and_records_of_the_given_stages_go_and_others_stay(self):
    works = {name: _Work(self.folder, name) for name in ('teacher', 'labels', 'student')}
    for work in works.values():
      self.execute({'seed': 0}, work)
    with mock.patch.object(ledger.console, 'say') as say:
      self.ledger.remove(tuple(works[name].stage('seed') for name in ('labels', 'student')))
    self.assertEqual(
      [call.args[0] for call in say.call_args_list],
      [f'{name}: removed, will start again.' for name in ('student', 'labels')],
    )
    self.assertTrue(self.exists('teacher', 'checkpoint') and self.ledger.is_done('teacher'))
    self.assertEqual(sorted(os.listdir(self.folder)), [ledger.RECORDS_DIR, 'teacher'])
    for name in ('labels', 'student'):
      self.assertIsNone(self.ledger.read(name))
    # What was refused before is accepted now.
    self.assertTrue(self.execute({'seed': 1}, works['labels']))
    self.assertEqual(works['labels'].runs, 2)

  def test_what_people_put_into_a_product_stays(self):
    stage = dataclasses.replace(self.work.stage('seed'), keeps=('teacher/corrections',))
    kept = os.path.join(self.folder, 'teacher', 'corrections', 'a.tfrecord')
    inputs = planning.Inputs({'seed': 0}, {})
    for kill_at in (None, 1, 2, 3):
      with self.subTest(kill_at):
        self.ledger.execute(stage, inputs, 'some-key', self.work)
        self.assertEqual(self.ledger.traces(stage), planning.Traces(True, True))
        files.write_text(kept, 'by hand')
        removals = None
        if kill_at:
          removals = [mock.DEFAULT] * (kill_at - 1) + [KeyboardInterrupt]
        remove = mock.Mock(wraps=files.remove, side_effect=removals)
        with mock.patch.object(ledger.files, 'remove', remove), contextlib.ExitStack() as stack:
          if kill_at:
            stack.enter_context(self.assertRaises(KeyboardInterrupt))
          self.ledger.remove((stage,))
        self.assertEqual(self.exists('teacher', 'checkpoint'), kill_at == 1)
        self.assertEqual(pathlib.Path(kept).read_text(encoding='utf-8'), 'by hand')
        # A folder that holds nothing else is no product, and nothing that a training goes on from.
        if kill_at is None:
          self.assertEqual(self.ledger.traces(stage), planning.Traces(False, False))
    # Nor does a product with other settings take it along.
    self.ledger.execute(stage, planning.Inputs({'seed': 1}, {}), 'other-key', self.work)
    self.assertTrue(os.path.exists(kept) and self.exists('teacher', 'checkpoint'))
    self.assertEqual(sorted(os.listdir(self.folder)), [ledger.RECORDS_DIR, 'teacher'])

  def test_what_a_kill_left_aside_is_put_back(self):
    stage = dataclasses.replace(self.work.stage('seed'), keeps=('teacher/corrections',))
    files.write_text(os.path.join(self.folder, 'teacher', 'corrections', 'a'), 'by hand')
    replace = mock.Mock(wraps=os.replace, side_effect=[mock.DEFAULT, KeyboardInterrupt])
    with mock.patch.object(ledger.os, 'replace', replace), self.assertRaises(KeyboardInterrupt):
      self.ledger.remove((stage,))
    self.assertFalse(self.exists('teacher', 'corrections'))
    self.ledger.execute(stage, planning.Inputs({}, {}), 'some-key', self.work)
    self.assertTrue(self.exists('teacher', 'corrections', 'a'))

  def test_single_files_are_removed_and_missing_products_are_no_error(self):
    files.write_text(os.path.join(self.folder, 'report.json'), '{}')
    stage = graph.Stage(kind='report', makes=('report.json', 'report.html'))
    with mock.patch.object(ledger.console, 'say'):
      self.ledger.remove((stage,))
    self.assertFalse(self.exists('report.json'))


if __name__ == '__main__':
  unittest.main()
