"""Frames around images, the way back to the image's own size, and probabilities over several sizes."""

import numpy as np
import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.ops import masks

IGNORE = keys.IGNORE_LABEL


def _info(original, scale, frame=(8, 8)):
  return tf.constant([original, frame, [scale, scale], [0, 0]], tf.float32)


class FitTest(tf.test.TestCase):
  def test_small_images_are_enlarged_to_fit_and_padded_at_the_end(self):
    image = tf.ones([2, 4, 3])
    fitted, info = masks.fit_image(image, (8, 8))
    self.assertAllEqual(info, [[2, 4], [8, 8], [2, 2], [0, 0]])
    expected = np.zeros([8, 8, 3])
    expected[:4] = 1
    self.assertAllClose(fitted, expected)
    self.assertAllEqual(masks.shown_size(info), [4, 8])

  def test_at_own_size_small_images_are_only_padded(self):
    image = tf.random.stateless_uniform([5, 6, 3], [1, 2])
    fitted, info = masks.fit_image(image, (8, 8), at_own_size=True)
    self.assertAllEqual(info, [[5, 6], [8, 8], [1, 1], [0, 0]])
    self.assertAllClose(fitted[:5, :6], image)
    self.assertAllEqual(fitted[5:], np.zeros([3, 8, 3]))

  def test_at_own_size_larger_images_are_shrunk_to_fit(self):
    for size in ((16, 4), (4, 16), (9, 9)):
      with self.subTest(size=size):
        image = tf.ones([*size, 3])
        fitted, info = masks.fit_image(image, (8, 8), at_own_size=True)
        shrunk, expected = masks.fit_image(image, (8, 8))
        self.assertAllEqual(info, expected)
        self.assertAllEqual(fitted, shrunk)
        self.assertEqual(int(tf.reduce_max(masks.shown_size(info))), 8)

  def test_masks_follow_their_image_and_are_ignored_in_the_padding(self):
    mask = tf.constant([[1, 2], [3, IGNORE]], tf.uint8)[..., None]
    fitted = masks.fit_mask(mask, _info([2, 2], 2.0), (5, 6))
    expected = np.full([5, 6], IGNORE)
    expected[:4, :4] = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, IGNORE, IGNORE], [3, 3, IGNORE, IGNORE]]
    self.assertAllEqual(fitted[..., 0], expected)
    self.assertEqual(fitted.dtype, tf.uint8)

  def test_the_way_back_forgets_the_padding(self):
    scores = np.zeros([8, 8, 2], np.float32)
    scores[:4, :8, 0] = 1.0
    scores[4:, :, 1] = 9.0
    back = masks.to_original(tf.constant(scores), _info([2, 4], 2.0))
    self.assertAllClose(back, np.stack([np.ones([2, 4]), np.zeros([2, 4])], -1))

  def test_there_and_back_at_the_same_size_changes_nothing(self):
    image = tf.random.stateless_uniform([7, 5, 3], [3, 4])
    fitted, info = masks.fit_image(image, (8, 8), at_own_size=True)
    self.assertAllClose(masks.to_original(fitted, info), image)


class MultiScaleTest(tf.test.TestCase):
  @staticmethod
  def _logits(images):
    """A model that looks at single pixels, at a quarter of the size."""
    small = images[:, ::4, ::4]
    return tf.stack([small[..., 0], 2.0 * small[..., 1], small[..., 0] - small[..., 2]], -1)

  @staticmethod
  def _softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)

  def _reference(self, images, scales, flip, stride):
    """The same, one view after another, with padding and cropping written out in NumPy."""
    height, width = images.shape[1:3]
    total, count = 0.0, 0
    for scale in scales:
      size = (round(height * scale), round(width * scale))
      resized = tf.image.resize(images, size).numpy()
      for mirrored in (False, True) if flip else (False,):
        view = resized[:, :, ::-1] if mirrored else resized
        padded_size = [int(np.ceil(side / stride)) * stride for side in size]
        padded = np.zeros([len(view), *padded_size, 3], np.float32)
        padded[:, : size[0], : size[1]] = view
        logits = tf.image.resize(self._logits(tf.constant(padded)), padded_size).numpy()
        part = self._softmax(logits[:, : size[0], : size[1]])
        part = tf.image.resize(part, (height, width)).numpy()
        total, count = total + (part[:, :, ::-1] if mirrored else part), count + 1
    return total / count

  def test_equals_a_second_implementation(self):
    images = tf.random.stateless_normal([2, 16, 24, 3], [5, 6])
    for scales, flip in (([1.0], False), ([0.5, 0.75, 1.0, 1.25, 1.5, 1.75], False), ([0.7], True)):
      with self.subTest(scales=scales, flip=flip):
        found = masks.multi_scale_probabilities(self._logits, images, scales, flip, 8)
        expected = self._reference(images.numpy(), scales, flip, 8)
        self.assertAllClose(found, expected, atol=1e-5)
        self.assertAllClose(tf.reduce_sum(found, -1), np.ones([2, 16, 24]), atol=1e-5)

  def test_with_flip_a_mirrored_image_has_mirrored_probabilities(self):
    images = tf.random.stateless_normal([1, 16, 16, 3], [7, 8])
    plain = masks.multi_scale_probabilities(self._logits, images, [0.5, 1.0], True, 8)
    mirrored = masks.multi_scale_probabilities(
      self._logits, tf.reverse(images, [2]), [0.5, 1.0], True, 8
    )
    self.assertAllClose(mirrored, tf.reverse(plain, [2]), atol=1e-6)

  def test_the_model_sees_multiples_of_the_stride_only(self):
    seen = []

    def note(images):
      seen.append(tuple(images.shape[1:3]))
      return self._logits(images)

    masks.multi_scale_probabilities(note, tf.zeros([1, 64, 96, 3]), [0.5, 0.75, 1.75], False, 32)
    self.assertEqual(seen, [(32, 64), (64, 96), (128, 192)])


class CountPixelsTest(tf.test.TestCase):
  def test_by_hand(self):
    classes = tf.constant([[0, 1, 1], [2, 1, 0]], tf.uint8)
    # In steps of 1/255: 51 is 0.2 and 153 is 0.6, both edges of bins of 0.2; 50 is below.
    steps = tf.constant([[255, 51, 50], [153, 152, 0]], tf.uint8)
    counts = masks.count_pixels(classes, steps, 3, 5)
    self.assertAllEqual(counts, [[1, 0, 0, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0]])
    self.assertEqual(counts.dtype, tf.int64)


if __name__ == '__main__':
  tf.test.main()
