"""Facts of an imaginary run that the tests vary."""

import dataclasses
from typing import Any

import numpy as np

from official_selftrain.report import records

CLASSES = ('cat', '<b>&')


def metrics(ap: float) -> dict[str, float]:
  return {'AP': ap, 'AP50': ap + 0.2, 'AP75': ap - 0.1}


def pseudo_labels(**changes: Any) -> records.PseudoLabelFacts:
  """Pseudo labels without any fault that advice could be derived from."""
  facts = records.PseudoLabelFacts(
    num_images=1500,
    labelled=1400,
    empty=98,
    dead=2,
    kept_share_at_cut=0.3,
    boxes_per_image=2.9,
    boxes_per_image_human=3.0,
    score_histogram=records.ScoreHistogram((0.0, 0.25, 0.5, 0.75, 1.0), (400, 200, 100, 50)),
    counts_per_class={'cat': 500, '<b>&': 400},
    counts_per_class_human={'cat': 30, '<b>&': 20},
    quality=(
      records.QualityAtCut(cut=0.3, precision=0.7, recall=0.8, f1=0.747, box_count_ratio=1.14),
      records.QualityAtCut(cut=0.5, precision=0.9, recall=0.6, f1=0.72, box_count_ratio=0.67),
    ),
    cut=0.5,
    teacher_digest='0123456789abcdef0123',
  )
  return dataclasses.replace(facts, **changes)


def inputs(
  teacher: float | None = 0.4,
  control: float | None = 0.42,
  student: float | None = 0.45,
  **changes: Any,
) -> records.ReportInputs:
  """A run whose models reach these APs; None is a model that was not trained."""
  values = {'teacher': teacher, 'control': control, 'student': student}
  facts = records.ReportInputs(
    experiment='retinanet_selftrain',
    seed=7,
    steps={'teacher': 1500, 'control': 1200, 'student': 1200},
    metrics={name: None if ap is None else metrics(ap) for name, ap in values.items()},
    class_names=CLASSES,
    per_class={name: {'cat': ap, '<b>&': float('nan')} for name, ap in values.items() if ap},
    pseudo_labels=pseudo_labels(),
    num_labelled_images=80,
    num_validation_images=500,
  )
  return dataclasses.replace(facts, **changes)


def sheet(columns: int = 3) -> records.Sheet:
  """Three grey pictures of 32 x 64 pixels with one box of each kind of the comparison."""
  image = np.full((32, 64, 3), 90, np.uint8)
  tiles = tuple(
    records.Tile(image, (records.Box(8, 4, 24, 20, '<b>&', score, kind),), f'{kind} <i>')
    for kind, score in (('truth', None), ('teacher', 0.5), ('student', 0.75))
  )
  return records.Sheet('Validation <images>', 'Truth & models.', columns, tiles)
