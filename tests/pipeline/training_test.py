"""When recorded metrics still count, and which files a job writes next to a model."""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, files
from official_selftrain.pipeline import jobs, training
from tests.testing import tiny_run


class EvaluationKeyTest(tf.test.TestCase):
  def job(self, override=''):
    params = config.load_experiment('retinanet_selftrain', [], override).replace()
    params.task.validation_data.input_path = tiny_run.data().validation
    return jobs.Jobs(params, self.folder, ('one',)).make('student')

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_it_changes_with_everything_that_metrics_depend_on_except_the_weights(self):
    overrides = (
      'trainer.validation_steps=3',
      'task.per_category_metrics=false',
      'task.max_num_eval_detections=10',
      'task.use_coco_metrics=false',
      'task.model.detection_generator.nms_iou_threshold=0.4',
      'task.model.detection_generator.soft_nms_sigma=0.1',
      'task.validation_data.global_batch_size=7',
      'runtime.mixed_precision_dtype=bfloat16',
    )
    keys = [training.evaluation_key(self.job(override)) for override in ('', *overrides)]
    self.assertLen(set(keys), len(keys))

  def test_it_does_not_change_with_what_only_training_depends_on(self):
    key = training.evaluation_key(self.job())
    for override in ('seed=4', 'trainer.train_steps=5', 'task.pseudo_data.cut=0.7',
                     'trainer.checkpoint_interval=25'):  # fmt: skip
      self.assertEqual(training.evaluation_key(self.job(override)), key, override)

  def test_it_changes_with_files_and_class_names(self):
    job = self.job()
    others = [dataclasses.replace(job, class_names=('two',))]
    task = job.params.task.replace()
    task.validation_data.input_path = tiny_run.data().train
    others.append(dataclasses.replace(job, params=job.params.replace(task=task)))
    for other in others:
      self.assertNotEqual(training.evaluation_key(other), training.evaluation_key(job))

  def test_metrics_of_another_step_or_another_way_do_not_count(self):
    job = self.job()
    self.assertIsNone(training.recorded_metrics(job, 5))
    record = {
      'step': 5, 'key': training.evaluation_key(job), 'details': {},
      'metrics': {'AP': 0.5, 'AP75': None},
    }  # fmt: skip
    files.write_json(os.path.join(job.model_dir, training.METRICS_FILE), record)
    found = training.recorded_metrics(job, 5)
    self.assertEqual(found['AP'], 0.5)
    self.assertTrue(np.isnan(found['AP75']))
    self.assertIsNone(training.recorded_metrics(job, 6))
    self.assertIsNone(training.recorded_metrics(self.job('trainer.validation_steps=2'), 5))

  def test_segmentation_counts_its_own_settings(self):
    keys = set()
    for override in (
      '',
      'task.validation_data.evaluate_native=false',
      'trainer.validation_steps=3',
    ):
      params = config.load_experiment('segmentation_selftrain', [], override).replace()
      params.task.validation_data.input_path = tiny_run.data().validation
      keys.add(training.evaluation_key(jobs.Jobs(params, self.folder).make('student')))
    self.assertLen(keys, 3)


class StartTest(tf.test.TestCase):
  def test_a_whole_model_is_started_from_with_its_statistics(self):
    """Without them batch norm would be new, and the student far from its teacher."""
    override = 'init=imagenet,pretraining.checkpoint=there,task.init_statistics=false'
    for student_init, expected in (('teacher', True), ('checkpoint', False)):
      params = config.load_experiment(
        'retinanet_selftrain', [], f'{override},task.self_training.student_init={student_init}'
      )
      made = jobs.Jobs(params.replace(), 'runs/mine')
      self.assertIs(made.make('teacher', backbone='there').params.task.init_statistics, False)
      for kind in ('control', 'student'):
        job = made.make(kind, start='ckpt', backbone='there')
        self.assertIs(job.params.task.init_statistics, expected)


class ScheduleTest(tf.test.TestCase):
  def test_a_schedule_without_a_length_gets_that_of_the_training(self):
    job = jobs.Jobs(config.load_experiment('retinanet_selftrain').replace(), 'runs/mine')
    lengths = [
      job.make(kind).params.trainer.optimizer_config.learning_rate.get().decay_steps
      for kind in ('teacher', 'student')
    ]
    self.assertEqual(lengths, [800, 400])

  def test_alpha_falls_for_the_whole_training_of_the_student(self):
    name = 'task.self_training.alpha_decay_steps'
    for given, expected in (('null', 400), ('7', 7), ('0', 0)):
      params = config.load_experiment('retinanet_selftrain', [], f'{name}={given}')
      made = jobs.Jobs(params.replace(), 'runs/mine')
      task = made.make('student').params.task
      self.assertEqual(task.self_training.alpha_decay_steps, expected)
      # The run's own settings stay as they were given.
      own = made.params.task.self_training.alpha_decay_steps
      self.assertEqual(own, None if given == 'null' else expected)


if __name__ == '__main__':
  tf.test.main()
