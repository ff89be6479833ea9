"""Lists the settings that still have the embedded digits' values in an experiment on your own files."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import logging
from official.core import exp_factory

from official_selftrain.core import config as config_lib

if TYPE_CHECKING:
  from official_selftrain.configs import runs

# The experiments of the embedded digits, and those to use for photographs instead.
FOR_PHOTOGRAPHS: Mapping[str, str] = {
  'retinanet_supervised': 'retinanet_resnetfpn_supervised',
  'retinanet_selftrain': 'retinanet_resnetfpn_selftrain',
  'segmentation_supervised': 'segmentation_efficientnet_supervised',
  'segmentation_selftrain': 'segmentation_efficientnet_selftrain',
  'retinanet_joint': 'retinanet_resnetfpn_supervised',
  'retinanet_selftrain_joint': 'retinanet_resnetfpn_selftrain',
  'segmentation_joint': 'segmentation_efficientnet_supervised',
  'segmentation_selftrain_joint': 'segmentation_efficientnet_selftrain',
}

# Those that train a backbone alone, and the recipes that show what photographs take.
RECIPES: Mapping[str, str] = {
  'classification_pretrain': 'experiments/imagenet_efficientnet_b7.yaml',
  'simclr_pretrain': 'experiments/simclr_resnet50.yaml',
}

# What was chosen for small images of upright digits and minutes on two CPU cores. Not every experiment has all.
_RATE = 'optimizer_config.learning_rate.cosine.initial_learning_rate'
_CHOSEN = (
  'task.model.input_size',
  'task.model.max_level',
  'task.model.backbone.spinenet.model_id',
  'task.model.backbone.resnet.model_id',
  'task.model.anchor.aspect_ratios',
  'task.model.anchor.anchor_size',
  'task.model.decoder.nasfpn.num_filters',
  'task.model.decoder.nasfpn.num_repeats',
  'task.model.head.num_convs',
  'task.model.head.num_filters',
  'task.model.norm_activation.use_sync_bn',
  'task.model.norm_activation.norm_momentum',
  'task.losses.class_weights',
  'task.pseudo_data.cut',
  'task.pseudo_data.ignore_cut',
  'labels.scales',
  *(
    f'{trainer}.{name}'
    for trainer in ('teacher.trainer', 'trainer')
    for name in ('train_steps', _RATE, 'optimizer_config.warmup.linear.warmup_steps')
  ),
)
_CHOSEN_FOR_BACKBONES = (
  'task.model.input_size',
  'task.model.backbone.resnet.model_id',
  'task.model.norm_activation.use_sync_bn',
  'task.model.norm_activation.norm_momentum',
  'task.train_data.global_batch_size',
  'trainer.train_steps',
  f'trainer.{_RATE}',
)
_CHOSEN_FOR_IMAGES_OF_A_CLASS = ('aug_crop', 'augmentation.policy')
_CHOSEN_FOR_VIEWS = ('views.crop_min_area', 'views.flip_probability')
# Read with policy `none` only; in detection they are in `parser`.
_FLIP_AND_JITTER = ('aug_rand_hflip', 'aug_scale_min', 'aug_scale_max')
_MISSING = object()
_STREAMS = ('task.train_data', 'task.pseudo_data')


def digit_settings(params: 'runs.SupervisedExperiment') -> list[str]:
  """Settings that an experiment shares with its default although they were chosen for the embedded digits.

  Args:
    params: an experiment with any settings.

  Returns:
    `name=value` of each; empty for an experiment that is not made for the digits.
  """
  settings = config_lib.flatten(params)
  if params.experiment in RECIPES:
    is_contrastive = 'task.train_data.views.crop_min_area' in settings
    of_stream = _CHOSEN_FOR_VIEWS if is_contrastive else _CHOSEN_FOR_IMAGES_OF_A_CLASS
    chosen = [*_CHOSEN_FOR_BACKBONES, *(f'task.train_data.{name}' for name in of_stream)]
  elif params.experiment in FOR_PHOTOGRAPHS:
    photographs = _registered(FOR_PHOTOGRAPHS[params.experiment])
    # Photographs have some of these values, too. Their flip and jitter, though, come with a named policy.
    chosen = [name for name in _CHOSEN if settings.get(name) != photographs.get(name)]
    chosen += _flip_and_jitter(settings)
  else:
    return []
  digits = _registered(params.experiment)
  return [
    f'{name}={_plain(settings[name])}'
    for name in chosen
    if name in settings and settings[name] == digits.get(name, _MISSING)
  ]


def warn(params: 'runs.SupervisedExperiment') -> None:
  """Logs one warning with what `digit_settings` finds, and with the experiment to start from instead."""
  found = digit_settings(params)
  if not found:
    return
  name = params.experiment
  advice = (
    f'see {RECIPES[name]}'
    if name in RECIPES
    else f'start from --experiment={FOR_PHOTOGRAPHS[name]}, or set them'
  )
  logging.warning(
    '%s is made for the embedded digits. With your own files these settings still have its values: %s. For '
    'photographs %s.',
    name,
    ', '.join(found),
    advice,
  )


def _flip_and_jitter(settings: Mapping[str, object]) -> list[str]:
  """Names of flip and jitter, of the streams that read them."""
  return [
    f'{stream}.{inner}{name}'
    for stream in _STREAMS
    if settings.get(f'{stream}.augmentation.policy') == 'none'
    for inner in ('', 'parser.')
    for name in _FLIP_AND_JITTER
  ]


def _registered(experiment: str) -> dict[str, Any]:
  return config_lib.flatten(exp_factory.get_exp_config(experiment))


def _plain(value: bool | int | float | str | list[float] | None) -> str:
  """A value as it is written in YAML."""
  if isinstance(value, bool) or value is None:
    return {True: 'true', False: 'false', None: 'null'}[value]
  return str(value)
