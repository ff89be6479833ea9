"""Class masks drawn over pictures."""

import colorsys
import functools

import numpy as np

from official_selftrain.core import keys

# Neighbouring class ids get hues far apart.
_GOLDEN_RATIO = 0.618034
_OPACITY = 0.45
# Pixels of label 255: one diagonal line in so many pixels.
_HATCH = 6
HATCH_COLOUR = (190, 190, 190)


def class_colour(class_id: int) -> tuple[int, int, int]:
  """Colour of a class in boxes and masks: strong, and unlike those of the classes before and after."""
  hue = class_id * _GOLDEN_RATIO % 1.0
  red, green, blue = colorsys.hsv_to_rgb(hue, (1.0, 0.6)[class_id % 2], 1.0)
  return round(255 * red), round(255 * green), round(255 * blue)


@functools.cache
def _palette() -> np.ndarray:
  """Colours of all values that a mask can have, float32 [256, 3]."""
  return np.array([class_colour(class_id) for class_id in range(256)], np.float32)


def tint(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """The image with translucent colours where a mask has a class; class 0 is left clear, and 255 is hatched.

  Args:
    image: uint8 [height, width, 3].
    mask: uint8 [height, width], class ids.

  Returns:
    uint8 [height, width, 3].
  """
  pixels = image.astype(np.float32)
  is_class = ((mask > 0) & (mask != keys.IGNORE_LABEL))[..., None]
  pixels += np.where(is_class, _OPACITY, 0.0) * (_palette()[mask] - pixels)
  rows, columns = np.indices(mask.shape)
  is_line = (rows + columns) % _HATCH == 0
  pixels[is_line & (mask == keys.IGNORE_LABEL)] = HATCH_COLOUR
  return np.rint(pixels).astype(np.uint8)
