"""Settings of augmentation: the paper's four policies and everything in them that can be changed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from official.modeling import hyperparams

from official_selftrain.configs import keras_cv_layers
from official_selftrain.core import errors

KerasCvName = Literal['keras_cv', 'keras_cv_S1', 'keras_cv_S2', 'keras_cv_S3', 'keras_cv_S4']
PolicyName = Literal['none', 'S1', 'S2', 'S3', 'S4', KerasCvName]

# Policies made of keras-cv's layers.
OF_KERAS_CV: tuple[KerasCvName, ...] = get_args(KerasCvName)
_NEAREST_TO = 'keras_cv_'

# Jitter of the named policies (paper section 3.1, Table 1).
JITTER = {'S1': (0.8, 1.2), 'S2': (0.8, 1.2), 'S3': (0.5, 2.0), 'S4': (0.5, 2.0)}

# Fields that only some policies read.
_WITH_OPS: tuple[PolicyName, ...] = ('S2', 'S3', 'S4')
_NAMED: tuple[PolicyName, ...] = ('S1', *_WITH_OPS, *OF_KERAS_CV[1:])
_READ_BY: Mapping[str, tuple[PolicyName, ...]] = {
  **dict.fromkeys(('scale_min', 'scale_max', 'flip_probability'), _NAMED),
  **dict.fromkeys(('pixel_scale', 'translate_const', 'cutout_const', 'core_ops'), _WITH_OPS),
  'auto_augment': ('S2', 'S3'),
  'rand_augment': ('S4',),
  'keras_cv': ('keras_cv',),
}


@dataclasses.dataclass
class AutoAugment(hyperparams.Config):
  """AutoAugment, part of Augment-S2 and S3.

  Attributes:
    version: policy of the authors' detection code; v0 is the one of the detection AutoAugment paper. `imagenet` is the
      one that EfficientNets were trained with for classification.
    sub_policies: your own sub-policies instead of `version`, each a text such as
      `Equalize(0.8, 10) Rotate_BBox(0.6, 4)`: op, probability, level, in the order of application. On a command line
      each text needs its own quotes, because of its commas.
  """

  version: Literal['v0', 'v1', 'v2', 'v3', 'imagenet'] = 'v0'
  sub_policies: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class RandAugment(hyperparams.Config):
  """RandAugment, part of Augment-S4.

  Attributes:
    preset: op list, number of ops and constants: `automl10` (EfficientDet's), `ra14` (the RandAugment paper's) or
      `tfm16` (the Model Garden's). Which one the paper used is not known.
    num_ops: ops per image, N; null takes the preset's.
    magnitude: level of all ops, M, 0 to 10 and beyond.
    probability: chance that a drawn op is applied.
  """

  preset: Literal['automl10', 'ra14', 'tfm16'] = 'automl10'
  num_ops: int | None = None
  magnitude: float = 10.0
  probability: float = 1.0


@dataclasses.dataclass
class KerasCv(hyperparams.Config):
  """Layers of keras-cv, what policy `keras_cv` applies.

  Attributes:
    layers: in the order of application, each a text as in Python, such as `RandomFlip(mode='horizontal', rate=0.5)`.
      The policy gives `value_range`, `bounding_box_format` and `seed`, and the output's size where a size is missing.
      Layers that mix images (MixUp, Mosaic, CutMix) come last. On a command line each text needs its own quotes.
  """

  layers: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Augmentation(hyperparams.Config):
  """Augmentation of one stream.

  Attributes:
    policy: `S1` (flip and jittered crop), `S2` (AutoAugment and S1), `S3` (AutoAugment and large jitter), `S4`
      (RandAugment and large jitter); `keras_cv` applies layers of keras-cv, and `keras_cv_S1` to `keras_cv_S4` those
      that come nearest to S1 to S4; `none` leaves flip and jitter to `parser.aug_rand_hflip` and
      `parser.aug_scale_min`, `parser.aug_scale_max`, which have no effect otherwise.
    scale_min: smallest factor of the jittered resize; null takes the policy's.
    scale_max: largest factor; null takes the policy's.
    flip_probability: chance that an image is mirrored left to right.
    auto_augment: what S2 and S3 draw.
    rand_augment: what S4 draws.
    keras_cv: what `keras_cv` applies.
    exclude_ops: ops that no policy may use, because they would change what the labels mean; `Flip` is the mirroring.
    pixel_scale: factor of all constants in pixels (shifts of 250, squares of 200 at level 10); null scales them with
      the longer side of the image, over 640, which leaves them as they are for COCO; with `faithful`, null is 1.
    translate_const: shift at level 10 in pixels, before `pixel_scale`; null takes the preset's.
    cutout_const: half the side of `Cutout` at level 10 in pixels, before `pixel_scale`; null takes the preset's.
    min_visible: boxes of which at most this share of the area is left are dropped; 0 drops those wholly outside.
    faithful: apply one op after another with nearest sampling, and repeat the mistakes of the authors' op library
      (`Contrast` and `Solarize`, boxes pushed out of the image that come back as slivers).
    core_ops: resample with TensorFlow's own operation, at half the speed, instead of that of tensorflow-addons, which a
      remote TPU host may lack. Pixels differ by rounding.
    copy_paste_probability: chance that objects of the stream's next image are pasted onto an image; needs instance
      masks, so labelled images only. This and the two below are not in the paper; they follow the policy, in this
      order.
    mosaic_probability: chance that parts of an image and of the next three are shown together.
    mixup_probability: chance that an image is blended with the next one.
    mixup_alpha: of MixUp's Beta(alpha, alpha); below 1 one image tends to dominate, above 1 both tend to show.
  """

  policy: PolicyName = 'none'
  scale_min: float | None = None
  scale_max: float | None = None
  flip_probability: float = 0.5
  auto_augment: AutoAugment = dataclasses.field(default_factory=AutoAugment)
  rand_augment: RandAugment = dataclasses.field(default_factory=RandAugment)
  keras_cv: KerasCv = dataclasses.field(default_factory=KerasCv)
  exclude_ops: list[str] = dataclasses.field(default_factory=list)
  pixel_scale: float | None = None
  translate_const: float | None = None
  cutout_const: float | None = None
  min_visible: float = 0.0
  faithful: bool = False
  core_ops: bool = False
  copy_paste_probability: float = 0.0
  mosaic_probability: float = 0.0
  mixup_probability: float = 0.0
  mixup_alpha: float = 1.5

  def jitter(self) -> tuple[float, float]:
    """(scale_min, scale_max) of a named policy."""
    low, high = JITTER[self.policy.removeprefix(_NEAREST_TO)]
    return (
      low if self.scale_min is None else self.scale_min,
      high if self.scale_max is None else self.scale_max,
    )

  def without_effect(self) -> list[str]:
    """Names of fields that differ from their defaults although the policy does not read them."""
    default = Augmentation()
    return [
      name
      for name, policies in _READ_BY.items()
      if self.policy not in policies and getattr(self, name) != getattr(default, name)
    ]

  def mixes(self) -> bool:
    """Whether images are mixed with others."""
    if keras_cv_layers.mixing(self.keras_cv_calls('keras_cv.layers')):
      return True
    return max(self.copy_paste_probability, self.mosaic_probability, self.mixup_probability) > 0

  @property
  def is_keras_cv(self) -> bool:
    """Whether the policy is made of keras-cv's layers."""
    return self.policy in OF_KERAS_CV

  def keras_cv_calls(self, where: str) -> tuple[keras_cv_layers.Call, ...]:
    """The layers of a policy of keras-cv; none for other policies.

    Args:
      where: dotted name of `keras_cv.layers`, for messages.

    Raises:
      ConfigError: a text is not that of a layer, or of one that can be used.
    """
    if not self.is_keras_cv:
      return ()
    texts: Sequence[str] = self.keras_cv.layers
    if self.policy != 'keras_cv':
      flip = 0.0 if 'Flip' in self.exclude_ops else self.flip_probability
      texts = keras_cv_layers.preset(self.policy.removeprefix(_NEAREST_TO), self.jitter(), flip)
    return tuple(keras_cv_layers.parse(text, f'{where}[{n}]') for n, text in enumerate(texts))

  def check_labels(self, labels: Sequence[keras_cv_layers.Label], prefix: str) -> None:
    """Raises ConfigError where the policy cannot move labels.

    Args:
      labels: the kinds of labels that the images have, in addition to a class.
      prefix: the dotted name of this config.
    """
    where = f'{prefix}.keras_cv.layers'
    if self.copy_paste_probability > 0 and 'masks' not in labels:
      labels = [*labels, 'masks']
    keras_cv_layers.check_labels(self.keras_cv_calls(where), labels, where)

  def check(self, prefix: str) -> None:
    """Raises ConfigError for a value out of range; `prefix` is the dotted name of this config."""
    for name, value in (
      ('flip_probability', self.flip_probability),
      ('rand_augment.probability', self.rand_augment.probability),
      ('copy_paste_probability', self.copy_paste_probability),
      ('mosaic_probability', self.mosaic_probability),
      ('mixup_probability', self.mixup_probability),
    ):
      if not 0 <= value <= 1:
        raise errors.ConfigError(f'{prefix}.{name} is {value}: probabilities must be in [0, 1].')
    if not 0 <= self.min_visible < 1:
      raise errors.ConfigError(f'{prefix}.min_visible is {self.min_visible}: it must be in [0, 1).')
    if self.faithful and self.min_visible:
      raise errors.ConfigError(
        f'{prefix}.min_visible is {self.min_visible}, but {prefix}.faithful keeps every box that has an area.'
      )
    for name in ('pixel_scale', 'translate_const', 'cutout_const', 'mixup_alpha'):
      value = getattr(self, name)
      if value is not None and value <= 0:
        raise errors.ConfigError(f'{prefix}.{name} is {value}: it must be positive.')
    if self.rand_augment.magnitude < 0:
      raise errors.ConfigError(
        f'{prefix}.rand_augment.magnitude is {self.rand_augment.magnitude}: it must be at least 0.'
      )
    if self.rand_augment.num_ops is not None and self.rand_augment.num_ops < 1:
      raise errors.ConfigError(
        f'{prefix}.rand_augment.num_ops is {self.rand_augment.num_ops}: it must be at least 1.'
      )
    if self.policy == 'none':
      if self.scale_min is not None or self.scale_max is not None:
        raise errors.ConfigError(
          f"{prefix}.scale_min, scale_max: with policy 'none' the jitter is parser.aug_scale_min, aug_scale_max."
        )
      return
    if self.is_keras_cv:
      self._check_keras_cv(prefix)
    if self.policy == 'keras_cv':
      return
    low, high = self.jitter()
    if not 0 < low <= high:
      raise errors.ConfigError(
        f'{prefix}.scale_min is {low}: it must be positive and at most {prefix}.scale_max ({high}).'
      )

  def _check_keras_cv(self, prefix: str) -> None:
    where = f'{prefix}.keras_cv.layers'
    if self.policy == 'keras_cv' and not self.keras_cv.layers:
      raise errors.ConfigError(
        f"{where} is empty: policy 'keras_cv' applies the layers that are listed there, such as "
        "RandomFlip(mode='horizontal')."
      )
    for name in ('faithful', 'min_visible'):
      if getattr(self, name):
        raise errors.ConfigError(
          f"{prefix}.{name} is {getattr(self, name)}: keras-cv's layers have no such choice; it must be "
          f'{getattr(Augmentation(), name)}.'
        )
    calls = self.keras_cv_calls(where)
    keras_cv_layers.check_order(calls, where)
    keras_cv_layers.check_excluded(calls, self.exclude_ops, where)
    mixing = keras_cv_layers.mixing(calls)
    if mixing and self.copy_paste_probability > 0:
      raise errors.ConfigError(
        f"{where}: keras-cv's {mixing[0].name} knows no masks of single objects, which "
        f'{prefix}.copy_paste_probability needs; mosaic_probability and mixup_probability do.'
      )
