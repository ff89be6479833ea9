"""Labelled images in the layout of PASCAL VOC, with an XML file of objects for each image."""

import collections
import dataclasses
import os
import posixpath
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lxml import etree  # type: ignore[import-untyped]

from official_selftrain.core import errors
from official_selftrain.datasets import faults, voc_layout
from official_selftrain.datasets.sources import image_names, items

# What becomes of objects that are marked as difficult.
DIFFICULT = ('crowd', 'object', 'drop')

_ANNOTATIONS, _LISTS = 'Annotations', 'ImageSets/Main'
_ENDING = '.xml'
_EDGES = ('xmin', 'ymin', 'xmax', 'ymax')


def open_source(
  path: str | os.PathLike[str],
  split: str | None = None,
  classes: str | os.PathLike[str] | None = None,
  difficult: str = 'crowd',
) -> items.Source:
  """Opens a VOC data set.

  The image of an XML file is the one that its `filename` names or, if there is none of that name, the one with the name
  of the XML file. `size` is that of the XML file. Parts of objects are left out.

  VOC counts pixels from 1, and the pixels xmin, ymin, xmax and ymax belong to the box; so its edges become xmin - 1,
  ymin - 1, xmax and ymax. Many tools count from 0 instead. If any coordinate of any object is 0, all files of the
  folder, in the split or not, are taken to count from 0, and edges stay as they are.

  In VOC's evaluation, finding a difficult object counts neither for nor against a detector. COCO's evaluation treats
  crowds in this way, so difficult objects become crowds by default.

  All XML files of the folder are read once when it is opened, for that and for the names of classes; then each once
  more for its item. What stays in memory is the names of the files.

  Args:
    path: the folder with Annotations and JPEGImages, or one that holds VOC2012 or VOCdevkit/VOC2012; or a folder with
      XML files beside their images. Folders in it are read, too.
    split: name of a list in ImageSets/Main, or the path of such a list; the first column of each line is the name of an
      XML file without ending. By default all images.
    classes: a text file with the name of a class on each line, in order. By default the names in all XML files of the
      folder, in the split or not, sorted.
    difficult: 'crowd', 'object' to treat difficult objects like others, or 'drop' to leave them out.

  Returns:
    The source. Its notes say so if coordinates were found to count from 0.

  Raises:
    ConfigError: `difficult` is something else.
    DataError: there are no XML files, no images or no objects, or a list is missing or wrong.
  """
  if difficult not in DIFFICULT:
    raise errors.ConfigError(f'difficult is {difficult!r}; allowed are {", ".join(DIFFICULT)}.')
  root = os.fspath(path)
  annotations, images = _find_folders(root)
  index = _Index(annotations, images)
  listed = index.all() if split is None else index.of_list(_read_list(annotations, split))
  class_names = tuple(sorted(index.class_names)) if classes is None else _read_classes(classes)
  if not class_names:
    raise errors.DataError(f'No XML file in {annotations} has an object with a name.')
  return _Source(
    class_names,
    index.counts_from_zero,
    annotations,
    images,
    difficult,
    tuple(sorted(listed)),
    tuple(sorted(index.left_over)),
  )


class _Listed(NamedTuple):
  """An image: its name, the name of its XML file ('' without one), and whether there is an image."""

  image: str
  xml: str
  has_image: bool


class Object(NamedTuple):
  """An object of an XML file: its name ('' without one), box, flag and score.

  The box is (xmin, ymin, xmax, ymax) as the file has them; None if they are not four numbers, whose texts are `texts`.
  The score is a text, '' without one.
  """

  name: str
  box: tuple[float, float, float, float] | None
  texts: tuple[str, ...]
  is_difficult: bool
  score: str = ''


class Annotation(NamedTuple):
  """The content of an XML file; `size` is (height, width), None if the file does not say."""

  filename: str
  size: tuple[int, int] | None
  objects: list[Object]


class UnreadableError(Exception):
  """Why an XML file cannot be read."""


@dataclasses.dataclass(eq=False)
class _Source:
  """See `open_source`."""

  class_names: tuple[str, ...]
  _counts_from_zero: bool
  _annotations: str
  _images: str
  _difficult: str
  _listed: tuple[_Listed, ...]
  _left_over: tuple[str, ...] = ()
  task: items.Task = items.Task.DETECTION
  mask_values: Mapping[int | tuple[int, int, int], int] = dataclasses.field(default_factory=dict)

  @property
  def notes(self) -> tuple[faults.Fault, ...]:
    """See `items.Source`."""
    found = []
    if self._counts_from_zero:
      found.append(faults.Fault(faults.Kind.FROM_ZERO, self._annotations))
    if self._left_over:
      detail = f'{len(self._left_over)} XML files; first {self._left_over[0]}'
      found.append(faults.Fault(faults.Kind.LEFT_OVER_NAME, detail))
    return tuple(found)

  def _item(self, listed: _Listed, is_first: bool) -> items.Item:
    name_fault = image_names.check_name(listed.image)
    # A name that leads elsewhere must not be opened by anyone.
    path = '' if name_fault else os.path.join(self._images, listed.image)
    xml_path = os.path.join(self._annotations, listed.xml)
    image = items.ImageFile(listed.image, path)
    found: list[faults.Fault] = []
    if not is_first:
      detail = f'{xml_path if listed.xml else "a list"} names an image that was named before'
      found.append(faults.Fault(faults.Kind.SAME_NAME, detail))
    annotation = None
    if name_fault:
      found.append(name_fault)
    elif not listed.has_image:
      found.append(faults.Fault(faults.Kind.MISSING, path))
    elif not listed.xml:
      found.append(faults.Fault(faults.Kind.NO_ANNOTATION))
    else:
      try:
        annotation = read_annotation(xml_path)
      except UnreadableError as error:
        found.append(faults.Fault(faults.Kind.UNREADABLE, f'{xml_path}: {error}'))
    if annotation is None:
      return items.Item(image, faults=tuple(found))
    made = [
      self._box(each, f'{xml_path}, object {number}')
      for number, each in enumerate(annotation.objects, start=1)
      if not (each.is_difficult and self._difficult == 'drop')
    ]
    boxes = tuple(each for each in made if isinstance(each, items.Box))
    found += [each for each in made if isinstance(each, faults.Fault)]
    return items.Item(image, boxes, size=annotation.size, faults=tuple(found))

  def _box(self, each: Object, place: str) -> items.Box | faults.Fault:
    if not each.name or each.box is None:
      detail = f'{place}: name {each.name!r}, bndbox {", ".join(each.texts)}'
      return faults.Fault(faults.Kind.MALFORMED, detail)
    if each.name not in self.class_names:
      return faults.Fault(faults.Kind.UNKNOWN_CLASS, f'{place}: {each.name!r}')
    xmin, ymin, xmax, ymax = each.box
    shift = 0 if self._counts_from_zero else 1
    is_crowd = each.is_difficult and self._difficult == 'crowd'
    return items.Box(each.name, ymin - shift, xmin - shift, ymax, xmax, is_crowd=is_crowd)

  # The last method, because its name hides the module `items` from annotations after it.
  def items(self) -> Iterator[items.Item]:
    """The images, sorted by name."""
    last = None
    for listed in self._listed:
      yield self._item(listed, is_first=listed.image != last)
      last = listed.image


class _Index:
  """Which image belongs to which XML file, and what must be known of all of them.

  Attributes:
    class_names: the names of all objects.
    counts_from_zero: a coordinate is 0.
    left_over: XML files whose own image is taken in place of the one that they name.
  """

  def __init__(self, annotations: str, images: str) -> None:
    """Reads all XML files.

    Raises:
      DataError: there is no XML file or no image.
    """
    self.class_names: set[str] = set()
    self.counts_from_zero = False
    # By name; the second is by name without ending, and has the first of those that differ in the ending only.
    found = image_names.usual_first(image_names.list_images(images))
    names = [image.name for image in found]
    self._images = set(names)
    self._stems: dict[str, str] = {}
    for name in names:
      self._stems.setdefault(posixpath.splitext(name)[0], name)
    # By name without ending.
    self._xmls: dict[str, _Listed] = {}
    for name, path in image_names.list_files(annotations, (_ENDING,)):
      stem = name[: -len(_ENDING)]
      self._xmls[stem] = self._listed(stem, name, self._filename(path))
    if not self._xmls:
      raise errors.DataError(f'{annotations} has no XML file in it, nor in its folders.')
    self.left_over = self._correct_left_over()

  def _correct_left_over(self) -> list[str]:
    """Gives files their own image where the one that they name has a file of its own; the names of these files.

    What a file says is often left over from the one that it was copied from.
    """
    claims = collections.Counter(each.image for each in self._xmls.values() if each.has_image)
    found = []
    for stem, each in self._xmls.items():
      own, other = self._stems.get(stem), posixpath.splitext(each.image)[0]
      is_claimed = other in self._xmls and self._xmls[other].image == each.image
      if own and own != each.image and other != stem and is_claimed and not claims[own]:
        found.append(stem)
    for stem in found:
      self._xmls[stem] = self._xmls[stem]._replace(image=self._stems[stem], has_image=True)
    return [self._xmls[stem].xml for stem in found]

  def all(self) -> list[_Listed]:
    """The images of all XML files, and those without one."""
    listed = list(self._xmls.values())
    without = self._images.difference(each.image for each in listed)
    return listed + [_Listed(name, '', True) for name in without]

  def of_list(self, lines: Iterable[str]) -> list[_Listed]:
    """The images that the lines of a list name, one for each line."""
    return [self._of_line(line) for line in lines]

  def _of_line(self, line: str) -> _Listed:
    # The whole line first: names may have blanks in them.
    for stem in (line, line.split(maxsplit=1)[0]):
      if image_names.is_image_name(stem):
        stem = posixpath.splitext(stem)[0]
      if stem in self._xmls:
        return self._xmls[stem]
      if stem in self._stems:
        return _Listed(self._stems[stem], '', True)
    return _Listed(f'{stem}.jpg', '', False)

  def _filename(self, path: str) -> str:
    """What an XML file says of the image's name; takes in what else must be known of it."""
    try:
      annotation = read_annotation(path)
    except UnreadableError:
      # Told of when it is read for its item.
      return ''
    self.class_names.update(each.name for each in annotation.objects if each.name)
    self.counts_from_zero |= any(map(_has_zero, annotation.objects))
    return annotation.filename

  def _listed(self, stem: str, xml: str, filename: str) -> _Listed:
    beside = posixpath.join(posixpath.dirname(stem), filename)
    for name in (beside, filename, self._stems.get(stem)):
      if name in self._images:
        return _Listed(name, xml, True)
    return _Listed(beside if image_names.is_image_name(beside) else f'{stem}.jpg', xml, False)


def _has_zero(found: Object) -> bool:
  """Whether a coordinate is 0. Boxes without area do not count: 0, 0, 0, 0 stands for no box."""
  if found.box is None:
    return False
  xmin, ymin, xmax, ymax = found.box
  return xmin < xmax and ymin < ymax and 0 in found.box


def _find_folders(root: str) -> tuple[str, str]:
  """The folder of XML files and the folder of images."""
  folder = voc_layout.root_with(root, _ANNOTATIONS)
  if folder is not None:
    return str(folder / _ANNOTATIONS), str(folder / voc_layout.IMAGES)
  if os.path.isdir(root) and next(image_names.list_files(root, (_ENDING,)), None):
    return root, root
  raise errors.DataError(
    f'{root} is not a VOC data set: there is no {_ANNOTATIONS} in it, nor in {voc_layout.ROOTS[1]} or '
    f'{voc_layout.ROOTS[2]} in it, and no XML file. '
    f'Give the folder that has {_ANNOTATIONS} and {voc_layout.IMAGES}, or one with XML files beside images.'
  )


def _read_list(annotations: str, split: str) -> list[str]:
  """The lines of a list."""
  folder = os.path.join(os.path.dirname(annotations), _LISTS)
  path = os.path.join(folder, f'{split}.txt')
  if not os.path.isfile(path):
    if not os.path.isfile(split):
      names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
      there = ', '.join(name[:-4] for name in names if name.endswith('.txt')) or 'none'
      raise errors.DataError(
        f'There is no list {path}, and no file {split}. Lists that are there: {there}.'
      )
    path = split
  return _read_lines(path)


def _read_classes(path: str | os.PathLike[str]) -> tuple[str, ...]:
  names = _read_lines(os.fspath(path))
  again = next((name for number, name in enumerate(names) if name in names[:number]), None)
  if again is not None:
    raise errors.DataError(f'{os.fspath(path)} has the class {again} twice. Delete one of them.')
  return tuple(names)


def _read_lines(path: str) -> list[str]:
  """The lines of a text file that are not blank; at least one."""
  try:
    with open(path, encoding='utf-8-sig') as stream:
      lines = [line for line in map(str.strip, stream) if line]
  except (OSError, UnicodeDecodeError) as error:
    raise errors.DataError(f'{path} cannot be read as text: {error}. Restore it.') from error
  if not lines:
    raise errors.DataError(f'{path} is empty; write one name on each line.')
  return lines


def read_annotation(path: str) -> Annotation:
  """Reads an XML file; nothing outside it, whatever it refers to.

  Raises:
    UnreadableError: it is no XML, or is about something else.
  """
  # An entity stays an entity, and nobody asks for its content.
  parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
  try:
    # From a stream, whose name is not taken for an address.
    with open(path, 'rb') as stream:
      root = etree.parse(stream, parser).getroot()
  except (etree.LxmlError, OSError) as error:
    raise UnreadableError(str(error)) from error
  if root.tag != 'annotation':
    raise UnreadableError(f'it begins with <{root.tag}>, expected <annotation>')
  filename = _text(root, 'filename').replace('\\', '/')
  return Annotation(filename, _size(root), [_object(each) for each in root.findall('object')])


def _object(element: Any) -> Object:
  texts = tuple(_text(element, f'bndbox/{edge}') for edge in _EDGES)
  box = None
  try:
    xmin, ymin, xmax, ymax = map(float, texts)
    box = (xmin, ymin, xmax, ymax)
  except ValueError:
    texts = tuple(reprlib.repr(text) for text in texts)
  is_difficult = _text(element, 'difficult') == '1'
  return Object(_text(element, 'name'), box, texts, is_difficult, _text(element, 'score'))


def _size(root: Any) -> tuple[int, int] | None:
  texts = (_text(root, 'size/height'), _text(root, 'size/width'))
  try:
    height, width = map(int, texts)
  except ValueError:
    return None
  # Some tools write 0 for a size that they do not know.
  return (height, width) if height > 0 and width > 0 else None


def _text(element: Any, path: str) -> str:
  """Text of the first element at a path; '' if there is none."""
  return (element.findtext(path) or '').strip()
