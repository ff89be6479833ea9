"""Tests for the examination of images; the files are real ones, written by Pillow or by hand."""

import io
import struct
import unittest
import warnings
import zlib
from unittest import mock

import numpy as np
from PIL import Image, ImageCms, ImageOps

from official_selftrain.datasets.checks import image_decoders, images
from tests.datasets.checks import examining


class UntouchedTest(examining.ImagesTestCase):
  def test_a_jpeg_in_colours(self):
    result = self.assert_untouched(examining.JPEG, 'JPEG')
    self.assertEqual((result.height, result.width), (examining.HEIGHT, examining.WIDTH))
    self.assertLess(examining.difference(result.pixels, examining.texture()), 6)

  def test_progressive_and_grey_jpegs(self):
    self.assert_untouched(examining.saved(examining.texture(), 'JPEG', progressive=True), 'JPEG')
    grey = Image.fromarray(examining.texture()).convert('L')
    result = self.assert_untouched(examining.saved(grey, 'JPEG', quality=95), 'JPEG')
    self.assertLess(examining.difference(result.pixels, np.asarray(grey.convert('RGB'))), 3)

  def test_pngs_that_both_decoders_see_alike(self):
    image = Image.fromarray(examining.texture())
    for mode in ('RGB', 'L', '1', 'LA', 'RGBA'):
      with self.subTest(mode):
        encoded = examining.saved(image.convert(mode), 'PNG')
        result = self.assert_untouched(encoded, 'PNG')
        np.testing.assert_array_equal(result.pixels, examining.decoded(encoded))

  def test_a_transparent_colour_that_no_pixel_has(self):
    grey = np.full([4, 5], 7, np.uint8)
    self.assert_untouched(examining.saved(grey, 'PNG', transparency=8), 'PNG')

  def test_bytes_after_the_end_of_the_image(self):
    self.assert_untouched(examining.JPEG + b'more' * 50, 'JPEG')
    self.assert_untouched(examining.PNG + b'more' * 50, 'PNG')

  def test_extraneous_bytes_before_the_end_of_a_jpeg_lose_no_pixels(self):
    self.assert_untouched(examining.JPEG[:-2] + b'abcdefgh' + examining.JPEG[-2:], 'JPEG')

  def test_further_images_behind_a_jpeg(self):
    encoded = examining.saved(
      Image.fromarray(examining.texture()),
      'MPO',
      save_all=True,
      append_images=[Image.fromarray(examining.texture(20, 20))],
    )
    self.assertEqual(self.assert_untouched(encoded, 'JPEG').height, examining.HEIGHT)


class NoImageTest(examining.ImagesTestCase):
  def test_no_bytes(self):
    self.assert_left_out(b'', examining.Kind.EMPTY, r'^$')

  def test_a_page_in_place_of_a_download(self):
    page = b'\n<!DOCTYPE html>\n<html lang="en"><head><title>404 Not Found</title>'
    shown = r'^the content is HTML: \'<!DOCTYPE html> <html lang="en"><head><t\'$'
    self.assert_left_out(page, examining.Kind.NOT_AN_IMAGE, shown, name='a.jpg')

  def test_other_text(self):
    cases = {
      b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>': 'is XML: ',
      b'<?xml version="1.0"?>\n<!-- drawn --><svg width="3"/>': 'is SVG: ',
      b'{"error": "rate limit"}': r'is JSON: \'{"error": "rate limit"}\'',
      b'version https://git-lfs.github.com/spec/v1\noid sha256:1': 'Git LFS pointer .git lfs pull',
      'Zugriff verweigert für'.encode('latin-1'): 'is text: ',
      'Zugriff'.encode('utf-16'): "is text: 'Zugriff'",
    }
    for content, detail in cases.items():
      with self.subTest(detail):
        self.assert_left_out(content, examining.Kind.NOT_AN_IMAGE, detail)

  def test_other_files(self):
    self.assert_left_out(b'%PDF-1.4\n\x80\x00', examining.Kind.NOT_AN_IMAGE, 'is a PDF')
    self.assert_left_out(b'PK\x03\x04\x14\0\0\0', examining.Kind.NOT_AN_IMAGE, 'is a ZIP archive')
    self.assert_left_out(b'\0\0\0\x18ftypmp42\0\0', examining.Kind.NOT_AN_IMAGE, 'is a video')
    self.assert_left_out(bytes(1000), examining.Kind.NOT_AN_IMAGE, '^all 1000 bytes are zero$')
    self.assert_left_out(
      b'\x01\x02' + examining.JPEG, examining.Kind.NOT_AN_IMAGE, 'bytes 01 02 ff d8 ff e0 00 10'
    )

  def test_heic_is_named(self):
    self.assert_left_out(
      b'\0\0\0\x18ftypheic\0\0\0\0', examining.Kind.CORRUPT, 'HEIC; export it as JPEG'
    )


class DamageTest(examining.ImagesTestCase):
  def test_files_that_end_early(self):
    image = Image.fromarray(examining.texture(200, 300))
    for form in ('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP'):
      whole = examining.saved(image, form)
      with self.subTest(form):
        result = self.examine(whole[: len(whole) // 2])
        self.assert_kinds(result, examining.Kind.TRUNCATED)

  def test_a_jpeg_that_ends_in_zeros(self):
    half = len(examining.JPEG) // 2
    self.assert_left_out(examining.JPEG[:half] + bytes(half), examining.Kind.TRUNCATED, 'truncated')

  def test_a_jpeg_cut_before_its_pixels(self):
    self.assert_left_out(examining.JPEG[:30], examining.Kind.TRUNCATED, '^Truncated File Read$')

  def test_a_png_cut_within_the_checksum_of_its_pixels(self):
    # Pillow decodes it.
    self.assertEqual(
      examining.decoded(examining.PNG[:-13]).shape, (examining.HEIGHT, examining.WIDTH, 3)
    )
    self.assert_left_out(
      examining.PNG[:-13], examining.Kind.TRUNCATED, 'ends within the chunk IDAT'
    )

  def test_a_png_with_zeroed_pixels(self):
    # Pillow decodes it, to something else.
    rows = zlib.compress(bytes(examining.HEIGHT * (1 + 3 * examining.WIDTH)), 0)
    start = examining.PNG.index(b'IDAT')
    parts = [
      examining.PNG[: start - 4],
      examining.chunk(b'IDAT', rows, checksum_error=1),
      examining.chunk(b'IEND', b''),
    ]
    self.assertFalse(examining.decoded(b''.join(parts)).any())
    self.assert_left_out(
      b''.join(parts), examining.Kind.CORRUPT, 'checksum of the chunk IDAT is wrong'
    )

  def test_a_changed_bit_within_a_png(self):
    damaged = bytearray(examining.PNG)
    damaged[len(examining.PNG) // 2] ^= 4
    self.assert_kinds(self.examine(bytes(damaged)), examining.Kind.CORRUPT)

  def test_damage_within_a_jpeg_that_both_decoders_fill_in(self):
    damaged = bytearray(examining.JPEG)
    middle = len(examining.JPEG) // 2
    damaged[middle : middle + 100] = b'\xaa' * 100
    self.assertEqual(examining.decoded(damaged).shape, examining.trained(bytes(damaged)).shape)
    self.assert_left_out(bytes(damaged), examining.Kind.CORRUPT, '^Corrupt JPEG data: ')

  def test_an_end_mark_within_a_jpeg(self):
    damaged = bytearray(examining.JPEG)
    middle = len(examining.JPEG) // 2
    damaged[middle : middle + 2] = b'\xff\xd9'
    self.assert_left_out(bytes(damaged), examining.Kind.CORRUPT, 'premature end of data segment')

  def test_a_header_alone_that_neither_decoder_reads(self):
    self.assert_left_out(
      b'\xff\xd8\xff' + bytes(range(1, 200)) + b'\xff\xd9', examining.Kind.CORRUPT, '.'
    )

  def test_decoders_that_see_different_sizes(self):
    def smaller(_: bytes) -> image_decoders.Decoded:
      return image_decoders.Decoded(np.zeros([4, 5, 3], np.uint8))

    detail = '^Pillow sees 48 x 64, TensorFlow 4 x 5 '
    self.assert_left_out(examining.JPEG, examining.Kind.CORRUPT, detail, decoder=smaller)

  def test_a_new_file_that_tensorflow_does_not_decode(self):
    def none(_: bytes) -> image_decoders.Decoded:
      return image_decoders.Decoded(None, 'no')

    webp = examining.saved(examining.texture(), 'WEBP')
    result = self.examine(webp, decoder=none)
    self.assert_kinds(result, examining.Kind.FORMAT, examining.Kind.CORRUPT)
    self.assertEqual(result.faults[1].detail, 'TensorFlow does not decode it as JPEG either: no')

  def test_numbers_without_a_range(self):
    values = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)
    encoded = examining.saved(Image.fromarray(values), 'TIFF')
    result = self.examine(encoded)
    self.assert_kinds(result, examining.Kind.FORMAT, examining.Kind.CORRUPT)
    self.assertRegex(result.faults[1].detail, 'mode F, not 8 or 16 bits')
    encoded = examining.saved(Image.fromarray(np.array([[70000, 1]], np.int32)), 'TIFF')
    self.assertRegex(self.examine(encoded).faults[1].detail, 'mode I, not 8 or 16 bits')

  def lab_tiff(self) -> bytes:
    profiles = [ImageCms.createProfile(space) for space in ('sRGB', 'LAB')]
    transform = ImageCms.buildTransform(*profiles, 'RGB', 'LAB')
    return examining.saved(
      ImageCms.applyTransform(Image.fromarray(examining.texture()), transform), 'TIFF'
    )

  def test_a_tiff_in_lab(self):
    result = self.examine(self.lab_tiff())
    self.assert_kinds(result, examining.Kind.FORMAT)
    self.assertLess(examining.difference(result.pixels, examining.texture()), 3)

  def test_pixels_that_pillow_does_not_convert(self):
    encoded = self.lab_tiff()
    with mock.patch.object(Image.Image, 'convert', side_effect=ValueError('unknown\nmode')):
      result = images.examine(encoded, 'a')
    self.assert_kinds(result, examining.Kind.FORMAT, examining.Kind.CORRUPT)
    self.assertEqual(
      result.faults[1].detail, 'its pixels, of mode LAB, cannot be made RGB: unknown'
    )


class BombTest(examining.ImagesTestCase):
  def huge(self, height: int, width: int) -> bytes:
    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    parts = [
      examining.chunk(b'IHDR', header),
      examining.chunk(b'IDAT', zlib.compress(bytes(99))),
      examining.chunk(b'IEND', b''),
    ]
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)

  def test_more_pixels_than_the_limit(self):
    self.assert_left_out(self.huge(20_000, 20_000), examining.Kind.BOMB, r'400000000 pixels')

  def test_the_limit_holds_where_pillow_has_none(self):
    self.addCleanup(setattr, Image, 'MAX_IMAGE_PIXELS', Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = None
    text = r'^20000 x 10000 \(height x width\) are more than 178,956,970 pixels$'
    self.assert_left_out(self.huge(20_000, 10_000), examining.Kind.BOMB, text)

  def test_the_limit_holds_where_pillow_reads_no_header(self):
    encoded = self.huge(20_000, 10_000)
    broken = encoded[:33] + examining.chunk(b'tEXt', b'a\0b', checksum_error=1) + encoded[33:]
    self.assert_left_out(broken, examining.Kind.BOMB, '^20000 x 10000 ')

  def test_pillow_does_not_warn_of_half_as_many(self):
    encoded = self.huge(10_000, 10_000)
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter('always')
      self.assert_kinds(self.examine(encoded), examining.Kind.TRUNCATED)
    self.assertEqual(caught, [])


class ThinTest(examining.ImagesTestCase):
  def png(self, height: int, width: int) -> bytes:
    return examining.saved(Image.new('RGB', (width, height)), 'PNG')

  def test_a_side_of_more_than_a_hundred_times_the_other(self):
    text = r'^1 x 101 \(height x width\)$'
    self.assert_left_out(self.png(1, 101), examining.Kind.THIN, text)
    self.assert_left_out(self.png(505, 5), examining.Kind.THIN, '^505 x 5 ')
    self.assert_kinds(self.examine(self.png(1, 100)))
    self.assert_kinds(self.examine(self.png(500, 5)))


class ExtensionTest(examining.ImagesTestCase):
  def test_another_format_than_the_name_says_is_noted(self):
    result = self.examine(examining.PNG, 'folder.v2/a.JPG')
    self.assert_kinds(result, examining.Kind.EXTENSION)
    self.assertEqual(result.faults[0].detail, 'JPG, but the content is PNG')
    self.assertIs(result.encoded, examining.PNG)

  def test_names_that_fit_or_say_nothing(self):
    for name in ('a.jpg', 'a.JPEG', 'jpg', 'a', 'a.image', 'x.png/a', 'a.b.jfif'):
      self.assert_kinds(self.examine(examining.JPEG, name))

  def test_it_is_noted_of_images_that_are_left_out(self):
    result = self.examine(examining.JPEG[:500], 'a.png')
    self.assert_kinds(result, examining.Kind.EXTENSION, examining.Kind.TRUNCATED)


class RotationTest(examining.ImagesTestCase):
  def test_every_orientation_is_turned_as_pillow_displays_it(self):
    for orientation in range(2, 9):
      for form in ('JPEG', 'PNG', 'WEBP', 'TIFF'):
        with self.subTest(form, orientation=orientation):
          encoded = examining.with_orientation(examining.texture(), orientation, form)
          result = self.examine(encoded)
          displayed = np.asarray(
            ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert('RGB')
          )
          np.testing.assert_array_equal(result.pixels, displayed)
          self.assertEqual(result.faults[0].kind, examining.Kind.EXIF_ROTATION)
          self.assertEqual(result.turned_from, (examining.HEIGHT, examining.WIDTH))
          self.assertTrue(result.is_turned)
          self.assertLess(examining.difference(examining.trained(result.encoded), displayed), 3)
          self.assertEqual(len(Image.open(io.BytesIO(result.encoded)).getexif()), 0)

  def test_values_in_the_first_row_turned_by_hand(self):
    # Orientation 6 displays the first column as the first row, from the bottom up.
    grey = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    result = self.examine(examining.with_orientation(grey, 6, 'PNG'))
    np.testing.assert_array_equal(result.pixels[..., 0], [[4, 1], [5, 2], [6, 3]])
    self.assertEqual(result.faults[0].detail, 'EXIF orientation 6, 2 x 3 (height x width) stored')

  def test_a_turned_jpeg_becomes_a_fine_jpeg(self):
    result = self.examine(examining.with_orientation(examining.texture(), 6, 'JPEG'))
    self.assertEqual(
      (result.format, result.height, result.width), ('JPEG', examining.WIDTH, examining.HEIGHT)
    )
    image = Image.open(io.BytesIO(result.encoded))
    # Quality 95 gives the first entry 16 * 10 % = 2; and all channels are sampled alike.
    self.assertEqual(image.quantization[0][0], 2)
    self.assertEqual([layer[1:3] for layer in image.layer], [(1, 1)] * 3)

  def test_a_turned_grey_jpeg_stays_grey(self):
    grey = Image.fromarray(examining.texture()).convert('L')
    result = self.examine(examining.with_orientation(grey, 8, 'JPEG'))
    self.assertEqual(Image.open(io.BytesIO(result.encoded)).mode, 'L')

  def test_annotations_of_the_displayed_size(self):
    result = self.examine(
      examining.with_orientation(examining.texture(), 6, 'JPEG'),
      size=(examining.WIDTH, examining.HEIGHT),
    )
    self.assert_kinds(result, examining.Kind.EXIF_ROTATION)
    self.assertEqual((result.height, result.width), (examining.WIDTH, examining.HEIGHT))

  def test_annotations_of_the_stored_size_keep_the_bytes(self):
    encoded = examining.with_orientation(examining.texture(), 6, 'JPEG')
    result = self.examine(encoded, size=(examining.HEIGHT, examining.WIDTH))
    self.assert_kinds(result)
    self.assertIs(result.encoded, encoded)
    self.assertEqual(
      (result.height, result.width, result.turned_from), (examining.HEIGHT, examining.WIDTH, None)
    )

  def test_annotations_of_the_stored_size_of_a_tiff(self):
    result = self.examine(
      examining.with_orientation(examining.texture(), 6, 'TIFF'),
      size=(examining.HEIGHT, examining.WIDTH),
    )
    self.assert_kinds(result, examining.Kind.FORMAT)
    np.testing.assert_array_equal(result.pixels, examining.texture())

  def test_annotations_of_neither_size(self):
    detail = (
      r'^the annotations state 50 x 64 .*, the image has 48 x 64 stored and 64 x 48 displayed$'
    )
    self.assert_left_out(
      examining.with_orientation(examining.texture(), 6, 'JPEG'),
      examining.Kind.SIZE,
      detail,
      size=(50, 64),
    )

  def test_a_square_image_is_turned(self):
    encoded = examining.with_orientation(examining.texture(40, 40), 3, 'PNG')
    result = self.examine(encoded, size=(40, 40))
    np.testing.assert_array_equal(result.pixels, examining.texture(40, 40)[::-1, ::-1])

  def test_orientations_that_say_nothing(self):
    for orientation in (0, 1, 9):
      self.assert_kinds(
        self.examine(examining.with_orientation(examining.texture(), orientation, 'JPEG'))
      )
    self.assert_kinds(
      self.examine(examining.saved(examining.texture(), 'JPEG', exif=b'Exif\0\0garbage'))
    )

  def test_a_size_that_is_not_the_images(self):
    detail = r'state 48 x 65 \(height x width\), the image has 48 x 64$'
    self.assert_left_out(examining.JPEG, examining.Kind.SIZE, detail, size=(48, 65))
    self.assert_left_out(
      examining.JPEG, examining.Kind.SIZE, 'the same turned by 90 degrees$', size=(64, 48)
    )
    self.assert_kinds(self.examine(examining.JPEG, size=(48, 64)))


if __name__ == '__main__':
  unittest.main()
