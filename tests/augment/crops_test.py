"""Crops, from coordinates that are in the pixels."""

import numpy as np
import tensorflow as tf

from official_selftrain.augment import crops


def _image(height=40, width=60):
  """Rows are in the red channel and columns in the green one."""
  rows, columns = np.mgrid[:height, :width]
  return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


class RandomCropTest(tf.test.TestCase):
  def _boxes(self, count, area):
    """Corners of crops, from the coordinates that are in the pixels: (top, left, bottom, right)."""
    for seed in range(count):
      crop = crops.random_crop(_image(), tf.constant([seed, 9]), area, (30, 30)).numpy()
      red, green = crop[..., 0].astype(int), crop[..., 1].astype(int)
      yield red.min(), green.min(), red.max() + 1, green.max() + 1

  def test_areas_and_proportions(self):
    sides = np.array(
      [(bottom - top, right - left) for top, left, bottom, right in self._boxes(200, (0.1, 0.5))]
    )
    area = sides.prod(axis=1) / (40 * 60)
    # A crop has whole pixels.
    self.assertAllInRange(area, 0.08, 0.53)
    self.assertLess(area.min(), 0.15)
    self.assertGreater(area.max(), 0.45)
    self.assertAllInRange(sides[:, 1] / sides[:, 0], 0.69, 1.45)

  def test_places_differ(self):
    corners = {(top, left) for top, left, _, _ in self._boxes(50, (0.1, 0.2))}
    self.assertGreater(len(corners), 40)

  def test_the_whole_image(self):
    image = _image(48, 48)
    crop = crops.random_crop(image, tf.constant([1, 2]), (1.0, 1.0), (48, 48))
    self.assertAllEqual(crop, image)

  def test_no_part_of_these_proportions_fits(self):
    image = np.full([4, 200, 3], 7, np.uint8)
    crop = crops.random_crop(image, tf.constant([1, 2]), (0.9, 1.0), (8, 8))
    self.assertAllEqual(crop, np.full([8, 8, 3], 7))


class CentralSquareTest(tf.test.TestCase):
  def test_by_hand(self):
    square = crops.central_square(_image(), 0.5).numpy()
    self.assertEqual(square.shape, (20, 20, 3))
    self.assertEqual(square[0, 0].tolist(), [10, 20, 0])
    self.assertEqual(square[-1, -1].tolist(), [29, 39, 0])

  def test_at_least_a_pixel(self):
    self.assertEqual(crops.central_square(_image(1, 3), 0.2).shape, [1, 1, 3])


if __name__ == '__main__':
  tf.test.main()
