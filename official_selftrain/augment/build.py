"""Builds policies from settings."""

import dataclasses
from collections.abc import Sequence

from official_selftrain.augment import (
  examples,
  flip_crop,
  keras_cv_mixing,
  keras_cv_policy,
  mixing,
  ops,
  policy,
  tables,
)
from official_selftrain.configs import augmentation, keras_cv_layers
from official_selftrain.core import errors

# Longer side of nearly all COCO images, for which the constants in pixels were chosen.
_REFERENCE_SIDE = 640.0
# Where keras-cv's layers are set, for messages.
_LAYERS = 'augmentation.keras_cv.layers'


def build(
  config: augmentation.Augmentation,
  output_size: tuple[int, int],
  normalize: bool = True,
  jitter: tuple[float, float] = (1.0, 1.0),
  flip: bool = False,
) -> examples.Transform:
  """The policy that `config` describes.

  Args:
    config: its settings.
    output_size: (height, width) of the result in pixels.
    normalize: see `FlipCrop`.
    jitter: (scale_min, scale_max) of policy `none`.
    flip: whether policy `none` mirrors half of the images.

  Returns:
    A function from example to example.

  Raises:
    ConfigError: an op is unknown, or none is left; or a layer of keras-cv cannot be used or does what is excluded.
  """
  _check_known(config)
  if config.is_keras_cv:
    return _of_keras_cv(config, flip_crop.FlipCrop(output_size, normalize=normalize))
  return own(config, output_size, normalize, jitter, flip)


def own(
  config: augmentation.Augmentation,
  output_size: tuple[int, int],
  normalize: bool = True,
  jitter: tuple[float, float] = (1.0, 1.0),
  flip: bool = False,
) -> policy.Policy:
  """As `build`, for a policy that is not keras-cv's."""
  _check_known(config)
  low, high = config.jitter() if config.policy != 'none' else jitter
  last = flip_crop.FlipCrop(
    output_size=output_size,
    scale_min=low,
    scale_max=high,
    flip_probability=_flip_probability(config, flip),
    normalize=normalize,
    min_visible=config.min_visible,
    faithful=config.faithful,
    core_ops=config.core_ops,
  )
  if config.policy in ('S2', 'S3'):
    sub_policies = _auto_augment(config)
    return _policy(config, sub_policies, 1, tables.Constants(), last)
  if config.policy == 'S4':
    preset = tables.RAND_AUGMENT[config.rand_augment.preset]
    sub_policies = _rand_augment(config.rand_augment, preset, config.exclude_ops)
    num_draws = config.rand_augment.num_ops or preset.num_ops
    return _policy(config, sub_policies, num_draws, preset.constants, last)
  return policy.Policy((), 0, last)


def weak(
  config: augmentation.Augmentation, output_size: tuple[int, int], flip: bool = False
) -> flip_crop.FlipCrop:
  """A weak view for a teacher that labels during training: the whole image, mirrored as often as by `build`'s policy.

  Args:
    config: settings of the policy.
    output_size: (height, width) of the result in pixels.
    flip: see `build`.
  """
  return flip_crop.FlipCrop(output_size, flip_probability=_flip_probability(config, flip))


def mixers(config: augmentation.Augmentation) -> tuple[mixing.Mixer, ...]:
  """What mixes images after the policy: keras-cv's layers, if it has such, then ours; none by default.

  Raises:
    ConfigError: a layer of keras-cv cannot be used.
  """
  calls = config.keras_cv_calls(_LAYERS)
  return (*keras_cv_mixing.build(calls, _LAYERS), *mixing.build(config))


def _flip_probability(config: augmentation.Augmentation, flip: bool) -> float:
  if ops.FLIP in config.exclude_ops:
    return 0.0
  return config.flip_probability if config.policy != 'none' else 0.5 * flip


def _check_known(config: augmentation.Augmentation) -> None:
  unknown = sorted(set(config.exclude_ops) - {*ops.NAMES, ops.FLIP})
  if unknown:
    raise errors.ConfigError(
      f'exclude_ops: there is no op {unknown[0]!r}; there are {", ".join([ops.FLIP, *sorted(ops.NAMES)])}.'
    )


def _of_keras_cv(
  config: augmentation.Augmentation, last: flip_crop.FlipCrop
) -> keras_cv_policy.KerasCvPolicy:
  calls = config.keras_cv_calls(_LAYERS)
  keras_cv_layers.check_order(calls, _LAYERS)
  keras_cv_layers.check_excluded(calls, config.exclude_ops, _LAYERS)
  alone = tuple(call for call in calls if call.layer.num_images == 1)
  return keras_cv_policy.KerasCvPolicy(alone, last, _LAYERS)


def _policy(
  config: augmentation.Augmentation,
  sub_policies: tuple[tables.SubPolicy, ...],
  num_draws: int,
  constants: tables.Constants,
  last: flip_crop.FlipCrop,
) -> policy.Policy:
  if config.translate_const is not None:
    constants = dataclasses.replace(constants, translate=config.translate_const)
  if config.cutout_const is not None:
    constants = dataclasses.replace(constants, cutout=config.cutout_const)
  return policy.Policy(
    sub_policies,
    num_draws,
    last,
    constants.scaled(config.pixel_scale or 1.0),
    config.faithful,
    _REFERENCE_SIDE if config.pixel_scale is None and not config.faithful else None,
  )


def _auto_augment(config: augmentation.Augmentation) -> tuple[tables.SubPolicy, ...]:
  settings = config.auto_augment
  if settings.sub_policies:
    drawn = tuple(tables.parse_sub_policy(text) for text in settings.sub_policies)
  else:
    drawn = tables.AUTO_AUGMENT[settings.version]
  # An excluded op leaves a sub-policy, which keeps its share of the draws.
  nothing = tables.Entry(ops.IDENTITY, 0.0, 0.0)
  return tuple(
    tuple(nothing if entry.name in config.exclude_ops else entry for entry in sub_policy)
    for sub_policy in drawn
  )


def _rand_augment(
  settings: augmentation.RandAugment, preset: tables.RandAugmentPreset, exclude: Sequence[str]
) -> tuple[tables.SubPolicy, ...]:
  names = [name for name in preset.ops if name not in exclude]
  if not names:
    raise errors.ConfigError(f'exclude_ops leaves no op of rand_augment.preset={settings.preset}.')
  return tuple((tables.Entry(name, settings.probability, settings.magnitude),) for name in names)
