"""Checks of settings of devices and of the trainer, which the Model Garden would answer with a traceback, or late."""

from absl import logging
from official.core import config_definitions as cfg

from official_selftrain.configs import bounds
from official_selftrain.core import errors

_STRATEGIES = ('off', 'one_device', 'mirrored', 'multi_worker_mirrored', 'tpu')
_SINGLE = ('off', 'one_device')
_PRECISIONS = (None, '', 'float32', 'float16', 'bfloat16')
_BETTER = ('higher', 'lower')
# For `validation_steps`.
_ALL = -1


def check(runtime: cfg.RuntimeConfig) -> None:
  """Raises ConfigError for a strategy or a precision that there is not, or for devices that a strategy cannot use."""
  strategy, precision = runtime.distribution_strategy, runtime.mixed_precision_dtype
  if strategy not in _STRATEGIES:
    off = ' In YAML off without quotes is false.' if strategy is False else ''
    raise errors.ConfigError(
      f'runtime.distribution_strategy is {strategy!r}: it must be one of {", ".join(_STRATEGIES)}.{off}'
    )
  if precision not in _PRECISIONS:
    raise errors.ConfigError(
      f'runtime.mixed_precision_dtype is {precision!r}: it must be bfloat16, float16, float32 or null.'
    )
  bounds.check_at_least(0, runtime, 'runtime', 'num_gpus')
  if strategy in _SINGLE and runtime.num_gpus > 1:
    raise errors.ConfigError(
      f'runtime.num_gpus is {runtime.num_gpus} and runtime.distribution_strategy {strategy!r}: several GPUs need '
      "'mirrored'."
    )


def check_trainer(trainer: cfg.TrainerConfig, prefix: str) -> None:
  """Raises ConfigError for what a trainer would reject later, or never.

  Args:
    trainer: the settings.
    prefix: their dotted name.
  """
  bounds.check_at_least(1, trainer, prefix, 'train_steps', 'steps_per_loop')
  for name in ('summary_interval', 'checkpoint_interval', 'validation_interval'):
    bounds.check_at_least(1, trainer, prefix, name)
    value = getattr(trainer, name)
    if value % trainer.steps_per_loop:
      raise errors.ConfigError(
        f'{prefix}.{name} is {value}: it must be a multiple of {prefix}.steps_per_loop ({trainer.steps_per_loop}).'
      )
  if trainer.validation_steps != _ALL and trainer.validation_steps < 1:
    raise errors.ConfigError(
      f'{prefix}.validation_steps is {trainer.validation_steps}: it must be -1, for all validation images, or at least '
      '1.'
    )
  _check_best_checkpoint(trainer, prefix)


def _check_best_checkpoint(trainer: cfg.TrainerConfig, prefix: str) -> None:
  folder, metric = trainer.best_checkpoint_export_subdir, trainer.best_checkpoint_eval_metric
  if bool(folder) != bool(metric):
    logging.warning(
      '%s.best_checkpoint_export_subdir is %r and %s.best_checkpoint_eval_metric %r: no best checkpoint is kept, which '
      'takes both.',
      prefix,
      folder,
      prefix,
      metric,
    )
  if trainer.best_checkpoint_metric_comp not in _BETTER:
    raise errors.ConfigError(
      f'{prefix}.best_checkpoint_metric_comp is {trainer.best_checkpoint_metric_comp!r}: it must be higher or lower.'
    )


def check_teachers(teacher: cfg.TrainerConfig, student: cfg.TrainerConfig) -> None:
  """Warns of what a teacher does not have of its own: it is evaluated on the images that the student is."""
  if teacher.validation_steps not in (_ALL, student.validation_steps):
    logging.warning(
      'teacher.trainer.validation_steps=%d has no effect: teacher and student are compared on the same images, as '
      'trainer.validation_steps=%d says.',
      teacher.validation_steps,
      student.validation_steps,
    )
