"""Settings of classification that contradict each other or have no effect."""

import tensorflow as tf
from absl.testing import parameterized

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, errors


class CheckTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    (
      'task.train_data.color_jitter=0.4',
      'task.train_data.color_jitter is 0.4: this is not supported',
    ),
    (
      'task.validation_data.image_field_key=image/jpeg',
      "task.validation_data.image_field_key is 'image/jpeg': .* it must be 'image/encoded'",
    ),
    ('task.train_data.label_field_key=label', "task.train_data.label_field_key is 'label'"),
    (
      'task.train_data.decoder.simple_decoder.regenerate_source_id=true',
      'task.train_data.decoder.simple_decoder.regenerate_source_id is True',
    ),
    ('task.train_data.decode_jpeg_only=false', 'task.train_data.decode_jpeg_only is False'),
    (
      'task.validation_data.decoder.type=label_map_decoder',
      "task.validation_data.decoder.type is 'label_map_decoder'",
    ),
    ('task.model.kernel_initializer=zeros', "task.model.kernel_initializer is 'zeros'"),
    ('task.losses.one_hot=false', 'task.losses.one_hot is False'),
    ('task.losses.label_smoothing=1.0', r'label_smoothing is 1.0: it must be in \[0, 1\)'),
    ('task.model.num_classes=1', 'num_classes is 1: there must be at least 2 classes'),
    ('task.model.input_size=[128,128]', r'task.model.input_size is \[128, 128\]'),
    ('task.validation_data.center_crop_fraction=1.5', 'center_crop_fraction is 1.5'),
    (
      'task.train_data.tfds_name=mnist,task.validation_data.tfds_name=mnist',
      'task.train_data.tfds_name: classification reads TFRecord',
    ),
    ('task.train_data.augmentation.mixup_probability=0.5', 'one class each are not mixed'),
    (
      'dataset.class_names=[a,b]',
      'has 2 names .* one name for each class from 0 to 9, in this order;',
    ),
  )
  def test_errors_name_the_setting(self, override, message):
    with self.assertRaisesRegex(errors.ConfigError, message):
      config.load_experiment('classification_pretrain', [], override)

  def test_areas_of_crops(self):
    for low, high in ((0.0, 1.0), (0.5, 0.4), (0.5, 1.1)):
      with self.assertRaisesRegex(errors.ConfigError, 'crop_area_range is'):
        config.load_experiment(
          'classification_pretrain',
          [],
          f'task.train_data.aug_crop=true,task.train_data.crop_area_range=[{low},{high}]',
        )

  def test_names_from_0_on(self):
    names = ','.join('abcdefghij')
    params = config.load_experiment('classification_pretrain', [], f'dataset.class_names=[{names}]')
    self.assertEqual(params.dataset.class_names, list('abcdefghij'))


if __name__ == '__main__':
  tf.test.main()
