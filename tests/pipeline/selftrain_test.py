"""A self-training run before anything runs: what it would do, from settings alone, and what it refuses."""

import os
import tempfile
from unittest import mock

import tensorflow as tf

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import class_names, config, errors, files
from official_selftrain.pipeline import classes, jobs, planning, selftrain
from tests.testing import tiny_run


def _run(override='', mode='train_and_eval', experiment='retinanet_selftrain', model_dir='nowhere'):
  return selftrain.SelfTrainingRun(
    config.load_experiment(experiment, [], override), model_dir, mode
  )


class ConstructionTest(tf.test.TestCase):
  def test_it_touches_no_file(self):
    with tempfile.TemporaryDirectory() as folder:
      for experiment in ('retinanet_selftrain', 'segmentation_selftrain'):
        run = _run(experiment=experiment, model_dir=os.path.join(folder, 'runs', 'mine'))
        self.assertEqual(run.stages[0].name, 'teacher')
      self.assertEqual(os.listdir(folder), [])

  def test_stages_follow_mode_and_settings(self):
    names = lambda run: [stage.name for stage in run.stages]  # noqa: E731
    whole = ['teacher', 'labels', 'gate', 'control', 'student', 'report', 'export']
    self.assertEqual(names(_run()), whole)
    self.assertEqual(names(_run(mode='train')), whole[:5])
    self.assertEqual(
      names(_run('control.enabled=false,export.enabled=false')),
      ['teacher', 'labels', 'gate', 'student', 'report'],
    )
    self.assertEqual(
      names(_run('task.pseudo_data.label_dir=elsewhere'))[:3], ['teacher', 'gate', 'control']
    )

  def test_every_registered_experiment_knows_all_settings_that_its_stages_read(self):
    from official.core import exp_factory

    from official_selftrain.configs import runs

    found = 0
    for name in exp_factory._REGISTERED_CONFIGS:
      if name.endswith('_selftrain'):
        self.assertIsInstance(exp_factory.get_exp_config(name), runs.SelfTrainingExperiment)
        self.assertLen(_run(experiment=name).stages, 7)
        found += 1
    self.assertGreaterEqual(found, 2)

  def test_which_stages_a_setting_concerns(self):
    concerned = {
      'task.model.detection_generator.nms_iou_threshold': {'labels', 'report', 'export'},
      'task.model.detection_generator.box_coder_weights': {
        'teacher', 'labels', 'control', 'student', 'report', 'export',
      },
      'task.model.num_classes': {'teacher', 'labels', 'control', 'student'},
      'task.model.detection_generator.soft_nms_sigma': {'report', 'export'},
      'task.per_category_metrics': {'report'},
      'trainer.validation_steps': {'report'},
      'trainer.train_steps': {'control', 'student'},
      'trainer.checkpoint_interval': set(),
      'task.pseudo_data.cut': {'gate', 'student'},
      'labels.min_score': {'labels'},
      'labels.min_boxes_per_image': {'gate'},
      'labels.batch_size': set(),
      'control.global_batch_size': {'control'},
      'export.input_type': {'export'},
      'seed': {'teacher', 'control', 'student'},
    }  # fmt: skip
    settings = config.flatten(config.load_experiment('retinanet_selftrain'))
    stages = _run().stages
    for setting, expected in concerned.items():
      self.assertIn(setting, settings)
      found = {stage.name for stage in stages if setting in stage.reads.select(settings)}
      self.assertEqual(found, expected, setting)


class PretrainingTest(tf.test.TestCase):
  def _needs(self, *overrides, kind='student'):
    (stage,) = [s for s in _run(','.join(overrides)).stages if s.kind == kind]
    return stage.needs

  def test_a_stage_before_the_teacher_that_reads_its_own_settings_and_the_backbone(self):
    for init in ('supervised', 'simclr'):
      stages = _run(f'init={init}').stages
      self.assertEqual([stage.name for stage in stages][:2], ['pretraining', 'teacher'])
      self.assertEqual(stages[1].needs, ('pretraining',))
      settings = config.flatten(config.load_experiment('retinanet_selftrain', [], f'init={init}'))
      read = set(stages[0].reads.select(settings))
      other = {'supervised': 'simclr', 'simclr': 'supervised'}[init]
      self.assertIn(f'pretraining.{init}.trainer.train_steps', read)
      self.assertIn('task.model.backbone.resnet.model_id', read)
      for name in (f'pretraining.{other}.trainer.train_steps', 'task.model.head.num_convs'):
        self.assertNotIn(name, read)
      self.assertFalse(
        {name for name in read if name.startswith(('teacher.', 'trainer.', 'labels.'))}
      )

  def test_who_starts_from_it(self):
    self.assertNotIn('pretraining', self._needs('init=simclr'))
    start = 'task.self_training.student_init=checkpoint'
    for kind in ('student', 'control'):
      self.assertIn('pretraining', self._needs('init=simclr', start, kind=kind))

  def test_a_given_backbone_is_no_stage(self):
    names = [s.name for s in _run('init=simclr,pretraining.checkpoint=runs/simclr').stages]
    self.assertNotIn('pretraining', names)
    self.assertIn(
      'pretraining.checkpoint', _run('init=simclr,pretraining.checkpoint=a').stages[0].files
    )

  def test_digits_are_never_mirrored(self):
    for init, views in (('supervised', False), ('simclr', True)):
      override = f'init={init},pretraining.simclr.task.train_data.views.flip_probability=0.5'
      params = config.load_experiment('retinanet_selftrain', [], override).replace()
      selftrain.data.locate(params, 'runs/mine')
      stream = jobs.Jobs(params, 'runs/mine').make('pretraining').params.task.train_data
      if views:
        self.assertEqual(stream.views.flip_probability, 0.0)
      else:
        self.assertIn('Flip', stream.augmentation.exclude_ops)

  def test_jobs_start_from_the_backbone(self):
    params = config.load_experiment('retinanet_selftrain', [], 'init=simclr').replace()
    selftrain.data.locate(params, 'runs/mine')
    made = jobs.Jobs(params, 'runs/mine')
    backbone = made.make('pretraining')
    self.assertEqual(backbone.params.task.train_data.input_path, params.task.pseudo_data.input_path)
    self.assertEqual(
      backbone.params.task.validation_data.input_path, params.task.validation_data.input_path
    )
    self.assertEqual(backbone.model_dir, os.path.join('runs/mine', 'pretraining'))
    for kind, expected in (('teacher', ('p', 'backbone')), ('student', ('t', 'all'))):
      task = made.make(kind, 1, 't', 'p').params.task
      self.assertEqual((task.init_checkpoint, task.init_checkpoint_modules), expected)
    params.task.self_training.student_init = 'checkpoint'
    task = made.make('control', 1, 't', 'p').params.task
    self.assertEqual((task.init_checkpoint, task.init_checkpoint_modules), ('p', 'backbone'))


class NeedsTest(tf.test.TestCase):
  def test_a_stage_alone_whose_needs_are_not_finished_says_what_to_run(self):
    params = tiny_run.load()
    run = selftrain.SelfTrainingRun(params, self.create_tempdir().full_path, 'train')
    for stage, need in (('labels', 'teacher'), ('control', 'teacher'), ('student', 'teacher')):
      with self.assertRaisesRegex(
        errors.StageChangedError, f'The stage {need} is not finished in .*: run it first'
      ):
        run.execute(stage)

  def test_the_gate_runs_with_the_stage_that_needs_it(self):
    run = _run()
    self.assertEqual([stage.name for stage in run._select('student')], ['gate', 'student'])
    self.assertEqual([stage.name for stage in run._select('control')], ['control'])

  def test_an_unknown_stage(self):
    run = selftrain.SelfTrainingRun(tiny_run.load(), self.create_tempdir().full_path, 'train')
    with self.assertRaisesRegex(
      errors.ConfigError, r'--stage=report: this run \(mode train\) has the stages teacher, labels'
    ):
      run.execute('report')
    with self.assertRaisesRegex(errors.ConfigError, '--restart=teach: this run'):
      run.execute(restart='teach')

  def test_a_restart_removes_nothing_of_a_run_whose_data_cannot_be_used(self):
    run = selftrain.SelfTrainingRun(tiny_run.load(), self.create_tempdir().full_path, 'train')
    for check in ('check', 'check_batches'):
      with (
        mock.patch.multiple(
          selftrain.first_checks, check=mock.DEFAULT, check_batches=mock.DEFAULT
        ) as checks,
        mock.patch.object(run._ledger, 'remove') as remove,
      ):
        checks[check].side_effect = errors.DataError('refused')
        with self.assertRaisesRegex(errors.DataError, 'refused'):
          run.execute(restart='teacher')
        remove.assert_not_called()

  def test_workers_go_on_together_after_a_restart(self):
    run = selftrain.SelfTrainingRun(tiny_run.load(), self.create_tempdir().full_path, 'train')
    order = []
    with (
      mock.patch.multiple(
        selftrain.first_checks, check=mock.DEFAULT, check_batches=mock.DEFAULT
      ) as checks,
      mock.patch.object(
        run._ledger, 'remove', lambda stages: order.append([s.name for s in stages])
      ),
      mock.patch.object(selftrain.distribution, 'meet', lambda _: order.append('meet')),
    ):
      run._restart('student')
    self.assertEqual(order, [['student', 'report', 'export'], 'meet'])
    self.assertEqual([s.name for s in checks['check_batches'].call_args.args[1]], order[0])

  def test_planning_reads_no_data_of_stages_that_never_started(self):
    run = selftrain.SelfTrainingRun(tiny_run.load(), self.create_tempdir().full_path, 'train')
    with mock.patch.object(selftrain.data, 'input_digest', side_effect=AssertionError('reads')):
      actions = [run._decide(stage) for stage in run.stages]
    self.assertEqual(set(actions), {planning.Action.START})


class JobsTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    override = (
      'teacher.augmentation={policy: S1, scale_min: 0.1},dataset.invalid_ops=[Flip],'
      'task.train_data.augmentation.policy=S3,task.pseudo_data.augmentation.policy=S3'
    )
    self.params = config.load_experiment('retinanet_selftrain', [], override).replace()
    selftrain.data.locate(self.params, 'runs/mine')

  def make(self, *arguments):
    return jobs.Jobs(self.params, 'runs/mine', ('a', 'b')).make(*arguments)

  def test_batches_and_labels(self):
    teacher, student = self.make('teacher'), self.make('student')
    self.assertEqual(teacher.params.task.train_data.global_batch_size, 16)
    self.assertFalse(hasattr(teacher.params.task, 'pseudo_data'))
    self.assertEqual(student.params.task.train_data.global_batch_size, 8)
    self.assertEqual(
      student.params.task.pseudo_data.label_dir, os.path.join('runs/mine', 'labels', 'round-1')
    )

  def test_the_teacher_may_have_its_own_augmentation(self):
    own = [self.make(kind).params.task.train_data.augmentation for kind in ('teacher', 'control')]
    self.assertEqual([each.policy for each in own], ['S1', 'S3'])
    self.assertEqual(own[0].scale_min, 0.1)
    self.assertEqual(own[0].exclude_ops, ['Flip', 'Flip_Only_BBoxes'])
    self.params.teacher.augmentation = None
    self.assertEqual(self.make('teacher').params.task.train_data.augmentation.policy, 'S3')

  def test_a_ceiling_has_other_files_and_the_steps_of_teacher_and_control(self):
    self.params.ceiling.input_path, self.params.rounds = 'more/labelled', 2
    self.params.task.train_data.fraction = 0.5
    teacher, ceiling = self.make('teacher'), self.make('ceiling')
    data = ceiling.params.task.train_data
    self.assertEqual((data.input_path, data.fraction), ('more/labelled', 1.0))
    self.assertEqual(teacher.params.task.train_data.fraction, 0.5)
    control = self.params.trainer.train_steps
    self.assertEqual(ceiling.train_steps, teacher.train_steps + 2 * control)
    schedule = ceiling.params.trainer.optimizer_config.learning_rate.cosine
    self.assertEqual(schedule.decay_steps, ceiling.train_steps)
    self.params.task.self_training.student_init = 'random'
    # Then the control has had no steps but its own.
    self.assertEqual(self.make('ceiling').train_steps, control)
    self.assertEqual(
      ceiling.params.task.train_data.augmentation, teacher.params.task.train_data.augmentation
    )

  def test_a_ceilings_schedule_is_stretched(self):
    self.params.ceiling.input_path = 'more/labelled'
    trainer = self.params.teacher.trainer
    trainer.train_steps, self.params.trainer.train_steps = 100, 50
    rates = trainer.optimizer_config.learning_rate
    rates.type, rates.stepwise.boundaries, rates.stepwise.values = 'stepwise', [40, 80], [3, 2, 1]
    made = self.make('ceiling').params.trainer
    self.assertEqual(made.train_steps, 150)
    self.assertEqual(made.optimizer_config.learning_rate.stepwise.boundaries, [60, 120])
    self.assertEqual(rates.stepwise.boundaries, [40, 80])

  def test_families_of_streams_differ_between_teacher_and_control_and_between_rounds(self):
    made = [('teacher', 1), ('control', 1), ('control', 2), ('control', 3)]
    families = [self.make(*each).family for each in made]
    self.assertLen(set(families), 4)
    self.assertEqual(self.make('student', 2).family, self.make('control', 2).family)

  def test_rounds_have_directories_of_their_own(self):
    job = self.make('student', 2, 'runs/mine/student/ckpt-5')
    self.assertEqual(job.model_dir, os.path.join('runs/mine', 'student-2'))
    self.assertEqual(job.name, 'student-2')
    self.assertEqual(
      job.params.task.pseudo_data.label_dir, os.path.join('runs/mine', 'labels', 'round-2')
    )
    self.assertEqual(job.params.task.init_checkpoint, 'runs/mine/student/ckpt-5')

  def test_where_student_and_control_start(self):
    task = self.params.task
    for init, given, expected in (
      ('teacher', 'own', 'teacher-ckpt'), ('checkpoint', 'own', 'own'), ('random', 'own', ''),
    ):  # fmt: skip
      task.self_training.student_init, task.init_checkpoint = init, given
      for kind in ('student', 'control'):
        job = self.make(kind, 1, 'teacher-ckpt')
        self.assertEqual(job.params.task.init_checkpoint, expected, (init, kind))


class ClassesTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.task = config.load_experiment('retinanet_selftrain').task

  def test_a_teacher_of_other_classes_is_refused(self):
    classes.write(self.folder, self.task, ['cat', 'dog'])
    classes.check_teacher(self.folder, self.task, ['cat', 'dog'])
    checkpoint = os.path.join(self.folder, 'ckpt-5')
    for names, expected in (
      (['dog', 'cat'], "class 1 is 'cat' there and 'dog' here"),
      (['cat'], "class 2 is 'dog' there and None here"),
      (['cat', 'dog', 'cow'], "class 3 is None there and 'cow' here"),
    ):
      with self.assertRaisesRegex(errors.DataError, f'teacher.checkpoint: .*: {expected}'):
        classes.check_teacher(checkpoint, self.task, names)

  def test_another_number_of_classes_is_refused(self):
    classes.write(self.folder, self.task, [])
    task = self.task.replace()
    task.model.num_classes = 5
    with self.assertRaisesRegex(errors.DataError, 'trained for 11 classes, and .*num_classes is 5'):
      classes.check_teacher(self.folder, task, [])

  def test_nothing_is_refused_where_nothing_is_known(self):
    classes.check_teacher(self.folder, self.task, ['cat'])
    classes.write(self.folder, self.task, [])
    classes.check_teacher(self.folder, self.task, ['cat'])
    self.assertEqual(
      files.read_json(os.path.join(self.folder, class_names.MODEL_FILE)),
      {'num_classes': 11, 'class_names': []},
    )


if __name__ == '__main__':
  tf.test.main()
