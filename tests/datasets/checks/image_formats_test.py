"""Tests for the examination of images whose colours or formats training does not read as they are."""

import io
import os
import struct
import subprocess
import sys
import tempfile
import unittest
import warnings
import zlib

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image

from official_selftrain.datasets.checks import images
from tests.datasets.checks import examining


class ColoursTest(examining.ImagesTestCase):
  def test_cmyk_and_ycck_jpegs(self):
    cmyk = examining.saved(Image.fromarray(examining.texture()).convert('CMYK'), 'JPEG', quality=95)
    result = self.examine(cmyk)
    self.assert_kinds(result, examining.Kind.CMYK)
    self.assertEqual((result.format, result.faults[0].detail), ('JPEG', ''))
    self.assertLess(examining.difference(examining.trained(result.encoded), examining.texture()), 6)
    # The last byte of the Adobe segment says how channels were mixed.
    place = cmyk.index(b'Adobe') + 11
    ycck = cmyk[:place] + b'\x02' + cmyk[place + 1 :]
    self.assertEqual([each.detail for each in self.examine(ycck).faults], ['YCCK'])

  def test_a_cmyk_tiff_stays_without_loss(self):
    cmyk = Image.fromarray(examining.texture()).convert('CMYK')
    result = self.examine(examining.saved(cmyk, 'TIFF'))
    self.assert_kinds(result, examining.Kind.FORMAT, examining.Kind.CMYK)
    self.assertEqual(result.format, 'PNG')
    np.testing.assert_array_equal(
      examining.trained(result.encoded), np.asarray(cmyk.convert('RGB'))
    )

  def test_grey_of_16_bits_keeps_the_upper_ones(self):
    values = np.array([[0, 255, 256], [511, 40000, 65535]], np.uint16)
    for form, kinds in (('PNG', []), ('TIFF', [examining.Kind.FORMAT])):
      result = self.examine(examining.saved(values, form))
      self.assert_kinds(result, *kinds, examining.Kind.DEPTH_16)
      np.testing.assert_array_equal(result.pixels[..., 1], [[0, 0, 1], [1, 156, 255]])
      self.assertEqual(result.faults[-1].detail, '')
    np.testing.assert_array_equal(examining.trained(examining.saved(values, 'PNG')), result.pixels)

  def test_values_of_12_bits_become_dark(self):
    result = self.examine(examining.saved(np.full([4, 5], 4095, np.uint16), 'PNG'))
    self.assertEqual(result.faults[0].detail, 'its values reach 4095 of 65535, so it becomes dark')
    self.assertEqual(set(result.pixels.ravel()), {15})

  def test_big_endian_grey(self):
    pgm = b'P5 2 1 65535\n' + struct.pack('>HH', 65535, 512)
    result = self.examine(pgm, 'a.pgm')
    self.assert_kinds(result, examining.Kind.FORMAT, examining.Kind.DEPTH_16)
    np.testing.assert_array_equal(result.pixels[..., 0], [[255, 2]])

  def test_colours_of_16_bits(self):
    pixels = examining.texture().astype(np.uint16) * 256 + 77
    result = self.examine(examining.png_of_16_bits(pixels, 2))
    self.assert_kinds(result, examining.Kind.DEPTH_16)
    np.testing.assert_array_equal(examining.trained(result.encoded), examining.texture())
    self.assertEqual(result.encoded[24], 8)

  def test_16_bits_with_transparency(self):
    alpha = np.full([examining.HEIGHT, examining.WIDTH, 1], 65535, np.uint16)
    alpha[:10] = 0
    pixels = np.concatenate([examining.texture().astype(np.uint16) * 257, alpha], axis=2)
    result = self.examine(examining.png_of_16_bits(pixels, 6))
    self.assert_kinds(result, examining.Kind.DEPTH_16, examining.Kind.ALPHA)
    expected = examining.texture().copy()
    expected[:10] = 255
    np.testing.assert_array_equal(result.pixels, expected)

  def test_a_transparent_grey_of_16_bits(self):
    encoded = examining.png_of_16_bits(np.array([[[300], [40000]]]), 0)
    encoded = encoded[:33] + examining.chunk(b'tRNS', struct.pack('>H', 300)) + encoded[33:]
    result = self.examine(encoded)
    self.assert_kinds(result, examining.Kind.DEPTH_16, examining.Kind.ALPHA)
    np.testing.assert_array_equal(result.pixels[..., 0], [[255, 156]])

  def test_transparency_lies_over_white(self):
    pixels = np.full([2, 3, 4], 100, np.uint8)
    pixels[..., 3] = [[255, 0, 51]] * 2
    result = self.examine(examining.saved(pixels, 'PNG'))
    self.assert_kinds(result, examining.Kind.ALPHA)
    # 100 * 0.2 + 255 * 0.8 = 224.
    np.testing.assert_array_equal(result.pixels[0], [[100] * 3, [255] * 3, [224] * 3])
    np.testing.assert_array_equal(examining.trained(result.encoded), result.pixels)
    grey = self.examine(examining.saved(pixels[..., 2:], 'PNG'))
    self.assert_kinds(grey, examining.Kind.ALPHA)
    np.testing.assert_array_equal(grey.pixels, result.pixels)

  def test_a_transparent_colour(self):
    pixels = examining.texture().copy()
    pixels[:5] = 1, 2, 3
    result = self.examine(examining.saved(pixels, 'PNG', transparency=(1, 2, 3)))
    self.assert_kinds(result, examining.Kind.ALPHA)
    pixels[:5] = 255
    np.testing.assert_array_equal(result.pixels, pixels)

  def test_a_palette(self):
    image = Image.fromarray(examining.texture()).quantize(16)
    result = self.examine(examining.saved(image, 'PNG'))
    self.assert_kinds(result, examining.Kind.PALETTE)
    np.testing.assert_array_equal(
      examining.trained(result.encoded), np.asarray(image.convert('RGB'))
    )
    self.assertEqual(result.encoded[24:26], b'\x08\x02')

  def test_a_palette_with_transparency(self):
    image = Image.fromarray(examining.texture()).quantize(4)
    result = self.examine(examining.saved(image, 'PNG', transparency=bytes([255, 0, 255, 255])))
    self.assert_kinds(result, examining.Kind.PALETTE, examining.Kind.ALPHA)
    expected = np.asarray(image.convert('RGB')).copy()
    expected[np.asarray(image) == 1] = 255
    np.testing.assert_array_equal(result.pixels, expected)


class FormatTest(examining.ImagesTestCase):
  def test_formats_without_loss_become_pngs(self):
    image = Image.fromarray(examining.texture())
    cases = {form: {} for form in ('BMP', 'TIFF', 'PPM')}
    cases |= {'WEBP': {'lossless': True}, 'JPEG2000': {'irreversible': False}}
    for form, options in cases.items():
      with self.subTest(form):
        result = self.examine(examining.saved(image, form, **options))
        self.assert_kinds(result, examining.Kind.FORMAT)
        self.assertEqual((result.format, result.faults[0].detail), ('PNG', form))
        np.testing.assert_array_equal(examining.trained(result.encoded), examining.texture())

  def test_formats_with_loss_become_jpegs(self):
    for form in ('WEBP', 'AVIF'):
      with self.subTest(form):
        encoded = examining.saved(examining.texture(), form, quality=95)
        result = self.examine(encoded, f'a.{form.lower()}')
        self.assert_kinds(result, examining.Kind.FORMAT)
        self.assertEqual(result.format, 'JPEG')
        self.assertLess(
          examining.difference(examining.trained(result.encoded), examining.decoded(encoded)), 3
        )

  def test_compressed_tiffs(self):
    for compression in ('tiff_lzw', 'tiff_adobe_deflate', 'packbits'):
      result = self.examine(examining.saved(examining.texture(), 'TIFF', compression=compression))
      np.testing.assert_array_equal(result.pixels, examining.texture())

  def test_a_gif(self):
    image = Image.fromarray(examining.texture()).quantize(64)
    result = self.examine(examining.saved(image, 'GIF'))
    self.assert_kinds(result, examining.Kind.FORMAT)
    np.testing.assert_array_equal(result.pixels, np.asarray(image.convert('RGB')))

  def test_a_transparent_webp(self):
    pixels = np.dstack(
      [examining.texture(), np.full([examining.HEIGHT, examining.WIDTH], 255, np.uint8)]
    )
    pixels[:20, :, 3] = 0
    result = self.examine(examining.saved(pixels, 'WEBP', lossless=True))
    self.assert_kinds(result, examining.Kind.FORMAT, examining.Kind.ALPHA)
    self.assertEqual(set(result.pixels[:20].ravel()), {255})
    np.testing.assert_array_equal(result.pixels[20:], examining.texture()[20:])

  def test_the_first_of_several_frames(self):
    # Few colours, which a GIF keeps.
    first, second = (Image.fromarray(examining.texture(seed=seed) // 128 * 128) for seed in (0, 1))
    cases = {'PNG': {}, 'GIF': {}, 'WEBP': {'lossless': True}, 'TIFF': {}}
    for form, options in cases.items():
      with self.subTest(form):
        encoded = examining.saved(first, form, save_all=True, append_images=[second], **options)
        result = self.examine(encoded)
        self.assert_kinds(
          result, examining.Kind.ANIMATED, *([] if form == 'PNG' else [examining.Kind.FORMAT])
        )
        self.assertEqual(result.format, 'PNG')
        np.testing.assert_array_equal(examining.trained(result.encoded), np.asarray(first))
        self.assertFalse(getattr(Image.open(io.BytesIO(result.encoded)), 'is_animated', False))

  def test_frames_with_loss_become_a_jpeg(self):
    first, second = (Image.fromarray(examining.texture(seed=seed)) for seed in (0, 1))
    encoded = examining.saved(first, 'WEBP', save_all=True, append_images=[second], quality=95)
    result = self.examine(encoded)
    self.assert_kinds(result, examining.Kind.ANIMATED, examining.Kind.FORMAT)
    self.assertEqual(result.format, 'JPEG')
    self.assertLess(
      examining.difference(examining.trained(result.encoded), examining.texture(seed=0)), 6
    )


class OneDecoderTest(examining.ImagesTestCase):
  def test_a_png_whose_end_mark_is_missing_has_all_pixels(self):
    with self.assertRaises(tf.errors.InvalidArgumentError):
      examining.trained(examining.PNG[:-12])
    result = self.examine(examining.PNG[:-12])
    self.assert_kinds(result, examining.Kind.FORMAT)
    self.assertRegex(result.faults[0].detail, '^TensorFlow does not decode this PNG: Invalid PNG')
    np.testing.assert_array_equal(examining.trained(result.encoded), examining.texture())

  def test_a_damaged_comment_in_a_png_stops_only_pillow(self):
    encoded = (
      examining.PNG[:33] + examining.chunk(b'tEXt', b'a\0b', checksum_error=1) + examining.PNG[33:]
    )
    with self.assertRaises(OSError):
      examining.decoded(encoded)
    result = self.examine(encoded, size=(examining.HEIGHT, examining.WIDTH))
    self.assert_kinds(result, examining.Kind.FORMAT)
    detail = 'Pillow does not decode it (its header cannot be read), TensorFlow does'
    self.assertEqual(result.faults[0].detail, detail)
    np.testing.assert_array_equal(examining.decoded(result.encoded), examining.texture())
    self.assert_kinds(
      self.examine(encoded, size=(1, 2)), examining.Kind.FORMAT, examining.Kind.SIZE
    )

  def test_a_large_comment_in_a_png_stops_only_pillow(self):
    comment = b'a\0\0' + zlib.compress(bytes(3 << 20))
    result = self.examine(
      examining.PNG[:33] + examining.chunk(b'zTXt', comment) + examining.PNG[33:]
    )
    self.assertRegex(result.faults[0].detail, 'MAX_TEXT_CHUNK.*, TensorFlow does$')

  def test_transparency_is_not_left_to_tensorflow(self):
    for mode in ('RGBA', 'LA'):
      png = examining.saved(Image.fromarray(examining.texture()).convert(mode), 'PNG')
      encoded = png[:33] + examining.chunk(b'tEXt', b'a\0b', checksum_error=1) + png[33:]
      self.assertEqual(examining.trained(encoded).shape, (examining.HEIGHT, examining.WIDTH, 3))
      self.assert_left_out(encoded, examining.Kind.CORRUPT, 'its header cannot be read')

  def test_a_short_segment_of_a_jpeg_stops_only_pillow(self):
    encoded = examining.JPEG[:2] + b'\xff\xe0\x00\x08JFIF\0\0' + examining.JPEG[20:]
    with self.assertRaises(OSError):
      examining.decoded(encoded)
    result = self.examine(encoded)
    self.assert_kinds(result, examining.Kind.FORMAT)
    self.assertEqual(result.format, 'JPEG')
    self.assertLess(
      examining.difference(examining.trained(result.encoded), examining.trained(examining.JPEG)), 2
    )


class ImportTest(unittest.TestCase):
  def test_tensorflow_is_imported_only_by_its_decoder(self):
    names = [
      f'official_selftrain.datasets.checks.{name}' for name in ('images', 'masks', 'similarity')
    ]
    code = f'import sys, {", ".join(names)}; print("tensorflow" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    self.assertEqual(done.stdout, 'False\n')


class QuietTest(examining.ImagesTestCase):
  def printed(self, action) -> bytes:
    """What an action writes to stderr, whoever writes it."""
    with tempfile.TemporaryFile() as stream:
      kept = os.dup(2)
      os.dup2(stream.fileno(), 2)
      try:
        action()
      finally:
        os.dup2(kept, 2)
        os.close(kept)
      stream.seek(0)
      return stream.read()

  def test_nothing_is_printed_of_damaged_images(self):
    damaged = bytearray(examining.JPEG)
    damaged[len(examining.JPEG) // 2 : len(examining.JPEG) // 2 + 2] = b'\xff\xd9'
    comment = (
      examining.PNG[:33] + examining.chunk(b'tEXt', b'a\0b', checksum_error=1) + examining.PNG[33:]
    )
    progressive = examining.saved(examining.texture(), 'JPEG', progressive=True)[:-900]
    tiff = examining.saved(examining.texture(), 'TIFF', compression='tiff_lzw')
    lzw = bytearray(tiff)
    lzw[len(tiff) // 2 : len(tiff) // 2 + 50] = b'\xff' * 50
    avif = bytearray(examining.saved(examining.texture(), 'AVIF'))
    avif[-30:-20] = b'\xff' * 10
    files = (
      bytes(damaged),
      comment,
      progressive,
      tiff[: len(tiff) // 2],
      bytes(lzw),
      bytes(avif),
      examining.JPEG[:-9],
    )
    # So that the test cannot pass for want of messages.
    self.assertIn(b'Corrupt JPEG data', self.printed(lambda: examining.trained(files[0])))
    for encoded in files:
      self.assertEqual(self.printed(lambda: images.examine(encoded, 'a')), b'')  # noqa: B023

  def test_a_process_without_stderr(self):
    # A file that is opened gets the lowest number, which must not be that of stderr.
    numbers = (0, 2)
    kept = [os.dup(number) for number in numbers]
    for number in numbers:
      os.close(number)
    try:
      result = images.examine(examining.JPEG, 'a')
      with self.assertRaises(OSError):
        os.fstat(2)
    finally:
      for number, copy in zip(numbers, kept, strict=True):
        os.dup2(copy, number)
        os.close(copy)
    self.assertIs(result.encoded, examining.JPEG)

  def test_no_descriptor_stays_open(self):
    images.examine(examining.JPEG, 'a')
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(5):
      images.examine(examining.JPEG[:-5], 'a')
    self.assertEqual(len(os.listdir('/proc/self/fd')), before)

  def test_warnings_of_pillow_stay_inside(self):
    image = Image.fromarray(examining.texture()).quantize(4)
    files = [examining.saved(image, 'PNG', transparency=bytes([255, 0, 255, 255]))]
    files.append(examining.saved(examining.texture(), 'TIFF')[:100])
    # A count of frames that is 0.
    files.append(examining.PNG[:33] + examining.chunk(b'acTL', bytes(8)) + examining.PNG[33:])
    for encoded in files:
      with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        Image.open(io.BytesIO(examining.PNG)).load()
        images.examine(encoded, 'a')
      self.assertEqual(caught, [])


class AnyBytesTest(examining.ImagesTestCase):
  """Whatever the bytes, there is a result, and what goes into records is decoded by training."""

  @hypothesis.settings(max_examples=150)
  @hypothesis.given(st.binary(max_size=300))
  def test_random_bytes(self, encoded: bytes):
    self.assertIsNone(self.examine(encoded).encoded)

  @hypothesis.settings(max_examples=150)
  @hypothesis.given(
    st.sampled_from(
      [
        b'\xff\xd8\xff',
        b'\x89PNG\r\n\x1a\n',
        examining.PNG[:33],
        examining.JPEG[:200],
        b'GIF89a',
        b'II*\0',
        b'MM\0*',
      ]
      + [
        b'RIFF\x50\0\0\0WEBPVP8 ',
        b'P5 3 3 255\n',
        examining.saved(examining.texture(), 'BMP')[:54],
      ]
    ),
    st.binary(max_size=200),
  )
  def test_random_bytes_after_the_start_of_an_image(self, start: bytes, rest: bytes):
    self.assertIsInstance(self.examine(start + rest).faults, tuple)

  def test_every_prefix(self):
    small = examining.texture(12, 16)
    for form in ('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF'):
      whole = examining.saved(small, form)
      for length in range(0, len(whole), 1 if form in ('JPEG', 'PNG') else 7):
        result = self.examine(whole[:length])
        if form == 'JPEG':
          self.assertIsNone(result.encoded)
        elif result.encoded is not None and form == 'PNG':
          np.testing.assert_array_equal(result.pixels, small)

  @hypothesis.settings(max_examples=200)
  @hypothesis.given(st.sampled_from(['JPEG', 'PNG']), st.data())
  def test_flipped_bits(self, form: str, data: st.DataObject):
    whole = bytearray(examining.JPEG if form == 'JPEG' else examining.PNG)
    bits = st.integers(0, 8 * len(whole) - 1)
    for bit in data.draw(st.lists(bits, min_size=1, max_size=3, unique=True)):
      whole[bit // 8] ^= 1 << bit % 8
    result = self.examine(bytes(whole))
    if form == 'PNG' and result.encoded is not None and not result.is_turned:
      # Checksums find what is wrong with pixels; an ancillary chunk may be lost.
      np.testing.assert_array_equal(result.pixels, examining.texture())


if __name__ == '__main__':
  unittest.main()
