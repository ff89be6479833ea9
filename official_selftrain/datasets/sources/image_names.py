"""Names of image files: which files are images, which names can be trusted, and the images of a folder."""

import itertools
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import items

# In lower case; files may have them in any case. All that `checks.contents` knows: what cannot be decoded is told of.
_USUAL = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.tif', '.tiff', '.webp')
EXTENSIONS = (
  *_USUAL, '.jpe', '.jfif', '.apng', '.dib', '.avif', '.avifs', '.heic', '.heif',
  '.jp2', '.j2k', '.jpc', '.jpf', '.jpx', '.j2c', '.ppm', '.pgm', '.pbm', '.pnm',
)  # fmt: skip

# Images that tell in which folder all of them are.
LOOKED_FOR = 20
# Annotations from Windows separate folders by the other slash.
_SEPARATORS = re.compile(r'[/\\]')


def is_usual(name: str) -> bool:
  """Whether a name ends as most images do; cameras write `.heic` and others beside a JPEG."""
  return name.lower().endswith(_USUAL)


def usual_first(images: Iterable[items.ImageFile]) -> Iterator[items.ImageFile]:
  """Images in their order, those with rare endings last: where `a.heic` lies beside `a.jpg`, the JPEG is `a`."""
  rare = []
  for image in images:
    if is_usual(image.name):
      yield image
    else:
      rare.append(image)
  yield from rare


def is_image_name(name: str) -> bool:
  """Whether a name ends as those of images do; what is in the file does not matter."""
  return name.lower().endswith(EXTENSIONS)


def fullest(folders: Sequence[str], names: Iterable[str]) -> str:
  """The folder that has most of the first images, of which some may be missing, and copies of others lie elsewhere.

  Args:
    folders: those that are looked into; the first one wins where several have as many.
    names: paths of all images from there; the first `LOOKED_FOR` count.

  Returns:
    The folder; '' if none has any of them.
  """
  first = list(itertools.islice(names, LOOKED_FOR))
  found = [sum(os.path.isfile(os.path.join(folder, name)) for name in first) for folder in folders]
  return folders[found.index(max(found))] if max(found) else ''


def display_name(name: str) -> str:
  """A name as text that can be printed and stored: bytes that are no UTF-8 become question marks."""
  return name.encode('utf-8', 'replace').decode('utf-8')


def check_name(name: str) -> faults.Fault | None:
  """Finds what keeps a name from being that of a file in a folder.

  Args:
    name: path relative to the folder, as an annotation gives it.

  Returns:
    A fault of the kind NAME if the name is empty, absolute (also in the way of Windows), has a part `..` or a null
    character, or is not UTF-8, which Python shows as surrogates; otherwise None.
  """
  if not name:
    what = 'is empty'
  elif name.startswith('/') or pathlib.PureWindowsPath(name).is_absolute():
    what = 'is absolute'
  elif '..' in _SEPARATORS.split(name):
    what = 'has a part ".."'
  elif '\0' in name:
    what = 'has a null character'
  elif any('\ud800' <= character <= '\udfff' for character in name):
    what = 'is not UTF-8'
  else:
    return None
  # Escaped, since the name may be one that cannot be printed.
  return faults.Fault(faults.Kind.NAME, f'{name!a} {what}')


def list_images(folder: str | os.PathLike[str]) -> Iterator[items.ImageFile]:
  """The images in a folder and the folders in it, in the order of their names.

  Files and folders whose names begin with a dot are left out. Symbolic links to folders are followed, but no folder is
  read twice: not one that has its own place in `folder`, nor one that another link has led to. A link to a file that
  does not exist is listed, so that the lost image is noticed. Each folder is listed once, when its turn comes; memory
  is that for the names of one folder.

  Args:
    folder: where to look.

  Returns:
    The files with the ending of an image, sorted by name, which is the path from `folder` on with `/`. It raises
    DataError if a folder in `folder` cannot be read.

  Raises:
    DataError: the folder does not exist, cannot be read, or has no image; at once, not at the first image.
  """
  root = os.fspath(folder)
  if not os.path.isdir(root):
    raise errors.DataError(f'{root} is not a folder. Give the folder of the images.')
  found = (items.ImageFile(name, path) for name, path in list_files(root, EXTENSIONS))
  first = next(found, None)
  if first is None:
    raise errors.DataError(
      f'{root} has no image in it, nor in its folders. Images end with {", ".join(EXTENSIONS)}.'
    )
  return itertools.chain([first], found)


def list_files(
  folder: str | os.PathLike[str], endings: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
  """The files of a kind in a folder, in the way of `list_images`; there may be none.

  Args:
    folder: where to look; must be a folder.
    endings: ends of their names, in lower case; files may have them in any case.

  Returns:
    Name, which is the path from `folder` on with `/`, and path of each file, sorted by name. It raises DataError if the
    folder or one in it cannot be read.
  """
  root = os.fspath(folder)
  return _Walk(root, endings).files(root, '')


class _Walk:
  """One pass over a folder; remembers the folders that it has been to."""

  def __init__(self, root: str, endings: tuple[str, ...]) -> None:
    self._root = os.path.realpath(root)
    self._endings = endings
    self._visited: set[tuple[int, int]] = set()

  def files(self, folder: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Names and paths in a folder whose name is `prefix`, which is empty or ends with `/`."""
    try:
      status = os.stat(folder)
      if (status.st_dev, status.st_ino) in self._visited:
        return
      self._visited.add((status.st_dev, status.st_ino))
      with os.scandir(folder) as listing:
        entries = [(_is_folder(entry), entry) for entry in listing if entry.name[0] != '.']
    except OSError as error:
      raise errors.DataError(
        f'The folder {folder} cannot be read: {error.strerror}. Give yourself access, or move it elsewhere.'
      ) from error
    # With the slash, the names of all files come out sorted: 'a-b.jpg' is before 'a/b.jpg'.
    entries.sort(key=lambda each: each[1].name + '/' * each[0])
    for is_folder, entry in entries:
      if is_folder:
        if not (entry.is_symlink() and self._has_place(entry.path)):
          yield from self.files(entry.path, f'{prefix}{entry.name}/')
      elif entry.name.lower().endswith(self._endings) and (entry.is_symlink() or entry.is_file()):
        yield prefix + entry.name, entry.path

  def _has_place(self, link: str) -> bool:
    """Whether what a link leads to is in the root, and there not in a hidden folder."""
    inner = os.path.relpath(os.path.realpath(link), self._root)
    return inner == '.' or not any(part.startswith('.') for part in inner.split(os.sep))


def _is_folder(entry: os.DirEntry[str]) -> bool:
  # Of a link that leads to itself, `entry.is_dir` raises an error.
  return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
