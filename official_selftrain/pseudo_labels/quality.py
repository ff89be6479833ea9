"""Measures pseudo labels: against the truth where it is known, and by their own counts.

A cut trades missed objects for wrong ones. `evaluate` shows the trade for every cut at once, on
unlabelled images if somebody knows their truth, or on labelled images that the teacher has
predicted too. `gate` stops a run before a student is trained on worthless labels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from official_selftrain.core import errors
from official_selftrain.datasets import coco
from official_selftrain.pseudo_labels import boxes as boxes_lib
from official_selftrain.pseudo_labels import cuts as cuts_lib
from official_selftrain.pseudo_labels import formats
from official_selftrain.pseudo_labels import manifest as manifest_lib

# What `evaluate_labels` here and in `mask_quality` found, as JSON holds it. `overall` has `cuts`, a list of rows {cut,
# precision, recall, f1, count_ratio} and, for masks, {accuracy, kept_share}; masks also have `by_confidence`.
Measured = dict[str, Any]

DEFAULT_CUTS = tuple(round(0.05 * step, 2) for step in range(1, 20))


def pairwise_iou(boxes: np.ndarray, truths: np.ndarray, is_crowd: np.ndarray) -> np.ndarray:
  """Intersection over union of every box with every true box.

  Args:
    boxes: float `[n, 4]` (ymin, xmin, ymax, xmax).
    truths: float `[m, 4]`, same frame.
    is_crowd: bool `[m]`; for a crowd the intersection is divided by the area of the box alone, as
      in the COCO evaluation.

  Returns:
    float64 `[n, m]`.
  """
  boxes, truths = np.asarray(boxes, np.float64), np.asarray(truths, np.float64)
  low = np.maximum(boxes[:, np.newaxis, :2], truths[np.newaxis, :, :2])
  high = np.minimum(boxes[:, np.newaxis, 2:], truths[np.newaxis, :, 2:])
  intersection = np.prod(np.clip(high - low, 0.0, None), axis=-1)
  area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)[:, np.newaxis]
  true_area = np.prod(truths[:, 2:] - truths[:, :2], axis=-1)[np.newaxis]
  union = np.where(is_crowd[np.newaxis], area, area + true_area - intersection)
  return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


@dataclasses.dataclass(frozen=True)
class _Matches:
  """Boxes of many images after matching, without those on a crowd.

  Attributes:
    scores: float32 `[n]`.
    classes: int `[n]`.
    is_true: bool `[n]`, whether the box has a true box of its own.
  """

  scores: np.ndarray
  classes: np.ndarray
  is_true: np.ndarray

  def of_class(self, class_id: int) -> '_Matches':
    """The boxes of one class."""
    chosen = self.classes == class_id
    return _Matches(self.scores[chosen], self.classes[chosen], self.is_true[chosen])


def _match_image(
  prediction: boxes_lib.ScoredBoxes, truth: coco.Boxes, min_iou: float
) -> list[tuple[float, int, bool]]:
  """Matches greedily, best score first, within classes; each true box serves once.

  Greedy matching in the order of scores gives for every cut what matching only the boxes above that
  cut would give, so one pass serves all cuts.
  """
  is_crowd, classes = truth.is_crowd, prediction.classes
  iou = pairwise_iou(prediction.boxes, truth.boxes, is_crowd)
  iou[classes[:, np.newaxis] != truth.classes[np.newaxis]] = 0.0
  on_crowd = (iou * is_crowd >= min_iou).any(axis=1)
  free = np.where(is_crowd, 0.0, 1.0)
  result = []
  for box in np.argsort(-prediction.scores, kind='stable'):
    candidates = iou[box] * free
    best = int(candidates.argmax()) if candidates.size else -1
    is_true = best >= 0 and candidates[best] >= min_iou
    if is_true:
      free[best] = 0.0
    elif on_crowd[box]:
      continue
    result.append((prediction.scores[box], int(classes[box]), bool(is_true)))
  return result


def _match(
  predictions: Sequence[boxes_lib.ScoredBoxes], truths: Sequence[coco.Boxes], min_iou: float
) -> _Matches:
  """Matches all images."""
  rows = [
    row
    for prediction, truth in zip(predictions, truths, strict=True)
    for row in _match_image(prediction, truth, min_iou)
  ]
  scores, classes, is_true = zip(*rows, strict=True) if rows else ((), (), ())
  return _Matches(np.array(scores, np.float32), np.array(classes, int), np.array(is_true, bool))


def ratio(numerator: float, denominator: float) -> float | None:
  """A quotient, None when there is nothing to divide by; JSON has no NaN."""
  return numerator / denominator if denominator else None


def _curve(matches: _Matches, num_truths: int, cuts: Sequence[float]) -> dict[str, Any]:
  """Quality by cut.

  Args:
    matches: matched boxes.
    num_truths: number of true boxes, crowds not counted.
    cuts: the cuts.

  Returns:
    `truths`, `cuts` with one entry per cut, and the suggested cuts.
  """
  rows = []
  kept = [matches.scores >= np.float32(cut) for cut in cuts]
  boxes = [int(mask.sum()) for mask in kept]
  true = [int(matches.is_true[mask].sum()) for mask in kept]
  for step, cut in enumerate(cuts):
    rows.append(
      {
        'cut': float(cut),
        'boxes': boxes[step],
        'precision': ratio(true[step], boxes[step]),
        'recall': ratio(true[step], num_truths),
        'f1': ratio(2.0 * true[step], boxes[step] + num_truths),
        'count_ratio': ratio(boxes[step], num_truths),
      }
    )
  by_count = by_f1 = None
  if num_truths:
    # The higher cut among equals: a wrong box costs the student more than a missed one.
    steps = sorted(range(len(cuts)), key=lambda step: cuts[step], reverse=True)
    by_count = cuts[min(steps, key=lambda step: abs(boxes[step] - num_truths))]
    by_f1 = cuts[max(steps, key=lambda step: true[step] / (boxes[step] + num_truths))]
  return {'truths': num_truths, 'cuts': rows, 'cut_by_count': by_count, 'cut_by_f1': by_f1}


def evaluate(
  predictions: Sequence[boxes_lib.ScoredBoxes],
  truths: Sequence[coco.Boxes],
  cuts: Sequence[float] = DEFAULT_CUTS,
  min_iou: float = 0.5,
) -> Measured:
  """Measures scored boxes against true ones.

  Args:
    predictions: one entry per image.
    truths: the same images in the same order. Frame and units of the boxes are free, but the same as in `predictions`.
    cuts: the cuts to report.
    min_iou: a box is true when it overlaps an unclaimed true box of its class at least this much.

  Returns:
    JSON-serialisable: `images`, `min_iou`, `overall` and `per_class` {class id: curve}. A curve has
    `truths` (number of true boxes), `cuts`, a list of {cut, boxes, precision, recall, f1,
    count_ratio}, and the suggested cuts `cut_by_count`, where as many boxes are kept as there are
    true ones, and `cut_by_f1`. Quotients with nothing to divide by are None.

  Raises:
    DataError: There are no images, or not as many predictions as truths.
  """
  if not truths or len(predictions) != len(truths):
    raise errors.DataError(
      f'{len(predictions)} images have predictions and {len(truths)} have true boxes; '
      'quality needs the same images in both, at least one'
    )
  matches = _match(predictions, truths, min_iou)
  true_classes = np.concatenate([truth.classes[~truth.is_crowd] for truth in truths])
  per_class = {}
  for class_id in np.union1d(true_classes, matches.classes).tolist():
    num_truths = int((true_classes == class_id).sum())
    per_class[str(class_id)] = _curve(matches.of_class(class_id), num_truths, cuts)
  return {
    'images': len(truths),
    'min_iou': min_iou,
    'overall': _curve(matches, len(true_classes), cuts),
    'per_class': per_class,
  }


def evaluate_labels(
  label_files: Sequence[str],
  truth: coco.Annotations,
  cuts: Sequence[float] = DEFAULT_CUTS,
) -> Measured:
  """Measures pseudo labels against the truth about the unlabelled images, where that is known.

  Args:
    label_files: label shards of the detection format.
    truth: annotations whose image ids are the source ids of the images.
    cuts: the cuts to report.

  Returns:
    What `evaluate` returns over the images that have both, and `images_without_truth`.

  Raises:
    DataError: A label shard is missing or broken, a true box is, or no image has both.
  """
  both: dict[str, tuple[boxes_lib.ScoredBoxes, coco.Boxes]] = {}
  without, example = 0, None
  for name, predicted in boxes_lib.read_predictions(label_files):
    true = truth.boxes(name)
    if true is None:
      without += 1
      example = example or name
    else:
      both[name] = (predicted, true)
  if not both:
    raise errors.DataError(
      f'None of the {without} labelled images has an entry in {truth.path}. The labels have ids such as {example!r}, '
      f'the truth {next(iter(truth.image_ids()), None)!r}'
    )
  predictions, truths = zip(*both.values(), strict=True)
  return {**evaluate(predictions, truths, cuts), 'images_without_truth': without}


def share_kept(
  manifest: manifest_lib.Manifest, label_format: formats.LabelFormat, cuts: cuts_lib.Cuts
) -> float:
  """Share of all stored labels that the cuts keep as objects; 0 without labels."""
  kept = label_format.kept(manifest.summary, cuts)
  return kept.objects_kept / kept.objects if kept.objects else 0.0


def _passes(
  kept: formats.Kept, images: int, min_objects_per_image: float, min_share: float
) -> bool:
  """Whether enough is kept; nothing is never enough."""
  enough_objects = kept.objects_kept >= min_objects_per_image * images
  return kept.objects_kept > 0 and enough_objects and kept.images_kept >= min_share * images


def gate(
  manifest: manifest_lib.Manifest,
  label_format: formats.LabelFormat,
  cuts: cuts_lib.Cuts,
  min_objects_per_image: float = 0.0,
  min_share: float = 0.01,
) -> formats.Kept:
  """Passes labels that are worth training a student on.

  Args:
    manifest: the labels' manifest.
    label_format: their format.
    cuts: the cuts that the student's reader will apply.
    min_objects_per_image: labels at or above the cut, per image that the teacher has seen.
    min_share: share of those images, from 0 to 1, that must have such a label.

  Returns:
    What the cuts leave.

  Raises:
    ConfigError: The labels were not stored down to the lowest cut, which then has no effect.
    GateError: Too little is left; says what the scores look like and what to do.
  """
  stored_from = manifest.format_settings.get('min_score', 0.0)
  if cuts.lowest < stored_from:
    raise errors.ConfigError(
      f'The lowest cut is {cuts.lowest}, but labels below {stored_from} were not stored; '
      f'choose cuts from {stored_from} to 1, or label again with a lower min_score'
    )
  images = max(manifest.labelled + manifest.empty, 1)
  kept = label_format.kept(manifest.summary, cuts)
  if _passes(kept, images, min_objects_per_image, min_share):
    return kept
  raise errors.GateError(
    f'At cut {cuts.cut:g} the {images} unlabelled images keep {kept.objects_kept:.0f} pseudo '
    f'labels, {kept.objects_kept / images:.3f} per image, and {kept.images_kept:.0f} images keep '
    f'any; required: at least one label, {min_objects_per_image:g} labels per image and '
    f'{min_share:.1%} of the images. '
    + _advice(manifest, label_format, cuts, (min_objects_per_image, min_share))
  )


def _advice(
  manifest: manifest_lib.Manifest,
  label_format: formats.LabelFormat,
  cuts: cuts_lib.Cuts,
  rules: tuple[float, float],
) -> str:
  """Advice for a closed gate."""
  images = max(manifest.labelled + manifest.empty, 1)
  scores = label_format.kept(manifest.summary, cuts)
  if not scores.objects:
    return 'The teacher found nothing at all: train it longer, or check its checkpoint and its data'
  seen = f'The highest score is at most {scores.highest_score:g}. '
  for cut in reversed(DEFAULT_CUTS):
    kept = label_format.kept(manifest.summary, cuts_lib.Cuts(cut))
    if cut < cuts.cut and _passes(kept, images, *rules):
      return (
        f'{seen}Train the teacher longer, or lower the cut: {cut:g} would keep '
        f'{kept.objects_kept / images:.3f} labels per image'
      )
  return f'{seen}No lower cut would keep enough either: train the teacher longer'
