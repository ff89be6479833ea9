"""COCO annotation files made by hand: what is read from them, and what is said of wrong ones."""

import json
import os
import tempfile
import unittest

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from official_selftrain.core import errors
from official_selftrain.datasets import coco

IMAGES = [{'id': 7, 'height': 100, 'width': 200}, {'id': 8, 'height': 4, 'width': 6}]
CATEGORIES = [{'id': 18, 'name': 'dog'}, {'id': 3, 'name': 'car'}, {'id': 17, 'name': 'cat'}]


class _Case(unittest.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enterContext(tempfile.TemporaryDirectory())
    self.path = os.path.join(folder, 'instances.json')

  def read(self, *annotations, with_masks=False, **content):
    content = {
      'images': IMAGES,
      'annotations': list(annotations),
      'categories': CATEGORIES,
      **content,
    }
    content = {name: value for name, value in content.items() if value is not None}
    with open(self.path, 'w', encoding='utf-8') as stream:
      json.dump(content, stream)
    return coco.read(self.path, with_masks)


def _box(image_id, category_id, *bbox, **more):
  return {'image_id': image_id, 'category_id': category_id, 'bbox': list(bbox), **more}


class IdsTest(_Case):
  def test_images_and_their_sizes(self):
    found = self.read(images=[*IMAGES, {'id': 'a b', 'height': 2.0, 'width': 1}])
    self.assertEqual(found.image_ids(), ('7', '8', 'a b'))
    self.assertEqual([found.size(name) for name in found.image_ids()], [(100, 200), (4, 6), (2, 1)])
    self.assertEqual(found.path, self.path)
    with self.assertRaises(KeyError):
      found.size('9')

  def test_categories_are_in_the_order_of_their_ids(self):
    found = self.read(_box(7, 17, 0, 0, 1, 1))
    self.assertEqual(list(found.categories.items()), [(3, 'car'), (17, 'cat'), (18, 'dog')])
    self.assertEqual(found.category_ids(), (3, 17, 18))

  def test_without_categories_the_ids_are_those_of_annotations(self):
    rows = [_box(7, class_id, 0, 0, 1, 1) for class_id in (5, 90, 5, 1)]
    for categories in (None, []):
      found = self.read(*rows, categories=categories)
      self.assertEqual((found.categories, found.category_ids()), ({}, (1, 5, 90)))

  def test_categories_that_are_not_listed_keep_their_boxes(self):
    found = self.read(_box(7, 2, 0, 0, 20, 10), _box(7, 3, 0, 0, 200, 100))
    self.assertEqual(found.category_ids(), (2, 3, 17, 18))
    self.assertEqual(found.categories, {3: 'car', 17: 'cat', 18: 'dog'})
    self.assertEqual(found.boxes('7').classes.tolist(), [2, 3])
    np.testing.assert_array_equal(found.boxes('7').boxes[0], np.float32([0, 0, 0.1, 0.1]))

  def test_annotations_of_unknown_images_are_counted_and_left_out(self):
    found = self.read(*(_box(i, 90 if i == 99 else 3, 0, 0, 1, 1) for i in (99, 7, 100, 99)))
    self.assertEqual((found.ignored, found.image_ids()), (3, ('7', '8')))
    self.assertEqual(found.category_ids(), (3, 17, 18))
    self.assertEqual(len(found.boxes('7').boxes), 1)
    self.assertIsNone(found.boxes('99'))
    self.assertEqual(self.read(_box(7, 3, 0, 0, 1, 1)).ignored, 0)

  def test_the_first_annotation_without_a_number(self):
    rows = [
      _box(8, 3, 0, 0, 1, 1, id=10, area=1.5, iscrowd=0),
      _box(8, 3, 0, 0, 1, 1, id=11, area=2),
      _box(7, 17, 0, 0, 1, 1, id=12, iscrowd=1, area=None),
      # No listed category, and no image: evaluation reads neither.
      _box(7, 5, 0, 0, 1, 1, id=13),
      _box(99, 3, 0, 0, 1, 1, id=14),
    ]
    found = self.read(*rows)
    self.assertEqual(found.first_without_number('iscrowd'), 'annotations[1] (id 11)')
    self.assertEqual(found.first_without_number('area'), 'annotations[2] (id 12)')
    # Image 7 comes first in the file, but the annotation of image 8 does among annotations.
    self.assertEqual(found.first_without_number('score'), 'annotations[0] (id 10)')
    self.assertIsNone(found.first_without_number('id'))
    self.assertIsNone(self.read(rows[3]).first_without_number('area'))
    listed = self.read(rows[3], categories=None).first_without_number('area')
    self.assertEqual(listed, 'annotations[0] (id 13)')


class BoxesTest(_Case):
  def test_relative_corners_classes_and_crowds_in_the_order_of_the_file(self):
    found = self.read(
      _box(7, 18, 50, 25, 100, 50, iscrowd=1),
      _box(8, 3, 1.5, 0, 3, 4),
      _box(7, 3, 0, 0, 200, 100, iscrowd=0),
      _box(7, 17, 20.5, 10, 0.5, 80),
    )
    boxes = found.boxes('7')
    expected = [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1], [0.1, 0.1025, 0.9, 0.105]]
    np.testing.assert_array_equal(boxes.boxes, np.float32(expected))
    self.assertEqual(boxes.classes.tolist(), [18, 3, 17])
    self.assertEqual(boxes.is_crowd.tolist(), [True, False, False])
    self.assertEqual(boxes.boxes.dtype, np.float32)
    self.assertEqual((boxes.classes.dtype, boxes.is_crowd.dtype), (np.int64, bool))
    np.testing.assert_array_equal(found.boxes('8').boxes, [[0, 0.25, 1, 0.75]])

  def test_images_without_annotations_and_unknown_ones(self):
    found = self.read(_box(7, 3, 0, 0, 1, 1))
    empty = found.boxes('8')
    self.assertEqual((empty.boxes.shape, empty.boxes.dtype), ((0, 4), np.float32))
    self.assertEqual((empty.classes.shape, empty.is_crowd.shape), ((0,), (0,)))
    self.assertIsNone(found.boxes('9'))
    # Ids are compared as text, as records have them.
    self.assertIsNone(found.boxes('07'))

  def test_boxes_in_pixels(self):
    found = self.read(_box(7, 18, 50, 25, 100, 50, iscrowd=1), images=[{'id': 7}, {'id': 8}])
    boxes = found.pixel_boxes('7')
    np.testing.assert_array_equal(boxes.boxes, [[25, 50, 75, 150]])
    self.assertEqual((boxes.classes.tolist(), boxes.is_crowd.tolist()), ([18], [True]))
    self.assertEqual(boxes.boxes.dtype, np.float32)
    self.assertEqual(found.pixel_boxes('8').boxes.shape, (0, 4))
    self.assertIsNone(found.pixel_boxes('9'))

  def test_sizes_are_checked_when_they_are_asked_for(self):
    cases = (
      ({'height': 4}, 'has no width'),
      ({'width': 6}, 'has no height'),
      ({'width': 6, 'height': None}, 'has no height'),
      ({'height': 0, 'width': 6}, 'has height 0 and width 6'),
      ({'height': 4, 'width': '6'}, "has the width '6', which is not an integer"),
    )
    for sides, message in cases:
      images = [IMAGES[0], {'id': 8, **sides}, {'id': 9}]
      found = self.read(_box(7, 3, 0, 0, 200, 100), _box(8, 3, 0, 0, 1, 1), images=images)
      np.testing.assert_array_equal(found.boxes('7').boxes, [[0, 0, 1, 1]])
      self.assertEqual(found.boxes('9').boxes.shape, (0, 4))
      for ask in (found.size, found.boxes):
        with self.assertRaisesRegex(
          errors.DataError, rf'instances\.json: images\[1\] \(id 8\) {message}\. Give the image its'
        ):
          ask('8')

  def test_boxes_without_area_and_beyond_the_image_stay(self):
    found = self.read(_box(8, 3, 3, 2, 0, 0), _box(8, 3, 3, 2, 30, 2)).boxes('8')
    np.testing.assert_array_equal(found.boxes, [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 1, 5.5]])

  def test_other_boxes_are_refused_when_they_are_asked_for(self):
    for bbox in ([0, 0, -1, 2], [0, 0, 1], [0, 0, 1, 1, 1], ['a', 0, 1, 1], 5, [0, 0, None, 1]):
      with self.subTest(bbox):
        found = self.read(_box(8, 3, 0, 0, 1, 1), {**_box(7, 3), 'bbox': bbox})
        self.assertEqual(len(found.boxes('8').boxes), 1)
        with self.assertRaisesRegex(
          errors.DataError,
          r'instances\.json: annotations\[1\] has the bbox .*Expected: four numbers, \[x, y,',
        ):
          found.boxes('7')

  def test_a_missing_box_and_one_that_is_no_number(self):
    for bbox in (None, [float('nan'), 0, 1, 1], [0, 0, float('inf'), 1]):
      with self.assertRaisesRegex(errors.DataError, r'annotations\[0\] has the bbox (None|\[.*\])'):
        self.read({'image_id': 7, 'category_id': 3, 'bbox': bbox}).boxes('7')
    with self.assertRaisesRegex(errors.DataError, r'annotations\[0\] has the bbox None'):
      self.read({'image_id': 7, 'category_id': 3}).boxes('7')


def _mask(category_id, segmentation, **more):
  return {'image_id': 8, 'category_id': category_id, 'segmentation': segmentation, **more}


def _compressed(mask):
  encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
  return {'size': list(encoded['size']), 'counts': encoded['counts'].decode()}


# The left half and the lower half of image 8, which has 4 rows and 6 columns.
LEFT, LOWER = np.zeros([4, 6], bool), np.zeros([4, 6], bool)
LEFT[:, :3] = True
LOWER[2:] = True


class ClassMapTest(_Case):
  def class_map(self, *annotations):
    return self.read(*annotations, with_masks=True).class_map('8')

  def test_polygons(self):
    # A rectangle over the left half, and two single pixels given as one object.
    found = self.class_map(
      _mask(17, [[0, 0, 3, 0, 3, 4, 0, 4]]),
      _mask(18, [[4, 0, 5, 0, 5, 1, 4, 1], [5, 3, 6, 3, 6, 4, 5, 4]]),
    )
    expected = np.where(LEFT, 17, 0)
    expected[0, 4] = expected[3, 5] = 18
    np.testing.assert_array_equal(found, expected)
    self.assertEqual(found.dtype, np.uint8)

  def test_run_lengths_go_down_the_columns(self):
    # 2 clear, 2 covered in each column; and 12 covered from the first pixel on.
    lower = {'size': [4, 6], 'counts': [2] * 12}
    left = {'size': [4, 6], 'counts': [0, 12, 12]}
    np.testing.assert_array_equal(self.class_map(_mask(3, lower)), np.where(LOWER, 3, 0))
    np.testing.assert_array_equal(self.class_map(_mask(3, left)), np.where(LEFT, 3, 0))

  def test_compressed_run_lengths(self):
    for mask in (LEFT, LOWER, ~LEFT, LEFT & LOWER, LEFT ^ LOWER):
      found = self.class_map(_mask(3, _compressed(mask)))
      np.testing.assert_array_equal(found, np.where(mask, 3, 0))

  def test_compressed_run_lengths_of_any_picture_as_pycocotools_writes_them(self):
    rng = np.random.default_rng(0)
    for _ in range(50):
      # Long and short runs, so that numbers take one character and several.
      blocks = rng.uniform(size=rng.integers(1, 9, 2)) < rng.uniform()
      mask = np.kron(blocks, np.ones(rng.integers(1, 70, 2)))
      image = {'id': 8, 'height': mask.shape[0], 'width': mask.shape[1]}
      found = self.read(_mask(3, _compressed(mask)), images=[image], with_masks=True)
      np.testing.assert_array_equal(found.class_map('8'), 3 * mask)

  def test_later_annotations_lie_on_top_and_crowds_are_255(self):
    left, lower = _compressed(LEFT), _compressed(LOWER)
    found = self.class_map(_mask(3, left), _mask(17, lower, iscrowd=1))
    np.testing.assert_array_equal(found, np.where(LOWER, 255, np.where(LEFT, 3, 0)))
    found = self.class_map(_mask(17, lower, iscrowd=1), _mask(3, left))
    np.testing.assert_array_equal(found, np.where(LEFT, 3, np.where(LOWER, 255, 0)))

  def test_images_without_annotations_and_unknown_ones(self):
    found = self.read(with_masks=True)
    np.testing.assert_array_equal(found.class_map('8'), np.zeros([4, 6]))
    self.assertIsNone(found.class_map('9'))

  def test_annotations_without_a_mask(self):
    for row in (_box(8, 3, 0, 0, 1, 1), _mask(3, []), _mask(3, None)):
      with self.assertRaisesRegex(
        errors.DataError, r'annotations\[0\] has no segmentation, so pixels cannot be judged'
      ):
        self.class_map(row)

  def test_masks_that_cannot_be_read(self):
    whole = _compressed(LEFT)
    cases = (
      ([[0, 0, 1, 1]], 'a polygon has 4 numbers'),
      ([[0, 0, 1, 1, 2, 2, 3]], 'a polygon has 7 numbers'),
      ([['a'] * 6], 'could not convert'),
      ('text', 'expected: polygons, or run lengths'),
      ({'counts': [24]}, 'expected: polygons, or run lengths'),
      ({'size': [6, 4], 'counts': [24]}, r'its size is \[6, 4\] and that of the image \[4, 6\]'),
      ({'size': [4, 6], 'counts': [12, 11]}, 'its runs have 23 pixels and the image 24'),
      ({'size': [4, 6], 'counts': [12, -1, 13]}, 'it has a run of -1 pixels'),
      ({'size': [4, 6], 'counts': ''}, 'its runs have 0 pixels and the image 24'),
      ({**whole, 'counts': whole['counts'][:-1]}, r'its runs have \d+ pixels and the image 24'),
    )
    for segmentation, message in cases:
      with self.subTest(segmentation):
        with self.assertRaisesRegex(
          errors.DataError, rf'the segmentation of annotations\[0\] cannot be read: .*{message}'
        ):
          self.class_map(_mask(3, segmentation))

  def test_classes_that_a_mask_cannot_hold(self):
    for class_id in (0, 255, 300):
      with self.assertRaisesRegex(errors.DataError, f'category_id {class_id}. Masks .* 1 to 254'):
        found = self.read(_mask(class_id, _compressed(LEFT)), categories=None, with_masks=True)
        found.class_map('8')

  def test_masks_are_kept_only_on_request(self):
    found = self.read(_mask(3, _compressed(LEFT)))
    with self.assertRaisesRegex(ValueError, 'with_masks=True'):
      found.class_map('8')


class RemoteFilesTest(_Case):
  def test_paths_of_other_file_systems(self):
    # TensorFlow's in-memory file system, which Python's open() does not know.
    path = 'ram://coco_test/instances.json'
    with tf.io.gfile.GFile(path, 'w') as stream:
      stream.write(json.dumps({'images': IMAGES, 'annotations': [_box(7, 3, 0, 0, 200, 100)]}))
    found = coco.read(path)
    self.assertEqual((found.path, found.image_ids()), (path, ('7', '8')))
    np.testing.assert_array_equal(found.boxes('7').boxes, [[0, 0, 1, 1]])


class BrokenFilesTest(_Case):
  def assert_refused(self, message, *annotations, **content):
    with self.assertRaisesRegex(
      errors.DataError,
      rf'instances\.json cannot be read as COCO annotations: {message}.*\. Expected: images '
      'with id, annotations with image_id, category_id, bbox',
    ):
      self.read(*annotations, **content)

  def test_no_file_and_no_json(self):
    for path, message in (
      ('nowhere.json', 'nowhere.json; No such file or directory'),
      (os.path.dirname(self.path), 'Is a directory'),
    ):
      with self.assertRaisesRegex(
        errors.DataError, f'^{path} cannot be read as COCO annotations: .*{message}'
      ):
        coco.read(path)
    for text in ('{"images": [', '', 'x'):
      with open(self.path, 'w', encoding='utf-8') as stream:
        stream.write(text)
      with self.assertRaisesRegex(errors.DataError, r'cannot be read as COCO .*JSONDecodeError'):
        coco.read(self.path)
    with open(self.path, 'wb') as stream:
      stream.write(b'\xff\xfe')
    with self.assertRaisesRegex(errors.DataError, r'cannot be read as COCO .*UnicodeDecodeError'):
      coco.read(self.path)

  def test_json_of_something_else(self):
    with open(self.path, 'w', encoding='utf-8') as stream:
      stream.write('[1, 2]')
    with self.assertRaisesRegex(errors.DataError, 'it holds a list instead of an object'):
      coco.read(self.path)
    self.assert_refused("it has no list 'images'", images=None)
    self.assert_refused("it has no list 'annotations'", annotations={})
    self.assert_refused("it has no list 'categories'", categories='abc')

  def test_images(self):
    self.assert_refused(r'images\[1\] has no id', images=[IMAGES[0], {'height': 4, 'width': 6}])
    self.assert_refused(r'images\[0\] has no id', images=[5])
    self.assert_refused(
      r'images\[1\] has the id 7, which another image has too', images=[IMAGES[0]] * 2
    )
    self.assert_refused(
      r'images\[0\] has the id True, which is not an integer', images=[{**IMAGES[1], 'id': True}]
    )

  def test_annotations(self):
    whole = _box(7, 3, 0, 0, 1, 1)
    for name in ('image_id', 'category_id'):
      row = {k: v for k, v in whole.items() if k != name}
      self.assert_refused(rf'annotations\[1\] has no {name}', whole, row)
    self.assert_refused(r"annotations\[0\] is 'text', not an object", 'text')
    self.assert_refused(
      r'annotations\[0\] \(id 12\) has no category_id', {'id': 12, 'image_id': 99, 'bbox': [0] * 4}
    )
    self.assert_refused(
      r"annotations\[0\] has the category_id 'car', which is not an int", _box(7, 'car', 0, 0, 1, 1)
    )
    self.assert_refused(
      r'annotations\[0\] has the category_id 2.5, which is not an int', _box(7, 2.5, 0, 0, 1, 1)
    )

  def test_categories(self):
    self.assert_refused(r'categories\[0\] has no name', categories=[{'id': 3}])
    self.assert_refused(r'categories\[1\] has no id', categories=[CATEGORIES[0], {'name': 'x'}])
    self.assert_refused(
      r'categories\[1\] has the id 18, which another', categories=[CATEGORIES[0]] * 2
    )


if __name__ == '__main__':
  unittest.main()
