"""Images made ready as a batch: the same as the Model Garden's functions, image by image."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.ops import preprocess_ops

from official_selftrain.ops import images as image_ops
from official_selftrain.ops import masks
from official_selftrain.serving import pixels


def _expected(image, frame, padded):
  normalized = preprocess_ops.normalize_image(
    tf.cast(image, tf.float32), preprocess_ops.MEAN_RGB, preprocess_ops.STDDEV_RGB
  )
  return preprocess_ops.resize_and_crop_image(normalized, frame, padded)


class FitTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.product(
    size=((64, 64), (48, 64), (100, 37), (31, 200), (128, 64)),
    padded=((64, 64), (96, 128)),
    is_static=(True, False),
  )
  def test_equals_the_model_garden(self, size, padded, is_static):
    frame = [64, 64]
    images = np.random.default_rng(0).integers(0, 256, [2, *size, 3], np.uint8)
    shape = [None, *(size if is_static else (None, None)), 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])
    def fit(images):
      fitted = pixels.fit(images, frame, padded)
      return fitted, fitted.infos(frame)

    self.assertEqual(fit.get_concrete_function().output_shapes[0].images[1:], [*padded, 3])
    fitted, infos = fit(images)
    for i, image in enumerate(images):
      expected, info = _expected(image, frame, list(padded))
      self.assertAllClose(fitted.images[i], expected, atol=1e-5)
      self.assertAllClose(infos[i], info)
    self.assertAllEqual(fitted.original, size)
    # What lies beyond the image is padding, and the last row and column of the image are not.
    height, width = fitted.shown.numpy()
    self.assertEqual(max(height, width), 64)
    self.assertAllEqual(fitted.images[:, height:], tf.zeros_like(fitted.images[:, height:]))
    self.assertAllEqual(fitted.images[:, :, width:], tf.zeros_like(fitted.images[:, :, width:]))
    self.assertGreater(np.ptp(fitted.images[:, height - 1, :width]), 0.1)

  @parameterized.product(size=((40, 30), (64, 48), (100, 37), (31, 200)), is_static=(True, False))
  def test_at_own_size(self, size, is_static):
    images = np.random.default_rng(1).integers(0, 256, [1, *size, 3], np.uint8)
    shape = [None, *(size if is_static else (None, None)), 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])
    def fit(images):
      fitted = pixels.fit(images, [64, 64], [64, 64], at_own_size=True)
      return fitted, fitted.infos([64, 64])

    fitted, infos = fit(images)
    expected, info = masks.fit_image(image_ops.normalize(images[0]), (64, 64), at_own_size=True)
    self.assertAllClose(fitted.images[0], expected, atol=1e-5)
    self.assertAllClose(infos[0], info)
    if max(size) <= 64:
      self.assertAllEqual(fitted.shown, size)


if __name__ == '__main__':
  tf.test.main()
