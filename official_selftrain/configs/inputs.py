"""What the input streams of all tasks have in common."""

from typing import Any

from absl import logging
from official.core import config_definitions as cfg

from official_selftrain.core import errors

# What the Model Garden's reader knows and ours does not need or have.
_WITHOUT_EFFECT = (
  'weights',
  'sharding',
  'deterministic',
  'enable_tf_data_service',
  'prefetch_buffer_size',
)


def check(stream: Any, name: str) -> None:
  """Raises ConfigError, or warns, about settings of one stream.

  Args:
    stream: a `DataConfig` with `augmentation`; jitter and flip of policy `none` are in its `parser`, or its own.
    name: its dotted name.
  """
  if stream.global_batch_size < 1:
    raise errors.ConfigError(
      f'{name}.global_batch_size is {stream.global_batch_size}: it must be at least 1.'
    )
  _check_reading(stream, name)
  if stream.is_training:
    _check_training_augmentation(stream, name)
  else:
    _check_no_augmentation(stream, name)


def check_cut(stream: Any, name: str) -> None:
  """Raises ConfigError for a cut that no score can reach, or that all scores do: 0 would make labels of everything."""
  if not 0 < stream.cut <= 1:
    raise errors.ConfigError(f'{name}.cut is {stream.cut}: scores lie in (0, 1].')


def _check_reading(stream: cfg.DataConfig, name: str) -> None:
  if stream.file_type != 'tfrecord':
    raise errors.ConfigError(f"{name}.file_type is {stream.file_type!r}: only 'tfrecord' is read.")
  if stream.input_path is not None and not isinstance(stream.input_path, (str, list, tuple)):
    raise errors.ConfigError(
      f'{name}.input_path: a mapping of paths is not supported; give a pattern or a list.'
    )
  default = type(stream)()
  for field in _WITHOUT_EFFECT:
    if stream.is_training and getattr(stream, field) != getattr(default, field):
      logging.warning(
        '%s.%s has no effect: training streams are ordered by the seed alone.', name, field
      )


def _check_no_augmentation(stream: Any, name: str) -> None:
  if stream.augmentation.policy != 'none':
    raise errors.ConfigError(
      f'{name}.augmentation.policy is {stream.augmentation.policy!r}: validation images are not augmented; it must '
      "be 'none'."
    )
  if stream.augmentation.mixes():
    raise errors.ConfigError(
      f'{name}.augmentation: validation images are not mixed; copy_paste_probability, mosaic_probability and '
      'mixup_probability must be 0.'
    )


def _check_training_augmentation(stream: Any, name: str) -> None:
  stream.augmentation.check(f'{name}.augmentation')
  policy = stream.augmentation.policy
  for field in stream.augmentation.without_effect():
    logging.warning('%s.augmentation.%s has no effect with policy %s.', name, field, policy)
  holder, prefix = stream, name
  if hasattr(stream, 'parser'):
    holder, prefix = stream.parser, f'{name}.parser'
  if policy != 'none':
    if holder.aug_rand_hflip:
      logging.warning(
        '%s.aug_rand_hflip has no effect with a named policy; see augmentation.flip_probability.',
        prefix,
      )
  elif not 0 < holder.aug_scale_min <= holder.aug_scale_max:
    raise errors.ConfigError(
      f'{prefix}.aug_scale_min is {holder.aug_scale_min}: it must be positive and at most '
      f'{prefix}.aug_scale_max ({holder.aug_scale_max}).'
    )
