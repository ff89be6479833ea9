"""Affine maps of images, masks and boxes; one resampling however many maps were composed.

A map is a float32 [3, 3] matrix that takes a point of the source, a column (x, y, 1), to its place in the result.
Points are in pixels with (0, 0) at the outer corner of the first pixel, the frame of boxes: the centre of the first
pixel is (0.5, 0.5).
"""

import math

import tensorflow as tf
import tensorflow_addons as tfa


def matrix(rows: list[list[tf.Tensor | float]]) -> tf.Tensor:
  """Float32 [3, 3] from two rows of three numbers or scalars (a, b, c): x' = a x + b y + c, and so y'."""
  return tf.stack(
    [tf.stack([tf.cast(v, tf.float32) for v in row]) for row in [*rows, [0.0, 0.0, 1.0]]]
  )


def identity() -> tf.Tensor:
  """The map that moves nothing."""
  return tf.eye(3)


def scaling_and_shift(scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
  """Scales about (0, 0), then shifts.

  Args:
    scale: float32 [2], of y and of x.
    shift: float32 [2], of y and of x, in pixels of the result.
  """
  return matrix([[scale[1], 0.0, shift[1]], [0.0, scale[0], shift[0]]])


def mirroring(width: tf.Tensor) -> tf.Tensor:
  """Mirrors left to right an image of `width` pixels."""
  return matrix([[-1.0, 0.0, width], [0.0, 1.0, 0.0]])


# Places of the parameters of `motion`.
MOTIONS = ('degrees', 'shear_x', 'shear_y', 'left', 'up', 'mirrored')


def motion(parameters: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
  """One motion of a whole image: at most one parameter differs from zero.

  Args:
    parameters: float32 [6], in the order of `MOTIONS`: rotation counter-clockwise, as seen on the screen, about the
      centre; `shear_x`: the row of pixels i (from 0) moves to the left by `shear_x` times i pixels; `shear_y`: the
      column i moves up by `shear_y` times i pixels; shifts to the left and up, in pixels, which are rounded to whole
      ones; 1 mirrors left to right.
    size: float32 [2], height and width of the image.

  Returns:
    The map, float32 [3, 3].
  """
  degrees, shear_x, shear_y, left, up, mirrored = tf.unstack(parameters)
  angle = degrees * (math.pi / 180.0)
  cosine, sine = tf.cos(angle), tf.sin(angle)
  y, x = tf.unstack(size / 2.0)
  return matrix(
    [
      [
        cosine - 2.0 * mirrored,
        sine - shear_x,
        x - cosine * x - sine * y + 0.5 * shear_x - tf.round(left) + 2.0 * x * mirrored,
      ],
      [-sine - shear_y, cosine, y + sine * x - cosine * y + 0.5 * shear_y - tf.round(up)],
    ]
  )


def is_translation(forward: tf.Tensor) -> tf.Tensor:
  """Whether a map moves all points by the same whole numbers of pixels, bool scalar."""
  moved = forward[:2, 2]
  is_whole = tf.reduce_all(tf.equal(moved, tf.round(moved)))
  return tf.logical_and(is_whole, tf.reduce_all(tf.equal(forward[:2, :2], tf.eye(2))))


def _between_centres(forward: tf.Tensor) -> tf.Tensor:
  """From a pixel of the result to its place in the source, both counted from the centre of the first pixel."""
  centre = tf.constant([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
  corner = tf.constant([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
  return corner @ tf.linalg.inv(forward) @ centre


def warp_nearest(
  image: tf.Tensor, forward: tf.Tensor, output_size: tf.Tensor, fill: float
) -> tf.Tensor:
  """Takes the nearest pixel of an image under a map.

  Args:
    image: [h, w, c].
    forward: the map, invertible.
    output_size: int32 [2], height and width of the result.
    fill: value of pixels whose place in the source is outside it.

  Returns:
    [height, width, c] of the same type.
  """
  return _transform(image, forward, output_size, fill, 'nearest')


def _transform(
  image: tf.Tensor, forward: tf.Tensor, output_size: tf.Tensor, fill: float, interpolation: str
) -> tf.Tensor:
  """See `warp_nearest`; computed by an operation of TensorFlow itself."""
  return tfa.image.transform(
    image,
    tf.reshape(_between_centres(forward), [9])[:8],
    interpolation=interpolation,
    fill_value=fill,
    output_shape=output_size,
  )


def warp_bilinear(
  image: tf.Tensor,
  forward: tf.Tensor,
  output_size: tf.Tensor,
  fill: float,
  core_ops: bool = False,
) -> tf.Tensor:
  """Interpolates an image under a map; at the border, between the image and `fill`.

  Args:
    image: float32 [h, w, c].
    forward: see `warp_nearest`, as the other arguments.
    output_size: see there.
    fill: see there.
    core_ops: use an operation of TensorFlow itself, not the one of tensorflow-addons, which is twice as fast.

  Returns:
    float32 [height, width, c].
  """
  if core_ops:
    return _transform(image, forward, output_size, fill, 'bilinear')
  inverse = _between_centres(forward)
  y, x = (tf.range(tf.cast(size, tf.float32)) for size in tf.unstack(output_size))
  # Rows of x and y in turn: broadcasting over an innermost dimension of two would be slow.
  along_x = tf.stack([inverse[0, 0] * x + inverse[0, 2], inverse[1, 0] * x + inverse[1, 2]], -1)
  along_y = tf.tile(tf.stack([inverse[0, 1], inverse[1, 1]]), output_size[1:])
  places = tf.reshape(along_x, [-1]) + y[:, None] * along_y
  places = tf.reshape(places, [1, output_size[0], output_size[1], 2])
  # Pixels outside count as zero.
  return tfa.image.resampler((image - fill)[None], places)[0] + fill


def shift(image: tf.Tensor, down: tf.Tensor, right: tf.Tensor, fill: int) -> tf.Tensor:
  """Moves an image by whole pixels within its frame.

  Args:
    image: [h, w, c].
    down: int32 scalar, negative moves up.
    right: int32 scalar, negative moves to the left.
    fill: value of uncovered pixels.

  Returns:
    The image, of the same shape.
  """
  shape = tf.shape(image)
  down = tf.clip_by_value(down, -shape[0], shape[0])
  right = tf.clip_by_value(right, -shape[1], shape[1]) * shape[2]
  rows = tf.reshape(image, [shape[0], -1])
  width = tf.shape(rows)[1]
  kept = rows[
    tf.nn.relu(-down) : shape[0] - tf.nn.relu(down), tf.nn.relu(-right) : width - tf.nn.relu(right)
  ]
  around = [[tf.nn.relu(down), tf.nn.relu(-down)], [tf.nn.relu(right), tf.nn.relu(-right)]]
  return tf.reshape(tf.pad(kept, around, constant_values=fill), shape)


def warp_boxes(boxes: tf.Tensor, forward: tf.Tensor) -> tf.Tensor:
  """Upright hulls of transformed boxes.

  Args:
    boxes: float32 [n, 4], yxyx in pixels.
    forward: the map.

  Returns:
    float32 [n, 4], the smallest upright boxes that hold the images of the four corners; not clipped.
  """
  ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
  x = tf.stack([xmin, xmax, xmin, xmax], axis=-1)
  y = tf.stack([ymin, ymin, ymax, ymax], axis=-1)
  moved_x = forward[0, 0] * x + forward[0, 1] * y + forward[0, 2]
  moved_y = forward[1, 0] * x + forward[1, 1] * y + forward[1, 2]
  return tf.stack(
    [
      tf.reduce_min(moved_y, -1),
      tf.reduce_min(moved_x, -1),
      tf.reduce_max(moved_y, -1),
      tf.reduce_max(moved_x, -1),
    ],
    axis=-1,
  )


def clip_boxes(boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
  """Clips float32 [n, 4] yxyx boxes in pixels to an image of `size`, float32 [2] (height, width)."""
  return tf.clip_by_value(boxes, 0.0, tf.tile(size, [2]))


def areas(boxes: tf.Tensor) -> tf.Tensor:
  """Areas of yxyx boxes [..., 4]; zero for boxes without extent."""
  sides = tf.nn.relu(boxes[..., 2:] - boxes[..., :2])
  return sides[..., 0] * sides[..., 1]
