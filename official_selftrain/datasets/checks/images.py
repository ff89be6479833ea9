"""Examines images before they go into records, and repairs those that training would misread.

An image is decoded with Pillow, which knows more of it, and with TensorFlow, which training decodes with. The two
disagree:

  both decode it          the bytes are used as they are, unless something below needs a repair
  only Pillow             a PNG with damaged pixels is left out; anything else is encoded anew
  only TensorFlow         what TensorFlow decoded is encoded anew, since other tools read records with Pillow; it must
                          have the size that the header states, and no transparency or 16 bits, which TensorFlow drops
  neither                 it is left out

Damage within a JPEG stops neither decoder: both fill in grey. TensorFlow's decoder prints a warning, from which it is
recognised here. Damage that happens to be a valid code leaves no trace.
"""

import contextlib
import dataclasses
import io
import logging
import re
import warnings

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import contents, image_decoders

MAX_PIXELS = 178_956_970  # Pillow's own limit.
_MAX_RATIO = 100  # Of the sides; less than a pixel of thinner images is left at 64 pixels.

# What training decodes without more ado.
_TRAINED = ('JPEG', 'PNG')

_JPEG_QUALITY = 95
# libjpeg's limit, in pixels.
_JPEG_MAX_SIDE = 65_500

# What displays an image, by its EXIF orientation.
_ORIENTATION = 0x0112
_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_BACK = {**_TURNS, 6: _TURNS[8], 8: _TURNS[6]}
_QUARTER_TURNS = (5, 6, 7, 8)

_TIFF_BITS = 258
_MAX_16 = 2**16 - 1

_PILLOW = r'PIL\.'


@dataclasses.dataclass(frozen=True, eq=False)
class Examined:
  """What was found in an image, and what goes into the record.

  Attributes:
    faults: what is wrong with it, in the order in which it was found.
    encoded: bytes of the record; None if the image is left out. What follows is then empty.
    height: of the image in the record, in pixels.
    width: of the image in the record, in pixels.
    format: 'JPEG' or 'PNG', of `encoded`.
    pixels: uint8 [height, width, 3], RGB; before JPEG compression where `encoded` is a new JPEG.
    turned_from: (height, width) in pixels of the image as it was stored, if its pixels were turned.
  """

  faults: tuple[faults.Fault, ...]
  encoded: bytes | None = None
  height: int = 0
  width: int = 0
  format: str = ''
  pixels: np.ndarray | None = None
  turned_from: tuple[int, int] | None = None

  @property
  def is_turned(self) -> bool:
    """Whether the pixels were turned from how they were stored to how they are displayed."""
    return self.turned_from is not None


_TENSORFLOW = image_decoders.TensorFlowDecoder()


def examine(
  encoded: bytes,
  name: str,
  size: tuple[int, int] | None = None,
  decoder: image_decoders.Decoder = _TENSORFLOW,
) -> Examined:
  """Examines an image, and repairs it if training would misread it.

  Bytes that need nothing stay as they are. Others become a JPEG of quality 95 without subsampling if they were
  compressed with loss, else a PNG; neither has metadata.

  Annotation tools show images as EXIF says, so an image with an EXIF rotation is turned, unless the annotations state
  the size of the image as it is stored, and not as it is displayed. TensorFlow ignores EXIF in any case.

  Never raises for any content. Warnings and logs of Pillow are silenced in the process from the first call on.

  Args:
    encoded: content of the file.
    name: of the file; its extension is compared with the content.
    size: (height, width) in pixels that the annotations state; None if they state none.
    decoder: what training decodes with.

  Returns:
    What was found.
  """
  silence_pillow()
  found: list[faults.Fault] = []
  try:
    return _Examination(encoded, size, decoder, found).run(name)
  except _LeftOutError as error:
    return Examined((*found, error.fault))


def silence_pillow() -> None:
  """Keeps Pillow from warning and logging of what checks report, in the whole process.

  `warnings.catch_warnings` would do so for one call, but not in threads.
  """
  entry = ('ignore', None, Warning, re.compile(_PILLOW), 0)
  if warnings.filters[:1] != [entry]:
    warnings.filterwarnings('ignore', module=_PILLOW)
    logging.getLogger('PIL').setLevel(logging.CRITICAL)


def channel_bits(image: Image.Image, encoded: bytes) -> int:
  """Bits per channel in the PNG or TIFF file that Pillow has opened, whose modes do not tell; 8 for other files."""
  if image.format == 'PNG':
    return contents.png_depth(encoded)
  if isinstance(image, TiffImagePlugin.TiffImageFile):
    return max(image.tag_v2.get(_TIFF_BITS, (1,)))
  return 8


class _LeftOutError(Exception):
  """The image cannot be used."""

  def __init__(self, kind: faults.Kind, detail: str = '') -> None:
    super().__init__(detail)
    self.fault = faults.Fault(kind, detail)


class _Examination:
  """One call of `examine`."""

  def __init__(
    self,
    encoded: bytes,
    size: tuple[int, int] | None,
    decoder: image_decoders.Decoder,
    found: list[faults.Fault],
  ) -> None:
    """Takes the arguments of `examine`, and a list to which faults are added."""
    self._encoded = encoded
    self._size = size
    self._decoder = decoder
    self._found = found
    self._form = ''
    # Per channel.
    self._bits = 8

  def run(self, name: str) -> Examined:
    """Does all of it; _LeftOutError has the fault for which the image is left out."""
    self._form = _usable_form(self._encoded)
    expected = contents.form_of_name(name)
    if expected not in ('', self._form):
      self._note(
        faults.Kind.EXTENSION, f'{name.rpartition(".")[2]}, but the content is {self._form}'
      )
    try:
      image, orientation = self._stored()
    except _LeftOutError:
      raise
    # Pillow's readers raise whatever the bytes lead them to.
    except Exception as error:
      return self._without_pillow(error)
    trained = self._trained((image.height, image.width)) if self._form in _TRAINED else None
    turned_from = self._turned_from(image, orientation)
    try:
      picture = self._picture(image)
    except _LeftOutError:
      raise
    except Exception as error:
      text = f'its pixels, of mode {image.mode}, cannot be made RGB: {errors.first_line(error)}'
      raise _LeftOutError(faults.Kind.CORRUPT, text) from error
    if turned_from is not None:
      picture = picture.transpose(_TURNS[orientation])
    if trained is None or any(each.outcome is faults.Outcome.FIXED for each in self._found):
      return self._anew(picture, turned_from)
    height, width, _ = trained.shape
    return Examined(tuple(self._found), self._encoded, height, width, self._form, trained)

  def _note(self, kind: faults.Kind, detail: str = '') -> None:
    self._found.append(faults.Fault(kind, detail))

  def _stored(self) -> tuple[Image.Image, int]:
    """The first frame as it is stored, decoded to the last pixel, and its EXIF orientation."""
    try:
      # A JPEG may be an MPO to Pillow, with further images behind the first; its name covers both.
      image = Image.open(io.BytesIO(self._encoded), formats=[self._form])
    except Image.DecompressionBombError as error:
      raise _LeftOutError(faults.Kind.BOMB, errors.first_line(error).partition(',')[0]) from error
    _check_size(image.height, image.width)
    is_animated = self._form != 'JPEG' and getattr(image, 'is_animated', False)
    # Pillow turns TIFF files by itself when it decodes them, and forgets the tag.
    tiff_orientation = 1
    self._bits = channel_bits(image, self._encoded)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
      tiff_orientation = image.tag_v2.get(_ORIENTATION, 1)
    _load(image)
    if is_animated:
      self._note(faults.Kind.ANIMATED)
    if tiff_orientation in _TURNS:
      return image.transpose(_BACK[tiff_orientation]), tiff_orientation
    return image, _exif_orientation(image)

  def _trained(self, size: tuple[int, int]) -> np.ndarray | None:
    """What training decodes, uint8 [height, width, 3]; None if it decodes nothing but Pillow does."""
    decoded = self._decoder(self._encoded)
    if decoded.pixels is None:
      fault = contents.png_fault(self._encoded) if self._form == 'PNG' else None
      if fault is not None:
        raise _LeftOutError(fault.kind, fault.detail)
      self._note(
        faults.Kind.FORMAT, f'TensorFlow does not decode this {self._form}: {decoded.message}'
      )
    elif decoded.pixels.shape[:2] != size:
      text = f'Pillow sees {_by(size)}, TensorFlow {_by(decoded.pixels.shape)} (height x width)'
      raise _LeftOutError(faults.Kind.CORRUPT, text)
    elif decoded.message:
      raise _LeftOutError(faults.Kind.CORRUPT, decoded.message)
    return decoded.pixels

  def _turned_from(self, image: Image.Image, orientation: int) -> tuple[int, int] | None:
    """Stored size if the pixels must be turned; checks the size that the annotations state."""
    stored = image.height, image.width
    displayed = stored[::-1] if orientation in _QUARTER_TURNS else stored
    if self._size is not None and self._size not in (stored, displayed):
      text = (
        f'the annotations state {_by(self._size)} (height x width), the image has {_by(stored)}'
      )
      if displayed != stored:
        text += f' stored and {_by(displayed)} displayed'
      elif self._size == stored[::-1]:
        text += ', the same turned by 90 degrees'
      raise _LeftOutError(faults.Kind.SIZE, text)
    if orientation not in _TURNS or self._size not in (None, displayed):
      return None
    text = f'EXIF orientation {orientation}, {_by(stored)} (height x width) stored'
    self._note(faults.Kind.EXIF_ROTATION, text)
    return stored

  def _picture(self, image: Image.Image) -> Image.Image:
    """8-bit RGB or grey without transparency."""
    if self._form not in _TRAINED:
      self._note(faults.Kind.FORMAT, self._form)
    if image.mode[0] in 'IF' or self._bits > 8:
      image = self._shallow(image)
    if image.mode == 'CMYK':
      self._note(faults.Kind.CMYK, 'YCCK' if image.info.get('adobe_transform') == 2 else '')
      return image.convert('RGB')
    if self._form == 'PNG' and image.mode == 'P':
      self._note(faults.Kind.PALETTE)
    if image.has_transparency_data:
      layered = image.convert('RGBA')
      if layered.getchannel('A').getextrema() != (255, 255):
        self._note(faults.Kind.ALPHA)
        white = Image.new('RGBA', image.size, 'white')
        return Image.alpha_composite(white, layered).convert('RGB')
    if image.mode in ('L', 'RGB'):
      return image
    return image.convert('L' if image.mode in ('1', 'LA') else 'RGB')

  def _shallow(self, image: Image.Image) -> Image.Image:
    """The image with 8 bits: the upper ones of 16, as TensorFlow takes them."""
    if image.mode[0] not in 'IF':
      # Pillow has taken the upper bits when it decoded colours.
      self._note(faults.Kind.DEPTH_16)
      return image
    values = np.asarray(image)
    if image.mode == 'F' or values.min() < 0 or values.max() > _MAX_16:
      text = (
        f'its pixels are of mode {image.mode}, not 8 or 16 bits; save it with 8 bits per channel'
      )
      raise _LeftOutError(faults.Kind.CORRUPT, text)
    highest = int(values.max())
    is_dark = highest <= _MAX_16 // 4
    self._note(
      faults.Kind.DEPTH_16,
      f'its values reach {highest} of {_MAX_16}, so it becomes dark' if is_dark else '',
    )
    grey = (values >> 8).astype(np.uint8)
    key = image.info.get('transparency')
    if isinstance(key, int) and (values == key).any():
      self._note(faults.Kind.ALPHA)
      grey[values == key] = 255
    return Image.fromarray(grey)

  def _without_pillow(self, error: Exception) -> Examined:
    """Uses what TensorFlow decodes of an image that Pillow cannot decode."""
    is_unidentified = isinstance(error, UnidentifiedImageError)
    text = 'its header cannot be read' if is_unidentified else errors.first_line(error)
    decoded = self._pixels_without_pillow()
    if decoded is None:
      is_cut = contents.is_cut(self._encoded, self._form) or 'truncated' in text.lower()
      kind = faults.Kind.TRUNCATED if is_cut else faults.Kind.CORRUPT
      raise _LeftOutError(kind, text) from error
    self._note(faults.Kind.FORMAT, f'Pillow does not decode it ({text}), TensorFlow does')
    picture = Image.fromarray(decoded)
    self._turned_from(picture, 1)
    return self._anew(picture, None)

  def _pixels_without_pillow(self) -> np.ndarray | None:
    """uint8 [height, width, 3]; None if TensorFlow does not decode them, or not as they are meant."""
    size = contents.header_size(self._encoded, self._form) if self._form in _TRAINED else None
    if size is None or (self._form == 'PNG' and not contents.is_plain_png(self._encoded)):
      return None
    _check_size(*size)
    decoded = self._decoder(self._encoded)
    if decoded.pixels is None or decoded.message or decoded.pixels.shape[:2] != size:
      return None
    return decoded.pixels

  def _anew(self, picture: Image.Image, turned_from: tuple[int, int] | None) -> Examined:
    """Encodes an image of mode L or RGB, and makes sure that training decodes it."""
    is_lossy = contents.is_lossy(self._encoded, self._form)
    form = 'JPEG' if is_lossy and max(picture.size) <= _JPEG_MAX_SIDE else 'PNG'
    pixels = np.asarray(picture.convert('RGB'))
    # From pixels alone, so that no metadata is left.
    bare = Image.fromarray(np.asarray(picture))
    buffer = io.BytesIO()
    options = {'quality': _JPEG_QUALITY, 'subsampling': 0} if form == 'JPEG' else {}
    bare.save(buffer, form, **options)
    encoded = buffer.getvalue()
    decoded = self._decoder(encoded)
    if decoded.pixels is None or decoded.pixels.shape != pixels.shape:
      text = f'TensorFlow does not decode it as {form} either: {decoded.message or "another size"}'
      raise _LeftOutError(faults.Kind.CORRUPT, text)
    height, width, _ = pixels.shape
    return Examined(tuple(self._found), encoded, height, width, form, pixels, turned_from)


def _usable_form(encoded: bytes) -> str:
  if not encoded:
    raise _LeftOutError(faults.Kind.EMPTY)
  form = contents.form_of(encoded)
  if not form:
    raise _LeftOutError(faults.Kind.NOT_AN_IMAGE, contents.description(encoded))
  if form in contents.UNDECODABLE:
    raise _LeftOutError(faults.Kind.CORRUPT, f'the content is {form}; export it as JPEG')
  return form


def _check_size(height: int, width: int) -> None:
  if height * width > MAX_PIXELS:
    text = f'{_by((height, width))} (height x width) are more than {MAX_PIXELS:,} pixels'
    raise _LeftOutError(faults.Kind.BOMB, text)
  if max(height, width) > _MAX_RATIO * min(height, width):
    raise _LeftOutError(faults.Kind.THIN, f'{_by((height, width))} (height x width)')


def _load(image: Image.Image) -> None:
  """Decodes all pixels. Of Pillow's libraries only those for TIFF and AVIF print."""
  with (
    image_decoders.captured_stderr()
    if image.format in ('TIFF', 'AVIF')
    else contextlib.nullcontext()
  ):
    image.load()


def _exif_orientation(image: Image.Image) -> int:
  """The orientation in EXIF, 1 if there is none or EXIF is damaged. XMP, which viewers ignore, does not count."""
  exif = Image.Exif()
  try:
    exif.load(image.info.get('exif', b''))
    orientation = exif.get(_ORIENTATION, 1)
    return orientation if orientation in _TURNS else 1
  # As in decoding.
  except Exception:
    return 1


def displayed(image: Image.Image) -> Image.Image:
  """The image turned as EXIF says; as it is where EXIF says nothing or is damaged."""
  orientation = _exif_orientation(image)
  return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _by(size: tuple[int, ...]) -> str:
  return f'{size[0]} x {size[1]}'
