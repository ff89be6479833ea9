"""Tests for what bytes are, as far as can be told without decoding them."""

import io
import struct
import unittest
import zlib

import numpy as np
from PIL import Image

from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import contents


def saved(form: str, height: int = 30, width: int = 40, **options) -> bytes:
  """A picture of noise."""
  noise = np.random.default_rng(0).integers(0, 256, [height, width, 3], dtype=np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(noise).save(buffer, form, **options)
  return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
  checksum = struct.pack('>I', zlib.crc32(name + content))
  return struct.pack('>I', len(content)) + name + content + checksum


class FormTest(unittest.TestCase):
  def test_what_pillow_writes_is_recognised(self):
    for form in ('JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'AVIF', 'JPEG2000', 'PPM'):
      self.assertEqual(contents.form_of(saved(form)), form)
    self.assertEqual(contents.form_of(saved('TIFF', big_tiff=True)), 'TIFF')
    self.assertEqual(contents.form_of(saved('JPEG2000', no_jp2=True)), 'JPEG2000')

  def test_families_of_container_files(self):
    brands = {b'heic': 'HEIC', b'mif1\0\0\0\0heic': 'HEIC', b'mif1\0\0\0\0miafavif': 'AVIF'}
    brands |= {b'avis': 'AVIF', b'mp42': '', b'isom': ''}
    for brand, form in brands.items():
      self.assertEqual(contents.form_of(b'\0\0\0\x1cftyp' + brand), form)

  def test_a_newline_within_a_size_does_not_matter(self):
    self.assertEqual(contents.form_of(b'RIFF\n\n\0\0WEBPVP8 '), 'WEBP')

  def test_other_content_has_no_form(self):
    for content in (b'', b'\xff\xd8', b'BMW is a car maker', b'P5', b'Python', b'<svg/>'):
      self.assertEqual(contents.form_of(content), '')

  def test_extensions(self):
    cases = {'a.jpg': 'JPEG', 'b/c.d/E.TIF': 'TIFF', 'a.jpg.png': 'PNG', 'a.jp2': 'JPEG2000'}
    cases |= {'jpg': '', 'a.': '', 'a.txt': '', 'a.jpg/b': '', '.png': 'PNG', '': ''}
    self.assertEqual({name: contents.form_of_name(name) for name in cases}, cases)


class SizeTest(unittest.TestCase):
  def test_sizes_in_headers(self):
    for options in ({}, {'progressive': True}, {'exif': b'Exif\0\0' + bytes(999)}):
      self.assertEqual(contents.header_size(saved('JPEG', **options), 'JPEG'), (30, 40))
    self.assertEqual(contents.header_size(saved('PNG'), 'PNG'), (30, 40))

  def test_the_size_of_a_thumbnail_does_not_count(self):
    thumbnail = saved('JPEG', 3, 4)
    segment = b'\xff\xe1' + struct.pack('>H', 2 + len(thumbnail)) + thumbnail
    whole = saved('JPEG')
    encoded = whole[:2] + segment + b'garbage\xff\x00\xff\xff\x01' + whole[2:]
    self.assertEqual(contents.header_size(encoded, 'JPEG'), (30, 40))

  def test_headers_without_a_size(self):
    for length in (0, 2, 100):
      self.assertIsNone(contents.header_size(saved('JPEG')[:length], 'JPEG'))
    self.assertIsNone(contents.header_size(saved('PNG')[:23], 'PNG'))
    empty = bytearray(saved('PNG'))
    empty[16:20] = bytes(4)
    self.assertIsNone(contents.header_size(bytes(empty), 'PNG'))


class PngTest(unittest.TestCase):
  def test_whole_files_have_no_fault(self):
    encoded = saved('PNG')
    self.assertIsNone(contents.png_fault(encoded))
    self.assertIsNone(contents.png_fault(encoded + b'more'))
    self.assertIsNone(contents.png_fault(encoded[:-12]))

  def test_every_byte_of_the_pixels_counts(self):
    encoded = saved('PNG', 5, 5)
    start, end = encoded.index(b'IDAT'), encoded.index(b'IEND') - 4
    for place in range(start + 4, end):
      damaged = bytearray(encoded)
      damaged[place] ^= 1
      fault = faults.Fault(faults.Kind.CORRUPT, 'the checksum of the chunk IDAT is wrong')
      self.assertEqual(contents.png_fault(bytes(damaged)), fault)
      fault = faults.Fault(faults.Kind.TRUNCATED, 'it ends within the chunk IDAT')
      self.assertEqual(contents.png_fault(encoded[:place]), fault)

  def test_comments_do_not_count(self):
    encoded = saved('PNG')
    damaged = encoded[:33] + chunk(b'tEXt', b'a\0b')[:-1] + b'?' + encoded[33:]
    self.assertIsNone(contents.png_fault(damaged))

  def test_plain_files(self):
    self.assertTrue(contents.is_plain_png(saved('PNG')))
    self.assertFalse(contents.is_plain_png(saved('PNG', transparency=(1, 2, 3))))
    for place, value in ((24, 16), (25, 4), (25, 6)):
      header = bytearray(saved('PNG'))
      header[place] = value
      self.assertFalse(contents.is_plain_png(bytes(header)))


class LossTest(unittest.TestCase):
  def test_formats_with_loss(self):
    lossy = {form: contents.is_lossy(saved(form), form) for form in ('JPEG', 'PNG', 'AVIF', 'GIF')}
    self.assertEqual(lossy, {'JPEG': True, 'PNG': False, 'AVIF': True, 'GIF': False})

  def test_webp_files_of_every_kind(self):
    frame = Image.new('RGBA', (40, 30), (9, 8, 7, 6))
    profile = {'icc_profile': b'VP8L' * 9 + b'1'}
    for options in ({}, profile, {'save_all': True, 'append_images': [frame]}):
      for is_lossless in (False, True):
        encoded = saved('WEBP', lossless=is_lossless, **options)
        self.assertEqual(contents.is_lossy(encoded, 'WEBP'), not is_lossless, options.keys())


class CutTest(unittest.TestCase):
  def test_halves_and_wholes(self):
    for form in ('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP'):
      encoded = saved(form)
      self.assertFalse(contents.is_cut(encoded, form), form)
      self.assertTrue(contents.is_cut(encoded[: len(encoded) // 2], form), form)

  def test_the_end_of_a_thumbnail_is_not_that_of_the_image(self):
    thumbnail = saved('JPEG', 3, 4)
    encoded = saved('JPEG', exif=b'Exif\0\0' + thumbnail)
    self.assertFalse(contents.is_cut(encoded, 'JPEG'))
    self.assertTrue(contents.is_cut(encoded[:-9] + bytes(99), 'JPEG'))


if __name__ == '__main__':
  unittest.main()
