"""`report.json`: the same facts for programs."""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from official_selftrain.core import files
from official_selftrain.report import contents, judgement


def to_json(inputs: contents.ReportInputs, verdict: judgement.Verdict) -> dict[str, Any]:
  """The report as JSON values.

  Args:
    inputs: the run's facts; curves and pictures are left out.
    verdict: what `judgement.verdict` says about them.

  Returns:
    A dictionary with the keys teacher, control, student, ceiling (each its metrics under the evaluator's names, null
    when the model was not trained), comparisons (the primary metric's differences with their intervals), per_class,
    class_metric, confusion, pseudo_labels, rounds (empty for a run of one), calibration (null without one), starts,
    pretraining (null if this run made none), verdict,
    seed, steps, experiment, settings, settings_not_default, changed_settings, seconds, versions and command. Missing,
    NaN and infinite values are null.
  """
  facts = inputs.pseudo_labels
  pseudo_labels = None
  if facts is not None:
    pseudo_labels = dataclasses.asdict(facts) | {'count_ratio': facts.count_ratio}
  report = {model: inputs.metrics.get(model) for model in contents.ALL_MODELS} | {
    'comparisons': {name: dataclasses.asdict(found) for name, found in inputs.comparisons.items()},
    'per_class': inputs.per_class,
    'class_metric': inputs.class_metric,
    'confusion': inputs.confusion,
    'pseudo_labels': pseudo_labels,
    'calibration': dataclasses.asdict(inputs.calibration) if inputs.calibration else None,
    'starts': inputs.starts,
    'pretraining': dataclasses.asdict(inputs.pretraining) if inputs.pretraining else None,
    'rounds': [dataclasses.asdict(each) for each in inputs.rounds],
    'verdict': dataclasses.asdict(verdict) | {'metric': inputs.primary_metric},
    'seed': inputs.seed,
    'steps': inputs.steps,
    'experiment': inputs.experiment,
    'settings': inputs.settings,
    'settings_not_default': inputs.settings_not_default,
    'changed_settings': inputs.changed_settings,
    'seconds': inputs.seconds,
    'versions': inputs.versions,
    'command': inputs.command,
  }
  return _plain(report)


def write_json(
  inputs: contents.ReportInputs, verdict: judgement.Verdict, path: str | os.PathLike[str]
) -> None:
  """Writes `to_json` to `path`, whole or not at all."""
  files.write_json(path, to_json(inputs, verdict))


def _plain(value: object) -> Any:
  """A value as JSON has it: NumPy becomes Python, NaN and infinities None, anything else its text."""
  if isinstance(value, np.generic | np.ndarray):
    value = value.tolist()
  if isinstance(value, Mapping):
    return {str(key): _plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if value is None or isinstance(value, bool | int | str):
    return value
  return str(value)
