"""Tests for class maps that are drawn from the masks of objects."""

import unittest

import numpy as np
from pycocotools import mask as coco_mask

from official_selftrain.datasets.checks import class_maps
from official_selftrain.datasets.sources import items

NAMES = ('cat', 'dog')


def box(name: str, rows: slice, columns: slice, has_mask: bool = True, **values) -> items.Box:
  """An object that fills a rectangle of an image of 4 x 6 pixels."""
  mask = np.zeros([4, 6], np.uint8, order='F')
  mask[rows, columns] = 1
  return items.Box(
    name,
    float(rows.start),
    float(columns.start),
    float(rows.stop),
    float(columns.stop),
    run_lengths=coco_mask.encode(mask) if has_mask else None,
    **values,
  )


class DrawTest(unittest.TestCase):
  def draw(self, *boxes: items.Box) -> list[list[int]]:
    drawn = class_maps.draw(boxes, 4, 6, NAMES)
    self.assertEqual((drawn.dtype, drawn.shape), (np.uint8, (4, 6)))
    return drawn.tolist()

  def test_an_image_without_objects_is_background(self):
    self.assertEqual(self.draw(), [[0] * 6] * 4)

  def test_a_smaller_object_is_in_front_whatever_the_order(self):
    small, large = box('dog', slice(1, 2), slice(1, 3)), box('cat', slice(0, 3), slice(0, 4))
    expected = [
      [1, 1, 1, 1, 0, 0],
      [1, 2, 2, 1, 0, 0],
      [1, 1, 1, 1, 0, 0],
      [0, 0, 0, 0, 0, 0],
    ]
    self.assertEqual(self.draw(small, large), expected)
    self.assertEqual(self.draw(large, small), expected)

  def test_crowds_and_boxes_without_a_mask_are_void_behind_objects(self):
    crowd = box('cat', slice(0, 1), slice(0, 6), is_crowd=True)
    alone = box('dog', slice(2, 4), slice(0, 2), has_mask=False)
    cat = box('cat', slice(0, 4), slice(1, 3))
    self.assertEqual(
      self.draw(cat, crowd, alone),
      [
        [255, 1, 1, 255, 255, 255],
        [0, 1, 1, 0, 0, 0],
        [255, 1, 1, 0, 0, 0],
        [255, 1, 1, 0, 0, 0],
      ],
    )

  def test_a_box_of_less_than_a_pixel_is_one(self):
    found = class_maps.mask_of(items.Box('cat', 1.1, 2.1, 1.3, 2.2), 4, 6)
    self.assertEqual(np.argwhere(found).tolist(), [[1, 2]])


if __name__ == '__main__':
  unittest.main()
