"""Steps of joint training and of SimCLR, each over the least that the same arithmetic costs.

Joint training: a supervised step of detection with the classifier on its backbone over the sum of the two separate
steps, detection alone and a classifier on such a backbone alone, with the same images. SimCLR: our step with loss,
projection, LARS and figures for the log, over a bare forward and backward pass of the views through the same network
with the mean of its outputs as the loss and no optimizer. Batches are in memory; each step is a `tf.function`.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from official.core import exp_factory

from benchmarks import results, timing, workbench
from benchmarks.cases import student_step
from official_selftrain.configs import classification, pretraining, runs
from official_selftrain.pipeline import data, training
from official_selftrain.tasks import contract

NEEDS_WORKBENCH = True
_STEPS = 2
_ROUNDS = 11


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  return [*_joint(bench), *_simclr(bench)]


class _Step:
  """A task's training step with an optimizer of its own."""

  def __init__(self, task: Any, trainer: Any, runtime: Any):
    self.task = task
    self.model = task.build_model()
    params = training.job_experiment(task.task_config, trainer, runtime)
    optimizer = task.create_optimizer(params.trainer.optimizer_config, runtime)
    metrics = task.build_metrics(training=True)
    self.run = tf.function(lambda batch: task.train_step(batch, self.model, optimizer, metrics))


def _experiment(bench: workbench.Workbench, name: str) -> runs.SupervisedExperiment:
  """A registered experiment on the embedded data of the workbench."""
  params = exp_factory.get_exp_config(name)
  params.dataset.directory = bench.params().dataset.directory
  params.dataset.digits = bench.effort.digits
  data.make(params, data.locate(params, params.dataset.directory + '/run'))
  return params


def _joint(bench: workbench.Workbench) -> list[results.Row]:
  params = _experiment(bench, 'retinanet_joint')
  together = _Step(contract.make(params.task), params.trainer, params.runtime)
  batch = next(iter(together.task.build_inputs(params.task.train_data)))
  alone_config = params.task.replace()
  alone_config.joint.weight = 0.0
  alone = _Step(contract.make(alone_config), params.trainer, params.runtime)
  classes = pretraining.task_for(
    pretraining.Supervised(
      task=classification.ClassificationTask(
        model=classification.ClassificationModel(num_classes=params.task.joint.num_classes)
      )
    ),
    params.task.model,
  )
  classifier = _Step(contract.make(classes), params.trainer, params.runtime)
  steps = {
    'ours': _repeat(lambda: together.run(batch)['loss']),
    'stock': _repeat(
      lambda: alone.run(batch['human'])['loss'] + classifier.run(batch['joint'])['loss']
    ),
  }
  seconds = timing.interleave(
    {name: timing.wall(work) for name, work in steps.items()}, bench.effort.rounds(_ROUNDS)
  )
  size = params.task.train_data.global_batch_size
  text = f'joint step : both steps, {size}+{size}'
  return [student_step.row('pretraining_steps', text, seconds, _STEPS, results.Target(at_most=1.0))]


def _simclr(bench: workbench.Workbench) -> list[results.Row]:
  params = _experiment(bench, 'simclr_pretrain')
  ours = _Step(contract.make(params.task), params.trainer, params.runtime)
  batch = next(iter(ours.task.build_inputs(params.task.train_data)))
  views = tf.reshape(batch[0], [-1, *batch[0].shape[2:]])

  @tf.function
  def bare(images: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean(ours.model(images, training=True))
    gradients = tape.gradient(loss, ours.model.trainable_variables)
    return loss + tf.add_n([tf.reduce_sum(each) for each in gradients if each is not None])

  steps = {
    'ours': _repeat(lambda: ours.run(batch)['loss']),
    'stock': _repeat(lambda: bare(views)),
  }
  seconds = timing.interleave(
    {name: timing.wall(work) for name, work in steps.items()}, bench.effort.rounds(_ROUNDS)
  )
  text = f'SimCLR step : bare passes, 2 x {params.task.train_data.global_batch_size}'
  return [
    student_step.row('pretraining_steps', text, seconds, _STEPS, results.Target(at_most=1.05))
  ]


def _repeat(step: Callable[[], tf.Tensor]) -> Callable[[], None]:
  def work() -> None:
    for _ in range(_STEPS):
      loss = step()
    loss.numpy()

  return work
