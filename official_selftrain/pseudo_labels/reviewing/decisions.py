"""Takes decisions of people over: from the review page, or labels that were edited in another program."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from official_selftrain.core import console, errors, files, keys
from official_selftrain.datasets import tf_examples
from official_selftrain.pseudo_labels import corrections, segmentation
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels.exporters import base, reading
from official_selftrain.pseudo_labels.importers import entries, importing, registry

REVIEW = 'review'
# The head of review.json.
FORMAT = 'official_selftrain review 1'
ACCEPTED, REJECTED, CORRECTED = 'accepted', 'rejected', 'corrected'

# Edges that another program has rounded, to pixels at most, are the same.
_SAME_PIXELS = 1.0
_IMAGES_PER_FILE = 500

# Class id, whether it is marked as one to ignore, and float32 [4] edges relative to the image's sides.
_Box: TypeAlias = tuple[int, bool, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What to take over.

  Attributes:
    label_dir: folder of the label shards that were looked at.
    image_files: the images, in the manifest's order.
    cuts: with which they were shown.
    class_names: from class 1 on.
    form: `review`, or a format of `importers.registry`.
    path: of the file or folder with decisions.
    options: of the format.
    takes_unchanged: images whose labels another program has not changed count as corrected, too.
  """

  label_dir: str
  image_files: Sequence[str]
  cuts: cuts_lib.Cuts
  class_names: tuple[str, ...]
  form: str
  path: str
  options: Mapping[str, str] = dataclasses.field(default_factory=dict)
  takes_unchanged: bool = False


@dataclasses.dataclass
class _Taken:
  """Decisions so far."""

  corrected: list[str] = dataclasses.field(default_factory=list)
  rejected: list[str] = dataclasses.field(default_factory=list)
  unchanged: int = 0


def read_review(path: str) -> entries.Entries:
  """Reads review.json.

  Raises:
    DataError: it is not what the review page saves.
  """
  try:
    content = files.read_json(path)
    if content['format'] != FORMAT:
      raise ValueError(f'the format is {content["format"]!r}')
    names = content['class_names']
    made = entries.Entries()
    for source_id, decision in content['images'].items():
      made.add_image(source_id)
      made.add(source_id, _labels(decision, names))
  except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
    raise errors.DataError(
      f'{path} is not what the review page saves ({errors.first_line(error)}). Save it again.'
    ) from error
  made.seal()
  return made


def _labels(decision: Mapping[str, Any], names: Sequence[str]) -> entries.Boxes:
  status = decision['status']
  if status == REJECTED:
    return entries.Boxes(is_rejected=True)
  if status not in (ACCEPTED, CORRECTED):
    raise ValueError(f'a status is {status!r}')
  boxes = []
  for class_id, *edges in decision.get('boxes', ()):
    ymin, xmin, ymax, xmax = map(float, edges)
    if not 1 <= class_id <= len(names):
      raise ValueError(f'a class is {class_id}')
    boxes.append(entries.Box(names[class_id - 1], ymin, xmin, ymax, xmax))
  return entries.Boxes(tuple(boxes), is_relative=True)


def take(request: Request) -> corrections.Corrections:
  """Writes the decisions into the folder `corrections` of the label shards, in place of earlier ones.

  Images are read once, one at a time.

  Args:
    request: what to take over.

  Returns:
    The decisions.

  Raises:
    ConfigError: the format cannot hold these labels.
    DataError: the decisions, labels or images cannot be read, or are about other images, or two images have one id.
    LabelMismatchError: the labels do not belong to the images.
  """
  labelled = reading.open_labels(
    request.label_dir, request.image_files, request.cuts, request.class_names
  )
  found = _read(request, labelled)
  found.expect(reading.ids_of(labelled))
  taken = _Taken()
  place = corrections.folder_of(request.label_dir)
  folder = files.temporary_path(place)
  shutil.rmtree(folder, ignore_errors=True)
  os.makedirs(folder)
  with _Writer(folder) as writer:
    for features in _records(request, labelled, found, taken):
      writer.add(tf_examples.serialize(features))
  if not found.num_used:
    shutil.rmtree(folder)
    raise errors.DataError(
      f'None of the {found.num_images} images in {request.path} is among the {labelled.manifest.images} images of '
      f'these labels. It is about images such as {", ".join(map(repr, found.examples(3)))}.'
    )
  made = corrections.Corrections(
    corrected=tuple(taken.corrected),
    rejected=tuple(taken.rejected),
    records=tuple(writer.names),
    records_sha256=tuple(files.sha256(os.path.join(folder, name)) for name in writer.names),
    labels_sha256=labelled.manifest.labels_sha256,
    source=f'{request.form}: {os.path.basename(os.path.normpath(request.path))}',
  )
  made.save(folder)
  corrections.publish(place)
  if taken.unchanged:
    console.note(
      f'{taken.unchanged} images have the labels that they had: they stay pseudo labels. Count them as looked at with '
      '--take_unchanged.'
    )
  return made


def _read(request: Request, labelled: reading.Labelled) -> entries.Entries:
  """The decisions by image."""
  task = labelled.manifest.format
  if request.form == REVIEW:
    _check_labels(request.path, labelled, request.cuts.cut)
    return read_review(request.path)
  if registry.FORMATS[request.form].task != task:
    raise errors.ConfigError(f'--format={request.form} does not hold labels of {task}.')
  return registry.read(
    request.form, request.path, labelled.class_names, dict(request.options), '--import'
  )


def _check_labels(path: str, labelled: reading.Labelled, cut: float) -> None:
  """Raises DataError when a review is about other labels than these: of another teacher, or masks at another cut."""
  digest = labelled.manifest.labels_sha256
  try:
    content = files.read_json(path)
    theirs, shown_at = content.get('labels_sha256', digest), content.get('cut', cut)
  except (OSError, ValueError, AttributeError):
    return  # `read_review` says what is wrong.
  # Boxes stand in the review itself.
  if labelled.manifest.format == segmentation.MaskFormat.name and shown_at != cut:
    raise errors.DataError(
      f'{path} is a review of masks at cut {shown_at}, but here the cut is {cut}: give --cut={shown_at}.'
    )
  if theirs != digest:
    raise errors.DataError(
      f'{path} is a review of other labels: the label shards were written anew after its page was made. Make the page '
      'again.'
    )


def _records(
  request: Request, labelled: reading.Labelled, found: entries.Entries, taken: _Taken
) -> Iterator[dict[str, tf.train.Feature]]:
  """Features of the corrected images."""
  rules = importing.Rules(class_names=labelled.class_names)
  are_masks = labelled.manifest.format == segmentation.MaskFormat.name
  images: Iterator[reading.Read[Any]] = (
    reading.masks(labelled, False) if are_masks else reading.boxes(labelled, False)
  )
  with console.Progress(
    'corrections', labelled.manifest.images - labelled.manifest.dead, 'images'
  ) as bar:
    for number, read in enumerate(images, start=1):
      bar.update(number)
      labels = found.find(read.image.source_id)
      if labels is None:
        continue
      if isinstance(labels, entries.Boxes) and labels.is_rejected:
        taken.rejected.append(read.image.source_id)
        continue
      try:
        features = _features(read, labels, request, rules, taken)
      except importing.UnusableLabelsError as error:
        raise errors.DataError(f'The image with id {read.image.source_id!r}: {error}.') from error
      if features is not None:
        taken.corrected.append(read.image.source_id)
        yield features


def _features(
  read: reading.Read[Any],
  labels: entries.Labels,
  request: Request,
  rules: importing.Rules,
  taken: _Taken,
) -> dict[str, tf.train.Feature] | None:
  """Features of one labelled image; None if its labels were left as they are."""
  image = read.image
  is_review = request.form == REVIEW
  features = tf_examples.encoded_image_features(
    image.content, image.height, image.width, image.source_id
  )
  if isinstance(read.labels, base.Mask):
    classes = _mask(read.labels, labels, image, len(rules.class_names) + 1)
    is_same = np.array_equal(classes, read.labels.classes)
    if is_same and not is_review and not request.takes_unchanged:
      taken.unchanged += 1
      return None
    return features | tf_examples.class_map_features(classes)
  assert isinstance(labels, entries.Boxes)
  found = importing.Found()
  boxes, edges = importing.relative_boxes(labels, image.height, image.width, rules, found)
  if found.other_classes:
    raise errors.DataError(
      f'The image with id {image.source_id!r} has boxes of classes that are not in use: '
      f'{", ".join(found.other_classes)}. Classes are {", ".join(rules.class_names)}.'
    )
  ids = [rules.class_names.index(box.class_name) + 1 for box in boxes]
  is_ignored = [box.is_ignored for box in boxes]
  theirs = list(zip(ids, is_ignored, edges, strict=True))
  if not is_review and not request.takes_unchanged and _are_same(read.labels, theirs, image):
    taken.unchanged += 1
    return None
  edges = np.clip(edges.astype(np.float64), 0.0, 1.0)
  has_area = (edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1])
  sides = [image.height, image.width, image.height, image.width]
  pixels = edges * sides
  areas = (pixels[:, 2] - pixels[:, 0]) * (pixels[:, 3] - pixels[:, 1])
  chosen = np.flatnonzero(has_area)
  features |= tf_examples.box_features(
    edges[chosen],
    np.array(ids, np.int64)[chosen],
    np.array(is_ignored, np.int64)[chosen],
    areas[chosen],
  )
  features[keys.BOX_CLASS_NAME] = tf_examples.text_feature(
    *(boxes[place].class_name for place in chosen)
  )
  return features


def _mask(
  shown: base.Mask, labels: entries.Labels, image: base.Image, num_classes: int
) -> np.ndarray:
  """The class of each pixel, uint8 [h, w]: as it was shown, or as a file has it."""
  if isinstance(labels, entries.Mask):
    return importing.read_classes(labels.path, image.height, image.width, num_classes)
  return shown.classes


def _are_same(shown: base.Boxes, theirs: Sequence[_Box], image: base.Image) -> bool:
  """Whether boxes are those that were shown, in any order; those in the ignore band may be missing."""
  kept = [box for box in shown.boxes if not box.is_ignored]
  return any(_match(candidates, theirs, image) for candidates in (list(shown.boxes), kept))


def _match(shown: Sequence[base.Box], theirs: Sequence[_Box], image: base.Image) -> bool:
  if len(shown) != len(theirs):
    return False
  sides = np.array([image.height, image.width, image.height, image.width])
  free = list(shown)
  for class_id, is_ignored, box in theirs:
    for other in free:
      edges = np.array([other.ymin, other.xmin, other.ymax, other.xmax])
      is_near = np.abs((box - edges) * sides).max() <= _SAME_PIXELS
      if (other.class_id, other.is_ignored) == (class_id, is_ignored) and is_near:
        free.remove(other)
        break
    else:
      return False
  return True


class _Writer(contextlib.AbstractContextManager['_Writer']):
  """Writes records into files of a certain length; `names` are those that are whole."""

  def __init__(self, folder: str) -> None:
    self.names: list[str] = []
    self._folder = folder
    self._waiting: list[bytes] = []

  def add(self, record: bytes) -> None:
    """Adds a record."""
    self._waiting.append(record)
    if len(self._waiting) == _IMAGES_PER_FILE:
      self._flush()

  def _flush(self) -> None:
    name = f'{corrections.RECORDS_NAME}-{len(self.names):05d}.tfrecord'
    tf_examples.write_shard(os.path.join(self._folder, name), self._waiting)
    self.names.append(name)
    self._waiting = []

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    if kind is None and self._waiting:
      self._flush()
