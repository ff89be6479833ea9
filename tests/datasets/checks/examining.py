"""Images of many kinds, and what is asserted of their examination."""

import io
import pathlib
import struct
import tempfile
import unittest
import zlib

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import images

Kind = faults.Kind
HEIGHT, WIDTH = 48, 64
ORIENTATION = 0x0112


def texture(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
  """A smooth picture without symmetry, uint8 [height, width, 3]."""
  noise = np.random.default_rng(seed).integers(0, 256, [6, 8, 3], dtype=np.uint8)
  return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def saved(image: Image.Image | np.ndarray, form: str, **options) -> bytes:
  """Content of a file that Pillow has written to a folder and that was read back."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'image')
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, form, **options)
    return path.read_bytes()


def chunk(name: bytes, content: bytes, checksum_error: int = 0) -> bytes:
  """A chunk of a PNG."""
  checksum = zlib.crc32(name + content) ^ checksum_error
  return struct.pack('>I', len(content)) + name + content + struct.pack('>I', checksum)


def png_of_16_bits(pixels: np.ndarray, colour_type: int) -> bytes:
  """A PNG of big-endian values, [h, w, channels]; Pillow writes none in colours."""
  height, width, channels = pixels.shape
  rows = pixels.astype('>u2').tobytes()
  stride = 2 * width * channels
  lines = b''.join(b'\0' + rows[k * stride : (k + 1) * stride] for k in range(height))
  header = struct.pack('>IIBBBBB', width, height, 16, colour_type, 0, 0, 0)
  parts = [chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(lines)), chunk(b'IEND', b'')]
  return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


def with_orientation(
  image: Image.Image | np.ndarray, orientation: int, form: str, **options
) -> bytes:
  exif = Image.Exif()
  exif[ORIENTATION] = orientation
  return saved(image, form, exif=exif.tobytes(), **options)


def decoded(encoded: bytes) -> np.ndarray:
  """What Pillow decodes, RGB, without turning."""
  return np.asarray(Image.open(io.BytesIO(encoded)).convert('RGB'))


def trained(encoded: bytes) -> np.ndarray:
  """What training decodes."""
  return tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()


def difference(left: np.ndarray, right: np.ndarray) -> float:
  """Mean absolute difference in levels."""
  return float(np.abs(left.astype(int) - right).mean())


JPEG = saved(texture(), 'JPEG', quality=90)
PNG = saved(texture(), 'PNG')


class ImagesTestCase(unittest.TestCase):
  def examine(self, encoded: bytes, name: str = 'a', **options) -> images.Examined:
    """Examines, and checks what holds for every result."""
    result = images.examine(encoded, name, **options)
    is_skipped = any(each.outcome is faults.Outcome.SKIPPED for each in result.faults)
    self.assertEqual(result.encoded is None, is_skipped)
    if result.encoded is None:
      self.assertEqual((result.height, result.width, result.format), (0, 0, ''))
      self.assertIsNone(result.pixels)
    else:
      self.assertEqual(trained(result.encoded).shape, (result.height, result.width, 3))
      self.assertEqual(result.pixels.shape, (result.height, result.width, 3))
      self.assertEqual(result.pixels.dtype, np.uint8)
      opened = Image.open(io.BytesIO(result.encoded))
      self.assertIn(result.format, ('JPEG', 'PNG'))
      self.assertEqual(opened.format.replace('MPO', 'JPEG'), result.format)
      self.assertLess(difference(trained(result.encoded), result.pixels), 3)
    return result

  def assert_kinds(self, result: images.Examined, *kinds: faults.Kind) -> None:
    self.assertEqual([each.kind for each in result.faults], list(kinds))

  def assert_untouched(self, encoded: bytes, form: str) -> images.Examined:
    result = self.examine(encoded)
    self.assert_kinds(result)
    self.assertIs(result.encoded, encoded)
    self.assertEqual(result.format, form)
    self.assertFalse(result.is_turned)
    return result

  def assert_left_out(self, encoded: bytes, kind: faults.Kind, detail: str, **options) -> None:
    result = self.examine(encoded, **options)
    self.assert_kinds(result, kind)
    self.assertRegex(result.faults[0].detail, detail)
