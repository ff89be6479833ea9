"""Settings of the online teacher: what is refused, and what is warned of."""

import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.core import errors
from tests.testing import tiny_run


class SettingsTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(
    ('decay=1.5', 'online_teacher.decay is 1.5: it must be in [0, 1].'),
    ('warmup_steps=-1', 'online_teacher.warmup_steps is -1: it must be at least 0.'),
  )
  def test_ranges(self, override, message):
    with self.assertRaises(errors.ConfigError) as raised:
      tiny_run.load(override=f'task.self_training.online_teacher.{override}')
    self.assertIn(message, str(raised.exception))

  @parameterized.parameters(
    ('mixup_probability=0.5', 'the teacher labels one image at a time'),
    ('policy=S4,task.pseudo_data.augmentation.faithful=true', 'faithful is True'),
  )
  def test_augmentation_whose_map_is_not_known(self, override, message):
    with self.assertRaises(errors.ConfigError) as raised:
      tiny_run.load(
        override='task.self_training.online_teacher.enabled=true,'
        f'task.pseudo_data.augmentation.{override}'
      )
    self.assertIn(message, str(raised.exception))

  def test_tpu(self):
    with self.assertRaises(errors.ConfigError) as raised:
      tiny_run.load(
        override='task.self_training.online_teacher.enabled=true,runtime.distribution_strategy=tpu,'
        'task.model.detection_generator.nms_version=v2'
      )
    self.assertIn('online_teacher.enabled: labels made during training', str(raised.exception))

  def test_an_average_that_looks_back_too_far(self):
    with self.assertLogs('absl', 'WARNING') as logs:
      tiny_run.load(override='task.self_training.online_teacher.enabled=true')
    self.assertIn(
      'looks back on 1000 steps, and the student trains for 6, so that its labels hardly change. Choose at most '
      '0.6666667.',
      ''.join(logs.output),
    )

  @parameterized.parameters(
    ('warmup_steps=6', 'warmup_steps is 6 and the student trains for 6 steps: labels on disk'),
    ('decay=1', 'decay is 1: the average looks back on all steps'),
    (
      'decay=0.5,task.self_training.student_init=random',
      'warmup_steps is 0 and the student starts from random weights',
    ),
  )
  def test_other_settings_that_make_little_sense(self, override, message):
    with self.assertLogs('absl', 'WARNING') as logs:
      tiny_run.load(
        override='task.self_training.online_teacher.enabled=true,'
        f'task.self_training.online_teacher.{override}'
      )
    self.assertIn(message, ''.join(logs.output))


if __name__ == '__main__':
  tf.test.main()
