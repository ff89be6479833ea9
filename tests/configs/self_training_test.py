"""Settings of self-training: every message of `check`, and the registered experiments."""

import os
from unittest import mock

import tensorflow as tf

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import runs
from official_selftrain.configs import self_training as st
from official_selftrain.core import comparison, config, errors
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

  def test_alpha_decay_steps(self):
    name = 'alpha_decay_steps'
    self.assert_refused(
      f'task.self_training.{name}=-1', rf'{name} is -1: it must be at least 0, or'
    )
    for value, expected in (('null', None), ('7', 7)):
      settings = _load(f'task.self_training.{name}={value}').task.self_training
      self.assertEqual(settings.alpha_decay_steps, expected)

  def test_alpha_that_falls_too_late_or_not_at_all_is_told_of(self):
    name = 'task.self_training.alpha_decay_steps'
    for override, message in (
      (f'{name}=401', 'is 401 and the student trains for 400 steps: alpha ends above 0'),
      (f'{name}=null,task.self_training.alpha=0', 'has no effect: task.self_training.alpha is 0'),
    ):
      with self.assertLogs('absl', 'WARNING') as logs:
        _load(override)
      self.assertIn(f'{name} {message}', ' '.join(logs.output))
    with self.assertNoLogs('absl', 'WARNING'):
      _load(f'{name}=400')

  def test_start_of_the_student(self):
    self.assert_refused('task.self_training.student_init=imagenet', r'student_init.*imagenet')
    self.assert_refused(
      'task.self_training.student_init=checkpoint',
      r"'checkpoint' but init and task\.init_checkpoint are empty",
    )
    params = _load('task.self_training.student_init=checkpoint,task.init_checkpoint=some/ckpt-1')
    self.assertEqual(params.task.init_checkpoint, 'some/ckpt-1')
    for start in ('teacher', 'random'):
      with self.assertLogs('absl', 'WARNING') as logs:
        _load(f'task.self_training.student_init={start},task.init_checkpoint=some/ckpt-1')
      self.assertRegex(
        ' '.join(logs.output),
        rf"init_checkpoint is 'some/ckpt-1', but no model starts from it.*student_init is '{start}'",
      )

  def test_label_smoothing_gives_all_classes_a_share(self):
    override = 'task.losses.label_smoothing=0.1,task.pseudo_data.spared_classes=auto'
    with self.assertRaisesRegex(errors.ConfigError, 'label_smoothing is 0.1: it gives each class'):
      config.load_experiment('segmentation_selftrain', [], override)

  def test_matched_cuts(self):
    matched = 'task.pseudo_data.cut=matched'
    self.assert_refused(
      f'{matched},task.pseudo_data.class_cuts=[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]',
      r"^task\.pseudo_data\.cut is 'matched': task\.pseudo_data\.class_cuts must be empty\.$",
    )
    self.assert_refused(
      f'{matched},labels.min_score=0.2',
      r'^labels\.min_score is 0\.2, above the cut that is applied when labels are read \(0\.15\)',
    )
    with self.assertRaisesRegex(errors.ConfigError, "cut is 'matched': boxes are matched by"):
      config.load_experiment('segmentation_selftrain', [], matched)
    pseudo = _load(matched).task.pseudo_data
    self.assertTrue(pseudo.is_matched)
    self.assertFalse(pseudo.is_calibrated)
    # No label that is ignored, or not stored, is taught.
    self.assertEqual(pseudo.lowest_cut(), 0.15)
    self.assertEqual(
      _load(f'{matched},task.pseudo_data.ignore_cut=null').task.pseudo_data.lowest_cut(), 0.05
    )

  def test_a_class_whose_cut_is_below_the_ignore_band(self):
    cuts = ','.join(['0.1', *['0.6'] * 9])
    override = f'task.pseudo_data.class_cuts=[{cuts}],task.pseudo_data.ignore_cut=0.3'
    self.assertEqual(_load(override).task.pseudo_data.lowest_cut(), 0.1)
    self.assert_refused(
      f'{override},labels.min_score=0.25',
      r'^labels\.min_score is 0\.25, above the cut that is applied when labels are read \(0\.1\)',
    )

  def test_labels(self):
    for name in ('batch_size', 'max_boxes'):
      self.assert_refused(f'labels.{name}=0', rf'labels\.{name} is 0: it must be at least 1')

  def test_a_metric_without_a_verdict_is_told_at_the_start(self):
    for metric in (*comparison.METRICS, 'mean_iou_resized', 'APs'):
      with mock.patch.object(st.logging, 'warning') as warning:
        _load(f'report.primary_metric={metric}')
      told = [call.args[0] % call.args[1:] for call in warning.call_args_list]
      told = [text for text in told if 'primary_metric' in text]
      expected = (
        f"report.primary_metric is '{metric}': the report will not say whether self-training helped, because only AP, "
        'AP50, AP75 and mean_iou can be resampled by image.'
      )
      self.assertEqual(told, [] if metric in comparison.METRICS else [expected])

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
    self.assertFalse(runs.uses_embedded_data(params))
    self.assertTrue(runs.uses_embedded_data(_load('')))

  def test_intervals(self):
    for name in ('summary_interval', 'checkpoint_interval', 'validation_interval'):
      self.assert_refused(
        f'trainer.steps_per_loop=50,trainer.summary_interval=100,trainer.{name}=75',
        rf'trainer\.{name} is 75: it must be a multiple of trainer\.steps_per_loop \(50\)',
      )
    self.assert_refused(
      'teacher.trainer.summary_interval=3', r'teacher\.trainer\.summary_interval is 3'
    )

  def test_numbers_of_the_reader(self):
    for setting, message in (
      (
        'task.pseudo_data.shuffle_buffer_size=0',
        r'shuffle_buffer_size is 0: it must be at least 1',
      ),
      ('task.train_data.block_length=0', 'block_length is 0'),
      ('task.validation_data.cycle_length=-1', 'cycle_length is -1'),
      ('task.train_data.is_training=false', 'is_training is False: it must be True'),
      ('task.validation_data.is_training=true', 'is_training is True: it must be False'),
      ('control.global_batch_size=-8', 'global_batch_size is -8: it must be at least 0'),
      ('teacher.global_batch_size=-1', 'global_batch_size is -1'),
    ):
      self.assert_refused(setting, rf'^{setting.rpartition(".")[0]}\.{message}')
    # Validation images are not shuffled.
    _load('task.validation_data.shuffle_buffer_size=0,task.train_data.cycle_length=1')

  def test_a_card_of_classes_that_nothing_learns_from(self):
    with self.assertLogs('absl', 'WARNING') as logs:
      _load('task.joint.card=classes,task.joint.data.input_path=c*')
    self.assertIn('task.joint.card has no effect: task.joint.weight is 0.', '\n'.join(logs.output))

  def test_steps(self):
    self.assert_refused(
      'trainer.train_steps=0', r'trainer\.train_steps is 0: it must be at least 1'
    )
    self.assert_refused('teacher.trainer.train_steps=-1', r'teacher\.trainer\.train_steps is -1')
    self.assert_refused('trainer.steps_per_loop=0', r'trainer\.steps_per_loop is 0', _OURS[0])

  def test_class_names(self):
    names = 'dataset.class_names=[a,b,c,d,e,f,g,h,i,j]'
    self.assertEqual(_load(names).dataset.class_names, list('abcdefghij'))
    self.assertEqual(_load('').dataset.class_names, [])
    for value, pattern in (
      (
        '[a,b,c]',
        r'^dataset\.class_names has 3 names and task\.model\.num_classes is 11: .* from 1 to 10, ',
      ),
      ('[a,b,a,d,e,f,g,d,i,j]', r"^dataset\.class_names has 'a', 'd' more than once: "),
      ("[a,b,' ',d,e,f,g,h,i,j]", r'^dataset\.class_names has an empty name at place 3: '),
    ):
      for experiment in (*_OURS, 'segmentation_selftrain'):
        self.assert_refused(f'dataset.class_names={value}', pattern, experiment)
    self.assert_refused('report.class_names=[a]', r'report\.class_names = .*unknown name')

  def test_soft_nms_of_labelling(self):
    params = _load('labels.soft_nms_sigma=0.15')
    self.assertEqual(params.labels.soft_nms_sigma, 0.15)
    self.assertEqual(_load('').labels.soft_nms_sigma, 0.0)
    self.assertIn('soft_nms_sigma', params.labels.deciding())
    self.assert_refused(
      'labels.soft_nms_sigma=-0.1',
      r'^labels\.soft_nms_sigma is -0\.1: it must be at least 0, where 0 is hard NMS\.$',
    )


class TeacherAugmentationTest(tf.test.TestCase):
  """`teacher.augmentation`: null, or checked as that of a stream."""

  def test_null_and_a_mapping(self):
    self.assertIsNone(_load('').teacher.augmentation)
    params = _load('teacher.augmentation={policy: S1, scale_min: 0.1, scale_max: 1.9}')
    self.assertIsInstance(params.teacher.augmentation, aug.Augmentation)
    self.assertEqual(params.teacher.augmentation.jitter(), (0.1, 1.9))
    self.assertEqual(params.task.train_data.augmentation.policy, 'none')

  def test_copies_keep_the_class(self):
    params = _load('teacher.augmentation.policy=S3,teacher.augmentation.auto_augment.version=v1')
    for copied in (params.replace(), runs.SelfTrainingExperiment(params.as_dict())):
      self.assertIsInstance(copied.teacher.augmentation, aug.Augmentation)
      self.assertEqual(copied.teacher.augmentation.auto_augment.version, 'v1')
    folder = self.get_temp_dir()
    training.write_params(params, folder)
    again = config.load_experiment(_OURS[1], [os.path.join(folder, 'params.yaml')])
    self.assertIsInstance(again.teacher.augmentation, aug.Augmentation)
    self.assertEqual(config.flatten(again), config.flatten(params))

  def test_values_are_checked_with_their_name(self):
    for override, pattern, experiment in (
      ('policy=S9', r"^--params_override: teacher\.augmentation\.policy = 'S9'", _OURS[1]),
      ('flip_probability=2', r'^teacher\.augmentation\.flip_probability is 2', _OURS[1]),
      (
        'scale_min=0.5',
        r"^teacher\.augmentation\.scale_min, scale_max: with policy 'none'",
        _OURS[1],
      ),
      (
        'copy_paste_probability=0.5',
        r'^teacher\.augmentation\.copy_paste_probability is 0\.5: .* class masks; it must be 0',
        'segmentation_selftrain',
      ),
    ):
      with self.assertRaisesRegex(errors.ConfigError, pattern):
        _load(f'teacher.augmentation.{override}', experiment)
    # Human boxes may come with masks.
    _load('teacher.augmentation.copy_paste_probability=0.5')

  def test_without_effect(self):
    with self.assertLogs('absl', 'WARNING') as logs:
      _load('teacher.augmentation.policy=S1,teacher.augmentation.pixel_scale=2')
    self.assertEqual(len(logs.output), 1)
    self.assertRegex(
      logs.output[0], r'teacher\.augmentation\.pixel_scale has no effect with policy S1\.$'
    )

  def test_all_augmentations_by_name(self):
    params = _load('')
    names = ['task.train_data.augmentation', 'task.pseudo_data.augmentation']
    self.assertEqual(list(runs.training_augmentations(params)), names)
    params = _load('teacher.augmentation.policy=S2')
    found = runs.training_augmentations(params)
    self.assertEqual(list(found), [*names, 'teacher.augmentation'])
    self.assertIs(found['teacher.augmentation'], params.teacher.augmentation)
    alone = runs.training_augmentations(_load('', _OURS[0]))
    self.assertEqual(list(alone), names[:1])


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
      self.assertTrue(runs.uses_embedded_data(_load('', name)), name)


if __name__ == '__main__':
  tf.test.main()
