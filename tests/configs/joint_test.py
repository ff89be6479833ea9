"""Tests for the settings of joint training."""

import unittest

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import self_training as st
from official_selftrain.core import config, errors


def _load(experiment, *overrides):
  return config.load_experiment(experiment, [], ','.join(overrides))


class JointTest(unittest.TestCase):
  def test_experiments_have_the_papers_weights_and_equal_batches(self):
    for name, weight, batch in (
      ('retinanet_joint', 0.5, 16),
      ('retinanet_selftrain_joint', 0.2, 8),
      ('segmentation_joint', 0.5, 16),
      ('segmentation_selftrain_joint', 0.2, 8),
    ):
      task = _load(name).task
      self.assertEqual((task.joint.weight, task.joint.data.global_batch_size), (weight, batch))
      self.assertEqual(task.train_data.global_batch_size, batch)

  def test_any_experiment_takes_it_and_hands_it_to_teacher_and_control(self):
    task = _load('segmentation_efficientnet_selftrain', 'task.joint.weight=0.2').task
    self.assertEqual(task.supervised().joint.weight, 0.2)
    self.assertEqual(_load('retinanet_selftrain').task.joint.weight, 0.0)

  def test_its_stream_is_read_only_with_a_weight(self):
    self.assertNotIn('task.joint.data', st.input_streams(_load('retinanet_supervised').task))
    joint = _load('retinanet_joint').task
    self.assertIn('task.joint.data', st.input_streams(joint))
    self.assertNotIn('task.joint.data', st.own_streams(joint))

  def test_bad_settings(self):
    for override, message in (
      ('weight=-0.1', r'task\.joint\.weight is -0\.1: it must be at least 0'),
      ('num_classes=1', r'task\.joint\.num_classes is 1: there must be at least 2 classes'),
      ('label_smoothing=1.0', r'task\.joint\.label_smoothing is 1\.0: it must be in \[0, 1\)'),
      ('dropout_rate=-0.5', r'task\.joint\.dropout_rate is -0\.5: it must be in \[0, 1\)'),
      ('input_size=[64]', r'task\.joint\.input_size is \[64\]: it must be height and width'),
      ('data.global_batch_size=0', r'task\.joint\.data\.global_batch_size is 0'),
      ('data.color_jitter=0.4', r'task\.joint\.data\.color_jitter is 0\.4: this is not supported'),
      ('data.is_multilabel=true', r'task\.joint\.data\.is_multilabel is True'),
      ('data.augmentation.mosaic_probability=0.5', r'task\.joint\.data\.augmentation: images with'),
    ):
      with self.subTest(override), self.assertRaisesRegex(errors.ConfigError, message):
        _load('retinanet_joint', f'task.joint.{override}')

  def test_a_spinenet_takes_one_size(self):
    with self.assertRaisesRegex(
      errors.ConfigError, r'input_size is \[64, 64\]: the layers of .*=spinenet fit one image'
    ):
      _load(
        'retinanet_joint',
        'task.model.backbone.type=spinenet',
        'task.model.backbone.spinenet.max_level=5',
        'task.joint.input_size=[64,64]',
      )

  def test_the_family_says_which_backbone_takes_one_size(self):
    size = ('task.model.family=keras_cv', 'task.joint.input_size=[64,64]')
    with self.assertRaisesRegex(
      errors.ConfigError, r'layers of task\.model\.keras_cv\.backbone=MiTBackbone fit one image'
    ):
      _load(
        'retinanet_joint',
        *size,
        'task.model.keras_cv.backbone=MiTBackbone',
        'task.model.keras_cv.preset=mit_b0',
      )
    # This family does not read `backbone`.
    task = _load('retinanet_joint', *size, 'task.model.backbone.type=spinenet').task
    self.assertEqual(list(task.joint.input_size), [64, 64])

  def test_own_files_need_images_with_classes_too(self):
    with self.assertRaisesRegex(
      errors.ConfigError, r'^task\.joint\.data\.input_path: empty although'
    ):
      _load(
        'retinanet_joint',
        'task.train_data.input_path=a',
        'task.validation_data.input_path=b',
        'task.annotation_file=c',
      )


if __name__ == '__main__':
  unittest.main()
