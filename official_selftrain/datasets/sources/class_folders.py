"""Images sorted into one folder for each class, the layout of ImageNet."""

import dataclasses
import os
from collections.abc import Container, Iterator, Mapping

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import image_names, items, storage


def open_source(
  path: str | os.PathLike[str], names: str | os.PathLike[str] | None = None
) -> items.Source:
  """Opens images in class folders.

  Args:
    path: the folder of the class folders; each holds the images of a class, in folders of its own or not.
    names: a text file whose lines have a folder and, after a space, what its class is called: `n01440764 tench`.
      Where a line begins with several folders, since their names have spaces in them, the longest counts. By default
      classes are called like their folders.

  Returns:
    The source. Classes are in the order of the folders' names, also those without images; images that lie in no class
    folder have the fault NO_ANNOTATION.

  Raises:
    DataError: there is no class folder or no image, the name of a class folder is not UTF-8, or `names` cannot be read,
      leaves a folder out or names one twice, or gives two folders one name.
  """
  root = os.fspath(path)
  if not os.path.isdir(root):
    raise errors.DataError(f'{root} is not a folder. Give the folder of the class folders.')
  folders = _list_folders(root)
  if not folders:
    raise errors.DataError(f'{root} has no folders in it. Give the folder of the class folders.')
  called = _read_names(os.fspath(names), folders) if names else {each: each for each in folders}
  next(image_names.list_images(root))
  return _Source(root, called)


@dataclasses.dataclass(eq=False)
class _Source:
  """See `open_source`."""

  _root: str
  _called: Mapping[str, str]
  task: items.Task = items.Task.CLASSIFICATION
  mask_values: Mapping[int | tuple[int, int, int], int] = dataclasses.field(default_factory=dict)
  notes: tuple[faults.Fault, ...] = ()

  @property
  def class_names(self) -> tuple[str, ...]:
    """See `items.Source`."""
    return tuple(self._called.values())

  def items(self) -> Iterator[items.Item]:
    """See `items.Source`."""
    for image in image_names.list_images(self._root):
      folder, slash, _ = image.name.partition('/')
      name_fault = image_names.check_name(image.name)
      if name_fault:
        yield items.Item(image, faults=(name_fault,))
      elif slash:
        yield items.Item(image, class_name=self._called[folder])
      else:
        fault = faults.Fault(faults.Kind.NO_ANNOTATION, 'it lies in no class folder')
        yield items.Item(image, faults=(fault,))


def _list_folders(root: str) -> list[str]:
  """Names of the class folders, sorted."""
  try:
    names = sorted(name for name in os.listdir(root) if not name.startswith('.'))
  except OSError as error:
    raise errors.DataError(f'The folder {root} cannot be read: {error.strerror}.') from error
  folders = [name for name in names if os.path.isdir(os.path.join(root, name))]
  for name in folders:
    fault = image_names.check_name(name)
    if fault:
      raise errors.DataError(
        f'In {root!a}, the name of a folder cannot be that of a class: {fault.detail}. Rename it.'
      )
  return folders


def _folder_and_name(line: str, folders: Container[str]) -> tuple[str, str]:
  """The folder at the beginning of a line, which may be one that is not there, and the rest."""
  words = line.split(' ')
  beginnings = (' '.join(words[:end]) for end in range(len(words), 0, -1))
  folder = next((each for each in beginnings if each in folders), words[0])
  return folder, line.removeprefix(folder).strip()


def _read_names(path: str, folders: list[str]) -> dict[str, str]:
  """What classes are called, by folder."""
  called: dict[str, str] = {}
  there = frozenset(folders)
  for number, line in enumerate(storage.read_lines(path), 1):
    folder, name = _folder_and_name(line, there)
    if folder in called:
      raise errors.DataError(f'{path}, line {number}: the folder {folder} has a name already.')
    if folder:
      called[folder] = name or folder
  for folder in folders:
    if folder not in called:
      raise errors.DataError(f'{path} does not name the folder {folder}. Add a line for it.')
  found = {folder: called[folder] for folder in folders}
  for name in found.values():
    if list(found.values()).count(name) > 1:
      raise errors.DataError(
        f'{path} calls two folders {name!r}. Each class needs a name of its own.'
      )
  return found
