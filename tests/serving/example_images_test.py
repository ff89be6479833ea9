"""Images of the user: what is read, and what is left out."""

import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.core import errors
from official_selftrain.serving import example_images

_PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def _record(encoded):
  values = {} if encoded is None else {'image/encoded': encoded}
  features = {
    name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    for name, value in values.items()
  }
  return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


class ExampleImagesTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.png = tf.io.encode_png(_PIXELS).numpy()

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _write(self, name, *records):
    with tf.io.TFRecordWriter(self._path(name)) as writer:
      for record in records:
        writer.write(record)
    return self._path(name)

  def test_records_of_any_name_without_those_that_cannot_be_read(self):
    bad = (_record(self.png[:20]), _record(None), b'\xff\xff no example')
    first = self._write('val-00000-of-00002', *bad, _record(self.png))
    second = self._write('val-00001-of-00002', _record(self.png), _record(self.png))
    for given in ([first, second], f'{first} , {second}', self._path('val-*')):
      found = example_images.of_records(given, 8)
      self.assertLen(found, 3)
      self.assertAllEqual(found[0], _PIXELS)
    self.assertLen(example_images.of_records(first, 8), 1)
    self.assertLen(example_images.of_records([first, second], 2), 2)
    self.assertEmpty(example_images.of_records(first, 0))

  def test_a_folder_with_other_files(self):
    for name, content in (('b.png', self.png), ('a.txt', b'no'), ('c.JPG', b'no image')):
      with open(self._path(name), 'wb') as file:
        file.write(content)
    self._write('d.tfrecord-00000', _record(self.png))
    os.makedirs(self._path('z.png'))
    found = example_images.of_user(self.folder, 8)
    self.assertLen(found, 2)
    self.assertAllEqual(found[1], _PIXELS)
    self.assertLen(example_images.of_user(self._path('*.png'), 8), 1)

  def test_nothing(self):
    with self.assertRaisesRegex(errors.DataError, "There are no images at '/nowhere"):
      example_images.of_user('/nowhere/*.jpg', 8)
    with self.assertRaisesRegex(errors.DataError, 'no file matches'):
      example_images.of_records('/nowhere/*', 8)
    empty = self._write('empty', _record(None))
    with self.assertRaisesRegex(errors.DataError, 'There are no images at'):
      example_images.of_records(empty, 8)

  def test_grey_and_animated_images_have_three_channels(self):
    grey = tf.io.encode_png(np.full([2, 2, 1], 7, np.uint8)).numpy()
    (found,) = example_images.of_records(self._write('grey', _record(grey)), 1)
    self.assertAllEqual(found, np.full([2, 2, 3], 7))

  @parameterized.parameters(((4, 5), (4, 5)), ((None, None), (2, 3)), ((2, 3), (2, 3)))
  def test_to_size(self, size, expected):
    found = example_images.to_size(_PIXELS, size)
    self.assertEqual((found.shape[:2], found.dtype), (expected, np.uint8))


if __name__ == '__main__':
  tf.test.main()
