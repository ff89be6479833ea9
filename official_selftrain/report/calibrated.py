"""The facts of a report about calibrated cuts."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibratedClass:
  """The calibrated cut of a class, or of all classes together.

  Attributes:
    name: of the class.
    cut: labels of the class from this score on are objects.
    truths: true objects (or pixels) in the held-out images.
    precision: share of the labels at the cut that are right; None without any.
    recall: share of the true ones that are found; None without any.
    is_own: whether it was chosen for this class alone.
    curve: (cut, precision, recall), with None where there is nothing to divide by.
  """

  name: str
  cut: float
  truths: int
  precision: float | None
  recall: float | None
  is_own: bool
  curve: tuple[tuple[float, float | None, float | None], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
  """Cuts that were chosen on labelled images.

  Attributes:
    images: number of these images.
    is_held_out: the model that labelled them has not learned from them; False where that is not known here, of a
      teacher or labels that were given.
    rule: how the cuts were chosen, in words.
    ignore_cut: lower end of the ignore band that comes with them; None for no band.
    overall: of all classes together.
    classes: in the order of their ids.
  """

  images: int
  is_held_out: bool
  rule: str
  ignore_cut: float | None
  overall: CalibratedClass
  classes: tuple[CalibratedClass, ...]
