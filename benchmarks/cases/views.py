"""Two views of a photograph for SimCLR: images per second and core, ours over keras-cv's layers and TensorFlow's ops.

A 640 x 427 photograph in memory becomes two views of 224 x 224: crop, flip, distorted colours, grey, blur. One thread,
processor time, each contender as its own `Dataset.map`. keras-cv's are the layers of its SimCLR augmenter with a blur
and the strength of SimCLR's paper; they see one image at a time here. TensorFlow's is the recipe of that paper in
`tf.image` ops with seeds: bicubic crops and hue in HSV, where ours are bilinear and in YIQ (see `augment.views`).
"""

from collections.abc import Callable

import tensorflow as tf
from sklearn import datasets as photographs

from benchmarks import results, timing, workbench
from official_selftrain.augment import views
from official_selftrain.configs import contrastive

NEEDS_WORKBENCH = True
TARGET = results.Target(at_least=2.0)
_SIDE = 224
_IMAGES = 40
_ROUNDS = 7

Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  references = {'keras-cv': _keras_cv(), "TensorFlow's ops": _tensorflow}
  rows = []
  for name, reference in references.items():
    workbench.say(name)
    seconds = timing.interleave(
      {'ours': timing.cpu(_drain(_ours)), 'reference': timing.cpu(_drain(reference))},
      bench.effort.rounds(_ROUNDS),
    )
    rows.append(
      results.compare(
        'views',
        f'two views : {name}',
        'images/s',
        seconds['ours'],
        seconds['reference'],
        figure=lambda value: _IMAGES / value,
        # The recipe in TensorFlow's ops is an imitation of code that is not at hand.
        target=TARGET if name == 'keras-cv' else None,
      )
    )
  return rows


def _drain(step: Step) -> Callable[[], None]:
  """A function that puts photographs through `step` in one thread."""
  images = tf.data.Dataset.from_tensor_slices(photographs.load_sample_images().images).cache()
  dataset = images.repeat().enumerate()
  dataset = dataset.map(lambda number, image: step(image, tf.stack([tf.cast(number, tf.int32), 0])))
  return workbench.drain(dataset, _IMAGES)


def _ours(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
  return views.two_views(image, seed, (_SIDE, _SIDE), contrastive.Views())


def _keras_cv() -> Step:
  from keras_cv import layers

  augment = tf.keras.Sequential(
    [
      layers.RandomFlip('horizontal'),
      layers.RandomCropAndResize((_SIDE, _SIDE), (0.08, 1.0), (3 / 4, 4 / 3)),
      layers.RandomApply(
        layers.RandomColorJitter(
          (0, 255),
          brightness_factor=0.8,
          contrast_factor=0.8,
          saturation_factor=(0.1, 0.9),
          hue_factor=0.2,
        ),
        rate=0.8,
      ),
      layers.RandomApply(layers.Grayscale(output_channels=3), rate=0.2),
      layers.RandomApply(layers.RandomGaussianBlur(kernel_size=23, factor=(0.1, 2.0)), rate=0.5),
    ]
  )

  def step(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    del seed
    batch = tf.cast(image, tf.float32)[tf.newaxis]
    return tf.concat([augment(batch, training=True) for _ in range(2)], axis=0)

  return step


def _tensorflow(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
  seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
  return tf.stack([_tensorflow_view(image, each) for each in seeds])


def _tensorflow_view(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
  """One view; float32 [224, 224, 3] in 0..1."""
  seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 8))
  begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
    tf.shape(image),
    tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
    seeds[0],
    aspect_ratio_range=(3 / 4, 4 / 3),
    area_range=(0.08, 1.0),
    use_image_if_no_bounding_boxes=True,
  )
  part = tf.image.convert_image_dtype(tf.slice(image, begin, size), tf.float32)
  part = tf.image.resize(part, [_SIDE, _SIDE], 'bicubic')
  part = tf.image.stateless_random_flip_left_right(part, seeds[1])
  chances = tf.random.stateless_uniform([3], seeds[2])
  part = tf.cond(chances[0] < 0.8, lambda: _jittered(part, seeds[3], seeds[4]), lambda: part)
  grey = lambda: tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(part))  # noqa: E731
  part = tf.cond(chances[1] < 0.2, grey, lambda: part)
  return tf.cond(chances[2] < 0.5, lambda: _blurred(part, seeds[5]), lambda: part)


def _jittered(part: tf.Tensor, seed: tf.Tensor, order_seed: tf.Tensor) -> tf.Tensor:
  amounts = tf.random.stateless_uniform([3], seed, 0.2, 1.8)
  turn = tf.random.stateless_uniform([], order_seed, -0.2, 0.2)
  changes = [
    lambda pixels: pixels * amounts[0],
    lambda pixels: tf.image.adjust_contrast(pixels, amounts[1]),
    lambda pixels: tf.image.adjust_saturation(pixels, amounts[2]),
    lambda pixels: tf.image.adjust_hue(pixels, turn),
  ]
  order = tf.argsort(tf.random.stateless_uniform([4], order_seed))
  for place in range(4):
    branches = [lambda change=change, pixels=part: change(pixels) for change in changes]
    part = tf.clip_by_value(tf.switch_case(order[place], branches), 0.0, 1.0)
  return part


def _blurred(part: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
  sigma = tf.random.stateless_uniform([], seed, 0.1, 2.0)
  places = tf.range(-11.0, 12.0)
  weights = tf.nn.softmax(-(places**2) / (2.0 * sigma**2))
  pixels = part[tf.newaxis]
  for shape in ([-1, 1, 1, 1], [1, -1, 1, 1]):
    kernel = tf.tile(tf.reshape(weights, shape), [1, 1, 3, 1])
    pixels = tf.nn.depthwise_conv2d(pixels, kernel, [1, 1, 1, 1], 'SAME')
  return pixels[0]
