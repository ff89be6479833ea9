"""What can be wrong with images and annotations of a user, and what happens to each."""

import dataclasses
import enum


class Outcome(enum.Enum):
  """What happens to an image or annotation with a fault; the later of two is the worse.

  Attributes:
    NOTED: it is used as it is.
    FIXED: it is used, changed as the fault says.
    DROPPED: the annotation is left out; its image is used.
    SKIPPED: the image is left out, with all its annotations.
    ERROR: nothing is written until the user has decided.
  """

  NOTED = 'noted'
  FIXED = 'fixed'
  DROPPED = 'dropped'
  SKIPPED = 'skipped'
  ERROR = 'error'


@dataclasses.dataclass(frozen=True)
class Rule:
  """A kind of fault.

  Attributes:
    outcome: what happens.
    meaning: what is wrong and what is done, in one sentence without an end stop.
  """

  outcome: Outcome
  meaning: str


class Kind(enum.Enum):
  """The kinds of faults, with their rules."""

  # Images.
  MISSING = Rule(Outcome.SKIPPED, 'the image does not exist')
  EMPTY = Rule(Outcome.SKIPPED, 'the file has no bytes')
  NOT_AN_IMAGE = Rule(
    Outcome.SKIPPED, 'the content is no image, often the HTML page of a failed download'
  )
  CORRUPT = Rule(Outcome.SKIPPED, 'the image cannot be decoded')
  TRUNCATED = Rule(Outcome.SKIPPED, 'the file ends before the image does')
  BOMB = Rule(Outcome.SKIPPED, 'the image has more pixels than is plausible (decompression bomb)')
  THIN = Rule(Outcome.SKIPPED, 'one side of the image is more than a hundred times the other')
  EXTENSION = Rule(Outcome.NOTED, 'the content is of another format than the file name says')
  EXIF_ROTATION = Rule(
    Outcome.FIXED, 'the image is stored rotated; TensorFlow ignores that, so its pixels are turned'
  )
  CMYK = Rule(Outcome.FIXED, 'the image is in CMYK and becomes RGB')
  DEPTH_16 = Rule(Outcome.FIXED, 'the image has 16 bits per channel and becomes 8')
  ALPHA = Rule(Outcome.FIXED, 'the image has transparency, which is laid over white')
  PALETTE = Rule(Outcome.FIXED, 'the image has a palette and becomes RGB')
  ANIMATED = Rule(Outcome.FIXED, 'the image has several frames, of which the first is used')
  FORMAT = Rule(Outcome.FIXED, 'training reads JPEG and PNG only; the image becomes one of them')
  NAME = Rule(Outcome.SKIPPED, 'the name is absolute, leads outside its folder or is not UTF-8')
  # Annotations.
  UNREADABLE = Rule(Outcome.SKIPPED, 'the annotation file of the image cannot be read')
  NO_ANNOTATION = Rule(Outcome.SKIPPED, 'the image has no annotation file, which this format needs')
  NO_IMAGE = Rule(Outcome.DROPPED, 'there are annotations of images that are not there')
  FROM_ZERO = Rule(
    Outcome.NOTED, 'a coordinate is 0, so all are taken to count from 0 and not, as in VOC, from 1'
  )
  LEFT_OVER_NAME = Rule(
    Outcome.NOTED,
    'the file names an image that has a file of its own; the image of its own name is taken',
  )
  SIZE = Rule(Outcome.SKIPPED, 'the size in the annotations is not that of the image')
  MALFORMED = Rule(Outcome.DROPPED, 'the annotation has not the numbers that its format asks for')
  NO_AREA = Rule(Outcome.DROPPED, 'the box has no area')
  NOT_FINITE = Rule(Outcome.DROPPED, 'a coordinate is NaN or infinite')
  SWAPPED = Rule(Outcome.FIXED, 'the corners of the box are swapped')
  OUTSIDE = Rule(Outcome.DROPPED, 'the box lies outside the image')
  CLIPPED = Rule(Outcome.FIXED, 'the box reaches over the edge of the image and is cut there')
  MASK_SIZE = Rule(Outcome.SKIPPED, 'the mask has another size than the image')
  MASK_VALUES = Rule(Outcome.SKIPPED, 'the mask has values that no class has')
  UNKNOWN_CLASS = Rule(Outcome.ERROR, 'the class is not in the list of classes')
  UNUSED_CLASS = Rule(Outcome.NOTED, 'no object of the class is there')
  SCORES = Rule(
    Outcome.NOTED, 'boxes have scores, as of a model; they count like boxes that people drew'
  )
  NO_MASK = Rule(Outcome.NOTED, 'the object has no mask; its box is filled in the place of one')
  TURNED_MASK = Rule(
    Outcome.NOTED, 'the image is turned, and the mask fits it both ways; it is taken as it is'
  )
  # Between images and between sets.
  NO_OBJECTS = Rule(Outcome.ERROR, 'no image of the set has an object')
  TEACHER_CLASSES = Rule(
    Outcome.ERROR, 'classes differ from those of the teacher in number, order or names'
  )
  CLASS_ORDER = Rule(Outcome.ERROR, 'classes of two sets differ in number, order or names')
  SAME_NAME = Rule(Outcome.ERROR, 'two images of a set have one name or id')
  DUPLICATE = Rule(Outcome.NOTED, 'the image is there twice')
  NEAR_DUPLICATE = Rule(Outcome.NOTED, 'the image looks like another one')
  LEAK = Rule(Outcome.ERROR, 'a validation image is among the training images')

  @property
  def rule(self) -> Rule:
    """Outcome and meaning."""
    return self.value


# What an image that is used without its annotations does not have.
OF_ANNOTATIONS = frozenset(
  {
    Kind.UNREADABLE, Kind.NO_ANNOTATION, Kind.NO_IMAGE, Kind.FROM_ZERO, Kind.SIZE, Kind.MALFORMED, Kind.NO_AREA,
    Kind.NOT_FINITE, Kind.SWAPPED, Kind.OUTSIDE, Kind.CLIPPED, Kind.MASK_SIZE, Kind.MASK_VALUES, Kind.UNKNOWN_CLASS,
    Kind.TURNED_MASK, Kind.LEFT_OVER_NAME,
  }
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Fault:
  """One thing that is wrong.

  Attributes:
    kind: what.
    detail: the particulars, such as the numbers of a box; '' if the kind says all.
  """

  kind: Kind
  detail: str = ''

  @property
  def outcome(self) -> Outcome:
    """What happens to the image or annotation."""
    return self.kind.rule.outcome
