"""Images with masks of the same name, whose pixels say the class."""

import dataclasses
import os
from collections.abc import Iterator, Mapping

from official_selftrain.core import errors, keys
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import image_names, items, storage

# Of two files with one name the mask is the one whose ending is later here: photographs, then what masks can have too.
_MASK_ENDINGS = ('.tif', '.tiff', '.bmp', '.gif', '.png')
_ENDINGS = (
  *(each for each in image_names.EXTENSIONS if each not in _MASK_ENDINGS),
  *_MASK_ENDINGS,
)
# What masks are called beside the name of their image.
_SUFFIXES = ('', '_mask', '-mask', '_label', '_labelIds', '_gt')

_Value = int | tuple[int, int, int]


def open_source(
  path: str | os.PathLike[str],
  classes: str | os.PathLike[str] = '',
  masks: str | os.PathLike[str] | None = None,
) -> items.Source:
  """Opens pairs of image and mask.

  A mask has the path and name of its image, often another ending, and perhaps `_mask`, `-mask`, `_label`, `_labelIds`
  or `_gt` before it: the same for all images, the one that most masks have.

  Args:
    path: folder of the images.
    classes: a text file with a line for each class: `value name`, or `red green blue name` for masks in colours. The
      value or colour of a class called background becomes 0. Values 0 and 255 that no line has are background and
      void, which counts for nothing.
    masks: folder of the masks, which may lie in that of the images. By default they are one folder; of two files that
      differ only by their endings, the mask is then the one that is later in this order: JPEG and what else cannot
      be a mask, TIFF, BMP, GIF, PNG.

  Returns:
    The source. Classes are in the order of the lines.

  Raises:
    ConfigError: `classes` is not given.
    DataError: there are no images or no masks, or `classes` cannot be read or gives a value or a name twice.
  """
  if not classes:
    raise errors.ConfigError(
      'Masks need classes=FILE, a text file with a line `value name` or `red green blue name` for each class.'
    )
  names, values = read_classes(os.fspath(classes))
  images = os.fspath(path)
  next(image_names.list_images(images))
  folder = images if masks is None else os.fspath(masks)
  if not os.path.isdir(folder):
    raise errors.DataError(f'{folder} is not a folder. Give the folder of the masks.')
  by_stem: dict[str, list[str]] = {}
  for name, _ in image_names.list_files(folder, _ENDINGS):
    by_stem.setdefault(os.path.splitext(name)[0], []).append(name)
  for each in by_stem.values():
    each.sort(key=_rank)
  inner = os.path.relpath(os.path.realpath(folder), os.path.realpath(images))
  source = _Source(images, names, values, folder, by_stem, inner)
  source.choose_suffix()
  return source


@dataclasses.dataclass(eq=False)
class _Source:
  """See `open_source`."""

  _images: str
  class_names: tuple[str, ...]
  mask_values: Mapping[_Value, int]
  _masks: str
  # Names in the folder of the masks by name without ending; the best mask is the last.
  _by_stem: Mapping[str, list[str]]
  # Path of the folder of the masks from that of the images on, `.` if they are one.
  _inner: str
  task: items.Task = items.Task.SEGMENTATION
  _suffix: str = ''
  notes: tuple[faults.Fault, ...] = ()

  def choose_suffix(self) -> None:
    """Finds how masks are called; DataError if no image has one."""
    counts = dict.fromkeys(_SUFFIXES, 0)
    for image in image_names.list_images(self._images):
      for suffix in _SUFFIXES:
        counts[suffix] += self._mask_of(image, suffix) is not None
    self._suffix = max(_SUFFIXES, key=lambda suffix: counts[suffix])
    if not counts[self._suffix]:
      raise errors.DataError(
        f'No image in {self._images} has a mask in {self._masks}. Masks have the names of their images, and are PNG, '
        'BMP, GIF or TIFF files: JPEG and WebP change values.'
      )
    if self._suffix or self._inner != os.curdir:
      # A file whose name is that of an image with nothing behind it may be anything where masks lie among images.
      masks = [
        stem
        for stem, names in self._by_stem.items()
        if stem.endswith(self._suffix) and names[-1].lower().endswith(_MASK_ENDINGS)
      ]
      lost = len(masks) - counts[self._suffix]
      if lost > 0:
        self.notes = (faults.Fault(faults.Kind.NO_IMAGE, f'{lost} masks in {self._masks}'),)

  def _mask_of(self, image: items.ImageFile, suffix: str) -> items.ImageFile | None:
    """The mask of an image; never the image itself."""
    for name in reversed(self._by_stem.get(os.path.splitext(image.name)[0] + suffix, [])):
      is_itself = self._inner == os.curdir and name == image.name
      if not is_itself and name.lower().endswith(_MASK_ENDINGS):
        return items.ImageFile(name, os.path.join(self._masks, name))
    return None

  def _is_mask(self, image: items.ImageFile) -> bool:
    """Whether what is listed as an image is a mask."""
    if self._inner != os.curdir:
      return image.name.startswith(f'{self._inner}/')
    stem = os.path.splitext(image.name)[0]
    if self._suffix:
      return stem.endswith(self._suffix)
    is_first = image.name in self._by_stem.get(stem, [image.name])[:1]
    return not is_first and image.name.lower().endswith(_MASK_ENDINGS)

  def items(self) -> Iterator[items.Item]:
    """See `items.Source`."""
    for image in image_names.list_images(self._images):
      if self._is_mask(image):
        continue
      mask = self._mask_of(image, self._suffix)
      name_fault = image_names.check_name(image.name)
      if name_fault:
        yield items.Item(image, faults=(name_fault,))
      elif mask is None:
        yield items.Item(image, faults=(faults.Fault(faults.Kind.NO_ANNOTATION, 'no mask'),))
      else:
        yield items.Item(image, mask=mask)


def _rank(name: str) -> int:
  """Place of a name's ending in `_ENDINGS`."""
  return _ENDINGS.index(os.path.splitext(name)[1].lower())


def read_classes(path: str) -> tuple[tuple[str, ...], dict[_Value, int]]:
  """Names from class 1 on, and the class id by value or colour, from a text file; see `open_source`.

  Raises:
    DataError: the file cannot be read, gives a value or a name twice, or names more than 254 classes.
  """
  names: list[str] = []
  values: dict[_Value, int] = {}
  for number, line in enumerate(storage.read_lines(path), 1):
    fields = line.split()
    if not fields:
      continue
    value, name = _parse(fields, f'{path}, line {number}')
    if value in values:
      raise errors.DataError(f'{path}, line {number}: the value {value} has a class already.')
    if name in names:
      raise errors.DataError(f'{path}, line {number}: the class {name} has a value already.')
    if name.lower() == 'background':
      values[value] = 0
    else:
      names.append(name)
      values[value] = len(names)
  if not names:
    raise errors.DataError(f'{path} names no class. Write `value name` on each line.')
  if len(names) >= keys.IGNORE_LABEL:
    raise errors.DataError(
      f'{path} names {len(names)} classes; class maps have at most {keys.IGNORE_LABEL - 1}.'
    )
  if not any(isinstance(value, tuple) for value in values):
    values.setdefault(0, 0)
    values.setdefault(keys.IGNORE_LABEL, keys.IGNORE_LABEL)
  return tuple(names), values


def _parse(fields: list[str], where: str) -> tuple[_Value, str]:
  """Value and name of a line."""
  numbers = []
  for field in fields[:3]:
    if not field.isdecimal():
      break
    numbers.append(int(field))
  if len(numbers) in (1, 3) and len(fields) > len(numbers) and max(numbers) <= 0xFF:
    value: _Value = (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else numbers[0]
    return value, ' '.join(fields[len(numbers) :])
  raise errors.DataError(
    f'{where} is {" ".join(fields)!r}; expected `value name` or `red green blue name` with numbers from 0 to 255.'
  )
