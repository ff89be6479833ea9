"""Builds the backbones of the family `original`."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from official.vision.modeling.backbones import spinenet as stock_spinenet

from official_selftrain.core import errors
from official_selftrain.modeling.original import efficientnet, resnet, spinenet

TYPES = ('efficientnet', 'resnet', 'spinenet')
# Those of bottlenecks.
_RESNETS = (50, 101, 152, 200)


def build(specs: Any, model: Any, regularizer: Any) -> tf.keras.Model:
  """Builds a backbone.

  Args:
    specs: `InputSpec` of normalised images.
    model: `task.model`, of detection or segmentation.
    regularizer: of kernels, or None.

  Returns:
    A model from images to features by level, '2', '3', ...

  Raises:
    ConfigError: the family has no such backbone.
  """
  kind = model.backbone.type
  if kind not in TYPES:
    raise errors.ConfigError(
      f"task.model.backbone.type is {kind!r}: task.model.family 'original' has {', '.join(TYPES)}."
    )
  build_one: Callable[..., tf.keras.Model] = _BUILDERS[kind]
  return build_one(
    model.backbone.get(),
    input_specs=specs,
    kernel_regularizer=regularizer,
    **model.norm_activation.as_dict(),
  )


def _spinenet(settings: Any, **kwargs: Any) -> tf.keras.Model:
  scaling = stock_spinenet.SCALING_MAP[str(settings.model_id)]
  return spinenet.SpineNet(
    min_level=settings.min_level,
    max_level=settings.max_level,
    init_stochastic_depth_rate=settings.stochastic_depth_drop_rate,
    **scaling,
    **kwargs,
  )


def _resnet(settings: Any, **kwargs: Any) -> tf.keras.Model:
  if settings.model_id not in _RESNETS:
    raise errors.ConfigError(
      f'task.model.backbone.resnet.model_id is {settings.model_id}: the authors have '
      f'{", ".join(map(str, _RESNETS))}.'
    )
  return resnet.ResNet(
    model_id=settings.model_id,
    init_stochastic_depth_rate=settings.stochastic_depth_drop_rate,
    **kwargs,
  )


def _efficientnet(settings: Any, **kwargs: Any) -> tf.keras.Model:
  return efficientnet.EfficientNet(
    model_id=settings.model_id,
    stochastic_depth_drop_rate=settings.stochastic_depth_drop_rate,
    **kwargs,
  )


_BUILDERS = {'efficientnet': _efficientnet, 'resnet': _resnet, 'spinenet': _spinenet}
