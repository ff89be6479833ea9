"""Checks the data of a run of self-training as far as possible before hours are spent on it."""

import functools
from collections.abc import Iterable

from official_selftrain.configs import runs, tasks
from official_selftrain.core import errors
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pipeline import (
  classes,
  data,
  distribution,
  graph,
  jobs,
  pretrained,
  selftrain_graph,
  validation_records,
)
from official_selftrain.pseudo_labels import labeller
from official_selftrain.tasks import contract, stream_specs


def check(params: runs.SelfTrainingExperiment, facts: data.DataFacts) -> None:
  """Looks at augmentation, files, first records, validation images and a given teacher.

  Args:
    params: the experiment, its input paths filled in.
    facts: what is known about its data.

  Raises:
    ConfigError: settings that do not fit the data.
    DataError: a path leads to nothing, or records cannot be used.
  """
  task = contract.make(params.task, class_names=facts.class_names)
  data.check_augmentation(params)
  data.check_files(params.task, is_training=True)
  data.check_truth(facts)
  _check_unlabelled(params)
  data.check_first_records(task)
  validation_records.check(params.task, facts.class_names)
  pretrained.check(params)
  _check_ceiling(params, task)
  if params.teacher.checkpoint:
    classes.check_teacher(params.teacher.checkpoint, params.task, facts.class_names)


def check_batches(made: jobs.Jobs, stages: Iterable[graph.Stage], evaluates: bool) -> None:
  """Raises ConfigError for batches of any training to come, or of its evaluation, that the replicas cannot share.

  Args:
    made: makes the jobs of the run.
    stages: those that will run.
    evaluates: models are also evaluated.
  """
  trained = [
    stage
    for stage in stages
    if stage.kind in jobs.TRAINED and not _is_given(stage.kind, made.params)
  ]
  if not trained:
    return  # Perhaps on another machine, without the devices of the settings.
  replicas = distribution.build_strategy(made.params.runtime).num_replicas_in_sync
  for stage in trained:
    # Cuts and corrections of a student may not be known yet; they change no batch.
    is_student = stage.kind == selftrain_graph.STUDENT
    task = made.params.task if is_student else made.make(stage.kind).params.task
    try:
      tasks.check_batches(task, replicas, evaluates)
    except errors.ConfigError as error:
      raise errors.ConfigError(
        f'{stage.name}: {_as_set(stage.kind, made.params, str(error))}'
      ) from error


def _is_given(kind: str, params: runs.SelfTrainingExperiment) -> bool:
  """Whether a stage takes its model from elsewhere."""
  if kind == selftrain_graph.PRETRAINING:
    return params.trained_start is None
  return kind == selftrain_graph.TEACHER and bool(params.teacher.checkpoint)


def _as_set(kind: str, params: runs.SelfTrainingExperiment, text: str) -> str:
  """A message about a stage's task in the names of the settings that decide it."""
  if kind == selftrain_graph.PRETRAINING:
    return text.replace('task.', f'pretraining.{params.init}.task.', 1)
  if kind == selftrain_graph.STUDENT:
    return text
  own = 'control' if kind == selftrain_graph.CONTROL else 'teacher'
  batch = f'{own}.global_batch_size (0 takes that of both streams together)'
  return text.replace('task.train_data.global_batch_size', batch, 1)


def _check_unlabelled(params: runs.SelfTrainingExperiment) -> None:
  """Raises DataError for unlabelled files that the labeller will refuse, or whose labels will not be found."""
  name = 'task.pseudo_data.input_path'
  labeller.check_image_files(tfrecords.match_files(params.task.pseudo_data.input_path, name))


def _check_ceiling(params: runs.SelfTrainingExperiment, task: contract.TrainableTask) -> None:
  """Raises DataError for labelled images of the ceiling that cannot be used."""
  if not params.ceiling.enabled:
    return
  name = 'ceiling.input_path'
  paths = tfrecords.match_files(params.ceiling.input_path, name)
  tfrecords.check_not_empty(paths, name)
  labelled = next(s for s in task.training_streams() if s.role is stream_specs.Role.HUMAN)
  if labelled.check_record is not None:
    decode = functools.partial(labelled.check_record, labelled.config)
    data.check_first_record(name, paths, decode, labelled.config.skip_errors)
