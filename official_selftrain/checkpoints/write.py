"""Writes model directories with imported weights."""

import dataclasses
import json
import os
from typing import Any

import tensorflow as tf
from official.core import train_utils

from official_selftrain.checkpoints import resnets, restore, tf1, tf1_names
from official_selftrain.configs import runs
from official_selftrain.core import errors

REPORT_FILE = 'import.json'
_SELF_TRAINING, _SUPERVISED = '_selftrain', '_supervised'


def import_model(
  model: tf.keras.Model, checkpoint: str, directory: str, modules: str, use_averages: bool
) -> tf1.Accounting:
  """Fills a model from a TF1 checkpoint and writes it as a checkpoint of the Model Garden.

  Args:
    model: of the family `original`, with its variables.
    checkpoint: prefix of the TF1 checkpoint.
    directory: where `ckpt-<step>`, the state file `checkpoint` and `import.json` go.
    modules: `all` or `backbone`.
    use_averages: see `tf1.assign`.

  Returns:
    What became of every value.

  Raises:
    DataError: see `tf1.assign`, `tf1_names.variables` and `resnets`; all modules of a file that has a backbone alone,
      or of a model with the classifier of joint training.
  """
  items = restore.modules_of(model, modules)
  classifier = resnets.find(checkpoint)
  if modules == 'all':
    if classifier:
      raise errors.DataError(
        f'{checkpoint} is {classifier.title}: it has a backbone and nothing else that task.model needs. Add '
        '--modules=backbone.'
      )
    if hasattr(model, 'class_head'):
      raise errors.DataError(
        'task.joint.weight is above 0: checkpoints of TF1 have no classifier of joint training. Import without it, '
        '--params_override=task.joint.weight=0; what is imported starts joint training all the same.'
      )
    accounting = tf1.assign(tf1_names.variables(model), checkpoint, use_averages=use_averages)
    items = {**items, 'model': model}
  elif classifier:
    accounting = resnets.assign(model.backbone, classifier, checkpoint, use_averages)
  else:
    resnets.check_scope(model.backbone, checkpoint)
    named = tf1_names.of_layers(tf1_names.backbone(model.backbone))
    scope = next(iter(named)).split('/')[0] + '/'
    accounting = tf1.assign(named, checkpoint, scope, use_averages)
  os.makedirs(directory)
  step = tf.Variable(accounting.step, dtype=tf.int64)
  manager = tf.train.CheckpointManager(
    tf.train.Checkpoint(global_step=step, **items), directory, max_to_keep=None
  )
  manager.save(checkpoint_number=accounting.step)
  with open(os.path.join(directory, REPORT_FILE), 'w', encoding='utf-8') as report:
    json.dump({'checkpoint': checkpoint, **dataclasses.asdict(accounting)}, report, indent=1)
  return accounting


def write_params(params: Any, directory: str) -> None:
  """Writes `params.yaml`: the supervised experiment that an imported model is the result of.

  Args:
    params: a supervised experiment, or one of self-training, of which the model is the teacher.
    directory: the model directory.
  """
  if isinstance(params, runs.SelfTrainingExperiment):
    params = runs.SupervisedExperiment(
      experiment=params.experiment.replace(_SELF_TRAINING, _SUPERVISED),
      runtime=params.runtime,
      task=params.task.supervised(),
      trainer=params.trainer,
      dataset=params.dataset,
      seed=params.seed,
    )
  train_utils.serialize_config(params, directory)
