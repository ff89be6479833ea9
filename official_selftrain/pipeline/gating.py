"""The gate before a student: whether there are labels enough, and what of them it learns."""

from typing import Any

from official_selftrain.core import console
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pipeline import (
  calibration_facts,
  data,
  diagnosis,
  graph,
  jobs,
  label_summaries,
  labelling,
  matched_cuts,
  selftrain_graph,
  spared_classes,
)
from official_selftrain.presentation import base as presentations
from official_selftrain.report import foresight
from official_selftrain.tasks import contract


def judge(work: jobs.Jobs, stage: graph.Stage, shown: presentations.Presentation) -> dict[str, Any]:
  """Judges the labels of a round, and says what they give to expect.

  Args:
    work: the jobs of the run.
    stage: the gate.
    shown: the presentation of the task.

  Returns:
    The stage's result. `matched` and `spared` are what the labels chose of their settings, see `matched_cuts` and
    `spared_classes`.

  Raises:
    GateError: too few pseudo labels survive the cut to train a student on.
  """
  params, label_dir, task = work.params, work.label_dir(stage.round), work.task(stage.round)
  human = shown.human_labels(data.labelled_records(params.task))
  matched = matched_cuts.find(task.pseudo_data, label_dir, params.task.model.num_classes, human)
  matched_cuts.put(task.pseudo_data, matched)
  used = contract.make(task).label_cuts(task.pseudo_data)
  if matched:
    console.say(f'cuts by the number of labels: {used.in_words()}')
  if any(need.startswith(selftrain_graph.LABELS) for need in stage.needs):
    # Here and not with the labels, because it shows what the cuts leave of them.
    images = tfrecords.match_files(task.pseudo_data.input_path, 'task.pseudo_data.input_path')
    with diagnosis.explain(stage.name, contract.make(task)):
      label_summaries.write(shown, images, label_dir, used, params.report.num_pictures)
  label_format = contract.make(params.task).label_format(params.labels)
  kept = labelling.gate(params.labels, label_dir, label_format, used)
  facts = shown.facts(label_dir, used, human, None)
  spared = spared_classes.find(params.task, shown.class_names, facts)
  facts = spared_classes.add(facts, spared, shown.class_names)
  calibrated = calibration_facts.of(params, work.model_dir, shown.class_names, used.ignore_cut)
  doubts = foresight.doubts(facts, shown.unit, calibrated)
  for doubt in doubts:
    console.say(f'foreseen: {doubt}')
  # Equal for all labels that pass: what a student is made from are the labels, and what of them is taught.
  digest = 'open'
  if spared:
    digest += f', spares {spared}'
  if matched:
    digest += f', cuts {matched}'
  chosen = {'matched': matched} if matched else {}
  return {
    'digest': digest,
    'kept': kept.objects_kept,
    'doubts': doubts,
    'spared': spared,
    **chosen,
  }
