"""The run lengths in which Label Studio keeps the masks of its brush.

It is the format of the JavaScript package @thi.ng/rle-pack. All numbers are unsigned, the highest bit first, and follow
each other without gaps:

  32 bits   number of words: four per pixel (red, green, blue, alpha), row by row
   5 bits   bits per word, less 1
  4 x 4     the four sizes of counts in bits, less 1
  then for each run:
   1 bit    1 for a word that is repeated
   2 bits   which size its count has
   n bits   count, less 1
   8 bits   the word

The end is filled with zeros to a whole byte.
"""

import numpy as np

_WORD_BITS = 8
_COUNT_BITS = (3, 4, 8, 16)
_MAX_COUNT = 1 << _COUNT_BITS[-1]
_CHANNELS = 4
_INSIDE, _OUTSIDE = 255, 0


def encode(covered: np.ndarray) -> list[int]:
  """Run lengths of a mask.

  Args:
    covered: bool [height, width].

  Returns:
    The bytes as numbers in 0..255. Pixels of the mask have the value 255 in all four channels, the others 0.
  """
  flat = covered.ravel()
  starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
  lengths = np.diff(np.append(starts, flat.size)) * _CHANNELS
  bits = [f'{flat.size * _CHANNELS:032b}{_WORD_BITS - 1:05b}']
  bits += [f'{size - 1:04b}' for size in _COUNT_BITS]
  for is_inside, length in zip(flat[starts].tolist(), lengths.tolist(), strict=True):
    word = f'{_INSIDE if is_inside else _OUTSIDE:0{_WORD_BITS}b}'
    for done in range(0, length, _MAX_COUNT):
      bits.append(_count(min(length - done, _MAX_COUNT)) + word)
  text = ''.join(bits)
  text += '0' * (-len(text) % 8)
  return list(int(text, 2).to_bytes(len(text) // 8, 'big'))


def _count(count: int) -> str:
  """The bits of a run before its word."""
  kind = next(kind for kind, bits in enumerate(_COUNT_BITS) if count <= 1 << bits)
  return f'1{kind:02b}{count - 1:0{_COUNT_BITS[kind]}b}'
