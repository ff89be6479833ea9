"""Facts about the calibrated cuts of a run."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from official_selftrain.configs import runs
from official_selftrain.core import class_names as names_lib
from official_selftrain.pipeline import selftrain_graph
from official_selftrain.pseudo_labels import calibration
from official_selftrain.report import calibrated


def of(
  params: runs.SelfTrainingExperiment,
  model_dir: str,
  class_names: tuple[str, ...],
  ignore_cut: float | None,
) -> calibrated.Calibration | None:
  """The calibrated cuts of a run whose calibration is finished.

  Args:
    params: the experiment.
    model_dir: the run directory.
    class_names: from id 1.
    ignore_cut: lower end of the ignore band that the student is trained with.

  Returns:
    The facts; None where the settings have numbers.
  """
  settings = params.calibration
  if not params.task.pseudo_data.is_calibrated:
    return None
  found = calibration.load(os.path.join(model_dir, selftrain_graph.CALIBRATION))
  assert found is not None
  rule = 'as many labels as people drew'
  if settings.rule == 'f_beta':
    rule = f'the highest F-beta, with beta {settings.beta:g}'
  overall = found.curves['overall']
  row = calibration.row_at(overall['cuts'], found.cut)
  whole = calibration.ClassCut(
    cut=found.cut,
    truths=overall['truths'],
    precision=row['precision'],
    recall=row['recall'],
    is_own=False,
  )
  return calibrated.Calibration(
    images=found.images,
    is_held_out=not (settings.label_dir or params.teacher.checkpoint),
    rule=rule,
    ignore_cut=ignore_cut,
    overall=_calibrated('all classes', whole, overall['cuts']),
    classes=tuple(
      _calibrated(
        names_lib.name_of(class_names, class_id),
        each,
        found.curves['per_class'][str(class_id)]['cuts'],
      )
      for class_id, each in sorted(found.classes.items())
    ),
  )


def _calibrated(
  name: str, found: calibration.ClassCut, rows: Sequence[Mapping[str, Any]]
) -> calibrated.CalibratedClass:
  curve = tuple((row['cut'], row['precision'], row['recall']) for row in rows)
  return calibrated.CalibratedClass(name=name, curve=curve, **dataclasses.asdict(found))
