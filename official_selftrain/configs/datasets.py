"""Settings of the data sets that the package makes itself."""

import dataclasses
import math

from official.modeling import hyperparams

from official_selftrain.core import errors

# Sizes of digits are given for an image of this side and scale with `image_size`.
REFERENCE_IMAGE_SIZE = 128

# Ids of the three splits are in blocks of this length.
MAX_IMAGES_PER_SPLIT = 1_000_000

_MIN_LEGIBLE_PIXELS = 8.0
_MAX_IMAGE_SIZE = 1024

# Smooth upsampling lets the ink of the 8 x 8 source run half a cell beyond its field on each side.
_INK_SPREAD = 9.0 / 8.0


@dataclasses.dataclass
class Digits(hyperparams.Config):
  """Scenes of handwritten digits on coloured backgrounds, made from a seed.

  Attributes:
    num_labelled: number of training images with annotations.
    num_unlabelled: number of training images without annotations.
    num_validation: number of validation images with annotations; no training image shows their
      digits.
    image_size: height and width of an image, in pixels.
    seed: scenes depend on this number and on nothing else that is random.
    num_shards: number of TFRecord files of the unlabelled images.
    min_digits: smallest number of digits in an image.
    max_digits: largest number of digits in an image.
    min_size: smallest side of the square field that a digit is drawn in before it is rotated, in
      pixels of an image of 128 x 128; it scales with `image_size`.
    max_size: largest side of that field, in the same pixels.
    max_rotation: largest rotation of a digit to either side, in degrees.
  """

  num_labelled: int = 60
  num_unlabelled: int = 1536
  num_validation: int = 512
  image_size: int = 128
  seed: int = 0
  num_shards: int = 4
  min_digits: int = 1
  max_digits: int = 5
  min_size: int = 28
  max_size: int = 64
  max_rotation: float = 15.0


@dataclasses.dataclass
class DigitClasses(hyperparams.Config):
  """Images of one large digit each for classification, otherwise in the looks of `Digits`.

  None of the handwritten digits is in a validation scene of `Digits`, and none is in both sets here.

  Attributes:
    num_training: number of training images.
    num_validation: number of images for the held-out accuracy.
    num_shards: number of TFRecord files of the training images.
    min_size: as in `Digits`.
    max_size: as in `Digits`.
  """

  num_training: int = 4000
  num_validation: int = 500
  num_shards: int = 4
  min_size: int = 48
  max_size: int = 90

  def check(self, prefix: str) -> None:
    """Raises ConfigError for a number out of its range; `prefix` is the dotted name of this config."""
    for name, high in (
      ('num_training', MAX_IMAGES_PER_SPLIT),
      ('num_validation', MAX_IMAGES_PER_SPLIT),
      ('num_shards', min(self.num_training, 99_999)),
    ):
      value = getattr(self, name)
      if not 1 <= value <= high:
        raise errors.ConfigError(
          f'{prefix}.{name} is {value!r}; allowed are values from 1 to {high}.'
        )


def digit_extent(size: float, rotation: float) -> int:
  """Side of a square of pixels that holds the ink of a digit at any rotation up to `rotation`.

  Args:
    size: side of the digit's field, in pixels.
    rotation: largest rotation, in degrees, in [0, 45].

  Returns:
    An upper bound of the height and of the width of the ink, in pixels.
  """
  angle = math.radians(rotation)
  return math.floor(size * _INK_SPREAD * (math.cos(angle) + math.sin(angle))) + 1


def validate_digits(config: Digits) -> None:
  """Checks that scenes can be made from `config`.

  Args:
    config: settings of the digits.

  Raises:
    ConfigError: a field is out of its range, or the digits do not fit into the image.
  """
  for name in ('num_labelled', 'num_unlabelled', 'num_validation'):
    _check_range(config, name, 1, MAX_IMAGES_PER_SPLIT)
  _check_range(config, 'num_shards', 1, min(config.num_unlabelled, 99_999))
  _check_range(config, 'image_size', 32, _MAX_IMAGE_SIZE)
  _check_range(config, 'seed', 0, 2**32 - 1)
  _check_range(config, 'max_rotation', 0, 45)
  _check_range(config, 'min_digits', 1, config.max_digits)
  smallest = math.ceil(_MIN_LEGIBLE_PIXELS * REFERENCE_IMAGE_SIZE / config.image_size)
  _check_range(config, 'min_size', smallest, config.max_size)
  scale = config.image_size / REFERENCE_IMAGE_SIZE
  largest = digit_extent(config.max_size * scale, config.max_rotation)
  if largest > config.image_size:
    raise errors.ConfigError(
      f'dataset.digits.max_size is {config.max_size}: rotated by up to {config.max_rotation} '
      f'degrees such a digit needs {largest} pixels and the image has {config.image_size}. Choose '
      'a smaller max_size.'
    )
  per_side = config.image_size // digit_extent(config.min_size * scale, config.max_rotation)
  if config.max_digits > per_side**2:
    raise errors.ConfigError(
      f'dataset.digits.max_digits is {config.max_digits}, but only {per_side**2} digits of '
      f'min_size {config.min_size} are sure to fit without overlap. Choose fewer digits or a '
      'smaller min_size.'
    )


def _check_range(config: Digits, name: str, low: int, high: int) -> None:
  value = getattr(config, name)
  if not low <= value <= high:
    raise errors.ConfigError(
      f'dataset.digits.{name} is {value!r}; allowed are values from {low} to {high}.'
    )
