"""Checks the data of a run of self-training as far as possible before hours are spent on it."""

from official_selftrain.configs import runs
from official_selftrain.pipeline import classes, data, pretrained, validation_records
from official_selftrain.tasks import contract


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
  if params.teacher.checkpoint:
    classes.check_teacher(params.teacher.checkpoint, params.task, facts.class_names)
