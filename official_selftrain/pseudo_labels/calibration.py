"""Chooses cuts by class from what a teacher finds in labelled images that it has not learned from.

A cut trades missed objects for wrong ones (`quality`). One cut for all classes treats a class of which the teacher is
never sure like one that it never misses, so each class gets its own, as far as there are enough objects to tell.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from official_selftrain.core import errors, files
from official_selftrain.pseudo_labels import quality

FILE_NAME = 'cuts.json'

# A label is worth ignoring, not dropping, if one in so many like it is an object after all.
_MIN_TRUE_IN_BAND = 0.2

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassCut:
  """The cut of one class, and what it does to the held-out images.

  Attributes:
    cut: labels of the class with at least this score are objects.
    truths: true objects, or pixels.
    precision: share of the labels at the cut that are right; None without any.
    recall: share of the true ones that are found; None without any.
    is_own: there were enough true objects to choose it for this class alone.
  """

  cut: float
  truths: int
  precision: float | None
  recall: float | None
  is_own: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
  """Calibrated cuts.

  Attributes:
    cut: of all classes together, and of those that the held-out images do not show.
    classes: by class id.
    ignore_cut: lower end of the ignore band; None if no band is worth it.
    images: held-out images.
    curves: what `quality.evaluate` or `mask_quality.evaluate_labels` found in them.
  """

  cut: float
  classes: Mapping[int, ClassCut]
  ignore_cut: float | None
  images: int
  curves: quality.Measured

  def class_cuts(self, num_classes: int) -> list[float]:
    """Cuts of the classes from 1 to `num_classes` - 1."""
    return [
      self.classes[class_id].cut if class_id in self.classes else self.cut
      for class_id in range(1, num_classes)
    ]

  def save(self, folder: str) -> None:
    """Writes `cuts.json`."""
    files.write_json(os.path.join(folder, FILE_NAME), dataclasses.asdict(self))


def load(folder: str) -> Calibration | None:
  """Reads `cuts.json`; None if there is none.

  Raises:
    DataError: it was written by another version.
  """
  path = os.path.join(folder, FILE_NAME)
  if not os.path.exists(path):
    return None
  advice = 'Start the stage again with --restart=calibration.'
  return files.parse_json(path, _parse, advice)


def _parse(value: dict[str, Any]) -> Calibration:
  classes = {int(name): ClassCut(**each) for name, each in value.pop('classes').items()}
  return Calibration(classes=classes, **value)


def calibrate(
  measured: quality.Measured,
  rule: Literal['f_beta', 'count'] = 'f_beta',
  beta: float = 1.0,
  min_precision: float = 0.0,
  min_objects: int = 10,
) -> Calibration:
  """Chooses cuts.

  Args:
    measured: labels of held-out images against the truth, as `quality.evaluate_labels` and
      `mask_quality.evaluate_labels` return it. The cuts that it has rows for are the candidates.
    rule: see `configs.calibration.Calibration`.
    beta: of F-beta.
    min_precision: share of labels that must be right at a cut, as far as there is such a cut.
    min_objects: true objects, or pixels, that a class needs for a cut of its own.

  Returns:
    The cuts.

  Raises:
    DataError: the held-out images show no object, or nothing at all was found in them.
  """

  def choose(rows: Sequence[Row]) -> Row | None:
    return _choose(rows, rule, beta, min_precision)

  overall = measured['overall']
  best = choose(overall['cuts']) if overall['truths'] else None
  if best is None:
    what = 'nothing in them was found' if overall['truths'] else 'they show no object'
    raise errors.DataError(
      f'Cuts cannot be calibrated on {measured["images"]} held-out images: {what}. Hold out a larger '
      'calibration.share, train the teacher longer, or give task.pseudo_data.cut a number.'
    )
  classes = {}
  for name, curve in measured['per_class'].items():
    if name == '0':
      continue  # The background of masks.
    own = None
    if curve['truths'] >= min_objects:
      own = choose(curve['cuts'])
    row = row_at(curve['cuts'], best['cut']) if own is None else own
    classes[int(name)] = ClassCut(
      cut=row['cut'],
      truths=curve['truths'],
      precision=row['precision'],
      recall=row['recall'],
      is_own=own is not None,
    )
  highest = max([best['cut'], *(each.cut for each in classes.values())])
  return Calibration(
    cut=best['cut'],
    classes=classes,
    ignore_cut=_ignore_cut(overall['cuts'], best['cut'], highest),
    images=measured['images'],
    curves=measured,
  )


def _choose(rows: Sequence[Row], rule: str, beta: float, min_precision: float) -> Row | None:
  """The row of the best cut, the higher one among equals; None if no cut finds anything right."""
  found = [row for row in rows if row['precision'] and row['recall']]
  if not found:
    return None
  precise = [row for row in found if row['precision'] >= min_precision]
  if not precise:
    return max(found, key=lambda row: (row['precision'], row['cut']))
  found = precise
  if rule == 'count':
    return min(found, key=lambda row: (abs(row['count_ratio'] - 1.0), -row['cut']))
  return max(found, key=lambda row: (_f_beta(row, beta), row['cut']))


def _f_beta(row: Row, beta: float) -> float:
  precision, recall, weight = row['precision'], row['recall'], beta * beta
  return (1 + weight) * precision * recall / (weight * precision + recall)


def row_at(rows: Sequence[Row], cut: float) -> Row:
  """The row of a curve that is nearest to a cut."""
  return min(rows, key=lambda row: abs(row['cut'] - cut))


def _ignore_cut(rows: Sequence[Row], cut: float, highest: float) -> float | None:
  """The lowest cut down to which the labels between it and `cut` are true often enough; None for no band."""
  at_cut = row_at(rows, cut)
  found = None
  for row in rows:
    more = _kept(row) - _kept(at_cut)
    true = _right(row) - _right(at_cut)
    is_useful = more > 0 and true >= _MIN_TRUE_IN_BAND * more
    if row['cut'] < min(cut, highest) and is_useful and (found is None or row['cut'] < found):
      found = row['cut']
  return found


def _kept(row: Row) -> float:
  """Number of labels at or above the cut."""
  return float(row['boxes'] if 'boxes' in row else row['pixels'])


def _right(row: Row) -> float:
  return _kept(row) * (row['precision'] or 0.0)
