"""Finds images that look alike, by perceptual hashes.

The hash is the pHash of the library imagehash, up to how the image is made smaller: the image in grey is reduced to
32 x 32 pixels, here by averaging areas; of its discrete cosine transform (type 2, not normalised) the 8 x 8
coefficients of the lowest frequencies are compared with their median. Two hashes that differ in few of the 64 bits are
of images that look alike. Of the 66,066 pairs of the 364 blood smears of BCCD, which are all of one kind, one differs
in at most 6 bits, and that is of two photographs of one place.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from PIL import Image

# Side of the reduced image, and of the square of coefficients.
_SIDE = 32
_LOW = 8
# Below this standard deviation of the reduced image, in levels of grey, bits are noise: the image has no hash.
_MIN_DEVIATION = 2.0

# Hashes are looked up by four bands of 16 bits.
_BANDS = 4
_BAND_BITS = 16
_MAX_DISTANCE = 15
# How many pairs are compared at once.
_AT_ONCE = 1 << 17

_ONES = np.array([value.bit_count() for value in range(1 << _BAND_BITS)], np.uint8)


def perceptual_hash(pixels: np.ndarray) -> np.ndarray | None:
  """Hashes an image and its mirror image.

  Args:
    pixels: uint8 [h, w, 3], RGB.

  Returns:
    uint64 [2], the hashes of the image and of the image mirrored left to right; None for an image with hardly any
    contrast, whose hash would mean nothing. The highest bit is that of the coefficient of frequency 0; the horizontal
    frequency grows first.
  """
  grey = Image.fromarray(pixels).convert('L')
  reduced = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
  if reduced.std() < _MIN_DEVIATION:
    return None
  low = _COSINES @ reduced @ _COSINES.T
  # Mirroring negates the coefficients of odd horizontal frequencies.
  both = np.stack([low, low * _MIRROR]).reshape(2, -1)
  bits = both > np.median(both, axis=1, keepdims=True)
  return np.packbits(bits, axis=1).view('>u8')[:, 0].astype(np.uint64)


def find_near_duplicates(
  hashes: np.ndarray, groups: np.ndarray | None = None, distance: int = 6
) -> Iterator[tuple[int, int, int, bool]]:
  """Finds all pairs of images whose hashes differ in few bits.

  Memory is a small multiple of `hashes`, and some 20 MB; time grows with the square of n, but only about one pair in
  1,000 is looked at for hashes whose bits are evenly distributed.

  Args:
    hashes: uint64 [n, 2] from `perceptual_hash`; zeros for an image that has none, which is in no pair.
    groups: int [n], the group of each image, such as the set that it is from; only pairs of different groups are
      found. None finds all pairs.
    distance: the largest number of bits, 0..15.

  Yields:
    `(i, j, distance, is_mirrored)` once for each pair i < j, in no particular order: the number of bits in which the
    hash of image i differs from that of image j or, if that is less, of its mirror image.

  Raises:
    ValueError: `distance` is not in 0..15.
  """
  if not 0 <= distance <= _MAX_DISTANCE:
    raise ValueError(f'distance is {distance}; allowed are 0 to {_MAX_DISTANCE}.')
  return _found(np.ascontiguousarray(hashes, np.uint64), groups, distance)


def _found(
  hashes: np.ndarray, groups: np.ndarray | None, distance: int
) -> Iterator[tuple[int, int, int, bool]]:
  numbers = np.flatnonzero(hashes[:, 0])
  plain, mirrored = np.ascontiguousarray(hashes[numbers].T)
  for others in (plain, mirrored):
    for i, j in _near_pairs(plain, others, distance):
      bits = _differing(plain[i], plain[j])
      mirrored_bits = _differing(plain[i], mirrored[j])
      is_new = i < j
      if others is mirrored:
        # The pair was found without mirroring.
        is_new &= bits > distance
      if groups is not None:
        is_new &= groups[numbers[i]] != groups[numbers[j]]
      rows = (numbers[i], numbers[j], np.minimum(bits, mirrored_bits), mirrored_bits < bits)
      yield from zip(*(row[is_new].tolist() for row in rows), strict=True)


def _near_pairs(
  left: np.ndarray, right: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Places (i, j), each int64 [k], of all left[i] and right[j] within the distance, each pair once.

  Of four bands at least one differs in at most a quarter of the bits in which the hashes differ. So for each band, all
  values within that radius of it are looked up.
  """
  radius = distance // _BANDS
  left_bands, right_bands = _bands(left), _bands(right)
  flips = [
    sum(1 << bit for bit in bits)
    for count in range(radius + 1)
    for bits in itertools.combinations(range(_BAND_BITS), count)
  ]
  for band in range(_BANDS):
    order = np.argsort(right_bands[band], kind='stable')
    # Where each value begins in the order, and where the last one ends.
    starts = np.searchsorted(right_bands[band][order], np.arange((1 << _BAND_BITS) + 1))
    for flip in flips:
      for i, places in _candidates(starts, left_bands[band] ^ flip):
        j = order[places]
        is_near = _differing(left[i], right[j]) <= distance
        i, j = i[is_near], j[is_near]
        # Pairs that an earlier band has found.
        is_new = np.ones(len(i), bool)
        for earlier in range(band):
          is_new &= _ONES[left_bands[earlier][i] ^ right_bands[earlier][j]] > radius
        yield i[is_new], j[is_new]


def _candidates(starts: np.ndarray, values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """All (i, place) with starts[values[i]] <= place < starts[values[i] + 1], int64 [k] each, some at a time."""
  first = starts[values]
  counts = starts[values.astype(np.int64) + 1] - first
  ends = np.cumsum(counts)
  total = int(ends[-1]) if len(ends) else 0
  for begin in range(0, total, _AT_ONCE):
    wanted = np.arange(begin, min(begin + _AT_ONCE, total))
    i = np.searchsorted(ends, wanted, side='right')
    yield i, first[i] + wanted - (ends[i] - counts[i])


def _bands(hashes: np.ndarray) -> np.ndarray:
  """uint16 [4, n]."""
  return np.ascontiguousarray(hashes.view(np.uint16).reshape(-1, _BANDS).T)


def _differing(left: np.ndarray, right: np.ndarray) -> np.ndarray:
  """Number of bits in which hashes, uint64 [k] each, differ; int64 [k]."""
  return _ONES[(left ^ right).view(np.uint16).reshape(-1, _BANDS)].sum(axis=1, dtype=np.int64)


def _cosines() -> np.ndarray:
  """The lowest frequencies of the discrete cosine transform, [8, 32]."""
  frequencies, places = np.arange(_LOW)[:, None], np.arange(_SIDE)
  return 2 * np.cos(np.pi * frequencies * (2 * places + 1) / (2 * _SIDE))


_COSINES = _cosines()
_MIRROR = np.where(np.arange(_LOW) % 2, -1.0, 1.0)
