"""Turns TensorFlow's errors about data into ones that name the file and the record."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.dataloaders import records
from official_selftrain.pseudo_labels import reader


@contextlib.contextmanager
def explain(name: str, task: Any) -> Iterator[None]:
  """Re-raises data errors of a training run as `DataError`, after looking for the record that caused them.

  Records are not checked before training, which would read a large data set twice; they are searched once something
  failed.

  Args:
    name: of the run, for the message.
    task: the task that was trained; its config names the files.

  Raises:
    LabelMismatchError: pseudo labels were read with other images than they were made from.
    DataError: a record is corrupt, an image cannot be decoded, or a class is outside the model's.
  """
  try:
    yield
  except (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.FailedPreconditionError,
  ) as error:
    mismatch = reader.mismatch_error(error)
    if mismatch:
      raise mismatch from None
    found = _find(task)
    if found is None:
      raise
    raise errors.DataError(f'{name}: {found}') from error


def _find(task: Any) -> str | None:
  """What is wrong with which record, or None if all data can be read."""
  config = task.task_config
  for field in ('train_data', 'validation_data'):
    params = getattr(config, field, None)
    if params is None or not params.input_path:
      continue
    files = records.match_files(params.input_path, f'task.{field}.input_path')
    found = records.first_bad_record(files, functools.partial(task.check_record, params))
    if found:
      advice = f' Mend or remove it, or set task.{field}.skip_errors to leave such records out.'
      return found + ('.' if not found.endswith('.') else '') + advice
  return None
