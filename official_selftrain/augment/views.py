"""Random views of an image for contrastive learning (Chen et al. 2020, appendix A), drawn from the example's seed.

Views differ from the released code of SimCLR in two ways that cost nothing in what they teach and save half the time:
crops are resized bilinearly, not bicubically, and hue turns in the YIQ plane, which is one 3 x 3 matrix, not in HSV.
"""

import math

import tensorflow as tf

from official_selftrain.augment import crops
from official_selftrain.configs import contrastive

# RGB to luminance and two differences of colours, and back (NTSC).
_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
# Places of the distortions in a random order.
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)
_SECOND = 0x7669


def two_views(
  image: tf.Tensor, seed: tf.Tensor, size: tuple[int, int], settings: contrastive.Views
) -> tf.Tensor:
  """Two views of one image, whose draws have nothing in common.

  Args:
    image: uint8 [h, w, 3].
    seed: int32 [2], the example's.
    size: height and width of the views.
    settings: what is done to them.

  Returns:
    float32 [2, height, width, 3] in 0..255.
  """
  return tf.stack([view(image, each, size, settings) for each in two_seeds(seed)])


def two_seeds(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Seeds of the two views of an example with this seed; int32 [2] each."""
  return seed, tf.random.experimental.stateless_fold_in(seed, _SECOND)


def view(
  image: tf.Tensor, seed: tf.Tensor, size: tuple[int, int], settings: contrastive.Views
) -> tf.Tensor:
  """One view: a part of the image, resized, mirrored, in other colours, grey and blurred, each by chance.

  Args:
    image: uint8 [h, w, 3].
    seed: int32 [2].
    size: height and width of the view.
    settings: what is done to it.

  Returns:
    float32 [height, width, 3] in 0..255.
  """
  crop_seed, draw_seed, colour_seed, blur_seed = tf.unstack(
    tf.random.experimental.stateless_split(seed, 4)
  )
  area = (settings.crop_min_area, settings.crop_max_area)
  pixels = tf.cast(crops.random_crop(image, crop_seed, area, size), tf.float32)
  chances = tf.random.stateless_uniform([4], draw_seed)
  pixels = tf.cond(
    chances[0] < settings.flip_probability, lambda: tf.reverse(pixels, [1]), lambda: pixels
  )
  pixels = tf.cond(
    chances[1] < settings.colour_probability,
    lambda: distort_colours(pixels, colour_seed, settings.colour_strength),
    lambda: pixels,
  )
  pixels = tf.cond(
    chances[2] < settings.grey_probability, lambda: _mixed(pixels, _saturation(0.0)), lambda: pixels
  )
  return tf.cond(
    chances[3] < settings.blur_probability,
    lambda: blur(pixels, _uniform(blur_seed, *settings.blur_sigma), settings.blur_kernel),
    lambda: pixels,
  )


def distort_colours(pixels: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
  """Brightness, contrast, saturation and hue, each by a random amount and in a random order.

  Args:
    pixels: float32 [h, w, 3] in 0..255.
    seed: int32 [2].
    strength: factors are uniform in 1 - 0.8 strength to 1 + 0.8 strength, at least 0; the hue turns by up to 0.2
      strength of a whole turn to either side.

  Returns:
    float32 [h, w, 3] in 0..255.
  """
  order_seed, amount_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
  amounts = tf.random.stateless_uniform([4], amount_seed, -1.0, 1.0)
  factors = tf.maximum(1.0 + 0.8 * strength * amounts, 0.0)
  turn = 2.0 * math.pi * 0.2 * strength * amounts[_HUE]
  mixtures = tf.stack(
    [
      factors[_BRIGHTNESS] * tf.eye(3),
      factors[_CONTRAST] * tf.eye(3),
      _saturation(factors[_SATURATION]),
      _hue(turn),
    ]
  )
  order = tf.argsort(tf.random.stateless_uniform([4], order_seed))
  for step in tf.unstack(order):
    towards_mean = tf.cast(tf.equal(step, _CONTRAST), tf.float32) * (1.0 - factors[_CONTRAST])
    mean = tf.reduce_mean(pixels, axis=[0, 1])
    pixels = _mixed(pixels, mixtures[step], towards_mean * mean)
  return pixels


def blur(pixels: tf.Tensor, sigma: tf.Tensor, share: float) -> tf.Tensor:
  """Gaussian blur; beyond the border are the pixels next to it, mirrored.

  Args:
    pixels: float32 [h, w, 3], with known height and width.
    sigma: of the Gaussian, in pixels, float32 scalar.
    share: width of the kernel over the image's shorter side.

  Returns:
    float32 [h, w, 3].
  """
  height, width = pixels.shape[:2]
  radius = max(int(share * min(height, width) / 2.0), 1)
  radius = min(radius, min(height, width) - 1)
  places = tf.range(-radius, radius + 1, dtype=tf.float32)
  weights = tf.nn.softmax(-(places**2) / (2.0 * sigma**2))
  padded = tf.pad(pixels, [[radius, radius], [radius, radius], [0, 0]], 'REFLECT')[tf.newaxis]
  for shape in ([-1, 1, 1, 1], [1, -1, 1, 1]):
    kernel = tf.tile(tf.reshape(weights, shape), [1, 1, 3, 1])
    padded = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], 'VALID')
  return padded[0]


def _mixed(pixels: tf.Tensor, mixture: tf.Tensor, offset: tf.Tensor | float = 0.0) -> tf.Tensor:
  """Colours [h, w, 3] times a matrix [3, 3] plus an offset, kept within 0..255."""
  rows = tf.linalg.matmul(tf.reshape(pixels, [-1, 3]), mixture, transpose_b=True)
  return tf.reshape(tf.clip_by_value(rows + offset, 0.0, 255.0), tf.shape(pixels))


def _saturation(factor: tf.Tensor | float) -> tf.Tensor:
  """Matrix [3, 3] that blends colours with their luminance; 0 leaves grey."""
  grey = tf.tile(tf.constant([_TO_YIQ[0]]), [3, 1])
  return factor * tf.eye(3) + (1.0 - factor) * grey


def _hue(turn: tf.Tensor) -> tf.Tensor:
  """Matrix [3, 3] that turns colours around the axis of greys by an angle in radians."""
  cosine, sine = tf.cos(turn), tf.sin(turn)
  zero, one = tf.zeros([]), tf.ones([])
  turning = tf.reshape(tf.stack([one, zero, zero, zero, cosine, -sine, zero, sine, cosine]), [3, 3])
  to_yiq = tf.constant(_TO_YIQ)
  return tf.linalg.inv(to_yiq) @ turning @ to_yiq


def _uniform(seed: tf.Tensor, low: float, high: float) -> tf.Tensor:
  return tf.random.stateless_uniform([], seed, low, high)
