"""The runner of a study, with cells that take no time. No training."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
from unittest import mock

import numpy as np

from official_selftrain.core import errors, files, lease
from official_selftrain.evaluation import resampling
from official_selftrain.pipeline import training
from official_selftrain.studies import cells, collecting, places, runner, schedule
from tests.studies import study_files


def finish(study, cell, where, student=0.5):
  """Leaves what a finished run leaves."""
  run = where.run(cell.name)
  for stage, seconds in (('teacher', 20.0), ('student', 10.0), ('report', 1.0)):
    record = {'settings': {}, 'inputs': {}, 'seconds': seconds, 'status': 'done', 'result': {}}
    key = f'{stage}-{cell.seed}' if stage == 'teacher' else f'{stage}-{cell.name}'
    files.write_json(os.path.join(run, 'stages', f'{stage}.json'), {**record, 'key': key})
  report = {
    'verdict': {'metric': 'AP50'},
    'teacher': {'AP': 0.1, 'AP50': 0.3},
    'control': {'AP': 0.1, 'AP50': 0.4},
    'student': {'AP': 0.2, 'AP50': student},
    'comparisons': {'student_minus_control': {'low': 0.05, 'high': 0.15, 'images': 60}},
    'per_class': {'student': {'a': 0.5}},
  }
  files.write_json(os.path.join(run, 'report.json'), report)
  files.write_text(where.settings(cell.name), cells.settings(study, cell, where))
  files.write_json(where.done(cell.name), {'digest': cell.digest(study)})


class _Cells:
  """Stands in for the processes of cells."""

  def __init__(self, study, where, **statuses):
    self.study, self.where, self.statuses = study, where, statuses
    self.started = []
    # Cells whose settings are others than those of the runner by now.
    self.changed = set()

  def __call__(self, command):
    name = next(part.partition('=')[2] for part in command if part.startswith('--cell='))
    self.started.append(name)
    status = self.statuses.get(name, 0)
    if isinstance(status, list):
      status = status.pop(0)
    if status == 0 and name not in self.changed:
      finish(self.study, self.study.cell(name), self.where)
    elif status == cells.BUSY:
      files.write_json(self.where.waiting(name), {'lease': os.path.join(self.where.root, 'some')})
    process = mock.Mock()
    process.wait.return_value = status
    return process


class RunnerTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.study = study_files.load(exclude=[{'init': 'simclr'}])
    self.where = places.Places(folder.name)
    self.names = [cell.name for cell in self.study.cells]

  def run_study(self, changed=(), **statuses):
    self.cells = _Cells(self.study, self.where, **statuses)
    self.cells.changed.update(changed)
    keys = {name: {'teacher': f'teacher-{name[-1]}', 'student': name} for name in self.names}
    with (
      mock.patch.object(subprocess, 'Popen', self.cells),
      mock.patch.object(runner, 'plan', return_value=schedule.Schedule(keys, {}, {})),
    ):
      return runner.run(self.study, self.where, 'again', seconds=0.01)

  @contextlib.contextmanager
  def elsewhere(self):
    """A new directory with the results of a finished study, and nothing else of it."""
    self.run_study()
    text = pathlib.Path(self.where.results).read_text(encoding='utf-8')
    with tempfile.TemporaryDirectory() as folder:
      self.where = places.Places(folder)
      files.write_text(self.where.results, text)
      yield

  def test_every_cell_once(self):
    self.assertEqual(self.run_study(), 0)
    self.assertEqual(self.cells.started, self.names)
    self.assertEqual(self.run_study(), 0)
    self.assertEqual(self.cells.started, [])
    self.assertEqual(os.listdir(os.path.join(self.where.root, 'leases')), [])

  def test_a_failed_cell_is_reported_and_the_rest_goes_on(self):
    failing = self.names[1]
    self.assertEqual(self.run_study(**{failing: 2}), 1)
    self.assertEqual(self.cells.started, self.names)
    facts = collecting.gather(self.study, self.where, 'again')
    self.assertEqual([r.status for r in facts.results], ['done', 'failed', 'done', 'done'])
    self.assertEqual(facts.results[1].error, 'its process ended with status 2')
    # The next start tries it again, and it only.
    self.assertEqual(self.run_study(), 0)
    self.assertEqual(self.cells.started, [failing])

  def test_a_study_that_was_changed_meanwhile_fails_and_is_not_run_forever(self):
    self.assertEqual(self.run_study(changed=[self.names[0]]), 1)
    self.assertEqual(self.cells.started, self.names)
    self.assertRegex(cells.failure(self.study.cells[0], self.where), 'was changed meanwhile')

  def test_a_run_that_was_restarted_by_hand_is_not_finished(self):
    self.run_study()
    # `study.json` still has its figures.
    os.remove(os.path.join(self.where.run(self.names[0]), 'report.json'))
    facts = collecting.gather(self.study, self.where, 'again')
    self.assertEqual([r.status for r in facts.results], ['left', 'done', 'done', 'done'])
    self.assertEqual(self.run_study(), 0)
    self.assertEqual(self.cells.started, self.names[:1])

  def test_a_run_that_was_removed_is_made_again(self):
    self.run_study()
    shutil.rmtree(self.where.run(self.names[1]))
    os.remove(self.where.done(self.names[1]))
    self.assertEqual(self.run_study(), 0)
    self.assertEqual(self.cells.started, self.names[1:2])

  def test_runs_that_would_report_about_different_metrics(self):
    metrics = iter(('AP', 'AP', 'AP50', 'AP'))
    with mock.patch.object(runner.cells, 'planned', lambda *_: ({}, next(metrics))):
      with self.assertRaisesRegex(
        errors.ConfigError, f'different report.primary_metric .*AP50 in {self.names[2]}.*: set one'
      ):
        runner.plan(self.study, self.where)

  def test_times_of_products_of_other_settings_do_not_count(self):
    self.run_study()
    self.assertTrue(set(collecting.durations(self.study, self.where)))
    changed = study_files.load(exclude=[{'init': 'simclr'}], overrides={'rounds': 2})
    self.assertEqual(set(collecting.durations(changed, self.where)), set())

  def test_results_of_a_changed_file_are_kept_until_it_is_changed_back(self):
    with self.elsewhere():
      changed = study_files.load(exclude=[{'init': 'simclr'}], overrides={'rounds': 2})
      for study, expected in ((changed, 'left'), (changed, 'left'), (self.study, 'done')):
        facts = runner.write_results(study, self.where, 'again')
        self.assertEqual({r.status for r in facts.results}, {expected})
      self.assertNotIn('earlier', files.read_json(self.where.results))

  def test_a_damaged_file_of_results(self):
    self.run_study()
    whole = pathlib.Path(self.where.results).read_text(encoding='utf-8')
    for content in (
      whole[:-9],
      whole.replace('"between"', '"betwixt"'),
      whole.replace('"seed"', '"sea"'),
    ):
      files.write_text(self.where.results, content)
      with self.assertRaisesRegex(
        errors.DataError, 'study.json is damaged.*the runs in its directory are kept'
      ):
        runner.write_results(self.study, self.where, 'again')

  def test_a_killed_cell(self):
    self.run_study(**{self.names[0]: -9})
    self.assertEqual(
      cells.failure(self.study.cells[0], self.where), 'its process was killed by signal 9'
    )

  def test_ctrl_c_ends_it(self):
    with self.assertRaises(KeyboardInterrupt):
      self.run_study(**{self.names[1]: 130})
    self.assertEqual(self.cells.started, self.names[:2])
    self.assertFalse(lease.is_held(self.where.lease(self.names[1])))

  def test_a_busy_product_is_waited_for_while_others_go_on(self):
    first = self.names[0]
    self.assertEqual(self.run_study(**{first: [cells.BUSY, 0]}), 0)
    self.assertEqual(self.cells.started, [*self.names, first])

  def test_no_start_while_the_product_is_still_being_made(self):
    first = self.names[0]
    path = os.path.join(self.where.root, 'some')
    looks = []

    def is_held(found):
      looks.append(found)
      return len(looks) < 3

    with mock.patch.object(runner.lease, 'is_held', is_held):
      self.run_study(**{first: [cells.BUSY, 0]})
    self.assertEqual(self.cells.started, [*self.names, first])
    self.assertEqual(looks, [path] * 3)

  def test_a_cell_of_another_runner_is_left_to_it(self):
    mine, other = self.names[0], self.names[1]
    sleeps = []

    def sleep(_):
      # The other runner finishes its cell while this one waits.
      sleeps.append(1)
      finish(self.study, self.study.cell(other), self.where)

    with lease.hold(self.where.lease(other)), mock.patch.object(runner.time, 'sleep', sleep):
      self.assertEqual(self.run_study(), 0)
    self.assertEqual(self.cells.started, [mine, *self.names[2:]])
    self.assertEqual(sleeps, [1])

  def test_a_run_with_settings_of_before_is_not_finished(self):
    self.run_study()
    self.study = study_files.load(exclude=[{'init': 'simclr'}], overrides={'rounds': 2})
    os.remove(self.where.results)
    facts = collecting.gather(self.study, self.where, 'again')
    self.assertEqual({r.status for r in facts.results}, {'left'})
    self.assertEqual(self.run_study(), 0)
    self.assertEqual(self.cells.started, self.names)

  def test_results_go_on_from_study_json_alone(self):
    with self.elsewhere():
      self.assertEqual(self.run_study(), 0)
      self.assertEqual(self.cells.started, [])
      facts = collecting.gather(self.study, self.where, 'again')
      self.assertEqual({r.status for r in facts.results}, {'done'})
      self.assertEqual(facts.metric, 'AP50')
      # Other settings are another result.
      self.study = study_files.load(exclude=[{'init': 'simclr'}], overrides={'rounds': 2})
      self.run_study()
      self.assertEqual(self.cells.started, self.names)


def _tallies(hits):
  """Forty images of six boxes, of which the model finds so many."""
  images, boxes = 40, 6
  found = images * hits
  return {
    'image_ids': np.arange(images),
    'category_ids': np.array([1]),
    'iou_thresholds': np.linspace(0.5, 0.95, 10),
    'image': np.repeat(np.arange(images), hits).astype(np.int32),
    'category': np.zeros(found, np.int32),
    'score': np.linspace(1, 0.5, found),
    'matched': np.ones([found, 10], bool),
    'ignored': np.zeros([found, 10], bool),
    'true_image': np.repeat(np.arange(images), boxes).astype(np.int32),
    'true_category': np.zeros(images * boxes, np.int32),
  }


class CollectingTest(unittest.TestCase):
  def test_results_that_were_read_and_new_ones_belong_together(self):
    """JSON sorts names; the axes of this study are not sorted."""
    axes = {'zone': {'near': {}, 'far': {'seed': 1}}, 'cut': {'low': {}}}
    study = study_files.load(axes=axes, seed_settings=['dataset.digits.seed'])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
      where, there = places.Places(folder), places.Places(other)
      for cell in study.cells:
        finish(study, cell, where, 0.5)
      collecting.write(collecting.gather(study, where, 'again'), where)
      results = pathlib.Path(where.results).read_text(encoding='utf-8')
      files.write_text(there.results, results)
      # This one was made anew, the others are in the file alone.
      finish(study, study.cells[0], there, 0.7)
      facts = collecting.gather(study, there, 'again')
    self.assertEqual({tuple(result.values) for result in facts.results}, {('zone', 'cut')})
    self.assertEqual({result.status for result in facts.results}, {'done'})
    self.assertEqual([r.metrics['student'] for r in facts.results], [0.7, 0.5, 0.5, 0.5])

  def test_an_interval_between_runs_follows_a_run_that_was_made_again(self):
    with tempfile.TemporaryDirectory() as folder:
      where = places.Places(folder)
      study = study_files.load(axes={'cut': {'low': {}, 'high': {'seed': 1}}}, seeds=[3])
      low, high = (where.model(cell.name, 'student') for cell in study.cells)
      for cell in study.cells:
        finish(study, cell, where)
      found = []
      # Of a third of the boxes, then of all.
      for hits in (2, 6, 6):
        for path, number in ((low, 3), (high, hits)):
          tallies = _tallies(number)
          resampling.save(os.path.join(path, training.TALLIES_FILE), tallies)
          digest = files.sha256(os.path.join(path, training.TALLIES_FILE))
          files.write_json(os.path.join(path, 'metrics.json'), {'tallies_sha256': digest})
        facts = runner.write_results(study, where, 'again')
        found.append(facts.between['student', study.cells[1].name, study.cells[0].name])
    self.assertLess(found[0].high, 0.2)
    self.assertGreater(found[1].low, 0.2)
    self.assertEqual(found[1], found[2])
    self.assertEqual(found[1].images, 40)

  def test_the_column_of_intervals_has_one_baseline(self):
    with tempfile.TemporaryDirectory() as folder:
      where = places.Places(folder)
      study = study_files.load(exclude=[{'init': 'simclr'}])
      for cell in study.cells:
        finish(study, cell, where)
      path = os.path.join(where.run(study.cells[0].name), 'report.json')
      report = files.read_json(path)
      del report['control']
      report['comparisons'] = {'student_minus_teacher': {'low': 0.3, 'high': 0.4, 'images': 60}}
      files.write_json(path, report)
      collecting.write(collecting.gather(study, where, 'again'), where)
      lines = pathlib.Path(folder, 'study.csv').read_text(encoding='utf-8').splitlines()
    self.assertTrue(lines[1].endswith(',0.3,,0.5,,,'), lines[1])
    self.assertTrue(lines[2].endswith(',0.05,0.15'), lines[2])

  def test_facts_and_files(self):
    with tempfile.TemporaryDirectory() as folder:
      where = places.Places(folder)
      study = study_files.load(exclude=[{'init': 'simclr'}])
      for cell, student in zip(study.cells[:3], (0.5, 0.6, 0.7), strict=True):
        finish(study, cell, where, student)
      facts = collecting.gather(study, where, 'again')
      collecting.write(facts, where)
      lines = pathlib.Path(folder, 'study.csv').read_text(encoding='utf-8').splitlines()
      value = files.read_json(where.results)
      measured = set(collecting.durations(study, where))
    first = facts.results[0]
    self.assertEqual(first.metrics, {'teacher': 0.3, 'control': 0.4, 'student': 0.5})
    self.assertEqual((first.lead.low, first.lead.high), (0.05, 0.15))
    self.assertEqual(first.seconds['teacher-3'], 20.0)
    self.assertEqual(facts.results[3].status, 'left')
    self.assertEqual(
      lines[:2],
      [
        'run,cut,init,seed,status,metric,teacher,control,student,ceiling,'
        'student_minus_control_low,student_minus_control_high',
        'low_random_seed3,low,random,3,done,AP50,0.3,0.4,0.5,,0.05,0.15',
      ],
    )
    self.assertEqual(lines[4], 'high_random_seed5,high,random,5,left,AP50,,,,,,')
    self.assertEqual(
      value['sentences'][0], '3 of 4 runs are finished, 1 are left, so all of this is provisional.'
    )
    lead = value['effects'][0]
    self.assertEqual(
      (lead['choice'], lead['context']), ('self-training', {'cut': 'low', 'init': 'random'})
    )
    self.assertAlmostEqual(lead['effect']['mean'], 0.15)
    self.assertIn(('low_random_seed3', 'student', 10.0), measured)


if __name__ == '__main__':
  unittest.main()
