"""The facts of a run for report and export: a frozen record, so that they need not know how runs work."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from official_selftrain.configs import runs
from official_selftrain.pipeline import data, training
from official_selftrain.presentation import base
from official_selftrain.pseudo_labels import cuts
from official_selftrain.report import contents


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedModel:
  """A finished model.

  Attributes:
    job: how it was trained.
    checkpoint: prefix of its last checkpoint.
    step: number of steps it had.
  """

  job: training.Job
  checkpoint: str
  step: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundFacts:
  """A finished round.

  Attributes:
    number: from 1.
    label_dir: its labels.
    cuts: the cuts with which its student read them.
    models: its control, if there is one, and its student.
    metrics: their metrics under the evaluator's names.
  """

  number: int
  label_dir: str
  cuts: cuts.Cuts
  models: Mapping[contents.Model, TrainedModel]
  metrics: Mapping[contents.Model, Mapping[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFacts:
  """A run whose models are finished.

  Attributes:
    params: the experiment, its input paths filled in.
    settings: the settings as the user gave them, flattened to dotted names.
    model_dir: the run directory.
    data: facts about the data.
    label_dir: the labels that the student of the last round was trained on.
    cuts: the cuts with which it read them.
    spared: ids of the classes that it learned from human labels alone.
    presentation: how the task is shown.
    models: teacher and control, if there are any, and student; those of the last round.
    metrics: their metrics under the evaluator's names.
    seconds: wall time by stage.
    rounds: all of them, if there are several.
    starts: what each model started from, in words.
    backbone: the job of a backbone that this run trained, or None.
  """

  params: runs.SelfTrainingExperiment
  settings: Mapping[str, Any]
  model_dir: str
  data: data.DataFacts
  label_dir: str
  cuts: cuts.Cuts
  spared: Sequence[int]
  presentation: base.Presentation
  models: Mapping[contents.Model, TrainedModel]
  metrics: Mapping[contents.Model, Mapping[str, float]]
  seconds: Mapping[str, float]
  rounds: tuple[RoundFacts, ...] = ()
  starts: Mapping[str, str] = dataclasses.field(default_factory=dict)
  backbone: training.Job | None = None
