"""Parts of images for tasks about whole images, which need not keep every object."""

import tensorflow as tf

# Proportions of random crops, width over height, as in the Inception papers and after.
_ASPECT_RATIOS = (3.0 / 4.0, 4.0 / 3.0)


def random_crop(
  image: tf.Tensor, seed: tf.Tensor, area: tuple[float, float], size: tuple[int, int]
) -> tf.Tensor:
  """A random part of an image, resized.

  Args:
    image: uint8 [h, w, 3].
    seed: int [2].
    area: smallest and largest share of the image's area.
    size: height and width of the result.

  Returns:
    uint8 [height, width, 3]: bilinear, not smoothed. The whole image where ten draws give no part that fits.
  """
  start, shape, _ = tf.image.stateless_sample_distorted_bounding_box(
    tf.shape(image),
    bounding_boxes=tf.zeros([1, 0, 4]),
    seed=seed,
    min_object_covered=0.0,
    aspect_ratio_range=_ASPECT_RATIOS,
    area_range=area,
    max_attempts=10,
    use_image_if_no_bounding_boxes=True,
  )
  part = tf.slice(image, start, [shape[0], shape[1], 3])
  resized = tf.image.resize(part, size, 'bilinear')
  return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def central_square(image: tf.Tensor, fraction: float) -> tf.Tensor:
  """The square in the middle of an image, uint8 [h, w, 3], whose side is `fraction` of the shorter one's."""
  shape = tf.shape(image)[:2]
  shorter = tf.cast(tf.reduce_min(shape), tf.float32)
  side = tf.maximum(tf.cast(tf.round(fraction * shorter), tf.int32), 1)
  start = (shape - side) // 2
  return tf.slice(image, [start[0], start[1], 0], tf.stack([side, side, 3]))
