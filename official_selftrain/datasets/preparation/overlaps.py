"""Images that are there twice, within a set and between training and validation."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import similarity
from official_selftrain.datasets.preparation import store

# Near-duplicates that are listed; a video has more than anyone reads.
_MAX_LISTED = 1000


@dataclasses.dataclass(frozen=True)
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
    pairs: of equal files all, of similar images at most 1,000; all leaks.
    similar: number of pairs of similar images whose files differ; copies of a file count once, but for leaks.
  """

  pairs: tuple[Pair, ...]
  similar: int


def find(source: store.Store, validation: frozenset[int], used: frozenset[int]) -> Overlaps:
  """Compares all images that are used.

  Args:
    source: the examined images.
    validation: numbers of the images for validation.
    used: numbers of all images in a set.

  Returns:
    Equal and similar images.
  """
  marks = [mark for mark in source.marks() if mark[0] in used]
  pairs = _equal([(key, digest) for key, _, digest, _ in marks], validation)
  # Equal files are compared once: thousands of copies of one image have millions of pairs.
  members: dict[bytes, tuple[list[int], list[int]]] = {}
  hashes_of: dict[bytes, bytes] = {}
  for key, _, digest, found in marks:
    members.setdefault(digest, ([], []))[key in validation].append(key)
    hashes_of[digest] = found
  digests = list(members)
  hashes = np.zeros([len(digests), 2], np.uint64)
  for row, digest in enumerate(digests):
    if hashes_of[digest]:
      hashes[row] = np.frombuffer(hashes_of[digest], np.uint64)
  similar = 0
  for one, other, distance, is_mirrored in similarity.find_near_duplicates(hashes):
    for pair in _similar(members[digests[one]], members[digests[other]]):
      similar += 1
      if pair.kind is faults.Kind.LEAK or similar <= _MAX_LISTED:
        pairs.append(dataclasses.replace(pair, distance=distance, is_mirrored=is_mirrored))
  return Overlaps(tuple(sorted(pairs, key=lambda p: (p.distance, p.first, p.second))), similar)


def _similar(
  one: tuple[list[int], list[int]], other: tuple[list[int], list[int]]
) -> Iterator[Pair]:
  """Pairs of the images of two contents, each for training and for validation: one of a side, and every leak."""
  for side in (False, True):
    if one[side] and other[side]:
      first, second = sorted((one[side][0], other[side][0]))
      yield Pair(faults.Kind.NEAR_DUPLICATE, first, second)
  for training, validation in ((one[False], other[True]), (other[False], one[True])):
    for key in training if validation else ():
      yield Pair(faults.Kind.LEAK, key, validation[0])


def _equal(marks: list[tuple[int, bytes]], validation: frozenset[int]) -> list[Pair]:
  """Pairs of equal files: each further one with the first of its side, and each for training with one of validation."""
  first_of: dict[tuple[bool, bytes], int] = {}
  pairs = []
  for key, digest in marks:
    first = first_of.setdefault((key in validation, digest), key)
    if first != key:
      pairs.append(Pair(faults.Kind.DUPLICATE, first, key))
  for key, digest in marks:
    other = first_of.get((True, digest))
    if key not in validation and other is not None:
      pairs.append(Pair(faults.Kind.LEAK, key, other))
  return pairs
