"""Turns TensorFlow's errors about data into ones that name the file and the record."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pseudo_labels import manifest, reader, shards


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
    files = tfrecords.match_files(params.input_path, f'task.{field}.input_path')
    found = tfrecords.first_bad_record(files, functools.partial(task.check_record, params))
    if found:
      advice = f' Mend or remove it, or set task.{field}.skip_errors to leave such records out.'
      return found + ('.' if not found.endswith('.') else '') + advice
  pseudo = getattr(config, 'pseudo_data', None)
  return _find_changed(pseudo) if pseudo is not None and pseudo.label_dir else None


def _find_changed(params: Any) -> str | None:
  """The first unlabelled record that cannot be read now, but could be when it was labelled; None if there is none."""
  for path in tfrecords.match_files(params.input_path, 'task.pseudo_data.input_path'):
    marker = manifest.read_marker(os.path.join(params.label_dir, shards.label_shard_name(path)))
    known = {letter.index for letter in marker.dead_letters} if marker else set()
    for record in shards.iterate(path):
      if record.serialized is None and record.index not in known:
        return (
          f'{path}, record {record.index}: {record.reason}. It could be read when it was labelled; restore the file, '
          'or write the labels again.'
        )
  return None
