"""Images that are there twice, within a set and between training and validation."""

import dataclasses

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
    similar: number of pairs of similar images whose files differ.
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
  hashes = np.zeros([len(marks), 2], np.uint64)
  for row, (_, _, _, found) in enumerate(marks):
    if found:
      hashes[row] = np.frombuffer(found, np.uint64)
  similar = 0
  for one, other, distance, is_mirrored in similarity.find_near_duplicates(hashes):
    first, second = sorted((marks[one][0], marks[other][0]))
    if marks[one][2] == marks[other][2]:
      continue
    similar += 1
    pair = _pair(first, second, validation, faults.Kind.NEAR_DUPLICATE)
    if pair.kind is faults.Kind.LEAK or similar <= _MAX_LISTED:
      pairs.append(dataclasses.replace(pair, distance=distance, is_mirrored=is_mirrored))
  return Overlaps(tuple(sorted(pairs, key=lambda p: (p.distance, p.first, p.second))), similar)


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


def _pair(first: int, second: int, validation: frozenset[int], kind: faults.Kind) -> Pair:
  if (first in validation) == (second in validation):
    return Pair(kind, first, second)
  training, other = (second, first) if first in validation else (first, second)
  return Pair(faults.Kind.LEAK, training, other)
