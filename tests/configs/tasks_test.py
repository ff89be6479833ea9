"""What the configs of all tasks share: checks of self-training, and when batch norm sees too few images."""

import unittest

from absl.testing import parameterized

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import detection, inputs, segmentation, tasks
from official_selftrain.core import config, errors

_EXPERIMENTS = ('retinanet_selftrain', 'segmentation_selftrain')


def _task(override='', experiment='retinanet_selftrain'):
  return config.load_experiment(experiment, [], override).task


class SelfTrainingTaskTest(parameterized.TestCase):
  @parameterized.parameters(*_EXPERIMENTS)
  def test_both_tasks_check_alike(self, experiment):
    for override, pattern in (
      ('task.pseudo_data.cut=0', r'^task\.pseudo_data\.cut is 0.*: scores are in \(0, 1\]\.$'),
      ('task.self_training.alpha=-1', r'^task\.self_training\.alpha is -1'),
      ('task.train_data.global_batch_size=0', r'^task\.train_data\.global_batch_size is 0'),
      (
        'task.pseudo_data.augmentation.policy=S1,task.pseudo_data.augmentation.scale_min=3',
        'S1|scale_min is 3',
      ),
      (
        'task.train_data.dtype=bfloat16',
        r'^task\.pseudo_data\.dtype is float32 and task\.train_data\.dtype bfloat16: .*one batch',
      ),
      ('task.init_checkpoint_modules=neck', r"^task\.init_checkpoint_modules is 'neck'"),
    ):
      with self.assertRaisesRegex(errors.ConfigError, pattern):
        _task(override, experiment)

  @parameterized.parameters(detection, segmentation)
  def test_own_settings_do_not_hide_the_defaults_of_the_model_garden(self, module):
    for kind in (module.DataConfig, module.PseudoDataConfig):
      stock = next(base for base in kind.__mro__ if base.__module__.startswith('official.vision'))
      ours, theirs = kind().as_dict(), stock().as_dict()
      differing = {name for name, value in theirs.items() if ours[name] != value}
      # Detection reads float32 images, see its `DataConfig`.
      self.assertLessEqual(differing, {'dtype'})
      self.assertIn('augmentation', set(ours) - set(theirs))
    pseudo = module.PseudoDataConfig()
    self.assertIsInstance(pseudo, inputs.PseudoStream)
    self.assertEqual((pseudo.label_dir, pseudo.cut, pseudo.keep_empty), ('', 0.5, True))

  def test_labels_matter_from_the_lowest_cut_on(self):
    self.assertEqual(segmentation.PseudoDataConfig(cut=0.7).lowest_cut(), 0.7)
    self.assertEqual(detection.PseudoDataConfig(cut=0.7).lowest_cut(), 0.7)
    self.assertEqual(detection.PseudoDataConfig(cut=0.7, ignore_cut=0.2).lowest_cut(), 0.2)


class BatchNormTest(unittest.TestCase):
  def test_enough_images_per_replica(self):
    # 8 + 8 images.
    for replicas in (1, 2):
      self.assertIsNone(tasks.batch_norm_warning(_task(), replicas))

  def test_too_few_on_several_replicas(self):
    self.assertEqual(
      tasks.batch_norm_warning(_task(), 4),
      'task.train_data.global_batch_size=8, task.pseudo_data.global_batch_size=8 on 4 replicas: batch norm sees 4 '
      'images at a time, and below 8 its statistics are noisy. Choose task.model.norm_activation.use_sync_bn=true, or '
      'a larger batch.',
    )

  def test_synchronised_over_replicas(self):
    task = _task('task.model.norm_activation.use_sync_bn=true')
    self.assertIsNone(tasks.batch_norm_warning(task, 8))

  def test_synchronising_does_not_help_one_replica(self):
    task = _task(
      'task.model.norm_activation.use_sync_bn=true,task.train_data.global_batch_size=2,'
      'task.pseudo_data.global_batch_size=2'
    )
    warning = tasks.batch_norm_warning(task, 1)
    self.assertRegex(warning, r'on 1 replica: batch norm sees 4 images .* Choose a larger batch\.$')
    self.assertNotIn('use_sync_bn', warning)

  def test_a_supervised_task_has_one_stream(self):
    task = _task(experiment='segmentation_supervised')
    self.assertIsNone(tasks.batch_norm_warning(task, 2))
    warning = tasks.batch_norm_warning(task, 4)
    self.assertRegex(warning, r'^task\.train_data\.global_batch_size=16 on 4 replicas: ')

  def test_sources_that_are_normalised_apart(self):
    task = _task('task.self_training.separate_batch_norm=true')
    self.assertIsNone(tasks.batch_norm_warning(task, 1))
    self.assertIn('batch norm sees 4 images', tasks.batch_norm_warning(task, 2))


if __name__ == '__main__':
  unittest.main()
