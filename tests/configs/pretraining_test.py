"""Tests for the settings of what models start from."""

import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import pretraining
from official_selftrain.core import config, errors


def _load(*overrides, experiment='retinanet_selftrain'):
  return config.load_experiment(experiment, [], ','.join(overrides))


class InitTest(unittest.TestCase):
  def test_what_a_run_makes_itself(self):
    settings = _load('init=simclr').pretraining
    self.assertTrue(settings.is_trained('simclr'))
    self.assertTrue(settings.is_imported('imagenet'))
    for name in ('', 'random', 'noisy_student', 'runs/classes'):
      self.assertFalse(settings.is_trained(name) or settings.is_imported(name), name)
    given = _load('init=simclr', 'pretraining.checkpoint=runs/simclr').pretraining
    self.assertFalse(given.is_trained('simclr'))
    weights = _load('init=imagenet', 'pretraining.checkpoint=lite.npz').pretraining
    self.assertTrue(weights.is_imported('imagenet'))
    checkpoint = _load('init=imagenet', 'pretraining.checkpoint=imported/b3').pretraining
    self.assertFalse(checkpoint.is_imported('imagenet'))

  def test_the_task_has_the_backbone_and_size_of_the_run(self):
    for experiment in ('retinanet_selftrain', 'segmentation_selftrain'):
      for name in pretraining.TRAINED:
        run = _load(
          f'init={name}', 'task.model.norm_activation.norm_momentum=0.5', experiment=experiment
        )
        model = pretraining.task_for(getattr(run.pretraining, name), run.task.model).model
        self.assertEqual(model.backbone.as_dict(), run.task.model.backbone.as_dict())
        self.assertEqual(model.norm_activation.norm_momentum, 0.5)
        self.assertEqual(model.input_size, [64, 64, 3])
        run.pretraining.supervised.task.model.input_size = []
        run.pretraining.simclr.task.model.input_size = []
        model = pretraining.task_for(getattr(run.pretraining, name), run.task.model).model
        self.assertEqual(model.input_size, [128, 128, 3])

  def test_images_of_another_size(self):
    run = _load(
      'init=supervised',
      'pretraining.supervised.task.model.input_size=[96,96,3]',
      experiment='segmentation_selftrain',
    )
    model = pretraining.task_for(run.pretraining.supervised, run.task.model).model
    self.assertEqual(model.input_size, [96, 96, 3])

  def test_settings_that_do_not_go_together(self):
    own = (
      'task.train_data.input_path=a',
      'task.pseudo_data.input_path=b',
      'task.validation_data.input_path=c',
      'task.annotation_file=d',
    )
    for overrides, message in (
      (
        ('init=simclr', 'teacher.init_checkpoint=x'),
        r"init is 'simclr' and teacher.init_check.* 'x'",
      ),
      (('init=simclr', 'task.init_checkpoint=x'), r'and task\.init_checkpoint'),
      (('init=simclr', 'teacher.checkpoint=x'), r'teacher\.checkpoint gives a finished teacher'),
      (('init=noisy_student',), r'cannot be trained or downloaded here: .*import_tf1'),
      (
        ('init=imagenet',),
        r'EfficientNet-B0 to B7 .*task\.model has resnet of family model_garden',
      ),
      (('pretraining.checkpoint=x',), r"pretraining\.checkpoint is given, but init is ''"),
      (('init=x', 'pretraining.checkpoint=y'), r"is given, but init is 'x'"),
      (('init=supervised', *own), r'pretraining\.supervised\.card is empty'),
      (
        ('init=simclr', 'pretraining.simclr.task.train_data.global_batch_size=1'),
        r'^pretraining\.simclr: task\.train_data\.global_batch_size is 1: SimCLR compares',
      ),
      (
        ('init=supervised', 'pretraining.supervised.trainer.train_steps=0'),
        r'^pretraining\.supervised\.trainer\.train_steps is 0',
      ),
      (
        ('init=simclr', 'pretraining.simclr.task.train_data.input_path=a'),
        r'^pretraining\.simclr\.task\.validation_data\.input_path: empty although',
      ),
      (
        (
          'init=simclr',
          'task.model.backbone.type=spinenet',
          'task.model.backbone.spinenet.max_level=5',
        ),
        r'^pretraining\.simclr\.task\.model\.input_size is \[64, 64, 3\]: the layers of .*spinenet fit one',
      ),
      (('task.self_training.student_init=checkpoint',), r'init and task.init_checkpoint are empty'),
    ):
      with self.subTest(overrides), self.assertRaisesRegex(errors.ConfigError, message):
        _load(*overrides)
    _load('init=simclr', *own)

  def test_an_experiment_of_one_model_takes_a_checkpoint_only(self):
    self.assertEqual(_load('init=runs/a', experiment='retinanet_supervised').init, 'runs/a')
    with self.assertRaisesRegex(errors.ConfigError, 'which only experiments of self-training make'):
      _load('init=simclr', experiment='retinanet_supervised')


class BackboneRateTest(unittest.TestCase):
  def test_it_needs_sgd(self):
    rate = 'task.backbone_learning_rate=0.1'
    self.assertEqual(_load(rate).task.supervised().backbone_learning_rate, 0.1)
    for trainer in ('trainer', 'teacher.trainer'):
      adam = f'{trainer}.optimizer_config.optimizer.type=adam'
      with self.assertRaisesRegex(errors.ConfigError, rf"and {trainer}\..* is 'adam', whose steps"):
        _load(rate, adam)
    with self.assertRaisesRegex(errors.ConfigError, 'must be above 0; task.freeze_backbone leaves'):
      _load('task.backbone_learning_rate=0')


if __name__ == '__main__':
  unittest.main()
