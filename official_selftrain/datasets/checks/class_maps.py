"""Draws class maps from the masks of objects."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from official_selftrain.core import keys
from official_selftrain.datasets.sources import items


def draw(
  boxes: Sequence[items.Box], height: int, width: int, class_names: Sequence[str]
) -> np.ndarray:
  """Draws objects, the larger first, so that a smaller one that overlaps a larger one stays whole.

  Crowds, and the boxes of objects without a mask, become void where no object with a mask is: what is in them is not
  known pixel by pixel. Everything else is background.

  Args:
    boxes: objects in pixels of the image, with masks of its size or none.
    height: of the image in pixels.
    width: of the image in pixels.
    class_names: names from class 1 on.

  Returns:
    Class ids with 0 for background and 255 for void, uint8 [height, width].
  """
  ids = {name: class_id for class_id, name in enumerate(class_names, 1)}
  drawn = np.zeros([height, width], np.uint8)
  objects: list[tuple[int, items.Box]] = []
  for box in boxes:
    if box.is_crowd or box.run_lengths is None:
      drawn[mask_of(box, height, width)] = keys.IGNORE_LABEL
    else:
      objects.append((int(coco_mask.area(dict(box.run_lengths))), box))
  # One mask at a time is decoded: a thousand of a large image would fill the memory.
  for _, box in sorted(objects, key=lambda each: -each[0]):
    drawn[mask_of(box, height, width)] = ids[box.class_name]
  return drawn


def mask_of(box: items.Box, height: int, width: int) -> np.ndarray:
  """The mask of an object, bool [height, width]; that of one without a mask is its box, at least a pixel."""
  if box.run_lengths is not None:
    decoded: np.ndarray = coco_mask.decode(dict(box.run_lengths))
    return decoded.astype(bool)
  mask = np.zeros([height, width], bool)
  rows = slice(round(box.ymin), max(round(box.ymax), round(box.ymin) + 1))
  mask[rows, round(box.xmin) : max(round(box.xmax), round(box.xmin) + 1)] = True
  return mask
