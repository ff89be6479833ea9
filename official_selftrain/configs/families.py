"""Families of networks, and how they differ apart from the networks themselves.

A family is one `Family` here and one `Networks` in `modeling.families`. Everything else asks the family of a model for
a fact or a builder, so nothing compares names.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import tensorflow as tf

from official_selftrain.configs import keras_cv
from official_selftrain.core import errors
from official_selftrain.ops import images

if TYPE_CHECKING:
  from official_selftrain.configs import classification, detection, segmentation

# Values of `task.model.family`.
Detection = Literal['model_garden', 'original', 'keras_cv']
Segmentation = Literal['model_garden', 'original']

# SpineNet's scale-permuted graph always goes down to level 7, whichever levels are used.
_SPINENET_SIDE = 128
# Backbones, see `Family.backbone`, whose layers fit the image size that they were built for.
OF_ONE_SIZE = ('spinenet', 'spinenet_mobile', keras_cv.SPINENET, 'MiTBackbone')


def check_image_size(
  model: 'detection.DetectionModel | segmentation.SegmentationModel', size: Sequence[int], name: str
) -> None:
  """Raises ConfigError for images of another size than the only one that some backbones take.

  Args:
    model: `task.model`.
    size: height and width, with or without channels, of images that its backbone will see.
    name: dotted name of the setting that says so.
  """
  whole = list(model.input_size[: len(size)])
  setting, kind = of(model).backbone(model)
  if kind in OF_ONE_SIZE and list(size) != whole:
    raise errors.ConfigError(
      f'{name} is {list(size)}: the layers of task.model.{setting}={kind} fit one image size, that of '
      f'task.model.input_size, {whole}.'
    )


def _backbone(
  model: 'detection.DetectionModel | segmentation.SegmentationModel',
) -> tuple[str, str]:
  return 'backbone.type', model.backbone.type


def _check_levels(model: 'detection.DetectionModel', prefix: str) -> None:
  """Raises ConfigError for a backbone whose own levels are not those of the model."""
  backbone = model.backbone.get()
  for name in ('min_level', 'max_level'):
    level = getattr(backbone, name, getattr(model, name))
    if level != getattr(model, name):
      raise errors.ConfigError(
        f'{prefix}.backbone.{model.backbone.type}.{name} is {level}, but {prefix}.{name} is '
        f'{getattr(model, name)}: they must be equal.'
      )


def _side(model: 'detection.DetectionModel') -> tuple[int, str]:
  kind = model.backbone.type
  return _SPINENET_SIDE if kind in OF_ONE_SIZE else 2**model.max_level, kind


def _check_keras_cv(model: 'detection.DetectionModel', prefix: str) -> None:
  model.keras_cv.check(f'{prefix}.keras_cv', model)


def _keras_cv_backbone(
  model: 'detection.DetectionModel | segmentation.SegmentationModel',
) -> tuple[str, str]:
  return 'keras_cv.backbone', model.keras_cv.backbone


def _keras_cv_side(model: 'detection.DetectionModel') -> tuple[int, str]:
  return model.keras_cv.divisor(model), model.keras_cv.backbone


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """The facts that the rest of the package needs about a family.

  Attributes:
    name: the value of `task.model.family`.
    has_inclusive_boxes: decoded boxes are rows and columns of pixels, see `modeling.detection_generator`.
    skips_zero_offsets: the box loss leaves out offsets whose target is exactly 0, see `losses.detection`.
    corners_meet: when logits are enlarged or masks reduced, the corners of both grids meet, as in TF1, and not the
      centres of their pixels; see `ops.images.resize_as_tf1`.
    backbone: the setting that names a model's backbone, below `task.model`, and its value.
    check_detector: raises ConfigError for settings of a detector that do not go together; takes `task.model` and its
      dotted name.
    side: what the sides of a detector's images must be multiples of, and the backbone that asks for it.
  """

  name: str
  has_inclusive_boxes: bool = False
  skips_zero_offsets: bool = False
  corners_meet: bool = False
  backbone: Callable[
    ['detection.DetectionModel | segmentation.SegmentationModel'], tuple[str, str]
  ] = _backbone
  check_detector: Callable[['detection.DetectionModel', str], None] = _check_levels
  side: Callable[['detection.DetectionModel'], tuple[int, str]] = _side

  @property
  def resize(self) -> images.Resize:
    """How logits are enlarged, bilinearly."""
    return images.resize_as_tf1 if self.corners_meet else tf.image.resize


MODEL_GARDEN = Family(name='model_garden')
# The paper's authors', which compute what their TF1 code computes.
ORIGINAL = Family(
  name='original', has_inclusive_boxes=True, skips_zero_offsets=True, corners_meet=True
)
KERAS_CV = Family(
  name='keras_cv',
  backbone=_keras_cv_backbone,
  check_detector=_check_keras_cv,
  side=_keras_cv_side,
)

FAMILIES = {family.name: family for family in (MODEL_GARDEN, ORIGINAL, KERAS_CV)}


def of(
  model: 'detection.DetectionModel | segmentation.SegmentationModel | classification.ClassificationModel',
) -> Family:
  """The family of a `task.model`."""
  return FAMILIES[model.family]
