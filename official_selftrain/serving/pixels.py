"""Images of one size, as a batch, made ready for a network: nothing here loops over images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from official.vision.ops import preprocess_ops


class Fitted(NamedTuple):
  """Images that fit a network.

  Attributes:
    images: float32 [batch, height, width, 3], normalised; padding at the bottom and right is 0.
    original: int32 [2], height and width of the images as they came.
    scale: float32 [2], by which their height and width were multiplied.
    shown: int32 [2], height and width of the part that shows them.
  """

  images: tf.Tensor
  original: tf.Tensor
  scale: tf.Tensor
  shown: tf.Tensor

  def infos(self, frame: Sequence[int]) -> tf.Tensor:
    """The Model Garden's record, float32 [batch, 4, 2]: size of the original and of the frame, scale, offset."""
    frame = tf.constant(frame, tf.float32)
    info = tf.stack([tf.cast(self.original, tf.float32), frame, self.scale, tf.zeros(2)])
    return tf.repeat(info[tf.newaxis], tf.shape(self.images)[0], axis=0)


def fit(
  images: tf.Tensor, frame: Sequence[int], padded: Sequence[int], at_own_size: bool = False
) -> Fitted:
  """Normalises and resizes images, keeping their aspect ratio, and pads them.

  The same as `preprocess_ops.resize_and_crop_image` without augmentation for each image. What does not depend on the
  values of tensors is computed right away, so that a converter finds constants.

  Args:
    images: uint8 [batch, h, w, 3]; h and w may be unknown when the graph is built.
    frame: height and width that the images are to fit, in pixels.
    padded: height and width of the result, not smaller.
    at_own_size: images that are not larger than the frame are not resized.

  Returns:
    `Fitted`.
  """
  normalized = preprocess_ops.normalize_image(
    tf.cast(images, tf.float32), preprocess_ops.MEAN_RGB, preprocess_ops.STDDEV_RGB
  )
  static = images.shape[1:3]
  if static.is_fully_defined():
    sides = np.array(static, np.float32)
    ratio = np.min(np.array(frame, np.float32) / sides)
    size = np.round(sides * (min(ratio, 1.0) if at_own_size else ratio)).astype(np.int32)
    original, shown = tf.constant(np.array(static, np.int32)), tf.constant(size)
    is_fitting = tuple(size) == tuple(static)
  else:
    original = tf.shape(images)[1:3]
    sides = tf.cast(original, tf.float32)
    ratio = tf.reduce_min(tf.constant(frame, tf.float32) / sides)
    shown = tf.cast(tf.round(sides * (tf.minimum(ratio, 1.0) if at_own_size else ratio)), tf.int32)
    is_fitting = False
  resized = normalized if is_fitting else tf.image.resize(normalized, shown)
  below, right = padded[0] - shown[0], padded[1] - shown[1]
  resized = tf.pad(resized, [[0, 0], [0, below], [0, right], [0, 0]])
  # A reshape and not `tf.ensure_shape`, which TensorFlow Lite does not know.
  fitted = tf.reshape(resized, [images.shape[0] or -1, *padded, 3])
  scale = tf.cast(shown, tf.float32) / tf.cast(original, tf.float32)
  return Fitted(fitted, original, scale, shown)
