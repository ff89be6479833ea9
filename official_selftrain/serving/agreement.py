"""How well an exported model agrees with the model that it was made from, on images of the user."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from official_selftrain.ops import anchor_targets

Answers: TypeAlias = Mapping[str, np.ndarray]

# The precision of a SavedModel whose network computes in float16 or bfloat16, where the order of sums shows.
MIXED = 'mixed'

# What the order of sums explains in float32: a distance in pixels of the network's input, and the share of a mask's
# pixels whose class is equal.
_CLOSE_PIXELS = 1e-3
_CLOSE_SHARE = 0.999
# Far more than rounding, also that of a GPU beside a CPU: the export computes something else. A tenth may be anywhere.
_WRONG_PIXELS = 1.0
_WRONG_SCORE = 0.05
_WRONG_SHARE = 0.9
# Quantised scores move; only what a user would look at is counted, and it may be found again with any score.
_MIN_SCORE = {'float32': 0.0, MIXED: 0.3, 'float16': 0.3, 'int8': 0.3}
# A detection so close to the score at which the list ends may be on either side of the end.
_AT_THE_END = 1e-4
_MIN_IOU = 0.5


@dataclasses.dataclass(frozen=True)
class Agreement:
  """The result of a comparison.

  Attributes:
    precision: of the export, one of `targets.PRECISIONS` or `MIXED`.
    images: that were compared.
    noun: what was compared: boxes, anchors or pixels.
    compared: how many of these.
    equal: how many of these the export has, too; for boxes those of the same class that overlap by half, for pixels
      those of the same class.
    pixels: distances of the coordinates that differ most, one for each box, in pixels of the network's input; empty for
      masks.
    scores: absolute differences of scores, one for each box, anchor and class, or pixel of equal class.
  """

  precision: str
  images: int
  noun: str
  compared: int
  equal: int
  pixels: np.ndarray
  scores: np.ndarray

  @property
  def is_close(self) -> bool:
    """Whether rounding explains all differences."""
    return (
      self.equal >= _CLOSE_SHARE * self.compared
      and float(self.pixels.max(initial=0.0)) <= _CLOSE_PIXELS
    )

  @property
  def is_wrong(self) -> bool:
    """Whether an export in float32 computes something else than the model."""
    if self.precision != 'float32':
      return False
    # NaN is never below a limit.
    is_right = all(
      np.percentile(values, 100 * _WRONG_SHARE) <= limit
      for values, limit in ((self.pixels, _WRONG_PIXELS), (self.scores, _WRONG_SCORE))
      if values.size
    )
    return self.equal < _WRONG_SHARE * self.compared or not is_right

  def facts(self) -> dict[str, Any]:
    """The comparison as JSON can hold it."""
    found: dict[str, Any] = {
      'precision': self.precision,
      'images': self.images,
      f'{self.noun}_compared': self.compared,
      f'{self.noun}_equal': self.equal,
    }
    for name, values in (('pixels', self.pixels), ('scores', self.scores)):
      if values.size:
        found[f'difference_{name}'] = {
          'median': float(np.median(values)),
          'largest': float(values.max()),
        }
    return found

  def sentence(self) -> str:
    """The comparison in a line of words."""
    images = f'{self.images} image{"s" if self.images > 1 else ""}'
    least = _MIN_SCORE[self.precision]
    which = (
      f'{self.noun} of score {least:g} and more' if least and self.noun == 'boxes' else self.noun
    )
    if not self.compared:
      return f'checked on {images}, where the model has no {which}: nothing could be compared'
    found = 'have the same class' if self.noun == 'pixels' else 'are found again'
    is_exact = self.precision == 'float32'
    parts = []
    for values, unit in (
      (self.pixels, " pixels of the network's input"),
      (self.scores, ' of the score'),
    ):
      if values.size:
        median = '' if is_exact else f'{np.median(values):.2g} (median) and '
        parts.append(f'{median}at most {values.max():.2g}{unit}')
    differences = f'; differences: {", ".join(parts)}' if parts else ''
    if is_exact and not self.is_close:
      differences += f'. Rounding explains {_CLOSE_PIXELS:g} pixels'
    return f'checked on {images}: {self.equal:,} of {self.compared:,} {which} {found}{differences}'


def compare(
  expected: Sequence[Answers],
  found: Sequence[Answers],
  images: int,
  network: Sequence[int],
  precision: str,
  threshold: float = 0.0,
) -> Agreement:
  """Compares answers for the same images.

  Args:
    expected: of the model, for each view of an image, without the axis of the batch; see `serving.detection` and
      `serving.segmentation` for names and shapes.
    found: of the export.
    images: how many images the views show.
    network: height and width of the network's input, in pixels.
    precision: of the export, one of `targets.PRECISIONS` or `MIXED`.
    threshold: score below which a detector finds nothing.

  Returns:
    `Agreement`.
  """
  pairs = list(zip(expected, found, strict=True))
  if 'classes' in expected[0]:
    return _masks(pairs, images, precision)
  sides = np.tile(np.array(network[:2], np.float64), 2)
  if 'decoded_boxes' in expected[0]:
    return _anchors(pairs, images, sides, precision)
  return _boxes(pairs, images, sides, precision, threshold)


Pairs: TypeAlias = Sequence[tuple[Answers, Answers]]


def _masks(pairs: Pairs, images: int, precision: str) -> Agreement:
  compared = equal = 0
  scores = []
  for ours, theirs in pairs:
    same = ours['classes'] == theirs['classes']
    compared += same.size
    equal += int(same.sum())
    scores.append(np.abs(_wide(ours['confidences']) - theirs['confidences'])[same])
  return Agreement(
    precision, images, 'pixels', compared, equal, np.zeros(0), np.concatenate(scores)
  )


def _anchors(pairs: Pairs, images: int, sides: np.ndarray, precision: str) -> Agreement:
  boxes, scores = (
    np.concatenate([np.abs(_wide(ours[name]) - theirs[name]) for ours, theirs in pairs])
    for name in ('decoded_boxes', 'decoded_box_scores')
  )
  distances = np.max(boxes * sides, axis=-1)
  number = len(distances)
  return Agreement(precision, images, 'anchors', number, number, distances, np.max(scores, axis=-1))


def _boxes(
  pairs: Pairs, images: int, sides: np.ndarray, precision: str, threshold: float
) -> Agreement:
  least = _MIN_SCORE[precision]
  alone = 0
  pixels: list[float] = []
  scores: list[float] = []
  for answers in pairs:
    rows = [_rows(each) for each in answers]
    matches = _matches(*rows)
    for mine, other in matches:
      score, its_score = rows[0][1][mine], rows[1][1][other]
      if max(score, its_score) >= least:
        pixels.append(float(np.max(np.abs(rows[0][2][mine] - rows[1][2][other]) * sides)))
        scores.append(abs(score - its_score))
    for side, (_, values, _) in enumerate(rows):
      matched = {pair[side] for pair in matches}
      # Where the list ends: at the threshold, or with its last row if there was no room for more.
      is_full = len(values) == len(answers[side]['detection_scores'])
      end = values.min(initial=1.0) if is_full else threshold
      counted = max(least, end + _AT_THE_END)
      alone += sum(bool(value > counted) and row not in matched for row, value in enumerate(values))
  equal = len(pixels)
  return Agreement(
    precision, images, 'boxes', equal + alone, equal, np.array(pixels), np.array(scores)
  )


def _rows(answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Classes, scores and boxes of the rows that are detections."""
  number = int(answers['num_detections'])
  names = ('detection_classes', 'detection_scores', 'detection_boxes')
  classes, scores, boxes = (answers[name][:number] for name in names)
  return classes, _wide(scores), _wide(boxes)


def _matches(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]) -> list[tuple[int, int]]:
  """Rows of boxes of the same class that overlap by half, each at most once: the closest pairs first."""
  distances = np.max(np.abs(ours[2][:, None] - theirs[2][None]), axis=-1)
  overlaps = anchor_targets.iou(ours[2], theirs[2]).numpy() >= _MIN_IOU
  # Empty boxes overlap nothing: they are the same in one place.
  empty, others = (
    np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) == 0.0 for _, _, boxes in (ours, theirs)
  )
  overlaps |= empty[:, None] & others[None] & (distances < _AT_THE_END)
  allowed = (ours[0][:, None] == theirs[0][None]) & overlaps
  # Boxes of one place differ in their scores.
  closeness = distances + np.abs(ours[1][:, None] - theirs[1][None])
  matches = []
  for flat in np.argsort(np.where(allowed, closeness, np.inf), axis=None)[: int(allowed.sum())]:
    mine, other = np.unravel_index(flat, allowed.shape)
    if allowed[mine, other]:
      matches.append((int(mine), int(other)))
      allowed[mine, :] = allowed[:, other] = False
  return matches


def _wide(values: np.ndarray) -> np.ndarray:
  return values.astype(np.float64)
