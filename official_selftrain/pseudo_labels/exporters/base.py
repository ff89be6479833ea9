"""What every exporter is given: images with their labels, facts about all of them, and a folder to write to."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import numpy as np

from official_selftrain.core import keys
from official_selftrain.ops import masks
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels.exporters import output

BACKGROUND = 0
_CONFIDENCE_DECIMALS = 6
_PIXEL_DECIMALS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """Where labels come from; the same for the same labels and cuts, whenever and wherever they are exported.

  Attributes:
    teacher_sha256: digest of the teacher's weights; '' if the manifest has none.
    teacher_step: training steps that it had; None if the manifest does not say.
    labelled_with: package and version that wrote the labels; the package alone if the manifest has no version.
    exported_with: package and version that exported them.
    labels_sha256: digest of the digests of all label shards, which a run records for its stage `labels`.
    cut: labels with at least this score are objects.
    ignore_cut: labels with a score from here up to `cut` are in the ignore band; None without one.
    class_cuts: in place of `cut` for the classes with these ids; None if it holds for all classes.
  """

  teacher_sha256: str
  teacher_step: int | None
  labelled_with: str
  exported_with: str
  labels_sha256: str
  cut: float
  ignore_cut: float | None
  class_cuts: Mapping[int, float] | None = None

  def as_dict(self) -> dict[str, Any]:
    """All of it, for JSON."""
    return dataclasses.asdict(self)

  def in_words(self) -> dict[str, str]:
    """What is known of it as text, by name, for formats that have nothing but text."""
    cuts = ', '.join(f'{name}: {cut:g}' for name, cut in (self.class_cuts or {}).items())
    values = {**self.as_dict(), 'class_cuts': cuts}
    return {name: str(value) for name, value in values.items() if value not in (None, '')}

  def in_short(self) -> str:
    """One line that tells these labels from those of another teacher or cut."""
    teacher = self.teacher_sha256[:12] or 'unknown'
    cut = cuts_lib.Cuts(self.cut, per_class=self.class_cuts).in_words()
    return f'{self.labelled_with}, teacher {teacher}, cut {cut}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """Facts about all images.

  Attributes:
    class_names: from class 1 on.
    num_images: number of images that will be added.
    origin: where the labels come from.
  """

  class_names: tuple[str, ...]
  num_images: int
  origin: Origin


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Image:
  """One image.

  Attributes:
    number: its place among the exported images, from 1.
    image_id: its id where ids are numbers: the source id if all of them are numbers, otherwise `number`.
    source_id: id in the TFRecord.
    stem: name for its files, without an extension; no other image has it.
    extension: of its content, with the dot.
    content: the encoded image.
    height: in pixels, as stored; an orientation in EXIF data is not applied.
    width: likewise.
    channels: number of colour channels.
    given_name: name of the file that people have, with its folder; '' for an image in a TFRecord.
  """

  number: int
  image_id: int
  source_id: str
  stem: str
  extension: str
  content: bytes
  height: int
  width: int
  channels: int
  given_name: str = ''

  @property
  def file_name(self) -> str:
    """Name of the image's file; without a folder, unless people have it in one."""
    return self.given_name or self.stem + self.extension


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
  """One object.

  Attributes:
    class_id: its class, from 1.
    score: how sure the teacher was, in [0, 1]; the shortest number that is the stored float32.
    is_ignored: it is in the ignore band.
    ymin: upper edge relative to the image's height.
    xmin: left edge relative to its width.
    ymax: lower edge.
    xmax: right edge.
  """

  class_id: int
  score: float
  is_ignored: bool
  ymin: float
  xmin: float
  ymax: float
  xmax: float

  def pixels(self, image: Image) -> tuple[float, float, float, float]:
    """(ymin, xmin, ymax, xmax) in pixels from the upper left corner of the image, rounded to 1e-4."""
    height, width = image.height, image.width
    edges = (self.ymin * height, self.xmin * width, self.ymax * height, self.xmax * width)
    ymin, xmin, ymax, xmax = (rounded(edge, _PIXEL_DECIMALS) for edge in edges)
    return ymin, xmin, ymax, xmax


@dataclasses.dataclass(frozen=True, slots=True)
class Boxes:
  """The objects of one image.

  Attributes:
    boxes: objects, then those in the ignore band, each best first.
  """

  boxes: tuple[Box, ...]

  @property
  def num_objects(self) -> int:
    """Number of objects above the cut."""
    return len(self.boxes) - self.num_ignored

  @property
  def num_ignored(self) -> int:
    """Number of objects in the ignore band."""
    return sum(box.is_ignored for box in self.boxes)

  def without_ignored(self) -> 'Boxes':
    """The objects above the cut."""
    return Boxes(tuple(box for box in self.boxes if not box.is_ignored))


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Region:
  """The pixels of one class in one image.

  Attributes:
    class_id: the class, from 1.
    covered: bool [height, width].
    score: mean confidence of these pixels, in [0, 1].
  """

  class_id: int
  covered: np.ndarray
  score: float


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Mask:
  """The classes of one image's pixels.

  Attributes:
    classes: uint8 [height, width]; 255 below the cut.
    confidences: uint8 [height, width] in steps of 1/255, of all pixels, whatever the cut.
  """

  classes: np.ndarray
  confidences: np.ndarray

  @property
  def num_objects(self) -> int:
    """Number of pixels of objects."""
    return int(np.count_nonzero(self.classes != BACKGROUND)) - self.num_ignored

  @property
  def num_ignored(self) -> int:
    """Number of pixels below the cut."""
    return int(np.count_nonzero(self.classes == keys.IGNORE_LABEL))

  def without_ignored(self) -> 'Mask':
    """The same; pixels below the cut have no class already."""
    return self

  def regions(self) -> Iterator[Region]:
    """The classes in the image in the order of their ids, without the background and what is below the cut."""
    for class_id in np.unique(self.classes).tolist():
      if class_id not in (BACKGROUND, keys.IGNORE_LABEL):
        covered = self.classes == class_id
        mean = float(self.confidences[covered].mean()) / masks.CONFIDENCE_STEPS
        yield Region(class_id, covered, rounded(mean, _CONFIDENCE_DECIMALS))


# A protocol may only take labels in.
_Taken_contra = TypeVar('_Taken_contra', Boxes, Mask, contravariant=True)


class Exporter(Protocol[_Taken_contra]):
  """Writes one format.

  Attributes:
    marks_ignored: whether the format says what is in the ignore band or below the cut; otherwise that is left out.
    image_folder: where the images belong, below the output folder.
  """

  marks_ignored: ClassVar[bool]
  image_folder: ClassVar[str]

  def add(self, image: Image, labels: _Taken_contra) -> None:
    """Takes in an image, with or without objects; images come in the order of `Image.number`."""

  def finish(self) -> None:
    """Writes what comes after the last image."""


BoxExporter: TypeAlias = Callable[[output.Folder, Facts], Exporter[Boxes]]
MaskExporter: TypeAlias = Callable[[output.Folder, Facts], Exporter[Mask]]


def rounded(value: float, decimals: int) -> float:
  """A rounded number; never -0.0, which would be written as such."""
  return round(value, decimals) + 0.0


def shortest(value: np.float32) -> float:
  """The number with the fewest digits that is this one as float32: 0.6, not 0.6000000238418579."""
  return float(str(value))
