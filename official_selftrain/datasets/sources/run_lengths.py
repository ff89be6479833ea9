"""Masks of COCO annotations, polygons or run lengths, as compressed run lengths."""

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from pycocotools import mask as coco_mask

# Three points; pycocotools would take four numbers for a box.
_MIN_POLYGON = 6
# pycocotools counts pixels in 32 bits.
_MAX_PIXELS = (1 << 32) - 1


class RunLengths(TypedDict):
  """COCO's compressed run lengths.

  Attributes:
    size: [height, width] in pixels.
    counts: runs of pixels down the columns, in turn outside and inside the object, as text.
  """

  size: list[int]
  counts: str


def encode(segmentation: object, size: tuple[int, int] | None) -> RunLengths | None:
  """Converts what an annotation has under `segmentation`.

  Args:
    segmentation: polygons, each a list of x and y in turn in pixels, or run lengths as numbers or compressed. Polygons
      of one or two points, which some tools write for boxes, are left out.
    size: (height, width) of the image; if None, polygons cannot be converted and run lengths are taken at their word.

  Returns:
    The mask, or None if there is none: nothing in the segmentation, or polygons without a size.

  Raises:
    ValueError: the segmentation is neither, or does not fit the size; says how, in words that follow its name.
  """
  if not segmentation:
    return None
  if isinstance(segmentation, list):
    return _of_polygons(segmentation, size)
  if not isinstance(segmentation, dict) or not {'counts', 'size'} <= segmentation.keys():
    raise ValueError('is neither polygons nor run lengths with counts and size')
  height, width = _size_of_runs(segmentation['size'], size)
  counts = segmentation['counts']
  runs = _runs(counts) if isinstance(counts, str) else counts
  # pycocotools checks none of this and reads memory that is not its own.
  if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
    raise ValueError('has counts that are not runs of 0 or more pixels')
  if sum(runs) != height * width:
    raise ValueError(f'has runs of {sum(runs)} pixels, and its size has {height * width}')
  return _compressed({'counts': runs, 'size': [height, width]}, height, width)


def tight_box(mask: RunLengths) -> tuple[float, float, float, float]:
  """The box around a mask, (ymin, xmin, ymax, xmax) in pixels; without area if the mask has no pixel."""
  xmin, ymin, width, height = (float(number) for number in coco_mask.toBbox(mask))
  return ymin, xmin, ymin + height, xmin + width


def polygons(segmentation: object) -> list[list[float]]:
  """The polygons of a segmentation that have an area to draw; none of run lengths, or of what is neither."""
  found = segmentation if isinstance(segmentation, list) else []
  return [each for each in found if isinstance(each, list) and len(each) >= _MIN_POLYGON]


def _of_polygons(found: Sequence[object], size: tuple[int, int] | None) -> RunLengths | None:
  for polygon in found:
    if not isinstance(polygon, list) or len(polygon) % 2 or not _are_finite(polygon):
      raise ValueError('has a polygon that is not pairs of finite numbers')
  kept = polygons(found)
  if not kept or size is None:
    return None
  height, width = _checked_size(size)
  # pycocotools takes memory for each pixel of an outline, those outside the image included.
  reach = max(height, width)
  coordinates = np.concatenate([np.array(polygon, np.float64) for polygon in kept])
  if coordinates.min() < -reach or coordinates.max() > 2 * reach:
    raise ValueError(f'has a polygon far outside the image of {height} x {width} (height x width)')
  return _compressed(kept, height, width)


def _are_finite(numbers: Sequence[object]) -> bool:
  try:
    return all(
      isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
      for number in numbers
    )
  except OverflowError:
    # An integer beyond the range of floats.
    return False


def _size_of_runs(found: object, size: tuple[int, int] | None) -> tuple[int, int]:
  """(height, width) that run lengths state, checked."""
  if (
    not isinstance(found, list)
    or len(found) != 2
    or not all(type(side) is int and side > 0 for side in found)
  ):
    raise ValueError(f'has the size {found!r}, which is not height and width')
  if size is not None and tuple(found) != size:
    raise ValueError(f'has the size {found}, and the image {list(size)} (height, width)')
  return _checked_size((found[0], found[1]))


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
  if size[0] * size[1] > _MAX_PIXELS:
    raise ValueError(f'is for an image of {size[0]} x {size[1]} pixels, more than masks can have')
  return size


def _compressed(segmentation: object, height: int, width: int) -> RunLengths:
  """What pycocotools makes of checked polygons or runs, one mask out of all."""
  encoded = coco_mask.frPyObjects(segmentation, height, width)
  merged = coco_mask.merge(encoded) if isinstance(encoded, list) else encoded
  return {'size': [height, width], 'counts': merged['counts'].decode('ascii')}


def _runs(text: str) -> list[int]:
  """Runs of the compressed form.

  A number is characters from `0` on, each with five of its bits, the lowest first; a sixth bit says that more follow.
  The highest bit of the last character is the sign. From the fourth on, numbers are differences to the last but one.
  """
  runs: list[int] = []
  number = shift = 0
  for character in text:
    code = ord(character) - ord('0')
    if not 0 <= code < 64:
      raise ValueError(f'has counts with the character {character!r}')
    number += (code & 31) << shift
    shift += 5
    if code & 32:
      # No run of 32 bits takes more.
      if shift > 35:
        raise ValueError('has counts with a number that does not end')
      continue
    if code & 16:
      number -= 1 << shift
    runs.append(number + (runs[-2] if len(runs) > 2 else 0))
    number = shift = 0
  if shift:
    raise ValueError('has counts that end within a number')
  return runs
