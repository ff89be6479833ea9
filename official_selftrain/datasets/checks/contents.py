"""What the bytes of a file are, without decoding them: the format, its size and how it is damaged."""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from official_selftrain.datasets import faults

# Starts of image files, by Pillow's name of the format. The size in RIFF files is arbitrary.
_IMAGE_STARTS = {
  'JPEG': rb'\xff\xd8\xff',
  'PNG': rb'\x89PNG\r\n\x1a\n',
  'GIF': rb'GIF8[79]a',
  'BMP': rb'BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0',
  'TIFF': rb'II\*\0|MM\0\*|II\+\0|MM\0\+',
  'WEBP': rb'RIFF.{4}WEBP',
  'AVIF': rb'.{4}ftyp(?:avi[fs]|mif1.{4}(?:.{4}){0,8}avif)',
  'HEIC': rb'.{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)',
  'JPEG2000': rb'\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51\0',
  'PPM': rb'P[1-6]\s+(?:#[^\n]*\s+)*\d+\s',
}
# Formats that the locked Pillow cannot decode.
UNDECODABLE = ('HEIC',)

_OTHER_STARTS = {
  'a PDF': rb'%PDF-',
  'a ZIP archive': rb'PK\x03\x04',
  'a gzip archive': rb'\x1f\x8b\x08',
  'a video': rb'.{4}ftyp|RIFF.{4}AVI ',
}
_TEXT_STARTS = {
  'HTML': r'(?i)<!doctype html|<html|<head|<body',
  'SVG': r'(?is)(?:<\?xml.*?\?>\s*)?(?:<!--.*?-->\s*|<!doctype svg[^>]*>\s*)*<svg',
  'XML': r'<',
  'JSON': r'[{\[]',
  'a Git LFS pointer (git lfs pull fetches the image)': r'version https://git-lfs',
}

_EXTENSIONS = {
  'JPEG': ('jpg', 'jpeg', 'jpe', 'jfif'),
  'PNG': ('png', 'apng'),
  'GIF': ('gif',),
  'BMP': ('bmp', 'dib'),
  'TIFF': ('tif', 'tiff'),
  'WEBP': ('webp',),
  'AVIF': ('avif', 'avifs'),
  'HEIC': ('heic', 'heif'),
  'JPEG2000': ('jp2', 'j2k', 'jpc', 'jpf', 'jpx', 'j2c'),
  'PPM': ('ppm', 'pgm', 'pbm', 'pnm'),
}
_FORM_OF_EXTENSION = {each: form for form, known in _EXTENSIONS.items() for each in known}

# How much of a file is looked at to tell text from other bytes, and how much of a text is shown.
_HEAD = 512
_SHOWN = 40

_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_START_OF_SCAN, _END_OF_IMAGE = b'\xff\xda', b'\xff\xd9'


class _Chunk(NamedTuple):
  """A piece of a PNG or WebP file.

  Attributes:
    name: four letters.
    content: what is there of it.
    checksum: of PNG, what is there of it.
    is_whole: the file goes on to the end of it.
  """

  name: bytes
  content: bytes
  checksum: bytes
  is_whole: bool


def form_of(encoded: bytes) -> str:
  """Pillow's name of the format that the content begins like, 'HEIC', or '' if it begins like no image."""
  # DOTALL: a size may have the byte of a newline in it.
  found = (form for form, start in _IMAGE_STARTS.items() if re.match(start, encoded, re.DOTALL))
  return next(found, '')


def form_of_name(name: str) -> str:
  """The format that the extension of a file name stands for; '' if for none."""
  extension = name.rpartition('/')[2].rpartition('.')[2]
  return _FORM_OF_EXTENSION.get(extension.lower(), '') if '.' in name else ''


def description(encoded: bytes) -> str:
  """What content that begins like no image is, with its first characters; of at least one byte."""
  if not encoded.strip(b'\0'):
    return f'all {len(encoded)} bytes are zero'
  text = _text(encoded[:_HEAD])
  if text:
    is_known = (name for name, start in _TEXT_STARTS.items() if re.match(start, text))
    return f'the content is {next(is_known, "text")}: {text[:_SHOWN]!r}'
  for name, start in _OTHER_STARTS.items():
    if re.match(start, encoded, re.DOTALL):
      return f'the content is {name}'
  return f'the content begins with the bytes {encoded[:8].hex(" ")}, like no image'


def header_size(encoded: bytes, form: str) -> tuple[int, int] | None:
  """Height and width in pixels that the header of a JPEG or PNG states; None if it states none."""
  if form == 'PNG':
    is_header = encoded[12:16] == b'IHDR' and len(encoded) >= 24
    width, height = struct.unpack_from('>II', encoded, 16) if is_header else (0, 0)
  else:
    height, width = _jpeg_size(encoded)
  return (height, width) if height and width else None


def is_plain_png(encoded: bytes) -> bool:
  """Whether a PNG has at most 8 bits per channel and no transparency, by its header and chunks."""
  depth, colour_type = encoded[24:26] if len(encoded) >= 26 else (0, 0)
  return depth <= 8 and colour_type < 4 and not any(c.name == b'tRNS' for c in _png_chunks(encoded))


def png_depth(encoded: bytes) -> int:
  """Bits per channel of a PNG whose header is there."""
  return encoded[24]


def png_fault(encoded: bytes) -> faults.Fault | None:
  """Looks for damage to the pixels of a PNG.

  Pillow does not compare the checksums of pixels, so it may decode damaged ones without a word.

  Returns:
    What is wrong with the header, the palette or the pixels; None if they are whole, even if the file ends after them
    without the mark of its end.
  """
  for chunk in _png_chunks(encoded):
    if chunk.name not in (b'IHDR', b'PLTE', b'IDAT', b'tRNS'):
      continue
    name = chunk.name.decode('ascii')
    if not chunk.is_whole:
      return faults.Fault(faults.Kind.TRUNCATED, f'it ends within the chunk {name}')
    if struct.pack('>I', zlib.crc32(chunk.name + chunk.content)) != chunk.checksum:
      return faults.Fault(faults.Kind.CORRUPT, f'the checksum of the chunk {name} is wrong')
  return None


def is_cut(encoded: bytes, form: str) -> bool:
  """Whether a file that cannot be decoded ends too early, as far as its format tells."""
  if form == 'JPEG':
    # Zeros are what a download that never finished leaves. A thumbnail in the header has an end of its own.
    end = encoded.rstrip(b'\0').rfind(_END_OF_IMAGE)
    return end <= encoded.rfind(_START_OF_SCAN)
  if form == 'PNG':
    fault = png_fault(encoded)
    is_cut_within = fault is not None and fault.kind is faults.Kind.TRUNCATED
    return is_cut_within or b'IEND' not in encoded
  if form == 'WEBP':
    return int.from_bytes(encoded[4:8], 'little') + 8 > len(encoded)
  if form == 'BMP':
    return int.from_bytes(encoded[2:6], 'little') > len(encoded)
  return form == 'GIF' and not encoded.endswith(b';')


def is_lossy(encoded: bytes, form: str) -> bool:
  """Whether pixels were compressed with loss, so that doing so once more at a high quality changes little."""
  if form == 'WEBP':
    return not any(name == b'VP8L' for name in _webp_chunk_names(encoded, 12, len(encoded)))
  return form in ('JPEG', 'AVIF')


def _text(head: bytes) -> str:
  """The beginning of a text with single spaces; '' for bytes that are no text."""
  encoding = 'utf-16' if head[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8'
  # A character may be cut at the end; pages in old encodings have some letters that are wrong in UTF-8.
  text = head.decode(encoding, 'replace').lstrip('\ufeff')
  is_text = all(each.isprintable() or each.isspace() for each in text)
  return ' '.join(text.split()) if is_text and text.count('\ufffd') * 10 <= len(text) else ''


def _jpeg_size(encoded: bytes) -> tuple[int, int]:
  """Height and width in the frame header of a JPEG; zeros if it has none."""
  place = 2
  while place + 9 <= len(encoded):
    marker = encoded[place + 1]
    if encoded[place] != 0xFF or marker in (0x00, 0xFF):
      # Garbage, which decoders leave out, or fill bytes.
      place += 1
    elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
      place += 2
    elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
      height, width = struct.unpack_from('>HH', encoded, place + 5)
      return height, width
    else:
      place += 2 + int.from_bytes(encoded[place + 2 : place + 4], 'big')
  return 0, 0


def _png_chunks(encoded: bytes) -> Iterator[_Chunk]:
  place = len(_PNG_SIGNATURE)
  while place + 8 <= len(encoded):
    length, name = struct.unpack_from('>I4s', encoded, place)
    place += 8
    end = place + length
    yield _Chunk(name, encoded[place:end], encoded[end : end + 4], end + 4 <= len(encoded))
    place = end + 4


def _webp_chunk_names(encoded: bytes, place: int, end: int) -> Iterator[bytes]:
  """Names of the chunks from `place` on, those within frames of an animation included."""
  while place + 8 <= end:
    name, length = struct.unpack_from('<4sI', encoded, place)
    place += 8
    yield name
    if name == b'ANMF':
      # Place, size and duration of the frame come before its chunks.
      yield from _webp_chunk_names(encoded, place + 16, min(place + length, end))
    # Chunks begin at even places.
    place += length + length % 2
