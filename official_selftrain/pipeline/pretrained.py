"""The backbone that the models of a run start from: its data, and its import."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from typing import Any

from official_selftrain.checkpoints import imagenet, keras_download
from official_selftrain.configs import pretraining, runs
from official_selftrain.core import console, errors
from official_selftrain.pipeline import data
from official_selftrain.tasks import contract

Settings = dict[str, Any]


def check(params: runs.SelfTrainingExperiment) -> None:
  """Looks, before anything is trained, at the files that a backbone is made from.

  Args:
    params: an experiment whose `init` is made in the run, its paths filled in.

  Raises:
    DataError: a path leads to nothing, or a first record cannot be used.
  """
  section = params.trained_start
  if section is None:
    return
  task = pretraining.task_for(section, params.task.model)
  try:
    data.check_files(task, is_training=True)
    data.check_first_records(contract.make(task))
  except errors.DataError as error:
    raise errors.DataError(f'pretraining.{params.init}: {error}') from error


def starts(params: runs.SelfTrainingExperiment, models: Iterable[str]) -> dict[str, str]:
  """What models started from, in words.

  Args:
    params: the experiment.
    models: `teacher`, `control`, `student`, `ceiling`: those that there are.
  """
  teacher = params.teacher
  backbone = _backbone(params)
  own = {
    'teacher': 'the teacher',
    'random': 'random weights',
    'checkpoint': backbone
    or _given(params.task.init_checkpoint, params.task.init_checkpoint_modules),
  }
  student = own[params.student_starts_from]
  if teacher.checkpoint:
    first = f'not trained here: {teacher.checkpoint}'
  else:
    first = backbone or _given(teacher.init_checkpoint, teacher.init_checkpoint_modules)
  own_starts = {'control': student, 'student': student}
  if params.rounds > 1 and params.student_starts_from == 'teacher':
    own_starts = {model: f'the {model} of the round before' for model in own_starts}
  return {model: own_starts.get(model, first) for model in models}


def _backbone(params: runs.SelfTrainingExperiment) -> str:
  """The backbone that `init` names, in words; '' without one."""
  init, settings = params.init, params.pretraining
  if not params.has_init:
    return ''
  if params.trained_start is not None:
    return f'the {init} backbone of this run, {params.trained_start.trainer.train_steps:,} steps'
  if pretraining.is_path(init):
    return f'the backbone of {init}'
  return f'the {init} backbone of {settings.checkpoint or "Keras"}'


def _given(checkpoint: str, modules: str | list[str]) -> str:
  if not checkpoint:
    return 'random weights'
  named = modules if isinstance(modules, str) else ' and '.join(modules)
  return checkpoint if named == 'all' else f'the {named} of {checkpoint}'


def import_backbone(params: runs.SelfTrainingExperiment, directory: str) -> None:
  """Writes a checkpoint of the backbone with weights that were trained on ImageNet.

  Args:
    params: an experiment with `init: imagenet`.
    directory: to write.

  Raises:
    ConfigError: the run's network would not compute what the weights were trained for.
    DataError: the file cannot be read, or the download failed.
  """
  path = params.pretraining.checkpoint
  kind = imagenet.KERAS if path.endswith('.h5') or not path else imagenet.PYTORCH
  model = params.task.model
  if model.backbone.type != 'efficientnet':
    raise errors.ConfigError(
      f"init is 'imagenet' and pretraining.checkpoint {path}, weights of an EfficientNet, but task.model.backbone.type "
      f'is {model.backbone.type!r}.'
    )
  model_id = model.backbone.efficientnet.model_id
  _check_settings(imagenet.settings(kind, model_id), model.as_dict(), path)
  shutil.rmtree(directory, ignore_errors=True)
  with tempfile.TemporaryDirectory() as folder:
    source = ''
    if not path:
      path, source = os.path.join(folder, 'weights.h5'), keras_download.source(model_id)
      keras_download.download(model_id, path)
    imported = imagenet.import_backbone(path, kind, model_id, directory, source=source)
  console.note(f'{imported.source}: {imported.accounting.text()}')


def _same_names(needed: Settings, found: Settings) -> Settings:
  """What `found` has under the names of `needed`."""
  return {
    name: _same_names(value, found[name]) if isinstance(value, dict) else found[name]
    for name, value in needed.items()
    if name in found
  }


def _check_settings(needed: Settings, found: Settings, path: str) -> None:
  """Raises ConfigError for settings of the network with which it would compute something else."""
  differing = sorted(
    set(imagenet.override(needed, 'task.model'))
    - set(imagenet.override(_same_names(needed, found), 'task.model'))
  )
  if differing:
    raise errors.ConfigError(
      f'pretraining.checkpoint: the weights of {path or "Keras"} compute something else in this network. Set '
      f'{",".join(differing)}'
    )
