"""Cuts by class at which pseudo labels are as many as people's.

One cut for all classes leaves few labels, or none, of a class of which the teacher is never sure, and the student
learns that there is none of it. If labelled and unlabelled images are alike, the number of labels per image that people
drew of a class says where its cut belongs (LabelMatch, Chen et al., CVPR 2022). It needs no image that the teacher has
not learned from.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from official_selftrain.pseudo_labels import formats, histograms

# Cuts are rounded down to so many steps, so that they are short to read and keep no fewer labels.
_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class MatchedCuts:
  """Matched cuts.

  Attributes:
    cut: at which the labels of all classes together are as many as people's.
    class_cuts: of the classes from 1 on.
  """

  cut: float
  class_cuts: list[float]


def match(
  summary: formats.Summary, human: Mapping[int, float], num_classes: int, lowest: float
) -> MatchedCuts:
  """Chooses cuts.

  Args:
    summary: of the pseudo labels, see `histograms`.
    human: the number of labels that people would draw in the same images, by class id; a class of which they drew none
      gets the cut of all classes together.
    num_classes: with the background.
    lowest: no cut is below this score, in [0, 1]: a class with too few labels from there on gets it.

  Returns:
    The highest cuts that keep at least as many labels, to a thousandth. Within a bin of the summary scores count as
    evenly distributed.
  """
  overall = _cut(histograms.totals(summary), math.fsum(human.values()), lowest)
  nothing = np.zeros(histograms.NUM_BINS, np.int64)
  cuts = [
    _cut(np.array(summary['scores'].get(str(class_id), nothing)), human[class_id], lowest)
    if human.get(class_id)
    else overall
    for class_id in range(1, num_classes)
  ]
  return MatchedCuts(overall, cuts)


def _cut(histogram: np.ndarray, wanted: float, lowest: float) -> float:
  """The highest cut from `lowest` on at which `histograms.count_above` is at least `wanted`."""
  above = np.cumsum(histogram[::-1])[::-1]
  reaching = np.flatnonzero(above >= wanted)
  if not reaching.size:
    return lowest
  number = int(reaching[-1])
  # In the last bin every cut keeps all, see `count_above`.
  is_last = number == histograms.NUM_BINS - 1
  inside = 0.0 if is_last else (above[number] - wanted) / histogram[number]
  found = (number + inside) / histograms.NUM_BINS
  return max(lowest, math.floor(found * _STEPS + 1e-6) / _STEPS)
