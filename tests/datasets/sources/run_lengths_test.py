"""Tests for the masks of COCO annotations."""

import unittest

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from pycocotools import mask as coco_mask

from official_selftrain.datasets.sources import run_lengths

_MASKS = st_numpy.arrays(
  np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)
)


def _runs(mask: np.ndarray) -> list[int]:
  """Runs down the columns, the first of them of zeros."""
  runs, last = [0], 0
  for value in mask.ravel(order='F'):
    if value != last:
      runs.append(0)
      last = value
    runs[-1] += 1
  return runs


class EncodeTest(unittest.TestCase):
  def assert_error(self, segmentation: object, expected: str, size=(4, 6)) -> None:
    with self.assertRaisesRegex(ValueError, expected):
      run_lengths.encode(segmentation, size)

  def test_a_polygon_covers_its_pixels(self):
    mask = run_lengths.encode([[1, 1, 4, 1, 4, 3, 1, 3]], (4, 6))
    expected = np.zeros([4, 6], np.uint8)
    expected[1:3, 1:4] = 1
    np.testing.assert_array_equal(coco_mask.decode(mask), expected)
    # Runs 5, 2, 2, 2, 2, 2, 9; from the fourth on differences: 0, 0, 0, 7.
    self.assertEqual(mask, {'size': [4, 6], 'counts': '5220007'})

  def test_polygons_are_joined(self):
    mask = run_lengths.encode([[0, 0, 2, 0, 2, 2, 0, 2], [4, 2, 6, 2, 6, 4, 4, 4]], (4, 6))
    expected = np.zeros([4, 6], np.uint8)
    expected[:2, :2] = expected[2:, 4:] = 1
    np.testing.assert_array_equal(coco_mask.decode(mask), expected)

  @hypothesis.given(_MASKS)
  def test_run_lengths_of_both_kinds(self, mask):
    compressed = coco_mask.encode(np.asfortranarray(mask))
    expected = {'size': list(mask.shape), 'counts': compressed['counts'].decode()}
    for segmentation in ({'size': list(mask.shape), 'counts': _runs(mask)}, expected):
      for size in (mask.shape, None):
        self.assertEqual(run_lengths.encode(segmentation, size), expected)

  def test_long_runs(self):
    # 4,000 * 3,000 pixels need several characters for each run.
    runs = [7_000_001, 3_999_999, 1_000_000]
    mask = run_lengths.encode({'size': [4000, 3000], 'counts': runs}, (4000, 3000))
    self.assertEqual(coco_mask.area(mask), 3_999_999)
    self.assertEqual(run_lengths.encode(mask, (4000, 3000)), mask)

  def test_no_segmentation_is_no_mask(self):
    for segmentation in (None, [], {}, '', [[]], [[1, 2]], [[1, 2, 3, 4]]):
      with self.subTest(segmentation=segmentation):
        self.assertIsNone(run_lengths.encode(segmentation, (4, 6)))

  def test_lines_beside_a_polygon_are_left_out(self):
    polygon = [1, 1, 4, 1, 4, 3, 1, 3]
    expected = run_lengths.encode([polygon], (4, 6))
    self.assertEqual(run_lengths.encode([[0, 0, 5, 3], polygon], (4, 6)), expected)

  def test_polygons_need_a_size(self):
    self.assertIsNone(run_lengths.encode([[1, 1, 4, 1, 4, 3]], None))

  def test_polygons_that_are_wrong(self):
    expected = 'has a polygon that is not pairs of finite numbers'
    nan, infinity = float('nan'), float('inf')
    for polygon in (
      [1] * 7,
      [1] * 5 + [nan],
      [1] * 5 + [infinity],
      [1] * 5 + ['1'],
      [1] * 5 + [True],
    ):
      self.assert_error([polygon], expected)
    self.assert_error([[1] * 5 + [10**400]], expected)
    self.assert_error([1, 2, 3, 4, 5, 6], expected)

  def test_a_polygon_far_outside(self):
    self.assert_error(
      [[0, 0, 1e9, 0, 1e9, 9]], r'far outside the image of 4 x 6 \(height x width\)'
    )
    self.assert_error([[0, -7, 3, 0, 3, 3]], 'far outside')
    self.assertIsNotNone(run_lengths.encode([[0, -6, 12, 0, 3, 3]], (4, 6)))

  def test_an_image_of_more_pixels_than_masks_can_have(self):
    self.assert_error([[0, 0, 1, 0, 1, 1]], 'more than masks can have', (1 << 16, 1 << 16))

  def test_run_lengths_that_are_wrong(self):
    for counts, expected in (
      ([5, 2], 'has runs of 7 pixels, and its size has 24'),
      ([30, -6], 'has counts that are not runs of 0 or more pixels'),
      ([24.0], 'not runs'),
      ([True, 23], 'not runs'),
      (24, 'not runs'),
      ('52', 'has runs of 7 pixels'),
      ('5 2', "has counts with the character ' '"),
      ('5é', "has counts with the character 'é'"),
      ('5P', 'has counts that end within a number'),
      ('P' * 50, 'has counts with a number that does not end'),
      ('O', 'not runs of 0 or more'),
    ):
      with self.subTest(counts=counts):
        self.assert_error({'size': [4, 6], 'counts': counts}, expected)

  def test_sizes_that_are_wrong(self):
    for size, expected in (
      ([6, 4], r'has the size \[6, 4\], and the image \[4, 6\] \(height, width\)'),
      ([24], r'has the size \[24\], which is not height and width'),
      ([0, 6], 'not height and width'),
      ([4.0, 6], 'not height and width'),
      ('46', 'not height and width'),
    ):
      with self.subTest(size=size):
        self.assert_error({'size': size, 'counts': [24]}, expected)

  def test_something_else(self):
    for segmentation in ('polygon', 7, {'counts': [24]}, {'size': [4, 6]}):
      self.assert_error(segmentation, 'is neither polygons nor run lengths')


class TightBoxTest(unittest.TestCase):
  def test_edges_around_the_pixels(self):
    mask = run_lengths.encode([[1, 1, 4, 1, 4, 3, 1, 3]], (4, 6))
    self.assertEqual(run_lengths.tight_box(mask), (1.0, 1.0, 3.0, 4.0))

  def test_no_pixel_is_a_box_without_area(self):
    mask = run_lengths.encode({'size': [4, 6], 'counts': [24]}, None)
    ymin, xmin, ymax, xmax = run_lengths.tight_box(mask)
    self.assertEqual((ymax - ymin) * (xmax - xmin), 0.0)


if __name__ == '__main__':
  unittest.main()
