"""The graph of stages, the settings that stages read, and the graph of self-training. No TensorFlow."""

import subprocess
import sys
import unittest

from official_selftrain.core import errors
from official_selftrain.pipeline import graph, selftrain_graph
from official_selftrain.pipeline.graph import Graph, Reads, Stage

_NO_TENSORFLOW = """
import sys
from official_selftrain.pipeline import graph, ledger, planning, selftrain_graph
print('tensorflow' in sys.modules)
"""

OUTLINE = {
  'model': Reads(('task.model', 'task.model.nms.weights'), ('task.model.nms',)),
  'training': Reads(('task.losses', 'task.train_data')),
  'inference': Reads(('task.model.nms',)),
  'evaluation': Reads(('task.validation_data', 'trainer.validation_steps')),
  'labelling': Reads(('labels.min_score', 'task.model.nms')),
  'gate': Reads(('task.pseudo_data.cut', 'labels.min_boxes_per_image')),
}


def selftrain(**changes):
  """The graph of self-training."""
  return selftrain_graph.build(selftrain_graph.Outline(**{**OUTLINE, **changes}))


class ReadsTest(unittest.TestCase):
  settings = {
    'trainer.train_steps': 3,
    'trainer.steps_per_loop': 5,
    'trainer.validation_steps': -1,
    'task.model.size': 64,
    'task.model.nms.top_k': 10,
    'task.model.nms.weights': [1.0],
    'task.models': 1,
  }

  def select(self, *prefixes, without=()):
    return list(Reads(prefixes, without).select(self.settings))

  def test_a_prefix_takes_what_is_below_it_and_not_what_starts_alike(self):
    self.assertEqual(
      self.select('task.model'),
      ['task.model.nms.top_k', 'task.model.nms.weights', 'task.model.size'],
    )

  def test_the_longest_name_decides(self):
    self.assertEqual(self.select('task.model', without=('task.model.nms',)), ['task.model.size'])
    self.assertEqual(
      self.select('task.model', 'task.model.nms.weights', without=('task.model.nms',)),
      ['task.model.nms.weights', 'task.model.size'],
    )

  def test_settings_of_logging_count_only_when_named_in_full(self):
    self.assertEqual(self.select('trainer'), ['trainer.train_steps'])
    self.assertEqual(
      self.select('trainer', 'trainer.validation_steps'),
      ['trainer.train_steps', 'trainer.validation_steps'],
    )

  def test_a_sum_reads_both(self):
    both = Reads(('task.model',), ('task.model.nms',)) + Reads(('trainer',))
    self.assertEqual(list(both.select(self.settings)), ['task.model.size', 'trainer.train_steps'])

  def test_an_exception_of_one_part_takes_nothing_from_another(self):
    model = Reads(('task.model',), ('task.model.nms',))
    both = model + Reads(('task.model.nms',))
    self.assertEqual(
      list(both.select(self.settings)),
      ['task.model.nms.top_k', 'task.model.nms.weights', 'task.model.size'],
    )
    self.assertEqual(list(both.minus('task.model.nms').select(self.settings)), ['task.model.size'])

  def test_values_are_kept(self):
    self.assertEqual(
      Reads(('task.model.nms',)).select(self.settings),
      {'task.model.nms.top_k': 10, 'task.model.nms.weights': [1.0]},
    )


class GraphTest(unittest.TestCase):
  def test_what_needs_what(self):
    stages = Graph(
      [
        Stage(kind='a'),
        Stage(kind='b', needs=('a',)),
        Stage(kind='c', needs=('a',)),
        Stage(kind='d', needs=('b',)),
      ]
    )
    names = lambda found: [stage.name for stage in found]  # noqa: E731
    self.assertEqual(names(stages.needed_by('d')), ['a', 'b'])
    self.assertEqual(names(stages.needed_by('a')), [])
    self.assertEqual(names(stages.made_from('a')), ['b', 'c', 'd'])
    self.assertEqual(names(stages.made_from('c')), [])

  def test_a_stage_that_comes_before_what_it_needs_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'stage b needs a, which does not come before it'):
      Graph([Stage(kind='b', needs=('a',)), Stage(kind='a')])

  def test_two_stages_of_one_name_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'Two stages are called a'):
      Graph([Stage(kind='a'), Stage(kind='a')])

  def test_an_unknown_setting_is_an_error_that_names_stage_and_setting(self):
    stages = Graph([Stage(kind='a', reads=Reads(('seed', 'task.modle')))])
    with self.assertRaisesRegex(
      errors.ConfigError, r'stage a depends on the setting task\.modle, which'
    ):
      stages.check_settings(['seed', 'task.model.size'])
    stages = Graph([Stage(kind='a', reads=Reads(('seed',)) + Reads(('task.model.sice',)))])
    with self.assertRaisesRegex(errors.ConfigError, r'task\.model\.sice'):
      stages.check_settings(['seed', 'task.model.size'])
    Graph([Stage(kind='a', reads=Reads(('seed', 'task.model')))]).check_settings(
      ['seed', 'task.model.size']
    )

  def test_names_of_rounds(self):
    names = [graph.stage_name('student', number) for number in (1, 2, 3)]
    self.assertEqual(names, ['student', 'student-2', 'student-3'])


class SelfTrainingGraphTest(unittest.TestCase):
  def needs(self, stages):
    return {stage.name: stage.needs for stage in stages.stages}

  def test_one_round(self):
    self.assertEqual(
      self.needs(selftrain()),
      {
        'teacher': (),
        'labels': ('teacher',),
        'gate': ('labels',),
        'control': ('teacher',),
        'student': ('teacher', 'labels', 'gate'),
        'report': ('teacher', 'control', 'student'),
        'export': ('student',),
      },
    )

  def test_two_rounds(self):
    stages = selftrain(rounds=2)
    needs = self.needs(stages)
    self.assertEqual(
      stages.names,
      (
        'teacher', 'labels', 'gate', 'control', 'student', 'labels-2', 'gate-2', 'control-2',
        'student-2', 'report', 'export',
      ),
    )  # fmt: skip
    self.assertEqual(needs['labels-2'], ('student',))
    self.assertEqual(needs['control-2'], ('control',))
    self.assertEqual(needs['student-2'], ('student', 'labels-2', 'gate-2'))
    self.assertEqual(needs['report'], ('teacher', 'control', 'student', 'control-2', 'student-2'))
    self.assertEqual(needs['export'], ('student-2',))
    self.assertEqual(stages['labels-2'].makes, ('labels/round-2',))
    self.assertEqual(stages['student-2'].makes, ('student-2',))

  def test_the_control_never_depends_on_labels(self):
    stages = selftrain(rounds=3)
    for name in ('control', 'control-2', 'control-3'):
      kinds = {stage.kind for stage in stages.needed_by(name)}
      self.assertLessEqual(kinds, {'teacher', 'control'})

  def test_a_control_that_starts_elsewhere_does_not_depend_on_the_teacher(self):
    stages = selftrain(controls_go_on=False, rounds=2)
    self.assertEqual(stages['control'].needs, ())
    self.assertEqual(stages['control-2'].needs, ())
    self.assertIn('teacher', stages['student'].needs)

  def test_a_gate_that_judges_classes_by_human_labels_depends_on_them(self):
    settings = {'task.train_data.fraction': 0.5, 'task.model.num_classes': 11}
    plain, judges = selftrain()['gate'], selftrain(counts_by_class=True)['gate']
    self.assertEqual((plain.reads.select(settings), plain.files), ({}, ()))
    self.assertEqual(judges.reads.select(settings), settings)
    self.assertEqual(judges.files, ('task.train_data.input_path',))

  def test_a_student_whose_step_labels_depends_on_how_objects_are_selected(self):
    settings = {'task.model.nms.top_k': 10}
    self.assertEqual(selftrain()['student'].reads.select(settings), {})
    for name, expected in (('student', settings), ('control', {})):
      self.assertEqual(selftrain(labels_online=True)[name].reads.select(settings), expected)

  def test_given_labels_and_parts_that_are_left_out(self):
    stages = selftrain(has_given_labels=True, has_control=False, reports=False, exports=False)
    self.assertEqual(stages.names, ('teacher', 'gate', 'student'))
    self.assertIn('task.pseudo_data.label_dir', stages['student'].files)
    self.assertEqual(selftrain(has_given_labels=True, rounds=2)['labels-2'].needs, ('student',))

  def test_a_ceiling_is_trained_like_the_teacher_with_other_files(self):
    stages = selftrain(has_ceiling=True, rounds=2)
    self.assertEqual(stages.names[-3:], ('ceiling', 'report', 'export'))
    self.assertIn('ceiling', stages['report'].needs)
    ceiling, teacher = stages['ceiling'], stages['teacher']
    self.assertEqual(ceiling.needs, teacher.needs)
    self.assertIn('ceiling.input_path', ceiling.files)
    self.assertNotIn('task.train_data.input_path', ceiling.files)
    settings = {'rounds': 2, 'trainer.train_steps': 5, 'teacher.trainer.train_steps': 9}
    settings |= {'task.self_training.student_init': 'random'}
    self.assertEqual(ceiling.reads.select(settings), dict(sorted(settings.items())))
    self.assertEqual([*teacher.reads.select(settings)], ['teacher.trainer.train_steps'])
    self.assertEqual(ceiling.reads.select({'task.train_data.fraction': 0.5}), {})
    self.assertIn(
      'task.train_data.fraction', teacher.reads.select({'task.train_data.fraction': 0.5})
    )

  def test_settings_of_inference_train_no_model_anew(self):
    settings = {
      'task.model.nms.top_k': 10,
      'task.model.nms.weights': [1.0],
      'task.model.size': 64,
      'task.validation_data.path': 'a',
      'trainer.validation_steps': -1,
      'report.margin': 0.1,
    }
    reads = {s.name: set(s.reads.select(settings)) for s in selftrain().stages}
    for name in ('teacher', 'control', 'student'):
      self.assertEqual(reads[name], {'task.model.nms.weights', 'task.model.size'}, name)
    self.assertEqual(reads['labels'], {'task.model.nms.top_k', 'task.model.nms.weights'})
    self.assertEqual(
      reads['report'],
      {
        'task.model.nms.top_k', 'task.model.nms.weights', 'task.validation_data.path',
        'trainer.validation_steps', 'report.margin',
      },
    )  # fmt: skip

  def test_class_names_train_no_model_anew(self):
    settings = {'dataset.class_names': ['cat'], 'dataset.directory': '', 'dataset.name': 'digits'}
    reads = {s.name: list(s.reads.select(settings)) for s in selftrain().stages}
    self.assertEqual(reads['teacher'], ['dataset.name'])
    self.assertEqual(reads['report'], ['dataset.class_names'])
    self.assertEqual(reads['labels'], ['dataset.class_names', 'dataset.name'])

  def test_batches_that_are_sums_depend_on_both_streams(self):
    settings = {'task.pseudo_data.global_batch_size': 8, 'task.train_data.global_batch_size': 8}
    for sums, expected in ((True, sorted(settings)), (False, [])):
      stages = selftrain(adds_teacher_batch=sums, adds_control_batch=sums)
      for name in ('teacher', 'control'):
        self.assertEqual(list(stages[name].reads.select(settings)), expected, name)

  def test_sizes_of_other_splits_train_no_model_anew(self):
    settings = {
      f'dataset.digits.num_{split}': 5 for split in ('labelled', 'unlabelled', 'validation')
    }
    reads = {s.name: list(s.reads.select(settings)) for s in selftrain().stages}
    for name in ('teacher', 'control', 'student'):
      self.assertEqual(reads[name], ['dataset.digits.num_labelled'], name)
    self.assertEqual(reads['labels'], ['dataset.digits.num_unlabelled'])

  def test_a_teacher_with_its_own_augmentation_does_not_depend_on_the_students(self):
    settings = {'task.train_data.augmentation.policy': 'S3', 'teacher.augmentation.policy': 'S1'}
    both = list(settings)
    self.assertEqual(list(selftrain()['teacher'].reads.select(settings)), both)
    own = selftrain(has_teacher_augmentation=True)
    self.assertEqual(list(own['teacher'].reads.select(settings)), both[1:])
    self.assertEqual(list(own['student'].reads.select(settings)), both[:1])

  def test_a_given_teacher_depends_on_the_network_and_on_no_training(self):
    stage = selftrain(has_given_teacher=True)['teacher']
    settings = {
      'teacher.checkpoint': 'a', 'teacher.trainer.train_steps': 1, 'task.train_data.seed': 1,
      'task.model.size': 2, 'seed': 3,
    }  # fmt: skip
    self.assertEqual(list(stage.reads.select(settings)), ['task.model.size', 'teacher.checkpoint'])
    self.assertEqual(stage.files, ('teacher.checkpoint',))

  def test_cuts_are_calibrated_with_a_teacher_of_their_own(self):
    found = selftrain(calibrates=True, holds_out=True)
    names = (
      'teacher',
      'calibration_teacher',
      'calibration',
      'labels',
      'gate',
      'control',
      'student',
    )
    self.assertEqual(found.names[:7], names)
    self.assertEqual(found['calibration'].needs, ('calibration_teacher',))
    self.assertNotIn('calibration_teacher', found['report'].needs)
    # The teacher that writes the labels does not depend on what is held out for the cuts.
    settings = {'calibration.share': 0.2, 'teacher.trainer.train_steps': 1, 'seed': 3}
    reads = {name: list(found[name].reads.select(settings)) for name in names[:2]}
    self.assertEqual(reads['teacher'], ['seed', 'teacher.trainer.train_steps'])
    self.assertEqual(reads['calibration_teacher'], sorted(settings))
    self.assertEqual(
      {stage.name for stage in found.made_from('calibration_teacher')} & set(names),
      {'calibration', 'gate', 'student'},
    )

  def test_a_given_teacher_calibrates_itself_and_given_labels_need_none(self):
    given = selftrain(calibrates=True, holds_out=True, has_given_teacher=True)
    self.assertNotIn('calibration_teacher', given)
    self.assertEqual(given['calibration'].needs, ('teacher',))
    labels = selftrain(calibrates=True, holds_out=False)
    self.assertNotIn('calibration_teacher', labels)
    self.assertEqual(labels['calibration'].needs, ())
    self.assertTrue(labels['calibration'].is_cheap)

  def test_planning_needs_no_tensorflow(self):
    printed = subprocess.run(
      [sys.executable, '-c', _NO_TENSORFLOW], capture_output=True, text=True, check=True
    )
    self.assertEqual(printed.stdout.strip(), 'False')


if __name__ == '__main__':
  unittest.main()
