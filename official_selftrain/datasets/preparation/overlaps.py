"""Images that are there twice, within a set and between training and validation."""

import array
import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import similarity
from official_selftrain.datasets.preparation import store

# Near-duplicates that are listed; a video has more than anyone reads.
_MAX_LISTED = 1000
# Of an image's hash and that of its mirror image.
_HASH_BYTES = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
  """Two images that are one, or nearly.

  Attributes:
    kind: `DUPLICATE`, `NEAR_DUPLICATE`, or `LEAK` if one is for training and the other for validation.
    first: number of the first in the store; of a leak the one for training.
    second: number of the other.
    distance: bits in which their perceptual hashes differ; 0 if their files are equal.
    is_mirrored: one is like the mirror image of the other.
  """

  kind: faults.Kind
  first: int
  second: int
  distance: int = 0
  is_mirrored: bool = False


@dataclasses.dataclass(frozen=True)
class Overlaps:
  """What is there twice.

  Attributes:
    pairs: of equal files all; of near-duplicates at most 1,000; of leaks one for each training image, the one with the
      validation image that is most like it.
    similar: number of images that have near-duplicates on their side, training or validation, by the set that they were
      given in; of the copies of a file the first counts.
  """

  pairs: tuple[Pair, ...]
  similar: Mapping[store.Part, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class _Contents:
  """Images by the content of their files.

  Attributes:
    keys: int64 [n], numbers of the images; those of one content are neighbours, otherwise as the store lists them.
    is_held_out: bool [n], whether an image is for validation.
    starts: int64 [m + 1], where each content begins in `keys`, and the end.
    hashes: uint64 [m, 2], zeros for a content without any.
  """

  keys: np.ndarray
  is_held_out: np.ndarray
  starts: np.ndarray
  hashes: np.ndarray

  def sides(self, content: int) -> tuple[list[int], list[int]]:
    """Numbers of a content's images, for training and for validation."""
    here = slice(self.starts[content], self.starts[content + 1])
    keys, is_held_out = self.keys[here], self.is_held_out[here]
    return keys[~is_held_out].tolist(), keys[is_held_out].tolist()


def find(source: store.Store, validation: frozenset[int], used: frozenset[int]) -> Overlaps:
  """Compares all images that are used.

  Args:
    source: the examined images.
    validation: numbers of the images for validation.
    used: numbers of all images in a set.

  Returns:
    Equal and similar images.
  """
  contents = _contents(source, validation, used)
  pairs: list[Pair] = []
  # By training image: photographs of one place, or frames of a video, have millions of pairs.
  leaks: dict[int, Pair] = {}
  # Equal files are compared once: thousands of copies of one image have millions of pairs.
  for content in np.flatnonzero(np.diff(contents.starts) > 1).tolist():
    for pair in _equal(*contents.sides(content)):
      if pair.kind is faults.Kind.LEAK:
        leaks[pair.first] = pair
      else:
        pairs.append(pair)
  listed = 0
  similar: set[int] = set()
  for one, other, distance, is_mirrored in similarity.find_near_duplicates(contents.hashes):
    for kind, first, second in _similar(contents.sides(one), contents.sides(other)):
      pair = Pair(kind, first, second, distance, is_mirrored)
      if kind is faults.Kind.LEAK:
        leaks[first] = min(leaks.get(first, pair), pair, key=_order)
        continue
      similar |= {first, second}
      listed += 1
      if listed <= _MAX_LISTED:
        pairs.append(pair)
  counts = Counter(part for key, part, _, _ in source.marks() if key in similar)
  return Overlaps(tuple(sorted([*pairs, *leaks.values()], key=_order)), counts)


def _order(pair: Pair) -> tuple[int, int, int]:
  return pair.distance, pair.first, pair.second


def _contents(source: store.Store, validation: frozenset[int], used: frozenset[int]) -> _Contents:
  """Reads the digests of the images in use into arrays: a few hundred bytes for each, whatever the number."""
  content_of: dict[bytes, int] = {}
  keys, contents, hashes = array.array('q'), array.array('q'), bytearray()
  for key, _, digest, found in source.marks():
    if key not in used:
      continue
    if digest not in content_of:
      content_of[digest] = len(content_of)
      hashes += found or bytes(_HASH_BYTES)
    keys.append(key)
    contents.append(content_of[digest])
  rows = np.array(contents)
  order = np.argsort(rows, kind='stable')
  ordered = np.array(keys)[order]
  return _Contents(
    keys=ordered,
    is_held_out=np.fromiter((key in validation for key in ordered.tolist()), bool, len(ordered)),
    starts=np.searchsorted(rows[order], np.arange(len(content_of) + 1)),
    hashes=np.frombuffer(bytes(hashes), np.uint64).reshape(-1, 2),
  )


def _similar(
  one: tuple[list[int], list[int]], other: tuple[list[int], list[int]]
) -> Iterator[tuple[faults.Kind, int, int]]:
  """Pairs of the images of two contents, each for training and for validation: one of a side, and every leak."""
  for side in (False, True):
    if one[side] and other[side]:
      first, second = sorted((one[side][0], other[side][0]))
      yield faults.Kind.NEAR_DUPLICATE, first, second
  for training, validation in ((one[False], other[True]), (other[False], one[True])):
    for key in training if validation else ():
      yield faults.Kind.LEAK, key, validation[0]


def _equal(training: list[int], validation: list[int]) -> Iterator[Pair]:
  """Pairs of equal files: each further one with the first of its side, and each for training with one of validation."""
  for side in (training, validation):
    for key in side[1:]:
      yield Pair(faults.Kind.DUPLICATE, side[0], key)
  for key in training if validation else ():
    yield Pair(faults.Kind.LEAK, key, validation[0])
