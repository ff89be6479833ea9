"""Transforms of decoded examples: image and boxes move together, randomness comes from the example's seed.

An example is a dictionary with the keys of `core.keys`: `image` [h, w, 3], `groundtruth_boxes` [n, 4] float32 yxyx
normalised to [0, 1], and `seed` int32 [2]. A transform is a frozen dataclass that maps an example to an example, uses
only stateless random ops, and leaves a fresh seed behind. So the same seed gives the same pixels in eager mode,
inside `Dataset.map` at any parallelism, and after a resume.
"""

import dataclasses

import tensorflow as tf

from official_selftrain.core import keys

Example = dict[str, tf.Tensor]


def take_seed(example: Example) -> tuple[Example, tf.Tensor]:
  """Splits the example's seed: returns the example with its next seed, and an int32 [2] seed to use now."""
  seeds = tf.random.split(example[keys.SEED], 2)
  return {**example, keys.SEED: seeds[0]}, seeds[1]


@dataclasses.dataclass(frozen=True)
class RandomHorizontalFlip:
  """Mirrors image and boxes left to right.

  Attributes:
    probability: chance that an example is mirrored.
  """

  probability: float = 0.5

  def __call__(self, example: Example) -> Example:
    example, seed = take_seed(example)
    flipped = tf.random.stateless_uniform([], seed) < self.probability
    ymin, xmin, ymax, xmax = tf.unstack(example[keys.GROUNDTRUTH_BOXES], axis=-1)
    mirrored = tf.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=-1)
    image = example['image']
    return {
      **example,
      'image': tf.cond(flipped, lambda: tf.reverse(image, [1]), lambda: image),
      keys.GROUNDTRUTH_BOXES: tf.where(flipped, mirrored, example[keys.GROUNDTRUTH_BOXES]),
    }


@dataclasses.dataclass(frozen=True)
class JitteredResizeAndCrop:
  """Resizes by a random factor, crops at a random offset, pads at the bottom and right (paper section 3.1, FlipCrop).

  The factor s is uniform in [scale_min, scale_max]; the image keeps its aspect ratio and its longer side
  (relative to the output) becomes s times the output's. The result's `image` is float32, `groundtruth_boxes` are in
  pixels of the output, clipped to the part of it that shows the image; boxes may have become empty. `image_info` is
  the Model Garden's [4, 2] record of the step.

  Attributes:
    output_size: (height, width) of the result in pixels.
    scale_min: smallest factor.
    scale_max: largest factor.
    pad_value: colour of uncovered pixels, in the image's own range.
  """

  output_size: tuple[int, int]
  scale_min: float = 1.0
  scale_max: float = 1.0
  pad_value: tuple[float, float, float] = (0.0, 0.0, 0.0)

  def __call__(self, example: Example) -> Example:
    example, seed = take_seed(example)
    draws = tf.random.stateless_uniform([3], seed)
    factor = self.scale_min + draws[0] * (self.scale_max - self.scale_min)
    image = example['image']
    original = tf.cast(tf.shape(image)[:2], tf.float32)
    output = tf.constant(self.output_size, tf.float32)
    scale = tf.reduce_min(tf.round(factor * output) / original)
    scaled = tf.maximum(tf.round(original * scale), 1.0)
    offset = tf.floor(tf.nn.relu(scaled - output) * draws[1:])

    visible = tf.minimum(scaled - offset, output)
    image = tf.image.resize(image, tf.cast(scaled, tf.int32))
    top, left = tf.unstack(tf.cast(offset, tf.int32))
    height, width = tf.unstack(tf.cast(visible, tf.int32))
    pad = tf.constant(self.pad_value, image.dtype)
    image = image[top : top + height, left : left + width] - pad
    image = tf.image.pad_to_bounding_box(image, 0, 0, *self.output_size) + pad
    image.set_shape([*self.output_size, 3])

    boxes = example[keys.GROUNDTRUTH_BOXES] * tf.tile(scaled, [2]) - tf.tile(offset, [2])
    boxes = tf.clip_by_value(boxes, 0.0, tf.tile(visible, [2]))
    return {
      **example,
      'image': image,
      keys.GROUNDTRUTH_BOXES: boxes,
      'image_info': tf.stack([original, output, scaled / original, offset]),
    }


def keep_boxes(example: Example, keep: tf.Tensor) -> Example:
  """Drops boxes and everything that belongs to them.

  Args:
    example: any entry whose name starts with `groundtruth_` has the boxes in its first dimension.
    keep: bool [n].

  Returns:
    The example with the rows where `keep` is True.
  """
  per_box = {
    k: tf.boolean_mask(v, keep) for k, v in example.items() if k.startswith('groundtruth_')
  }
  return {**example, **per_box}
