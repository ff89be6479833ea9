"""What every format is read into: images with boxes, with a mask, with a class, or alone."""

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from official_selftrain.datasets import faults as faults_lib


class Task(enum.Enum):
  """What the annotations of a source teach."""

  DETECTION = 'detection'
  SEGMENTATION = 'segmentation'
  CLASSIFICATION = 'classification'
  NONE = 'none'


class ImageFile(NamedTuple):
  """Where the bytes of an image are.

  Attributes:
    name: path relative to the folder or archive that was given, with `/`; unique in a source, and its order.
    path: the file, or the archive or TFRecord file that holds it.
    member: where it is in the archive or TFRecord file, see `storage`; '' for a file of its own.
  """

  name: str
  path: str
  member: str = ''


class Box(NamedTuple):
  """One object; a tuple, because a data set has millions of them, which are pickled on their way.

  Attributes:
    class_name: its class.
    ymin: upper edge in pixels of the image that the annotation describes, like the others; not checked by readers.
    xmin: left edge.
    ymax: lower edge, one past the last pixel of a whole-pixel box.
    xmax: right edge, in the same way.
    is_crowd: the box is around many objects, none of which is annotated by itself.
    area: pixels of the object's mask; None takes the area of the box.
    run_lengths: the object's mask as COCO's compressed run lengths (`size`, `counts`); None without one.
    score: how sure a model was, in [0, 1]; None for a human's box.
  """

  class_name: str
  ymin: float
  xmin: float
  ymax: float
  xmax: float
  is_crowd: bool = False
  area: float | None = None
  run_lengths: Mapping[str, object] | None = None
  score: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
  """One image and what is known of it.

  Attributes:
    image: where its bytes are.
    boxes: of a detection source; empty for an image without objects.
    is_relative: boxes are given in fractions of the image's sides instead of pixels (YOLO, Open Images).
    mask: of a segmentation source, the file of the mask.
    class_name: of a classification source.
    size: (height, width) in pixels that the annotations state; None if they state none.
    source_id: id in the source; '' takes one from the name.
    faults: what the reader found wrong; an item with a fault whose outcome is SKIPPED has no annotations.
  """

  image: ImageFile
  boxes: tuple[Box, ...] = ()
  is_relative: bool = False
  mask: ImageFile | None = None
  class_name: str = ''
  size: tuple[int, int] | None = None
  source_id: str = ''
  faults: tuple[faults_lib.Fault, ...] = ()


def without_annotations(item: Item) -> Item:
  """The image alone, with what is wrong with it itself."""
  found = tuple(each for each in item.faults if each.kind not in faults_lib.OF_ANNOTATIONS)
  return Item(item.image, source_id=item.source_id, faults=found)


class Source(Protocol):
  """A data set in some format, opened for reading."""

  @property
  def task(self) -> Task:
    """What its annotations teach."""

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names from class 1 on, without the background, in the order of the source; sorted where a format has no order."""

  @property
  def mask_values(self) -> Mapping[int | tuple[int, int, int], int]:
    """Of a segmentation source, the class id (0 background, 255 void) by value of the mask's pixels; else empty.

    `(red, green, blue)` for masks in colours.
    """

  @property
  def notes(self) -> tuple[faults_lib.Fault, ...]:
    """What the reader found that belongs to no image."""

  def items(self) -> Iterator[Item]:
    """The images in a fixed order, one at a time; what is wrong with one of them never ends the iteration."""
