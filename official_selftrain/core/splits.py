"""Which images belong to which part: fractions that lie within each other, and held-out shares.

Images get a rank, and a part is the beginning of the ranking: the images of a smaller fraction are among those of every
larger one, none is drawn twice, and the seed alone decides. Nothing depends on the order in which images were found.
"""

import collections
import hashlib
import heapq
import math
from collections.abc import Mapping, Sequence

from official_selftrain.core import errors


def count_of(fraction: float, total: int) -> int:
  """Number of images in a fraction: the nearest whole number, at least 1.

  Args:
    fraction: in (0, 1].
    total: number of all images.

  Raises:
    ConfigError: the fraction is out of its range.
  """
  if not 0 < fraction <= 1:
    raise errors.ConfigError(f'The fraction is {fraction:g}; it must be above 0 and at most 1.')
  return min(total, max(1, math.floor(fraction * total + 0.5)))


def ranking(
  names: Sequence[str], seed: int, classes: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
  """Orders images so that every beginning of the order is a random part of them.

  Args:
    names: different names of the images; their order is irrelevant.
    seed: of the draw.
    classes: classes of the objects in each image, for a stratified draw: an image counts for the rarest of its classes,
      and each beginning of the order has its share of each of these groups, to within less than an image. None draws
      without regard to classes.

  Returns:
    The names in the order of their ranks.
  """
  drawn = sorted(names, key=lambda name: (_draw(name, seed), name))
  if classes is None:
    return drawn
  frequency = collections.Counter(each for name in names for each in set(classes.get(name, ())))
  strata: dict[str, list[str]] = {}
  for name in drawn:
    # Ties between equally rare classes are broken by name; an image without objects is a stratum of its own.
    rarest = min(classes.get(name, ()), key=lambda each: (frequency[each], each), default='')
    strata.setdefault(rarest, []).append(name)
  return _interleaved(list(strata.values()), seed)


def _interleaved(strata: Sequence[Sequence[str]], seed: int) -> list[str]:
  """Merges groups so that each beginning has its share of each group, to within less than an image.

  The problem is known as chairman assignment. By Tijdeman's solution each image has the first and last rank at which
  the share of its group stays as close as that, and the image whose last rank comes first is next.
  """
  total = sum(len(stratum) for stratum in strata)
  slack = 1 / (2 * len(strata) - 2) if len(strata) > 1 else 0.0
  waiting = collections.deque(
    sorted(
      ((index + slack) / len(stratum), (index + 1 - slack) / len(stratum), _draw(name, seed), name)
      for stratum in strata
      for index, name in enumerate(stratum)
    )
  )
  merged: list[str] = []
  ready: list[tuple[float, bytes, str]] = []
  for rank in range(1, total + 1):
    while waiting and waiting[0][0] <= rank / total:
      heapq.heappush(ready, waiting.popleft()[1:])
    merged.append(heapq.heappop(ready)[-1])
  return merged


def _draw(name: str, seed: int) -> bytes:
  """Bytes that are uniformly distributed over names, and independent for different seeds."""
  return hashlib.sha256(f'{seed}:{name}'.encode('utf-8', 'surrogateescape')).digest()
