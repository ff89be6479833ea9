"""How sure is the difference between two models? A paired bootstrap over the images they were evaluated on.

As many images as there are, are drawn with replacement, and the metric of both models is computed from the same draw.
This is repeated. The interval holds the middle of the resulting differences. It says what other images
could have shown. It does not say what another seed could have shown, because no model is trained again. From few images
it is far too narrow: all draws from a single image are equal. Below `comparison.MIN_IMAGES` it decides nothing.

A draw is a row of weights: how often each image is in it. AP is not a mean over images, so it is computed from all
detections of a draw, as pycocotools computes it, but for all draws at once and only at detections that are right: the
precision that counts is the best at or above a recall, and between two of them it only falls. The result is that of
pycocotools on a data set with the images copied, except for boxes of one image and class whose scores are equal to the
last bit; their order is arbitrary there, too.
"""

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np

from official_selftrain.core import comparison, files

# Arrays by name, see `CocoEvaluator.tallies` and `SegmentationEvaluator.tallies`.
Tallies = Mapping[str, np.ndarray]

# IoU thresholds that a metric of boxes averages over; None for all there are.
_BOX_METRICS: dict[str, float | None] = {'AP': None, 'AP50': 0.5, 'AP75': 0.75}
_MASK_METRIC = 'mean_iou'

# pycocotools' recall levels and the number that keeps it from dividing by zero.
_RECALLS = np.linspace(0.0, 1.0, 101)
_TINY = np.spacing(1)
# Numbers in an array [draws, detections]: few enough for a processor's cache.
_ARRAY_SIZE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Plan:
  """Settings of resampling.

  Attributes:
    resamples: how often the images are drawn.
    seed: of the draws.
    confidence: share of the resampled differences that the interval holds.
  """

  resamples: int = 1000
  seed: int = 0
  confidence: float = 0.9


def save(path: str | os.PathLike[str], tallies: Tallies) -> None:
  """Writes tallies as a compressed .npz file, whole or not at all."""
  stream = io.BytesIO()
  np.savez_compressed(stream, **tallies)
  files.write_bytes(path, stream.getvalue())


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Reads what `save` wrote; empty when there is no such file."""
  if not os.path.exists(path):
    return {}
  with np.load(path, allow_pickle=False) as arrays:
    return dict(arrays)


def compare(
  models: Mapping[str, Tallies],
  pairs: Sequence[tuple[str, str]],
  metric: str,
  plan: Plan | None = None,
) -> dict[str, comparison.Comparison]:
  """Compares models on the same draws of the same images.

  Args:
    models: tallies of each model's evaluation by its name; empty for a model without.
    pairs: names of the models to compare, (first, second).
    metric: what to compare them by.
    plan: how to resample.

  Returns:
    For each pair that can be compared, first minus second under `comparison.name(first, second)`. A pair is left out
    when a model has no tallies or they are of other images or classes, when `metric` is none of `comparison.METRICS` or
    is not made from such tallies, and when no draw has a value.
  """
  plan = plan or Plan()
  wanted = {name for pair in pairs for name in pair if _can_measure(models.get(name), metric)}
  measured = {name: _Measured.of(models[name], metric, plan) for name in sorted(wanted)}
  found = {}
  for first, second in pairs:
    if first not in measured or second not in measured:
      continue
    ours, theirs = measured[first], measured[second]
    if not _same_arrays(ours.identity, theirs.identity):
      continue
    differences = ours.resampled - theirs.resampled
    differences = differences[~np.isnan(differences)]
    if not differences.size:
      continue
    outside = (1.0 - plan.confidence) / 2.0
    low, high = np.quantile(differences, [outside, 1.0 - outside])
    found[comparison.name(first, second)] = comparison.Comparison(
      difference=ours.value - theirs.value,
      low=float(low),
      high=float(high),
      confidence=plan.confidence,
      resamples=plan.resamples,
      images=len(ours.identity[0]),
    )
  return found


def draw(num_images: int, plan: Plan) -> np.ndarray:
  """Draws images with replacement; int32 [resamples, images], how often each image is in each draw."""
  shares = np.full(num_images, 1.0 / num_images)
  generator = np.random.default_rng(plan.seed)
  return generator.multinomial(num_images, shares, plan.resamples).astype(np.int32)


def weighted_metric(tallies: Tallies, weights: np.ndarray, metric: str) -> np.ndarray:
  """A metric on data sets in which each image occurs as often as its weight says.

  Args:
    tallies: of the evaluation.
    weights: int32 [draws, images], in the order of `tallies['image_ids']`.
    metric: one of `comparison.METRICS` that the tallies are made for.

  Returns:
    float64 [draws]; NaN for a draw without any true box or labelled pixel.
  """
  if metric == _MASK_METRIC:
    return _mean_iou(tallies, weights)
  threshold, all_thresholds = _BOX_METRICS[metric], tallies['iou_thresholds']
  chosen = np.ones(len(all_thresholds), bool)
  if threshold is not None:
    chosen = np.isclose(all_thresholds, threshold)
  return _average_precision(tallies, weights, chosen)


@dataclasses.dataclass(frozen=True, eq=False)
class _Measured:
  """One model's metric.

  Attributes:
    identity: what two models must agree in: sorted ids of the images, those of the classes, and the truth, as far as
      tallies have it.
    value: on all images.
    resampled: float64 [resamples], on each draw.
  """

  identity: tuple[np.ndarray, ...]
  value: float
  resampled: np.ndarray

  @classmethod
  def of(cls, tallies: Tallies, metric: str, plan: Plan) -> '_Measured':
    """Measures a model; column i of the draws is its image with the i-th smallest id."""
    ids = tallies['image_ids']
    order = np.argsort(ids, kind='stable')
    weights = np.empty([plan.resamples, len(ids)], np.int32)
    weights[:, order] = draw(len(ids), plan)
    (value,) = weighted_metric(tallies, np.ones([1, len(ids)], np.int32), metric)
    return cls(
      (ids[order], tallies['category_ids'], _truth(tallies)),
      float(value),
      weighted_metric(tallies, weights, metric),
    )


def _can_measure(tallies: Tallies | None, metric: str) -> bool:
  """Whether there are tallies that this metric can be made from."""
  if not tallies or metric not in comparison.METRICS or not len(tallies['image_ids']):
    return False
  return ('intersection' if metric == _MASK_METRIC else 'matched') in tallies


def _truth(tallies: Tallies) -> np.ndarray:
  """True boxes by place of their image among the sorted ids, and class, [boxes, 2], sorted; nothing for masks."""
  if 'true_image' not in tallies:
    return np.empty([0, 2], np.int64)
  places = np.argsort(np.argsort(tallies['image_ids'], kind='stable'), kind='stable')
  pairs = np.stack([places[tallies['true_image']], tallies['true_category']], axis=1)
  return pairs[np.lexsort(pairs.T[::-1])]


def _same_arrays(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> bool:
  return all(np.array_equal(*arrays) for arrays in zip(first, second, strict=True))


def _mean_iou(tallies: Tallies, weights: np.ndarray) -> np.ndarray:
  """Mean over the classes that truth or prediction has, see `SegmentationEvaluator.result`; float64 [draws]."""
  # In float64 the product is exact up to 2^53 pixels, and a hundred times as fast as in integers.
  weights = weights.astype(np.float64)
  intersection = weights @ tallies['intersection'].astype(np.float64)
  union = weights @ tallies['union'].astype(np.float64)
  missing = np.full_like(union, np.nan)
  ious = np.divide(intersection, union, out=missing, where=union > 0)
  present = (union > 0).sum(axis=1)
  sums = np.where(union > 0, ious, 0.0).sum(axis=1)
  return np.divide(sums, present, out=np.full(len(sums), np.nan), where=present > 0)


def _average_precision(tallies: Tallies, weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
  """Mean precision over classes that a draw has true boxes of, chosen IoU thresholds and recall levels.

  Args:
    tallies: of boxes.
    weights: int32 [draws, images].
    chosen: bool [thresholds].

  Returns:
    float64 [draws].
  """
  sums, classes = np.zeros(len(weights)), np.zeros(len(weights))
  by_score = np.argsort(-tallies['score'], kind='stable')
  categories = tallies['category'][by_score]
  for category in range(len(tallies['category_ids'])):
    true_image = tallies['true_image'][tallies['true_category'] == category]
    if not len(true_image):
      continue
    rows = by_score[categories == category]
    detections = _Detections.of(
      tallies['image'][rows],
      tallies['matched'][rows][:, chosen],
      tallies['ignored'][rows][:, chosen],
    )
    step = max(1, _ARRAY_SIZE // max(len(true_image), len(detections.image), 1))
    for start in range(0, len(weights), step):
      part = slice(start, start + step)
      positives = np.take(weights[part], true_image, axis=1).sum(axis=1)
      sums[part] += _class_precision(detections, weights[part], positives)
      classes[part] += positives > 0
  return np.divide(sums, classes, out=np.full(len(sums), np.nan), where=classes > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class _Detections:
  """One class's detections, best first, down to the last that is right.

  Attributes:
    image: int32 [detections].
    right: bool [detections, thresholds], they match a true box that counts.
    ignored: bool [detections, thresholds], they count neither as right nor as wrong.
  """

  image: np.ndarray
  right: np.ndarray
  ignored: np.ndarray

  @classmethod
  def of(cls, image: np.ndarray, matched: np.ndarray, ignored: np.ndarray) -> '_Detections':
    """Leaves out what follows the last right one; no precision that counts depends on it."""
    right = matched & ~ignored
    places = np.flatnonzero(right.any(axis=1))
    end = places[-1] + 1 if len(places) else 0
    return cls(image[:end], right[:end], ignored[:end])


def _class_precision(
  detections: _Detections, weights: np.ndarray, positives: np.ndarray
) -> np.ndarray:
  """Mean precision of one class over thresholds and recall levels.

  Args:
    detections: the class's.
    weights: int32 [draws, images].
    positives: int64 [draws], true boxes that count.

  Returns:
    float64 [draws]; 0 where there is no true box.
  """
  counts = np.take(weights, detections.image, axis=1)
  seen = np.cumsum(counts, axis=1, dtype=np.int32)
  needed = _needed(positives)
  total = np.zeros(len(weights))
  for right, ignored in zip(detections.right.T, detections.ignored.T, strict=True):
    places, dropped = np.flatnonzero(right), np.flatnonzero(ignored)
    if not len(places):
      continue
    judged = seen[:, places]
    if len(dropped):
      before = np.searchsorted(dropped, places)
      passed = np.cumsum(counts[:, dropped], axis=1, dtype=np.int32)
      judged -= np.pad(passed, [[0, 0], [1, 0]])[:, before]
    copies = counts[:, places]
    found = np.cumsum(copies, axis=1, dtype=np.int32)
    precision = found / (judged + _TINY)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total += _at_recalls(best, copies, found[:, -1], needed)
  return total / detections.right.shape[1]


def _needed(positives: np.ndarray) -> np.ndarray:
  """Number of right detections needed for each recall level, int64 [draws, levels]; at least one.

  A level is reached when their number divided by `positives`, in float64, is no less, as pycocotools has it.
  """
  positives = np.maximum(positives, 1)[:, None]
  needed = np.floor(_RECALLS * positives)
  needed += needed / positives < _RECALLS
  return np.maximum(needed, 1).astype(np.int64)


def _at_recalls(
  best: np.ndarray, copies: np.ndarray, found: np.ndarray, needed: np.ndarray
) -> np.ndarray:
  """Mean over the recall levels of the best precision at or above each; 0 for levels that are not reached.

  Args:
    best: float64 [draws, right], best precision at or after each right detection.
    copies: int32 [draws, right], how often the draw has it.
    found: int32 [draws], their sum.
    needed: int64 [draws, levels], see `_needed`.

  Returns:
    float64 [draws].
  """
  each_copy = np.repeat(best.ravel(), copies.ravel())
  if not len(each_copy):
    return np.zeros(len(best))
  start = np.cumsum(found, dtype=np.int64) - found
  is_reached = needed <= found[:, None]
  place = np.where(is_reached, start[:, None] + needed - 1, 0)
  return np.where(is_reached, each_copy[place], 0.0).mean(axis=1)
