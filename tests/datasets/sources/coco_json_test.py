"""Tests for the reading of COCO annotation files."""

import math
import subprocess
import sys
import unittest

import hypothesis
from hypothesis import strategies as st

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import coco_json, items
from tests.datasets.sources import coco_case


class BoxesTest(coco_case.CocoTestCase):
  def test_a_box_has_the_edges_of_its_bbox(self):
    item = self.only_item(self.annotation())
    self.assertEqual(item.boxes, (items.Box('dog', ymin=2.0, xmin=1.0, ymax=6.5, xmax=4.0),))
    self.assertEqual((item.size, item.source_id, item.is_relative), ((4, 6), '7', False))
    self.assertEqual((item.faults, item.mask, item.class_name), ((), None, ''))
    self.assertEqual(item.image, items.ImageFile('a.jpg', str(self.images / 'a.jpg')))

  def test_boxes_in_the_order_of_the_file(self):
    boxes = [self.annotation(bbox=[x, 0, 1, 1], category_id=(1, 90)[x % 2]) for x in (3, 1, 2)]
    found = self.only_item(*boxes).boxes
    self.assertEqual(
      [(box.class_name, box.xmin) for box in found], [('dog', 3), ('dog', 1), ('cat', 2)]
    )

  def test_crowds_areas_and_scores(self):
    crowds = [self.annotation(iscrowd=value) for value in (1, '1', True, 0, '0', None)]
    found = self.only_item(*crowds, self.annotation(area=7, score=0.25)).boxes
    self.assertEqual(
      [box.is_crowd for box in found], [True, True, True, False, False, False, False]
    )
    self.assertEqual([box.area for box in found], [None] * 6 + [7.0])
    self.assertEqual([box.score for box in found], [None] * 6 + [0.25])

  def test_an_area_that_is_no_finite_number_is_left_out(self):
    boxes = [self.annotation(area=area) for area in ('7', math.nan, math.inf, True, 10**400)]
    self.assertEqual([box.area for box in self.only_item(*boxes).boxes], [None] * 5)

  def test_numbers_pass_as_they_are(self):
    nan, infinity = math.nan, math.inf
    wrong = [[5, 6, -2, -3], [-9, 1e6, 5, 5], [0, 0, 0, 0], [nan, 1, 2, 3], [1, 2, infinity, 4]]
    item = self.only_item(*(self.annotation(bbox=bbox) for bbox in wrong))
    found = [(box.ymin, box.xmin, box.ymax, box.xmax) for box in item.boxes]
    expected = [
      (6, 5, 3, 3), (1e6, -9, 1e6 + 5, -4), (0, 0, 0, 0), (1, nan, 4, nan), (2, 1, 6, infinity)
    ]  # fmt: skip
    self.assertEqual(str(found), str([tuple(map(float, edges)) for edges in expected]))
    self.assertEqual(item.faults, ())

  def test_what_is_not_four_numbers_is_malformed(self):
    for bbox in (
      [1, 2, 3],
      [1, 2, 3, 4, 5],
      [1, 2, 3, '4'],
      [1, 2, 3, None],
      [1, 2, 3, True],
      'abcd',
      7,
      [10**400] * 4,
    ):
      with self.subTest(bbox=bbox):
        kind, detail = self.only_fault(self.annotation(bbox=bbox))
        self.assertIs(kind, faults.Kind.MALFORMED)
        self.assertRegex(detail, r'annotations\[0\] \(id 5\) has the bbox ')

  def test_an_annotation_with_neither_box_nor_mask_is_malformed(self):
    expected = (faults.Kind.MALFORMED, 'annotations[0] (id 5) has the bbox None')
    self.assertEqual(self.only_fault(self.annotation(bbox=None)), expected)
    self.assertEqual(self.only_fault(self.annotation(bbox=None, segmentation=[])), expected)

  def test_a_fault_costs_one_annotation_only(self):
    item = self.only_item(self.annotation(), self.annotation(bbox=None), self.annotation())
    self.assertEqual(len(item.boxes), 2)
    self.assertEqual(
      [fault.detail for fault in item.faults], ['annotations[1] (id 5) has the bbox None']
    )


class MasksTest(coco_case.CocoTestCase):
  def test_polygons_and_run_lengths_become_compressed(self):
    same = (
      [coco_case.SQUARE],
      {'size': [4, 6], 'counts': [5, 2, 2, 2, 2, 2, 9]},
      {'size': [4, 6], 'counts': '5220007'},
    )
    found = self.only_item(*(self.annotation(segmentation=each) for each in same)).boxes
    for box in found:
      self.assertEqual(box.run_lengths, {'size': [4, 6], 'counts': '5220007'})
      self.assertEqual((box.ymin, box.xmin, box.ymax, box.xmax), (2.0, 1.0, 6.5, 4.0))
    self.assertEqual(len(found), 3)

  def test_without_a_bbox_the_box_is_around_the_mask(self):
    for bbox in (None, []):
      (box,) = self.only_item(self.annotation(bbox=bbox, segmentation=[coco_case.SQUARE])).boxes
      self.assertEqual((box.ymin, box.xmin, box.ymax, box.xmax), (1.0, 1.0, 3.0, 4.0))

  def test_polygons_are_left_out_without_the_size_of_the_image(self):
    images = [{'id': 7, 'file_name': 'a.jpg'}]
    (self.images / 'a.jpg').touch()
    item = self.only_item(self.annotation(segmentation=[coco_case.SQUARE]), images=images)
    self.assertEqual((item.size, item.faults, len(item.boxes)), (None, (), 1))
    self.assertIsNone(item.boxes[0].run_lengths)

  def test_class_maps_need_the_size_of_the_image_for_polygons(self):
    images = [{'id': 7, 'file_name': 'a.jpg'}]
    (self.images / 'a.jpg').touch()
    runs = {'size': [4, 6], 'counts': [5, 2, 17]}
    for segmentation, is_lost in (([coco_case.SQUARE], True), (runs, False), (None, False)):
      with self.subTest(segmentation=segmentation):
        self.write(self.annotation(segmentation=segmentation), images=images)
        (item,) = self.read(task='segmentation')
        self.assertEqual([each.kind for each in item.faults], [faults.Kind.UNREADABLE] * is_lost)
        self.assertEqual(len(item.boxes), 1 - is_lost)
        if is_lost:
          self.assertEqual(
            item.faults[0].detail,
            'its entry of images has no height and width, without which polygons cannot be drawn; add them',
          )

  def test_the_box_of_a_class_map_is_around_the_mask(self):
    self.write(self.annotation(bbox=[0, 0, 0, 0], segmentation=[coco_case.SQUARE]))
    for task, edges in (('segmentation', (1, 1, 3, 4)), ('detection', (0, 0, 0, 0))):
      (item,) = self.read(task=task)
      self.assertEqual(item.boxes[0][1:5], edges)

  def test_sizes_that_are_none(self):
    (self.images / 'a.jpg').touch()
    for height, expected in (
      (4, (4, 6)),
      (4.0, (4, 6)),
      (0, None),
      (-4, None),
      ('4', None),
      (4.5, None),
      (True, None),
    ):
      with self.subTest(height=height):
        images = [{'id': 7, 'file_name': 'a.jpg', 'height': height, 'width': 6}]
        self.assertEqual(self.only_item(images=images).size, expected)

  def test_a_mask_that_cannot_be_read_is_malformed(self):
    kind, detail = self.only_fault(self.annotation(segmentation=[[1, 2, 3, 4, 5, 6, 7]]))
    self.assertIs(kind, faults.Kind.MALFORMED)
    self.assertEqual(
      detail,
      'the segmentation of annotations[0] (id 5) has a polygon that is not pairs of finite numbers',
    )

  def test_a_mask_of_another_size_is_malformed(self):
    kind, detail = self.only_fault(self.annotation(segmentation={'size': [6, 4], 'counts': [24]}))
    self.assertIs(kind, faults.Kind.MALFORMED)
    self.assertRegex(detail, r'has the size \[6, 4\], and the image \[4, 6\]')


class CategoriesTest(coco_case.CocoTestCase):
  def test_classes_in_the_order_of_ids_which_may_have_gaps(self):
    categories = [
      {'id': 40, 'name': 'b'},
      {'id': -3, 'name': 'z'},
      {'id': 0, 'name': 'c'},
      {'id': 1e6, 'name': 'a'},
    ]
    self.write(self.annotation(category_id=1_000_000), categories=categories)
    source = coco_json.open_source(self.path)
    self.assertEqual(source.class_names, ('z', 'c', 'b', 'a'))
    self.assertEqual([box.class_name for item in source.items() for box in item.boxes], ['a'])

  def test_a_category_that_is_not_listed(self):
    self.assertEqual(
      self.only_fault(self.annotation(category_id=2)),
      (faults.Kind.UNKNOWN_CLASS, 'annotations[0] (id 5) has the category_id 2'),
    )

  def test_a_category_that_is_no_integer_is_malformed(self):
    for category in (None, '90', 1.5, True):
      kind, detail = self.only_fault(self.annotation(category_id=category))
      self.assertIs(kind, faults.Kind.MALFORMED)
      self.assertEqual(detail, f'annotations[0] (id 5) has the category_id {category!r}')

  def test_categories_that_are_wrong(self):
    for categories, expected in (
      ([], 'lists no categories. Expected: lists of images'),
      (
        [{'id': 1, 'name': 'a'}, {'id': 2, 'name': 'a'}],
        r'categories\[1\] has the name a, which another has too',
      ),
      (
        [{'id': 1, 'name': 'a'}, {'id': 1, 'name': 'b'}],
        r'categories\[1\] has the id 1, which another has too',
      ),
      ([{'id': 1}], r'categories\[0\] has no id that is an integer, or no name'),
      ([{'id': 'x', 'name': 'a'}], r'categories\[0\] has no id'),
      ([{'id': 1, 'name': ''}], r'categories\[0\] has no id .* or no name'),
      (
        [{'id': 1, 'name': '\ud800'}],
        r"categories\[0\] has the name '.ud800', which is no Unicode text",
      ),
      (['cat'], r'categories\[0\] has no id'),
    ):
      with self.subTest(categories=categories):
        self.write(categories=categories)
        with self.assertRaisesRegex(errors.DataError, f'{self.path}:? {expected}'):
          coco_json.open_source(self.path)


class RoundTripTest(coco_case.CocoTestCase):
  @hypothesis.given(
    st.dictionaries(
      st.integers(-(10**12), 10**12),
      st.lists(
        st.tuples(
          st.sampled_from([1, 90]),
          st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4),
          st.booleans(),
        ),
        max_size=4,
      ),
      min_size=1,
      max_size=5,
    ),
    st.randoms(use_true_random=False),
  )
  def test_what_was_written_is_read(self, boxes_by_id, random):
    images = [{'id': key, 'file_name': f'{key}.jpg'} for key in boxes_by_id]
    for image in images:
      (self.images / image['file_name']).touch()
    annotations = [
      self.annotation(image_id=key, category_id=category, bbox=bbox, iscrowd=int(is_crowd))
      for key, boxes in boxes_by_id.items()
      for category, bbox, is_crowd in boxes
    ]
    random.shuffle(images)
    self.write(*annotations, images=images)
    found = self.read()
    self.assertEqual(
      [item.image.name for item in found], sorted(f'{key}.jpg' for key in boxes_by_id)
    )
    for item in found:
      expected = [
        ({1: 'cat', 90: 'dog'}[category], y, x, y + height, x + width, is_crowd)
        for category, (x, y, width, height), is_crowd in boxes_by_id[int(item.source_id)]
      ]
      self.assertEqual(
        [
          (box.class_name, box.ymin, box.xmin, box.ymax, box.xmax, box.is_crowd)
          for box in item.boxes
        ],
        expected,
      )


class MemoryTest(coco_case.CocoTestCase):
  def peak(self, count: int) -> int:
    """Peak memory in kB of a process that reads `count` images with 8 boxes each."""
    entries = [
      {'id': key, 'file_name': f'{key:06}.jpg', 'height': 480, 'width': 640} for key in range(count)
    ]
    boxes = [
      self.annotation(
        id=8 * key + box, image_id=key, segmentation=[[9, 9, 99, 9, 99, 50 + box, 9, 50]]
      )
      for key in range(count)
      for box in range(8)
    ]
    self.write(*boxes, images=entries)
    for entry in entries:
      (self.images / entry['file_name']).touch()
    command = [sys.executable, '-c', coco_case.PEAK, str(self.path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    self.assertEqual(int(output[0]), 8 * count)
    return int(output[1])

  def test_memory_hardly_grows_with_the_number_of_images(self):
    # Parsing the larger file as a whole takes 35 MB; reading it entry by entry takes 3 MB more than the smaller one.
    self.assertLess(self.peak(6_000) - self.peak(300), 12_000)


if __name__ == '__main__':
  unittest.main()
