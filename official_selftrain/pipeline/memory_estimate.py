"""Estimates the memory that a self-training experiment needs; the program `estimate_memory` prints it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.core import console, errors
from official_selftrain.modeling import memory
from official_selftrain.tasks import contract

# Values that an optimizer keeps for each trained one; others count as two, as Adam's.
_SLOTS = {'sgd': 1}
_FLOAT32 = 4


@dataclasses.dataclass(frozen=True)
class Report:
  """The memory of an experiment.

  Attributes:
    trained: number of trained values.
    values: number of all values of the model.
    activations: of one training step.
    student: memory of the student's training.
    teacher: memory of the teacher's.
  """

  trained: int
  values: int
  activations: memory.Activations
  student: memory.Estimate
  teacher: memory.Estimate

  def text(self, devices: int, limits: Sequence[float]) -> str:
    """The report for so many devices, and the fewest devices for each of some sizes in GiB."""
    weights, kept, peak = self.values * _FLOAT32, self.activations.kept, self.activations.peak
    rows = [
      ('trained values', f'{self.trained:,}'),
      ('all values of the model', f'{self.values:,}'),
      ('weights, gradients, optimizer', f'{_gib(self.student.fixed)} per device'),
      ('activations kept for the backward pass', f'{_gib(kept)} per image'),
      ('activations at the peak', f'{_gib(peak)} per image'),
      ('weights of the teacher when labelling', f'{_gib(weights)} per device'),
    ]
    for name, estimate in (('teacher', self.teacher), ('student', self.student)):
      on = f'{name}, {estimate.batch} images on {devices} devices'
      rows.append((on, f'{_gib(estimate.on(devices))} per device'))
      for limit in limits:
        fewest = estimate.fewest(limit * memory.GIB)
        need = 'one image does not fit' if fewest is None else f'{fewest} devices'
        parts = estimate.fewest_parts(limit * memory.GIB, devices)
        if fewest is not None and fewest > devices and parts:
          need += f', or {devices} with task.gradient_accumulation_steps={parts}'
        rows.append((f'{name}, devices of {limit:g} GiB', need))
    return console.table(rows, ('', 'estimate'))


def estimate(params: cfg.ExperimentConfig) -> Report:
  """Estimates the memory of a self-training experiment.

  Args:
    params: a checked experiment; the Keras policy must be set, see `training.set_precision`.

  Returns:
    The estimate.

  Raises:
    ConfigError: the experiment does not self-train.
  """
  if not hasattr(params, 'teacher'):
    raise errors.ConfigError(
      f'The experiment {params.experiment} does not self-train; give one of the *_selftrain.'
    )
  task = contract.make(params.task)
  with memory.without_values():
    model = task.build_model()
  return estimate_model(params, task, model)


def estimate_model(
  params: cfg.ExperimentConfig, task: contract.SelfTrainingTask, model: tf.keras.Model
) -> Report:
  """The same for a model that `task` has built, with weights or without."""

  def loss(batch: Any) -> tf.Tensor:
    images, labels = batch
    outputs = model(images, training=True)
    outputs = tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float32), outputs)
    return task.source_losses(outputs, labels)['model_loss']

  found = memory.activations(loss, batch_spec(task), model.trainable_variables)
  trained = memory.num_values(model.trainable_variables)
  values = memory.num_values(model.variables)
  slots = _SLOTS.get(params.trainer.optimizer_config.optimizer.type, 2)
  fixed = (values + (1 + slots) * trained) * _FLOAT32 + found.shared
  data = params.task
  both = data.train_data.global_batch_size + data.pseudo_data.global_batch_size
  teachers = params.teacher.global_batch_size or both
  sizes = [data.train_data.global_batch_size, data.pseudo_data.global_batch_size, teachers]
  sizes.append(params.control.global_batch_size or both)
  if hasattr(data, 'joint') and data.joint.weight > 0:
    sizes.append(data.joint.data.global_batch_size)
  divides = math.gcd(*sizes)  # One setting splits all of them.
  # A teacher that follows the student is a second set of its weights, averages are a second set of those trained.
  online = data.self_training.online_teacher.enabled
  averaged = {
    name: trained * _FLOAT32 * (trainer.optimizer_config.ema is not None)
    for name, trainer in (('student', params.trainer), ('teacher', params.teacher.trainer))
  }
  needs = {
    name: memory.Estimate(
      fixed + averaged[name] + values * _FLOAT32 * (online and name == 'student'),
      found.peak,
      batch,
      parts=data.gradient_accumulation_steps,
      gradients=trained * _FLOAT32,
      divides=divides,
    )
    for name, batch in (('student', both), ('teacher', teachers))
  }
  return Report(trained, values, found, **needs)


def batch_spec(task: contract.SelfTrainingTask) -> Any:
  """Shapes and types of a batch of `memory.BATCH` images with their labels, without any file."""
  params = task.task_config.train_data
  records = tf.data.Dataset.from_tensors((tf.constant(0, tf.int64), b''))
  decode = task.decoder(params)
  examples = records.map(lambda ordinal, record: (ordinal, decode(record)))
  parsed = task.training_parser(params).parse_stream(examples, 0)
  return parsed.batch(memory.BATCH, drop_remainder=True).element_spec


def _gib(size: float) -> str:
  return f'{size / memory.GIB:.2f} GiB'
