"""Runs the stages of self-training in one run directory."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

from official_selftrain.checkpoints import restore
from official_selftrain.configs import runs
from official_selftrain.core import config as config_lib
from official_selftrain.core import console, errors, files
from official_selftrain.pipeline import (
  calibrating,
  data,
  distribution,
  exporting,
  finished_models,
  first_checks,
  gating,
  graph,
  jobs,
  labelling,
  ledger,
  outlines,
  planning,
  pretrained,
  reporting,
  run_facts,
  selftrain_graph,
  sharing,
  training,
)
from official_selftrain.pipeline.selftrain_graph import CONTROL, PRETRAINING, STUDENT, TEACHER
from official_selftrain.presentation import base as presentations
from official_selftrain.pseudo_labels import calibration
from official_selftrain.tasks import contract

ALL_STAGES = 'all'


class SelfTrainingRun:
  """One run directory, and the stages that fill it."""

  def __init__(
    self,
    params: runs.SelfTrainingExperiment,
    model_dir: str,
    mode: str,
    shelf: sharing.Shelf | None = None,
  ):
    """Lays out the stages; touches no file.

    Args:
      params: a checked experiment.
      model_dir: the run directory.
      mode: `train` leaves out evaluation and report, `train_and_eval` runs everything.
      shelf: where dear products are shared with other runs; None if they are not.

    Raises:
      ConfigError: a stage depends on a setting that the experiment does not have.
    """
    self._given = params
    self._settings = config_lib.flatten(params)
    self._defaults = config_lib.class_defaults(params)
    self._params = params.replace()
    self._model_dir = model_dir
    self._mode = mode
    self._shelf = shelf
    self._where = f'this run (mode {mode})'
    self._data = data.locate(self._params, model_dir)
    self._jobs = jobs.Jobs(self._params, model_dir, self._data.class_names)
    corrections = {
      selftrain_graph.corrections_dir(number): functools.partial(
        self._jobs.corrections_digest, number
      )
      for number in range(1, self._params.rounds + 1)
    }
    self._digests = data.InputDigests(self._params, corrections)
    self._is_chief = distribution.is_chief(params.runtime)
    self._ledger = (ledger.Ledger if self._is_chief else ledger.FollowersLedger)(model_dir)
    self._graph = selftrain_graph.build(outlines.of(self._params, mode))
    self._graph.check_settings(self._settings)

  @property
  def stages(self) -> tuple[graph.Stage, ...]:
    """All stages in order."""
    return self._graph.stages

  def planned_keys(self) -> dict[str, str]:
    """Names of the stages' products that follow from the settings alone, before there are any files.

    Returns:
      Hex digest by stage. Where two runs have one key, they make the same of the same files.
    """
    stand_ins = {name: str(self._settings.get(name, '')) for name in self._graph.sources}
    return planning.keys(self._graph, self._settings, stand_ins)

  def execute(self, only: str = ALL_STAGES, restart: str = '') -> None:
    """Runs the stages that are not done, or one of them whose needs are finished.

    Args:
      only: a stage's name, or `all`.
      restart: a stage whose products, and those made from them, are removed first, if settings and data pass the first
        checks; '' for none.

    Raises:
      ConfigError: there is no such stage in this run.
      BusyError: another process is making a product for the shelf that is needed here.
      SelfTrainError: any error of a stage.
    """
    wanted = self._select(only)
    if restart:
      planning.choose(self._graph, restart, 'restart', self._where)
    self._open_data()
    if restart:
      self._restart(restart)
    self._check_needs(wanted)
    # All of them before anything runs, so that what is refused is refused first.
    actions = [self._decide(stage) for stage in wanted]
    if any(action is not planning.Action.SKIP for action in actions):
      if not restart:
        first_checks.check(self._params, self._data)
      ahead = [s for s, a in zip(wanted, actions, strict=True) if a is not planning.Action.SKIP]
      first_checks.check_batches(self._jobs, ahead, 'eval' in self._mode)
    did_work = False
    for number, stage in enumerate(wanted, 1):
      did_work |= self._execute_one(stage, f'[{number}/{len(wanted)}] {stage.name}')
    if not did_work:
      console.say(f'Everything in {self._model_dir} is finished already: nothing to do.')
    if self._is_chief and any(stage.kind == selftrain_graph.REPORT for stage in wanted):
      console.say(reporting.closing_words(self._model_dir))

  def _restart(self, name: str) -> None:
    """Removes the products of a stage and of those made from them, if settings and data pass the first checks."""
    # An earlier start may have reported and exported, whatever this one is asked for.
    outline = dataclasses.replace(outlines.of(self._params, self._mode), reports=True, exports=True)
    stages = planning.restarted(selftrain_graph.build(outline), name)
    first_checks.check(self._params, self._data)
    first_checks.check_batches(self._jobs, stages, 'eval' in self._mode)
    self._ledger.remove(stages)
    # No worker may look for what the chief is about to remove.
    distribution.meet(self._params.runtime)

  def label_request(self, name: str) -> labelling.Request:
    """The job of a stage that makes labels, for workers that do a part of it; the stage itself then finds it done.

    Args:
      name: a stage that makes labels.

    Raises:
      ConfigError: there is no such stage in this run, or it makes no labels.
      StageChangedError: the model that labels is not finished.
    """
    stage = planning.choose(self._graph, name, 'stage', self._where)
    if stage.kind != selftrain_graph.LABELS:
      raise errors.ConfigError(f'--stage={name} makes no labels.')
    self._open_data()
    self._check_needs([stage])
    self._decide(stage)  # Other settings must not write over finished labels.
    return self._labelling(stage)

  def evaluate(self, name: str) -> dict[str, float]:
    """Evaluates a model at its latest checkpoint: teacher, or a round's control or student.

    Returns:
      Metrics by the evaluator's names.

    Raises:
      ConfigError: there is no such stage in this run.
      DataError: it has no checkpoint.
    """
    stage = planning.choose(self._graph, name, 'stage', self._where)
    self._open_data()
    job = self._jobs.make(stage.kind, stage.round)
    given = self._params.teacher.checkpoint
    if stage.kind == TEACHER and given:
      digest = self._digests.now('teacher.checkpoint')
      planning.check_given_teacher(self._ledger.read(TEACHER), given, digest, self._model_dir)
      return labelling.evaluate_given_teacher(job, given)
    return training.run(job, self._mode)

  def _open_data(self) -> None:
    """Makes the embedded data, and reads the facts that only files have."""
    with distribution.chief_first(self._params.runtime):
      self._data = data.make(self._params, self._data)
    self._jobs = dataclasses.replace(self._jobs, class_names=self._data.class_names)

  def _path(self, *parts: str) -> str:
    return os.path.join(self._model_dir, *parts)

  def _select(self, only: str) -> list[graph.Stage]:
    """The stages to run: all, or one with the cheap ones that it needs."""
    if only == ALL_STAGES:
      return list(self._graph.stages)
    chosen = planning.choose(self._graph, only, 'stage', self._where)
    cheap = [stage for stage in self._graph.needed_by(only) if stage.is_cheap]
    return [*cheap, chosen]

  def _check_needs(self, wanted: list[graph.Stage]) -> None:
    """Raises StageChangedError when a stage that is needed was made with something else, or is not finished."""
    names = {stage.name for stage in wanted}
    for stage in wanted:
      for need in self._graph.needed_by(stage.name):
        if need.name not in names:
          self._decide(need)
          self._ledger.result(need.name)

  def _inputs(self, stage: graph.Stage) -> planning.Inputs:
    """The current inputs of a stage, as far as they are known."""
    names = (*stage.files, *stage.additions)
    digests: dict[str, str | None] = {name: self._digests.now(name) for name in names}
    for need in stage.needs:
      is_done = self._ledger.is_done(need)
      digests[need] = self._ledger.result(need)['digest'] if is_done else None
    former = self._digests.former(stage.files)
    return planning.Inputs(stage.reads.select(self._settings), digests, self._defaults, former)

  def _key(self, stage: graph.Stage) -> str:
    """The name of a stage's product."""
    file_digests = {name: self._digests.now(name) for name in self._graph.sources}
    return planning.keys(self._graph, self._settings, file_digests)[stage.name]

  def _decide(self, stage: graph.Stage) -> planning.Action:
    record = self._ledger.read(stage.name)
    if record is None:
      return planning.Action.START
    traces = self._ledger.traces(stage)
    return planning.decide(stage, record, self._inputs(stage), traces, self._model_dir)

  def _execute_one(self, stage: graph.Stage, announcement: str) -> bool:
    """Runs a stage unless it is done; returns whether it ran."""
    shelf = None if stage.is_cheap else self._shelf
    if self._decide(stage) is planning.Action.SKIP:
      if shelf is not None:
        shelf.offer(self._ledger, stage, self._key(stage))
      return False
    for need in stage.needs:
      self._ledger.result(need)  # Raises for one that is not finished.
    console.say(announcement)
    inputs, key, work = self._inputs(stage), self._key(stage), _WORK[stage.kind]
    with distribution.together(self._params.runtime):
      if self._is_chief:
        training.write_params(self._given, self._model_dir)
      if shelf is None:
        self._ledger.execute(stage, inputs, key, lambda: work(self, stage))
      else:
        shelf.make(self._ledger, stage, inputs, key, lambda: work(self, stage))
    return True

  @property
  def _finished(self) -> finished_models.FinishedModels:
    return finished_models.FinishedModels(self._params, self._jobs, self._ledger)

  def _make_teacher(self, stage: graph.Stage) -> dict[str, Any]:
    given = self._params.teacher.checkpoint
    if not given:
      return self._train(stage, '')
    labelling.forget_other_copy(self._path(TEACHER), given)
    return self._model_facts(given)

  def _make_backbone(self, stage: graph.Stage) -> dict[str, Any]:
    """The backbone that models start from: trained, imported or downloaded."""
    if self._params.trained_start is not None:
      return self._train(stage, '')
    if self._is_chief:
      pretrained.import_backbone(self._params, self._path(PRETRAINING))
    return self._model_facts(self._path(PRETRAINING))

  def _backbone(self) -> str:
    """Prefix of the checkpoint of the backbone that `init` names; '' without one, or while it is made."""
    if PRETRAINING in self._graph:
      is_done = self._ledger.is_done(PRETRAINING)
      return self._finished.checkpoint(PRETRAINING) if is_done else ''
    given = self._params.pretraining.checkpoint or self._params.init
    return restore.find(given) if self._params.has_init else ''

  def _train_later_model(self, stage: graph.Stage) -> dict[str, Any]:
    """Control or student, which may start from an earlier model, if there is one in this run."""
    control, student = selftrain_graph.control_from, selftrain_graph.labels_from
    model = (control if stage.kind == CONTROL else student)(stage.round)
    return self._train(stage, self._finished.checkpoint(model) if model in stage.needs else '')

  def _train(self, stage: graph.Stage, start: str) -> dict[str, Any]:
    job = self._jobs.make(stage.kind, stage.round, start, self._backbone())
    if stage.kind == STUDENT:
      self._finished.choose_labels(job.params.task.pseudo_data, stage.round)
    distribution.meet(self._params.runtime)  # The chief has removed what no longer counts.
    if training.finished_steps(job.model_dir) < job.train_steps:
      # The model that only calibrates cuts must have nothing to do with validation images.
      training.run(
        job, 'train' if stage.kind == selftrain_graph.CALIBRATION_TEACHER else self._mode
      )
    return self._model_facts(job.model_dir)

  def _model_facts(self, checkpoint: str) -> dict[str, Any]:
    if not self._is_chief:
      return {}  # The chief may still be writing the checkpoint.
    facts = labelling.describe_checkpoint(checkpoint)
    own = os.path.abspath(self._model_dir) + os.sep
    path = os.path.abspath(facts['checkpoint'])
    # Relative to the run directory if it is inside, so that the directory can be moved.
    return {**facts, 'checkpoint': path.removeprefix(own), 'digest': facts['sha256']}

  def _labelling(self, stage: graph.Stage) -> labelling.Request:
    teacher = self._finished.checkpoint(selftrain_graph.labels_from(stage.round))
    return self._jobs.labelling(stage.round, teacher)

  def _make_labels(self, stage: graph.Stage) -> dict[str, Any]:
    manifest = labelling.run_together(self._labelling(stage))
    if manifest is None:
      return {}  # The chief writes the record.
    totals = {name: getattr(manifest, name) for name in ('images', 'labelled', 'empty', 'dead')}
    return {'digest': manifest.labels_sha256, **totals}

  def _pass_gate(self, stage: graph.Stage) -> dict[str, Any]:
    """Raises GateError when too few pseudo labels survive the cut to train a student on."""
    return gating.judge(self._jobs, stage, self._presentation())

  def _calibrate(self, stage: graph.Stage) -> dict[str, Any]:
    teacher = self._finished.checkpoint(stage.needs[0]) if stage.needs else ''
    made = calibrating.run(self._jobs, teacher, self._presentation(), self._data.class_names)
    return {
      'digest': files.sha256(os.path.join(self._path(*stage.makes), calibration.FILE_NAME)),
      'cut': made.cut,
    }

  def _presentation(self) -> presentations.Presentation:
    """The presentation of this run's task."""
    task = contract.make(self._params.task, class_names=self._data.class_names)
    shown = presentations.PRESENTATIONS.lookup(self._params.task)
    return shown(task, task.label_format(self._params.labels), self._data.class_names)

  def _write_report(self, stage: graph.Stage) -> dict[str, Any]:
    last = max(self._graph[need].round for need in stage.needs)
    rounds = range(1, last + 1) if last > 1 else ()
    finished = self._finished
    models = finished.of_round(stage.needs, last)
    found = run_facts.RunFacts(
      params=self._params,
      settings=self._settings,
      model_dir=self._model_dir,
      data=self._data,
      label_dir=self._jobs.label_dir(last),
      spared=finished.spared(last),
      cuts=finished.cuts(last),
      presentation=self._presentation(),
      models=models,
      metrics={kind: finished.metrics(model) for kind, model in models.items()},
      seconds=self._ledger.seconds(self._graph.names),
      rounds=tuple(finished.round_facts(stage.needs, number) for number in rounds),
      starts=pretrained.starts(self._params, models),
      backbone=self._jobs.pretraining() if self._params.trained_start is not None else None,
    )
    return reporting.write(found) if self._is_chief else {}

  def _export(self, stage: graph.Stage) -> dict[str, Any]:
    model = self._finished.model(STUDENT, self._graph[stage.needs[0]].round)
    return exporting.export(model, self._params, self._path(*stage.makes))


_WORK: dict[str, Callable[[SelfTrainingRun, graph.Stage], dict[str, Any]]] = {
  PRETRAINING: SelfTrainingRun._make_backbone,
  TEACHER: SelfTrainingRun._make_teacher,
  selftrain_graph.CALIBRATION_TEACHER: SelfTrainingRun._make_teacher,
  selftrain_graph.LABELS: SelfTrainingRun._make_labels,
  selftrain_graph.CALIBRATION: SelfTrainingRun._calibrate,
  selftrain_graph.GATE: SelfTrainingRun._pass_gate,
  CONTROL: SelfTrainingRun._train_later_model,
  STUDENT: SelfTrainingRun._train_later_model,
  selftrain_graph.CEILING: SelfTrainingRun._make_teacher,  # There is no ceiling beside a given teacher.
  selftrain_graph.REPORT: SelfTrainingRun._write_report,
  selftrain_graph.EXPORT: SelfTrainingRun._export,
}
