"""Class masks over pictures: colours, what is tinted, and where hatched lines lie."""

import unittest

import numpy as np

from official_selftrain.core import overlays

# Worked by hand from hue = class * 0.618034 modulo 1 and saturation 1 of even classes, 0.6 of odd ones.
COLOURS = {0: (255, 0, 0), 1: (102, 147, 255), 2: (149, 255, 0), 3: (255, 102, 236)}
# 100 + 0.45 * (colour - 100), rounded.
TINTED_GREY = {1: (101, 121, 170), 2: (122, 170, 55), 3: (170, 101, 161)}


def _grey(height, width):
  return np.full((height, width, 3), 100, np.uint8)


class ClassColourTest(unittest.TestCase):
  def test_colours_worked_by_hand(self):
    for class_id, colour in COLOURS.items():
      self.assertEqual(overlays.class_colour(class_id), colour, class_id)

  def test_every_class_has_a_colour_of_bytes_unlike_its_neighbours(self):
    colours = np.array([overlays.class_colour(class_id) for class_id in range(256)])
    self.assertEqual((colours.min(), colours.max()), (0, 255))
    steps = np.abs(np.diff(colours, axis=0)).sum(axis=1)
    self.assertGreater(steps.min(), 100)


class TintTest(unittest.TestCase):
  def test_pixels_worked_by_hand(self):
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    tinted = overlays.tint(_grey(2, 2), mask)
    self.assertEqual(tinted.dtype, np.uint8)
    self.assertEqual(tinted[0, 0].tolist(), [100, 100, 100])
    for class_id, (row, column) in {1: (0, 1), 2: (1, 0), 3: (1, 1)}.items():
      self.assertEqual(tuple(tinted[row, column]), TINTED_GREY[class_id], class_id)

  def test_each_pixel_keeps_55_percent_of_its_own_value(self):
    image = np.array([[[0, 0, 0], [255, 255, 255], [10, 200, 40]]], np.uint8)
    tinted = overlays.tint(image, np.full((1, 3), 2, np.uint8))
    # 0.55 * value + 0.45 * (149, 255, 0): (67.05, 114.75, 0), (207.3, 255, 140.25), (72.55, 224.75, 22).
    self.assertEqual(tinted[0].tolist(), [[67, 115, 0], [207, 255, 140], [73, 225, 22]])

  def test_class_0_is_left_clear(self):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    np.testing.assert_array_equal(overlays.tint(image, np.zeros((7, 9), np.uint8)), image)

  def test_255_is_hatched_on_the_diagonal_lines_and_nowhere_else(self):
    tinted = overlays.tint(_grey(13, 20), np.full((13, 20), 255, np.uint8))
    expected = _grey(13, 20)
    for row in range(13):
      for column in range(20):
        if (row + column) % 6 == 0:
          expected[row, column] = (190, 190, 190)
    np.testing.assert_array_equal(tinted, expected)
    self.assertEqual(tinted[0, :8, 0].tolist(), [190, 100, 100, 100, 100, 100, 190, 100])

  def test_lines_run_on_from_the_corner_of_the_picture_and_stop_at_classes(self):
    mask = np.array([[0, 0, 0, 0, 0, 255, 255, 0], [0, 0, 0, 0, 254, 255, 255, 255]], np.uint8)
    tinted = overlays.tint(_grey(2, 8), mask)
    is_line = np.all(tinted == overlays.HATCH_COLOUR, axis=-1)
    self.assertEqual(np.argwhere(is_line).tolist(), [[0, 6], [1, 5]])
    self.assertNotEqual(tinted[1, 4].tolist(), [100, 100, 100])
    self.assertTrue(np.all(tinted[mask == 0] == 100))

  def test_the_input_is_not_changed(self):
    image, mask = _grey(4, 4), np.array([[0, 1, 2, 255]] * 4, np.uint8)
    image.flags.writeable = mask.flags.writeable = False
    tinted = overlays.tint(image, mask)
    self.assertTrue(np.all(image == 100))
    self.assertEqual(mask[0].tolist(), [0, 1, 2, 255])
    self.assertFalse(np.shares_memory(tinted, image))


if __name__ == '__main__':
  unittest.main()
