"""Settings of self-training: every message of `check`, and the registered experiments."""

import os

import tensorflow as tf

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import self_training as st
from official_selftrain.core import config, errors
from official_selftrain.pipeline import training

_OURS = ('retinanet_supervised', 'retinanet_selftrain')


def _load(override, experiment='retinanet_selftrain'):
  return config.load_experiment(experiment, [], override)


class CheckTest(tf.test.TestCase):
  def assert_refused(self, override, pattern, experiment='retinanet_selftrain'):
    with self.assertRaisesRegex(errors.ConfigError, pattern):
      _load(override, experiment)

  def test_alpha(self):
    self.assert_refused(
      'task.self_training.alpha=-0.5', r'task\.self_training\.alpha is -0\.5: .*least 0'
    )
    self.assertEqual(_load('task.self_training.alpha=0').task.self_training.alpha, 0)

  def test_decay_of_the_averages(self):
    for value in ('1', '-0.1'):
      self.assert_refused(
        f'task.self_training.ema_decay={value}', r'ema_decay is .*must be in \[0, 1\)'
      )
    self.assertEqual(_load('task.self_training.ema_decay=0').task.self_training.ema_decay, 0)

  def test_start_of_the_student(self):
    self.assert_refused('task.self_training.student_init=imagenet', r'student_init.*imagenet')
    self.assert_refused(
      'task.self_training.student_init=checkpoint',
      r"'checkpoint' but task\.init_checkpoint is empty",
    )
    params = _load('task.self_training.student_init=checkpoint,task.init_checkpoint=some/ckpt-1')
    self.assertEqual(params.task.init_checkpoint, 'some/ckpt-1')

  def test_labels(self):
    for name in ('batch_size', 'max_boxes'):
      self.assert_refused(f'labels.{name}=0', rf'labels\.{name} is 0: it must be at least 1')

  def test_modules_to_start_from(self):
    self.assert_refused(
      'teacher.init_checkpoint_modules=encoder',
      r"teacher\.init_checkpoint_modules is 'encoder': allowed are 'all', or 'backbone'",
    )
    self.assert_refused(
      'task.init_checkpoint_modules=[all, backbone]', r'task\.init_checkpoint_modules is'
    )

  def test_labels_must_be_stored_down_to_the_lowest_cut(self):
    no_band = 'task.pseudo_data.cut=0.4,task.pseudo_data.ignore_cut=null'
    self.assert_refused(
      f'{no_band},labels.min_score=0.45', r'labels\.min_score is 0\.45, above the cut .*\(0\.4\)'
    )
    self.assert_refused(
      'labels.min_score=0.3,task.pseudo_data.ignore_cut=0.2', r'min_score is 0\.3, above .*\(0\.2\)'
    )
    self.assertEqual(_load(f'{no_band},labels.min_score=0.4').labels.min_score, 0.4)

  def test_own_data_and_embedded_data_are_not_mixed(self):
    self.assert_refused(
      'task.train_data.input_path=mine.tfrecord',
      r'task\.pseudo_data\.input_path, task\.validation_data\.input_path: empty although '
      r'task\.train_data name files',
    )
    self.assert_refused(
      'task.train_data.input_path=a,task.pseudo_data.input_path=b',
      r'^task\.validation_data\.input_path: empty although task\.pseudo_data, task\.train_data name',
    )
    self.assert_refused('dataset.name=none', r"input_path: empty although dataset\.name is 'none'")
    self.assert_refused(
      'task.validation_data.input_path=a', r'^task\.train_data\.input_path: empty', _OURS[0]
    )

  def test_all_paths_given(self):
    names = ('train_data', 'pseudo_data', 'validation_data')
    params = _load(','.join(f'task.{name}.input_path={name}' for name in names))
    self.assertFalse(st.uses_embedded_data(params))
    self.assertTrue(st.uses_embedded_data(_load('')))

  def test_intervals(self):
    for name in ('summary_interval', 'checkpoint_interval', 'validation_interval'):
      self.assert_refused(
        f'trainer.steps_per_loop=50,trainer.summary_interval=100,trainer.{name}=75',
        rf'trainer\.{name} is 75: it must be a multiple of trainer\.steps_per_loop \(50\)',
      )
    self.assert_refused(
      'teacher.trainer.summary_interval=3', r'teacher\.trainer\.summary_interval is 3'
    )

  def test_steps(self):
    self.assert_refused(
      'trainer.train_steps=0', r'trainer\.train_steps is 0: it must be at least 1'
    )
    self.assert_refused('teacher.trainer.train_steps=-1', r'teacher\.trainer\.train_steps is -1')
    self.assert_refused('trainer.steps_per_loop=0', r'trainer\.steps_per_loop is 0', _OURS[0])


class ExperimentsTest(tf.test.TestCase):
  def test_ours_round_trip_through_params_yaml(self):
    for name in _OURS:
      with self.subTest(name):
        params = _load('seed=3', name)
        folder = os.path.join(self.get_temp_dir(), name)
        os.makedirs(folder)
        training.write_params(params, folder)
        again = config.load_experiment(name, [os.path.join(folder, 'params.yaml')])
        self.assertEqual(config.flatten(again), config.flatten(params))
        self.assertEqual(again.seed, 3)
        self.assertEqual(again.experiment, name)

  def test_they_run_on_the_embedded_data(self):
    for name in _OURS:
      self.assertTrue(st.uses_embedded_data(_load('', name)), name)


if __name__ == '__main__':
  tf.test.main()
