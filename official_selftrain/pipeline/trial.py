"""What was chosen for a training, for TensorBoard's page of hyperparameters."""

import tensorflow as tf
from official.core import config_definitions as cfg
from tensorboard.plugins.hparams import api

from official_selftrain.core import config

# Folders of the Model Garden's curves in that of a model, and the curves that the page compares.
_TRAIN, _VALIDATION = 'train', 'validation'
_METRICS = (
  (_VALIDATION, 'AP'),
  (_VALIDATION, 'AP50'),
  (_VALIDATION, 'mean_iou'),
  (_VALIDATION, 'accuracy'),
  (_TRAIN, 'training_loss'),
)
# What people compare, if the task has it.
_SHOWN = (
  'task.model.backbone.type',
  'task.model.decoder.type',
  'task.train_data.augmentation.policy',
  'task.train_data.fraction',
  'task.train_data.global_batch_size',
  'task.pseudo_data.augmentation.policy',
  'task.pseudo_data.cut',
  'task.pseudo_data.soft_labels',
  'task.pseudo_data.global_batch_size',
  'task.self_training.alpha',
  'task.self_training.alpha_decay_steps',
  'task.self_training.normalize_loss',
  'task.joint.weight',
  'trainer.train_steps',
)


def write(params: cfg.ExperimentConfig, name: str, seed: int, model_dir: str) -> None:
  """Writes the settings that people compare, beside the name of the model and the seed.

  Args:
    params: of the training.
    name: of the model.
    seed: of the run.
    model_dir: of the model; TensorBoard finds its curves below it.
  """
  settings = {'model': name, 'seed': seed, 'learning_rate': _rate(params), **_values(params)}
  # The page has the columns of the first file that it finds, so all models name the same.
  columns = [api.HParam(each) for each in ('model', 'seed', 'learning_rate', *_SHOWN)]
  with tf.summary.create_file_writer(model_dir).as_default(step=0):
    api.hparams_config(columns, [api.Metric(tag, group=group) for group, tag in _METRICS])
    api.hparams(settings, trial_id=model_dir)


def _rate(params: cfg.ExperimentConfig) -> float:
  """The highest rate of the schedule, whatever its kind; 0 for one without."""
  schedule = params.trainer.optimizer_config.learning_rate.get()
  found = getattr(schedule, 'initial_learning_rate', None) or getattr(schedule, 'values', None)
  found = found or getattr(schedule, 'learning_rate', None) or 0.0
  return float(max(found) if isinstance(found, list | tuple) else found)


def _values(params: cfg.ExperimentConfig) -> dict[str, bool | int | float | str]:
  found = config.flatten(params)
  shown = {name: found.get(name) for name in _SHOWN}
  return {k: v for k, v in shown.items() if isinstance(v, bool | int | float | str)}
