"""Where PASCAL VOC 2012 keeps images and masks of semantic segmentation, its classes and their colours."""

import functools
import os
import pathlib
from typing import NamedTuple

import numpy as np

from official_selftrain.core import errors

# Names by class id.
CLASS_NAMES = (
  'background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable',
  'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor',
)  # fmt: skip

# Value of pixels that belong to no class: outlines, and objects that were hard to label.
IGNORE = 255

LISTS = 'ImageSets/Segmentation'
IMAGES = 'JPEGImages'
MASKS = 'SegmentationClass'
AUGMENTED_MASKS = 'SegmentationClassAug'
AUGMENTED_SPLIT = 'trainaug'

_IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.JPG', '.JPEG', '.PNG')

# Where the data set may be inside the folder that a user gives.
ROOTS = ('', 'VOC2012', 'VOCdevkit/VOC2012')


class Listed(NamedTuple):
  """An image of a list, with the paths of its files, which may be missing."""

  source_id: str
  image: str
  mask: str


@functools.cache
def colour_map() -> np.ndarray:
  """The colours of VOC by value, uint8 `[256, 3]`, RGB; not writable.

  The bits of a value, from the lowest on, go in turn to red, green and blue, which they fill from the highest bit down.
  """
  values = np.arange(256)
  colours = np.zeros([256, 3], np.uint8)
  for bit in range(8):
    colours[:, bit % 3] |= ((values >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
  colours.flags.writeable = False
  return colours


def root_with(given: str | os.PathLike[str], folder: str) -> pathlib.Path | None:
  """Where the data set is in the folder that a user gives: the first of `ROOTS` that has a folder; None without one."""
  roots = (pathlib.Path(given, inner) for inner in ROOTS)
  return next((root for root in roots if os.path.isdir(root / folder)), None)


def find_root(given: str | os.PathLike[str], folder: str) -> pathlib.Path:
  """`root_with`, which must find one.

  Raises:
    DataError: it does not.
  """
  root = root_with(given, folder)
  if root is None:
    raise errors.DataError(
      f'{os.fspath(given)} is not the VOC2012 folder: there is no {folder} in it, nor in {ROOTS[1]} or {ROOTS[2]} in '
      f'it. Give the folder that has {folder} and {IMAGES}.'
    )
  return root


def read_list(root: pathlib.Path, path: pathlib.Path) -> list[Listed]:
  """The images of a list, in its order; at least one. DataError if the list is missing or wrong."""
  names = sorted(each.stem for each in (root / LISTS).glob('*.txt'))
  if path.parent != root / LISTS or path.stem not in names:
    raise errors.DataError(
      f'{path} is missing. Give a split whose list is there ({", ".join(names) or "there is none"}), or add the list.'
    )
  try:
    # Some editors put a mark at the beginning, which utf-8-sig drops.
    lines = path.read_text(encoding='utf-8-sig').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise errors.DataError(f'{path} cannot be read as text: {error}. Restore it.') from error
  is_augmented = path.stem == AUGMENTED_SPLIT and (root / AUGMENTED_MASKS).is_dir()
  usual_folder = AUGMENTED_MASKS if is_augmented else MASKS
  images: dict[str, Listed] = {}
  for number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    where = f'{path}, line {number}'
    source_id, mask_folder = _parse_line(line, where)
    if source_id in images:
      raise errors.DataError(f'{where}: {source_id} is in the list already; delete this line.')
    if not mask_folder or not (root / mask_folder).is_dir():
      mask_folder = usual_folder
    images[source_id] = Listed(
      source_id,
      _image_path(root, source_id),
      str(root / mask_folder / f'{source_id}.png'),
    )
  if not images:
    raise errors.DataError(f'{path} names no image; write one id per line into it.')
  return list(images.values())


def _image_path(root: pathlib.Path, source_id: str) -> str:
  """The image of an id; the .jpg of VOC, if no other one is there."""
  paths = [str(root / IMAGES / f'{source_id}{ending}') for ending in _IMAGE_ENDINGS]
  return next((path for path in paths if os.path.isfile(path)), paths[0])


def _parse_line(line: str, where: str) -> tuple[str, str]:
  """Id and, or '', folder of the mask, from `a` or `/JPEGImages/a.jpg /SegmentationClassAug/a.png`."""
  fields = line.split()
  if len(fields) == 1 and '/' not in line:
    return fields[0], ''
  image, mask = (pathlib.PurePosixPath(field) for field in (fields * 2)[:2])
  if len(fields) != 2 or (image.suffix, mask.suffix, mask.stem) != ('.jpg', '.png', image.stem):
    raise errors.DataError(
      f'{where} is {line.strip()!r}; expected an id such as 2007_000032, or the paths of an image and of its mask such '
      f'as /{IMAGES}/2007_000032.jpg /{MASKS}/2007_000032.png.'
    )
  return image.stem, mask.parent.name
