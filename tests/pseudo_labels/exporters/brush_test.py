"""Run lengths of Label Studio's brush, read back by the definition of the format."""

import unittest

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from official_selftrain.pseudo_labels.exporters import brush


def _decode(numbers: list[int]) -> np.ndarray:
  """Words by the definition of @thi.ng/rle-pack: a reader of all that it allows, not only of what is written here."""
  bits = ''.join(f'{number:08b}' for number in numbers)
  place = 0

  def read(count: int) -> int:
    nonlocal place
    place += count
    return int(bits[place - count : place], 2)

  num_words, word_bits = read(32), read(5) + 1
  count_bits = [read(4) + 1 for _ in range(4)]
  words: list[int] = []
  while len(words) < num_words:
    is_repeated = read(1)
    count = read(count_bits[read(2)]) + 1
    words += [read(word_bits)] * count if is_repeated else [read(word_bits) for _ in range(count)]
  assert len(words) == num_words
  assert len(bits) - place < 8, 'more than a byte of padding'
  assert set(bits[place:]) <= {'0'}
  return np.array(words, np.uint8)


def _mask(numbers: list[int], shape: tuple[int, int]) -> np.ndarray:
  """bool [height, width], from the alpha channel, which is what Label Studio shows."""
  pixels = _decode(numbers).reshape(*shape, 4)
  assert (pixels == pixels[..., 3:]).all(), 'channels differ'
  assert set(np.unique(pixels)) <= {0, 255}
  return pixels[..., 3] == 255


class EncodeTest(unittest.TestCase):
  def test_a_mask_by_hand(self):
    # Two pixels, the second one inside: 8 words, a run of four zeros and a run of four 255.
    header = '00000000000000000000000000001000' + '00111' + '0010' + '0011' + '0111' + '1111'
    runs = '1' + '00' + '011' + '00000000' + '1' + '00' + '011' + '11111111'
    text = header + runs
    text += '0' * (-len(text) % 8)
    expected = [int(text[start : start + 8], 2) for start in range(0, len(text), 8)]
    self.assertEqual(brush.encode(np.array([[False, True]])), expected)

  def test_every_size_of_a_count(self):
    # Runs of 4, 8, 12, 16, 20, 256, 260 and 65536 words, and longer than the longest count.
    for pixels in (1, 2, 3, 4, 5, 64, 65, 16384, 16385, 40000):
      covered = np.arange(pixels + 1)[None] < pixels
      numpy_mask = _mask(brush.encode(covered), covered.shape)
      np.testing.assert_array_equal(numpy_mask, covered, str(pixels))

  def test_masks_that_are_all_inside_or_outside(self):
    for value in (False, True):
      covered = np.full([200, 300], value)
      numbers = brush.encode(covered)
      np.testing.assert_array_equal(_mask(numbers, covered.shape), covered)
      self.assertLess(len(numbers), 30)

  @hypothesis.given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 40))))
  def test_any_mask(self, covered):
    np.testing.assert_array_equal(_mask(brush.encode(covered), covered.shape), covered)


if __name__ == '__main__':
  unittest.main()
