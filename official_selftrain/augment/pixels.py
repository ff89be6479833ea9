"""Ops that change colours and leave every pixel where it is; deterministic, uint8 [h, w, 3] in and out.

They equal the Model Garden's `official.vision.ops.augment`, byte for byte, except for `contrast` and `solarize`,
which are wrong there (`*_as_released` reproduce them), and `sharpness`, which there loses 1 where the smoothed value is
a whole number. We have our own because those take only Python numbers, while a policy draws its levels, and take
several times as long (docs/augmentation.md). Images are seen as rows of 3 * w values: broadcasting over an innermost
dimension of three is slow.
"""

import tensorflow as tf

_LUMA = (0.2989, 0.5870, 0.1140)


def blend(degenerate: tf.Tensor, image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """`degenerate + factor * (image - degenerate)`, cut to 0..255 and to whole numbers; float32 in, uint8 out."""
  mixed = degenerate + factor * (image - degenerate)
  return tf.cast(tf.clip_by_value(mixed, 0.0, 255.0), tf.uint8)


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """Blends with black."""
  return blend(tf.zeros([]), tf.cast(image, tf.float32), factor)


def _grey(pixels: tf.Tensor, channels: int) -> tf.Tensor:
  """Whole-numbered luminance of float32 pixels [n, 3], the same in each of [n, channels]."""
  # As `tf.image.rgb_to_grayscale` rounds; so a grey stays what it is, though the weights sum to 0.9999.
  weights = tf.constant([[weight] * channels for weight in _LUMA])
  return tf.floor(tf.linalg.matmul(pixels * (1.0 / 255.0), weights) * 255.5)


def color(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """Blends with the image in grey."""
  pixels = tf.cast(tf.reshape(image, [-1, 3]), tf.float32)
  return tf.reshape(blend(_grey(pixels, 3), pixels, factor), tf.shape(image))


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """Blends with the mean grey of the image."""
  pixels = tf.cast(tf.reshape(image, [-1, 3]), tf.float32)
  rows = tf.reshape(_grey(pixels, 1), tf.shape(image)[:2])
  # Sums of whole numbers that stay exact, so that no order of addition moves the mean across a whole number.
  total = tf.reduce_sum(tf.cast(tf.reduce_sum(rows, 1), tf.int64))
  mean = total // tf.maximum(tf.size(rows, tf.int64), 1)
  return blend(tf.cast(mean, tf.float32), tf.cast(image, tf.float32), factor)


def contrast_as_released(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """Blends with the number of pixels over 256, at most 255: white for images of 256 x 256 pixels and more."""
  shape = tf.shape(image)
  mean = tf.floor(tf.minimum(tf.cast(shape[0] * shape[1], tf.float32) / 256.0, 255.0))
  return blend(mean, tf.cast(image, tf.float32), factor)


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
  """Inverts values from `threshold` (0..256) on."""
  # tf.where on uint8 takes four times as long as exclusive-or; no value exceeds a threshold of 256.
  inverted = tf.logical_and(
    image >= tf.cast(tf.minimum(threshold, 255.0), tf.uint8), threshold < 256.0
  )
  return tf.bitwise.bitwise_xor(image, tf.cast(inverted, tf.uint8) * 255)


def solarize_as_released(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
  """As `solarize`, but a threshold of 256 wraps to 0 and inverts everything."""
  return solarize(image, tf.math.floormod(threshold, 256.0))


def solarize_add(image: tf.Tensor, addition: tf.Tensor) -> tf.Tensor:
  """Adds `addition` to values below 128, at most up to 255."""
  is_dark = tf.cast(image < 128, tf.uint8)
  # Magnitudes above 23 add more than a byte holds.
  return image + is_dark * tf.minimum(tf.cast(tf.minimum(addition, 255.0), tf.uint8), 255 - image)


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
  """Keeps the `bits` (0..8) highest bits of each value."""
  lost = tf.bitwise.left_shift(1, 8 - tf.cast(tf.minimum(bits, 8.0), tf.int32)) - 1
  return tf.bitwise.bitwise_and(image, tf.cast(255 - lost, tf.uint8))


def invert(image: tf.Tensor) -> tf.Tensor:
  """255 minus each value."""
  return 255 - image


def autocontrast(image: tf.Tensor) -> tf.Tensor:
  """Stretches each channel to 0..255; a channel of one value stays."""
  pixels = tf.reshape(image, [-1, 3])
  low = tf.cast(tf.reduce_min(pixels, 0), tf.float32)
  high = tf.cast(tf.reduce_max(pixels, 0), tf.float32)
  scale = tf.where(high > low, 255.0 / tf.maximum(high - low, 1.0), 1.0)
  offset = tf.where(high > low, -low * scale, 0.0)
  shape = tf.shape(image)
  rows = tf.cast(tf.reshape(image, [shape[0], -1]), tf.float32)
  stretched = rows * tf.tile(scale, [shape[1]]) + tf.tile(offset, [shape[1]])
  return tf.reshape(tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8), shape)


def equalize(image: tf.Tensor) -> tf.Tensor:
  """Makes the histogram of each channel as even as a table of 256 entries can, as PIL does."""
  shape = tf.shape(image)
  first_entry = tf.tile(tf.constant([0, 256, 512]), [shape[1]])
  entries = tf.cast(tf.reshape(image, [shape[0], -1]), tf.int32) + first_entry
  counts = tf.raw_ops.Bincount(arr=entries, size=768, weights=tf.zeros([0], tf.int32))
  table = tf.map_fn(_equalizing_table, tf.reshape(counts, [3, 256]))
  values = tf.gather(tf.cast(tf.reshape(table, [-1]), tf.uint8), entries)
  return tf.reshape(values, shape)


def _equalizing_table(counts: tf.Tensor) -> tf.Tensor:
  """The new value of each old one, int32 [256], from a channel's histogram, int32 [256]."""
  present = tf.boolean_mask(counts, counts > 0)
  step = (tf.reduce_sum(present) - present[-1]) // 255
  below = tf.cumsum(counts, exclusive=True)
  table = tf.clip_by_value((below + step // 2) // tf.maximum(step, 1), 0, 255)
  return tf.where(step > 0, table, tf.range(256))


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """Blends with the image smoothed over 3 x 3 pixels (centre 5, others 1, over 13); the outermost pixels stay."""
  if any(side is not None and side < 3 for side in image.shape[:2]):
    return image
  return tf.cond(
    tf.reduce_min(tf.shape(image)[:2]) < 3, lambda: image, lambda: _sharpen(image, factor)
  )


def _sharpen(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  shape = tf.shape(image)
  rows = tf.reshape(image, [shape[0], -1])
  values = tf.cast(rows, tf.float32)
  thirds = values[:-2] + values[1:-1] + values[2:]
  nine = thirds[:, :-6] + thirds[:, 3:-3] + thirds[:, 6:]
  centre = values[1:-1, 3:-3]
  # A multiple of 1/13; the little that is added keeps whole numbers whole.
  smooth = tf.floor((nine + 4.0 * centre) * (1.0 / 13.0) + 0.01)
  inner = blend(smooth, centre, factor)
  middle = tf.concat([rows[1:-1, :3], inner, rows[1:-1, -3:]], 1)
  return tf.reshape(tf.concat([rows[:1], middle, rows[-1:]], 0), shape)


def fill_rectangle(
  image: tf.Tensor, top: tf.Tensor, left: tf.Tensor, bottom: tf.Tensor, right: tf.Tensor, fill: int
) -> tf.Tensor:
  """Sets the rows top..bottom - 1 of the columns left..right - 1 to `fill`.

  Args:
    image: [h, w, c].
    top: int32 scalar, like the other three; parts outside the image are ignored.
    left: see `top`.
    bottom: see `top`.
    right: see `top`.
    fill: the new value.
  """
  shape = tf.shape(image)
  top, bottom = tf.clip_by_value(top, 0, shape[0]), tf.clip_by_value(bottom, 0, shape[0])
  left, right = tf.clip_by_value(left, 0, shape[1]), tf.clip_by_value(right, 0, shape[1])
  bottom, right = tf.maximum(bottom, top), tf.maximum(right, left)
  patch = tf.fill([bottom - top, right - left, shape[2]], tf.cast(fill, image.dtype))
  return paste(image, patch, top, left)


def paste(image: tf.Tensor, patch: tf.Tensor, top: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
  """Puts `patch` [i, j, c] into `image` [h, w, c] at row `top` and column `left`, where it must fit."""
  bottom, right = top + tf.shape(patch)[0], left + tf.shape(patch)[1]
  middle = tf.concat([image[top:bottom, :left], patch, image[top:bottom, right:]], 1)
  return tf.ensure_shape(tf.concat([image[:top], middle, image[bottom:]], 0), image.shape)
