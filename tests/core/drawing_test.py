"""Masks, boxes and tags over pictures: their colours and their pixels."""

import unittest

import numpy as np

from official_selftrain.core import drawing

# Worked by hand from hue = class * 0.618034 modulo 1 and saturation 1 of even classes, 0.6 of odd ones.
COLOURS = {0: (255, 0, 0), 1: (102, 147, 255), 2: (149, 255, 0), 3: (255, 102, 236)}
# 100 + 0.45 * (colour - 100), rounded.
TINTED_GREY = {1: (101, 121, 170), 2: (122, 170, 55), 3: (170, 101, 161)}


def _grey(height, width):
  return np.full((height, width, 3), 100, np.uint8)


class ClassColourTest(unittest.TestCase):
  def test_colours_worked_by_hand(self):
    for class_id, colour in COLOURS.items():
      self.assertEqual(drawing.class_colour(class_id), colour, class_id)

  def test_every_class_has_a_colour_of_bytes_unlike_its_neighbours(self):
    colours = np.array([drawing.class_colour(class_id) for class_id in range(256)])
    self.assertEqual((colours.min(), colours.max()), (0, 255))
    steps = np.abs(np.diff(colours, axis=0)).sum(axis=1)
    self.assertGreater(steps.min(), 100)

  def test_the_first_twenty_classes_differ(self):
    colours = np.array([drawing.class_colour(class_id) for class_id in range(1, 21)], float)
    distances = np.abs(colours[:, None] - colours).sum(-1) + 1000 * np.eye(20)
    self.assertGreater(distances.min(), 40)


class TintTest(unittest.TestCase):
  def test_pixels_worked_by_hand(self):
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    tinted = drawing.tint(_grey(2, 2), mask)
    self.assertEqual(tinted.dtype, np.uint8)
    self.assertEqual(tinted[0, 0].tolist(), [100, 100, 100])
    for class_id, (row, column) in {1: (0, 1), 2: (1, 0), 3: (1, 1)}.items():
      self.assertEqual(tuple(tinted[row, column]), TINTED_GREY[class_id], class_id)

  def test_each_pixel_keeps_55_percent_of_its_own_value(self):
    image = np.array([[[0, 0, 0], [255, 255, 255], [10, 200, 40]]], np.uint8)
    tinted = drawing.tint(image, np.full((1, 3), 2, np.uint8))
    # 0.55 * value + 0.45 * (149, 255, 0): (67.05, 114.75, 0), (207.3, 255, 140.25), (72.55, 224.75, 22).
    self.assertEqual(tinted[0].tolist(), [[67, 115, 0], [207, 255, 140], [73, 225, 22]])

  def test_class_0_is_left_clear(self):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    np.testing.assert_array_equal(drawing.tint(image, np.zeros((7, 9), np.uint8)), image)

  def test_255_is_hatched_on_the_diagonal_lines_and_nowhere_else(self):
    tinted = drawing.tint(_grey(13, 20), np.full((13, 20), 255, np.uint8))
    expected = _grey(13, 20)
    for row in range(13):
      for column in range(20):
        if (row + column) % 6 == 0:
          expected[row, column] = (190, 190, 190)
    np.testing.assert_array_equal(tinted, expected)
    self.assertEqual(tinted[0, :8, 0].tolist(), [190, 100, 100, 100, 100, 100, 190, 100])

  def test_lines_run_on_from_the_corner_of_the_picture_and_stop_at_classes(self):
    mask = np.array([[0, 0, 0, 0, 0, 255, 255, 0], [0, 0, 0, 0, 254, 255, 255, 255]], np.uint8)
    tinted = drawing.tint(_grey(2, 8), mask)
    is_line = np.all(tinted == drawing.HATCH_COLOUR, axis=-1)
    self.assertEqual(np.argwhere(is_line).tolist(), [[0, 6], [1, 5]])
    self.assertNotEqual(tinted[1, 4].tolist(), [100, 100, 100])
    self.assertTrue(np.all(tinted[mask == 0] == 100))

  def test_the_input_is_not_changed(self):
    image, mask = _grey(4, 4), np.array([[0, 1, 2, 255]] * 4, np.uint8)
    image.flags.writeable = mask.flags.writeable = False
    tinted = drawing.tint(image, mask)
    self.assertTrue(np.all(image == 100))
    self.assertEqual(mask[0].tolist(), [0, 1, 2, 255])
    self.assertFalse(np.shares_memory(tinted, image))


class FitTest(unittest.TestCase):
  def test_the_longer_side_is_that_of_the_tile(self):
    for given, size in (((64, 128), (256, 128)), ((1000, 500), (128, 256)), ((1, 900), (256, 1))):
      self.assertEqual(drawing.Tile(_grey(*given), 256).image.size, size)

  def test_enlarged_pixels_stay_squares_where_that_is_wanted(self):
    image = np.array([[[0] * 3, [200] * 3], [[50] * 3, [100] * 3]], np.uint8)
    sharp = np.asarray(drawing.Tile(image, 64, keeps_pixels=True).image)[..., 0]
    np.testing.assert_array_equal(sharp, np.kron([[0, 200], [50, 100]], np.ones([32, 32])))
    smooth = np.asarray(drawing.Tile(image, 64).image)[..., 0]
    self.assertGreater(len(np.unique(smooth)), 50)

  def test_reduced_pixels_are_averaged(self):
    stripes = np.zeros([256, 256, 3], np.uint8)
    stripes[:, ::2] = 200
    for keeps_pixels in (False, True):
      inner = np.asarray(drawing.Tile(stripes, 64, keeps_pixels).image)[:, 4:-4].astype(float)
      self.assertLess(np.abs(inner - 100).max(), 3)

  def test_wrong_images_are_refused(self):
    for image in (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8)):
      with self.assertRaisesRegex(ValueError, r'uint8 image \[height, width, 3\], got \w+ \[8, 8'):
        drawing.Tile(image, 64)


class TileMaskTest(unittest.TestCase):
  def test_a_mask_is_enlarged_with_the_image(self):
    tile = drawing.Tile(_grey(2, 2), 4)
    tile.tint(np.array([[0, 1], [2, 3]], np.uint8))
    found = np.asarray(tile.image)
    np.testing.assert_array_equal(found[:2, :2], _grey(2, 2))
    for class_id, (row, column) in {1: (0, 2), 2: (2, 0), 3: (2, 2)}.items():
      pixels = found[row : row + 2, column : column + 2]
      self.assertTrue(np.all(pixels == TINTED_GREY[class_id]), class_id)

  def test_a_reduced_mask_has_no_colours_between_classes(self):
    mask = np.zeros((128, 128), np.uint8)
    mask[:, 75:] = 2
    tile = drawing.Tile(_grey(128, 128), 64)
    tile.tint(mask)
    colours = np.unique(np.asarray(tile.image).reshape(-1, 3), axis=0)
    self.assertEqual({tuple(colour) for colour in colours.tolist()}, {(100,) * 3, TINTED_GREY[2]})

  def test_the_picture_turns_grey_only_where_that_is_wanted(self):
    image = np.full((4, 4, 3), (200, 40, 10), np.uint8)
    clear = np.zeros((4, 4), np.uint8)
    # ITU-R 601: 0.299 of red, 0.587 of green, 0.114 of blue.
    for in_grey, colour in ((True, (84, 84, 84)), (False, (200, 40, 10))):
      tile = drawing.Tile(image, 4)
      tile.tint(clear, in_grey)
      self.assertTrue(np.all(np.asarray(tile.image) == colour))

  def test_a_mask_of_another_size_or_type_is_refused(self):
    for mask in (np.zeros((4, 5), np.uint8), np.zeros((4, 4), np.int64)):
      with self.assertRaisesRegex(ValueError, r'must be uint8 \[4, 4\], got'):
        drawing.Tile(_grey(4, 4), 64).tint(mask)


BLUE, RED, YELLOW = (86, 180, 233), (255, 0, 0), (240, 228, 66)
RIM = drawing.RIM_COLOUR


def _drawn(*boxes, side=64, given=64, **style):
  """Pixels of a grey tile with boxes."""
  tile = drawing.Tile(_grey(given, given), side)
  tile.draw(boxes, drawing.Style(**style))
  return np.asarray(tile.image)


def _is(pixels, colour):
  return np.all(pixels == colour, axis=-1)


class BoxTest(unittest.TestCase):
  def test_a_line_and_its_two_rims(self):
    # Rows 10..29 and columns 20..49.
    found = _drawn(drawing.Box(10, 20, 30, 50, BLUE), line=2)
    expected = np.full((64, 64), 'grey', dtype='<U4')
    expected[9:31, 19:51] = 'rim'
    expected[10:30, 20:50] = 'blue'
    expected[12:28, 22:48] = 'rim'
    expected[13:27, 23:47] = 'grey'
    for name, colour in (('grey', (100, 100, 100)), ('rim', RIM), ('blue', BLUE)):
      np.testing.assert_array_equal(_is(found, colour), expected == name, name)

  def test_boxes_are_in_pixels_of_the_given_image(self):
    for given, edges in ((32, (5, 10, 15, 25)), (128, (20, 40, 60, 100))):
      found = _is(_drawn(drawing.Box(*edges, BLUE), given=given), BLUE)
      rows, columns = np.nonzero(found)
      self.assertEqual((rows.min(), columns.min(), rows.max(), columns.max()), (10, 20, 29, 49))

  def test_dashes_start_at_the_corner_with_gaps_in_the_colour_of_the_rim(self):
    found = _drawn(drawing.Box(10, 20, 60, 60, BLUE, is_dashed=True), line=1)
    dashes = ([BLUE] * 7 + [RIM] * 5) * 5
    for pixels in (found[10, 20:60], found[59, 20:60], found[10:60, 20], found[10:60, 59]):
      # The last pixel is where two sides meet.
      expected = dashes[: len(pixels) - 1]
      self.assertEqual([tuple(pixel) for pixel in pixels[:-1].tolist()], expected)

  def test_what_reaches_out_is_drawn_at_the_border(self):
    found = _is(_drawn(drawing.Box(-20, 30, 999, 999, BLUE), line=1), BLUE)
    expected = np.zeros((64, 64), bool)
    expected[:, 30:] = True
    expected[1:63, 31:63] = False
    np.testing.assert_array_equal(found, expected)

  def test_boxes_without_area_are_dots(self):
    for edges, place in (((20, 30, 20, 30), [20, 30]), ((70, 70, 80, 80), [63, 63])):
      found = _is(_drawn(drawing.Box(*edges, BLUE)), BLUE)
      # Pillow makes two pixels of a rectangle of one.
      self.assertTrue(found[tuple(place)])
      self.assertLessEqual(found.sum(), 2)

  def test_later_boxes_lie_on_top_and_tags_above_all_lines(self):
    first = drawing.Box(30, 10, 60, 60, BLUE, 'x')
    second = drawing.Box(0, 12, 64, 13, RED)
    found = _drawn(first, second, font_size=12)
    self.assertEqual(tuple(found[31, 12]), RED)
    # The tag of the first box covers the line of the second above row 30.
    self.assertFalse(np.any(_is(found[24:29, 12:13], RED)))
    self.assertTrue(np.any(_is(found[:10, 12:13], RED)))


class TagTest(unittest.TestCase):
  def _fill(self, *boxes, **options):
    """Rows and columns that tags fill: the blue ones apart from the lines of boxes in the same places."""
    bare = [drawing.Box(*box, BLUE) for box in boxes]
    tagged = [drawing.Box(*box, BLUE, 'Ag') for box in boxes]
    options = {'side': 200, 'given': 200, **options}
    found, without = _drawn(*tagged, **options), _drawn(*bare, **options)
    return np.argwhere(np.any(found != without, axis=-1))

  def test_above_below_or_inside(self):
    # The row next to the box is that of its rim in any case.
    above = self._fill((100, 40, 150, 90))
    self.assertEqual((above[:, 0].max(), above[:, 1].min()), (98, 39))
    below = self._fill((0, 40, 150, 90))
    self.assertEqual((below[:, 0].min(), below[:, 1].min()), (151, 39))
    inside = self._fill((0, 40, 200, 90))
    self.assertLess(inside[:, 0].max(), 40)
    self.assertGreaterEqual(inside[:, 0].min(), 0)

  def test_tags_stay_in_the_picture(self):
    found = self._fill((100, 190, 150, 199))
    self.assertEqual(found[:, 1].max(), 199)
    self.assertGreater(np.ptp(found[:, 1]), 20)

  def test_tags_are_left_out_of_small_boxes_where_that_is_wanted(self):
    small, large = (100, 40, 130, 70), (100, 40, 180, 180)
    self.assertGreater(len(self._fill(small)), 0)
    self.assertEqual(len(self._fill(small, tags_need_room=True)), 0)
    self.assertGreater(len(self._fill(large, tags_need_room=True)), 0)

  def test_letters_are_dark_on_light_colours_and_white_on_dark_ones(self):
    for colour, ink in ((YELLOW, RIM), (BLUE, RIM), (RED, (255, 255, 255))):
      found = _drawn(drawing.Box(50, 5, 60, 60, colour, 'HHH'), font_size=20)
      letters = found[26:49, 6:40]
      self.assertGreater(np.sum(_is(letters, ink)), 15, colour)
      self.assertGreater(np.sum(_is(letters, colour)), 15, colour)

  def test_no_tag_for_no_text(self):
    with_text, without = (_drawn(drawing.Box(30, 5, 60, 60, BLUE, tag)) for tag in ('a', ''))
    self.assertTrue(np.all(without[:29] == 100))
    self.assertFalse(np.all(with_text[:29] == 100))


if __name__ == '__main__':
  unittest.main()
