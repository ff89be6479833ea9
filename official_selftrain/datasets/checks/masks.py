"""Finds masks that do not fit their image or classes, and makes PNGs of class ids of the others."""

import dataclasses
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image, UnidentifiedImageError

from official_selftrain.core import errors, keys
from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import contents, images

Values = Mapping[int | tuple[int, int, int], int]

# How many values without a class are named.
_NAMED = 5
_PNG_END = b'\0\0\0\0IEND\xaeB`\x82'
# Of red, green and blue in the code of a colour.
_WEIGHTS = np.array([1 << 16, 1 << 8, 1])
# The code of the colour (1, 1, 1).
_GREY = np.int64(0x010101)


@dataclasses.dataclass(frozen=True, eq=False)
class CheckedMask:
  """What was found in a mask, and what goes into the record.

  Attributes:
    faults: what is wrong with it.
    encoded: 8-bit greyscale PNG of class ids, with 0 for background and 255 for void; None if the mask cannot be used.
    counts: int64 [256], number of pixels by class id; zeros if the mask cannot be used.
  """

  faults: tuple[faults.Fault, ...]
  encoded: bytes | None
  counts: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class _Pixels:
  """What a mask holds before classes are looked up.

  Attributes:
    codes: uint8 or int64 [h, w]: values, or colours as 65536 red + 256 green + blue.
    are_colours: which of the two.
    is_direct: the file is an 8-bit greyscale PNG of these values.
    brightness: of values of fewer than 8 bits, what they look like, uint8 [h, w]; Pillow scales them so.
  """

  codes: np.ndarray
  are_colours: bool = False
  is_direct: bool = False
  brightness: np.ndarray | None = None


class _UnusableError(Exception):
  """The mask cannot be used."""

  def __init__(self, kind: faults.Kind, detail: str) -> None:
    super().__init__(detail)
    self.fault = faults.Fault(kind, detail)


def check(encoded: bytes, name: str, height: int, width: int, mask_values: Values) -> CheckedMask:
  """Examines the mask of an image, and makes class ids of its values.

  Values are what a greyscale image has, and the indices of an image with a palette, as in PASCAL VOC; where
  `mask_values` has colours, the colours of the palette. Where it has both, indices are values if the palette has for
  each of them the colour of its class, or grey of that brightness, and colours otherwise, since programs that make
  files smaller renumber palettes. Grey of fewer than 8 bits means its bits, or, if not all of
  them have a class, the brightness 0..255. Colours with equal channels are grey where `mask_values` has no colours.

  A PNG of 8-bit greyscale whose values are the class ids stays as it is, unless it is damaged after its pixels.

  Never raises for any content.

  Args:
    encoded: content of the file.
    name: of the file, for messages.
    height: of the image in the record, in pixels.
    width: of the image in the record, in pixels.
    mask_values: class id, 0 for background and 255 for void, by value; see `items.Source`.

  Returns:
    What was found.
  """
  try:
    pixels = _read(encoded, name, (height, width), mask_values)
    ids = _class_ids(pixels, mask_values, name)
  except _UnusableError as error:
    fault = error.fault
    if fault.kind is faults.Kind.MASK_VALUES and contents.form_of(encoded) == 'JPEG':
      fault = faults.Fault(fault.kind, f'{fault.detail}; JPEG changes values, so save masks as PNG')
    return CheckedMask((fault,), None, np.zeros([256], np.int64))
  counts = np.bincount(ids.ravel(), minlength=256).astype(np.int64)
  if pixels.is_direct and encoded.endswith(_PNG_END) and np.array_equal(ids, pixels.codes):
    return CheckedMask((), encoded, counts)
  buffer = io.BytesIO()
  Image.fromarray(ids).save(buffer, 'PNG')
  return CheckedMask((), buffer.getvalue(), counts)


def _read(encoded: bytes, name: str, size: tuple[int, int], mask_values: Values) -> _Pixels:
  """The values of a mask of this (height, width)."""
  images.silence_pillow()
  form = contents.form_of(encoded)
  if not form:
    text = contents.description(encoded) if encoded else 'it has no bytes'
    raise _UnusableError(faults.Kind.UNREADABLE, f'{name}: {text}')
  fault = contents.png_fault(encoded) if form == 'PNG' else None
  if fault is not None:
    raise _UnusableError(faults.Kind.UNREADABLE, f'{name}: {fault.detail}')
  try:
    image = Image.open(io.BytesIO(encoded), formats=[form])
    if (image.height, image.width) == size:
      image.load()
  # Pillow's readers raise whatever the bytes lead them to.
  except Exception as error:
    is_unidentified = isinstance(error, UnidentifiedImageError)
    text = 'its header cannot be read' if is_unidentified else errors.first_line(error)
    raise _UnusableError(faults.Kind.UNREADABLE, f'{name}: {text}') from error
  if (image.height, image.width) != size:
    is_turned = (image.width, image.height) == size
    raise _UnusableError(
      faults.Kind.MASK_SIZE,
      f'{name} has {image.height} x {image.width} pixels (height x width), the image {size[0]} x {size[1]}'
      + (', the same turned by 90 degrees' if is_turned else ''),
    )
  bits = images.channel_bits(image, encoded)
  is_direct = form == 'PNG' and image.mode == 'L' and bits == 8
  pixels = _pixels(_opaque(image, name), bits, name, mask_values)
  return dataclasses.replace(pixels, is_direct=is_direct and not pixels.are_colours)


def _opaque(image: Image.Image, name: str) -> Image.Image:
  """The image without its alpha channel, which must not hide anything."""
  if image.mode not in ('LA', 'RGBA'):
    return image
  hidden = int(np.count_nonzero(np.asarray(image.getchannel('A')) != 255))
  if hidden:
    text = f'{name}: {hidden} pixels are transparent, which is no class'
    raise _UnusableError(faults.Kind.MASK_VALUES, text)
  return image.convert('L' if image.mode == 'LA' else 'RGB')


def _pixels(image: Image.Image, bits: int, name: str, mask_values: Values) -> _Pixels:
  """Values of a decoded image that has so many bits per channel."""
  has_colours = any(isinstance(key, tuple) for key in mask_values)
  has_numbers = not all(isinstance(key, tuple) for key in mask_values)
  if image.mode == 'P':
    if not has_colours:
      return _Pixels(np.asarray(image))
    return _pixels_of_palette(image, mask_values)
  if image.mode == 'RGB' and bits <= 8:
    return _pixels_of_colours(np.asarray(image), has_colours)
  if image.mode in ('1', 'L') and bits <= 8:
    grey = np.asarray(image.convert('L'))
    if not has_numbers:
      return _Pixels(grey * _GREY, are_colours=True)
    if image.mode == '1' or bits < 8:
      largest = 2 ** (1 if image.mode == '1' else bits) - 1
      return _Pixels(grey // (255 // largest), brightness=grey)
    return _Pixels(grey)
  if image.mode.startswith('I'):
    return _Pixels(np.asarray(image).astype(np.int64))
  depth = f' with {bits} bits per channel' if bits > 8 else ''
  text = f'{name}: it is of mode {image.mode}{depth}; save it as 8-bit greyscale'
  raise _UnusableError(faults.Kind.UNREADABLE, text)


def _pixels_of_palette(image: Image.Image, mask_values: Values) -> _Pixels:
  """Indices of an image with a palette if they are values, otherwise its colours."""
  indices = np.asarray(image)
  palette = np.array(image.getpalette('RGB') or [], np.int64).reshape(-1, 3).tolist()
  for index in np.unique(indices).tolist():
    class_id = mask_values.get(index)
    # Copies of palettes that end with the last class have no colour for void.
    if class_id == keys.IGNORE_LABEL or (class_id is not None and index >= len(palette)):
      continue
    colour = (palette[index][0], palette[index][1], palette[index][2])
    if class_id is None or (colour != (index,) * 3 and mask_values.get(colour) != class_id):
      return _pixels_of_colours(np.asarray(image.convert('RGB')), has_colours=True)
  return _Pixels(indices)


def _pixels_of_colours(colours: np.ndarray, has_colours: bool) -> _Pixels:
  """Colours, uint8 [h, w, 3], as codes; values of grey if no class has a colour."""
  if not has_colours and (colours == colours[..., :1]).all():
    return _Pixels(colours[..., 0])
  return _Pixels(colours @ _WEIGHTS, are_colours=True)


def _class_ids(pixels: _Pixels, mask_values: Values, name: str) -> np.ndarray:
  """uint8 [h, w]."""
  known = {
    (key[0] << 16 | key[1] << 8 | key[2] if isinstance(key, tuple) else key): class_id
    for key, class_id in mask_values.items()
    if isinstance(key, tuple) is pixels.are_colours
  }
  ids, unknown = _looked_up(pixels.codes, known)
  if unknown and pixels.brightness is not None:
    ids_of_brightness, unknown_brightness = _looked_up(pixels.brightness, known)
    if not unknown_brightness:
      return ids_of_brightness
  if unknown:
    named = ', '.join(
      f'{_value(code, pixels.are_colours)} ({count} pixels)'
      for code, count in sorted(unknown, key=lambda each: -each[1])[:_NAMED]
    )
    more = f' and {len(unknown) - _NAMED} more' if len(unknown) > _NAMED else ''
    raise _UnusableError(faults.Kind.MASK_VALUES, f'{name}: no class has {named}{more}')
  return ids


def _looked_up(
  codes: np.ndarray, known: Mapping[int, int]
) -> tuple[np.ndarray, list[tuple[int, int]]]:
  """Class ids, uint8 [h, w], and codes that are not known, with their numbers of pixels."""
  used, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
  unknown = [
    (int(code), int(count))
    for code, count in zip(used, counts, strict=True)
    if int(code) not in known
  ]
  ids = np.array([known.get(int(code), 0) for code in used], np.uint8)
  return ids[places].reshape(codes.shape), unknown


def _value(code: int, is_colour: bool) -> str:
  return str((code >> 16, code >> 8 & 255, code & 255)) if is_colour else str(code)
