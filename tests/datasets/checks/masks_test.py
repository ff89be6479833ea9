"""Tests for the examination of masks; the files are real ones, written by Pillow or by hand."""

import io
import pathlib
import struct
import tempfile
import unittest
import warnings
import zlib

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image

from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import masks

Kind = faults.Kind

# Two rows of three pixels.
IDS = np.array([[0, 1, 2], [255, 2, 2]], np.uint8)
IDENTITY = {0: 0, 1: 1, 2: 2, 255: 255}
COLOURS = {(0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 0): 2, (224, 224, 192): 255}
# The colours of the palette by index; the others are white.
PALETTE = np.full([256, 3], 255, np.uint8)
for _colour, _index in COLOURS.items():
  PALETTE[_index] = _colour


def saved(image: Image.Image | np.ndarray, form: str = 'PNG', **options) -> bytes:
  """Content of a file that Pillow has written to a folder and that was read back."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'mask')
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, form, **options)
    return path.read_bytes()


def palette_image(indices: np.ndarray = IDS, palette: np.ndarray = PALETTE) -> Image.Image:
  image = Image.fromarray(indices)
  image.putpalette(palette.tobytes())
  return image


def grey_png(values: np.ndarray, bits: int) -> bytes:
  """A greyscale PNG of so many bits per pixel, from values below 2 ** bits; Pillow writes none of 2 and 4."""
  height, width = values.shape
  places = np.arange(bits)[::-1]
  lines = b''.join(
    b'\0' + np.packbits((row[:, None] >> places & 1).ravel().astype(np.uint8)).tobytes()
    for row in values
  )
  parts = {b'IHDR': struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0)}
  parts |= {b'IDAT': zlib.compress(lines), b'IEND': b''}
  chunks = (
    struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
    for name, content in parts.items()
  )
  return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


def colour_png_of_16_bits() -> bytes:
  """A PNG of one pixel."""
  header = struct.pack('>IIBBBBB', 1, 1, 16, 2, 0, 0, 0)
  parts = {b'IHDR': header, b'IDAT': zlib.compress(bytes([0, 0, 1, 0, 1, 0, 1])), b'IEND': b''}
  chunks = (
    struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
    for name, content in parts.items()
  )
  return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


class MasksTestCase(unittest.TestCase):
  def check(self, encoded: bytes, values=IDENTITY, height: int = 2, width: int = 3):
    """Examines, and checks what holds for every result."""
    checked = masks.check(encoded, 'a.png', height, width, values)
    self.assertEqual((checked.counts.shape, checked.counts.dtype), ((256,), np.int64))
    if checked.encoded is None:
      self.assertEqual([each.outcome for each in checked.faults], [faults.Outcome.SKIPPED])
      self.assertFalse(checked.counts.any())
    else:
      self.assertEqual(checked.faults, ())
      # What the segmentation parser asks for: a PNG of 8 bits and grey.
      self.assertEqual(checked.encoded[24:26], b'\x08\x00')
      ids = tf.io.decode_png(checked.encoded, channels=1)[..., 0].numpy()
      self.assertEqual(ids.shape, (height, width))
      np.testing.assert_array_equal(checked.counts, np.bincount(ids.ravel(), minlength=256))
    return checked

  def assert_ids(self, encoded: bytes, values=IDENTITY, expected: np.ndarray = IDS):
    checked = self.check(encoded, values)
    self.assertIsNotNone(checked.encoded, checked.faults)
    np.testing.assert_array_equal(tf.io.decode_png(checked.encoded)[..., 0], expected)
    return checked

  def assert_fault(self, encoded: bytes, kind: faults.Kind, detail: str, values=IDENTITY, **size):
    checked = self.check(encoded, values, **size)
    self.assertIsNone(checked.encoded)
    self.assertEqual(checked.faults[0].kind, kind)
    self.assertRegex(checked.faults[0].detail, detail)


class ValuesTest(MasksTestCase):
  def test_class_ids_in_grey_stay_as_they_are(self):
    encoded = saved(IDS)
    checked = self.assert_ids(encoded)
    self.assertIs(checked.encoded, encoded)
    counts = {index: int(count) for index, count in enumerate(checked.counts) if count}
    self.assertEqual(counts, {0: 1, 1: 1, 2: 3, 255: 1})

  def test_other_values_in_grey_become_class_ids(self):
    grey = np.array([[10, 20, 30], [0, 30, 30]], np.uint8)
    self.assert_ids(saved(grey), {10: 0, 20: 1, 30: 2, 0: 255})

  def test_several_values_of_one_class(self):
    grey = np.array([[9, 1, 2], [255, 8, 7]], np.uint8)
    self.assert_ids(saved(grey), {9: 0, 1: 1, 2: 2, 7: 2, 8: 2, 255: 255})

  def test_a_palette_gives_indices(self):
    checked = self.assert_ids(saved(palette_image()))
    self.assertNotEqual(checked.encoded, saved(palette_image()))

  def test_indices_in_few_bits(self):
    small = np.array([[0, 1, 2], [3, 2, 2]], np.uint8)
    encoded = saved(palette_image(small), bits=2)
    self.assertEqual(encoded[24], 2)
    self.assert_ids(encoded, {0: 0, 1: 1, 2: 2, 3: 255})

  def test_a_palette_gives_colours_if_classes_have_colours(self):
    order = np.array([3, 0, 1, 2])
    palette = np.array(list(COLOURS), np.uint8)[order]
    places = np.array([[1, 2, 3], [0, 3, 3]], np.uint8)
    self.assert_ids(saved(palette_image(places, palette)), COLOURS)

  def test_colours(self):
    self.assert_ids(saved(PALETTE[IDS]), COLOURS)
    self.assert_ids(saved(PALETTE[IDS], 'BMP'), COLOURS)

  def test_grey_for_classes_with_colours(self):
    values = {(0, 0, 0): 0, (1, 1, 1): 1, (2, 2, 2): 2, (255, 255, 255): 255}
    self.assert_ids(saved(IDS), values)

  def test_colours_of_grey_for_classes_with_values(self):
    self.assert_ids(saved(np.repeat(IDS[..., None], 3, axis=2)))

  def test_values_of_16_bits(self):
    wide = IDS.astype(np.uint16) * 100
    values = {0: 0, 100: 1, 200: 2, 25500: 255}
    for form in ('PNG', 'TIFF'):
      self.assert_ids(saved(wide, form), values)

  def test_values_of_32_bits(self):
    wide = IDS.astype(np.int32) * 100_000
    self.assert_ids(saved(wide, 'TIFF'), {0: 0, 100_000: 1, 200_000: 2, 25_500_000: 255})

  def test_grey_of_few_bits_means_its_bits(self):
    for bits in (2, 4):
      small = np.where(IDS == 255, 3, IDS)
      self.assert_ids(grey_png(small, bits), {0: 0, 1: 1, 2: 2, 3: 255, 85: 9})

  def test_grey_of_few_bits_may_mean_brightness(self):
    black_and_white = np.array([[0, 1, 1], [1, 0, 0]])
    expected = black_and_white.astype(np.uint8)
    encoded = saved(Image.fromarray(expected * 255).convert('1'))
    self.assertEqual(encoded[24], 1)
    self.assert_ids(encoded, {0: 0, 255: 1}, expected)
    self.assert_ids(encoded, {0: 0, 1: 1}, expected)
    # 255 is void in every set, but the bits have classes.
    self.assert_ids(encoded, {0: 0, 1: 1, 255: 255}, expected)
    self.assert_ids(grey_png(black_and_white * 2, 2), {0: 0, 170: 1}, expected)

  def test_an_opaque_alpha_channel_does_not_matter(self):
    self.assert_ids(saved(Image.fromarray(IDS).convert('LA')))
    self.assert_ids(saved(Image.fromarray(PALETTE[IDS]).convert('RGBA')), COLOURS)

  def test_other_formats_without_loss(self):
    for form in ('BMP', 'TIFF', 'PPM'):
      with self.subTest(form):
        self.assert_ids(saved(IDS, form))

  def test_bytes_after_the_end_are_left_out(self):
    checked = self.assert_ids(saved(IDS) + b'more')
    self.assertFalse(checked.encoded.endswith(b'more'))

  def test_a_missing_end_mark_is_put_there(self):
    checked = self.assert_ids(saved(IDS)[:-12])
    self.assertIn(b'IEND', checked.encoded)


class FaultTest(MasksTestCase):
  def test_values_without_a_class_are_named_with_their_pixels(self):
    grey = np.array([[1, 7, 7], [9, 9, 9]], np.uint8)
    detail = r'^a\.png: no class has 9 \(3 pixels\), 7 \(2 pixels\)$'
    self.assert_fault(saved(grey), Kind.MASK_VALUES, detail)

  def test_five_values_are_named(self):
    grey = np.arange(3, 11, dtype=np.uint8)[None]
    detail = r'has 3 \(1 pixels\), 4 .*, 7 \(1 pixels\) and 3 more$'
    self.assert_fault(saved(grey), Kind.MASK_VALUES, detail, height=1, width=8)

  def test_colours_without_a_class(self):
    colours = PALETTE[IDS].copy()
    colours[0, 0] = 1, 2, 3
    detail = r'no class has \(1, 2, 3\) \(1 pixels\)$'
    self.assert_fault(saved(colours), Kind.MASK_VALUES, detail, COLOURS)
    self.assert_fault(saved(colours), Kind.MASK_VALUES, r'has \(0, 128, 0\) \(3 pixels\)', IDENTITY)

  def test_bits_without_a_class(self):
    self.assert_fault(grey_png(IDS // 85, 2), Kind.MASK_VALUES, r'has 3 \(1 pixels\)$', {0: 0})

  def test_transparent_pixels(self):
    pixels = np.stack([IDS, np.array([[255, 0, 0], [255] * 3], np.uint8)], axis=2)
    detail = '2 pixels are transparent, which is no class'
    self.assert_fault(saved(pixels), Kind.MASK_VALUES, detail)

  def test_jpeg_is_named_as_the_cause(self):
    noise = np.random.default_rng(0).choice([0, 255], [16, 16]).astype(np.uint8)
    detail = 'no class has .*; JPEG changes values, so save masks as PNG$'
    self.assert_fault(
      saved(noise, 'JPEG', quality=50), Kind.MASK_VALUES, detail, height=16, width=16
    )

  def test_another_size(self):
    detail = r'^a\.png has 2 x 3 pixels \(height x width\), the image 4 x 6$'
    self.assert_fault(saved(IDS), Kind.MASK_SIZE, detail, height=4, width=6)

  def test_a_turned_size_is_recognised(self):
    detail = 'the image 3 x 2, the same turned by 90 degrees$'
    self.assert_fault(saved(IDS), Kind.MASK_SIZE, detail, height=3, width=2)

  def test_files_that_are_no_images(self):
    self.assert_fault(b'', Kind.UNREADABLE, r'^a\.png: it has no bytes$')
    self.assert_fault(b'<html>404', Kind.UNREADABLE, "^a.png: the content is HTML: '<html>404'$")

  def test_damaged_files(self):
    encoded = saved(IDS)
    self.assert_fault(encoded[:-15], Kind.UNREADABLE, '^a.png: it ends within the chunk IDAT$')
    damaged = bytearray(encoded)
    damaged[-14] ^= 1
    detail = 'checksum of the chunk IDAT is wrong'
    self.assert_fault(bytes(damaged), Kind.UNREADABLE, detail)
    self.assert_fault(saved(IDS, 'GIF')[:14], Kind.UNREADABLE, '.')
    self.assert_fault(encoded[:20], Kind.UNREADABLE, 'its header cannot be read|IHDR')

  def test_colours_of_16_bits_would_lose_their_lower_bits(self):
    detail = 'of mode RGB with 16 bits per channel; save it as 8-bit greyscale'
    self.assert_fault(colour_png_of_16_bits(), Kind.UNREADABLE, detail, height=1, width=1)

  def test_numbers_that_are_no_integers(self):
    encoded = saved(Image.fromarray(IDS.astype(np.float32)), 'TIFF')
    self.assert_fault(
      encoded, Kind.UNREADABLE, 'of mode F with 32 bits per channel; save it as 8-bit greyscale'
    )


class AnyBytesTest(MasksTestCase):
  @hypothesis.settings(max_examples=300)
  @hypothesis.given(st.sampled_from(['PNG', 'GIF', 'BMP', 'TIFF']), st.data())
  def test_changed_bytes(self, form: str, data: st.DataObject):
    encoded = bytearray(saved(palette_image(), form))
    for place in data.draw(st.lists(st.integers(0, len(encoded) - 1), min_size=1, max_size=3)):
      encoded[place] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter('always')
      checked = self.check(bytes(encoded))
    self.assertEqual(caught, [])
    if form == 'PNG' and checked.encoded is not None:
      np.testing.assert_array_equal(tf.io.decode_png(checked.encoded)[..., 0], IDS)

  @hypothesis.given(st.binary(max_size=100))
  def test_random_bytes(self, encoded: bytes):
    self.assertEqual(self.check(encoded).faults[0].kind, Kind.UNREADABLE)

  def test_every_prefix(self):
    encoded = saved(IDS)
    for length in range(len(encoded)):
      checked = self.check(encoded[:length])
      # The mark of the end has 12 bytes.
      self.assertEqual(checked.encoded is not None, length >= len(encoded) - 12)


class EquivalenceTest(MasksTestCase):
  @hypothesis.given(
    st.lists(st.integers(0, 255), min_size=12, max_size=12), st.permutations(range(256))
  )
  def test_all_ways_to_write_a_mask_give_the_same(self, ids: list[int], order: list[int]):
    expected = np.array(ids, np.uint8).reshape(3, 4)
    # The value of each class.
    grey = np.array(order, np.uint8)[expected]
    values = {value: class_id for class_id, value in enumerate(order)}
    files = [saved(grey), saved(grey.astype(np.uint16)), saved(palette_image(grey))]
    files.append(saved(np.repeat(grey[..., None], 3, axis=2)))
    colours = {(value, 255 - value, 7): class_id for value, class_id in values.items()}
    results = [masks.check(each, 'a', 3, 4, values) for each in files]
    coloured = np.stack([grey, 255 - grey, np.full_like(grey, 7)], axis=2)
    results.append(masks.check(saved(coloured), 'a', 3, 4, colours))
    for checked in results:
      decoded = np.asarray(Image.open(io.BytesIO(checked.encoded)))
      np.testing.assert_array_equal(decoded, expected)


class ValuesAndColoursTest(MasksTestCase):
  """Classes that have both a value and a colour, as those of PASCAL VOC."""

  BOTH = {**IDENTITY, **COLOURS}

  def assert_ids(self, image: Image.Image) -> None:
    # With fewer bits Pillow would cut the indices.
    checked = self.check(saved(image, bits=8), self.BOTH)
    self.assertEqual(checked.faults, ())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(checked.encoded))), IDS)

  def test_indices_whose_colours_are_those_of_their_classes(self):
    self.assert_ids(palette_image())

  def test_a_renumbered_palette_stands_for_its_colours(self):
    order = np.array([2, 0, 255, 1])
    indices = np.searchsorted(np.sort(order), IDS)
    # Index k has the colour of the class that a program has put there.
    places = np.array([int(np.flatnonzero(order == value)[0]) for value in np.sort(order)])
    self.assert_ids(palette_image(places[indices].astype(np.uint8), PALETTE[order]))

  def test_a_palette_of_grey_stands_for_its_indices(self):
    self.assert_ids(palette_image(palette=np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)))

  def test_a_palette_without_a_colour_for_void(self):
    # Pillow fills what is missing with black.
    self.assert_ids(palette_image(palette=PALETTE[:3]))

  def test_an_index_beyond_the_palette_is_a_value(self):
    image = palette_image(palette=PALETTE[:2])
    content = saved(image, bits=8)
    place = content.index(b'PLTE')
    # The chunk with two colours alone, and a checksum to go with it.
    colours = b'PLTE' + PALETTE[:2].tobytes()
    chunk = struct.pack('>I', 6) + colours + struct.pack('>I', zlib.crc32(colours))
    end = place + 4 + 768 + 4
    checked = self.check(content[: place - 4] + chunk + content[end:], self.BOTH)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(checked.encoded))), IDS)

  def test_greyscale_has_values_and_rgb_has_colours(self):
    self.assert_ids(Image.fromarray(IDS))
    self.assert_ids(Image.fromarray(PALETTE[IDS]))

  def test_what_is_neither_is_named(self):
    palette = PALETTE.copy()
    palette[2] = (9, 8, 7)
    (fault,) = self.check(saved(palette_image(palette=palette), bits=8), self.BOTH).faults
    self.assertRegex(fault.detail, r'no class has \(9, 8, 7\) \(3 pixels\)')


if __name__ == '__main__':
  unittest.main()
