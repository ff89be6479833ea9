"""Arithmetic on images."""

from collections.abc import Callable, Sequence

import tensorflow as tf
from official.vision.ops import preprocess_ops


def normalize(image: tf.Tensor) -> tf.Tensor:
  """The Model Garden's `normalize_image`, in half its time on a CPU.

  Broadcasting over an innermost dimension of three is slow there; rows of `3 * width` values are not.

  Args:
    image: uint8 or float32 [height, width, 3] in 0..255.

  Returns:
    float32 [height, width, 3]: scaled to [0, 1], minus the ImageNet mean, over its standard deviation.
  """
  shape = tf.shape(image)
  rows = tf.cast(tf.reshape(image, [shape[0], -1]), tf.float32)
  scale = tf.constant([1.0 / (255.0 * deviation) for deviation in preprocess_ops.STDDEV_NORM])
  ratios = zip(preprocess_ops.MEAN_NORM, preprocess_ops.STDDEV_NORM, strict=True)
  offset = tf.constant([mean / deviation for mean, deviation in ratios])
  normalized = rows * tf.tile(scale, [shape[1]]) - tf.tile(offset, [shape[1]])
  return tf.reshape(normalized, shape)


def denormalize(image: tf.Tensor) -> tf.Tensor:
  """The inverse of `normalize`.

  Args:
    image: float32 [..., 3], normalised.

  Returns:
    float32 [..., 3], rounded to whole numbers in 0..255.
  """
  scaled = image * tf.constant(preprocess_ops.STDDEV_NORM) + tf.constant(preprocess_ops.MEAN_NORM)
  return tf.round(tf.clip_by_value(255.0 * scaled, 0.0, 255.0))


# From images [batch, h, w, c] and a height and width to float32 [batch, height, width, c].
Resize = Callable[[tf.Tensor, tf.Tensor | Sequence[int]], tf.Tensor]


def resize_as_tf1(images: tf.Tensor, size: tf.Tensor | Sequence[int]) -> tf.Tensor:
  """Bilinear resizing as TF1 did it: target position i takes source position i * in / out.

  `tf.image.resize` takes (i + 1/2) * in / out - 1/2 instead, so pixel centres, and not corners, meet.

  Args:
    images: float32 [batch, h, w, c].
    size: height and width of the result.

  Returns:
    float32 [batch, height, width, c].
  """
  # The function of TF2's compatibility module says on each use that it is deprecated.
  return tf.raw_ops.ResizeBilinear(images=images, size=size)
