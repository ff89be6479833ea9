"""Names of files from ids, and what the first bytes of an image say."""

import io
import os
import pathlib
import tempfile
import unittest

import hypothesis
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from official_selftrain.core import errors
from official_selftrain.pseudo_labels.exporters import names


def _encoded(form: str, mode: str = 'RGB', **options) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(np.zeros([4, 6, 3], np.uint8)).convert(mode).save(buffer, form, **options)
  return buffer.getvalue()


def _turned(orientation: int) -> bytes:
  exif = Image.Exif()
  exif[0x0112] = orientation
  return _encoded('JPEG', exif=exif)


class StemTest(unittest.TestCase):
  def test_an_id_is_its_own_name(self):
    for source_id in ('17', 'id-3', '2007_000032', 'a.b', 'Grün 日本', 'a(1)'):
      self.assertEqual(names.stem(source_id), source_id)

  def test_the_extension_of_an_image_is_not_part_of_it(self):
    for source_id in ('a.jpg', 'a.JPEG', 'a.png', 'a.gif', 'a.bmp'):
      self.assertEqual(names.stem(source_id), 'a')
    self.assertEqual(names.stem('a.tar.png'), 'a.tar')
    self.assertEqual(names.stem('.jpg'), '_jpg')

  def test_a_path_becomes_one_name(self):
    self.assertEqual(names.stem('train/cats/1.jpg'), 'train_cats_1')
    self.assertEqual(names.stem('/etc/passwd'), '_etc_passwd')
    self.assertEqual(names.stem('../../x'), '___.._x')
    self.assertEqual(names.stem('C:\\x\\y'), 'C__x_y')
    self.assertEqual(names.stem('shard.tfrecord:3'), 'shard.tfrecord_3')

  def test_what_a_name_cannot_be_or_hold(self):
    self.assertEqual(names.stem(''), '_')
    self.assertEqual(names.stem('.'), '_')
    self.assertEqual(names.stem('..'), '__')
    self.assertEqual(names.stem(' a. '), '_a__')
    self.assertEqual(names.stem('a\nb\0c\x85d\u2028e'), 'a_b_c_d_e')

  def test_an_id_that_is_too_long_is_refused(self):
    self.assertEqual(names.stem('ü' * 125), 'ü' * 125)
    with self.assertRaisesRegex(
      errors.DataError, r'gives a file name of 252 bytes; allowed are 250'
    ):
      names.stem('ü' * 126)

  @hypothesis.given(st.text(max_size=60))
  def test_any_id_gives_a_file_in_the_folder(self, source_id):
    stem = names.stem(source_id)
    with tempfile.TemporaryDirectory() as folder:
      pathlib.Path(folder, f'{stem}.jpg').write_bytes(b'')
      self.assertEqual(os.listdir(folder), [f'{stem}.jpg'])
    self.assertTrue(names.is_printable(stem))
    self.assertEqual(stem.splitlines(), [stem])
    self.assertFalse(stem.startswith('.'))


class HeaderTest(unittest.TestCase):
  def test_formats(self):
    for form, extension in (('JPEG', '.jpg'), ('PNG', '.png'), ('GIF', '.gif'), ('BMP', '.bmp')):
      self.assertEqual(names.read_header(_encoded(form), 'a').extension, extension)

  def test_channels(self):
    for form, mode, channels in (
      ('JPEG', 'RGB', 3),
      ('JPEG', 'L', 1),
      ('JPEG', 'CMYK', 4),
      ('PNG', 'RGBA', 4),
      ('PNG', 'P', 3),
      ('GIF', 'P', 3),
    ):
      self.assertEqual(names.read_header(_encoded(form, mode), 'a').channels, channels, mode)

  def test_a_photo_that_viewers_turn(self):
    self.assertTrue(names.read_header(_turned(6), 'a').is_turned)
    self.assertFalse(names.read_header(_turned(1), 'a').is_turned)
    self.assertFalse(names.read_header(_encoded('JPEG'), 'a').is_turned)

  def test_a_header_that_pillow_cannot_read(self):
    header = names.read_header(b'\xff\xd8\xff damaged', 'a')
    self.assertEqual(header, names.Header('.jpg', 3, False))

  def test_another_format_is_refused(self):
    with self.assertRaisesRegex(
      errors.DataError,
      r"The image with id 'a/7' begins with b'RIFF\.\.\.\.', which is neither JPEG",
    ):
      names.read_header(b'RIFF....WEBP', 'a/7')


if __name__ == '__main__':
  unittest.main()
