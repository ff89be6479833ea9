"""Facts of an imaginary run that the tests vary."""

import dataclasses
from typing import Any

import numpy as np

from official_selftrain.core import comparison
from official_selftrain.report import contents

CLASSES = ('cat', '<b>&')


def metrics(ap: float) -> dict[str, float]:
  return {'AP': ap, 'AP50': ap + 0.2, 'AP75': ap - 0.1}


def pseudo_labels(**changes: Any) -> contents.PseudoLabelFacts:
  """Pseudo labels without any fault that advice could be derived from."""
  facts = contents.PseudoLabelFacts(
    num_images=1500,
    labelled=1400,
    empty=98,
    dead=2,
    kept_share_at_cut=0.3,
    labels_per_image=2.9,
    human_labels_per_image=3.0,
    score_histogram=contents.ScoreHistogram((0.0, 0.25, 0.5, 0.75, 1.0), (400, 200, 100, 50)),
    counts_per_class={'cat': 500, '<b>&': 400},
    counts_per_class_human={'cat': 30, '<b>&': 20},
    quality=(
      contents.QualityAtCut(cut=0.3, precision=0.7, recall=0.8, f1=0.747, count_ratio=1.14),
      contents.QualityAtCut(cut=0.5, precision=0.9, recall=0.6, f1=0.72, count_ratio=0.67),
    ),
    cut=0.5,
    teacher_digest='0123456789abcdef0123',
  )
  return dataclasses.replace(facts, **changes)


def difference(value: float, low: float, high: float) -> comparison.Comparison:
  """A difference with its 90% interval."""
  return comparison.Comparison(
    difference=value, low=low, high=high, confidence=0.9, resamples=1000, images=500
  )


def comparisons(half: float = 0.01, **scores: float | None) -> dict[str, comparison.Comparison]:
  """Differences between models that reach these scores; their intervals reach `half` to both sides."""
  known = {model: value for model, value in scores.items() if contents.finite(value) is not None}
  return {
    comparison.name(first, second): difference(value, value - half, value + half)
    for first, second in contents.COMPARED
    if (value := contents.difference(known.get(first), known.get(second))) is not None
  }


def inputs(
  teacher: float | None = 0.4,
  control: float | None = 0.42,
  student: float | None = 0.45,
  **changes: Any,
) -> contents.ReportInputs:
  """A run whose models reach these APs, give or take 0.01; None is a model that was not trained."""
  values = {'teacher': teacher, 'control': control, 'student': student}
  facts = contents.ReportInputs(
    experiment='retinanet_selftrain',
    seed=7,
    steps={'teacher': 1500, 'control': 1200, 'student': 1200},
    metrics={name: None if ap is None else metrics(ap) for name, ap in values.items()},
    class_names=CLASSES,
    per_class={name: {'cat': ap, '<b>&': float('nan')} for name, ap in values.items() if ap},
    pseudo_labels=pseudo_labels(),
    num_labelled_images=80,
    num_validation_images=500,
    comparisons=comparisons(**values),
  )
  return dataclasses.replace(facts, **changes)


MASK_CLASSES = ('background', *CLASSES)


def mask_facts(**changes: Any) -> contents.PseudoLabelFacts:
  """Pseudo masks, with held-out truth; at the highest cut no pixel is kept."""
  # cut, precision, recall, kept share, accuracy
  rows = (
    (0.3, 0.7, 0.8, 0.95, 0.875),
    (0.5, 0.9, 0.6, 0.8125, 0.9625),
    (0.95, np.nan, np.nan, 0.0, None),
  )
  quality = tuple(
    contents.QualityAtCut(
      cut=cut,
      precision=precision,
      recall=recall,
      f1=0.72,
      count_ratio=0.67,
      kept_share=share,
      accuracy=accuracy,
    )
    for cut, precision, recall, share, accuracy in rows
  )
  values = {
    'labels_per_image': 1450.4,
    'human_labels_per_image': 1500.0,
    'quality': quality,
    'ignore_cut': 0.0,
    'accuracy_by_confidence': ((0.425, 0.5), (0.975, 0.99)),
  }
  return pseudo_labels(**(values | changes))


def mask_inputs(**changes: Any) -> contents.ReportInputs:
  """A run of segmentation; no validation image shows the class cat."""
  values: dict[str, Any] = {
    'metrics': {name: {'mean_iou': 0.5} for name in contents.MODELS},
    'class_names': MASK_CLASSES,
    'per_class': {name: {'background': 0.9, '<b>&': 0.1} for name in contents.MODELS},
    'pseudo_labels': mask_facts(),
    'primary_metric': 'mean_iou',
    'table_metrics': ('mean_iou',),
    'class_metric': 'IoU',
    'unit': 'object pixels',
    'confusion': {'student': [[80, 20, 0], [0, 0, 0], [1, 2, 1497]]},
    'comparisons': comparisons(teacher=0.5, control=0.5, student=0.5),
  }
  return inputs(**(values | changes))


def sheet(columns: int = 3) -> contents.Sheet:
  """Three grey pictures of 32 x 64 pixels with one box of each kind of the comparison."""
  image = np.full((32, 64, 3), 90, np.uint8)
  tiles = tuple(
    contents.Tile(image, (contents.Box(8, 4, 24, 20, '<b>&', score, kind),), f'{kind} <i>')
    for kind, score in (('truth', None), ('teacher', 0.5), ('student', 0.75))
  )
  return contents.Sheet('Validation <images>', 'Truth & models.', columns, tiles)
