"""Normalisation against the Model Garden's."""

import numpy as np
import tensorflow as tf
from official.vision.ops import preprocess_ops

from official_selftrain.ops import images


class DenormalizeTest(tf.test.TestCase):
  def test_it_undoes_normalize(self):
    image = np.random.default_rng(0).integers(0, 256, [17, 23, 3])
    self.assertAllEqual(images.denormalize(images.normalize(tf.constant(image, tf.uint8))), image)

  def test_values_out_of_range_are_clipped(self):
    self.assertAllEqual(images.denormalize(tf.constant([[9.0, 0.0, -9.0]])), [[255, 116, 0]])


class NormalizeTest(tf.test.TestCase):
  def test_equals_the_model_garden(self):
    image = tf.constant(np.random.default_rng(0).integers(0, 256, [17, 23, 3]), tf.uint8)
    expected = preprocess_ops.normalize_image(image)
    self.assertAllClose(images.normalize(image), expected, atol=2e-6)
    dataset = tf.data.Dataset.from_tensors(image).map(images.normalize)
    self.assertAllClose(next(iter(dataset)), expected, atol=2e-6)

  def test_by_hand(self):
    image = tf.constant([[[0, 255, 51]]], tf.uint8)
    expected = [-0.485 / 0.229, (1 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    self.assertAllClose(images.normalize(image)[0, 0], expected, atol=1e-6)


if __name__ == '__main__':
  tf.test.main()
