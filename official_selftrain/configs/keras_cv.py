"""Settings of detectors built from keras-cv's networks, and the architectures that can be named in them.

keras-cv 0.9.0 keeps the architectures behind its preset names on Kaggle and downloads them, even for random weights.
The table here gives them without a network, under keras-cv's names. Nothing here imports keras-cv, which takes seconds.
"""

import copy
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from official.modeling import hyperparams
from official.vision.configs import retinanet

from official_selftrain.core import errors

SPINENET = 'SpineNetBackbone'
_SPINENET_SIDE = 128  # Its graph always goes down to level 7, whichever levels are used.

# keras-cv's feature pyramid makes levels 3 to 7 of the backbone's levels 3 to 5.
PYRAMID_INPUTS = (3, 4, 5)
_PYRAMID_LEVELS = (3, 7)
_SPINENET_LEVELS = (2, 7)

# Arguments of backbones that follow from other settings, and from which.
_OWN_ARGUMENTS = {
  'include_rescaling': 'images come normalised by mean and deviation, so it is false',
  'input_shape': 'it is {model}.input_size',
  'input_tensor': 'the model makes its own',
  'min_level': 'it is {model}.min_level, or 3 below a feature pyramid',
  'max_level': 'it is {model}.max_level, or 5 below a feature pyramid',
  'model_id': 'choose it with {own}.preset',
}

_Architectures = dict[str, dict[str, Any]]


def _resnets(suffix: str) -> _Architectures:
  sizes = {
    '18': ('basic_block', [2, 2, 2, 2]),
    '34': ('basic_block', [3, 4, 6, 3]),
    '50': ('block', [3, 4, 6, 3]),
    '101': ('block', [3, 4, 23, 3]),
    '152': ('block', [3, 8, 36, 3]),
  }
  return {
    f'resnet{size}{suffix}': {
      'stackwise_filters': [64, 128, 256, 512],
      'stackwise_blocks': blocks,
      'stackwise_strides': [1, 2, 2, 2],
      'block_type': block_type,
    }
    for size, (block_type, blocks) in sizes.items()
  }


def _efficientnets(prefix: str, count: int, **arguments: Any) -> _Architectures:
  """EfficientNet B0 and on; all are B0 times these factors of width and depth."""
  widths = (1.0, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0)
  depths = (1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1)
  factors = list(zip(widths, depths, strict=True))[:count]
  return {
    f'{prefix}_b{index}': {
      'width_coefficient': width,
      'depth_coefficient': depth,
      'stackwise_kernel_sizes': [3, 3, 5, 3, 5, 5, 3],
      'stackwise_num_repeats': [1, 2, 2, 3, 3, 4, 1],
      'stackwise_input_filters': [32, 16, 24, 40, 80, 112, 192],
      'stackwise_output_filters': [16, 24, 40, 80, 112, 192, 320],
      'stackwise_expansion_ratios': [1, 6, 6, 6, 6, 6, 6],
      'stackwise_strides': [1, 2, 2, 2, 1, 2, 1],
      **arguments,
    }
    for index, (width, depth) in enumerate(factors)
  }


def _efficientnet_v2(
  repeats: list[int], filters: list[int], width: float = 1.0, depth: float = 1.0
) -> dict[str, Any]:
  """One EfficientNetV2; `filters` are the stem's and those of each stage."""
  stages = len(repeats)
  return {
    'width_coefficient': width,
    'depth_coefficient': depth,
    'stackwise_kernel_sizes': [3] * stages,
    'stackwise_num_repeats': repeats,
    'stackwise_input_filters': filters[:-1],
    'stackwise_output_filters': filters[1:],
    'stackwise_expansion_ratios': [1, 4, 4, 4, 6, 6, 6][:stages],
    'stackwise_squeeze_and_excite_ratios': [0.0, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25][:stages],
    'stackwise_strides': [1, 2, 2, 2, 1, 2, 1][:stages],
    'stackwise_conv_types': ['fused'] * 3 + ['unfused'] * (stages - 3),
  }


def _efficientnets_v2() -> _Architectures:
  base = ([1, 2, 2, 3, 5, 8], [32, 16, 32, 48, 96, 112, 192])
  return {
    'efficientnetv2_b0': _efficientnet_v2(*base),
    'efficientnetv2_b1': _efficientnet_v2(*base, 1.0, 1.1),
    'efficientnetv2_b2': _efficientnet_v2(*base, 1.1, 1.2),
    'efficientnetv2_b3': _efficientnet_v2(*base, 1.2, 1.4),
    'efficientnetv2_s': _efficientnet_v2([2, 4, 4, 6, 9, 15], [24, 24, 48, 64, 128, 160, 256]),
    'efficientnetv2_m': _efficientnet_v2(
      [3, 5, 5, 7, 14, 18, 5], [24, 24, 48, 80, 160, 176, 304, 512]
    ),
    'efficientnetv2_l': _efficientnet_v2(
      [4, 7, 7, 10, 19, 25, 7], [32, 32, 64, 96, 192, 224, 384, 640]
    ),
  }


def _mobilenets_v3() -> _Architectures:
  return {
    'mobilenet_v3_small': {
      'stackwise_expansion': [1, 72 / 16, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6],
      'stackwise_filters': [16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96],
      'stackwise_kernel_size': [3, 3, 3] + [5] * 8,
      'stackwise_stride': [2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1],
      'stackwise_se_ratio': [0.25, None, None] + [0.25] * 8,
      'stackwise_activation': ['relu'] * 3 + ['hard_swish'] * 8,
    },
    'mobilenet_v3_large': {
      'stackwise_expansion': [1, 4, 3, 3, 3, 3, 6, 2.5, 2.3, 2.3, 6, 6, 6, 6, 6],
      'stackwise_filters': [16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160],
      'stackwise_kernel_size': [3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5],
      'stackwise_stride': [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1],
      'stackwise_se_ratio': [None] * 3 + [0.25] * 3 + [None] * 4 + [0.25] * 5,
      'stackwise_activation': ['relu'] * 6 + ['hard_swish'] * 9,
    },
  }


def _stacks(prefix: str, sizes: Mapping[str, tuple[list[int], list[int]]]) -> _Architectures:
  """CSPDarkNet and YOLOV8: channels and depth of each stage."""
  return {
    f'{prefix}_{size}': {'stackwise_channels': channels, 'stackwise_depth': depth}
    for size, (channels, depth) in sizes.items()
  }


def _mix_transformers() -> _Architectures:
  depths = ([2, 2, 2, 2], [2, 2, 2, 2], [3, 4, 6, 3], [3, 4, 18, 3], [3, 8, 27, 3], [3, 6, 40, 3])
  return {
    f'mit_b{size}': {
      'depths': depth,
      'embedding_dims': [64, 128, 320, 512] if size else [32, 64, 160, 256],
    }
    for size, depth in enumerate(depths)
  }


# Constructor arguments by class and preset, without those that follow from other settings (`_OWN_ARGUMENTS`).
PRESETS: dict[str, _Architectures] = {
  'CSPDarkNetBackbone': _stacks(
    'csp_darknet',
    {
      'tiny': ([48, 96, 192, 384], [1, 3, 3, 1]),
      's': ([64, 128, 256, 512], [1, 3, 3, 1]),
      'm': ([96, 192, 384, 768], [2, 6, 6, 2]),
      'l': ([128, 256, 512, 1024], [3, 9, 9, 3]),
      'xl': ([170, 340, 680, 1360], [4, 12, 12, 4]),
    },
  ),
  'DenseNetBackbone': {
    'densenet121': {'stackwise_num_repeats': [6, 12, 24, 16]},
    'densenet169': {'stackwise_num_repeats': [6, 12, 32, 32]},
    'densenet201': {'stackwise_num_repeats': [6, 12, 48, 32]},
  },
  'EfficientNetLiteBackbone': _efficientnets('efficientnetlite', 5),
  'EfficientNetV1Backbone': _efficientnets(
    'efficientnetv1', 8, stackwise_squeeze_and_excite_ratios=[0.25] * 7
  ),
  'EfficientNetV2Backbone': _efficientnets_v2(),
  'MiTBackbone': _mix_transformers(),
  'MobileNetV3Backbone': _mobilenets_v3(),
  'ResNetBackbone': _resnets(''),
  'ResNetV2Backbone': _resnets('_v2'),
  SPINENET: {
    f'spinenet_{size.lower()}': {'model_id': size}
    for size in ('nano', '49S', '49', '96', '143', '143L', '190')
  },
  'YOLOV8Backbone': _stacks(
    'yolo_v8',
    {
      'xs_backbone': ([32, 64, 128, 256], [1, 2, 2, 1]),
      's_backbone': ([64, 128, 256, 512], [1, 2, 2, 1]),
      'm_backbone': ([96, 192, 384, 576], [2, 4, 4, 2]),
      'l_backbone': ([128, 256, 512, 512], [3, 6, 6, 3]),
      'xl_backbone': ([160, 320, 640, 640], [3, 6, 6, 3]),
    },
  ),
}


@dataclasses.dataclass
class Arguments(hyperparams.Config):
  """Settings with any names, also where a config is copied by strictly overriding it with another's values."""

  def _override(self, override_dict: Mapping[str, Any], is_strict: bool = True) -> None:
    super()._override(override_dict, is_strict=False)


@dataclasses.dataclass
class KerasCV(hyperparams.Config):
  """The backbone of a detector of the family `keras_cv`.

  Width and depth of the rest are the detector's ordinary settings: `decoder.fpn.num_filters`, `head.num_convs`,
  `head.num_filters`; keras-cv's own values are 256, 3 and 256.

  Attributes:
    backbone: a class of keras-cv's backbones, or `SpineNetBackbone`, which is ours.
    preset: an architecture of that class under keras-cv's name for it, without weights; empty if `arguments` say
      everything.
    arguments: arguments of the class's constructor, on top of the preset's.
  """

  backbone: str = 'ResNetV2Backbone'
  preset: str = 'resnet18_v2'
  arguments: Arguments = dataclasses.field(default_factory=Arguments)

  def constructor_arguments(self) -> dict[str, Any]:
    """Arguments of the preset and of `arguments`, plain values that the caller may change."""
    preset = PRESETS[self.backbone][self.preset] if self.preset else {}
    return {**copy.deepcopy(preset), **self.arguments.as_dict()}

  def divisor(self, model: retinanet.RetinaNet) -> int:
    """The sides of `model.input_size` must be multiples of this; `model` is a `configs.detection.DetectionModel`."""
    return max(_SPINENET_SIDE if self.backbone == SPINENET else 2**5, 2**model.max_level)

  def check(self, prefix: str, model: retinanet.RetinaNet) -> None:
    """Raises ConfigError for an unknown backbone or preset, and for levels or decoders that it does not go with.

    Args:
      prefix: dotted name of this config, `task.model.keras_cv`.
      model: the `configs.detection.DetectionModel` that holds it.
    """
    if self.backbone not in PRESETS:
      raise errors.ConfigError(
        f'{prefix}.backbone is {self.backbone!r}{_hint(self.backbone, list(PRESETS))}: allowed are '
        f"{', '.join(PRESETS)}. keras-cv's other backbones give no feature pyramid (VGG16, ViTDet, VideoSwin), or are "
        'names of presets, which would be downloaded: write class and preset instead of ResNet18V2Backbone.'
      )
    self._check_architecture(prefix, prefix.rpartition('.')[0])
    self._check_levels(prefix.rpartition('.')[0], model)

  def _check_architecture(self, prefix: str, parent: str) -> None:
    presets = PRESETS[self.backbone]
    arguments = self.arguments.as_dict()
    if self.preset and self.preset not in presets:
      raise errors.ConfigError(
        f'{prefix}.preset is {self.preset!r}{_hint(self.preset, list(presets))}: presets of {self.backbone} are '
        f"{', '.join(presets)}; or '' with all of {prefix}.arguments. Presets with weights would be downloaded; "
        'weights come from task.init_checkpoint.'
      )
    if not self.preset and (not arguments or self.backbone == SPINENET):
      raise errors.ConfigError(
        f"{prefix}.preset is '': name one of {', '.join(presets)}"
        + (
          '.' if self.backbone == SPINENET else f', or give {prefix}.arguments of {self.backbone}.'
        )
      )
    for name in sorted(arguments.keys() & _OWN_ARGUMENTS.keys()):
      reason = _OWN_ARGUMENTS[name].format(model=parent, own=prefix)
      raise errors.ConfigError(
        f'{prefix}.arguments.{name} is {arguments[name]!r}: it cannot be set; {reason}.'
      )

  def _check_levels(self, parent: str, model: retinanet.RetinaNet) -> None:
    decoder = model.decoder.type
    kinds = ('fpn', 'identity') if self.backbone == SPINENET else ('fpn',)
    if decoder not in kinds:
      raise errors.ConfigError(
        f'{parent}.decoder.type is {decoder!r}: with {parent}.keras_cv.backbone {self.backbone} it must be '
        f"{' or '.join(kinds)} (fpn is keras-cv's feature pyramid; identity takes a backbone with the same number of "
        f'filters at all levels, {SPINENET}).'
      )
    low, high = _PYRAMID_LEVELS if decoder == 'fpn' else _SPINENET_LEVELS
    top = max(PYRAMID_INPUTS) if decoder == 'fpn' else high
    if not (low <= model.min_level <= min(model.max_level, top) and model.max_level <= high):
      raise errors.ConfigError(
        f'{parent}.min_level is {model.min_level} and {parent}.max_level is {model.max_level}: with '
        f'{parent}.decoder.type {decoder} levels must be between {low} and {high}, and min_level at most max_level and '
        f'at most {top}.'
      )


def _hint(value: str, allowed: Sequence[str]) -> str:
  close = difflib.get_close_matches(value, allowed, n=1)
  return f', did you mean {close[0]!r}?' if close else ''
