"""The finished models of a run of self-training, and their metrics."""

import dataclasses
import os
from collections.abc import Collection

from official_selftrain.configs import inputs, runs
from official_selftrain.pipeline import jobs, labelling, ledger, matched_cuts, run_facts, training
from official_selftrain.pipeline.graph import stage_name
from official_selftrain.pipeline.selftrain_graph import CONTROL, GATE, STUDENT, TEACHER
from official_selftrain.pseudo_labels import cuts
from official_selftrain.report import contents
from official_selftrain.tasks import contract

_OF_ROUNDS = (CONTROL, STUDENT)


@dataclasses.dataclass(frozen=True)
class FinishedModels:
  """What the stages of a run have trained.

  Attributes:
    params: the experiment.
    jobs: its jobs.
    ledger: its records.
  """

  params: runs.SelfTrainingExperiment
  jobs: jobs.Jobs
  ledger: ledger.Ledger
  _measured: dict[tuple[str, int], dict[str, float]] = dataclasses.field(
    default_factory=dict, init=False, repr=False, compare=False
  )

  def checkpoint(self, name: str) -> str:
    """Prefix of the checkpoint of a finished stage."""
    return os.path.join(self.ledger.model_dir, self.ledger.result(name)['checkpoint'])

  def spared(self, round_number: int) -> list[int]:
    """Ids of the classes that the student of a round learns from human labels alone."""
    found: list[int] = self.ledger.result(stage_name(GATE, round_number)).get('spared', [])
    return found

  def choose_labels(self, pseudo: inputs.PseudoStream, round_number: int) -> None:
    """Puts what the gate of a round chose in the place of the settings: cuts, and classes left to human labels."""
    result = self.ledger.result(stage_name(GATE, round_number))
    matched_cuts.put(pseudo, result.get('matched'))
    pseudo.spared_classes = self.spared(round_number)

  def cuts(self, round_number: int) -> cuts.Cuts:
    """The cuts that the student of a round trains with."""
    task = self.jobs.task(round_number)
    self.choose_labels(task.pseudo_data, round_number)
    return contract.make(task).label_cuts(task.pseudo_data)

  def model(self, kind: str, round_number: int) -> run_facts.TrainedModel:
    """One of them."""
    name = stage_name(kind, round_number)
    return run_facts.TrainedModel(
      job=self.jobs.make(kind, round_number),
      checkpoint=self.checkpoint(name),
      step=self.ledger.result(name)['global_step'],
    )

  def of_round(
    self, names: Collection[str], number: int
  ) -> dict[contents.Model, run_facts.TrainedModel]:
    """Those of the named stages that are of a round, and those that are of all rounds: teacher and ceiling."""
    found: dict[contents.Model, run_facts.TrainedModel] = {}
    for kind in contents.ALL_MODELS:
      round_number = number if kind in _OF_ROUNDS else 1
      if stage_name(kind, round_number) in names:
        found[kind] = self.model(kind, round_number)
    return found

  def metrics(self, model: run_facts.TrainedModel) -> dict[str, float]:
    """Metrics of a model; evaluated now if its last step has not been on this data in this way.

    A model is looked up once: all of several workers evaluate together, so none of them may find in the file what
    the chief has measured a moment ago, and others not.
    """
    key = (model.job.name, model.step)
    if key not in self._measured:
      self._measured[key] = self._measure(model)
    return self._measured[key]

  def _measure(self, model: run_facts.TrainedModel) -> dict[str, float]:
    recorded = training.recorded_metrics(model.job, model.step)
    if recorded is not None:
      return recorded
    if model.job.name == TEACHER and self.params.teacher.checkpoint:
      return labelling.evaluate_given_teacher(model.job, model.checkpoint)
    return training.run(model.job, 'eval')

  def round_facts(self, names: Collection[str], number: int) -> run_facts.RoundFacts:
    """Facts about a round alone."""
    found = self.of_round(names, number)
    models = {kind: model for kind, model in found.items() if kind in _OF_ROUNDS}
    return run_facts.RoundFacts(
      number=number,
      label_dir=self.jobs.label_dir(number),
      cuts=self.cuts(number),
      models=models,
      metrics={kind: self.metrics(model) for kind, model in models.items()},
    )
