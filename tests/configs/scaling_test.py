"""Schedules for another batch, against values worked out by hand."""

import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, errors, scaling


def _load(factor, override='', experiment='retinanet_selftrain', files=()):
  return config.flatten(config.load_experiment(experiment, files, override, batch_scale=factor))


class ScalingTest(unittest.TestCase):
  def assert_settings(self, found, expected):
    self.assertEqual({name: found[name] for name in expected}, expected)

  def test_a_quarter_of_the_batch(self):
    found = _load(0.25)
    rate = 'optimizer_config.learning_rate.cosine.initial_learning_rate'
    self.assert_settings(
      found,
      {
        'task.train_data.global_batch_size': 2,
        'task.pseudo_data.global_batch_size': 2,
        'task.validation_data.global_batch_size': 32,
        'teacher.global_batch_size': 0,
        f'trainer.{rate}': 0.03,
        f'teacher.trainer.{rate}': 0.03,
        'trainer.train_steps': 1600,
        'teacher.trainer.train_steps': 3200,
        'trainer.optimizer_config.warmup.linear.warmup_steps': 200,
        'trainer.validation_interval': 1600,
        'trainer.checkpoint_interval': 800,
        'trainer.summary_interval': 100,
        'trainer.steps_per_loop': 25,
        'task.self_training.alpha': 1.0,
      },
    )
    self.assertAlmostEqual(found['task.model.norm_activation.norm_momentum'] ** 4, 0.97)
    self.assertAlmostEqual(found['task.self_training.ema_decay'] ** 4, 0.9997)

  def test_images_seen_are_the_same(self):
    before, after = _load(1.0), _load(2.0)

    def seen(found):
      return found['trainer.train_steps'] * found['task.train_data.global_batch_size']

    self.assertEqual(seen(before), seen(after))

  def test_intervals_stay_multiples_of_the_loop(self):
    found = _load(8.0)
    self.assertEqual(found['trainer.train_steps'], 50)
    for name in ('checkpoint_interval', 'validation_interval', 'summary_interval'):
      self.assertEqual(found[f'trainer.{name}'] % found['trainer.steps_per_loop'], 0)

  def test_steps_in_which_alpha_falls(self):
    name = 'task.self_training.alpha_decay_steps'
    for value, factor, expected in ((400, 4.0, 100), (400, 0.25, 1600), (1, 4.0, 1)):
      found = scaling.overrides({name: value}, factor)
      self.assertEqual(found['task']['self_training'], {'alpha_decay_steps': expected})
    for value in (0, None):
      self.assertEqual(scaling.overrides({name: value}, 4.0), {})

  def test_stepwise_schedules_of_a_recipe(self):
    settings = {
      'trainer.optimizer_config.optimizer.type': 'sgd',
      'trainer.optimizer_config.learning_rate.stepwise.boundaries': [100, 200],
      'trainer.optimizer_config.learning_rate.stepwise.values': [0.4, 0.04, 0.004],
      'trainer.optimizer_config.warmup.linear.warmup_learning_rate': 0.1,
    }
    found = scaling.overrides(settings, 0.5)['trainer']['optimizer_config']
    self.assertEqual(
      found['learning_rate']['stepwise'],
      {'boundaries': [200, 400], 'values': [0.2, 0.02, 0.002]},
    )
    self.assertEqual(found['warmup']['linear'], {'warmup_learning_rate': 0.05})

  def test_adaptive_optimizers_take_the_square_root(self):
    settings = {
      'trainer.optimizer_config.optimizer.type': 'adamw',
      'trainer.optimizer_config.learning_rate.constant.learning_rate': 0.1,
    }
    found = scaling.overrides(settings, 4.0)['trainer']['optimizer_config']
    self.assertEqual(found['learning_rate'], {'constant': {'learning_rate': 0.2}})

  def test_what_the_user_sets_on_the_command_line_is_not_scaled(self):
    found = _load(0.5, 'trainer.train_steps=70,trainer.validation_interval=75')
    self.assertEqual(found['trainer.train_steps'], 70)
    self.assertEqual(found['task.train_data.global_batch_size'], 4)

  def test_an_optimizer_of_the_command_line_decides_how_rates_are_scaled(self):
    found = _load(4.0, 'trainer.optimizer_config.optimizer.type=adamw')
    rate = 'optimizer_config.learning_rate.cosine.initial_learning_rate'
    self.assertAlmostEqual(found[f'trainer.{rate}'], 0.24)
    self.assertAlmostEqual(found[f'teacher.trainer.{rate}'], 0.48)

  def test_what_files_set_is(self):
    found = _load(0.5, files=['tests/e2e/tiny.yaml', 'tests/e2e/tiny_selftrain.yaml'])
    self.assertEqual(found['task.train_data.global_batch_size'], 1)
    self.assertEqual(found['trainer.train_steps'], 12)
    self.assertEqual(found['teacher.trainer.train_steps'], 8)

  def test_pretraining_is_as_before(self):
    found, before = (_load(factor, 'init=simclr') for factor in (0.5, 1.0))
    for name, value in before.items():
      if name.startswith('pretraining.'):
        self.assertEqual(found[name], value, name)

  def test_supervised_experiments(self):
    found = _load(0.5, experiment='retinanet_supervised')
    before = _load(1.0, experiment='retinanet_supervised')
    self.assertEqual(found['trainer.train_steps'], 2 * before['trainer.train_steps'])

  def test_half_an_image_is_refused(self):
    with self.assertRaisesRegex(
      errors.ConfigError,
      r'batch_scale=0\.1: task\.\w+\.global_batch_size of 8 would be 0\.8 images',
    ):
      _load(0.1)
    for wrong in (0.0, -1.0, float('nan'), float('inf')):
      with self.assertRaisesRegex(errors.ConfigError, 'it must be above 0'):
        _load(wrong)

  def test_the_line_that_is_printed(self):
    self.assertEqual(
      scaling.text(0.25),
      '--batch_scale=0.25: batches and learning rates times 0.25, steps divided by it (adaptive optimizers: rates '
      'times 0.5)',
    )


if __name__ == '__main__':
  unittest.main()
