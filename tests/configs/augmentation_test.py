"""Settings of augmentation: defaults, jitter and every message of `check`."""

import math

from absl.testing import absltest, parameterized

from official_selftrain.configs import augmentation
from official_selftrain.core import errors


def _config(**settings):
  config = augmentation.Augmentation()
  config.override(settings)
  return config


class JitterTest(parameterized.TestCase):
  @parameterized.parameters(
    ('S1', (0.8, 1.2)), ('S2', (0.8, 1.2)), ('S3', (0.5, 2.0)), ('S4', (0.5, 2.0))
  )
  def test_of_the_paper(self, policy, expected):
    self.assertEqual(_config(policy=policy).jitter(), expected)

  def test_either_end_can_be_set(self):
    self.assertEqual(_config(policy='S4', scale_min=0.1).jitter(), (0.1, 2.0))
    self.assertEqual(_config(policy='S1', scale_max=1.9).jitter(), (0.8, 1.9))

  def test_every_named_policy_has_one(self):
    self.assertEqual(list(augmentation.JITTER), ['S1', 'S2', 'S3', 'S4'])


class DefaultsTest(absltest.TestCase):
  def test_policy_none_uses_only_the_settings_of_the_parser(self):
    config = augmentation.Augmentation()
    self.assertEqual(config.policy, 'none')
    self.assertEqual(config.auto_augment.version, 'v0')
    self.assertEqual(config.rand_augment.preset, 'automl10')
    self.assertIsNone(config.rand_augment.num_ops)
    self.assertEqual(config.rand_augment.magnitude, 10)
    self.assertEqual((config.min_visible, config.faithful, config.exclude_ops), (0, False, []))

  def test_parts_are_not_shared(self):
    first, second = augmentation.Augmentation(), augmentation.Augmentation()
    first.exclude_ops.append('Flip')
    first.auto_augment.sub_policies.append('Invert(1, 0)')
    first.rand_augment.magnitude = 5.0
    self.assertEqual(second.exclude_ops, [])
    self.assertEqual(second.auto_augment.sub_policies, [])
    self.assertEqual(second.rand_augment.magnitude, 10)


class CheckTest(parameterized.TestCase):
  @parameterized.parameters(
    {},
    {'policy': 'S1', 'scale_min': 1.0, 'scale_max': 1.0},
    {'policy': 'S3', 'faithful': True},
    {'policy': 'S4', 'min_visible': 0.99, 'flip_probability': 0.0},
    {'policy': 'S4', 'rand_augment': {'magnitude': 0.0, 'num_ops': 1, 'probability': 1.0}},
    {'policy': 'S4', 'rand_augment': {'magnitude': 30.0}, 'translate_const': 1.0},
  )
  def test_allowed(self, **settings):
    config = _config(**settings)
    config.check('task.train_data.augmentation')
    self.assertEqual(config.policy, settings.get('policy', 'none'))

  @parameterized.parameters(
    ({'flip_probability': 1.1}, r'flip_probability is 1\.1: probabilities must be in \[0, 1\]'),
    ({'flip_probability': -0.1}, r'flip_probability is -0\.1: probabilities must be in'),
    ({'flip_probability': math.nan}, r'flip_probability is nan: probabilities must be in'),
    (
      {'rand_augment': {'probability': 2.0}},
      r'rand_augment\.probability is 2\.0: probabilities must be in',
    ),
    ({'min_visible': 1.0}, r'min_visible is 1\.0: it must be in \[0, 1\)'),
    ({'min_visible': -0.5}, r'min_visible is -0\.5: it must be in'),
    (
      {'min_visible': 0.2, 'faithful': True},
      r'min_visible is 0\.2, but task\.pseudo_data\.augmentation\.faithful keeps every box',
    ),
    ({'pixel_scale': 0.0}, r'pixel_scale is 0\.0: it must be positive'),
    ({'translate_const': -250.0}, r'translate_const is -250\.0: it must be positive'),
    ({'cutout_const': 0.0}, r'cutout_const is 0\.0: it must be positive'),
    (
      {'rand_augment': {'magnitude': -1.0}},
      r'rand_augment\.magnitude is -1\.0: it must be at least 0',
    ),
    ({'rand_augment': {'num_ops': 0}}, r'rand_augment\.num_ops is 0: it must be at least 1'),
    (
      {'scale_min': 0.5},
      r"scale_min, scale_max: with policy 'none' the jitter is parser\.aug_scale_min",
    ),
    ({'scale_max': 2.0}, r"scale_min, scale_max: with policy 'none' the jitter is parser"),
    (
      {'policy': 'S1', 'scale_min': 1.5},
      r'scale_min is 1\.5: it must be positive and at most .*scale_max \(1\.2\)',
    ),
    (
      {'policy': 'S4', 'scale_max': 0.4},
      r'scale_min is 0\.5: it must be positive and at most .*scale_max \(0\.4\)',
    ),
    ({'policy': 'S2', 'scale_min': 0.0}, r'scale_min is 0\.0: it must be positive'),
    ({'copy_paste_probability': 1.5}, r'copy_paste_probability is 1\.5: probabilities must be in'),
    ({'mosaic_probability': -1.0}, r'mosaic_probability is -1\.0: probabilities must be in'),
    ({'mixup_probability': 1.01}, r'mixup_probability is 1\.01: probabilities must be in'),
    ({'mixup_alpha': 0.0}, r'mixup_alpha is 0\.0: it must be positive'),
  )
  def test_refused(self, settings, pattern):
    prefix = 'task.pseudo_data.augmentation'
    pattern = r'^task\.pseudo_data\.augmentation\.' + pattern
    with self.assertRaisesRegex(errors.ConfigError, pattern):
      _config(**settings).check(prefix)


if __name__ == '__main__':
  absltest.main()
