"""Fills in where the data lies: the embedded data set for experiments that name no files."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.augment import build
from official_selftrain.configs import self_training as st
from official_selftrain.core import errors, files
from official_selftrain.dataloaders import tfrecords
from official_selftrain.datasets import digits


@dataclasses.dataclass(frozen=True)
class DataFacts:
  """What is known about the data besides the files.

  Attributes:
    unlabelled_truth: COCO JSON with held-out truth of the unlabelled images; '' if there is none.
    class_names: names in the order of class ids from 1; empty if unknown.
  """

  unlabelled_truth: str = ''
  class_names: tuple[str, ...] = ()


def resolve(params: st.SupervisedExperiment, model_dir: str) -> DataFacts:
  """Makes the embedded data set if it is used, and sets the empty input paths of `params` to its files.

  Args:
    params: an unlocked experiment; changed in place.
    model_dir: the run directory; the data set lies beside it unless `dataset.directory` says otherwise.

  Returns:
    `DataFacts`.
  """
  report = getattr(params, 'report', None)
  names = tuple(report.class_names) if report else ()
  truth = report.unlabelled_truth if report else ''
  is_embedded = st.uses_embedded_data(params)
  _exclude_ops(params, digits.INVALID_OPS if is_embedded else ())
  if not is_embedded:
    return DataFacts(truth, names)
  directory = params.dataset.directory or os.path.dirname(os.path.abspath(model_dir))
  made = digits.prepare(
    params.dataset.digits, os.path.join(directory, digits.directory_name(params.dataset.digits))
  )
  params.task.train_data.input_path = made.train
  params.task.validation_data.input_path = made.validation
  if hasattr(params.task, 'annotation_file') and not params.task.annotation_file:
    params.task.annotation_file = made.annotation_file
  if hasattr(params.task, 'pseudo_data'):
    params.task.pseudo_data.input_path = made.unlabelled
  return DataFacts(truth or made.unlabelled_truth, names or tuple(made.class_names[1:]))


def _exclude_ops(params: st.SupervisedExperiment, known: Sequence[str]) -> None:
  """Forbids every training stream the ops that are invalid for the data."""
  for stream in st.input_streams(params.task).values():
    settings = getattr(stream, 'augmentation', None)
    if settings is not None and stream.is_training:
      invalid = {*settings.exclude_ops, *params.dataset.invalid_ops, *known}
      settings.exclude_ops = sorted(invalid)


def check_augmentation(task: cfg.TaskConfig) -> None:
  """Raises ConfigError, before anything is trained, for ops and sub-policies that do not exist."""
  for name, stream in st.input_streams(task).items():
    if stream.is_training and hasattr(stream, 'augmentation'):
      try:
        build.build(stream.augmentation, (1, 1))
      except errors.ConfigError as error:
        raise errors.ConfigError(f'{name}.augmentation: {error}') from error


def check_files(task: cfg.TaskConfig, is_training: bool) -> None:
  """Checks, before anything is built or trained, that every input path leads to records.

  Args:
    task: a task with its paths filled in.
    is_training: whether training streams are read too, or only the validation stream.

  Raises:
    DataError: names the setting whose path leads to nothing or only to empty files.
  """
  check_augmentation(task)
  for name, stream in st.input_streams(task).items():
    if stream.input_path and (is_training or not stream.is_training):
      field = f'{name}.input_path'
      tfrecords.check_not_empty(tfrecords.match_files(stream.input_path, field), field)
  annotations = getattr(task, 'annotation_file', None)
  if annotations and not tf.io.gfile.exists(annotations):
    raise errors.DataError(
      f'task.annotation_file: {annotations} does not exist. Check the path and the working directory.'
    )


def check_first_records(task: Any) -> None:
  """Reads the first record of each labelled stream, so that wrong classes or ids show before anything is trained.

  Args:
    task: a task with `check_record`.

  Raises:
    DataError: names file, record and reason.
  """
  for name, stream in st.input_streams(task.task_config).items():
    if name == 'task.pseudo_data' or not stream.input_path or stream.skip_errors:
      continue
    first = tfrecords.match_files(stream.input_path, f'{name}.input_path')[:1]
    check = functools.partial(task.check_record, stream)
    found = tfrecords.first_bad_record(first, check, limit=1)
    if found:
      raise errors.DataError(f'{name}: {found}')


def check_truth(facts: DataFacts) -> None:
  """Raises DataError when the held-out truth that the report should use does not exist."""
  truth = facts.unlabelled_truth
  if truth and not tf.io.gfile.exists(truth):
    raise errors.DataError(f'report.unlabelled_truth: {truth} does not exist.')


def files_digest(stream: cfg.DataConfig, name: str) -> str:
  """Digest over names and sizes of a stream's files, in their order."""
  matched = tfrecords.match_files(stream.input_path, f'task.{name}.input_path')
  return files.digest_of(
    [[os.path.basename(path), tf.io.gfile.stat(path).length] for path in matched]
  )
