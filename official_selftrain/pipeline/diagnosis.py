"""Turns TensorFlow's errors about data into ones that name the file and the record."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pseudo_labels import reader
from official_selftrain.tasks import contract


@contextlib.contextmanager
def explain(name: str, task: contract.TrainableTask) -> Iterator[None]:
  """Re-raises data errors of a training run as `DataError`, after looking for the record that caused them.

  Records are not checked before training, which would read a large data set twice; they are searched after something
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


def _find(task: contract.TrainableTask) -> str | None:
  """The stream and record that cannot be read, and why; None if all data can be read."""
  streams = contract.training_streams(task)
  for stream in streams:
    found = stream.find_bad_record(stream.config)
    if found:
      return found
  validation = task.task_config.validation_data
  return task.find_bad_record(validation, 'validation_data') if streams else None
