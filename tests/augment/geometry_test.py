"""Affine maps: corners by hand, warps against NumPy, and the Model Garden's mirrored margins against ours."""

import functools
import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.ops import augment

from official_selftrain.augment import geometry
from tests.augment import scenes

FILL = 128


def _motion(name, value, size):
  parameters = [value if name == other else 0.0 for other in geometry.MOTIONS]
  return geometry.motion(tf.constant(parameters), tf.constant(size, tf.float32))


def _point(forward, x, y):
  return (forward.numpy().astype(np.float64) @ [x, y, 1.0])[:2]


def _random_map(rng):
  """A turn, stretch and shift that leave part of a small image in sight."""
  angle = rng.uniform(-0.6, 0.6)
  turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
  linear = turn @ np.diag(rng.uniform(0.5, 2.0, 2)) @ [[1, rng.uniform(-0.3, 0.3)], [0, 1]]
  return np.vstack([np.c_[linear, rng.uniform(-4, 4, 2)], [0, 0, 1]]).astype(np.float32)


def _places(forward, size):
  """Row and column in the source, counted from the first pixel's centre, of the centres of all pixels of the result."""
  y, x = np.mgrid[: size[0], : size[1]] + 0.5
  points = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(forward.astype(np.float64)).T
  return points[..., 1] - 0.5, points[..., 0] - 0.5


def _nearest(image, forward, size, fill):
  row, column = (np.floor(v + 0.5).astype(int) for v in _places(forward, size))
  height, width, _ = image.shape
  inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
  taken = image[row.clip(0, height - 1), column.clip(0, width - 1)]
  return np.where(inside[..., None], taken, fill)


def _bilinear(image, forward, size, fill):
  row, column = _places(forward, size)
  framed = np.pad(image.astype(np.float64), [(2, 2), (2, 2), (0, 0)], constant_values=fill)
  height, width, _ = framed.shape
  row, column = (row + 2).clip(0, height - 1.001), (column + 2).clip(0, width - 1.001)
  top, left = row.astype(int), column.astype(int)
  down, right = (row - top)[..., None], (column - left)[..., None]
  above = framed[top, left] * (1 - right) + framed[top, left + 1] * right
  below = framed[top + 1, left] * (1 - right) + framed[top + 1, left + 1] * right
  return above * (1 - down) + below * down


class MotionTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    # A quarter turn counter-clockwise about (20, 10): what was at the right comes to the top.
    ('degrees', 90.0, (25, 10), (20, 5)),
    ('degrees', 90.0, (20, 5), (15, 10)),
    ('degrees', -90.0, (25, 10), (20, 15)),
    ('degrees', 180.0, (1, 2), (39, 18)),
    ('degrees', 30.0, (30, 10), (20 + 10 * math.sqrt(0.75), 5)),
    # The first row of pixels stays, the row 10 moves by two to the left.
    ('shear_x', 0.2, (7, 0.5), (7, 0.5)),
    ('shear_x', 0.2, (7, 10.5), (5, 10.5)),
    ('shear_x', -0.2, (7, 10.5), (9, 10.5)),
    ('shear_y', 0.2, (0.5, 7), (0.5, 7)),
    ('shear_y', 0.2, (10.5, 7), (10.5, 5)),
    ('left', 3.0, (7, 7), (4, 7)),
    ('left', -3.0, (7, 7), (10, 7)),
    ('left', 2.7, (7, 7), (4, 7)),
    ('up', 3.0, (7, 7), (7, 4)),
    ('up', -3.4, (7, 7), (7, 10)),
    ('mirrored', 1.0, (1, 7), (39, 7)),
  )
  def test_points_by_hand(self, name, value, source, target):
    self.assertAllClose(_point(_motion(name, value, (20, 40)), *source), target, atol=1e-5)

  def test_nothing_moves_at_zero(self):
    self.assertAllEqual(_motion('degrees', 0.0, (21, 37)), np.eye(3))

  def test_order_of_parameters(self):
    self.assertEqual(geometry.MOTIONS, ('degrees', 'shear_x', 'shear_y', 'left', 'up', 'mirrored'))

  def test_mirroring_and_scaling_by_hand(self):
    self.assertAllClose(_point(geometry.mirroring(tf.constant(40.0)), 1, 7), [39, 7])
    scaling = geometry.scaling_and_shift(tf.constant([2.0, 3.0]), tf.constant([-1.0, 5.0]))
    self.assertAllClose(_point(scaling, 10, 20), [35, 39])
    self.assertAllEqual(geometry.identity(), np.eye(3))

  def test_maps_compose(self):
    size = (20, 40)
    first, second = _motion('degrees', 20.0, size), _motion('shear_y', 0.3, size)
    between = _point(first, 11, 3)
    self.assertAllClose(
      _point(second @ first, 11, 3), _point(second, *between), rtol=1e-5, atol=1e-5
    )
    point = tf.constant([[3.0, 11.0, 3.0, 11.0]])
    twice = geometry.warp_boxes(geometry.warp_boxes(point, first), second)
    self.assertAllClose(geometry.warp_boxes(point, second @ first), twice, atol=1e-4)

  @parameterized.parameters(
    ('degrees', 90.0, (40, 40)),
    ('degrees', 180.0, (30, 41)),
    ('left', 5.0, (30, 41)),
    ('up', -7.0, (30, 41)),
    ('mirrored', 1.0, (30, 41)),
    ('shear_x', 0.25, (30, 41)),
    ('shear_y', -0.25, (30, 41)),
    ('degrees', 17.0, (30, 41)),
  )
  def test_a_marked_pixel_lands_where_its_box_says(self, name, value, size):
    forward = _motion(name, value, size)
    for y, x in ((12, 14), (20, 25), (13, 9)):
      image = np.zeros([*size, 1], np.float32)
      image[y, x] = 1.0
      moved = geometry.warp_bilinear(tf.constant(image), forward, tf.constant(size), 0.0).numpy()
      box = geometry.warp_boxes(tf.constant([[y, x, y + 1, x + 1]], tf.float32), forward)[0]
      rows, columns = np.nonzero(moved[..., 0] > 1e-3)
      centre = np.array([rows @ moved[rows, columns, 0], columns @ moved[rows, columns, 0]])
      centre = centre / moved.sum() + 0.5
      self.assertAllClose(centre, [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], atol=0.25)
      if name in ('left', 'up', 'mirrored') or value in (90.0, 180.0):
        self.assertAllClose([rows[0], columns[0]], box[:2], atol=1e-3)


def _graph(warp, dtype):
  """A warp of images of that type and any size."""
  map_and_size = [tf.TensorSpec([3, 3]), tf.TensorSpec([2], tf.int32)]
  image = tf.TensorSpec([None, None, 3], dtype)
  return tf.function(warp, input_signature=[image, *map_and_size, tf.TensorSpec([])])


class WarpTest(tf.test.TestCase):
  def _cases(self):
    rng = np.random.default_rng(2)
    for number in range(30):
      size, output = rng.integers(1, 24, 2), rng.integers(1, 24, 2)
      yield scenes.random_image(number, tuple(size)), _random_map(rng), output

  def test_nearest_against_numpy(self):
    warp = _graph(geometry.warp_nearest, tf.uint8)
    compared = 0
    for image, forward, size in self._cases():
      got = warp(image, forward, tf.constant(size, tf.int32), 77.0).numpy()
      row, column = _places(forward, size)
      # Halfway between two pixels either may be taken.
      clear = np.minimum(np.abs(row % 1 - 0.5), np.abs(column % 1 - 0.5)) > 1e-3
      self.assertAllEqual(got[clear], _nearest(image, forward, size, 77)[clear])
      compared += clear.sum()
    self.assertGreater(compared, 3000)

  def test_bilinear_against_numpy(self):
    for core_ops in (False, True):
      function = functools.partial(geometry.warp_bilinear, core_ops=core_ops)
      warp = _graph(function, tf.float32)
      for image, forward, size in self._cases():
        values = tf.constant(image, tf.float32)
        got = warp(values, forward, tf.constant(size, tf.int32), 128.0)
        self.assertAllClose(got, _bilinear(image, forward, size, 128), atol=0.05)

  def test_masks_keep_their_labels(self):
    mask = np.array([[3, 9], [20, 254]], np.uint8)[..., None].repeat(8, 0).repeat(8, 1)
    forward = _motion('degrees', 25.0, (16, 16))
    moved = geometry.warp_nearest(tf.constant(mask), forward, tf.constant([16, 16]), 255).numpy()
    self.assertEqual(moved.dtype, np.uint8)
    self.assertEqual(set(np.unique(moved)), {3, 9, 20, 254, 255})

  def test_whole_turns_are_exact(self):
    image = scenes.random_image(0, (13, 13))
    for degrees, turns in ((90.0, 1), (180.0, 2), (-90.0, 3)):
      forward = _motion('degrees', degrees, (13, 13))
      moved = geometry.warp_nearest(tf.constant(image), forward, tf.constant([13, 13]), FILL)
      self.assertAllEqual(moved, np.rot90(image, turns))

  def test_shear_moves_whole_rows(self):
    image = scenes.random_image(0, (9, 30))
    forward = _motion('shear_x', 0.25, (9, 30))
    moved = geometry.warp_nearest(tf.constant(image), forward, tf.constant([9, 30]), FILL).numpy()
    for row, left in ((0, 0), (1, 0), (3, 1), (4, 1), (5, 1), (8, 2)):
      self.assertAllEqual(moved[row, : 30 - left], image[row, left:])
      self.assertTrue((moved[row, 30 - left :] == FILL).all())


class ShiftTest(tf.test.TestCase):
  def test_against_numpy_also_beyond_the_frame(self):
    shift = tf.function(geometry.shift)
    image = scenes.random_image(1, (7, 11))
    for down in (-20, -7, -6, -2, 0, 3, 6, 7, 400):
      for right in (-300, -11, -4, 0, 1, 10, 11, 12):
        expected = np.full_like(image, FILL)
        for y in range(7):
          for x in range(11):
            if 0 <= y + down < 7 and 0 <= x + right < 11:
              expected[y + down, x + right] = image[y, x]
        arguments = tf.constant(down), tf.constant(right)
        self.assertAllEqual(shift(tf.constant(image), *arguments, fill=FILL), expected)

  def test_equals_the_warp(self):
    image = tf.constant(scenes.random_image(1, (7, 11)))
    forward = _motion('left', 4.0, (7, 11)) @ _motion('up', -2.0, (7, 11))
    warped = geometry.warp_nearest(image, forward, tf.constant([7, 11]), FILL)
    self.assertAllEqual(geometry.shift(image, tf.constant(2), tf.constant(-4), FILL), warped)

  def test_is_translation(self):
    size = (8, 10)
    for name, value, expected in (
      ('left', 3.0, True),
      ('up', -50.0, True),
      ('left', 0.0, True),
      ('degrees', 0.0, True),
      ('degrees', 0.1, False),
      ('shear_x', 0.01, False),
      ('shear_y', -0.3, False),
      ('mirrored', 1.0, False),
    ):
      self.assertEqual(bool(geometry.is_translation(_motion(name, value, size))), expected, name)
    half = geometry.scaling_and_shift(tf.ones([2]), tf.constant([0.5, 0.0]))
    self.assertFalse(geometry.is_translation(half))


class BoxesTest(tf.test.TestCase):
  def test_hull_against_every_point_of_the_box(self):
    rng = np.random.default_rng(4)
    corners = np.sort(rng.uniform(0, 30, [6, 2, 2]), 1)
    boxes = corners.reshape([6, 4])
    for _ in range(10):
      forward = _random_map(rng)
      got = geometry.warp_boxes(tf.constant(boxes, tf.float32), tf.constant(forward)).numpy()
      for box, hull in zip(boxes, got, strict=True):
        y, x = np.meshgrid(np.linspace(box[0], box[2], 9), np.linspace(box[1], box[3], 9))
        moved = np.stack([x.ravel(), y.ravel(), np.ones(81)], -1) @ forward.T
        expected = [*moved.min(0)[1::-1], *moved.max(0)[1::-1]]
        self.assertAllClose(hull, expected, atol=1e-3)

  def test_no_boxes(self):
    self.assertAllEqual(geometry.warp_boxes(tf.zeros([0, 4]), tf.eye(3)).shape, [0, 4])

  def test_clip_by_hand(self):
    boxes = tf.constant([[-5.0, 2.0, 3.0, 90.0], [25.0, 41.0, 30.0, 50.0]])
    clipped = geometry.clip_boxes(boxes, tf.constant([20.0, 40.0]))
    self.assertAllEqual(clipped, [[0, 2, 3, 40], [20, 40, 20, 40]])

  def test_areas_by_hand(self):
    boxes = tf.constant([[1.0, 1.0, 4.0, 3.0], [2.0, 2.0, 2.0, 9.0], [5.0, 5.0, 4.0, 4.0]])
    self.assertAllEqual(geometry.areas(boxes), [6, 0, 0])


class ModelGardenTest(parameterized.TestCase, tf.test.TestCase):
  """Same motions, but for what the Model Garden uncovers: mirrored pixels in place of grey."""

  def test_its_translation_mirrors_what_it_should_fill(self):
    image = scenes.random_image(0, (30, 50))
    theirs = augment.translate_x(tf.constant(image), 20, [FILL] * 3).numpy()
    self.assertAllEqual(theirs[:, :30], image[:, 20:])
    self.assertAllEqual(theirs[:, 30:], image[:, 30:][:, ::-1])
    ours = geometry.shift(tf.constant(image), tf.constant(0), tf.constant(-20), FILL).numpy()
    self.assertAllEqual(ours[:, :30], image[:, 20:])
    self.assertTrue((ours[:, 30:] == FILL).all())

  def test_its_translation_shows_an_object_without_a_box(self):
    image = np.zeros([40, 60, 3], np.uint8)
    image[10:20, 45:55] = 255
    theirs, boxes = augment.translate_bbox(
      tf.constant(image), tf.constant([[0.25, 0.75, 0.5, 55 / 60]]), 20, [FILL] * 3, True
    )
    self.assertAllClose(boxes * [40, 60, 40, 60], [[10, 25, 20, 35]], atol=1e-4)
    self.assertTrue((theirs.numpy()[10:20, 45:55] == 255).all())
    ours = geometry.shift(tf.constant(image), tf.constant(0), tf.constant(-20), FILL).numpy()
    self.assertTrue((ours[10:20, 25:35] == 255).all())
    self.assertTrue((ours[:, 40:] == FILL).all())

  @parameterized.parameters(
    ('degrees', 12.0, lambda image: augment.wrapped_rotate(image, 12.0, [FILL] * 3)),
    ('degrees', -30.0, lambda image: augment.wrapped_rotate(image, -30.0, [FILL] * 3)),
    ('shear_x', 0.24, lambda image: augment.shear_x(image, 0.24, [FILL] * 3)),
    ('shear_x', -0.3, lambda image: augment.shear_x(image, -0.3, [FILL] * 3)),
    ('shear_y', 0.18, lambda image: augment.shear_y(image, 0.18, [FILL] * 3)),
    ('left', 7.0, lambda image: augment.translate_x(image, 7, [FILL] * 3)),
    ('up', -9.0, lambda image: augment.translate_y(image, -9, [FILL] * 3)),
  )
  def test_pixels_that_it_moves_go_where_ours_go(self, name, value, theirs):
    size = (33, 41)
    image = scenes.random_image(9, size)
    forward = _motion(name, value, size)
    expected = theirs(tf.constant(image)).numpy()
    got = geometry.warp_nearest(tf.constant(image), forward, tf.constant(size), FILL).numpy()
    ones = tf.ones([*size, 1], tf.uint8)
    covered = geometry.warp_nearest(ones, forward, tf.constant(size), 0).numpy()[..., 0] == 1
    self.assertBetween(covered.mean(), 0.7, 0.95)
    self.assertGreater((got == expected).all(-1)[covered].mean(), 0.99)
    self.assertTrue((got[~covered] == FILL).all())
    self.assertLess((expected[~covered] == FILL).mean(), 0.05)


if __name__ == '__main__':
  tf.test.main()
