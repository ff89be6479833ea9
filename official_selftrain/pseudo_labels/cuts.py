"""Cuts decide, when labels are read, which of a teacher's scored labels a student sees.

The paper keeps pseudo boxes that score at least 0.5 (section 3.2). A second, lower cut opens an
ignore band: what scores between the two is neither object nor background, which spares the student
from learning a missed object as background.
"""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from official_selftrain.core import errors


def _check_cut(name: str, value: float) -> None:
  """Raises ConfigError when a cut is not a number in [0, 1]."""
  if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
    raise errors.ConfigError(f'{name} is {value!r}; a cut is a score, a number from 0 to 1')


@dataclasses.dataclass(frozen=True)
class Cuts:
  """Scores that separate objects, the ignore band and what is dropped.

  Attributes:
    cut: labels with score >= cut are objects.
    ignore_cut: labels with ignore_cut <= score < cut are in the ignore band; None for no band.
    per_class: cuts of single classes {class id: cut}; `cut` holds for the others.
    keep_empty: whether images without an object are used (as background only).
    is_soft: whether the scores of objects are taught, too, so that those of low scores count little.
  """

  cut: float = 0.5
  ignore_cut: float | None = None
  per_class: Mapping[int, float] | None = None
  keep_empty: bool = True
  is_soft: bool = False

  def __post_init__(self) -> None:
    """Checks the values.

    Raises:
      ConfigError: A cut is not in [0, 1], a class id is negative, or the ignore band is empty.
    """
    _check_cut('cut', self.cut)
    for class_id, cut in (self.per_class or {}).items():
      if isinstance(class_id, bool) or not isinstance(class_id, int) or class_id < 0:
        raise errors.ConfigError(
          f'per_class has the key {class_id!r}; keys are class ids, integers from 0'
        )
      _check_cut(f'per_class[{class_id}]', cut)
    if self.ignore_cut is not None:
      _check_cut('ignore_cut', self.ignore_cut)
      highest = max([self.cut, *(self.per_class or {}).values()])
      if self.ignore_cut >= highest:
        raise errors.ConfigError(
          f'ignore_cut is {self.ignore_cut} and the highest cut is {highest}: the ignore band '
          'between them is empty; choose an ignore_cut below the cut, or null for no band'
        )

  def of(self, class_id: int) -> float:
    """The cut of one class."""
    return (self.per_class or {}).get(class_id, self.cut)

  @property
  def lowest(self) -> float:
    """The lowest score that any label needs to be read at all, ignored or not."""
    return min(
      [
        self.cut,
        *(self.per_class or {}).values(),
        *([] if self.ignore_cut is None else [self.ignore_cut]),
      ]
    )

  def in_words(self) -> str:
    """The cut, and the range of those of single classes: `0.5`, or `0.5 (by class 0.3 to 0.7)`."""
    cuts = (self.per_class or {}).values()
    return f'{self.cut:g}' + (f' (by class {min(cuts):g} to {max(cuts):g})' if cuts else '')

  def thresholds(self, classes: tf.Tensor) -> tf.Tensor:
    """The cut of each label.

    Args:
      classes: integer class ids of any shape.

    Returns:
      float32 tensor of the same shape.
    """
    if not self.per_class:
      return tf.fill(tf.shape(classes), tf.constant(self.cut, tf.float32))
    table = [self.of(class_id) for class_id in range(max(self.per_class) + 1)] + [self.cut]
    index = tf.minimum(tf.cast(classes, tf.int32), len(table) - 1)
    return tf.gather(tf.constant(table, tf.float32), index)

  def apply(self, scores: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decides about each label.

    Args:
      scores: float32 `[n]` scores in [0, 1].
      classes: integer `[n]` class ids.

    Returns:
      bool `[n]` mask of the objects and bool `[n]` mask of the ignore band. A label in neither is
      dropped.
    """
    is_object = scores >= self.thresholds(classes)
    if self.ignore_cut is None:
      return is_object, tf.zeros_like(is_object)
    return is_object, tf.logical_and(scores >= self.ignore_cut, tf.logical_not(is_object))
