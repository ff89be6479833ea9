"""Which stages are chosen and which start again, derived from the graph alone. No TensorFlow."""

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
    self.assertIs(self.decide(done, old, product=False), action.CONTINUE)
    self.assertIs(self.decide(running, old), action.CONTINUE)
    self.assertIs(self.decide(running, new, progress=False), action.START)
    self.assertIs(self.decide(done, new, name='report'), action.START)
    for record, state in ((done, 'is finished'), (running, 'has started')):
      with self.assertRaisesRegex(
        errors.StageChangedError, f'stage student {state} in runs/mine .*: a was 1 and is now 2'
      ):
        self.decide(record, new)


if __name__ == '__main__':
  unittest.main()
