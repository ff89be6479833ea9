"""Contents of the named policies: lists of ops with probabilities and levels, as data (paper section 3.1).

AutoAugment: the policies of the authors' detection code, of which v0 is the one of the detection AutoAugment paper, and
`imagenet`, which EfficientNets were trained with for classification.
RandAugment: the paper gives the magnitude only; the presets are the three public op lists that it may have meant.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from official_selftrain.core import errors

_NUMBER = r'\s*(\d+\.?\d*|\.\d+)\s*'
_ENTRY = re.compile(rf'\s*(\w+)\({_NUMBER},{_NUMBER}\)')


@dataclasses.dataclass(frozen=True)
class Entry:
  """One op of a sub-policy.

  Attributes:
    name: name of the op, see `ops.NAMES`.
    probability: chance that it is applied.
    level: strength, 0 to 10 in all published policies; RandAugment goes beyond.
  """

  name: str
  probability: float
  level: float


SubPolicy = tuple[Entry, ...]


@dataclasses.dataclass(frozen=True)
class Constants:
  """Factors of levels, in pixels of the decoded image.

  Attributes:
    translate: shift of a whole image at level 10.
    cutout: half the side of the square that `Cutout` fills at level 10.
    translate_boxes: shift inside a box at level 10.
    cutout_boxes: half the side of the square that `Cutout_Only_BBoxes` fills at level 10.
  """

  translate: float = 250.0
  cutout: float = 100.0
  translate_boxes: float = 120.0
  cutout_boxes: float = 50.0

  def scaled(self, factor: float) -> 'Constants':
    """All constants times `factor`, for images that are not as large as COCO's."""
    return Constants(*(factor * value for value in dataclasses.astuple(self)))


@dataclasses.dataclass(frozen=True)
class RandAugmentPreset:
  """A public op list of RandAugment.

  Attributes:
    ops: what is drawn from, uniformly.
    num_ops: draws per image.
    constants: factors of levels.
  """

  ops: tuple[str, ...]
  num_ops: int
  constants: Constants


def parse_sub_policy(text: str) -> SubPolicy:
  """Reads `Equalize(0.8, 10) Rotate_BBox(0.6, 4)`: op, probability, level, from first to last.

  Raises:
    ConfigError: the text is not of that form, or a number is out of range.
  """
  entries = []
  position = 0
  while text[position:].strip():
    match = _ENTRY.match(text, position)
    if match is None:
      raise errors.ConfigError(
        f'sub-policy {text!r}: expected something like "Equalize(0.8, 10) Rotate_BBox(0.6, 4)" at '
        f'{text[position:].strip()!r}. On a command line, quote each sub-policy: it has commas.'
      )
    entry = Entry(match[1], float(match[2]), float(match[3]))
    if entry.probability > 1 or entry.level > 10:
      raise errors.ConfigError(
        f'sub-policy {text!r}: probabilities must be in [0, 1] and levels in [0, 10]; {match[0].strip()} is not.'
      )
    entries.append(entry)
    position = match.end()
  if not entries:
    raise errors.ConfigError('a sub-policy is empty: give at least one op, or Identity(1, 0).')
  return tuple(entries)


def _policy(*texts: str) -> tuple[SubPolicy, ...]:
  return tuple(parse_sub_policy(text) for text in texts)


_V0 = _policy(
  'TranslateX_BBox(0.6, 4) Equalize(0.8, 10)',
  'TranslateY_Only_BBoxes(0.2, 2) Cutout(0.8, 8)',
  'Sharpness(0.0, 8) ShearX_BBox(0.4, 0)',
  'ShearY_BBox(1.0, 2) TranslateY_Only_BBoxes(0.6, 6)',
  'Rotate_BBox(0.6, 10) Color(1.0, 6)',
)

AUTO_AUGMENT: Mapping[str, tuple[SubPolicy, ...]] = {
  'v0': _V0,
  'v1': _V0
  + _policy(
    'Color(0.0, 0) ShearX_Only_BBoxes(0.8, 4)',
    'ShearY_Only_BBoxes(0.8, 2) Flip_Only_BBoxes(0.0, 10)',
    'Equalize(0.6, 10) TranslateX_BBox(0.2, 2)',
    'Color(1.0, 10) TranslateY_Only_BBoxes(0.4, 6)',
    'Rotate_BBox(0.8, 10) Contrast(0.0, 10)',
    'Cutout(0.2, 2) Brightness(0.8, 10)',
    'Color(1.0, 6) Equalize(1.0, 2)',
    'Cutout_Only_BBoxes(0.4, 6) TranslateY_Only_BBoxes(0.8, 2)',
    'Color(0.2, 8) Rotate_BBox(0.8, 10)',
    'Sharpness(0.4, 4) TranslateY_Only_BBoxes(0.0, 4)',
    'Sharpness(1.0, 4) SolarizeAdd(0.4, 4)',
    'Rotate_BBox(1.0, 8) Sharpness(0.2, 8)',
    'ShearY_BBox(0.6, 10) Equalize_Only_BBoxes(0.6, 8)',
    'ShearX_BBox(0.2, 6) TranslateY_Only_BBoxes(0.2, 10)',
    'SolarizeAdd(0.6, 8) Brightness(0.8, 10)',
  ),
  'v2': _policy(
    'Color(0.0, 6) Cutout(0.6, 8) Sharpness(0.4, 8)',
    'Rotate_BBox(0.4, 8) Sharpness(0.4, 2) Rotate_BBox(0.8, 10)',
    'TranslateY_BBox(1.0, 8) AutoContrast(0.8, 2)',
    'AutoContrast(0.4, 6) ShearX_BBox(0.8, 8) Brightness(0.0, 10)',
    'SolarizeAdd(0.2, 6) Contrast(0.0, 10) AutoContrast(0.6, 0)',
    'Cutout(0.2, 0) Solarize(0.8, 8) Color(1.0, 4)',
    'TranslateY_BBox(0.0, 4) Equalize(0.6, 8) Solarize(0.0, 10)',
    'TranslateY_BBox(0.2, 2) ShearY_BBox(0.8, 8) Rotate_BBox(0.8, 8)',
    'Cutout(0.8, 8) Brightness(0.8, 8) Cutout(0.2, 2)',
    'Color(0.8, 4) TranslateY_BBox(1.0, 6) Rotate_BBox(0.6, 6)',
    'Rotate_BBox(0.6, 10) BBox_Cutout(1.0, 4) Cutout(0.2, 8)',
    'Rotate_BBox(0.0, 0) Equalize(0.6, 6) ShearY_BBox(0.6, 8)',
    'Brightness(0.8, 8) AutoContrast(0.4, 2) Brightness(0.2, 2)',
    'TranslateY_BBox(0.4, 8) Solarize(0.4, 6) SolarizeAdd(0.2, 10)',
    'Contrast(1.0, 10) SolarizeAdd(0.2, 8) Equalize(0.2, 4)',
  ),
  'v3': _policy(
    'Posterize(0.8, 2) TranslateX_BBox(1.0, 8)',
    'BBox_Cutout(0.2, 10) Sharpness(1.0, 8)',
    'Rotate_BBox(0.6, 8) Rotate_BBox(0.8, 10)',
    'Equalize(0.8, 10) AutoContrast(0.2, 10)',
    'SolarizeAdd(0.2, 2) TranslateY_BBox(0.2, 8)',
    'Sharpness(0.0, 2) Color(0.4, 8)',
    'Equalize(1.0, 8) TranslateY_BBox(1.0, 8)',
    'Posterize(0.6, 2) Rotate_BBox(0.0, 10)',
    'AutoContrast(0.6, 0) Rotate_BBox(1.0, 6)',
    'Equalize(0.0, 4) Cutout(0.8, 10)',
    'Brightness(1.0, 2) TranslateY_BBox(1.0, 6)',
    'Contrast(0.0, 2) ShearY_BBox(0.8, 0)',
    'AutoContrast(0.8, 10) Contrast(0.2, 10)',
    'Rotate_BBox(1.0, 10) Cutout(1.0, 10)',
    'SolarizeAdd(0.8, 6) Equalize(0.8, 8)',
  ),
  'imagenet': _policy(
    'Equalize(0.8, 1) ShearY_BBox(0.8, 4)',
    'Color(0.4, 9) Equalize(0.6, 3)',
    'Color(0.4, 1) Rotate_BBox(0.6, 8)',
    'Solarize(0.8, 3) Equalize(0.4, 7)',
    'Solarize(0.4, 2) Solarize(0.6, 2)',
    'Color(0.2, 0) Equalize(0.8, 8)',
    'Equalize(0.4, 8) SolarizeAdd(0.8, 3)',
    'ShearX_BBox(0.2, 9) Rotate_BBox(0.6, 8)',
    'Color(0.6, 1) Equalize(1.0, 2)',
    'Invert(0.4, 9) Rotate_BBox(0.6, 0)',
    'Equalize(1.0, 9) ShearY_BBox(0.6, 3)',
    'Color(0.4, 7) Equalize(0.6, 0)',
    'Posterize(0.4, 6) AutoContrast(0.4, 7)',
    'Solarize(0.6, 8) Color(0.6, 9)',
    'Solarize(0.2, 4) Rotate_BBox(0.8, 9)',
    'Rotate_BBox(1.0, 7) TranslateY_BBox(0.8, 9)',
    'ShearX_BBox(0.0, 0) Solarize(0.8, 4)',
    'ShearY_BBox(0.8, 0) Color(0.6, 4)',
    'Color(1.0, 0) Rotate_BBox(0.6, 2)',
    'Equalize(0.8, 4) Equalize(0.0, 8)',
    'Equalize(1.0, 4) AutoContrast(0.6, 2)',
    'ShearY_BBox(0.4, 7) SolarizeAdd(0.6, 7)',
    'Posterize(0.8, 2) Solarize(0.6, 10)',
    'Solarize(0.6, 8) Equalize(0.6, 1)',
    'Color(0.8, 6) Rotate_BBox(0.4, 5)',
  ),
}

_PAPER_CONSTANTS = Constants()
_CLASSIFICATION_CONSTANTS = Constants(translate=100.0, cutout=40.0)
_GEOMETRY = ('Rotate_BBox', 'ShearX_BBox', 'ShearY_BBox', 'TranslateX_BBox', 'TranslateY_BBox')

RAND_AUGMENT: Mapping[str, RandAugmentPreset] = {
  # EfficientDet's, from the same months, with the constants of the detection AutoAugment.
  'automl10': RandAugmentPreset(
    ('Equalize', 'Solarize', 'Color', 'Cutout', 'SolarizeAdd', *_GEOMETRY), 1, _PAPER_CONSTANTS
  ),
  # The RandAugment paper's list on COCO.
  'ra14': RandAugmentPreset(
    (
      'Identity',
      'AutoContrast',
      'Equalize',
      'Solarize',
      'Color',
      'Posterize',
      'Contrast',
      'Brightness',
      'Sharpness',
      *_GEOMETRY,
    ),
    1,
    _PAPER_CONSTANTS,
  ),
  # The Model Garden's for detection, which draws an implicit identity too.
  'tfm16': RandAugmentPreset(
    (
      'AutoContrast',
      'Equalize',
      'Invert',
      'Posterize',
      'Solarize',
      'Color',
      'Contrast',
      'Brightness',
      'Sharpness',
      'Cutout',
      'SolarizeAdd',
      *_GEOMETRY,
      'Identity',
    ),
    2,
    _CLASSIFICATION_CONSTANTS,
  ),
}


def names_in(sub_policies: Sequence[SubPolicy]) -> list[str]:
  """Names of the ops that occur, sorted."""
  return sorted({entry.name for sub_policy in sub_policies for entry in sub_policy})
