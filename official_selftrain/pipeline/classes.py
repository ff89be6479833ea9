"""Records the classes of a model next to it, so that a model of other classes is never used by mistake."""

import os
from collections.abc import Sequence

from official.core import config_definitions as cfg

from official_selftrain.core import class_names, errors, files


def write(model_dir: str, task: cfg.TaskConfig, names: Sequence[str]) -> None:
  """Writes number and names of the classes of a model that is about to be trained.

  Args:
    model_dir: its directory.
    task: its task.
    names: from id 1; empty if unknown.
  """
  num_classes = getattr(getattr(task, 'model', None), 'num_classes', None)
  value = {'num_classes': num_classes, 'class_names': list(names)}
  path = os.path.join(model_dir, class_names.MODEL_FILE)
  if not os.path.exists(path) or files.read_json(path) != value:
    files.write_json(path, value)


def check_teacher(checkpoint: str, task: cfg.TaskConfig, names: Sequence[str]) -> None:
  """Checks that a teacher from elsewhere has the same classes.

  Args:
    checkpoint: its checkpoint or directory. Without `classes.json` next to it, nothing is known and nothing is refused;
      a wrong number of classes then shows in the shapes of its weights.
    task: the task of this run.
    names: this run's classes from id 1; empty if unknown.

  Raises:
    DataError: they differ in number, name or order.
  """
  found = class_names.beside(checkpoint)
  if found is None:
    return
  start = f'teacher.checkpoint: {checkpoint} was trained for'
  if found['num_classes'] != task.model.num_classes:
    raise errors.DataError(
      f'{start} {found["num_classes"]} classes, and task.model.num_classes is {task.model.num_classes} (the background '
      'is one of them). Use a teacher with the same classes, or train one.'
    )
  difference = class_names.first_difference(found['class_names'], names)
  if difference:
    raise errors.DataError(
      f'{start} classes that differ from those of this data set: {difference}. Its labels would be silently wrong. Use '
      'a teacher with the same classes in the same order, or correct dataset.class_names.'
    )
