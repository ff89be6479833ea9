"""Settings that come from the data card of a prepared data set."""

import os
from typing import TYPE_CHECKING, Any

from official_selftrain.core import dataset_card, errors

if TYPE_CHECKING:
  from official_selftrain.configs import runs

_SETTING = 'dataset.card'
_PREPARE = 'python -m official_selftrain.datasets.prepare'


def overrides(params: 'runs.SupervisedExperiment', directory: str) -> dict[str, Any]:
  """Reads a card into overrides of an experiment: files, number of classes and their names.

  Args:
    params: the experiment, as registered.
    directory: of the prepared data.

  Returns:
    Nested overrides, as if they were written in a file.

  Raises:
    DataError: there is no card, or files that it names are missing.
    ConfigError: the data is for another task, or a set is missing that the experiment needs.
  """
  card = dataset_card.read(directory)
  task = params.task
  if task.data_kind and card.task != task.data_kind:
    raise errors.ConfigError(
      f'{_SETTING}: {directory} has data for {card.task}, but {params.experiment} is an experiment of '
      f'{task.data_kind}. Choose another experiment, or prepare data with the annotations that this one needs.'
    )
  sets = {'train_data': 'labelled', 'validation_data': 'validation'}
  if hasattr(task, 'pseudo_data'):
    sets['pseudo_data'] = 'unlabelled'
  if not task.data_kind and card.unlabelled is not None:
    sets['train_data'] = 'unlabelled'
  found: dict[str, Any] = {}
  if task.data_kind:
    found['model'] = {'num_classes': len(card.classes) + task.first_class}
  for stream, name in sets.items():
    if name not in card.sets():
      raise errors.ConfigError(
        f'{_SETTING}: {directory} has no {name} images, which {params.experiment} needs. Prepare them: {_PREPARE} '
        f'--{name}=...'
      )
    found[stream] = {'input_path': dataset_card.pattern_of(directory, card.sets()[name])}
  if hasattr(task, 'annotation_file') and card.validation is not None:
    found['annotation_file'] = os.path.join(directory, card.validation.annotation_file)
  names = list(card.classes) if task.data_kind else []
  result: dict[str, Any] = {'task': found, 'dataset': {'class_names': names}}
  if hasattr(params, 'report') and card.unlabelled is not None and card.unlabelled.annotation_file:
    truth = os.path.join(directory, card.unlabelled.annotation_file)
    result['report'] = {'unlabelled_truth': truth}
  return result


def ceiling_overrides(directory: str, ceiling_directory: str) -> dict[str, Any]:
  """Reads the card of data with more labels into overrides of `ceiling`.

  Args:
    directory: of the run's own data; '' where they come without a card.
    ceiling_directory: of the data with more labels.

  Returns:
    Nested overrides of `ceiling`.

  Raises:
    DataError: there is no card, or files that it names are missing.
    ConfigError: its classes or validation images are not the run's; these might then be among its labelled images.
  """
  name = 'ceiling.card'
  if not directory:
    raise errors.ConfigError(
      f'{name} is {ceiling_directory!r} but {_SETTING} is empty: without it nobody knows whether its labelled images '
      'are among the validation images. Prepare both, and give both.'
    )
  own, more = dataset_card.read(directory), dataset_card.read(ceiling_directory)
  if more.labelled is None or (own.task, own.classes) != (more.task, more.classes):
    raise errors.ConfigError(
      f'{name}: {ceiling_directory} must have labelled images for {own.task} with the classes of {directory}: '
      f'{", ".join(own.classes)}.'
    )
  if (
    own.validation is None
    or more.validation is None
    or own.validation.files != more.validation.files
  ):
    raise errors.ConfigError(
      f'{name}: {ceiling_directory} has other validation images than {directory}, so some of them may be among its '
      'labelled images. Prepare it from the same images with the same --validation and --seed, but without --fraction.'
    )
  return {'input_path': dataset_card.pattern_of(ceiling_directory, more.labelled)}


def joint_overrides(directory: str) -> dict[str, Any]:
  """Reads the card of images with one class each into overrides of `task.joint`.

  Args:
    directory: of the prepared data.

  Returns:
    Nested overrides of `task.joint`.

  Raises:
    DataError: there is no card, or files that it names are missing.
    ConfigError: the data is for another task.
  """
  card, labelled = _class_card(directory, 'task.joint.card')
  pattern = dataset_card.pattern_of(directory, labelled)
  return {'num_classes': len(card.classes), 'data': {'input_path': pattern}}


def class_overrides(directory: str) -> dict[str, Any]:
  """Reads the card of images with one class each into overrides of a `ClassificationTask`.

  Args:
    directory: of the prepared data.

  Returns:
    Nested overrides of the task.

  Raises:
    DataError: there is no card, or files that it names are missing.
    ConfigError: the data is for another task, or has no validation images.
  """
  setting = 'pretraining.supervised.card'
  card, labelled = _class_card(directory, setting)
  if card.validation is None:
    raise errors.ConfigError(
      f'{setting}: {directory} has no validation images. Prepare them: {_PREPARE} --validation=...'
    )
  return {
    'model': {'num_classes': len(card.classes)},
    'train_data': {'input_path': dataset_card.pattern_of(directory, labelled)},
    'validation_data': {'input_path': dataset_card.pattern_of(directory, card.validation)},
  }


def _class_card(directory: str, setting: str) -> tuple[dataset_card.Card, dataset_card.Set]:
  """The card of images with one class each and its labelled set."""
  card = dataset_card.read(directory)
  if card.task != 'classification' or card.labelled is None:
    raise errors.ConfigError(
      f'{setting}: {directory} has data for {card.task}; images with one class each are needed. Prepare them: '
      f'{_PREPARE} --labelled=FOLDER_WITH_ONE_FOLDER_PER_CLASS'
    )
  return card, card.labelled
