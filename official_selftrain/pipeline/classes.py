"""Records the classes of a model next to it, so that a model of other classes is never used by mistake."""

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.core import errors, files

FILE_NAME = 'classes.json'


def write(model_dir: str, task: cfg.TaskConfig, names: Sequence[str]) -> None:
  """Writes number and names of the classes of a model that is about to be trained.

  Args:
    model_dir: its directory.
    task: its task.
    names: from id 1; empty if unknown.
  """
  num_classes = getattr(getattr(task, 'model', None), 'num_classes', None)
  value = {'num_classes': num_classes, 'class_names': list(names)}
  path = os.path.join(model_dir, FILE_NAME)
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
  found = _beside(checkpoint)
  if found is None:
    return
  start = f'teacher.checkpoint: {checkpoint} was trained for'
  if found['num_classes'] != task.model.num_classes:
    raise errors.DataError(
      f'{start} {found["num_classes"]} classes, and task.model.num_classes is {task.model.num_classes} (the background '
      'is one of them). Use a teacher with the same classes, or train one.'
    )
  difference = first_difference(found['class_names'], names)
  if difference:
    raise errors.DataError(
      f'{start} classes that differ from those of this data set: {difference}. Its labels would be silently wrong. Use '
      'a teacher with the same classes in the same order, or correct dataset.class_names.'
    )


def names_of(checkpoint: str) -> tuple[str, ...]:
  """Names of the classes that a model was trained for, from id 1; empty if unknown.

  Args:
    checkpoint: prefix of a checkpoint, or a model directory.
  """
  found = _beside(checkpoint)
  return tuple(found['class_names']) if found else ()


def _beside(checkpoint: str) -> dict[str, Any] | None:
  """The content of `classes.json` for a checkpoint, which may be in a subfolder such as `best_ckpt`."""
  directory = checkpoint if tf.io.gfile.isdir(checkpoint) else os.path.dirname(checkpoint)
  for folder in (directory, os.path.dirname(os.path.abspath(directory))):
    path = os.path.join(folder, FILE_NAME)
    if os.path.exists(path):
      return files.read_json(path)
  return None


def first_difference(theirs: Sequence[str], ours: Sequence[str]) -> str | None:
  """The first class that has another name, in words; None if none has, or if one side has no names at all."""
  if not theirs or not ours:
    return None
  for class_id in range(1, max(len(theirs), len(ours)) + 1):
    pair = [names[class_id - 1] if class_id <= len(names) else None for names in (theirs, ours)]
    if pair[0] != pair[1]:
      return f'class {class_id} is {pair[0]!r} there and {pair[1]!r} here'
  return None
