"""Finds boxes that training cannot use, and repairs what can be repaired."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import items

# Tools round outwards, or count from 1: no fault up to so many pixels over the edge.
_TOLERANCE = 1
# Larger than this, numbers are no fractions of an image.
_MAX_FRACTION = 10


@dataclasses.dataclass(frozen=True)
class _Frame:
  """What boxes are compared with: height and width in pixels, and the same before the pixels were turned."""

  height: int
  width: int
  turned_from: tuple[int, int] | None


def check(
  boxes: Sequence[items.Box],
  height: int,
  width: int,
  is_relative: bool,
  class_names: Sequence[str],
  turned_from: tuple[int, int] | None = None,
) -> tuple[tuple[items.Box, ...], tuple[faults.Fault, ...]]:
  """Examines the boxes of an image.

  Args:
    boxes: as they were read.
    height: of the image in the record, in pixels.
    width: of the image in the record, in pixels.
    is_relative: coordinates are fractions of the image's sides.
    class_names: the classes that there are.
    turned_from: (height, width) in pixels of the image as it was stored, if its pixels were turned, see
      `images.Examined`; messages then say which boxes would fit it.

  Returns:
    The boxes that can be used, in their order, in pixels and within the image, with positive height and width also as
    32-bit fractions, which records hold. And what is wrong, in the order of the boxes.
  """
  frame = _Frame(height, width, turned_from)
  kept: list[items.Box] = []
  found: list[faults.Fault] = []
  known = frozenset(class_names)
  for box in boxes:
    if box.class_name not in known:
      found.append(faults.Fault(faults.Kind.UNKNOWN_CLASS, repr(box.class_name)))
      continue
    checked, new = _checked(box, frame, is_relative)
    found += new
    if checked is not None:
      checked, new = _with_whole_object(checked, frame)
      kept.append(checked)
      found += new
  return tuple(kept), tuple(found)


def _checked(
  box: items.Box, frame: _Frame, is_relative: bool
) -> tuple[items.Box | None, list[faults.Fault]]:
  """The box in pixels within the image, or None, and what is wrong with its coordinates."""
  corners = (box.ymin, box.xmin, box.ymax, box.xmax)
  if not all(map(math.isfinite, corners)):
    return None, [_fault(faults.Kind.NOT_FINITE, box)]
  hint = ''
  if is_relative:
    if max(map(abs, corners)) > _MAX_FRACTION:
      hint = (
        f', which are fractions times {frame.height} and {frame.width}; the file may have pixels'
      )
    sides = (frame.height, frame.width) * 2
    box = _moved(box, *(corner * side for corner, side in zip(corners, sides, strict=True)))
  found = []
  if box.ymin > box.ymax or box.xmin > box.xmax:
    found.append(_fault(faults.Kind.SWAPPED, box))
    ys, xs = sorted((box.ymin, box.ymax)), sorted((box.xmin, box.xmax))
    box = _moved(box, ys[0], xs[0], ys[1], xs[1])
  if box.ymin == box.ymax or box.xmin == box.xmax:
    return None, [*found, _fault(faults.Kind.NO_AREA, box)]
  hint = f'; the image has {frame.height} x {frame.width} (height x width)' + hint
  if box.ymax <= 0 or box.xmax <= 0 or box.ymin >= frame.height or box.xmin >= frame.width:
    return None, [*found, _fault(faults.Kind.OUTSIDE, box, hint + _fit(box, frame))]
  over = max(-box.ymin, -box.xmin, box.ymax - frame.height, box.xmax - frame.width)
  if over > _TOLERANCE:
    found.append(_fault(faults.Kind.CLIPPED, box, hint + _fit(box, frame)))
  cut = _moved(
    box,
    max(box.ymin, 0.0),
    max(box.xmin, 0.0),
    min(box.ymax, float(frame.height)),
    min(box.xmax, float(frame.width)),
  )
  if not _has_area_in_record(cut, frame):
    return None, [*found, _fault(faults.Kind.NO_AREA, cut)]
  return cut, found


def _has_area_in_record(box: items.Box, frame: _Frame) -> bool:
  """Whether the corners are apart as 32-bit fractions of the image's sides."""
  corners = np.array([[box.ymin, box.xmin], [box.ymax, box.xmax]])
  low, high = (corners / (frame.height, frame.width)).astype(np.float32)
  return bool((low < high).all())


def _with_whole_object(box: items.Box, frame: _Frame) -> tuple[items.Box, list[faults.Fault]]:
  """The box without a mask of another size or an area that is no area, and what was wrong with them."""
  found = []
  if box.run_lengths is not None:
    wrong = _wrong_size(box.run_lengths, frame)
    if wrong:
      found.append(_fault(faults.Kind.MALFORMED, box, f': {wrong}; only the mask is left out'))
      box = box._replace(run_lengths=None)
  if box.area is not None and not (math.isfinite(box.area) and box.area >= 0):
    text = f': its area is {box.area}; the area of the box is taken'
    found.append(_fault(faults.Kind.MALFORMED, box, text))
    box = box._replace(area=None)
  return box, found


def _wrong_size(run_lengths: Mapping[str, object], frame: _Frame) -> str:
  """How the size of an object's mask differs from the image's; '' if it does not."""
  size = run_lengths.get('size')
  if not isinstance(size, Sequence) or len(size) != 2:
    return f'the size of its mask is {size!r}, not [height, width]'
  if tuple(size) == (frame.height, frame.width):
    return ''
  text = f'its mask has {size[0]} x {size[1]} pixels (height x width), the image {frame.height} x {frame.width}'
  is_turned = tuple(size) == (frame.width, frame.height)
  return text + (', the same turned by 90 degrees' if is_turned else '')


def _fit(box: items.Box, frame: _Frame) -> str:
  """Says so if a box over the edge would fit the image before it was turned."""
  if frame.turned_from is None:
    return ''
  height, width = frame.turned_from
  over = max(-box.ymin, -box.xmin, box.ymax - height, box.xmax - width)
  if over > _TOLERANCE:
    return ''
  return (
    f'. The box fits the image as it is stored, {height} x {width}, before EXIF turns it: if it is meant for that, '
    'state this size in the annotations'
  )


def _moved(box: items.Box, ymin: float, xmin: float, ymax: float, xmax: float) -> items.Box:
  return box._replace(ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax)


def _fault(kind: faults.Kind, box: items.Box, more: str = '') -> faults.Fault:
  """A fault that gives the class and the numbers of the box."""
  numbers = ', '.join(
    f'{name} {getattr(box, name):.6g}' for name in ('ymin', 'xmin', 'ymax', 'xmax')
  )
  return faults.Fault(kind, f'{box.class_name!r}: {numbers}{more}')
