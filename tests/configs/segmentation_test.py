"""Settings of segmentation: what is refused, with which words."""

import dataclasses
import json
import unittest

import yaml
from absl.testing import parameterized
from official.vision.configs import semantic_segmentation

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import segmentation
from official_selftrain.core import config, errors

EXPERIMENT = 'segmentation_selftrain'


def _load(override=''):
  return config.load_experiment(EXPERIMENT, [], override)


class RefusedTest(parameterized.TestCase):
  @parameterized.parameters(
    ('task.pseudo_data.cut=0', r'task\.pseudo_data\.cut is 0.*\(0, 1\]'),
    ('task.pseudo_data.cut=1.5', r'cut is 1\.5'),
    ('task.train_data.global_batch_size=0', r'train_data\.global_batch_size is 0'),
    ('task.model.num_classes=1', r'num_classes is 1: it must be from 2.* to 255'),
    ('task.model.num_classes=256', r'num_classes is 256'),
    ('"task.losses.class_weights=[1.0, 2.0]"', r'has 2 numbers and task\.model\.num_classes is 11'),
    ('"task.model.input_size=[100, 64, 3]"', r'multiples of 32'),
    ('"task.model.input_size=[64, 64]"', r'3 channels'),
    (
      '"task.validation_data.output_size=[48, 64]"',
      r'validation_data\.output_size .*multiples of 32',
    ),
    ('"labels.output_size=[64]"', r'labels\.output_size is \[64\]'),
    ('"task.train_data.output_size=[32, 32]"', r'in one batch, so they must be equal'),
    ('"labels.scales=[]"', r'labels\.scales is \[\]'),
    ('"labels.scales=[0.5, -1.0]"', r'list of positive numbers'),
    ('labels.min_image_share=2.0', r'min_image_share is 2\.0'),
    ('labels.batch_size=0', r'labels\.batch_size is 0'),
    ('task.model.backbone.type=spinenet', r'fit one image size.*efficientnet'),
    ('task.model.max_level=6', r'NAS-FPN has the levels 3 to 7'),
    ('task.model.head.feature_fusion=panoptic_fpn_fusion', r'cannot build'),
    ('"task.train_data.crop_size=[32, 32]"', r'task\.train_data\.crop_size .*not supported'),
    ('task.train_data.aug_policy=randaug', r'aug_policy is .randaug.: this is not supported'),
    ('task.pseudo_data.aug_policy=randaug', r'task\.pseudo_data\.aug_policy is .randaug.'),
    ('task.pseudo_data.image_feature.num_channels=1', r'image_feature\.num_channels is 1'),
    (
      '"task.validation_data.image_feature.mean=[0.0, 0.0, 0.0]"',
      r'image_feature\.mean is \[0\.0, 0\.0, 0\.0\]',
    ),
    ('task.train_data.decoder.type=label_map_decoder', r'decoder\.type is .label_map_decoder.'),
    ('task.evaluation.report_per_class_iou=false', r'report_per_class_iou is False'),
    ('"task.eval_input_partition_dims=[1, 2]"', r'eval_input_partition_dims is \[1, 2\]'),
    ('task.losses.use_binary_cross_entropy=true', r'use_binary_cross_entropy is True'),
    ('task.losses.ignore_label=0', r'losses\.ignore_label is 0: .*must be 255'),
    ('task.allow_image_summary=true', r'allow_image_summary is True'),
    ('task.train_data.aug_scale_min=2.0', r'train_data\.aug_scale_min is 2\.0'),
    ('task.train_data.augmentation.copy_paste_probability=0.5', r'class masks; it must be 0'),
    ('task.validation_data.augmentation.policy=S1', r'validation images are not augmented'),
    ('task.validation_data.tfds_name=voc', r'tfds_name: segmentation reads TFRecord files'),
    ('task.train_data.file_type=recordio', r"only 'tfrecord' is read"),
  )
  def test_refused(self, override, pattern):
    paths = ''
    if 'tfds' in override:
      paths = 'task.train_data.input_path=a,task.pseudo_data.input_path=b,'
    with self.assertRaisesRegex(errors.ConfigError, pattern):
      _load(paths + override.strip('"'))

  def test_settings_that_were_written_are_read_again(self):
    task = _load().task
    again = segmentation.SegmentationSelfTrainingTask()
    again.override(yaml.safe_load(yaml.safe_dump(json.loads(json.dumps(task.as_dict())))))
    again.check()
    self.assertEqual(again.train_data.image_feature.num_channels, 3)

  def test_masks_can_be_mixed(self):
    experiment = _load('task.train_data.augmentation.mosaic_probability=0.5')
    self.assertEqual(experiment.task.train_data.augmentation.mosaic_probability, 0.5)


class SupervisedTest(unittest.TestCase):
  def test_every_field_of_the_parent_is_shared(self):
    ours = {field.name for field in dataclasses.fields(segmentation.SegmentationTask)}
    theirs = {
      field.name for field in dataclasses.fields(semantic_segmentation.SemanticSegmentationTask)
    }
    own = {'joint', 'init_statistics', 'freeze_backbone', 'backbone_learning_rate'}
    own |= {'gradient_accumulation_steps', 'recompute_blocks'}
    self.assertEqual(ours - theirs, own)
    self.assertLessEqual(theirs, ours)

  def test_a_copy_with_the_same_settings(self):
    task = _load('task.train_data.aug_scale_max=1.75').task
    supervised = task.supervised()
    self.assertIs(type(supervised), segmentation.SegmentationTask)
    self.assertEqual(supervised.train_data.aug_scale_max, 1.75)
    self.assertEqual(supervised.model.as_dict(), task.model.as_dict())
    supervised.train_data.aug_scale_max = 1.0
    self.assertEqual(task.train_data.aug_scale_max, 1.75)


class PaperTest(unittest.TestCase):
  def test_scales_and_cut(self):
    labels = segmentation.MaskLabelling()
    self.assertEqual(labels.scales, [0.5, 0.75, 1.0, 1.25, 1.5, 1.75])
    self.assertFalse(labels.flip)
    self.assertEqual(segmentation.PseudoDataConfig().cut, 0.5)

  def test_labels_depend_on_what_the_teacher_saw(self):
    labels = segmentation.MaskLabelling()
    kept = {'batch_size', 'min_image_share'}
    fields = {field.name for field in dataclasses.fields(labels)}
    self.assertEqual(set(labels.deciding()), fields - kept)
    self.assertEqual(labels.gate(), {'min_share': 0.01})


if __name__ == '__main__':
  unittest.main()
