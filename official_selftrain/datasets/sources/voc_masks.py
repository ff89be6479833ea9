"""Images with class maps in the layout of PASCAL VOC's segmentation: JPEGImages and SegmentationClass."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping

from official_selftrain.core import errors, keys
from official_selftrain.datasets import faults, voc_layout
from official_selftrain.datasets.sources import image_names, items, mask_pairs

_ENDING = '.png'

_Value = int | tuple[int, int, int]


def open_source(
  path: str | os.PathLike[str],
  split: str | None = None,
  classes: str | os.PathLike[str] = '',
) -> items.Source:
  """Opens a VOC data set for semantic segmentation.

  Args:
    path: the folder with JPEGImages and SegmentationClass, or one that holds VOC2012 or VOCdevkit/VOC2012.
    split: name of a list in ImageSets/Segmentation; `trainaug` takes the masks of SegmentationClassAug if they are
      there. By default all images that have a mask in SegmentationClass.
    classes: a text file with `value name`, or `red green blue name`, on each line, see `mask_pairs.open_source`. By
      default the classes of PASCAL VOC, in palette images, greyscale or the colours of VOC.

  Returns:
    The source. Images are sorted by name; those of a list without a mask have the fault NO_ANNOTATION.

  Raises:
    DataError: the folders or the list are not there, or `classes` cannot be read.
  """
  root = voc_layout.find_root(path, voc_layout.MASKS)
  names, values = mask_pairs.read_classes(os.fspath(classes)) if classes else _voc_classes()
  notes: tuple[faults.Fault, ...] = ()
  if split is None:
    listed, notes = _all(root)
  else:
    listed = voc_layout.read_list(root, root / voc_layout.LISTS / f'{split}.txt')
  return _Source(names, values, tuple(sorted(listed)), notes)


@dataclasses.dataclass(eq=False)
class _Source:
  """See `open_source`."""

  class_names: tuple[str, ...]
  mask_values: Mapping[_Value, int]
  _listed: tuple[voc_layout.Listed, ...]
  notes: tuple[faults.Fault, ...]
  task: items.Task = items.Task.SEGMENTATION

  def _item(self, listed: voc_layout.Listed) -> items.Item:
    name = listed.source_id + os.path.splitext(listed.image)[1]
    image = items.ImageFile(name, listed.image)
    if not os.path.isfile(listed.image):
      return items.Item(image, faults=(faults.Fault(faults.Kind.MISSING, listed.image),))
    if not os.path.isfile(listed.mask):
      return items.Item(image, faults=(faults.Fault(faults.Kind.NO_ANNOTATION, listed.mask),))
    mask = items.ImageFile(listed.source_id + _ENDING, listed.mask)
    return items.Item(image, mask=mask, source_id=listed.source_id)

  # The last method, because its name hides the module `items` from annotations after it.
  def items(self) -> Iterator[items.Item]:
    """The images, sorted by name."""
    return map(self._item, self._listed)


def _all(root: pathlib.Path) -> tuple[list[voc_layout.Listed], tuple[faults.Fault, ...]]:
  """The images that have a mask, and how many masks have no image."""
  folder = root / voc_layout.MASKS
  images: dict[str, str] = {}
  for image in image_names.usual_first(image_names.list_images(root / voc_layout.IMAGES)):
    images.setdefault(os.path.splitext(image.name)[0], image.path)
  masks = {
    os.path.splitext(name)[0]: path for name, path in image_names.list_files(folder, (_ENDING,))
  }
  both = images.keys() & masks.keys()
  if not both:
    raise errors.DataError(
      f'No image in {root / voc_layout.IMAGES} has a mask in {folder}. Masks have the names of their images.'
    )
  lost = len(masks) - len(both)
  notes = (faults.Fault(faults.Kind.NO_IMAGE, f'{lost} masks in {folder}'),) if lost else ()
  return [voc_layout.Listed(name, images[name], masks[name]) for name in both], notes


def _voc_classes() -> tuple[tuple[str, ...], dict[_Value, int]]:
  """Names from class 1 on, and the class id by value and by colour."""
  values: dict[_Value, int] = {}
  for class_id in (*range(len(voc_layout.CLASS_NAMES)), keys.IGNORE_LABEL):
    red, green, blue = (int(part) for part in voc_layout.colour_map()[class_id])
    values[class_id] = values[red, green, blue] = class_id
  return voc_layout.CLASS_NAMES[1:], values
