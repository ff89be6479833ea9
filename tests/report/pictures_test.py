"""Tests for boxes drawn on pictures."""

import base64
import dataclasses
import io
import unittest

import numpy as np
from PIL import Image

from official_selftrain.report import contents, pictures

GREY = np.full((128, 128, 3), 90, np.uint8)
RIM = (16, 18, 22)


def _draw(*boxes: contents.Box, image: np.ndarray = GREY) -> np.ndarray:
  return np.asarray(pictures.draw_tile(contents.Tile(image, boxes)))


class DrawTileTest(unittest.TestCase):
  def test_border_has_the_colour_of_its_kind_at_the_right_place(self):
    # Scale 2: the box spans columns 80 to 159 and rows 100 to 199.
    for kind, colour in pictures.COLOURS.items():
      with self.subTest(kind=kind):
        drawn = _draw(contents.Box(50, 40, 100, 80, '7', 0.5, kind))
        for y, x in ((100, 80), (199, 80), (102, 82), (199, 159), (150, 159)):
          # A dashed line is interrupted; its first dash starts at the corner.
          if kind in pictures.DASHED and (y, x) not in ((100, 80), (199, 80), (102, 82)):
            continue
          self.assertEqual(tuple(drawn[y, x]), colour, (y, x))
        self.assertEqual(tuple(drawn[150, 79]), RIM)
        self.assertEqual(tuple(drawn[150, 83]), RIM)
        self.assertEqual(tuple(drawn[150, 120]), (90, 90, 90))
        self.assertEqual(tuple(drawn[200, 120]), RIM)
        self.assertEqual(tuple(drawn[202, 120]), (90, 90, 90))

  def test_dashes_are_interrupted_by_the_rim_colour(self):
    drawn = _draw(contents.Box(50, 40, 100, 80, '7', 0.5, 'unsure'))
    column = [tuple(pixel) for pixel in drawn[100:136, 80]]
    colour = pictures.COLOURS['unsure']
    self.assertEqual(column, ([colour] * 7 + [RIM] * 5) * 3)

  def test_label_sits_above_the_box_in_its_colour(self):
    drawn = _draw(contents.Box(50, 40, 100, 80, '7', 0.5, 'student'))
    above = drawn[76:98, 80:100].reshape(-1, 3)
    share = np.mean(np.all(above == pictures.COLOURS['student'], axis=1))
    self.assertGreater(share, 0.4)
    self.assertLess(np.min(np.sum(above, axis=1)), 3 * 40)  # Dark letters.

  def test_label_moves_below_a_box_at_the_top(self):
    drawn = _draw(contents.Box(0, 40, 50, 80, '7', 0.5, 'student'))
    below = drawn[102:120, 80:100].reshape(-1, 3)
    self.assertGreater(np.mean(np.all(below == pictures.COLOURS['student'], axis=1)), 0.4)
    inside = drawn[10:90, 90:150]
    self.assertTrue(np.all(inside == 90))

  def test_colours_of_kinds_differ(self):
    colours = list(pictures.COLOURS.values())
    distances = [
      np.abs(np.subtract(a, b)).sum() for i, a in enumerate(colours) for b in colours[:i]
    ]
    self.assertGreater(min(distances), 80)

  def test_size_and_aspect(self):
    self.assertEqual(_draw(image=np.zeros((64, 128, 3), np.uint8)).shape, (128, 256, 3))
    self.assertEqual(_draw(image=np.zeros((1000, 500, 3), np.uint8)).shape, (256, 128, 3))

  def test_image_without_boxes_is_only_scaled(self):
    self.assertTrue(np.all(_draw() == 90))

  def test_boxes_outside_or_without_area_do_no_harm(self):
    boxes = [
      contents.Box(-20, -20, 300, 300, 'all', 1.0, 'teacher'),
      contents.Box(50, 50, 50, 50, '', None, 'truth'),
      contents.Box(200, 200, 210, 210, 'a name that is much too long', 0.1, 'sure'),
      contents.Box(60, 60, 61, 61, 'dot', 0.1, 'student'),
    ]
    drawn = _draw(*boxes)
    self.assertEqual(drawn.shape, (256, 256, 3))
    self.assertEqual(tuple(drawn[100, 0]), pictures.COLOURS['teacher'])

  def test_wrong_image_is_refused(self):
    for image in (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8)):
      with self.assertRaisesRegex(ValueError, r'uint8 image \[height, width, 3\], got \w+ \[8, 8'):
        _draw(image=image)

  def test_names_are_cut_to_14_letters_and_scores_to_two_decimals(self):
    long = contents.Box(50, 4, 100, 80, 'abcdefghijklmnop', 0.456, 'truth')
    short = contents.Box(50, 4, 100, 80, 'abcdefghijklm…', 0.46, 'truth')
    np.testing.assert_array_equal(_draw(long), _draw(short))
    self.assertFalse(np.array_equal(_draw(long), _draw(dataclasses.replace(long, score=None))))


class MaskTest(unittest.TestCase):
  """Classes 1 and 2 over grey 90: 90 + 0.45 * (colour - 90), rounded, of (102, 147, 255) and (149, 255, 0)."""

  def _draw(self, mask, *boxes):
    image = np.full((*np.shape(mask), 3), 90, np.uint8)
    tile = contents.Tile(image, boxes, mask=np.array(mask, np.uint8))
    return np.asarray(pictures.draw_tile(tile))

  def test_each_pixel_of_a_mask_becomes_a_square_of_its_colour(self):
    drawn = self._draw([[0, 1], [2, 0]])
    expected = np.full((256, 256, 3), 90, np.uint8)
    expected[:128, 128:] = (95, 116, 164)
    expected[128:, :128] = (117, 164, 50)
    np.testing.assert_array_equal(drawn, expected)

  def test_ignored_pixels_are_hatched_at_the_size_of_the_tile(self):
    drawn = self._draw([[0, 255]])
    self.assertEqual(drawn.shape, (128, 256, 3))
    rows, columns = np.indices((128, 256))
    expected = (columns >= 128) & ((rows + columns) % 6 == 0)
    np.testing.assert_array_equal(np.all(drawn == 190, axis=-1), expected)
    self.assertTrue(np.all(drawn[~expected] == 90))

  def test_a_reduced_mask_has_no_colours_between_classes(self):
    mask = np.zeros((512, 512))
    mask[:, 300:] = 2
    drawn = self._draw(mask)
    self.assertTrue(np.all(drawn[:, :150] == 90))
    self.assertTrue(np.all(drawn[:, 150:] == (117, 164, 50)))

  def test_behind_a_mask_the_picture_is_grey(self):
    image = np.full((4, 4, 3), (200, 40, 10), np.uint8)
    drawn = np.asarray(
      pictures.draw_tile(contents.Tile(image, (), mask=np.zeros((4, 4), np.uint8)))
    )
    # ITU-R 601: 0.299 of red, 0.587 of green, 0.114 of blue.
    self.assertTrue(np.all(drawn == 84))
    self.assertEqual(
      tuple(np.asarray(pictures.draw_tile(contents.Tile(image)))[0, 0]), (200, 40, 10)
    )

  def test_a_mask_of_another_size_or_type_is_refused(self):
    for mask in (np.zeros((4, 5), np.uint8), np.zeros((4, 4), np.int64)):
      with self.assertRaisesRegex(ValueError, r'must be uint8 \[4, 4\], got'):
        pictures.draw_tile(contents.Tile(np.zeros((4, 4, 3), np.uint8), (), mask=mask))

  def test_boxes_lie_on_top(self):
    drawn = self._draw(np.ones((128, 128)), contents.Box(50, 40, 100, 80, '7', None, 'truth'))
    self.assertEqual(tuple(drawn[150, 80]), (255, 255, 255))
    self.assertEqual(tuple(drawn[150, 120]), (95, 116, 164))


class DataUriTest(unittest.TestCase):
  def test_decodes_to_the_same_picture(self):
    drawn = pictures.draw_tile(contents.Tile(GREY, (contents.Box(50, 40, 100, 80, '7'),)))
    uri = pictures.data_uri(drawn)
    head, payload = uri.split(',')
    self.assertEqual(head, 'data:image/jpeg;base64')
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(payload)))).astype(int)
    self.assertLess(np.mean(np.abs(decoded - np.asarray(drawn))), 2.0)


if __name__ == '__main__':
  unittest.main()
