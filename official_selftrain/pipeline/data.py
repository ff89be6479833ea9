"""Finds the data of a run (the embedded data set for experiments that name no files) and checks it."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.augment import build, ops
from official_selftrain.checkpoints import restore
from official_selftrain.configs import classification, contrastive, pretraining, runs
from official_selftrain.configs import self_training as st
from official_selftrain.core import dataset_card, errors, files
from official_selftrain.dataloaders import fractions, tfrecords
from official_selftrain.datasets import digit_classes, digits
from official_selftrain.pipeline import validation_records
from official_selftrain.pseudo_labels import manifest
from official_selftrain.tasks import contract


@dataclasses.dataclass(frozen=True)
class DataFacts:
  """Facts about the data that are not settings.

  Attributes:
    unlabelled_truth: COCO JSON with held-out truth of the unlabelled images; '' if there is none.
    class_names: names in the order of class ids from 1; empty if unknown.
    embedded: folder of the embedded data sets; '' if none is used.
  """

  unlabelled_truth: str = ''
  class_names: tuple[str, ...] = ()
  embedded: str = ''


def locate(params: runs.SupervisedExperiment, model_dir: str) -> DataFacts:
  """Sets the empty input paths of an experiment to where the embedded data set is, or will be; touches no file.

  Args:
    params: an unlocked experiment; changed in place.
    model_dir: the run directory; the data set is next to it unless `dataset.directory` says otherwise.

  Returns:
    `DataFacts`.

  Raises:
    ConfigError: labels are to be made of mirrored images, which mean something else in this data.
  """
  truth = params.report.unlabelled_truth if isinstance(params, runs.SelfTrainingExperiment) else ''
  names = tuple(params.dataset.class_names)
  is_embedded = runs.uses_embedded_data(params)
  _exclude_ops(params, digits.INVALID_OPS if is_embedded else ())
  if not is_embedded:
    _locate_pretraining(params, None)
    return DataFacts(truth, names)
  parent = params.dataset.directory or os.path.dirname(os.path.abspath(model_dir))
  classes = digit_classes.locate(params.dataset.digit_classes, _classes_dir(params.dataset, parent))
  if _classifies(params):
    params.task.train_data.input_path = classes.training
    params.task.validation_data.input_path = classes.validation
    return DataFacts(truth, names or digit_classes.CLASS_NAMES, parent)
  if _is_joint(params):
    params.task.joint.data.input_path = classes.training
  found = digits.locate(params.dataset.digits, _scenes_dir(params.dataset, parent))
  is_contrastive = isinstance(params.task, contrastive.ContrastiveTask)
  params.task.train_data.input_path = found.unlabelled if is_contrastive else found.train
  params.task.validation_data.input_path = found.validation
  if hasattr(params.task, 'annotation_file') and not params.task.annotation_file:
    params.task.annotation_file = found.annotation_file
  if hasattr(params.task, 'pseudo_data'):
    params.task.pseudo_data.input_path = found.unlabelled
  _locate_pretraining(params, classes)
  names = names or tuple(found.class_names[1:])
  return DataFacts(truth or found.unlabelled_truth, names, parent)


def labelled_records(task: cfg.TaskConfig) -> tf.data.Dataset:
  """Serialized labelled records that a task trains on, its fraction of them; without those that cannot be read."""
  stream, field = task.train_data, 'task.train_data.input_path'
  return fractions.of_stream(tfrecords.match_files(stream.input_path, field), stream)


def _locate_pretraining(
  params: runs.SupervisedExperiment, classes: digit_classes.Files | None
) -> None:
  """Sets the empty input paths of a pre-training in the run; `classes` are the embedded images, if they are used."""
  section = _trained_start(params)
  if section is None or section.task.train_data.input_path:
    return
  streams = section.task.train_data, section.task.validation_data
  if isinstance(section, pretraining.SimClr):
    paths = params.task.pseudo_data.input_path, params.task.validation_data.input_path
  else:
    assert classes is not None  # The experiment has been checked.
    paths = classes.training, classes.validation
  for stream, path in zip(streams, paths, strict=True):
    stream.input_path = path


def _trained_start(
  params: runs.SupervisedExperiment,
) -> pretraining.Supervised | pretraining.SimClr | None:
  """How the run trains the backbone that its models start from; None if it does not."""
  return params.trained_start if isinstance(params, runs.SelfTrainingExperiment) else None


def _needs_classes(params: runs.SupervisedExperiment) -> bool:
  """Whether something learns from embedded images with one class each."""
  is_supervised = isinstance(_trained_start(params), pretraining.Supervised)
  return _classifies(params) or _is_joint(params) or is_supervised


def _classifies(params: runs.SupervisedExperiment) -> bool:
  """Whether the task is about classes of whole images."""
  return isinstance(params.task, classification.ClassificationTask)


def _is_joint(params: runs.SupervisedExperiment) -> bool:
  """Whether a classifier of whole images shares the backbone."""
  return hasattr(params.task, 'joint') and params.task.joint.weight > 0


def _scenes_dir(dataset: st.Dataset, parent: str) -> str:
  return os.path.join(parent, digits.directory_name(dataset.digits))


def _classes_dir(dataset: st.Dataset, parent: str) -> str:
  return os.path.join(parent, digit_classes.directory_name(dataset.digits, dataset.digit_classes))


def make(params: runs.SupervisedExperiment, facts: DataFacts) -> DataFacts:
  """Writes the embedded data set, if it is used and not there yet, and reads the facts that only files have.

  Args:
    params: the experiment, its paths filled in.
    facts: what `locate` found.

  Returns:
    The facts; with the names of the annotation file's categories where the settings have none.

  Raises:
    DataError: a file cannot be read or written.
  """
  dataset = params.dataset
  if facts.embedded and _needs_classes(params):
    directory = _classes_dir(dataset, facts.embedded)
    digit_classes.prepare(dataset.digits, dataset.digit_classes, directory)
  if facts.embedded and not _classifies(params):
    digits.prepare(dataset.digits, _scenes_dir(dataset, facts.embedded))
  annotations = getattr(params.task, 'annotation_file', None)
  if facts.class_names or not annotations or not tf.io.gfile.exists(annotations):
    return facts
  names = validation_records.class_names_of(annotations, params.task.model.num_classes)
  return dataclasses.replace(facts, class_names=names)


def _exclude_ops(params: runs.SupervisedExperiment, known: Sequence[str]) -> None:
  """Forbids every training stream the ops that are invalid for the data; views are not mirrored without `Flip`."""
  invalid = {*params.dataset.invalid_ops, *known}
  for settings in runs.training_augmentations(params).values():
    settings.exclude_ops = sorted({*settings.exclude_ops, *invalid})
  if ops.FLIP not in invalid:
    return
  for views in runs.training_views(params):
    views.flip_probability = 0.0
  if isinstance(params, runs.SelfTrainingExperiment) and params.labels.flip:
    raise errors.ConfigError(
      'labels.flip is true: the teacher would label mirrored images, too, and here they mean something else '
      f'(dataset.invalid_ops, or the embedded digits, have {ops.FLIP}). Set labels.flip=false.'
    )


def check_augmentation(params: runs.SupervisedExperiment) -> None:
  """Raises ConfigError, before anything is trained, for ops and sub-policies that do not exist."""
  for name, settings in runs.training_augmentations(params).items():
    try:
      build.build(settings, (1, 1))
    except errors.ConfigError as error:
      raise errors.ConfigError(f'{name}: {error}') from error


def check_files(task: cfg.TaskConfig, is_training: bool) -> None:
  """Checks, before anything is built or trained, that every input path leads to records.

  Args:
    task: a task with its paths filled in.
    is_training: whether training streams are read too, or only the validation stream.

  Raises:
    DataError: names the setting whose path leads to nothing or only to empty files.
  """
  for name, stream in st.input_streams(task).items():
    if stream.input_path and (is_training or not stream.is_training):
      field = f'{name}.input_path'
      tfrecords.check_not_empty(tfrecords.match_files(stream.input_path, field), field)
  annotations = getattr(task, 'annotation_file', None)
  if annotations and not tf.io.gfile.exists(annotations):
    raise errors.DataError(
      f'task.annotation_file: {annotations} does not exist. Check the path and the working directory.'
    )


def check_first_records(task: contract.TrainableTask, is_training: bool = True) -> None:
  """Reads the first record of each labelled stream, so that wrong classes or ids show before anything is trained.

  With `skip_errors` that is the first record that can be decoded; a stream without one would never yield anything.

  Args:
    task: the task.
    is_training: whether training streams are read too, or only the validation stream.

  Raises:
    DataError: names file, record and reason.
  """
  validation = task.task_config.validation_data
  checks: list[tuple[str, cfg.DataConfig, Callable[[cfg.DataConfig, tf.Tensor], None]]]
  checks = [('task.validation_data', validation, task.check_record)]
  checks += [
    (stream.dotted, stream.config, stream.check_record)
    for stream in task.training_streams()
    if is_training and stream.check_record
  ]
  for name, config, check in checks:
    if config.input_path:
      paths = tfrecords.match_files(config.input_path, f'{name}.input_path')
      check_first_record(name, paths, functools.partial(check, config), config.skip_errors)


def check_first_record(
  name: str, paths: Sequence[str], decode: Callable[[tf.Tensor], None], skip_errors: bool
) -> None:
  """Raises DataError, which begins with `name`, if the first record that counts cannot be used."""
  if skip_errors:
    found = _first_that_counts(paths, decode)
  else:
    found = tfrecords.first_bad_record(paths[:1], decode, limit=1)
  if found:
    raise errors.DataError(f'{name}: {found}')


def _first_that_counts(paths: Sequence[str], decode: Callable[[tf.Tensor], None]) -> str | None:
  """What is wrong with the first record that `skip_errors` does not leave out, or that it leaves out all of them."""
  skipped = None
  for fault in tfrecords.examine(paths, decode):
    if fault is None or not fault.is_unreadable:
      return fault.text if fault else None
    skipped = skipped or fault
  nothing = 'no record can be read and decoded, so skip_errors leaves nothing'
  return f'{nothing}: {skipped.text}' if skipped else None


def check_truth(facts: DataFacts) -> None:
  """Raises DataError when the held-out truth that the report should use does not exist."""
  truth = facts.unlabelled_truth
  if truth and not tf.io.gfile.exists(truth):
    raise errors.DataError(f'report.unlabelled_truth: {truth} does not exist.')


def validation_files(task: cfg.TaskConfig) -> tuple[str, ...]:
  """Dotted names of the settings that name the files that a task's metrics are measured with."""
  annotations = ('task.annotation_file',) if hasattr(task, 'annotation_file') else ()
  return ('task.validation_data.input_path', *annotations)


def input_digest(params: cfg.ExperimentConfig, setting: str) -> str:
  """Tells input files from others.

  Args:
    params: an experiment with its paths filled in.
    setting: dotted name of a setting that names a checkpoint, a folder with labels, a file, or files of records.

  Returns:
    Digest of the checkpoint's index, which holds checksums of all weights; of the labels' manifest; of a JSON file; or
    of the other files as in `listing_digest`. '' when the setting is empty.

  Raises:
    DataError: there are no such files.
  """
  value = _setting(params, setting)
  if not value:
    return ''
  field = setting.rpartition('.')[2]
  if setting == 'pretraining.checkpoint' and value.endswith(pretraining.FOREIGN_FILES):
    return _content_digest(value, setting)
  if setting == 'init' and not pretraining.is_path(value):
    return ''
  if field in ('init', 'checkpoint', 'init_checkpoint'):
    return _content_digest(f'{restore.find(value)}.index', setting)
  if field == 'label_dir':
    return _content_digest(os.path.join(value, manifest.FILE_NAME), setting)
  if field in ('annotation_file', 'unlabelled_truth'):
    return _content_digest(value, setting)
  return listing_digest(tfrecords.match_files(value, setting))


def _content_digest(path: str, setting: str) -> str:
  """Hex SHA-256 of a file, wherever it is."""
  if not tf.io.gfile.exists(path):
    raise errors.DataError(f'{setting}: {path} does not exist.')
  with tf.io.gfile.GFile(path, 'rb') as stream:
    return hashlib.sha256(stream.read()).hexdigest()


class InputDigests:
  """Digests of the input files that settings of an experiment name, each computed once.

  In remote storage each asks for the sizes of all its files.
  """

  def __init__(self, params: cfg.ExperimentConfig, others: Mapping[str, Callable[[], str]]):
    """Reads nothing yet.

    Args:
      params: an experiment; its paths may be filled in later.
      others: what gives the digest of an input that no setting names, by name.
    """
    self._params = params
    self._others = others
    self._now: dict[str, str] = {}
    self._former: dict[str, str] = {}

  def now(self, name: str) -> str:
    """`input_digest` of a setting, or the digest of another input."""
    if name not in self._now:
      other = self._others.get(name)
      self._now[name] = other() if other else input_digest(self._params, name)
    return self._now[name]

  def former(self, settings: Iterable[str]) -> dict[str, str]:
    """What older versions gave for `input_digest`, by setting, where that was another digest."""
    return {
      setting: self._former_of(setting)
      for setting in settings
      if setting.endswith('.input_path') and _setting(self._params, setting)
    }

  def _former_of(self, setting: str) -> str:
    if setting not in self._former:
      paths = tfrecords.match_files(_setting(self._params, setting), setting)
      self._former[setting] = listing_digest(paths, with_cards=False)
    return self._former[setting]


def _setting(params: cfg.ExperimentConfig, name: str) -> Any:
  """The value of a setting with a dotted name."""
  return functools.reduce(getattr, name.split('.'), params)


def listing_digest(paths: Sequence[str], with_cards: bool = True) -> str:
  """Digest over names and sizes of files, in their order, and over what a data card beside them says of their content.

  Labels that are corrected and prepared again often have the same size.

  Args:
    paths: the files.
    with_cards: False leaves the cards out, as older versions did.
  """
  folders = {os.path.dirname(path) for path in paths}
  contents = {folder: dataset_card.digests(folder) if with_cards else {} for folder in folders}
  listed: list[list[str | int]] = []
  for path in paths:
    folder, name = os.path.split(path)
    listed.append([name, tf.io.gfile.stat(path).length])
    if name in contents[folder]:
      listed[-1].append(contents[folder][name])
  return files.digest_of(listed)
