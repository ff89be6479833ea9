"""Checks the data of a run of self-training as far as possible before hours are spent on it."""

import functools

from official_selftrain.configs import runs
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pipeline import classes, data, pretrained, validation_records
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
  data.check_first_records(task)
  validation_records.check(params.task, facts.class_names)
  pretrained.check(params)
  _check_ceiling(params, task)
  if params.teacher.checkpoint:
    classes.check_teacher(params.teacher.checkpoint, params.task, facts.class_names)


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
