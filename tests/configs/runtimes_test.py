"""Settings of devices and trainers that the Model Garden would answer with a traceback, or late, or never."""

from absl.testing import absltest, parameterized

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.core import config, errors


def _load(override, experiment='retinanet_selftrain'):
  return config.load_experiment(experiment, [], override)


class RuntimeTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      'distribution_strategy=mirorred',
      r"distribution_strategy is 'mirorred': it must be one of off,",
    ),
    ('distribution_strategy=parameter_server', "is 'parameter_server'"),
    ("distribution_strategy='off',runtime.num_gpus=2", "num_gpus is 2 and .*strategy 'off'"),
    ('distribution_strategy=one_device,runtime.num_gpus=2', 'num_gpus is 2'),
    ('num_gpus=-1', 'num_gpus is -1: it must be at least 0'),
    ('mixed_precision_dtype=mixed_bfloat16', "dtype is 'mixed_bfloat16': it must be bfloat16, "),
    ('mixed_precision_dtype=bf16', "dtype is 'bf16'"),
  )
  def test_refused(self, override, pattern):
    for experiment in ('retinanet_selftrain', 'segmentation_supervised'):
      with self.assertRaisesRegex(errors.ConfigError, rf'^runtime\..*{pattern}'):
        _load(f'runtime.{override}', experiment)

  @parameterized.parameters(
    'distribution_strategy=mirrored,runtime.num_gpus=8',
    "distribution_strategy='off',runtime.num_gpus=1",
    'distribution_strategy=multi_worker_mirrored',
    'mixed_precision_dtype=null',
    'mixed_precision_dtype=float32',
  )
  def test_taken(self, override):
    name, _, value = override.split(',')[0].partition('=')
    runtime = _load(f'runtime.{override}').runtime
    self.assertEqual(str(getattr(runtime, name)), value.strip("'").replace('null', 'None'))


class TrainerTest(parameterized.TestCase):
  @parameterized.parameters(
    ('validation_steps=0', r'validation_steps is 0: it must be -1, for all'),
    ('validation_steps=-2', 'validation_steps is -2'),
    (
      'best_checkpoint_export_subdir=best,PREFIX.best_checkpoint_eval_metric=AP,'
      'PREFIX.best_checkpoint_metric_comp=max',
      "best_checkpoint_metric_comp is 'max': it must be higher or lower",
    ),
  )
  def test_refused(self, override, pattern):
    for prefix in ('trainer', 'teacher.trainer', 'pretraining.simclr.trainer'):
      given = f'init=simclr,{prefix}.{override}'.replace('PREFIX', prefix)
      with self.assertRaisesRegex(errors.ConfigError, rf'^{prefix}\..*{pattern}'):
        _load(given)

  def test_teacher_and_student_are_evaluated_on_the_same_images(self):
    with self.assertLogs('absl', 'WARNING') as logs:
      _load('teacher.trainer.validation_steps=3,trainer.validation_steps=5')
    self.assertRegex(
      '\n'.join(logs.output),
      r'validation_steps=3 has no effect: .* as trainer\.validation_steps=5 says',
    )
    for given in (
      'trainer.validation_steps=5',
      'teacher.trainer.validation_steps=5,trainer.validation_steps=5',
    ):
      self.assertEqual(_load(given).trainer.validation_steps, 5)

  @parameterized.parameters('export_subdir=best', 'eval_metric=AP')
  def test_half_of_the_best_checkpoint(self, override):
    with self.assertLogs('absl', 'WARNING') as logs:
      _load(f'teacher.trainer.best_checkpoint_{override}')
    self.assertRegex('\n'.join(logs.output), r'teacher\.trainer\.best_.*no best checkpoint is kept')


class AnchorTest(parameterized.TestCase):
  @parameterized.parameters('num_scales=0', 'aspect_ratios=[]', 'anchor_size=0.0')
  def test_without_anchors_nothing_is_found(self, override):
    with self.assertRaisesRegex(errors.ConfigError, r'^task\.model\.anchor has num_scales'):
      _load(f'task.model.anchor.{override}')


if __name__ == '__main__':
  absltest.main()
