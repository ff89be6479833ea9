"""Student step: our step on B human and B pseudo images over the stock task's step on the same 2B images.

Both are the `train_step` of a task in a `tf.function`, with model, optimizer and the metrics of that task, on the same
images and targets, which are already in memory; the stock task gets the two halves as one batch. So the ratio is what
two losses instead of one, the normalisation, its averages and the additional figures in the log cost. B is that of the
default experiment.

For information: the same with each one's own input pipeline, ours reading labelled images, unlabelled images and label
shards, the stock one reading the labelled images only.
"""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from benchmarks import results, timing, workbench
from official_selftrain.configs import runs

NEEDS_WORKBENCH = True
TARGET = results.Target(at_most=1.0)
_STEPS = 3
_ROUNDS = 21
# Long against the few batches that a pipeline holds ready when its turn begins.
_PIPELINE_STEPS = 25
_PIPELINE_ROUNDS = 3


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  bench.make_labels()
  params = bench.params()
  both = params.task.train_data.global_batch_size + params.task.pseudo_data.global_batch_size
  ours = workbench.Step(workbench.self_training_task(params), params)
  stock = workbench.Step(workbench.stock_task(params, both), params)
  resident = time_resident(bench, ours, stock)
  streams = {
    'ours': iter(ours.task.build_inputs(params.task.train_data)),
    'stock': iter(stock.task.build_inputs(stock.task.task_config.train_data)),
  }
  piped = timing.interleave(
    {
      'ours': timing.wall(lambda: _consume(ours, streams['ours'])),
      'stock': timing.wall(lambda: _consume(stock, streams['stock'])),
    },
    bench.effort.rounds(_PIPELINE_ROUNDS),
  )
  sizes = f'{both // 2}+{both // 2} : {both}'
  return [
    row('student_step', f'our step : stock step, {sizes}', resident, _STEPS, TARGET),
    row('student_step', 'same, with input pipelines', piped, _PIPELINE_STEPS, None),
  ]


def run_segmentation(bench: workbench.Workbench) -> list[results.Row]:
  """Measures the same for segmentation; both steps have our model, see `workbench`."""
  bench = bench.of(workbench.SEGMENTATION)
  bench.make_labels()
  params = bench.params()
  ours = workbench.Step(workbench.self_training_task(params), params)
  stock = workbench.Step(workbench.stock_segmentation_task(params), params)
  both = params.task.train_data.global_batch_size + params.task.pseudo_data.global_batch_size
  text = f'our step : stock step, {both // 2}+{both // 2} : {both}'
  seconds = time_resident(bench, ours, stock)
  return [row('segmentation_step', text, seconds, _STEPS, TARGET)]


def time_resident(
  bench: workbench.Workbench, ours: workbench.Step, stock: workbench.Step
) -> dict[str, list[float]]:
  """Seconds of `_STEPS` steps of each on the same images in memory."""
  batch = two_source_batch(ours.task, bench.params())
  joined = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batch.values())
  return timing.interleave(
    {
      'ours': timing.wall(lambda: repeat(ours, batch, _STEPS)),
      'stock': timing.wall(lambda: repeat(stock, joined, _STEPS)),
    },
    bench.effort.rounds(_ROUNDS),
  )


def two_source_batch(task: Any, params: runs.SelfTrainingExperiment) -> dict[str, Any]:
  """One batch of each source, in memory."""
  return next(iter(task.build_inputs(params.task.train_data)))


def repeat(step: workbench.Step, batch: Any, steps: int) -> None:
  """Takes steps on one batch."""
  for _ in range(steps):
    logs = step.run(batch)
  logs[step.task.loss].numpy()


def _consume(step: workbench.Step, stream: Iterator[Any]) -> None:
  for _ in range(_PIPELINE_STEPS):
    logs = step.run(next(stream))
  logs[step.task.loss].numpy()


def row(
  case: str,
  text: str,
  seconds: dict[str, list[float]],
  steps: int,
  target: results.Target | None,
) -> results.Row:
  """A row of the table from seconds of `steps` steps."""
  return results.compare(
    case,
    text,
    'ms/step',
    seconds['ours'],
    seconds['stock'],
    figure=lambda value: 1000 * value / steps,
    target=target,
  )
