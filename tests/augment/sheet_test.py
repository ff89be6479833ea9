"""Contact sheets: the places of tiles, what is drawn on them, and the text under them."""

import unittest

import numpy as np
from PIL import ImageFont

from official_selftrain.augment import sheet
from official_selftrain.core import drawing, keys

_SIDE = 64


def _original(height=64, width=64, boxes=None, classes=None, crowds=None, mask=None):
  """A grey example as it goes into a policy."""
  example = {'image': np.full([height, width, 3], 60, np.uint8)}
  if boxes is not None:
    example[keys.GROUNDTRUTH_BOXES] = np.reshape(np.array(boxes, np.float32), [-1, 4])
    example[keys.GROUNDTRUTH_CLASSES] = np.array(classes or [1] * len(boxes), np.int64)
  if crowds is not None:
    example[keys.GROUNDTRUTH_IS_CROWD] = np.array(crowds)
  if mask is not None:
    example[keys.SEMANTIC_MASK] = np.array(mask, np.uint8)[..., None]
  return example


def _draw(example, ops=(), flipped=False, scale=1.0):
  """The same example as it might come out of a policy, boxes in pixels."""
  height, width = example['image'].shape[:2]
  draw = {
    **example,
    'image': example['image'].astype(np.float32),
    'image_info': np.array([[height, width], [height, width], [scale] * 2, [0, 0]], np.float32),
    'is_flipped': np.array(flipped),
    keys.APPLIED_OPS: np.array([name.encode() for name in ops], object),
  }
  if keys.GROUNDTRUTH_BOXES in example:
    draw[keys.GROUNDTRUTH_BOXES] = example[keys.GROUNDTRUTH_BOXES] * np.tile([height, width], 2)
  return draw


def _compose(*rows, side=_SIDE):
  return sheet.compose([sheet.Row(('title',), row[0], row[1:]) for row in rows], side)


def _tile(made, x=sheet.GAP, y=sheet.GAP, height=_SIDE, width=_SIDE):
  return made.image[y : y + height, x : x + width]


def _first_tile(**arguments):
  return _tile(_compose((_original(**arguments),)))


class PlacesTest(unittest.TestCase):
  def test_tiles_lie_side_by_side_with_text_below(self):
    example = _original(32, 64)
    made = _compose((example, _draw(example), _draw(example)))
    lines = max(len(caption) for caption in made.captions[0])
    self.assertEqual(made.image.shape, (8 + 32 + 15 * lines + 8, 8 + 3 * (64 + 8), 3))
    for column in range(3):
      tile = _tile(made, x=8 + column * 72, height=32)
      self.assertTrue(np.all(tile == 60), column)
    self.assertTrue(np.all(made.image[:8] == 255))
    self.assertTrue(np.all(made.image[8:40, 72:80] == 255))
    below = made.image[40 : 40 + 15 * lines, 8:72]
    self.assertTrue(np.any(below < 100), 'no text')

  def test_a_row_is_as_high_as_its_highest_tile_and_its_longest_caption(self):
    wide, high = _original(16, 64), _original(64, 32)
    made = _compose((wide, _draw(high, ops=['A', 'B'])), (wide,))
    count = [max(len(caption) for caption in row) for row in made.captions]
    second = 8 + 64 + 15 * count[0] + 8
    self.assertTrue(np.all(_tile(made, x=80, height=64, width=32) == 60))
    self.assertTrue(np.all(_tile(made, x=112, height=64, width=32) == 255))
    self.assertTrue(np.all(_tile(made, y=second, height=16) == 60))
    self.assertTrue(np.all(_tile(made, y=second - 8, height=8) == 255))
    self.assertEqual(made.image.shape[0], second + 16 + 15 * count[1] + 8)

  def test_enlarged_pixels_stay_sharp_and_reduced_ones_are_averaged(self):
    small = {'image': np.array([[[0] * 3, [200] * 3], [[50] * 3, [100] * 3]], np.uint8)}
    tile = _tile(_compose((small,)))
    expected = np.kron([[0, 200], [50, 100]], np.ones([32, 32]))
    np.testing.assert_array_equal(tile[..., 0], expected)
    stripes = np.zeros([256, 256, 3], np.uint8)
    stripes[:, ::2] = 200
    inner = _tile(_compose(({'image': stripes},)))[:, 4:-4].astype(float)
    self.assertLess(np.abs(inner - 100).max(), 3)

  def test_values_are_rounded_and_cut_to_bytes(self):
    image = np.full([64, 64, 3], 99.6, np.float32)
    image[:32] = 300.0
    image[:, :32] -= 400.0
    tile = _tile(_compose((_original(), {**_draw(_original()), 'image': image})), x=80)
    self.assertEqual(tile[0, 63].tolist(), [255] * 3)
    self.assertEqual(tile[63, 63].tolist(), [100] * 3)
    self.assertEqual(tile[0, 0].tolist(), [0] * 3)


class BoxesTest(unittest.TestCase):
  def test_the_line_is_just_inside_the_edge_between_dark_rims(self):
    # Rows 16..31 and columns 8..55 of the tile.
    tile = _first_tile(boxes=[[0.25, 0.125, 0.5, 0.875]], classes=[3])
    is_line = np.all(tile == drawing.class_colour(3), -1)
    expected = np.zeros([64, 64], bool)
    expected[16:32, 8:56] = True
    expected[18:30, 10:54] = False
    np.testing.assert_array_equal(is_line, expected)
    is_rim = np.zeros([64, 64], bool)
    is_rim[15:33, 7:57] = True
    is_rim[19:29, 11:53] = False
    self.assertTrue(np.all(tile[is_rim & ~expected] == drawing.RIM_COLOUR))
    self.assertTrue(np.all(tile[~is_rim] == 60))

  def test_boxes_of_draws_are_in_pixels_and_shrink_with_the_image(self):
    example = _original(128, 128)
    example[keys.GROUNDTRUTH_CLASSES] = np.array([2])
    draw = {**_draw(example), keys.GROUNDTRUTH_BOXES: np.array([[0.0, 64.0, 32.0, 128.0]])}
    row = sheet.Row(('title',), _original(128, 128, boxes=[]), [draw])
    tile = _tile(sheet.compose([row], _SIDE), x=80)
    rows, columns = np.nonzero(np.all(tile == drawing.class_colour(2), -1))
    self.assertEqual((rows.min(), columns.min(), rows.max(), columns.max()), (0, 32, 15, 63))

  def test_boxes_that_reach_out_or_have_no_pixel_are_drawn_at_the_border(self):
    tile = _first_tile(boxes=[[-1.0, 0.5, 2.0, 2.0], [1.0, 0.0, 1.0, 0.001]], classes=[1, 2])
    rows, columns = np.nonzero(np.all(tile == drawing.class_colour(1), -1))
    self.assertEqual((rows.min(), columns.min(), rows.max(), columns.max()), (0, 32, 63, 63))
    places = np.argwhere(np.all(tile == drawing.class_colour(2), -1))
    self.assertEqual(places.tolist(), [[63, 0]])

  def test_lines_of_crowds_are_dashed(self):
    boxes = [[0.0, 0.0, 0.25, 1.0], [0.5, 0.0, 0.75, 1.0]]
    tile = _first_tile(boxes=boxes, classes=[1, 1], crowds=[True, False])
    is_line = np.all(tile == drawing.class_colour(1), -1)
    np.testing.assert_array_equal(is_line[0, :60], np.arange(60) % 12 < 7)
    self.assertTrue(np.all(is_line[32]))

  def test_boxes_with_room_for_it_have_the_number_of_their_class(self):
    tiles = [_first_tile(boxes=[[0.25, 0.0, 1.0, 1.0]], classes=[k], crowds=[0]) for k in (12, 34)]
    digits = []
    for tile, class_id in zip(tiles, (12, 34), strict=True):
      # Above the box, whose rim begins in row 15.
      is_colour = np.all(tile[:15] == drawing.class_colour(class_id), -1)
      self.assertGreater(is_colour.sum(), 10)
      digits.append(~is_colour & np.any(tile[:15] != 60, -1))
    self.assertFalse(np.array_equal(*digits), 'the same digits')
    tile = _first_tile(boxes=[[0.25, 0.0, 0.5, 0.25]], classes=[12])
    self.assertTrue(np.all(tile[:15] == 60))


class MasksTest(unittest.TestCase):
  def test_classes_are_tinted_background_is_clear_and_255_hatched(self):
    mask = np.zeros([64, 64])
    mask[:, 20:40] = 5
    mask[:, 40:] = 255
    tile = _first_tile(mask=mask)
    self.assertTrue(np.all(tile[:, :20] == 60))
    tint = np.rint(60 + 0.45 * (np.array(drawing.class_colour(5)) - 60.0))
    self.assertTrue(np.all(tile[:, 20:40] == tint))
    rows, columns = np.indices([64, 24])
    is_line = np.all(tile[:, 40:] == drawing.HATCH_COLOUR, -1)
    np.testing.assert_array_equal(is_line, (rows + columns + 40) % 6 == 0)
    self.assertTrue(np.all(tile[:, 40:][~is_line] == 60))

  def test_masks_are_sampled_at_the_nearest_pixel(self):
    mask = np.zeros([128, 128])
    mask[:, 64:] = 7
    tile = _tile(_compose((_original(128, 128, mask=mask),)))
    self.assertTrue(np.all(tile[:, :32] == 60))
    self.assertEqual(len(np.unique(tile[:, 32:].reshape(-1, 3), axis=0)), 1)


class CaptionsTest(unittest.TestCase):
  def captions(self, *row, side=256, **arguments):
    made = sheet.compose([sheet.Row(('policy', 'a.jpg'), row[0], row[1:], **arguments)], side)
    return made.captions[0]

  def test_what_was_done(self):
    example = _original(20, 30, boxes=[[0, 0, 1, 1], [0, 0, 0.5, 0.5]])
    one_left = _draw(example, ['Color', '', 'Cutout'], flipped=True, scale=0.756)
    one_left[keys.GROUNDTRUTH_BOXES] = one_left[keys.GROUNDTRUTH_BOXES][:1]
    one_left[keys.GROUNDTRUTH_CLASSES] = one_left[keys.GROUNDTRUTH_CLASSES][:1]
    self.assertEqual(
      self.captions(example, one_left, _draw(example, ['', ''])),
      (
        ('policy', 'a.jpg', 'original, 20 x 30, 2 boxes'),
        ('Color, Cutout', 'flipped, scale 0.76, 1 of 2 boxes'),
        ('no op', 'scale 1.00, 2 of 2 boxes'),
      ),
    )

  def test_no_ops_to_draw_from_and_no_boxes(self):
    self.assertEqual(
      self.captions(_original(5, 6), _draw(_original(5, 6), scale=2))[1:], (('scale 2.00',),)
    )

  def test_one_box_and_boxes_of_others(self):
    example = _original(boxes=[[0, 0, 1, 1]])
    captions = self.captions(example, _draw(example))
    self.assertEqual(captions[0][-1], 'original, 64 x 64, 1 box')
    self.assertEqual(captions[1], ('scale 1.00, 1 of 1 box',))
    both = _draw(_original(boxes=[[0, 0, 1, 1]] * 3))
    self.assertEqual(self.captions(example, both, is_mixed=True)[1], ('scale 1.00, 3 boxes',))

  def test_lines_fit_under_the_tile(self):
    names = ['TranslateX_Only_BBoxes', 'Cutout_Only_BBoxes', 'Rotate_BBox']
    title = ('x' * 100 + 'end.jpg',)
    row = sheet.Row(title, _original(), [_draw(_original(), names)])
    caption = sheet.compose([row], 160).captions[0]
    font = ImageFont.load_default(12)
    self.assertTrue(all(font.getlength(line) <= 160 for lines in caption for line in lines))
    self.assertRegex(caption[0][0], '^…x+end.jpg$')
    self.assertEqual(caption[1][:2], ('TranslateX_Only_BBoxes,', 'Cutout_Only_BBoxes,'))
    self.assertEqual(' '.join(caption[1]), ', '.join(names) + ' scale 1.00')


if __name__ == '__main__':
  unittest.main()
