"""The networks of each family; the other differences between families are in `configs.families`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeAlias, TypeVar

import tensorflow as tf
from official.vision.modeling import backbones as garden

from official_selftrain.configs import classification, detection, families, segmentation
from official_selftrain.core import errors
from official_selftrain.modeling import assembly, segmentation_layers
from official_selftrain.modeling.original import backbones as original_backbones
from official_selftrain.modeling.original import segmentation_head as original_head

# What the authors' head of segmentation has, of what the Model Garden's has a choice of.
_ORIGINAL_HEAD = {
  'feature_fusion': 'pyramid_fusion',
  'use_depthwise_convolution': False,
  'prediction_kernel_size': 1,
  'upsample_factor': 1,
  'logit_activation': None,
}

_P = ParamSpec('_P')
_Built = TypeVar('_Built', bound=tf.keras.Model)

Model: TypeAlias = (
  detection.DetectionModel | segmentation.SegmentationModel | classification.ClassificationModel
)


def names_settings(build: Callable[_P, _Built]) -> Callable[_P, _Built]:
  """Makes a ConfigError of what networks raise for settings that they do not know, such as a depth or an activation."""

  @functools.wraps(build)
  def built(*args: _P.args, **kwargs: _P.kwargs) -> _Built:
    try:
      return build(*args, **kwargs)
    except errors.SelfTrainError:
      raise
    except (KeyError, ValueError, TypeError) as error:
      raise errors.ConfigError(
        f'task.model: the network cannot be built ({type(error).__name__}: {errors.first_line(error)}). One of its '
        'settings has a value that the network does not know.'
      ) from error

  return built


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmenter:
  """The parts of a segmentation model that a family brings; pyramids are the same in all.

  Attributes:
    head: takes `task.model`, that regularizer, and the head that the Model Garden builds for these settings; gives the
      layer that is used in its place, from features of backbone and decoder to logits.
  """

  head: Callable[
    [segmentation.SegmentationModel, assembly.Regularizer | None, tf.keras.layers.Layer],
    tf.keras.layers.Layer,
  ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
  """Builders of a family.

  Attributes:
    backbone: takes the images' `InputSpec`, `task.model` and a regularizer of kernels, or None; gives a model from
      images to features by level, '2', '3', ...
    detector: takes `task.model` and the factor of half the sum of squared kernels, 0 for none.
    segmenter: None for a family that has detectors only.
  """

  backbone: Callable[
    [tf.keras.layers.InputSpec, Model, assembly.Regularizer | None], tf.keras.Model
  ]
  detector: Callable[[detection.DetectionModel, float], assembly.RetinaNetModel]
  segmenter: Segmenter | None = None


def _garden_backbone(
  specs: tf.keras.layers.InputSpec,
  model: Model,
  regularizer: assembly.Regularizer | None,
) -> tf.keras.Model:
  return garden.factory.build_backbone(specs, model.backbone, model.norm_activation, regularizer)


def _garden_head(
  model: segmentation.SegmentationModel,
  regularizer: assembly.Regularizer | None,
  stock: tf.keras.layers.Layer,
) -> segmentation_layers.SegmentationHead:
  del model, regularizer  # The Model Garden has put both into its head.
  return segmentation_layers.SegmentationHead.from_config(stock.get_config())


def _original_detector(
  model: detection.DetectionModel, l2_weight_decay: float
) -> assembly.RetinaNetModel:
  built = assembly.from_model_garden(model, l2_weight_decay, original_backbones.build)
  built.make_variables(model.input_size)
  return built


def _original_head(
  model: segmentation.SegmentationModel,
  regularizer: assembly.Regularizer | None,
  stock: tf.keras.layers.Layer,
) -> original_head.SegmentationHead:
  del stock
  head = model.head
  for name, value in _ORIGINAL_HEAD.items():
    if getattr(head, name) != value:
      raise errors.ConfigError(
        f'task.model.head.{name} is {getattr(head, name)!r}: the head of task.model.family {model.family!r} has '
        f'{value!r} alone.'
      )
  return original_head.SegmentationHead(
    model.num_classes,
    level=head.level,
    num_convs=head.num_convs,
    num_filters=head.num_filters,
    kernel_regularizer=regularizer,
    **model.norm_activation.as_dict(),
  )


def _keras_cv_backbone(
  specs: tf.keras.layers.InputSpec, model: Model, regularizer: assembly.Regularizer | None
) -> tf.keras.Model:
  """keras-cv's, which take no regularizer: its losses are added to those of the backbone."""
  # Imports keras-cv, which takes seconds.
  from official_selftrain.modeling import keras_cv_retinanet

  del specs
  backbone = keras_cv_retinanet.build_backbone(model)
  if regularizer:
    backbone.add_loss(lambda: keras_cv_retinanet.decayed([backbone], regularizer))
  return backbone


def _keras_cv_detector(
  model: detection.DetectionModel, l2_weight_decay: float
) -> assembly.RetinaNetModel:
  # Imports keras-cv, which takes seconds.
  from official_selftrain.modeling import keras_cv_retinanet

  return keras_cv_retinanet.build(model, l2_weight_decay)


NETWORKS = {
  families.MODEL_GARDEN.name: Networks(
    backbone=_garden_backbone,
    detector=assembly.from_model_garden,
    segmenter=Segmenter(head=_garden_head),
  ),
  families.ORIGINAL.name: Networks(
    backbone=original_backbones.build,
    detector=_original_detector,
    segmenter=Segmenter(head=_original_head),
  ),
  families.KERAS_CV.name: Networks(backbone=_keras_cv_backbone, detector=_keras_cv_detector),
}


def of(model: Model) -> Networks:
  """The builders of the family of a `task.model`."""
  return NETWORKS[families.of(model).name]
