"""Images without annotations: a folder, a pattern, a list, an archive, or TFRecord files."""

import dataclasses
import glob
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import image_names, items, storage, tf_records

_Images = Callable[[], Iterator[items.Item]]


def open_source(path: str | os.PathLike[str]) -> items.Source:
  """Opens images without annotations.

  Args:
    path: a folder, with all images in it and in its folders; a pattern with `*`, `?` or `[`, of images or of TFRecord
      files; a .txt file with one path on each line, relative to the folder of the file, in which empty lines and lines
      that begin with # are passed over; a zip or tar archive, compressed or not; or a TFRecord file.

  Returns:
    The source. Images of folders and patterns are in the order of their names, those of lists, archives and TFRecord
    files in the order of these.

  Raises:
    DataError: there is nothing, or no image in it.
  """
  text = os.fspath(path)
  if os.path.isdir(text):
    return _checked(text, lambda: map(_item, image_names.list_images(text)))
  if not os.path.lexists(text):
    if not glob.has_magic(text):
      raise errors.DataError(f'{text} does not exist. Check the path and the working directory.')
    return _checked(text, lambda: _of_pattern(text))
  return _checked(text, _of_file(text))


@dataclasses.dataclass(eq=False)
class _Source:
  """See `open_source`."""

  _images: _Images
  task: items.Task = items.Task.NONE
  class_names: tuple[str, ...] = ()
  mask_values: Mapping[int | tuple[int, int, int], int] = dataclasses.field(default_factory=dict)
  notes: tuple[faults.Fault, ...] = ()

  def items(self) -> Iterator[items.Item]:
    """See `items.Source`."""
    return self._images()


def _checked(text: str, images: _Images) -> items.Source:
  """A source that has at least one image."""
  if next(images(), None) is None:
    raise errors.DataError(
      f'{text} has no image in it. Images end with {", ".join(image_names.EXTENSIONS)}.'
    )
  return _Source(images)


def _of_file(path: str) -> _Images:
  """What gives the images that a file holds or lists."""
  if path.lower().endswith('.txt'):
    return lambda: _of_list(path)
  container = _container_of(path)
  if container is storage.Container.ZIP:
    return lambda: _of_zip(path)
  if container is storage.Container.TFRECORD:
    return lambda: _of_records(path, '')
  if container is not None:
    return lambda: _of_tar(path, container)
  if image_names.is_image_name(path):
    return lambda: iter([_item(items.ImageFile(os.path.basename(path), path))])
  raise errors.DataError(
    f'{path} is no image, list (.txt), zip or tar archive, and no TFRecord file. Give one of these, a folder or a '
    'pattern.'
  )


def _of_pattern(pattern: str) -> Iterator[items.Item]:
  """Images, or the images of TFRecord files, whose paths match; names start from the part without wildcards."""
  base = pattern[: pattern.rfind('/', 0, _first_wildcard(pattern)) + 1]
  # As a set, since more than one `**` finds files more than once.
  for path in sorted(set(glob.iglob(pattern, recursive=True))):
    name = path[len(base) :]
    if os.path.isdir(path):
      continue
    if image_names.is_image_name(path):
      yield _item(items.ImageFile(name, path))
    elif os.path.isfile(path) and _container_of(path) is storage.Container.TFRECORD:
      yield from _of_records(path, f'{name}:')


def _first_wildcard(pattern: str) -> int:
  return min(place for place in map(pattern.find, '*?[') if place >= 0)


def _of_list(path: str) -> Iterator[items.Item]:
  """The images of a list."""
  folder = os.path.dirname(os.path.abspath(path))
  try:
    # Names that are not UTF-8 are told of at their images.
    with open(path, encoding='utf-8-sig', errors='surrogateescape') as stream:
      for line in stream:
        name = line.strip()
        if name and not name.startswith('#'):
          found = os.path.join(folder, name)
          lost = () if os.path.isfile(found) else (faults.Fault(faults.Kind.MISSING, found),)
          yield _item(items.ImageFile(name, found), found=lost)
  except OSError as error:
    raise errors.DataError(f'{path} cannot be read: {error.strerror}.') from error


def _of_zip(path: str) -> Iterator[items.Item]:
  """The images of a zip archive."""
  try:
    with zipfile.ZipFile(path) as archive:
      names = [each.filename for each in archive.infolist() if not each.is_dir()]
  except storage.DAMAGES as error:
    raise _damaged(path, error) from error
  for name in names:
    if _is_image_member(name):
      yield _member(path, name, name)


def _of_tar(path: str, container: storage.Container) -> Iterator[items.Item]:
  """The images of a tar archive."""
  try:
    with (
      storage.open_tar(path, container) as stream,
      tarfile.open(fileobj=stream, mode='r:') as archive,
    ):
      for each in archive:
        if each.isfile() and _is_image_member(each.name):
          yield _member(path, each.name, f'{each.offset_data}:{each.size}')
        # The archive would remember all of them.
        vars(archive)['members'].clear()
      # Python takes a damaged header for the end of the archive, which has zeros or nothing.
      stream.seek(archive.offset)
      if stream.read(tarfile.BLOCKSIZE).strip(b'\0'):
        raise tarfile.ReadError(f'the header at byte {archive.offset} is damaged')
  except storage.DAMAGES as error:
    raise _damaged(path, error) from error


def _of_records(path: str, prefix: str) -> Iterator[items.Item]:
  """The images of a TFRecord file; those without an id are called by their place."""
  for index, record in enumerate(tf_records.list_records(path)):
    name = record.source_id or f'{prefix or os.path.basename(path) + ":"}{index}'
    found: tuple[faults.Fault, ...] = ()
    if record.problem:
      found = (faults.Fault(faults.Kind.NOT_AN_IMAGE, record.problem),)
    image = items.ImageFile(name, path, f'{record.offset}:{record.size}')
    yield _item(image, record.source_id, found)


def _item(
  image: items.ImageFile, source_id: str = '', found: tuple[faults.Fault, ...] = ()
) -> items.Item:
  """An image that is in no archive. Its name may lead anywhere, as the user gave it, but must be UTF-8."""
  try:
    image.name.encode('utf-8')
  except UnicodeEncodeError:
    found = (*found, faults.Fault(faults.Kind.NAME, f'{image.name!a} is not UTF-8'))
  return items.Item(image, source_id=source_id, faults=found)


def _member(path: str, name: str, member: str) -> items.Item:
  """An image of an archive. Its name is only read, never a path to write to, but a bad one is a bad sign."""
  fault = image_names.check_name(name.removeprefix('./'))
  return items.Item(
    items.ImageFile(name.removeprefix('./'), path, member), faults=(fault,) if fault else ()
  )


def _is_image_member(name: str) -> bool:
  """Whether a member of an archive is an image and no by-product of a file manager."""
  parts = name.removeprefix('./').split('/')
  hidden = any((part.startswith('.') and part != '..') or part == '__MACOSX' for part in parts)
  return image_names.is_image_name(name) and not hidden


def _container_of(path: str) -> storage.Container | None:
  try:
    return storage.container_of(path)
  except OSError as error:
    raise errors.DataError(f'{path} cannot be read: {error.strerror}.') from error


def _damaged(path: str, error: Exception) -> errors.DataError:
  return errors.DataError(
    f'{path} cannot be read as an archive: {storage.reason(error)}. Restore it.'
  )
