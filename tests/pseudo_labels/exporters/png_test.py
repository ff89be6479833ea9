"""PNG masks, read back chunk by chunk by the definition of PNG."""

import struct
import unittest
import zlib

import numpy as np

from official_selftrain.pseudo_labels.exporters import base, png
from tests.pseudo_labels.exporters import exporting

FACTS = exporting.facts('cat', 'dog ü')

# Colours of the first classes and of void, from the page of the VOC challenge.
COLOURS = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 255: (224, 224, 192)}
GREYSCALE, PALETTE = 0, 3


def _unfiltered(data: bytes, height: int, width: int) -> np.ndarray:
  """uint8 [height, width]: undoes the five filters of PNG for one byte per pixel."""
  rows, above, place = [], [0] * width, 0
  for _ in range(height):
    kind, line, left, corner = data[place], [], 0, 0
    for value, up in zip(data[place + 1 : place + 1 + width], above, strict=True):
      estimate = left + up - corner
      nearest = min((left, up, corner), key=lambda each: abs(estimate - each))
      left = (value + (0, left, up, (left + up) // 2, nearest)[kind]) % 256
      line.append(left)
      corner = up
    rows.append(line)
    above, place = line, place + 1 + width
  return np.array(rows, np.uint8)


def _read(content: bytes) -> tuple[int, np.ndarray, np.ndarray]:
  """Kind of image, values uint8 [height, width], and palette uint8 [n, 3]."""
  assert content[:8] == b'\x89PNG\r\n\x1a\n'
  chunks: dict[bytes, bytes] = {}
  place = 8
  while place < len(content):
    (size,) = struct.unpack('>I', content[place : place + 4])
    name = content[place + 4 : place + 8]
    chunks[name] = chunks.get(name, b'') + content[place + 8 : place + 8 + size]
    place += 12 + size
  width, height, bits, kind, _, _, interlaced = struct.unpack('>IIBBBBB', chunks[b'IHDR'])
  assert (bits, interlaced) == (8, 0)
  palette = np.frombuffer(chunks.get(b'PLTE', b''), np.uint8).reshape(-1, 3)
  return kind, _unfiltered(zlib.decompress(chunks[b'IDAT']), height, width), palette


def _image(stem: str, height: int, width: int) -> base.Image:
  return exporting.image(stem, height, width, '.jpg')


def _write(*pairs) -> dict[str, bytes]:
  return exporting.written(png.Masks, FACTS, pairs)


class MasksTest(unittest.TestCase):
  def test_values_and_confidences_come_back(self):
    rng = np.random.default_rng(0)
    classes = rng.choice(np.array([0, 1, 2, 255], np.uint8), [17, 23])
    confidences = rng.integers(0, 256, [17, 23]).astype(np.uint8)
    files = _write((_image('a', 17, 23), base.Mask(classes, confidences)))
    kind, found, palette = _read(files['SegmentationClass/a.png'])
    self.assertEqual(kind, PALETTE)
    np.testing.assert_array_equal(found, classes)
    self.assertEqual(palette.shape, (256, 3))
    for value, colour in COLOURS.items():
      self.assertEqual(tuple(palette[value].tolist()), colour)
    kind, found, _ = _read(files['Confidence/a.png'])
    self.assertEqual(kind, GREYSCALE)
    np.testing.assert_array_equal(found, confidences)

  def test_a_mask_with_one_class_keeps_eight_bits(self):
    mask = base.Mask(np.ones([3, 5], np.uint8), np.zeros([3, 5], np.uint8))
    _, found, palette = _read(_write((_image('a', 3, 5), mask))['SegmentationClass/a.png'])
    np.testing.assert_array_equal(found, np.ones([3, 5]))
    self.assertEqual(len(palette), 256)

  def test_names_are_listed(self):
    mask = base.Mask(np.zeros([2, 2], np.uint8), np.zeros([2, 2], np.uint8))
    files = _write((_image('b ü', 2, 2), mask), (_image('a', 2, 2), mask))
    self.assertEqual(files['ImageSets/Segmentation/pseudo.txt'].decode(), 'b ü\na\n')
    self.assertEqual(files['classes.txt'].decode().splitlines(), ['background', 'cat', 'dog ü'])
    self.assertEqual(len(files), 6)


if __name__ == '__main__':
  unittest.main()
