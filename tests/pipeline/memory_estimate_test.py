"""Memory of whole experiments, and the program that prints it."""

import contextlib
import functools
import io

import pytest
import tensorflow as tf

from official_selftrain import (
  estimate_memory,
  registry_imports,  # noqa: F401
)
from official_selftrain.core import config, errors
from official_selftrain.modeling import memory
from official_selftrain.pipeline import memory_estimate, training

# A network that is built in a second.
_MODEL = (
  'task.model.backbone={type: resnet, resnet: {model_id: 10, depth_multiplier: 0.25}},'
  'task.model.decoder={type: fpn, fpn: {num_filters: 16}},'
  'task.model.head={num_convs: 1, num_filters: 16}'
)
_BATCHES = f'{_MODEL},task.train_data.global_batch_size=24,task.pseudo_data.global_batch_size=40'


@functools.cache
def _report(override='', experiment='retinanet_selftrain'):
  params = config.load_experiment(experiment, [], override)
  policy = tf.keras.mixed_precision.global_policy()
  try:
    training.set_precision(params.runtime)
    return memory_estimate.estimate(params)
  finally:
    tf.keras.mixed_precision.set_global_policy(policy)


@pytest.mark.slow
class FootprintTest(tf.test.TestCase):
  def test_batches_and_what_does_not_depend_on_them(self):
    report = _report(f'{_BATCHES},teacher.global_batch_size=16')
    self.assertEqual((report.student.batch, report.teacher.batch), (64, 16))
    # Weights, gradients and momentum in float32.
    least = (report.values + 2 * report.trained) * 4
    self.assertEqual(report.student.fixed, least + report.activations.shared)
    self.assertLess(report.activations.shared, 0.1 * least)
    self.assertEqual(report.student.per_image, report.activations.peak)
    self.assertGreater(report.activations.peak, report.activations.kept)
    self.assertEqual(report.teacher.on(2), report.student.fixed + 8 * report.activations.peak)

  def test_a_teacher_that_follows_the_student_is_a_second_set_of_weights(self):
    report = _report(f'{_BATCHES},teacher.global_batch_size=16')
    online = _report(
      f'{_BATCHES},teacher.global_batch_size=16,task.self_training.online_teacher.enabled=true'
    )
    self.assertEqual(online.values, report.values)
    self.assertEqual(online.student.fixed, report.student.fixed + 4 * report.values)
    self.assertEqual(online.teacher.fixed, report.teacher.fixed)

  def test_averages_are_a_second_set_of_what_is_trained(self):
    report = _report(f'{_BATCHES},teacher.global_batch_size=16')
    averaged = _report(
      f'{_BATCHES},teacher.global_batch_size=16,teacher.trainer.optimizer_config.ema.average_decay=0.9'
    )
    self.assertEqual(averaged.teacher.fixed, report.teacher.fixed + 4 * report.trained)
    self.assertEqual(averaged.student.fixed, report.student.fixed)

  def test_four_times_the_pixels_and_half_the_bits(self):
    small = _report(_BATCHES).activations
    large = _report(f'{_BATCHES},task.model.input_size=[256,256,3]').activations
    self.assertAllClose(large.kept / small.kept, 4.0, rtol=0.01)
    # Losses are computed in float32 in any precision.
    half = _report(f'{_BATCHES},runtime.mixed_precision_dtype=bfloat16').activations
    self.assertBetween(half.kept / small.kept, 0.5, 0.8)
    self.assertGreater(half.shared, small.shared)

  def test_segmentation(self):
    report = _report(experiment='segmentation_selftrain')
    self.assertEqual(report.student.batch, 16)
    # A map of 48 channels at stride 4 is 192 KiB; some dozens are kept.
    self.assertBetween(report.activations.kept / 2**20, 4, 16)

  def test_supervised_experiments_are_refused(self):
    with self.assertRaisesRegex(errors.ConfigError, 'retinanet_supervised does not self-train'):
      _report(experiment='retinanet_supervised')


class ProgramTest(tf.test.TestCase):
  def _main(self, *arguments):
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
      status = estimate_memory.main(arguments)
    return status, said.getvalue(), complained.getvalue()

  def test_the_table(self):
    report = _report(_BATCHES)
    status, said, _ = self._main(
      '--experiment=retinanet_selftrain',
      f'--params_override={_BATCHES}',
      '--devices=4',
      '--memory_gib=0.125',
      '--memory_gib=80',
    )
    self.assertEqual(status, 0)
    self.assertRegex(said, rf'trained values +{report.trained:,}\n')
    size = report.student.on(4) / memory.GIB
    self.assertRegex(said, rf'student, 64 images on 4 devices +{size:.2f} GiB per device\n')
    few = report.student.fewest(0.125 * memory.GIB)
    self.assertRegex(said, rf'student, devices of 0\.125 GiB +{few} devices\n')
    self.assertRegex(said, r'student, devices of 80 GiB +1 devices\n')

  def test_messages(self):
    status, _, complaint = self._main()
    self.assertEqual(status, 2)
    self.assertIn('--experiment is not given', complaint)


if __name__ == '__main__':
  tf.test.main()
