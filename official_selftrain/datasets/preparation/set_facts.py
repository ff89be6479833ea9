"""Counts and sizes of a set of images."""

import array
import collections
import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from official_selftrain.datasets import faults as faults_lib
from official_selftrain.datasets.preparation import store
from official_selftrain.datasets.sources import items


@dataclasses.dataclass(frozen=True)
class SetFacts:
  """What a set holds.

  Attributes:
    objects: by class: boxes, pixels of masks, or images; in the order of the classes, those without any included.
    without_objects: images that have no object.
    height: smallest, median and largest height, in pixels.
    width: in the same way.
    faults: images and annotations by kind of fault.
    object_sizes: of boxes, see `dataset_card.Set`.
    most_objects: in the same way.
  """

  objects: Counter[str]
  without_objects: int
  height: tuple[int, int, int]
  width: tuple[int, int, int]
  faults: Counter[faults_lib.Kind]
  object_sizes: Mapping[str, tuple[float, float, float]]
  most_objects: int = 0


def collect(
  entries: Iterable[store.Entry], task: items.Task, class_names: tuple[str, ...]
) -> SetFacts:
  """Counts the images of a set.

  Args:
    entries: its images, with their findings.
    task: what their annotations teach; NONE counts no objects.
    class_names: names from class 1 on.

  Returns:
    The counts; sizes are 0 for a set without images.
  """
  objects: Counter[str] = Counter(dict.fromkeys(class_names, 0))
  found: Counter[faults_lib.Kind] = Counter()
  # Four bytes for each of what may be millions.
  sizes: dict[str, array.array[float]] = collections.defaultdict(lambda: array.array('f'))
  heights, widths = [], []
  empty = most = 0
  for entry in entries:
    assert entry.finding is not None
    heights.append(entry.finding.height)
    widths.append(entry.finding.width)
    found.update(fault.kind for fault in entry.finding.faults)
    here = _objects(entry, task, class_names)
    objects.update(here)
    if task is items.Task.DETECTION:
      longer = max(entry.finding.height, entry.finding.width)
      single = [each for each in entry.finding.boxes if not each.is_crowd]
      most = max(most, len(single))
      for box in single:
        area = (box.ymax - box.ymin) * (box.xmax - box.xmin)
        sizes[box.class_name].append(math.sqrt(area) / longer)
    empty += task is not items.Task.NONE and not here
  quantiles = {name: _quantiles(sizes[name]) for name in class_names if name in sizes}
  return SetFacts(objects, empty, _spread(heights), _spread(widths), found, quantiles, most)


def _objects(entry: store.Entry, task: items.Task, class_names: tuple[str, ...]) -> Counter[str]:
  """Objects of one image by class."""
  assert entry.finding is not None
  if task is items.Task.DETECTION:
    return Counter(box.class_name for box in entry.finding.boxes)
  if task is items.Task.SEGMENTATION:
    counts = {class_names[value - 1]: pixels for value, pixels in entry.finding.object_pixels}
    return Counter(counts)
  return Counter([entry.item.class_name] if task is items.Task.CLASSIFICATION else [])


def _quantiles(values: Sequence[float]) -> tuple[float, float, float]:
  """The values, to four digits, that a tenth, half and nine tenths of all do not exceed."""
  low, mid, high = np.quantile(values, (0.1, 0.5, 0.9), method='inverted_cdf').tolist()
  return round(low, 4), round(mid, 4), round(high, 4)


def _spread(values: list[int]) -> tuple[int, int, int]:
  """Smallest, median and largest."""
  if not values:
    return 0, 0, 0
  return min(values), statistics.median_low(values), max(values)
