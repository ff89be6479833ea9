"""Views: the same seed and the same bytes, each distortion against NumPy, and two views that share no draw."""

import colorsys

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.augment import crops, views
from official_selftrain.configs import contrastive

_STILL = contrastive.Views(
  crop_min_area=1.0,
  flip_probability=0.0,
  colour_probability=0.0,
  grey_probability=0.0,
  blur_probability=0.0,
)


def _image(height=48, width=48, seed=0):
  return np.random.default_rng(seed).integers(0, 256, [height, width, 3]).astype(np.uint8)


def _seed(number):
  return tf.constant([number, 17], tf.int32)


class ViewTest(parameterized.TestCase, tf.test.TestCase):
  def test_the_same_seed_gives_the_same_bytes(self):
    settings = contrastive.Views()
    make = tf.function(lambda image, seed: views.two_views(image, seed, (32, 32), settings))
    found = [make(_image(), _seed(n)) for n in range(6)]
    self.assertLen({pair.numpy().tobytes() for pair in found}, 6)
    dataset = tf.data.Dataset.range(6).map(
      lambda n: make(_image(), tf.stack([tf.cast(n, tf.int32), 17])), num_parallel_calls=4
    )
    for ours, theirs in zip(found, dataset, strict=True):
      self.assertAllEqual(ours, theirs)
      self.assertAllInRange(ours, 0.0, 255.0)

  def test_nothing_but_the_resize(self):
    image = _image()
    found = views.view(image, _seed(1), (48, 48), _STILL)
    self.assertAllEqual(found, image.astype(np.float32))

  def test_mirrored(self):
    found = views.view(_image(), _seed(1), (48, 48), _STILL.replace(flip_probability=1.0))
    self.assertAllEqual(found, _image()[:, ::-1])

  def test_grey(self):
    found = views.view(_image(), _seed(1), (48, 48), _STILL.replace(grey_probability=1.0)).numpy()
    luminance = _image() @ np.array([0.299, 0.587, 0.114])
    self.assertAllClose(found, np.repeat(luminance[..., None], 3, axis=2), atol=1e-3)

  @parameterized.parameters((1, 1), (3, 200), (1, 9))
  def test_small_and_long_images(self, height, width):
    found = views.two_views(_image(height, width), _seed(3), (16, 16), contrastive.Views())
    self.assertEqual(found.shape, [2, 16, 16, 3])
    self.assertAllInRange(found, 0.0, 255.0)

  def test_chances(self):
    make = tf.function(
      lambda seed: views.view(
        _image(), seed, (48, 48), _STILL.replace(flip_probability=0.3, grey_probability=0.2)
      )
    )
    found = [make(_seed(n)).numpy() for n in range(300)]
    is_grey = np.array([np.ptp(view, axis=2).max() < 1e-3 for view in found])
    self.assertAllInRange(is_grey.mean(), 0.13, 0.27)
    corner = _image()[0, 0].astype(np.float32)
    is_still = np.array([np.abs(view[0, 0] - corner).max() < 1e-3 for view in found])
    self.assertAllInRange(is_still.sum() / (~is_grey).sum(), 0.61, 0.79)


class TwoViewsTest(tf.test.TestCase):
  def test_crops_and_colours_are_never_shared(self):
    rows, columns = np.mgrid[:200, :200]
    image = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
    places = tf.function(
      lambda seed: views.two_views(
        image, seed, (20, 20), _STILL.replace(crop_min_area=0.1, crop_max_area=0.5)
      )
    )
    flat = np.full([8, 8, 3], [90, 120, 60], np.uint8)
    colours = tf.function(
      lambda seed: views.two_views(flat, seed, (8, 8), _STILL.replace(colour_probability=1.0))
    )
    for number in range(200):
      first, second = places(_seed(number)).numpy()
      self.assertNotAllEqual(first, second)
      first, second = colours(_seed(number)).numpy()
      self.assertGreater(np.abs(first - second).max(), 1e-3)


class ColourTest(tf.test.TestCase):
  def _alone(self, name, amount):
    """The image with one distortion, made of matrix and offset as `distort_colours` has them."""
    pixels = tf.cast(_image(), tf.float32)
    if name == 'saturation':
      return views._mixed(pixels, views._saturation(amount))
    return views._mixed(pixels, views._hue(amount))

  def test_saturation(self):
    image = _image().astype(np.float64)
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    for factor in (0.3, 1.6):
      expected = np.clip(factor * image + (1 - factor) * grey, 0, 255)
      self.assertAllClose(self._alone('saturation', factor), expected, atol=0.01)

  def test_hue_leaves_grey_and_luminance(self):
    greys = tf.constant([[[10.0] * 3, [200.0] * 3]])
    self.assertAllClose(views._mixed(greys, views._hue(1.2)), greys, atol=0.1)
    soft = tf.constant([[[120.0, 130.0, 125.0]]])
    turned = views._mixed(soft, views._hue(1.2)).numpy()
    weights = np.array([0.299, 0.587, 0.114])
    self.assertAllClose(turned @ weights, soft.numpy() @ weights, atol=0.05)

  def test_hue_turns_as_in_hsv(self):
    soft = np.array([140.0, 120.0, 120.0])
    turned = [
      views._mixed(tf.constant(soft[None, None], tf.float32), views._hue(turn)).numpy()[0, 0]
      for turn in (-0.5, 0.0, 0.5)
    ]
    hues = [colorsys.rgb_to_hsv(*(colour / 255))[0] for colour in turned]
    # Half a radian is 0.08 of a turn; angles in the planes of YIQ and HSV are not quite the same.
    steps = (np.diff(hues) + 0.5) % 1.0 - 0.5
    self.assertAllInRange(np.abs(steps), 0.05, 0.12)
    self.assertAllEqual(np.sign(steps), [np.sign(steps[0])] * 2)
    self.assertAllClose(views._hue(2.0 * np.pi), np.eye(3), atol=1e-3)

  def test_strength_0_changes_nothing(self):
    pixels = tf.cast(_image(), tf.float32)
    self.assertAllClose(views.distort_colours(pixels, _seed(5), 0.0), pixels, atol=0.05)

  def test_brightness_and_contrast_of_one_colour(self):
    # Contrast leaves a constant image; so does saturation where it is grey, and hue.
    flat = tf.fill([4, 4, 3], 100.0)
    found = [float(views.distort_colours(flat, _seed(n), 0.5)[0, 0, 0]) for n in range(200)]
    self.assertAllInRange(found, 60.0 - 0.1, 140.0 + 0.1)
    self.assertLess(min(found), 65.0)
    self.assertGreater(max(found), 135.0)

  def test_contrast(self):
    pixels = tf.constant([[[50.0] * 3, [150.0] * 3]])
    spreads = []
    for number in range(100):
      found = views.distort_colours(pixels, _seed(number), 0.2).numpy()
      spreads.append((found[0, 1, 0] - found[0, 0, 0]) / found.mean())
    # The spread over the mean is 1, times a factor of contrast of 0.84 to 1.16.
    self.assertAllInRange(spreads, 0.83, 1.17)
    self.assertGreater(np.ptp(spreads), 0.25)


class BlurTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(0.4, 1.5)
  def test_is_a_gaussian(self, sigma):
    image = _image(30, 40).astype(np.float32)
    found = views.blur(tf.constant(image), tf.constant(sigma), 0.4)
    weights = np.exp(-(np.arange(-6, 7) ** 2) / (2 * sigma**2))
    expected = np.pad(image, [(6, 6), (6, 6), (0, 0)], 'reflect')
    for axis in (0, 1):
      expected = np.apply_along_axis(np.convolve, axis, expected, weights / weights.sum(), 'valid')
    self.assertAllClose(found, expected, atol=0.05)

  def test_keeps_one_colour(self):
    flat = tf.fill([12, 12, 3], 77.0)
    self.assertAllClose(views.blur(flat, tf.constant(2.0), 0.5), flat, atol=1e-3)


class CropTest(tf.test.TestCase):
  def test_a_view_shows_the_crop_of_its_seed(self):
    seed = _seed(8)
    crop_seed = tf.random.experimental.stateless_split(seed, 4)[0]
    settings = _STILL.replace(crop_min_area=0.1, crop_max_area=0.3)
    expected = crops.random_crop(_image(), crop_seed, (0.1, 0.3), (24, 24))
    found = views.view(_image(), seed, (24, 24), settings)
    self.assertAllEqual(found, tf.cast(expected, tf.float32))


if __name__ == '__main__':
  tf.test.main()
