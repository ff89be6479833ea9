"""Names for image files that have none: from ids, and from what an image's first bytes say."""

import dataclasses
import io
import os
import re
import struct
import warnings

from PIL import Image

from official_selftrain.core import errors

# The formats that TensorFlow decodes, by the bytes that they begin with.
_SIGNATURES = (
  (b'\xff\xd8\xff', '.jpg'),
  (b'\x89PNG\r\n\x1a\n', '.png'),
  (b'GIF87a', '.gif'),
  (b'GIF89a', '.gif'),
  (b'BM', '.bmp'),
)
# Endings that an id may have because it was a file name.
EXTENSIONS = ('.jpg', '.jpeg', '.png', '.gif', '.bmp')

# Characters that XML cannot hold, tabs, and whatever some program takes for the end of a line.
_UNPRINTABLE = re.compile('[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
# Those that separate folders, or that file names of some system cannot have.
_RESERVED = re.compile(r'[<>:"/\\|?*]')
# What most file systems allow for a name, less the longest extension that may follow.
_MAX_BYTES = 255 - len('.jpeg')

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
  """What the first bytes of an image say.

  Attributes:
    extension: of its format, with the dot.
    channels: number of colour channels; those of the colours for an image with a palette.
    is_turned: it is a JPEG whose EXIF data asks viewers to turn or mirror it, which TensorFlow does not.
  """

  extension: str
  channels: int
  is_turned: bool


def is_printable(text: str) -> bool:
  """Whether a text fits on one line of any file, XML included."""
  return not _UNPRINTABLE.search(text)


def printable(text: str) -> str:
  """A text with `_` for each character for which `is_printable` is false."""
  return _UNPRINTABLE.sub('_', text)


def stem(source_id: str) -> str:
  """The name of an image's files, without an extension.

  Args:
    source_id: id of the image; it may look like a path, absolute or with `..`, but the name has no folder.

  Returns:
    The id without the extension of an image file, if it has one, and with `_` for each character that a file name
    cannot have, and for dots and blanks at its ends.

  Raises:
    DataError: the id is too long to be the name of a file.
  """
  name = _RESERVED.sub('_', printable(source_id))
  root, extension = os.path.splitext(name)
  if extension.lower() in EXTENSIONS:
    name = root
  kept = name.strip('. ')
  start = name.index(kept)
  name = '_' * start + kept + '_' * (len(name) - start - len(kept)) or '_'
  size = len(name.encode('utf-8'))
  if size > _MAX_BYTES:
    raise errors.DataError(
      f'The id {source_id[:40]!r}... gives a file name of {size} bytes; allowed are {_MAX_BYTES}. Give the images '
      'shorter ids (image/source_id), and label them again.'
    )
  return name


def read_header(content: bytes, source_id: str) -> Header:
  """Reads the header of an image; its pixels are not decoded.

  Args:
    content: the encoded image.
    source_id: its id, for the message.

  Returns:
    `Header`; with three channels, as TensorFlow decodes it, if Pillow cannot read the header.

  Raises:
    DataError: the format is none of those that TensorFlow decodes.
  """
  for signature, extension in _SIGNATURES:
    if content.startswith(signature):
      return _header(content, extension)
  raise errors.DataError(
    f'The image with id {source_id!r} begins with {content[:8]!r}, which is neither JPEG, PNG, GIF nor BMP. Replace '
    'it, and label the images again.'
  )


def _header(content: bytes, extension: str) -> Header:
  try:
    with warnings.catch_warnings():
      # A large image is not decoded here, so there is nothing to warn of.
      warnings.simplefilter('ignore', Image.DecompressionBombWarning)
      image = Image.open(io.BytesIO(content))
    channels = 3 if image.mode == 'P' else len(image.getbands())
    # Pillow would decode a PNG to look for EXIF data.
    orientation = (
      image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT) if extension == '.jpg' else _UPRIGHT
    )
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, struct.error):
    return Header(extension, 3, False)
  return Header(extension, channels, orientation in range(2, 9))
