"""Settings of SimCLR that contradict each other or have no effect."""

import tensorflow as tf
from absl.testing import parameterized

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, errors


class CheckTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    ('task.train_data.global_batch_size=1', 'SimCLR compares images of a batch .* at least 2'),
    ('task.train_data.augmentation.policy=S1', "policy is 'S1': it must be 'none'; views have"),
    ('task.train_data.views.crop_min_area=0', 'views.crop_min_area is 0.0 and'),
    ('task.train_data.views.blur_sigma=[2.0,1.0]', r'views.blur_sigma is \[2.0, 1.0\]'),
    ('task.train_data.views.blur_kernel=0', 'views.blur_kernel is 0.0'),
    ('task.train_data.views.colour_strength=-1', 'colour_strength is -1.0'),
    (
      'task.validation_data.views.grey_probability=2',
      'validation_data.views.grey_probability is 2.0',
    ),
    ('task.losses.temperature=0', 'task.losses.temperature is 0.0: it must be above 0'),
    ('task.model.projection.num_layers=0', 'task.model.projection.num_layers is 0'),
    ('task.model.input_size=[64]', r'task.model.input_size is \[64\]'),
  )
  def test_errors_name_the_setting(self, override, message):
    with self.assertRaisesRegex(errors.ConfigError, message):
      config.load_experiment('simclr_pretrain', [], override)


if __name__ == '__main__':
  tf.test.main()
