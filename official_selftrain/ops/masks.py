"""Class masks and class probabilities: from the size that a model sees back to the image's own."""

from collections.abc import Callable, Sequence

import tensorflow as tf
from official.vision.ops import preprocess_ops

from official_selftrain.core import keys
from official_selftrain.ops import images as images_lib

# Confidences are stored as whole multiples of 1 / CONFIDENCE_STEPS.
CONFIDENCE_STEPS = 255


def fit_image(
  image: tf.Tensor, size: tuple[int, int], at_own_size: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
  """Resizes an image to fit a frame, keeping its aspect ratio, and pads it at the bottom and right with 0.

  Args:
    image: float32 [h, w, 3].
    size: height and width of the frame, in pixels.
    at_own_size: an image that is not larger than the frame is not resized.

  Returns:
    float32 [height, width, 3], and the Model Garden's record of it, float32 [4, 2]: size of the original and of the
    frame, scale, offset; each y, x.
  """
  original = tf.shape(image)[:2]
  desired = tf.constant(size, tf.int32)
  if at_own_size:
    desired = tf.where(tf.reduce_all(original <= desired), original, desired)
  fitted, info = preprocess_ops.resize_and_crop_image(image, desired, padded_size=list(size))
  frame = tf.constant([size], tf.float32)
  return tf.ensure_shape(fitted, [*size, 3]), tf.concat([info[:1], frame, info[2:]], 0)


def shown_size(info: tf.Tensor) -> tf.Tensor:
  """Height and width, int32 [2], of the part of the frame that shows the image; `info` as `fit_image` gives it."""
  return tf.cast(tf.round(info[0] * info[2]), tf.int32)


def fit_mask(mask: tf.Tensor, info: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
  """Does to a mask what `fit_image` did to its image, sampling the nearest pixel.

  Args:
    mask: uint8 [h, w, 1].
    info: as `fit_image` gives it.
    size: height and width of the frame.

  Returns:
    uint8 [height, width, 1]; `keys.IGNORE_LABEL` outside the image.
  """
  shown = shown_size(info)
  resized = tf.image.resize(mask, shown, tf.image.ResizeMethod.NEAREST_NEIGHBOR)
  below, right = size[0] - shown[0], size[1] - shown[1]
  padded = tf.pad(resized, [[0, below], [0, right], [0, 0]], constant_values=keys.IGNORE_LABEL)
  return tf.ensure_shape(padded, [*size, 1])


def to_original(scores: tf.Tensor, info: tf.Tensor) -> tf.Tensor:
  """Cuts the padding off and resizes what is left to the image's own size, bilinearly.

  Args:
    scores: float32 [height, width, classes] on the frame.
    info: as `fit_image` gives it.

  Returns:
    float32 [h, w, classes].
  """
  shown = shown_size(info)
  return tf.image.resize(scores[: shown[0], : shown[1]], tf.cast(info[0], tf.int32))


def multi_scale_probabilities(
  logits_of: Callable[[tf.Tensor], tf.Tensor],
  images: tf.Tensor,
  scales: Sequence[float],
  flip: bool,
  stride: int,
  resize: images_lib.Resize = tf.image.resize,
) -> tf.Tensor:
  """Mean over several image sizes of a segmentation model's class probabilities (paper section 3.2, released code).

  Args:
    logits_of: the model, float32 [batch, h, w, 3] to [batch, h', w', classes].
    images: float32 [batch, height, width, 3], of static size, normalised; padding is 0.
    scales: sizes at which the images are shown to the model, relative to their own.
    flip: also show each mirrored left to right.
    stride: sides of what the model sees are padded to multiples of this.
    resize: enlarges logits to the size that the model saw.

  Returns:
    float32 [batch, height, width, classes], which sums to 1 over the classes.
  """
  height, width = images.shape[1:3]
  views = []
  for scale in scales:
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    resized = images if size == (height, width) else tf.image.resize(images, size)
    full = _full_logits(logits_of, resized, stride, resize)
    views.append(_probabilities(full, (height, width)))
    if flip:
      mirrored = _full_logits(logits_of, tf.reverse(resized, [2]), stride, resize)
      mirrored = _probabilities(mirrored, (height, width))
      views.append(tf.reverse(mirrored, [2]))
  return tf.add_n(views) / len(views)


def _full_logits(
  logits_of: Callable[[tf.Tensor], tf.Tensor],
  images: tf.Tensor,
  stride: int,
  resize: images_lib.Resize,
) -> tf.Tensor:
  """Logits of images, at their size."""
  height, width = images.shape[1:3]
  padded = [-(-side // stride) * stride for side in (height, width)]
  below, right = padded[0] - height, padded[1] - width
  logits = logits_of(tf.pad(images, [[0, 0], [0, below], [0, right], [0, 0]]))
  return resize(tf.cast(logits, tf.float32), padded)[:, :height, :width]


def _probabilities(logits: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
  """Class probabilities, resized to `size`."""
  probabilities = tf.nn.softmax(logits)
  return probabilities if logits.shape[1:3] == size else tf.image.resize(probabilities, size)


def count_pixels(
  classes: tf.Tensor, confidences: tf.Tensor, num_classes: int, bins: int
) -> tf.Tensor:
  """Histogram of confidences for each class.

  Args:
    classes: uint8 [...].
    confidences: uint8 [...], in steps of 1 / `CONFIDENCE_STEPS`.
    num_classes: number of classes.
    bins: number of bins of equal width from 0 to 1; the last one includes 1.

  Returns:
    int64 [num_classes, bins].
  """
  steps = tf.cast(confidences, tf.int32)
  bin_of = tf.minimum(steps * bins // CONFIDENCE_STEPS, bins - 1)
  cells = tf.cast(classes, tf.int32) * bins + bin_of
  counts = tf.math.bincount(
    tf.reshape(cells, [-1]), minlength=num_classes * bins, maxlength=num_classes * bins
  )
  return tf.cast(tf.reshape(counts, [num_classes, bins]), tf.int64)
