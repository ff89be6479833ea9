"""Which stages are chosen and which start again, derived from the graph alone. No TensorFlow."""

import dataclasses
import os
import unittest

from official_selftrain.core import errors
from official_selftrain.pipeline import planning, selftrain_graph
from official_selftrain.pipeline.graph import Reads


def _graph(**changes):
  reads = dict.fromkeys(
    ('model', 'training', 'inference', 'evaluation', 'labelling', 'gate'), Reads()
  )
  return selftrain_graph.build(selftrain_graph.Outline(**reads, **changes))


class RestartTest(unittest.TestCase):
  def restarted(self, name, **changes):
    return [stage.name for stage in planning.restarted(_graph(**changes), name)]

  def test_a_restart_takes_all_that_is_made_from_the_stage_and_nothing_else(self):
    everything = ['teacher', 'labels', 'gate', 'control', 'student', 'report', 'export']
    self.assertEqual(self.restarted('teacher'), everything)
    self.assertEqual(self.restarted('labels'), ['labels', 'gate', 'student', 'report', 'export'])
    self.assertEqual(self.restarted('control'), ['control', 'report'])
    self.assertEqual(self.restarted('student'), ['student', 'report', 'export'])
    self.assertEqual(self.restarted('export'), ['export'])

  def test_later_rounds_go_with_what_they_come_from(self):
    self.assertEqual(self.restarted('control', rounds=2), ['control', 'control-2', 'report'])
    self.assertEqual(
      self.restarted('labels-2', rounds=2),
      ['labels-2', 'gate-2', 'student-2', 'report', 'export'],
    )


class ChooseTest(unittest.TestCase):
  def test_an_unknown_stage_names_those_there_are(self):
    with self.assertRaisesRegex(
      errors.ConfigError, '^--stage=studnet: this run has the stages teacher, labels, .*, and all.$'
    ):
      planning.choose(_graph(), 'studnet', 'stage', 'this run')
    with self.assertRaisesRegex(errors.ConfigError, '^--restart=all: .* student, report, export.$'):
      planning.choose(_graph(), 'all', 'restart', 'this run')
    self.assertEqual(planning.choose(_graph(), 'student', 'stage', '').name, 'student')


class DecideTest(unittest.TestCase):
  def decide(self, record, inputs, progress=True, product=True, name='student'):
    traces = planning.Traces(progress, product)
    return planning.decide(_graph()[name], record, inputs, traces, 'runs/mine')

  def test_every_case(self):
    action = planning.Action
    old, new = planning.Inputs({'a': 1}, {}), planning.Inputs({'a': 2}, {})
    done, running = planning.Record(old, 'done'), planning.Record(old, 'running')
    self.assertIs(self.decide(None, old), action.START)
    self.assertIs(self.decide(done, old), action.SKIP)
    with self.assertRaisesRegex(errors.StageChangedError, r'product \(student\) is gone'):
      self.decide(done, old, product=False)
    self.assertIs(self.decide(done, old, product=False, name='report'), action.START)
    self.assertIs(self.decide(running, old), action.CONTINUE)
    self.assertIs(self.decide(running, new, progress=False), action.START)
    self.assertIs(self.decide(done, new, name='report'), action.START)
    for record, state in ((done, 'is finished'), (running, 'has started')):
      with self.assertRaisesRegex(
        errors.StageChangedError, f'stage student {state} in runs/mine .*: a was 1 and is now 2'
      ):
        self.decide(record, new)


class FirstChangeTest(unittest.TestCase):
  def _change(self, before, now, defaults):
    inputs = planning.Inputs(now, {}, defaults)
    return planning.first_change(planning.Inputs(before, {}), inputs)

  def test_a_setting_that_an_older_version_did_not_know(self):
    known, now = {'task.a': 1}, {'task.a': 1, 'task.b': 2, 'task.c.d': [3]}
    self.assertIsNone(self._change(known, now, {'task.b': 2, 'task.c.d': [3]}))
    self.assertEqual(
      self._change(known, now, {'task.b': 5, 'task.c.d': [3]}), 'task.b was None and is now 2'
    )
    self.assertEqual(self._change(known, now, {}), 'task.b was None and is now 2')

  def test_a_part_that_was_null_is_a_change_even_with_its_defaults(self):
    self.assertEqual(
      self._change({'ema': None}, {'ema.decay': 0.9}, {'ema.decay': 0.9}),
      'ema.decay was None and is now 0.9',
    )

  def test_a_setting_that_was_there_and_is_gone(self):
    self.assertEqual(self._change({'a': 1}, {}, {}), 'a was 1 and is now None')

  def test_a_path_that_is_written_in_another_way_is_the_same(self):
    here = os.getcwd()
    for name in ('dataset.card', 'task.train_data.input_path', 'task.pseudo_data.label_dir'):
      for old, new in (
        ('data/a-*', f'{here}/data/a-*'),
        ('data', './data/'),
        ('data', 'x/../data'),
      ):
        self.assertIsNone(self._change({name: old}, {name: new}, {}))
      for old, new in (('data', 'other'), ('data', ''), ('s3://a/../b', 's3://b')):
        self.assertEqual(
          self._change({name: old}, {name: new}, {}), f'{name} was {old!r} and is now {new!r}'
        )
    # No path.
    self.assertIsNotNone(self._change({'init': 'a'}, {'init': './a'}, {}))


class KeysTest(unittest.TestCase):
  """Keys name products before anything runs."""

  files = {
    'task.train_data.input_path': 'x',
    'task.pseudo_data.input_path': 'x',
    'task.validation_data.input_path': 'x',
    'task.annotation_file': 'x',
    'task.init_checkpoint': 'x',
    'init': 'x',
    'pretraining.checkpoint': 'x',
    'teacher.init_checkpoint': 'x',
    'report.unlabelled_truth': 'x',
  }

  def keys(self, settings, files=None):
    reads = {
      'model': Reads(('task.model',)), 'training': Reads(('task.losses',)), 'inference': Reads(),
      'evaluation': Reads(), 'labelling': Reads(('labels',)), 'gate': Reads(('task.pseudo_data',)),
    }  # fmt: skip
    stages = selftrain_graph.build(selftrain_graph.Outline(**reads))
    return planning.keys(stages, settings, files or self.files)

  def changed(self, settings, files=None):
    """The stages whose key differs from that of a run with `a` everywhere."""
    before = self.keys({'task.model.size': 1, 'labels.min_score': 1, 'task.pseudo_data.cut': 1})
    after = self.keys(
      {'task.model.size': 1, 'labels.min_score': 1, 'task.pseudo_data.cut': 1} | settings, files
    )
    return [name for name in before if before[name] != after[name]]

  def test_a_setting_changes_the_keys_of_the_stages_that_read_it_and_of_those_made_from_them(self):
    everything = ['teacher', 'labels', 'gate', 'control', 'student', 'report', 'export']
    self.assertEqual(self.changed({}), [])
    self.assertEqual(self.changed({'task.model.size': 2}), everything)
    self.assertEqual(
      self.changed({'labels.min_score': 2}), ['labels', 'gate', 'student', 'report', 'export']
    )
    self.assertEqual(
      self.changed({'task.pseudo_data.cut': 2}), ['gate', 'student', 'report', 'export']
    )
    self.assertEqual(self.changed({'unrelated': 2}), [])

  def test_files_count_like_settings(self):
    other = {**self.files, 'task.pseudo_data.input_path': 'y'}
    self.assertEqual(self.changed({}, other), ['labels', 'gate', 'student', 'report', 'export'])
    other = {**self.files, 'pretraining.checkpoint': 'y'}
    everything = ['teacher', 'labels', 'gate', 'control', 'student', 'report', 'export']
    self.assertEqual(self.changed({}, other), everything)
    other = {**self.files, 'task.annotation_file': 'y'}
    self.assertEqual(self.changed({}, other), ['report'])


class OlderVersionTest(unittest.TestCase):
  def test_files_that_an_older_version_described_in_another_way(self):
    before = planning.Inputs({}, {'images': 'by size', 'teacher': 't'})
    now = planning.Inputs(
      {}, {'images': 'by content', 'teacher': 't'}, former={'images': 'by size'}
    )
    self.assertIsNone(planning.first_change(before, now))
    other = dataclasses.replace(now, former={'images': 'of another size'})
    self.assertEqual(planning.first_change(before, other), 'its input images has changed')
    # What this version wrote is compared in its own way.
    newer = planning.Inputs({}, {'images': 'other content', 'teacher': 't'})
    self.assertEqual(planning.first_change(newer, now), 'its input images has changed')

  def test_a_part_of_which_an_older_version_read_nothing(self):
    defaults = {'nms.version': 'v2', 'nms.top_k': 1, 'rate': 1}
    now = planning.Inputs({'nms.version': 'batched', 'nms.top_k': 9, 'rate': 1}, {}, defaults)
    self.assertIsNone(planning.first_change(planning.Inputs({'rate': 1}, {}), now))
    knew = planning.Inputs({'rate': 1, 'nms.version': 'batched'}, {})
    self.assertEqual(planning.first_change(knew, now), 'nms.top_k was None and is now 9')
    was_null = planning.Inputs({'rate': 1, 'nms': None}, {})
    self.assertRegex(planning.first_change(was_null, now), '^nms.top_k was None and is now 9')


class GivenTeacherTest(unittest.TestCase):
  def test_only_the_teacher_of_the_run_is_evaluated_in_it(self):
    self.assertIsNone(planning.check_given_teacher(None, 'a', 'digest', 'runs/a'))
    record = planning.Record(planning.Inputs({}, {'teacher.checkpoint': 'digest'}), 'done')
    self.assertIsNone(planning.check_given_teacher(record, 'a', 'digest', 'runs/a'))
    trained = planning.Record(planning.Inputs({}, {}), 'done')
    for other, digest in ((record, 'another'), (trained, 'digest')):
      with self.assertRaisesRegex(
        errors.StageChangedError, 'The teacher of runs/a is another one than teacher.checkpoint=a'
      ):
        planning.check_given_teacher(other, 'a', digest, 'runs/a')


if __name__ == '__main__':
  unittest.main()
