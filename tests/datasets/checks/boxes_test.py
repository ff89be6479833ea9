"""Tests for the examination of boxes."""

import math
import unittest

import hypothesis
import numpy as np
from hypothesis import strategies as st

from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import boxes
from official_selftrain.datasets.sources import items

Kind = faults.Kind
HEIGHT, WIDTH = 100, 200


def box(ymin: float, xmin: float, ymax: float, xmax: float, **more) -> items.Box:
  return items.Box(more.pop('class_name', 'cat'), ymin, xmin, ymax, xmax, **more)


def corners(each: items.Box) -> tuple[float, float, float, float]:
  return each.ymin, each.xmin, each.ymax, each.xmax


class BoxesTestCase(unittest.TestCase):
  def check(self, *given, is_relative=False, turned_from=None):
    """Corners of the boxes that are kept, kinds of faults, and details of faults, of a 100 x 200 image."""
    kept, found = boxes.check(
      given, HEIGHT, WIDTH, is_relative, class_names=('cat', 'dog'), turned_from=turned_from
    )
    details = [each.detail for each in found]
    return [corners(each) for each in kept], [each.kind for each in found], details


class CornersTest(BoxesTestCase):
  def test_good_boxes_are_kept_as_they_are_in_their_order(self):
    given = (
      box(10, 20, 30, 40, score=0.5),
      box(0, 0, HEIGHT, WIDTH, is_crowd=True, area=7.5),
      box(1.25, 2.5, 3, 4, class_name='dog'),
    )
    kept, found = boxes.check(given, HEIGHT, WIDTH, False, ('cat', 'dog'))
    self.assertEqual((kept, found), (given, ()))

  def test_no_boxes(self):
    self.assertEqual(boxes.check((), HEIGHT, WIDTH, True, ()), ((), ()))

  def test_fractions_become_pixels(self):
    kept, kinds, _ = self.check(box(0.1, 0.25, 0.5, 1), is_relative=True)
    self.assertEqual((kept, kinds), ([(10, 50, 50, 200)], []))

  def test_coordinates_that_are_no_numbers(self):
    for value in (math.nan, math.inf, -math.inf):
      for place in range(4):
        numbers: list[float] = [1, 2, 30, 40]
        numbers[place] = value
        kept, kinds, details = self.check(box(*numbers))
        self.assertEqual((kept, kinds), ([], [Kind.NOT_FINITE]))
        self.assertIn(('ymin', 'xmin', 'ymax', 'xmax')[place] + f' {value}', details[0])

  def test_swapped_corners_are_put_right(self):
    kept, kinds, details = self.check(box(30, 20, 10, 40), box(10, 40, 30, 20), box(30, 40, 10, 20))
    self.assertEqual(kept, [(10, 20, 30, 40)] * 3)
    self.assertEqual(kinds, [Kind.SWAPPED] * 3)
    self.assertEqual(details[0], "'cat': ymin 30, xmin 20, ymax 10, xmax 40")

  def test_boxes_outside(self):
    outside = [(-20, 0, -5, 10), (0, -20, 10, -5), (100, 0, 110, 10), (0, 200, 10, 210)]
    outside += [(-20, 0, 0, 10), (150, 250, 160, 260)]
    kept, kinds, details = self.check(*(box(*each) for each in outside))
    self.assertEqual((kept, kinds), ([], [Kind.OUTSIDE] * 6))
    text = "'cat': ymin -20, xmin 0, ymax -5, xmax 10; the image has 100 x 200 (height x width)"
    self.assertEqual(details[0], text)

  def test_boxes_over_the_edge_are_cut(self):
    kept, kinds, details = self.check(box(-5, 10, 50, 60), box(10, 150, 50, 201.5))
    self.assertEqual(kept, [(0, 10, 50, 60), (10, 150, 50, 200)])
    self.assertEqual(kinds, [Kind.CLIPPED] * 2)
    self.assertIn('xmax 201.5; the image has 100 x 200', details[1])

  def test_one_pixel_over_the_edge_is_no_fault(self):
    kept, kinds, _ = self.check(box(-1, -1, 101, 201), box(-1.01, 0, 5, 5))
    self.assertEqual(kept, [(0, 0, 100, 200), (0, 0, 5, 5)])
    self.assertEqual(kinds, [Kind.CLIPPED])

  def test_one_pixel_is_a_pixel_for_fractions_too(self):
    kept, kinds, _ = self.check(
      box(0.5, 0.5, 1.01, 1.005), box(0.5, 0.5, 1, 1.006), is_relative=True
    )
    self.assertEqual(kept, [(50, 100, 100, 200)] * 2)
    self.assertEqual(kinds, [Kind.CLIPPED])

  def test_numbers_beyond_all_measure(self):
    kept, kinds, _ = self.check(
      box(0, 0, 1e9, 1e300), box(5e3, 5e3, 6e3, 6e3), box(-1e308, 10, 1e308, 20)
    )
    self.assertEqual(kept, [(0, 0, 100, 200), (0, 10, 100, 20)])
    self.assertEqual(kinds, [Kind.CLIPPED, Kind.OUTSIDE, Kind.CLIPPED])
    kept, kinds, _ = self.check(box(-1e308, 0.1, 1e308, 0.2), is_relative=True)
    self.assertEqual((kept, kinds), ([(0, 20, 100, 40)], [Kind.CLIPPED]))

  def test_pixels_taken_for_fractions_are_recognised(self):
    _, kinds, details = self.check(box(10, 20, 30, 40), is_relative=True)
    self.assertEqual(kinds, [Kind.OUTSIDE])
    self.assertRegex(details[0], 'fractions times 100 and 200; the file may have pixels$')

  def test_boxes_without_area(self):
    kept, kinds, details = self.check(box(10, 20, 10, 40), box(10, 20, 30, 20), box(0, 0, 0, 0))
    self.assertEqual((kept, kinds), ([], [Kind.NO_AREA] * 3))
    self.assertEqual(details[1], "'cat': ymin 10, xmin 20, ymax 30, xmax 20")

  def test_a_box_whose_area_is_lost_in_records(self):
    # Single precision has 24 bits: near 1/2 the next number is 6e-8 away, here 1.2e-5 pixels.
    kept, kinds, _ = self.check(box(10, 100, 20, 100.000001), box(10, 100, 20, 100.0001))
    self.assertEqual(kept, [(10, 100, 20, 100.0001)])
    self.assertEqual(kinds, [Kind.NO_AREA])

  def test_tiny_boxes_are_kept(self):
    kept, kinds, _ = self.check(box(10, 20, 10.25, 20.25))
    self.assertEqual((kept, kinds), ([(10, 20, 10.25, 20.25)], []))

  def test_several_faults_of_one_box(self):
    kept, kinds, _ = self.check(box(50, 60, -20, 40))
    self.assertEqual((kept, kinds), ([(0, 40, 50, 60)], [Kind.SWAPPED, Kind.CLIPPED]))


class ClassTest(BoxesTestCase):
  def test_a_class_that_is_not_in_the_list(self):
    kept, kinds, details = self.check(box(1, 2, 3, 4, class_name='Cat'), box(1, 2, 3, 4))
    self.assertEqual((kept, kinds, details), ([(1, 2, 3, 4)], [Kind.UNKNOWN_CLASS], ["'Cat'"]))


class WholeObjectTest(BoxesTestCase):
  def object_of(self, **more) -> tuple[items.Box, tuple[faults.Fault, ...]]:
    kept, found = boxes.check((box(1, 2, 3, 4, **more),), HEIGHT, WIDTH, False, ('cat',))
    return kept[0], found

  def test_masks_of_the_size_of_the_image_are_kept(self):
    run_lengths = {'size': [100, 200], 'counts': b'PPX1'}
    kept, found = self.object_of(run_lengths=run_lengths)
    self.assertEqual((kept.run_lengths, found), (run_lengths, ()))

  def test_masks_of_another_size_are_left_out(self):
    kept, found = self.object_of(run_lengths={'size': [50, 60], 'counts': 'x'}, area=9.0)
    self.assertIsNone(kept.run_lengths)
    self.assertEqual((kept.area, found[0].kind), (9.0, Kind.MALFORMED))
    detail = 'xmax 4: its mask has 50 x 60 pixels .height x width., the image 100 x 200; only the mask is left out$'
    self.assertRegex(found[0].detail, detail)
    _, found = self.object_of(run_lengths={'size': [200, 100], 'counts': 'x'})
    self.assertRegex(found[0].detail, 'the same turned by 90 degrees; only')

  def test_masks_without_a_size_are_left_out(self):
    for run_lengths in ({'counts': 'x'}, {'size': 3, 'counts': 'x'}, {'size': [1], 'counts': 'x'}):
      kept, found = self.object_of(run_lengths=run_lengths)
      self.assertIsNone(kept.run_lengths)
      self.assertRegex(found[0].detail, r'the size of its mask is .*, not \[height, width\]')

  def test_areas_that_are_no_areas_are_left_out(self):
    for area in (math.nan, math.inf, -1.0):
      kept, found = self.object_of(area=area)
      self.assertIsNone(kept.area)
      self.assertEqual(found[0].kind, Kind.MALFORMED)
      self.assertRegex(found[0].detail, f'its area is {area}; the area of the box is taken')
    self.assertEqual(self.object_of(area=0.0)[0].area, 0.0)


class TurnedTest(BoxesTestCase):
  def test_boxes_of_the_image_before_it_was_turned_are_recognised(self):
    hint = 'The box fits the image as it is stored, 200 x 100, before EXIF turns it'
    for ymax, kind in ((190, Kind.CLIPPED), (150, Kind.OUTSIDE)):
      ymin = 120 if kind is Kind.OUTSIDE else 20
      _, kinds, details = self.check(box(ymin, 10, ymax, 90), turned_from=(200, 100))
      self.assertEqual(kinds, [kind])
      self.assertIn(hint, details[0])

  def test_boxes_that_fit_neither_say_nothing_of_it(self):
    _, kinds, details = self.check(
      box(20, 10, 190, 150), box(-9, 10, 20, 30), turned_from=(200, 100)
    )
    self.assertEqual(kinds, [Kind.CLIPPED] * 2)
    self.assertNotIn('stored', ''.join(details))


NUMBERS = st.one_of(
  st.floats(-300, 300), st.floats(), st.sampled_from([0.0, -0.0, 100.0, 200.0, 1e-320, 1e308])
)


class PropertiesTest(unittest.TestCase):
  @hypothesis.settings(max_examples=500)
  @hypothesis.given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=4), st.booleans()
  )
  def test_what_is_kept_can_be_trained_with(self, given, is_relative):
    numbered = [box(*each, area=float(index)) for index, each in enumerate(given)]
    kept, found = boxes.check(numbered, HEIGHT, WIDTH, is_relative, ('cat',))
    for each in kept:
      edges = np.array(corners(each)) / (HEIGHT, WIDTH, HEIGHT, WIDTH)
      ymin, xmin, ymax, xmax = edges.astype(np.float32)
      self.assertTrue(0 <= ymin < ymax <= 1 and 0 <= xmin < xmax <= 1)
    order = [each.area for each in kept]
    self.assertEqual(order, sorted(order))
    dropped = [each for each in found if each.outcome is faults.Outcome.DROPPED]
    self.assertEqual(len(kept) + len(dropped), len(given))
    # What was repaired has no fault any more.
    self.assertEqual(boxes.check(kept, HEIGHT, WIDTH, False, ('cat',)), (kept, ()))

  @hypothesis.given(st.tuples(*[st.floats(0, 1)] * 4), st.integers(1, 5000), st.integers(1, 5000))
  def test_fractions_and_their_pixels_give_the_same(self, given, height, width):
    relative = box(*given)
    pixels = relative._replace(
      ymin=given[0] * height,
      xmin=given[1] * width,
      ymax=given[2] * height,
      xmax=given[3] * width,
    )
    results = [
      boxes.check((each,), height, width, each is relative, ('cat',))[0]
      for each in (relative, pixels)
    ]
    self.assertEqual(*results)


if __name__ == '__main__':
  unittest.main()
