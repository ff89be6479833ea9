"""Builds the backbones of the family `original`."""

from collections.abc import Callable

import tensorflow as tf
from official.vision.configs import backbones as configs
from official.vision.modeling.backbones import spinenet as stock_spinenet

from official_selftrain.configs import classification, detection, segmentation
from official_selftrain.core import errors
from official_selftrain.modeling.original import efficientnet, resnet, spinenet

# Arguments that all backbones take: images, regularizer, activation and batch norm.
_Common = dict[str, object]

TYPES = ('efficientnet', 'resnet', 'spinenet')
# Those of bottlenecks.
_RESNETS = (50, 101, 152, 200)
# Settings that the Model Garden's ResNet follows.
_CHOICES_OF_OTHERS = (
  'depth_multiplier',
  'stem_type',
  'se_ratio',
  'scale_stem',
  'resnetd_shortcut',
  'replace_stem_max_pool',
  'bn_trainable',
)


def build(
  specs: tf.keras.layers.InputSpec,
  model: detection.DetectionModel
  | segmentation.SegmentationModel
  | classification.ClassificationModel,
  regularizer: tf.keras.regularizers.Regularizer | None,
) -> tf.keras.Model:
  """Builds a backbone.

  Args:
    specs: `InputSpec` of normalised images.
    model: `task.model`.
    regularizer: of kernels, or None.

  Returns:
    A model from images to features by level, '2', '3', ...

  Raises:
    ConfigError: the family has no such backbone.
  """
  kind = model.backbone.type
  if kind not in TYPES:
    raise errors.ConfigError(
      f'task.model.backbone.type is {kind!r}: task.model.family {model.family!r} has {", ".join(TYPES)}.'
    )
  common: _Common = {
    'input_specs': specs,
    'kernel_regularizer': regularizer,
    **model.norm_activation.as_dict(),
  }
  build_one: Callable[..., tf.keras.Model] = _BUILDERS[kind]
  return build_one(model.backbone.get(), common)


def _spinenet(settings: configs.SpineNet, common: _Common) -> tf.keras.Model:
  scaling = stock_spinenet.SCALING_MAP[str(settings.model_id)]
  return spinenet.SpineNet(
    min_level=settings.min_level,
    max_level=settings.max_level,
    init_stochastic_depth_rate=settings.stochastic_depth_drop_rate,
    **scaling,
    **common,
  )


def _resnet(settings: configs.ResNet, common: _Common) -> tf.keras.Model:
  if settings.model_id not in _RESNETS:
    raise errors.ConfigError(
      f'task.model.backbone.resnet.model_id is {settings.model_id}: the authors have '
      f'{", ".join(map(str, _RESNETS))}.'
    )
  stock = configs.ResNet()
  for name in _CHOICES_OF_OTHERS:
    found, value = getattr(settings, name), getattr(stock, name)
    if found != value:
      raise errors.ConfigError(
        f"task.model.backbone.resnet.{name} is {found!r}: the authors' networks have no such choice; leave it at "
        f'{value!r}, or set task.model.family to model_garden.'
      )
  return resnet.ResNet(
    model_id=settings.model_id,
    init_stochastic_depth_rate=settings.stochastic_depth_drop_rate,
    **common,
  )


def _efficientnet(settings: configs.EfficientNet, common: _Common) -> tf.keras.Model:
  return efficientnet.EfficientNet(
    model_id=settings.model_id,
    stochastic_depth_drop_rate=settings.stochastic_depth_drop_rate,
    **common,
  )


_BUILDERS = {'efficientnet': _efficientnet, 'resnet': _resnet, 'spinenet': _spinenet}
