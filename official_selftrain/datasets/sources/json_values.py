"""Values of COCO JSON, which other programs write in more ways than one."""

from typing import Any


def get(entry: object, name: str) -> Any:
  """A value of an object; None if it is not there, or `entry` is no object."""
  return entry.get(name) if isinstance(entry, dict) else None


def id_of(value: object) -> str | None:
  """An id as text, so that 7, 7.0 and '7' are one; None for what is no id."""
  if isinstance(value, str):
    return value or None
  integer = as_integer(value)
  return None if integer is None else str(integer)


def as_integer(value: object) -> int | None:
  """An integer, also of 7.0; None for anything else."""
  if isinstance(value, float) and value.is_integer():
    return int(value)
  return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_number(value: object) -> float | None:
  """A number, which may be NaN or infinite; None for anything else."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  try:
    return float(value)
  except OverflowError:
    return None


def edges_of(bbox: object) -> tuple[float, float, float, float] | None:
  """(ymin, xmin, ymax, xmax) in pixels of `[x, y, width, height]`; None if they are not four numbers."""
  found = [as_number(value) for value in bbox] if isinstance(bbox, list) else []
  numbers = [number for number in found if number is not None]
  if len(found) != 4 or len(numbers) != 4:
    return None
  left, top, width, height = numbers
  return top, left, top + height, left + width


def is_text(value: str) -> bool:
  """Whether it can be written as UTF-8; JSON can also spell halves of characters."""
  try:
    value.encode()
  except UnicodeEncodeError:
    return False
  return True
