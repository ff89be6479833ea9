"""What a contact sheet is made of: images, folders, globs and TFRecords, and what is wrong with them."""

import os
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf

from official_selftrain.augment import sheet_inputs
from official_selftrain.core import errors, keys
from tests.augment import image_files

_BOXES = [[0.0, 0.25, 0.5, 0.75], [0.5, 0.5, 1.0, 1.0]]


class SheetInputsTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)

  def write(self, name, content):
    (self.root / name).write_bytes(content)
    return str(self.root / name)

  def records(self, *records, name='data.tfrecord'):
    return image_files.write_records(self.root / name, records)

  def read(self, pattern, limit=10, **arguments):
    return sheet_inputs.read(str(pattern), limit, **arguments)

  def assert_refused(self, message, pattern, **arguments):
    with self.assertRaisesRegex(errors.DataError, message):
      self.read(pattern, **arguments)


class ImagesTest(SheetInputsTest):
  def test_a_file_is_what_its_content_says(self):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, [4, 5, 3]).astype(np.uint8)
    for form in ('PNG', 'BMP'):
      (found,) = self.read(self.write(f'{form}.dat', image_files.encoded(image, form)))
      self.assertEqual(found.name, f'{form}.dat')
      self.assertEqual(list(found.example), ['image'])
      self.assertAllEqual(found.example['image'], image)
      self.assertEqual(found.example['image'].dtype, tf.uint8)

  def test_grey_images_get_three_channels(self):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    (found,) = self.read(self.write('grey.png', image_files.encoded(grey)))
    self.assertAllEqual(found.example['image'], np.stack([grey] * 3, -1))

  def test_jpeg(self):
    flat = image_files.flat(16, 24, (200, 100, 50))
    (found,) = self.read(self.write('flat.jpg', image_files.encoded(flat, 'JPEG')))
    self.assertAllClose(found.example['image'], flat, atol=3)

  def test_globs_are_sorted_and_limited(self):
    for number in (3, 1, 2):
      self.write(f'{number}.png', image_files.encoded(image_files.flat(2, 2, [number] * 3)))
    names = [each.name for each in self.read(self.root / '*.png', limit=2)]
    self.assertEqual(names, ['1.png', '2.png'])

  def test_a_name_with_wildcard_characters_means_itself(self):
    path = self.write('a[1].png', image_files.encoded(image_files.flat(2, 3)))
    self.assertEqual([each.name for each in self.read(path)], ['a[1].png'])

  def test_a_folder_means_its_images_or_else_its_records(self):
    self.records(image_files.record(image_files.flat(2, 2)), name='train.tfrecord-00000-of-00001')
    self.write('notes.txt', b'nothing')
    self.assertEqual(
      [each.name for each in self.read(self.root)], ['train.tfrecord-00000-of-00001 #0']
    )
    self.write('b.PNG', image_files.encoded(image_files.flat(2, 2)))
    self.assertEqual([each.name for each in self.read(self.root)], ['b.PNG'])


class RecordsTest(SheetInputsTest):
  def test_boxes_and_mask(self):
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    path = self.records(
      image_files.record(image_files.flat(2, 2), _BOXES, mask, image__object__is_crowd=[0, 1])
    )
    (found,) = self.read(path)
    self.assertEqual(found.name, 'data.tfrecord #0')
    self.assertAllEqual(found.example['image'], image_files.flat(2, 2))
    self.assertAllEqual(found.example[keys.GROUNDTRUTH_BOXES], _BOXES)
    self.assertAllEqual(found.example[keys.GROUNDTRUTH_CLASSES], [1, 2])
    self.assertAllEqual(found.example[keys.GROUNDTRUTH_IS_CROWD], [False, True])
    self.assertAllEqual(found.example[keys.SEMANTIC_MASK], mask[..., None])
    self.assertNotIn(keys.GROUNDTRUTH_INSTANCE_MASKS, found.example)

  def test_instance_masks_on_request(self):
    masks = np.array([[[1, 0], [0, 0]], [[0, 0], [1, 1]]], np.uint8)
    path = self.records(
      image_files.record(
        image_files.flat(2, 2),
        _BOXES,
        image__object__mask=[image_files.encoded(mask) for mask in masks],
      ),
      image_files.record(image_files.flat(3, 4)),
    )
    first, second = self.read(path, with_instances=True)
    self.assertAllEqual(first.example[keys.GROUNDTRUTH_INSTANCE_MASKS], masks)
    self.assertEqual(second.example[keys.GROUNDTRUTH_INSTANCE_MASKS].shape, [0, 3, 4])

  def test_images_without_objects_have_no_boxes_if_others_have_some(self):
    image = image_files.flat(2, 2)
    path = self.records(image_files.record(image), image_files.record(image, _BOXES))
    bare, full = self.read(path)
    self.assertEqual(set(bare.example), set(full.example))
    self.assertEqual(bare.example[keys.GROUNDTRUTH_BOXES].shape, [0, 4])
    self.assertEqual(bare.example[keys.GROUNDTRUTH_CLASSES].shape, [0])
    self.assertEqual(set(self.read(path, limit=1)[0].example), {'image'})

  def test_only_the_labels_that_are_wanted(self):
    mask = np.zeros([2, 2], np.uint8)
    path = self.records(image_files.record(image_files.flat(2, 2), _BOXES, mask))
    per_box = {keys.GROUNDTRUTH_BOXES, keys.GROUNDTRUTH_CLASSES, keys.GROUNDTRUTH_IS_CROWD}
    expected = {
      'boxes': per_box,
      'masks': {keys.SEMANTIC_MASK},
      'both': {*per_box, keys.SEMANTIC_MASK},
      'none': set(),
      None: {*per_box, keys.SEMANTIC_MASK},
    }
    for labels, names in expected.items():
      (found,) = self.read(path, labels=labels)
      self.assertEqual(set(found.example), {'image', *names}, labels)

  def test_limit_ends_within_a_file(self):
    path = self.records(*[image_files.record(image_files.flat(2, 2))] * 5)
    names = [each.name for each in self.read(path, limit=3)]
    self.assertEqual(names, ['data.tfrecord #0', 'data.tfrecord #1', 'data.tfrecord #2'])


class RefusedTest(SheetInputsTest):
  def test_nothing_there(self):
    for name in ('missing.jpg', '*.jpg'):
      self.assert_refused('does not exist and matches no file', self.root / name)

  def test_a_folder_without_images(self):
    self.write('notes.txt', b'nothing')
    self.assert_refused(r'holds no image \(\.jpg.*\) and no \*\.tfrecord\* file', self.root)

  def test_neither_image_nor_records(self):
    path = self.write('notes.jpg', b'This is no image, whatever its name says.')
    self.assert_refused(r'notes\.jpg is neither an image \(JPEG, PNG, GIF, BMP\) nor', path)

  def test_no_record(self):
    self.assert_refused(r'there is no record in .*data', self.records())

  def test_half_an_image(self):
    content = image_files.encoded(image_files.flat(64, 64), 'JPEG')
    path = self.write('half.jpg', content[: len(content) // 3])
    self.assert_refused(r'half\.jpg cannot be decoded: \S', path)

  def test_a_damaged_record(self):
    path = self.records(*[image_files.record(image_files.flat(8, 8))] * 2)
    content = bytearray(pathlib.Path(path).read_bytes())
    content[-10] ^= 255
    pathlib.Path(path).write_bytes(content)
    self.assert_refused(r'data\.tfrecord: record 1 is damaged', path)

  def test_records_that_lack_something(self):
    image, boxes = image_files.flat(2, 2), _BOXES
    mask = image_files.encoded(np.zeros([2, 2], np.uint8))
    cases = (
      (b'nonsense', 'record 0 is not a tf.Example'),
      (image_files.record(None, boxes), 'record 0 has no image/encoded'),
      (
        image_files.record(image, boxes, image__object__bbox__ymax=[1.0]),
        r'image/object/bbox/ymax has 1 value\(s\) for 2 object\(s\)',
      ),
      (
        image_files.record(image, boxes, image__object__mask=[mask]),
        r'image/object/mask has 1 value\(s\) for 2 object\(s\)',
      ),
      (
        image_files.record(image, boxes, np.zeros([3, 2], np.uint8)),
        r'record 0: image/segmentation/class/encoded has 3 x 2 pixels, the image 2 x 2',
      ),
      (
        image_files.record(image, image__segmentation__class__encoded=[b'no PNG']),
        'record 0: image/segmentation/class/encoded cannot be decoded',
      ),
      (
        image_files.record(image, boxes, image__object__class__label=[1.0, 2.0]),
        'record 0 is not a tf.Example of the expected form: .*image/object/class/label',
      ),
    )
    for record, message in cases:
      self.assert_refused(message, self.records(record), with_instances=True)

  def test_labels_that_are_not_there(self):
    path = self.write('a.png', image_files.encoded(image_files.flat(2, 2)))
    for labels, kind in (('boxes', 'boxes'), ('masks', 'masks'), ('both', 'boxes')):
      self.assert_refused(f'--labels={labels}: .*a.png has no {kind} in its', path, labels=labels)

  @mock.patch.object(tf.io.gfile, 'GFile')
  def test_a_file_that_cannot_be_read(self, opened):
    opened.side_effect = tf.errors.PermissionDeniedError(None, None, 'no permission')
    path = self.write('secret.png', b'')
    self.assert_refused(f'cannot read {os.path.realpath(path)[:1]}.*secret.png: no perm', path)


if __name__ == '__main__':
  tf.test.main()
