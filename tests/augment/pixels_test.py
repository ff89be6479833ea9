"""Colour ops against PIL, NumPy and the Model Garden, on images of every kind and size."""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.ops import augment
from PIL import Image, ImageEnhance, ImageOps

from official_selftrain.augment import pixels

FACTORS = (0.0, 0.1, 0.46, 1.0, 1.36, 1.9, 2.8)
_IMAGE = tf.TensorSpec([None, None, 3], tf.uint8)
_NUMBER = tf.TensorSpec([], tf.float32)


def _images():
  rng = np.random.default_rng(3)
  ramp = np.arange(256, dtype=np.uint8)
  return {
    'random': rng.integers(0, 256, [31, 45, 3]).astype(np.uint8),
    'large and dark': rng.integers(40, 90, [260, 280, 3]).astype(np.uint8),
    'constant': np.full([20, 30, 3], 60, np.uint8),
    'white': np.full([9, 8, 3], 255, np.uint8),
    'black': np.zeros([9, 8, 3], np.uint8),
    'two values': np.where(rng.random([12, 12, 3]) < 0.9, 100, 200).astype(np.uint8),
    'gradient to the right': np.stack([np.tile(ramp, [4, 1])] * 3, -1),
    'gradient down': np.stack([ramp, ramp[::-1], ramp // 2], -1)[:, None].repeat(5, 1),
    'one pixel': np.array([[[9, 200, 77]]], np.uint8),
    'two by three': rng.integers(0, 256, [2, 3, 3]).astype(np.uint8),
    'one column': rng.integers(0, 256, [40, 1, 3]).astype(np.uint8),
  }


IMAGES = _images()
# The Model Garden's convolution and others need room, or fail on one pixel.
LARGE = [name for name, image in IMAGES.items() if min(image.shape[:2]) >= 3]


@functools.cache
def _graph(op, num_arguments):
  return tf.function(op, input_signature=[_IMAGE, *[_NUMBER] * num_arguments])


def tearDownModule():
  # Graphs that outlive the test would be freed after what they need.
  _graph.cache_clear()


def _ours(op, image, *arguments):
  return _graph(op, len(arguments))(image, *arguments).numpy()


def _blend(degenerate, image, factor):
  mixed = degenerate + np.float32(factor) * (image.astype(np.float32) - degenerate)
  return np.clip(mixed, 0, 255).astype(np.uint8)


def _grey(image):
  """0.2989 r + 0.587 g + 0.114 b of bytes over 255, times 255.5, in whole numbers."""
  weighted = image.astype(np.int64) @ [2989, 5870, 1140]
  return weighted * 511 // (510 * 10000)


class _PixelsTest(parameterized.TestCase, tf.test.TestCase):
  def assertDiffersAtMost(self, got, expected, most, message):
    difference = np.abs(got.astype(int) - np.asarray(expected).astype(int)).max()
    self.assertLessEqual(difference, most, message)


class EnhanceTest(_PixelsTest):
  @parameterized.parameters(*IMAGES)
  def test_brightness(self, name):
    image = IMAGES[name]
    for factor in FACTORS:
      got = _ours(pixels.brightness, image, factor)
      self.assertAllEqual(got, ImageEnhance.Brightness(Image.fromarray(image)).enhance(factor))
      self.assertAllEqual(got, augment.brightness(tf.constant(image), factor))

  @parameterized.parameters(*IMAGES)
  def test_color(self, name):
    image = IMAGES[name]
    grey = _grey(image)[..., None].astype(np.float32)
    for factor in FACTORS:
      got = _ours(pixels.color, image, factor)
      self.assertAllEqual(got, augment.color(tf.constant(image), factor))
      self.assertAllEqual(got, _blend(grey, image, factor))
      # PIL rounds its grey, the Model Garden cuts off.
      theirs = ImageEnhance.Color(Image.fromarray(image)).enhance(factor)
      self.assertDiffersAtMost(got, theirs, 1 if factor < 2 else 2, (name, factor))

  def test_color_leaves_greys_alone(self):
    image = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, 2)
    for factor in FACTORS:
      self.assertAllEqual(_ours(pixels.color, image, factor), image)

  @parameterized.parameters(*IMAGES)
  def test_contrast(self, name):
    image = IMAGES[name]
    grey = _grey(image)
    for factor in FACTORS:
      got = _ours(pixels.contrast, image, factor)
      self.assertAllEqual(got, _blend(np.float32(grey.sum() // grey.size), image, factor))
      theirs = ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor)
      self.assertDiffersAtMost(got, theirs, 1 if factor < 2 else 2, (name, factor))

  def test_contrast_leaves_one_grey_alone_at_any_size(self):
    for side in (1, 7, 640, 1300):
      for value in (0, 1, 60, 165, 254, 255):
        image = np.full([side, side, 3], value, np.uint8)
        self.assertAllEqual(_ours(pixels.contrast, image, 0.1), image)

  @parameterized.parameters(*IMAGES)
  def test_sharpness(self, name):
    image = IMAGES[name]
    expected_smooth = image.copy()
    if name in LARGE:
      total = sum(
        image[1 + i : image.shape[0] - 1 + i, 1 + j : image.shape[1] - 1 + j].astype(int)
        * (5 if i == j == 0 else 1)
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
      )
      expected_smooth[1:-1, 1:-1] = total // 13
    for factor in FACTORS:
      got = _ours(pixels.sharpness, image, factor)
      self.assertAllEqual(got, _blend(expected_smooth.astype(np.float32), image, factor))
      theirs = ImageEnhance.Sharpness(Image.fromarray(image)).enhance(factor)
      self.assertDiffersAtMost(got, theirs, 1 if factor < 2 else 2, (name, factor))

  @parameterized.parameters(*LARGE)
  def test_sharpness_of_the_model_garden_differs_where_the_smooth_value_is_whole(self, name):
    image = IMAGES[name]
    for factor in (0.0, 0.1, 1.9):
      theirs = augment.sharpness(tf.constant(image), factor)
      self.assertDiffersAtMost(_ours(pixels.sharpness, image, factor), theirs, 1, (name, factor))
    if name == 'constant':
      self.assertAllEqual(theirs[1:-1, 1:-1], np.full([18, 28, 3], 60))
      darker = augment.sharpness(tf.constant(image), 0.1)
      self.assertAllEqual(darker[1:-1, 1:-1], np.full([18, 28, 3], 59))

  def test_factor_one_changes_nothing(self):
    for op in (pixels.brightness, pixels.color, pixels.contrast, pixels.sharpness):
      for name, image in IMAGES.items():
        self.assertAllEqual(_ours(op, image, 1.0), image, (op, name))


class ContrastOfTheModelGardenTest(_PixelsTest):
  def test_blends_with_the_number_of_pixels_over_256(self):
    for side, mean in ((10, 0), (100, 39), (200, 156), (256, 255), (300, 255)):
      image = np.full([side, side, 3], 60, np.uint8)
      expected = np.full_like(image, mean + 0.5 * (60 - mean))
      self.assertAllEqual(augment.contrast(tf.constant(image), 0.5), expected)
      self.assertAllEqual(_ours(pixels.contrast_as_released, image, 0.5), expected)
      self.assertAllEqual(_ours(pixels.contrast, image, 0.5), image)

  @parameterized.parameters(*IMAGES)
  def test_as_released_repeats_it(self, name):
    image = IMAGES[name]
    for factor in FACTORS:
      got = _ours(pixels.contrast_as_released, image, factor)
      self.assertAllEqual(got, augment.contrast(tf.constant(image), factor))


class ThresholdTest(_PixelsTest):
  @parameterized.parameters(*IMAGES)
  def test_solarize(self, name):
    image = IMAGES[name]
    for threshold in (0, 1, 51, 128, 254, 255, 256):
      got = _ours(pixels.solarize, image, float(threshold))
      self.assertAllEqual(got, ImageOps.solarize(Image.fromarray(image), threshold))
      self.assertAllEqual(got, np.where(image < threshold, image, 255 - image))
      if threshold < 256:
        self.assertAllEqual(got, augment.solarize(tf.constant(image), threshold))

  def test_a_threshold_of_256_inverts_everything_in_the_model_garden(self):
    image = IMAGES['random']
    self.assertAllEqual(augment.solarize(tf.constant(image), 256), 255 - image)
    self.assertAllEqual(_ours(pixels.solarize_as_released, image, 256.0), 255 - image)
    self.assertAllEqual(_ours(pixels.solarize, image, 256.0), image)
    # Level 15.
    self.assertAllEqual(
      _ours(pixels.solarize_as_released, image, 384.0), np.where(image < 128, image, 255 - image)
    )
    self.assertAllEqual(_ours(pixels.solarize, image, 384.0), image)

  def test_as_released_is_right_below(self):
    image = IMAGES['random']
    for threshold in (0.0, 51.0, 255.0):
      right = _ours(pixels.solarize, image, threshold)
      self.assertAllEqual(_ours(pixels.solarize_as_released, image, threshold), right)

  @parameterized.parameters(*IMAGES)
  def test_solarize_add(self, name):
    image = IMAGES[name]
    for addition in (0, 22, 110, 165):
      got = _ours(pixels.solarize_add, image, float(addition))
      expected = np.where(image < 128, np.minimum(image.astype(int) + addition, 255), image)
      self.assertAllEqual(got, expected)
      self.assertAllEqual(got, augment.solarize_add(tf.constant(image), addition))

  @parameterized.parameters(*IMAGES)
  def test_posterize(self, name):
    image = IMAGES[name]
    for bits in range(9):
      got = _ours(pixels.posterize, image, float(bits))
      self.assertAllEqual(got, image // 2 ** (8 - bits) * 2 ** (8 - bits))
      self.assertAllEqual(got, ImageOps.posterize(Image.fromarray(image), bits))
      if bits:
        self.assertAllEqual(got, augment.posterize(tf.constant(image), bits))

  def test_posterize_beyond_eight_bits_changes_nothing(self):
    self.assertAllEqual(_ours(pixels.posterize, IMAGES['random'], 9.0), IMAGES['random'])

  @parameterized.parameters(*IMAGES)
  def test_invert(self, name):
    image = IMAGES[name]
    got = _ours(pixels.invert, image)
    self.assertAllEqual(got, ImageOps.invert(Image.fromarray(image)))
    self.assertAllEqual(got, augment.invert(tf.constant(image)))


class HistogramTest(_PixelsTest):
  @parameterized.parameters(*IMAGES)
  def test_autocontrast(self, name):
    image = IMAGES[name]
    got = _ours(pixels.autocontrast, image)
    self.assertAllEqual(got, augment.autocontrast(tf.constant(image)))
    low, high = image.min((0, 1)).astype(np.float32), image.max((0, 1)).astype(np.float32)
    scale = np.float32(255) / np.maximum(high - low, 1)
    stretched = np.clip(image * scale - low * scale, 0, 255).astype(np.uint8)
    self.assertAllEqual(got, np.where(high > low, stretched, image))
    # PIL computes in double precision before it cuts off.
    self.assertDiffersAtMost(got, ImageOps.autocontrast(Image.fromarray(image)), 1, name)

  @parameterized.parameters(*IMAGES)
  def test_equalize(self, name):
    image = IMAGES[name]
    got = _ours(pixels.equalize, image)
    self.assertAllEqual(got, augment.equalize(tf.constant(image)))
    self.assertAllEqual(got, ImageOps.equalize(Image.fromarray(image)))

  def test_equalize_flattens_the_histogram(self):
    dark = IMAGES['large and dark']
    counts = np.histogram(_ours(pixels.equalize, dark)[..., 0], 8, (0, 256))[0]
    self.assertAllClose(counts / dark[..., 0].size, [0.125] * 8, atol=0.025)


class RectangleTest(_PixelsTest):
  def test_fill_rectangle_against_slices(self):
    rng = np.random.default_rng(5)
    signature = [_IMAGE, *[tf.TensorSpec([], tf.int32)] * 4]
    fill = tf.function(
      functools.partial(pixels.fill_rectangle, fill=128), input_signature=signature
    )
    for _ in range(40):
      height, width = rng.integers(1, 12, 2)
      top, left, bottom, right = (int(v) for v in rng.integers(-6, 18, 4))
      image = rng.integers(0, 256, [height, width, 3]).astype(np.uint8)
      expected = image.copy()
      expected[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 128
      self.assertAllEqual(fill(image, top, left, bottom, right), expected)

  def test_paste_against_slices(self):
    rng = np.random.default_rng(6)
    for _ in range(20):
      image = rng.integers(0, 256, [9, 7, 1]).astype(np.uint8)
      height, width = rng.integers(0, 8, 2)
      top, left = rng.integers(0, [10 - height, 8 - width])
      patch = rng.integers(0, 256, [height, width, 1]).astype(np.uint8)
      expected = image.copy()
      expected[top : top + height, left : left + width] = patch
      self.assertAllEqual(pixels.paste(tf.constant(image), tf.constant(patch), top, left), expected)


class GraphTest(_PixelsTest):
  def test_sharpness_of_a_size_that_is_known_and_small(self):
    for shape in ([1, 1, 3], [1, 9, 3], [9, 2, 3], [2, 2, 3]):
      image = np.full(shape, 40, np.uint8)
      graph = tf.function(
        pixels.sharpness, input_signature=[tf.TensorSpec(shape, tf.uint8), _NUMBER]
      )
      self.assertAllEqual(graph(image, 1.9), image)

  def test_eager_and_a_dataset_give_the_same_bytes(self):
    image = tf.constant(IMAGES['random'])
    factor = tf.constant(1.36)
    for op, arguments in (
      (pixels.brightness, (factor,)),
      (pixels.color, (factor,)),
      (pixels.contrast, (factor,)),
      (pixels.sharpness, (factor,)),
      (pixels.autocontrast, ()),
      (pixels.equalize, ()),
    ):
      eager = op(image, *arguments)
      dataset = tf.data.Dataset.from_tensors(image).map(lambda x, op=op, a=arguments: op(x, *a))
      self.assertAllEqual(next(iter(dataset)), eager)
      self.assertAllEqual(_ours(op, image, *arguments), eager)


del _PixelsTest  # Has no tests of its own.

if __name__ == '__main__':
  tf.test.main()
