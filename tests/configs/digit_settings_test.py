"""The one warning that names settings of the embedded digits in an experiment on own files."""

import pathlib
import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import digit_settings
from official_selftrain.core import config

_REPOSITORY = pathlib.Path(__file__).parents[2]
_PATHS = ','.join(
  f'task.{name}.input_path={name}' for name in ('train_data', 'pseudo_data', 'validation_data')
)
_SUPERVISED_PATHS = 'task.train_data.input_path=a,task.validation_data.input_path=b'


def _paths(experiment):
  """Overrides that name own files."""
  paths = _PATHS if 'selftrain' in experiment else _SUPERVISED_PATHS
  return f'{paths},task.joint.data.input_path=c' if experiment.endswith('joint') else paths


def _found(experiment, override):
  """Names of the settings that are reported."""
  params = config.load_experiment(experiment, [], override)
  return [found.partition('=')[0] for found in digit_settings.digit_settings(params)]


class DigitSettingsTest(unittest.TestCase):
  maxDiff = None

  def test_everything_that_was_chosen_for_boxes_around_digits(self):
    params = config.load_experiment('retinanet_selftrain', [], _PATHS)
    self.assertEqual(
      digit_settings.digit_settings(params),
      [
        'task.model.input_size=[128, 128, 3]',
        'task.model.max_level=5',
        'task.model.backbone.resnet.model_id=10',
        'task.model.anchor.aspect_ratios=[1.0]',
        'task.model.anchor.anchor_size=3.0',
        'task.model.head.num_convs=2',
        'task.model.head.num_filters=48',
        'task.model.norm_activation.use_sync_bn=false',
        'task.model.norm_activation.norm_momentum=0.97',
        'task.pseudo_data.cut=0.6',
        'task.pseudo_data.ignore_cut=0.15',
        'teacher.trainer.train_steps=800',
        'teacher.trainer.optimizer_config.learning_rate.cosine.initial_learning_rate=0.12',
        'teacher.trainer.optimizer_config.warmup.linear.warmup_steps=100',
        'trainer.train_steps=400',
        'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate=0.12',
        'trainer.optimizer_config.warmup.linear.warmup_steps=50',
        'task.train_data.parser.aug_rand_hflip=false',
        'task.train_data.parser.aug_scale_min=0.6',
        'task.train_data.parser.aug_scale_max=1.5',
        'task.pseudo_data.parser.aug_rand_hflip=false',
        'task.pseudo_data.parser.aug_scale_min=0.6',
        'task.pseudo_data.parser.aug_scale_max=1.5',
      ],
    )

  def test_what_was_set_is_not_reported(self):
    everything = _found('retinanet_selftrain', _PATHS)
    left = _found(
      'retinanet_selftrain',
      f'{_PATHS},task.pseudo_data.cut=0.5,task.pseudo_data.ignore_cut=null,trainer.train_steps=9,'
      'task.model.anchor.aspect_ratios=[1.0,2.0],task.train_data.augmentation.policy=S4',
    )
    gone = {
      'task.pseudo_data.cut',
      'task.pseudo_data.ignore_cut',
      'trainer.train_steps',
      'task.model.anchor.aspect_ratios',
      # A named policy has its own.
      *(f'task.train_data.parser.aug_{name}' for name in ('rand_hflip', 'scale_min', 'scale_max')),
    }
    self.assertEqual(left, [name for name in everything if name not in gone])

  def test_masks(self):
    found = _found('segmentation_selftrain', _PATHS)
    for name in (
      'task.losses.class_weights',
      'labels.scales',
      'task.model.decoder.nasfpn.num_repeats',
      'task.model.head.num_convs',
      'task.pseudo_data.aug_scale_min',
    ):
      self.assertIn(name, found)
    # Photographs have the same.
    self.assertNotIn('task.model.max_level', found)
    # Not in a model of masks.
    self.assertNotIn('task.model.anchor.anchor_size', found)

  def test_backbones(self):
    common = [
      'task.model.input_size',
      'task.model.backbone.resnet.model_id',
      'task.model.norm_activation.use_sync_bn',
      'task.model.norm_activation.norm_momentum',
      'task.train_data.global_batch_size',
      'trainer.train_steps',
      'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate',
    ]
    views = ['task.train_data.views.crop_min_area', 'task.train_data.views.flip_probability']
    self.assertEqual(_found('simclr_pretrain', _SUPERVISED_PATHS), [*common, *views])
    images = ['aug_crop', 'augmentation.policy']
    self.assertEqual(
      _found('classification_pretrain', _SUPERVISED_PATHS),
      [*common, *(f'task.train_data.{name}' for name in images)],
    )
    override = f'{_SUPERVISED_PATHS},trainer.train_steps=9,task.model.input_size=[224,224,3]'
    self.assertEqual(_found('simclr_pretrain', override), [*common[1:5], common[6], *views])

  def test_recipes_of_backbones_have_none(self):
    for embedded, recipe in digit_settings.RECIPES.items():
      params = config.load_experiment(embedded, [str(_REPOSITORY / recipe)])
      self.assertEqual(digit_settings.digit_settings(params), [])

  def test_experiments_for_photographs_have_none(self):
    for embedded, photographs in digit_settings.FOR_PHOTOGRAPHS.items():
      self.assertTrue(_found(embedded, _paths(embedded)))
      self.assertEqual(_found(photographs, _paths(photographs)), [])


class WarningTest(unittest.TestCase):
  def test_one_warning_names_them_and_the_experiment_for_photographs(self):
    for embedded, photographs in digit_settings.FOR_PHOTOGRAPHS.items():
      with self.subTest(embedded), self.assertLogs('absl', 'WARNING') as logs:
        config.load_experiment(embedded, [], _paths(embedded))
      self.assertEqual(len(logs.output), 1)
      self.assertIn(
        f'{embedded} is made for the embedded digits. With your own files these settings still have its values: '
        'task.model.input_size=[128, 128, 3], ',
        logs.output[0],
      )
      self.assertTrue(
        logs.output[0].endswith(
          f'. For photographs start from --experiment={photographs}, or set them.'
        )
      )

  def test_backbones_are_sent_to_their_recipes(self):
    for embedded, recipe in digit_settings.RECIPES.items():
      with self.subTest(embedded), self.assertLogs('absl', 'WARNING') as logs:
        config.load_experiment(embedded, [], _SUPERVISED_PATHS)
      self.assertEqual(len(logs.output), 1)
      self.assertTrue(logs.output[0].endswith(f'. For photographs see {recipe}.'), logs.output)

  def test_no_warning_with_embedded_data_or_for_photographs(self):
    with self.assertNoLogs('absl', 'WARNING'):
      for embedded, photographs in digit_settings.FOR_PHOTOGRAPHS.items():
        config.load_experiment(embedded)
        config.load_experiment(photographs, [], _paths(photographs))


if __name__ == '__main__':
  unittest.main()
