"""The images to predict on: found in a folder or by a pattern, and read as training would read them."""

import dataclasses
import glob
import os
import re
from collections.abc import Sequence

from official_selftrain.core import errors, files
from official_selftrain.datasets.checks import images as checks
from official_selftrain.datasets.sources import image_names
from official_selftrain.pseudo_labels.exporters import names

EXTENSIONS = image_names.EXTENSIONS
_MAX_DIGITS = 15


@dataclasses.dataclass(frozen=True)
class Image:
  """One image that was found.

  Attributes:
    path: of its file.
    name: relative to what was given, with `/`, as text that can be printed; no other image has it.
    stem: name for files made from it, without a folder and extension; no other image has it.
    version: size of the file and when it was last written; '' if that cannot be said.
  """

  path: str
  name: str
  stem: str
  version: str = ''


@dataclasses.dataclass(frozen=True)
class Read:
  """An image as a model sees it.

  Attributes:
    encoded: JPEG or PNG, its pixels turned as EXIF data says; None if it cannot be read.
    height: in pixels.
    width: in pixels.
    reason: why it cannot be read; '' if it can.
  """

  encoded: bytes | None
  height: int = 0
  width: int = 0
  reason: str = ''


def find(given: str, output: str = '') -> list[Image]:
  """All images of a folder and the folders in it, of a pattern such as `photos/*.jpg`, or a single one; sorted by name.

  Args:
    given: the folder, pattern or file.
    output: a folder whose files are none of the images, though it may lie in the same folder.

  Raises:
    DataError: there is none, a folder cannot be read, or two would have files of the same name.
  """
  if os.path.isfile(given):
    root, paths = os.path.dirname(given), [given]
  elif os.path.isdir(given):
    root = given
    paths = [path for _, path in image_names.list_files(given, EXTENSIONS)]
  else:
    # Names must not depend on which files there are, so they begin where the pattern does.
    root = os.path.dirname(re.split(r'[*?\[]', given)[0])
    paths = [path for path in glob.glob(given, recursive=True) if os.path.isfile(path)]
  own = os.path.join(os.path.abspath(output), '') if output else ''
  paths = [path for path in paths if not own or not os.path.abspath(path).startswith(own)]
  if not paths:
    is_folder = os.path.isdir(given)
    what = f'has no image ({", ".join(EXTENSIONS)})' if is_folder else 'names no file'
    raise errors.DataError(
      f'--input: {given} {what}. Give a folder of images, or a pattern in quotes.'
    )
  by_stem: dict[str, Image] = {}
  for path in sorted(paths):
    name = image_names.display_name(os.path.relpath(path, root or '.').replace(os.sep, '/'))
    image = Image(path, name, _stem(name), _version(path))
    other = by_stem.setdefault(image.stem, image)
    if other is not image and image_names.is_usual(name) != image_names.is_usual(other.name):
      by_stem[image.stem] = image if image_names.is_usual(name) else other
    elif other is not image:
      raise errors.DataError(
        f'--input: {other.name} and {image.name} would both have files called {image.stem!r}. Rename one of them, or '
        'predict on each folder by itself.'
      )
  return list(by_stem.values())


def _stem(name: str) -> str:
  root, extension = os.path.splitext(name)
  return names.stem(root if extension.lower() in EXTENSIONS else name)


def _version(path: str) -> str:
  try:
    status = os.stat(path)
  except OSError:
    return ''  # `read` says why.
  return f'{status.st_size} bytes, {status.st_mtime_ns}'


def nested_stem(name: str) -> str:
  """The name of an image without its ending, folders kept: where programs look for the labels of `a/b.jpg`."""
  *folders, last = name.split('/')
  return '/'.join((*map(names.stem, folders), _stem(last)))


def read(image: Image) -> Read:
  """Reads an image; says why where that is not possible."""
  try:
    with open(image.path, 'rb') as stream:
      content = stream.read()
  except OSError as error:
    return Read(None, reason=error.strerror or str(error))
  examined = checks.examine(content, image.name)
  if examined.encoded is None:
    fault = examined.faults[-1]
    return Read(None, reason=': '.join(filter(None, (fault.kind.rule.meaning, fault.detail))))
  return Read(examined.encoded, examined.height, examined.width)


def ids(images: Sequence[Image], annotation_file: str = '') -> dict[str, int]:
  """Numbers of the images by name, as COCO has them.

  Args:
    images: the images.
    annotation_file: COCO JSON whose `images` have `file_name` and `id`, for images that it lists alone; empty takes the
      names themselves if all of them are different numbers, and otherwise the places of the images, from 1.

  Raises:
    DataError: the file cannot be read, lists none of the images, or gives two of them one id.
  """
  if annotation_file:
    return _listed(images, annotation_file)
  stems = [image.stem for image in images]
  if all(stem.isascii() and stem.isdecimal() and len(stem) <= _MAX_DIGITS for stem in stems):
    numbers = [int(stem) for stem in stems]
    if len(set(numbers)) == len(numbers):
      return {image.name: number for image, number in zip(images, numbers, strict=True)}
  return {image.name: place for place, image in enumerate(images, start=1)}


def _listed(images: Sequence[Image], annotation_file: str) -> dict[str, int]:
  try:
    entries = files.read_json(annotation_file)['images']
    listed = {each['file_name']: int(each['id']) for each in entries}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise errors.DataError(
      f'--image_ids: {annotation_file} cannot be read as COCO JSON ({errors.first_line(error)}).'
    ) from error
  found: dict[str, int] = {}
  names_by_id: dict[int, str] = {}
  for image in images:
    number = listed.get(image.name, listed.get(os.path.basename(image.name)))
    if number is None:
      continue
    other = names_by_id.setdefault(number, image.name)
    if other != image.name:
      raise errors.DataError(
        f'--image_ids: {annotation_file} gives {other} and {image.name} the id {number}. Predict on each folder by '
        'itself.'
      )
    found[image.name] = number
  if not found:
    raise errors.DataError(f'--image_ids: {annotation_file} lists none of the images.')
  return found
