"""The experiments for photographs: the values of each, and that they stand on the embedded data without arguments."""

import os

import tensorflow as tf
from absl.testing import parameterized

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import runs
from official_selftrain.core import config
from official_selftrain.pipeline import training

_RESNET, _SPINENET = 'retinanet_resnetfpn', 'retinanet_spinenet'
_EFFICIENTNET = 'segmentation_efficientnet'
_ALL = tuple(
  f'{name}_{kind}'
  for name in (_RESNET, _SPINENET, _EFFICIENTNET)
  for kind in ('supervised', 'selftrain')
)


def _schedule(trainer):
  """Steps, learning rate, warm-up and clipping of a trainer."""
  settings = trainer.optimizer_config
  warmup = settings.warmup.get()
  return (
    trainer.train_steps,
    settings.learning_rate.get().initial_learning_rate,
    (warmup.warmup_steps, warmup.warmup_learning_rate),
    settings.optimizer.get().global_clipnorm,
  )


class PhotographsTest(parameterized.TestCase, tf.test.TestCase):
  def assert_schedule(self, trainer, steps, rate, warmup, clip):
    """Compares a schedule; learning rates are products of floats."""
    found = _schedule(trainer)
    self.assertEqual((found[0], found[2][0], found[3]), (steps, warmup[0], clip))
    self.assertAllClose((found[1], found[2][1]), (rate, warmup[1]), rtol=1e-9)

  @parameterized.parameters(*_ALL)
  def test_they_check_and_stand_on_the_embedded_data(self, name):
    with self.assertNoLogs('absl', 'WARNING'):
      params = config.load_experiment(name)
    self.assertTrue(runs.uses_embedded_data(params))
    self.assertEqual(params.experiment, name)
    self.assertEqual(params.runtime.mixed_precision_dtype, 'bfloat16')
    self.assertEqual(params.runtime.distribution_strategy, 'mirrored')
    model = params.task.model
    self.assertEqual((model.family, model.num_classes), ('original', 11))
    self.assertEqual((model.min_level, model.max_level), (3, 7))
    self.assertTrue(model.norm_activation.use_sync_bn)
    rate = params.trainer.optimizer_config.learning_rate
    self.assertEqual((rate.type, rate.get().decay_steps), ('cosine', None))
    self.assertEqual(params.trainer.optimizer_config.optimizer.get().momentum, 0.9)
    self.assertEqual(params.trainer.steps_per_loop, 100)

  @parameterized.parameters(*_ALL)
  def test_they_round_trip_through_params_yaml(self, name):
    params = config.load_experiment(name, [], 'seed=3')
    folder = self.create_tempdir().full_path
    training.write_params(params, folder)
    again = config.load_experiment(name, [os.path.join(folder, 'params.yaml')])
    self.assertEqual(config.flatten(again), config.flatten(params))

  def test_resnet(self):
    params = config.load_experiment(f'{_RESNET}_selftrain')
    task, model = params.task, params.task.model
    self.assertEqual(model.input_size, [640, 640, 3])
    self.assertEqual((model.backbone.type, model.backbone.get().model_id), ('resnet', 50))
    self.assertEqual((model.decoder.type, model.decoder.get().num_filters), ('fpn', 256))
    anchor = model.anchor
    self.assertEqual((anchor.num_scales, anchor.anchor_size), (3, 4.0))
    self.assertEqual(anchor.aspect_ratios, [1.0, 2.0, 0.5])
    self.assertEqual((model.head.num_convs, model.head.num_filters), (4, 256))
    self.assertIsNone(model.detection_generator.soft_nms_sigma)
    self.assertEqual(task.losses.l2_weight_decay, 1e-4)
    self.assertEqual((task.pseudo_data.cut, task.pseudo_data.ignore_cut), (0.5, None))
    self.assertEqual((task.self_training.alpha, task.self_training.ema_decay), (0.25, 0.9997))
    streams = (task.train_data, task.pseudo_data)
    self.assertEqual([stream.augmentation.policy for stream in streams], ['S4', 'S4'])
    self.assertEqual([stream.augmentation.flip_probability for stream in streams], [0.5, 0.5])
    self.assertEqual([stream.global_batch_size for stream in streams], [8, 8])
    # 0.32 at 256 labelled images; the teacher's step has those of both streams.
    self.assert_schedule(params.trainer, 120_000, 0.01, (1000, 0.0001), None)
    self.assert_schedule(params.teacher.trainer, 90_000, 0.02, (1000, 0.0002), None)
    self.assertIsNone(params.teacher.augmentation)
    self.assertEqual(params.labels.soft_nms_sigma, 0.0)

  def test_spinenet(self):
    params = config.load_experiment(f'{_SPINENET}_selftrain')
    task, model = params.task, params.task.model
    self.assertEqual((model.backbone.type, model.backbone.get().model_id), ('spinenet', '49'))
    self.assertEqual((model.input_size, model.anchor.anchor_size), ([640, 640, 3], 3.0))
    self.assertEqual((model.decoder.type, model.norm_activation.activation), ('identity', 'swish'))
    self.assertEqual((task.losses.l2_weight_decay, task.self_training.alpha), (4e-5, 0.5))
    self.assertEqual(task.train_data.augmentation.policy, 'S3')
    self.assertEqual(task.pseudo_data.augmentation.policy, 'S3')
    weaker = params.teacher.augmentation
    self.assertEqual((weaker.policy, weaker.jitter()), ('S1', (0.5, 2.0)))
    batches = (task.train_data.global_batch_size, task.pseudo_data.global_batch_size)
    self.assertEqual(batches, (6, 6))
    # 0.28 at 256 labelled images.
    self.assert_schedule(params.trainer, 90_000, 0.28 * 6 / 256, (2000, 0.0067 * 6 / 256), 10.0)
    self.assert_schedule(
      params.teacher.trainer, 90_000, 0.28 * 12 / 256, (2000, 0.0067 * 12 / 256), 10.0
    )

  def test_efficientnet(self):
    params = config.load_experiment(f'{_EFFICIENTNET}_selftrain')
    task, model = params.task, params.task.model
    self.assertEqual(model.input_size, [512, 512, 3])
    self.assertEqual((model.backbone.type, model.backbone.get().model_id), ('efficientnet', 'b4'))
    neck = model.decoder.get()
    self.assertEqual((neck.num_filters, neck.num_repeats, neck.use_separable_conv), (256, 7, True))
    self.assertEqual((model.head.level, model.head.num_convs, model.head.num_filters), (2, 3, 256))
    self.assertEqual((task.losses.l2_weight_decay, task.losses.class_weights), (1e-5, []))
    self.assertFalse(task.losses.use_groundtruth_dimension)
    self.assertEqual(params.labels.scales, [0.5, 0.75, 1.0, 1.25, 1.5, 1.75])
    self.assertEqual((task.self_training.alpha, task.pseudo_data.cut), (1.0, 0.5))
    self.assertEqual(params.report.primary_metric, 'mean_iou')
    policies = [stream.augmentation.policy for stream in (task.train_data, task.pseudo_data)]
    self.assertEqual(policies, ['S4', 'S4'])
    # 0.08 at 256 labelled images, which are half of the teacher's step.
    self.assert_schedule(params.trainer, 40_000, 0.0025, (500, 0.001 / 32), 10.0)
    self.assert_schedule(params.teacher.trainer, 40_000, 0.005, (500, 0.001 / 16), 10.0)

  @parameterized.parameters((_RESNET, 'S4'), (_SPINENET, 'S1'), (_EFFICIENTNET, 'S4'))
  def test_supervised_is_the_teacher(self, name, policy):
    alone = config.load_experiment(f'{name}_supervised')
    both = config.load_experiment(f'{name}_selftrain')
    self.assertEqual(alone.task.model.as_dict(), both.task.model.as_dict())
    self.assertEqual(alone.task.losses.as_dict(), both.task.losses.as_dict())
    self.assertEqual(_schedule(alone.trainer), _schedule(both.teacher.trainer))
    together = both.task.train_data.global_batch_size + both.task.pseudo_data.global_batch_size
    self.assertEqual(alone.task.train_data.global_batch_size, together)
    teachers = both.teacher.augmentation or both.task.train_data.augmentation
    self.assertEqual(alone.task.train_data.augmentation.as_dict(), teachers.as_dict())
    self.assertEqual(teachers.policy, policy)


if __name__ == '__main__':
  tf.test.main()
