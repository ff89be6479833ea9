"""Named ops: what a level means, squares that are cut out, and ops inside boxes."""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image, ImageOps

from official_selftrain.augment import geometry, ops, tables
from tests.augment import scenes

IGNORE = 255
LEVELS = (0, 2, 5, 6, 10, 15)
# Degrees, shares, pixels, factors, bits and thresholds at each of LEVELS (paper, level to argument).
ARGUMENTS = {
  **dict.fromkeys(('Identity', 'AutoContrast', 'Equalize', 'Invert'), (0,) * 6),
  'Equalize_Only_BBoxes': (0,) * 6,
  'Posterize': (0, 0, 2, 2, 4, 6),
  **dict.fromkeys(('Solarize', 'Solarize_Only_BBoxes'), (0, 51, 128, 153, 256, 384)),
  'SolarizeAdd': (0, 22, 55, 66, 110, 165),
  **dict.fromkeys(
    ('Color', 'Contrast', 'Brightness', 'Sharpness'), (0.1, 0.46, 1.0, 1.18, 1.9, 2.8)
  ),
  'Cutout': (0, 20, 50, 60, 100, 150),
  'Cutout_Only_BBoxes': (0, 10, 25, 30, 50, 75),
  'BBox_Cutout': (0, 0.15, 0.375, 0.45, 0.75, 1.125),
  **dict.fromkeys(('Rotate_BBox', 'Rotate_Only_BBoxes'), (0, 6, 15, 18, 30, 45)),
  **dict.fromkeys(('ShearX_BBox', 'ShearX_Only_BBoxes'), (0, 0.06, 0.15, 0.18, 0.3, 0.45)),
  **dict.fromkeys(('ShearY_BBox', 'ShearY_Only_BBoxes'), (0, 0.06, 0.15, 0.18, 0.3, 0.45)),
  **dict.fromkeys(('TranslateX_BBox', 'TranslateY_BBox'), (0, 50, 125, 150, 250, 375)),
  'TranslateX_Only_BBoxes': (0, 24, 60, 72, 120, 180),
  'TranslateY_Only_BBoxes': (0, 24, 60, 72, 120, 180),
  'Flip_Only_BBoxes': (1,) * 6,
}


class LevelsTest(parameterized.TestCase, tf.test.TestCase):
  def test_every_op_is_listed(self):
    self.assertCountEqual(ARGUMENTS, ops.NAMES)

  @parameterized.parameters(*ARGUMENTS.items())
  def test_arguments(self, name, expected):
    op = ops.registry()[name]
    got = [op.argument(level, tables.Constants()) for level in LEVELS]
    self.assertAllClose(got, expected, rtol=1e-6)

  def test_whole_numbers_are_cut_off(self):
    known = ops.registry()
    for name, level, expected in (
      ('Posterize', 4, 1),
      ('Posterize', 7, 2),
      ('Solarize', 1, 25),
      ('SolarizeAdd', 3.3, 36),
      ('Cutout', 3.33, 33),
      # Not the 229 of a product that is not exact.
      ('Cutout', 23, 230),
    ):
      self.assertEqual(known[name].argument(level, tables.Constants()), expected, (name, level))

  def test_constants(self):
    constants = tables.Constants(
      translate=100.0, cutout=40.0, translate_boxes=60.0, cutout_boxes=20.0
    )
    known = ops.registry()
    for name, expected in (
      ('TranslateX_BBox', 50),
      ('TranslateY_BBox', 50),
      ('Cutout', 20),
      ('TranslateX_Only_BBoxes', 30),
      ('TranslateY_Only_BBoxes', 30),
      ('Cutout_Only_BBoxes', 10),
      ('Rotate_BBox', 15),
      ('BBox_Cutout', 0.375),
    ):
      self.assertEqual(known[name].argument(5, constants), expected, name)

  def test_only_motions_have_a_sign(self):
    for name, op in ops.registry().items():
      inner = op.inner if isinstance(op, ops.OnlyBoxesOp) else op
      moves = name.startswith(('Rotate', 'Shear', 'Translate'))
      self.assertEqual(isinstance(inner, ops.MotionOp) and inner.is_signed, moves, name)

  def test_faithful_differs_in_contrast_and_solarize_only(self):
    image = tf.constant(scenes.random_image(0, (20, 20)))
    right, released = ops.registry(), ops.registry(faithful=True)
    self.assertEqual(list(right), list(released))
    differing = set()
    for name, op in right.items():
      if isinstance(op, ops.PixelOp):
        argument = tf.constant(op.argument(10, tables.Constants()))
        ours, theirs = op.apply(image, argument), released[name].apply(image, argument)
        if not np.array_equal(ours, theirs):
          differing.add(name)
    self.assertEqual(differing, {'Contrast', 'Solarize'})
    inverted = released['Solarize_Only_BBoxes'].inner.apply(image, tf.constant(256.0))
    self.assertAllEqual(inverted, 255 - image)


class CutoutTest(tf.test.TestCase):
  def test_square_around_the_drawn_pixel(self):
    image = scenes.random_image(1, (20, 30))
    cut = tf.function(ops.registry()['Cutout'].apply)
    for draws, half in (
      ((0.0, 0.0, 0.5), 3),
      ((0.5, 0.5, 0.5), 4),
      ((0.999, 0.999, 0.0), 5),
      ((0.26, 0.9, 0.0), 100),
      ((0.5, 0.5, 0.5), 0),
    ):
      y, x = int(draws[0] * 20), int(draws[1] * 30)
      expected = image.copy()
      expected[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 128
      got = cut(tf.constant(image), tf.constant(float(half)), tf.constant(draws))
      self.assertAllEqual(got, expected)

  def test_side_is_twice_the_argument(self):
    image = tf.zeros([300, 300, 3], tf.uint8)
    got = ops.registry()['Cutout'].apply(image, tf.constant(100.0), tf.constant([0.5, 0.5, 0.0]))
    self.assertEqual(np.count_nonzero(got[..., 0] == 128), 200 * 200)


class BoxCutoutTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.image = scenes.random_image(1, (40, 50))
    self.cut = tf.function(ops.registry()['BBox_Cutout'].apply)
    self.boxes = tf.constant([[0.0, 0.0, 10.0, 20.0], [20.0, 10.0, 36.0, 42.0]])

  def test_share_of_the_drawn_box_around_the_drawn_point(self):
    for draws, share in (
      ((0.1, 0.5, 0.5), 0.75),
      ((0.7, 0.5, 0.25), 0.5),
      ((0.99, 0.0, 0.99), 0.3),
      ((0.0, 0.0, 0.0), 0.75),
      ((0.6, 0.99, 0.99), 0.75),
    ):
      box = self.boxes[int(draws[0] * 2)].numpy()
      side = box[2:] - box[:2]
      centre = box[:2] + np.array(draws[1:]) * side
      top, left = np.round(centre - side * share / 2).astype(int).clip(0)
      bottom, right = np.round(centre + side * share / 2).astype(int)
      expected = self.image.copy()
      expected[top:bottom, left:right] = 128
      got = self.cut(
        tf.constant(self.image), self.boxes, tf.constant(share), tf.constant(draws, tf.float32)
      )
      self.assertAllEqual(got, expected)

  def test_no_box_or_an_empty_one(self):
    draws = tf.constant([0.5, 0.5, 0.5])
    for boxes in (tf.zeros([0, 4]), tf.constant([[9.0, 9.0, 9.0, 20.0]])):
      got = self.cut(tf.constant(self.image), boxes, tf.constant(0.75), draws)
      self.assertAllEqual(got, self.image)


# Two boxes on whole pixels that do not touch.
BOXES = ((2, 3, 14, 19), (18, 24, 37, 48))
SIZE = (40, 50)


def _per_pixel(patch, place_of_source, fill):
  """Takes, for each (row, column) of the result, the pixel at `place_of_source`, or `fill`."""
  height, width, _ = patch.shape
  result = np.full_like(patch, fill)
  for y in range(height):
    for x in range(width):
      row, column = place_of_source(y, x)
      if 0 <= row < height and 0 <= column < width:
        result[y, x] = patch[row, column]
  return result


def _rotated(degrees):
  radians = np.deg2rad(degrees)

  def rotate(patch, fill):
    height, width, _ = patch.shape

    def source(y, x):
      # Clockwise from the result back to the source.
      v, u = y + 0.5 - height / 2, x + 0.5 - width / 2
      return (
        int(np.floor(np.cos(radians) * v + np.sin(radians) * u + height / 2)),
        int(np.floor(np.cos(radians) * u - np.sin(radians) * v + width / 2)),
      )

    return _per_pixel(patch, source, fill)

  return rotate


def _half_up(value):
  return int(np.floor(value + 0.5))


# What each op that moves pixels does to a patch, given its argument with a sign.
MOVED = {
  'Rotate_Only_BBoxes': (13.0, _rotated(13.0)),
  'ShearX_Only_BBoxes': (
    0.24,
    lambda patch, fill: _per_pixel(patch, lambda y, x: (y, _half_up(x + 0.24 * y)), fill),
  ),
  'ShearY_Only_BBoxes': (
    -0.17,
    lambda patch, fill: _per_pixel(patch, lambda y, x: (_half_up(y - 0.17 * x), x), fill),
  ),
  'TranslateX_Only_BBoxes': (
    5.0,
    lambda patch, fill: _per_pixel(patch, lambda y, x: (y, x + 5), fill),
  ),
  'TranslateY_Only_BBoxes': (
    -40.0,
    lambda patch, fill: _per_pixel(patch, lambda y, x: (y - 40, x), fill),
  ),
  'Flip_Only_BBoxes': (1.0, lambda patch, fill: patch[:, ::-1]),
}


@functools.cache
def _graph(name):
  signature = [
    tf.TensorSpec([None, None, 3], tf.uint8),
    tf.TensorSpec([None, None, 1], tf.uint8),
    tf.TensorSpec([None, 4]),
    tf.TensorSpec([]),
    tf.TensorSpec([len(geometry.MOTIONS)]),
    tf.TensorSpec([]),
    tf.TensorSpec([2], tf.int32),
  ]
  op = ops.registry()[name]

  def apply(image, mask, boxes, argument, motion, probability, seed):
    visits = ops.draw_visits(boxes, probability, seed)
    return op.apply(image, mask, boxes, argument, motion, visits)

  return tf.function(apply, input_signature=signature)


def tearDownModule():
  # Graphs that outlive the test would be freed after what they need.
  _graph.cache_clear()


def _apply(name, argument, image, mask, boxes):
  """The op inside every box (a third of a probability of 3), as image and mask."""
  inner = ops.registry()[name].inner
  motion = [0.0] * len(geometry.MOTIONS)
  if isinstance(inner, ops.MotionOp):
    motion[geometry.MOTIONS.index(inner.parameter)] = argument
  boxes = np.reshape(boxes, [-1, 4]).astype(np.float32)
  result = _graph(name)(image, mask, boxes, argument, motion, 3.0, [4, 2])
  return [value.numpy() for value in result]


class OnlyBoxesTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.image = scenes.random_image(2, SIZE)
    self.mask = np.random.default_rng(3).integers(0, 200, [*SIZE, 1]).astype(np.uint8)

  def _expected(self, array, change):
    array = array.copy()
    for top, left, bottom, right in BOXES:
      array[top:bottom, left:right] = change(array[top:bottom, left:right])
    return array

  def test_every_such_op_is_tested(self):
    names = {name for name, op in ops.registry().items() if isinstance(op, ops.OnlyBoxesOp)}
    tested = {*MOVED, 'Equalize_Only_BBoxes', 'Solarize_Only_BBoxes', 'Cutout_Only_BBoxes'}
    self.assertEqual(names, tested)

  @parameterized.parameters(*MOVED)
  def test_motions(self, name):
    argument, change = MOVED[name]
    image, mask = _apply(name, argument, self.image, self.mask, BOXES)
    self.assertAllEqual(image, self._expected(self.image, lambda patch: change(patch, 128)))
    self.assertAllEqual(mask, self._expected(self.mask, lambda patch: change(patch, IGNORE)))
    if name != 'Flip_Only_BBoxes':
      self.assertGreater(np.count_nonzero(mask == IGNORE), 10)

  def test_equalize(self):
    def equalized(patch):
      return np.asarray(ImageOps.equalize(Image.fromarray(patch)))

    image, mask = _apply('Equalize_Only_BBoxes', 0.0, self.image, self.mask, BOXES)
    self.assertAllEqual(image, self._expected(self.image, equalized))
    self.assertAllEqual(mask, self.mask)

  def test_solarize(self):
    def solarized(patch):
      return np.where(patch < 100, patch, 255 - patch)

    image, mask = _apply('Solarize_Only_BBoxes', 100.0, self.image, self.mask, BOXES)
    self.assertAllEqual(image, self._expected(self.image, solarized))
    self.assertAllEqual(mask, self.mask)

  def test_cutout_given_its_draws(self):
    image, mask = _apply('Cutout_Only_BBoxes', 4.0, self.image, self.mask, BOXES)
    draws = tf.random.stateless_uniform([2, 5], [4, 2]).numpy()[:, 2:4]
    expected = self.image.copy()
    for (top, left, bottom, right), (y, x) in zip(BOXES, draws, strict=True):
      inside = expected[top:bottom, left:right]
      y, x = int(y * (bottom - top)), int(x * (right - left))
      inside[max(y - 4, 0) : y + 4, max(x - 4, 0) : x + 4] = 128
    self.assertAllEqual(image, expected)
    self.assertGreater(np.count_nonzero(image != self.image), 0)
    self.assertAllEqual(mask, self.mask)

  @parameterized.parameters('Flip_Only_BBoxes', 'Cutout_Only_BBoxes', 'Equalize_Only_BBoxes')
  def test_fractional_boxes_change_the_pixels_that_they_touch(self, name):
    box = (5.6, 7.2, 20.4, 30.9)
    argument = 1.0 if name == 'Flip_Only_BBoxes' else 6.0
    image, mask = _apply(name, argument, self.image, self.mask, box)
    changed = np.argwhere((image != self.image).any(-1))
    self.assertTrue((changed >= [5, 7]).all())
    self.assertTrue((changed < [21, 31]).all())
    self.assertGreater(len(changed), 30)
    if name == 'Flip_Only_BBoxes':
      self.assertAllEqual(image[5:21, 7:31], self.image[5:21, 7:31][:, ::-1])
      self.assertAllEqual(mask[5:21, 7:31], self.mask[5:21, 7:31][:, ::-1])

  def test_without_a_mask(self):
    argument, change = MOVED['TranslateX_Only_BBoxes']
    none = np.zeros([0, 0, 1], np.uint8)
    image, mask = _apply('TranslateX_Only_BBoxes', argument, self.image, none, BOXES)
    self.assertAllEqual(image, self._expected(self.image, lambda patch: change(patch, 128)))
    self.assertAllEqual(mask.shape, [0, 0, 1])

  @parameterized.parameters(*MOVED, 'Equalize_Only_BBoxes', 'Cutout_Only_BBoxes')
  def test_no_boxes_and_boxes_without_pixels(self, name):
    for boxes in (
      np.zeros([0, 4]),
      [[5.0, 5.0, 5.0, 20.0]],
      [[5.0, 5.0, 20.0, 5.0]],
      [[50.0, 60.0, 55.0, 70.0]],
      [[-9.0, -9.0, 0.0, 0.0]],
    ):
      image, mask = _apply(name, 4.0, self.image, self.mask, boxes)
      self.assertAllEqual(image, self.image)
      self.assertAllEqual(mask, self.mask)

  def test_boxes_that_leave_the_image_are_cut(self):
    image, mask = _apply('Flip_Only_BBoxes', 1.0, self.image, self.mask, [[-3, 40, 10, 70]])
    expected = self.image.copy()
    expected[:10, 40:] = expected[:10, 40:][:, ::-1]
    self.assertAllEqual(image, expected)
    self.assertAllEqual(mask[:10, 40:], self.mask[:10, 40:][:, ::-1])

  def test_one_pixel(self):
    for name in MOVED:
      image, _ = _apply(name, 0.0, self.image[:1, :1], self.mask[:1, :1], [[0, 0, 1, 1]])
      self.assertAllEqual(image, self.image[:1, :1], name)


if __name__ == '__main__':
  tf.test.main()
