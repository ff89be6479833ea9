"""Looks at one image with its annotations: what is wrong, what will be written."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from official_selftrain.core import errors
from official_selftrain.datasets import faults, tf_examples
from official_selftrain.datasets.checks import boxes as box_checks
from official_selftrain.datasets.checks import class_maps, similarity
from official_selftrain.datasets.checks import images as image_checks
from official_selftrain.datasets.checks import masks as mask_checks
from official_selftrain.datasets.preparation import store
from official_selftrain.datasets.sources import items, storage


@dataclasses.dataclass(frozen=True)
class Meaning:
  """What the annotations of a set mean.

  Attributes:
    task: what they teach; NONE for images without annotations.
    class_names: names from class 1 on.
    mask_values: class id by value of the masks' pixels, see `items.Source`.
  """

  task: items.Task
  class_names: tuple[str, ...] = ()
  mask_values: Mapping[int | tuple[int, int, int], int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Content:
  """What will be written of an image.

  Attributes:
    image: bytes of a JPEG or PNG.
    mask: PNG of class ids; b'' where there is none.
  """

  image: bytes
  mask: bytes = b''


class Examiner:
  """Examines the images of one process, which keeps archives open in between."""

  def __init__(self, meanings: Mapping[store.Part, Meaning]) -> None:
    """Takes what the annotations of each set mean."""
    self._meanings = meanings
    self._reader = storage.Reader()

  def examine(self, entry: store.Entry) -> tuple[store.Finding, Content | None]:
    """Examines an image and its annotations.

    Args:
      entry: the image.

    Returns:
      What was found, and what will be written; None if the image is not used.
    """
    found = list(entry.item.faults)
    if _is_lost(found):
      return store.Finding(tuple(found)), None
    try:
      encoded = self._reader.read_bytes(entry.item.image)
    except errors.DataError as error:
      fault = faults.Fault(faults.Kind.MISSING, str(error))
      return store.Finding((*found, fault), is_final=False), None
    digest = hashlib.sha256(encoded).digest()
    image = image_checks.examine(encoded, entry.item.image.name, entry.item.size)
    found += image.faults
    if image.encoded is None or _is_lost(found):
      return store.Finding(tuple(found), digest), None
    meaning = self._meanings[entry.part]
    finding = store.Finding(
      digest=digest,
      hashes=_hashes(image.pixels),
      height=image.height,
      width=image.width,
      is_changed=image.encoded != encoded,
    )
    content = Content(image.encoded)
    is_segmentation = meaning.task is items.Task.SEGMENTATION
    if is_segmentation and entry.item.mask is not None:
      finding, content, more = self._with_mask(finding, content, entry.item.mask, meaning)
      found += more
      if image.turned_from == (image.height, image.width):
        found.append(faults.Fault(faults.Kind.TURNED_MASK, entry.item.mask.name))
    elif is_segmentation or meaning.task is items.Task.DETECTION:
      kept, more = box_checks.check(
        entry.item.boxes,
        image.height,
        image.width,
        entry.item.is_relative,
        meaning.class_names,
        image.turned_from,
      )
      found += more
      if is_segmentation:
        drawn = class_maps.draw(kept, image.height, image.width, meaning.class_names)
        counts = np.bincount(drawn.ravel(), minlength=256)
        finding, content = _with_class_map(finding, content, tf_examples.encode_png(drawn), counts)
      else:
        finding = dataclasses.replace(finding, boxes=kept)
    elif meaning.task is items.Task.CLASSIFICATION:
      is_known = entry.item.class_name in meaning.class_names
      if not is_known:
        found.append(faults.Fault(faults.Kind.UNKNOWN_CLASS, repr(entry.item.class_name)))
        finding = dataclasses.replace(finding, height=0, width=0)
    finding = dataclasses.replace(finding, faults=tuple(found))
    return finding, content if finding.is_good else None

  def content(self, entry: store.Entry) -> Content:
    """What will be written of an image that was examined.

    Args:
      entry: a good image, with its finding.

    Returns:
      Its bytes.

    Raises:
      DataError: the file is no longer the one that was examined.
    """
    assert entry.finding is not None
    encoded = self._reader.read_bytes(entry.item.image)
    is_same = store.stamp_of(entry.item) == entry.stamp
    if is_same or hashlib.sha256(encoded).digest() == entry.finding.digest:
      # Only what must be changed, or has a mask to convert or to draw, is decoded again.
      has_mask = self._meanings[entry.part].task is items.Task.SEGMENTATION
      if not entry.finding.is_changed and not has_mask:
        return Content(encoded)
      finding, content = self.examine(entry)
      if content is not None and finding == entry.finding:
        return content
    raise errors.DataError(
      f'{entry.item.image.path} has changed since it was examined. Run the command again.'
    )

  def _with_mask(
    self, finding: store.Finding, content: Content, mask: items.ImageFile, meaning: Meaning
  ) -> tuple[store.Finding, Content, tuple[faults.Fault, ...]]:
    """Adds the mask of an image, which is in a file."""
    try:
      encoded = self._reader.read_bytes(mask)
    except errors.DataError as error:
      unsure = dataclasses.replace(finding, is_final=False)
      return unsure, content, (faults.Fault(faults.Kind.UNREADABLE, str(error)),)
    checked = mask_checks.check(
      encoded, mask.name, finding.height, finding.width, meaning.mask_values
    )
    if checked.encoded is None:
      return finding, content, checked.faults
    return *_with_class_map(finding, content, checked.encoded, checked.counts), checked.faults


def _with_class_map(
  finding: store.Finding, content: Content, encoded: bytes, counts: np.ndarray
) -> tuple[store.Finding, Content]:
  """Adds a PNG of class ids, and pixels by class id."""
  counted = tuple((index, int(count)) for index, count in enumerate(counts) if count)
  finding = dataclasses.replace(finding, pixel_counts=counted)
  return finding, dataclasses.replace(content, mask=encoded)


def _hashes(pixels: np.ndarray | None) -> bytes:
  """Bytes of the perceptual hashes; b'' for an image that has none."""
  if pixels is None:
    return b''
  hashes = similarity.perceptual_hash(pixels)
  return b'' if hashes is None else hashes.tobytes()


def _is_lost(found: list[faults.Fault]) -> bool:
  """Whether an image with these faults is not used."""
  return any(fault.outcome is faults.Outcome.SKIPPED for fault in found)
