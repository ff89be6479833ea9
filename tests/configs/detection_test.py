"""Settings of detection: messages of `check`, and the task that teacher and control train."""

import dataclasses

import tensorflow as tf
from absl.testing import parameterized

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import detection
from official_selftrain.core import config, errors


def _load(override, experiment='retinanet_selftrain'):
  return config.load_experiment(experiment, [], override)


class CheckTest(tf.test.TestCase, parameterized.TestCase):
  def assert_refused(self, override, pattern, experiment='retinanet_selftrain'):
    with self.assertRaisesRegex(errors.ConfigError, pattern):
      _load(override, experiment)

  def test_cut(self):
    self.assert_refused(
      'task.pseudo_data.cut=1.5', r'task\.pseudo_data\.cut is 1\.5: scores are in'
    )
    self.assert_refused('task.pseudo_data.cut=0', r'task\.pseudo_data\.cut is 0')
    self.assertEqual(_load('task.pseudo_data.cut=1').task.pseudo_data.cut, 1)

  def test_ignore_cut(self):
    self.assert_refused(
      'task.pseudo_data.cut=0.5,task.pseudo_data.ignore_cut=0.6',
      r'ignore_cut is 0\.6: it must be in .*cut = 0\.5',
    )
    self.assert_refused('task.pseudo_data.ignore_cut=0', r'ignore_cut is 0')
    # An empty band is a mistake, too.
    self.assert_refused(
      'task.pseudo_data.cut=0.5,task.pseudo_data.ignore_cut=0.5', r'ignore_cut is 0\.5: it must be'
    )
    params = _load('task.pseudo_data.cut=0.5,task.pseudo_data.ignore_cut=0.3')
    self.assertEqual(params.task.pseudo_data.ignore_cut, 0.3)

  def test_soft_labels_need_a_loss_with_a_finite_slope(self):
    self.assert_refused(
      'task.pseudo_data.soft_labels=true,task.losses.focal_loss_gamma=0.5',
      r'focal_loss_gamma is 0\.5: with task\.pseudo_data\.soft_labels it must be 0 or at least 1',
    )
    for override in (
      'task.pseudo_data.soft_labels=true,task.losses.focal_loss_gamma=0',
      'task.pseudo_data.soft_labels=true',
      'task.losses.focal_loss_gamma=0.5',
    ):
      self.assertIsNotNone(_load(override))

  def test_batch_sizes(self):
    for name in ('train_data', 'pseudo_data', 'validation_data'):
      self.assert_refused(
        f'task.{name}.global_batch_size=0', rf'task\.{name}\.global_batch_size is 0.*at least 1'
      )

  def test_input_size(self):
    self.assert_refused(
      'task.model.input_size=[200, 256, 3]', r'input_size is \[200, 256, 3\].*multiples of 32'
    )
    self.assert_refused(
      'task.model.backbone.type=resnet,task.model.input_size=[48, 64, 3]',
      r'multiples of 32.*resnet',
    )
    self.assert_refused('task.model.input_size=[128, 128]', r'there are 3 channels')
    self.assertEqual(
      _load(
        'task.model.backbone.type=resnet,task.model.input_size=[96, 64, 3]'
      ).task.model.input_size,
      [96, 64, 3],
    )

  def test_jitter(self):
    self.assert_refused(
      'task.train_data.parser.aug_scale_min=2.0', r'train_data\.parser\.aug_scale_min is 2\.0'
    )
    self.assert_refused(
      'task.pseudo_data.parser.aug_scale_min=0', r'pseudo_data\.parser\.aug_scale_min'
    )

  def test_named_policy_replaces_the_jitter(self):
    task = _load(
      'task.train_data.augmentation.policy=S4,task.train_data.parser.aug_scale_min=9'
    ).task
    self.assertEqual(task.train_data.augmentation.jitter(), (0.5, 2.0))
    self.assert_refused(
      'task.pseudo_data.augmentation.policy=S1,task.pseudo_data.augmentation.scale_max=0.5',
      r'pseudo_data\.augmentation\.scale_min is 0\.8: .*scale_max \(0\.5\)',
    )

  def test_settings_that_the_policy_does_not_read_warn(self):
    for override, field in (
      ('augmentation.flip_probability=0.1', r'augmentation\.flip_probability .* policy none'),
      (
        'augmentation.policy=S1,task.train_data.augmentation.rand_augment.magnitude=20',
        r'augmentation\.rand_augment .* policy S1',
      ),
      (
        'augmentation.policy=S4,task.train_data.parser.aug_rand_hflip=true',
        r'parser\.aug_rand_hflip has no effect with a named policy',
      ),
    ):
      with self.assertLogs('absl', 'WARNING') as logs:
        _load(f'task.train_data.{override}')
      self.assertRegex('\n'.join(logs.output), rf'task\.train_data\.{field}')
    with self.assertNoLogs('absl', 'WARNING'):
      _load('task.train_data.augmentation.policy=S4,task.train_data.augmentation.pixel_scale=0.5')

  def test_the_model_gardens_policies_are_refused(self):
    self.assert_refused(
      'task.train_data.parser.aug_type.type=randaug',
      r"parser\.aug_type is 'randaug': choose task\.train_data\.augmentation\.policy",
    )

  def test_validation_images_are_not_augmented(self):
    self.assert_refused(
      'task.validation_data.augmentation.policy=S1',
      r"validation_data\.augmentation\.policy is 'S1'.*must be 'none'",
    )

  def test_fractions(self):
    task = _load('task.train_data.fraction=0.2,task.train_data.fraction_seed=3').task
    # The teacher, the control and the student draw the same.
    self.assertEqual(task.supervised().train_data.fraction, 0.2)
    self.assertEqual(task.supervised().train_data.fraction_seed, 3)
    for value in ('0', '1.5', '-0.1', '.nan'):
      self.assert_refused(
        f'task.train_data.fraction={value}',
        r'train_data\.fraction is .*: it must be above 0 and at most 1',
      )
    for name in ('pseudo_data', 'validation_data'):
      self.assert_refused(
        f'task.{name}.fraction=0.5',
        rf'{name}\.fraction is 0\.5: only labelled training images are drawn from; it must be 1',
      )
    self.assert_refused(
      'task.train_data.fraction=0.5,task.train_data.tfds_name=coco,task.pseudo_data.input_path=a,'
      'task.validation_data.input_path=b',
      r'train_data\.fraction: images of tfds_name are not drawn from',
    )
    with self.assertLogs('absl', 'WARNING') as logs:
      _load('task.train_data.fraction_seed=1')
    self.assertRegex('\n'.join(logs.output), 'fraction_seed has no effect on a fraction of 1')

  def test_mixing(self):
    task = _load(
      'task.train_data.augmentation.copy_paste_probability=1,task.pseudo_data.augmentation.mixup_probability=0.5'
    ).task
    self.assertTrue(task.train_data.augmentation.mixes() and task.pseudo_data.augmentation.mixes())
    self.assertFalse(_load('').task.train_data.augmentation.mixes())
    for name in ('mixup_probability', 'mosaic_probability', 'copy_paste_probability'):
      self.assert_refused(
        f'task.train_data.augmentation.{name}=1.5',
        rf'train_data\.augmentation\.{name} is 1\.5: probabilities must be in \[0, 1\]',
      )
      self.assert_refused(
        f'task.validation_data.augmentation.{name}=0.5',
        r'validation_data\.augmentation: validation images are not mixed; .* must be 0',
      )
    self.assert_refused(
      'task.pseudo_data.augmentation.mixup_alpha=0',
      r'pseudo_data\.augmentation\.mixup_alpha is 0.*: it must be positive',
    )

  def test_objects_are_not_cut_out_by_pseudo_labels(self):
    self.assert_refused(
      'task.pseudo_data.augmentation.copy_paste_probability=0.5',
      r'pseudo_data\.augmentation\.copy_paste_probability is 0\.5: .* masks, and pseudo labels .* boxes; it must be 0',
    )

  def test_images_of_tfds_are_neither_augmented_nor_mixed(self):
    for settings in ({'mosaic_probability': 0.5}, {'policy': 'S4'}):
      task = _load('').task.supervised()
      task.train_data.override({'tfds_name': 'coco', 'augmentation': settings})
      with self.assertRaisesRegex(
        errors.ConfigError, r'train_data\.augmentation: .*tfds_name go through the Model Garden'
      ):
        task.check()

  def test_images_of_tfds_go_through_the_model_gardens_step(self):
    for setting, value, needed in (
      ('gradient_accumulation_steps', 2, '1'),
      ('backbone_learning_rate', 0.1, '1'),
      ('joint.weight', 0.5, '0'),
    ):
      task = _load('').task.supervised()
      task.train_data.tfds_name = 'coco'
      task.check()
      holder, _, name = setting.rpartition('.')
      setattr(task.joint if holder else task, name, value)
      with self.assertRaisesRegex(
        errors.ConfigError,
        rf'^task\.{setting} is {value}: .*TFRecord files.*tfds_name, or set it to {needed}\.',
      ):
        task.check()

  def test_an_online_teacher_is_not_compiled(self):
    online = 'task.self_training.online_teacher.enabled=true'
    nms = 'task.model.detection_generator.nms_version=v3'
    for compiled in ('runtime.distribution_strategy=tpu', 'runtime.enable_xla=true'):
      with self.assertRaisesRegex(errors.ConfigError, r'enabled: labels made .* never compiled'):
        _load(f'{online},{nms},{compiled}')
    _load('runtime.enable_xla=true')

  def test_suppression_that_no_tpu_can_do(self):
    tpu = 'runtime.distribution_strategy=tpu'
    nms = 'task.model.detection_generator'
    with self.assertRaisesRegex(
      errors.ConfigError, r"nms_version is 'batched', .* not compile for a TPU .*: choose v2 or v3"
    ):
      _load(tpu)
    with self.assertRaisesRegex(
      errors.ConfigError, r'soft_nms_sigma is 0\.3: Soft-NMS does not compile for a TPU'
    ):
      _load(f'{tpu},{nms}.nms_version=v2,{nms}.soft_nms_sigma=0.3')
    _load(f'{tpu},{nms}.nms_version=v3')
    _load(f'{nms}.soft_nms_sigma=0.3')

  @parameterized.parameters(
    ('train_data.parser.num_channels=1', 'num_channels is 1: this is not supported; it must be 3'),
    ('pseudo_data.parser.aug_policy=autoaug', "aug_policy is 'autoaug': this is not supported"),
    ('use_wod_metrics=true', 'use_wod_metrics is True: this is not supported; it must be False'),
  )
  def test_settings_that_nothing_reads(self, setting, message):
    self.assert_refused(f'task.{setting}', message)

  @parameterized.parameters(
    ('apply_nms=false', r'apply_nms is false: .* export with --nms=none\.$'),
    (
      'nms_version=tflite',
      r"nms_version is 'tflite': it must be one of batched, v1, v2, v3\. .* --format=tflite\.$",
    ),
    ('nms_version=batchd', r"nms_version is 'batchd': it must be one of batched, v1, v2, v3\."),
    ('use_class_agnostic_nms=true', r'use_class_agnostic_nms needs nms_version v2, not batched\.$'),
  )
  def test_suppression_that_finds_no_boxes(self, setting, message):
    with self.assertRaisesRegex(
      errors.ConfigError, r'task\.model\.detection_generator\.' + message
    ):
      _load(f'task.model.detection_generator.{setting}')

  def test_suppression_across_classes(self):
    nms = 'task.model.detection_generator'
    params = _load(f'{nms}.use_class_agnostic_nms=true,{nms}.nms_version=v2')
    self.assertTrue(params.task.model.detection_generator.use_class_agnostic_nms)

  def test_attribute_heads(self):
    task = _load('').task.replace()
    task.override({'model': {'head': {'attribute_heads': [{'name': 'depth'}]}}})
    with self.assertRaisesRegex(errors.ConfigError, 'attribute heads are not supported'):
      task.check()


class SupervisedTest(tf.test.TestCase):
  def test_all_shared_fields_are_the_same_and_a_copy(self):
    parent = _load(
      'task.losses.l2_weight_decay=0.5,task.model.head.num_filters=7,task.train_data.skip_errors=true'
    ).task
    task = parent.supervised()
    self.assertIs(type(task), detection.DetectionTask)
    ours, theirs = task.as_dict(), parent.as_dict()
    self.assertEqual({name: theirs[name] for name in ours}, ours)
    self.assertEqual(set(theirs) - set(ours), {'pseudo_data', 'self_training'})
    task.model.head.num_filters = 9
    self.assertEqual(parent.model.head.num_filters, 7)
    self.assertIsInstance(task.train_data, detection.DataConfig)

  def test_every_field_of_the_parent_is_shared(self):
    names = {field.name for field in dataclasses.fields(detection.DetectionTask)}
    self.assertTrue(
      {'model', 'losses', 'train_data', 'validation_data', 'annotation_file'} <= names
    )
    self.assertEqual(set(detection.DetectionTask().as_dict()), names)


if __name__ == '__main__':
  tf.test.main()
