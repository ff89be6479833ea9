"""Tests for counts and sizes of a set."""

import math
import unittest

from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import set_facts, store
from official_selftrain.datasets.sources import items
from tests.datasets.preparation import examined

_CLASSES = ('cat', 'dog', 'cow')


def _collect(task, *found, class_names=_CLASSES):
  """Facts of images, each a finding or a pair of item and finding."""
  pairs = [each if isinstance(each, tuple) else (examined.item('a'), each) for each in found]
  entries = [
    store.Entry(key, store.Part.LABELLED, item, finding)
    for key, (item, finding) in enumerate(pairs)
  ]
  return set_facts.collect(iter(entries), task, class_names)


class CollectTest(unittest.TestCase):
  def test_boxes_are_counted_by_class_in_the_order_of_the_classes(self):
    cat, dog = examined.box('cat'), examined.box('dog')
    facts = _collect(
      items.Task.DETECTION, examined.good(dog, cat, dog), examined.good(), examined.good(dog)
    )
    self.assertEqual(list(facts.objects.items()), [('cat', 1), ('dog', 3), ('cow', 0)])
    self.assertEqual(facts.without_objects, 1)

  def test_pixels_are_counted_without_background_and_void(self):
    facts = _collect(
      items.Task.SEGMENTATION,
      examined.good(pixel_counts=((0, 100), (1, 60), (3, 30), (255, 10))),
      examined.good(pixel_counts=((1, 200),)),
      examined.good(pixel_counts=((0, 190), (255, 10))),
    )
    self.assertEqual(facts.objects, {'cat': 260, 'dog': 0, 'cow': 30})
    self.assertEqual(facts.without_objects, 1)

  def test_images_are_counted_by_their_class(self):
    found = [
      (examined.item('a', class_name=name), examined.good()) for name in ('dog', 'cat', 'dog')
    ]
    facts = _collect(items.Task.CLASSIFICATION, *found)
    self.assertEqual(facts.objects, {'cat': 1, 'dog': 2, 'cow': 0})
    self.assertEqual(facts.without_objects, 0)

  def test_images_without_annotations_have_no_objects_to_miss(self):
    facts = _collect(items.Task.NONE, examined.good(), class_names=())
    self.assertEqual(facts.objects, {})
    self.assertEqual(facts.without_objects, 0)

  def test_sizes_are_the_smallest_the_median_and_the_largest(self):
    found = [
      examined.good(height=height, width=width)
      for height, width in ((30, 5), (10, 7), (20, 6), (40, 8))
    ]
    facts = _collect(items.Task.NONE, *found)
    # Of four, the median is the second: a size that an image has.
    self.assertEqual(facts.height, (10, 20, 40))
    self.assertEqual(facts.width, (5, 6, 8))

  def test_sizes_of_boxes_are_shares_of_the_longer_side(self):
    def boxes(*sides):
      # As high as a half of what they are wide: the square root of the area is the side.
      return [
        examined.box('cat', (0, 0, side * math.sqrt(0.5), side * math.sqrt(2))) for side in sides
      ]

    facts = _collect(
      items.Task.DETECTION,
      examined.good(
        *boxes(*range(1, 8)),
        examined.box('dog', (10, 10, 30, 30)),
        examined.box('dog', (0, 0, 50, 100), is_crowd=True),
        height=50,
        width=100,
      ),
      examined.good(*boxes(*range(16, 22, 2)), height=200, width=40),
    )
    # Shares of 0.01 to 0.07, and 0.08, 0.09, 0.1: the first, fifth and ninth of ten.
    self.assertEqual(facts.object_sizes, {'cat': (0.01, 0.05, 0.09), 'dog': (0.2, 0.2, 0.2)})
    # Without the crowd.
    self.assertEqual(facts.most_objects, 8)
    masks = _collect(items.Task.SEGMENTATION, examined.good(pixel_counts=((1, 60),)))
    self.assertEqual((masks.object_sizes, masks.most_objects), ({}, 0))

  def test_faults_are_counted_by_kind(self):
    cmyk, area = faults.Fault(faults.Kind.CMYK), faults.Fault(faults.Kind.NO_AREA, 'cat: 0')
    facts = _collect(
      items.Task.DETECTION,
      examined.good(faults=(cmyk, area, area)),
      examined.good(faults=(area,)),
    )
    self.assertEqual(facts.faults, {faults.Kind.CMYK: 1, faults.Kind.NO_AREA: 3})

  def test_a_set_without_images_has_no_size(self):
    facts = _collect(items.Task.DETECTION)
    self.assertEqual((facts.height, facts.width), ((0, 0, 0), (0, 0, 0)))
    self.assertEqual(facts.objects, {'cat': 0, 'dog': 0, 'cow': 0})


if __name__ == '__main__':
  unittest.main()
