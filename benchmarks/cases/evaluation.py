"""Evaluation: wall time of evaluating the validation set with our task over that with the stock task as it comes.

Both go through the Model Garden's `Trainer.evaluate` on all validation images: reading, parsing, model, NMS, and COCO
metrics, with the same weights, batch size and annotation file. Ours has the settings of `retinanet_supervised`. The
stock task has its own `build_inputs` and the default settings of its detection generator (NMS version v2); of the
defaults only bfloat16 images are not kept, which would slow a float32 model down on a CPU. Tracing is over before the
clock starts. The AP of both is shown: a faster evaluation that finds something else would be worthless.
"""

import contextlib
import io
from typing import Any

import tensorflow as tf
from official.core import base_trainer, task_factory
from official.vision.configs import retinanet as stock_configs

from benchmarks import results, timing, workbench
from official_selftrain.configs import runs
from official_selftrain.pipeline import labelling, training

NEEDS_WORKBENCH = True
_ROUNDS = 3


def run(bench: workbench.Workbench) -> list[results.Row]:
  """Measures."""
  params = bench.params()
  stock = workbench.stock_task(params, params.task.train_data.global_batch_size)
  stock.task_config.model.detection_generator = stock_configs.DetectionGenerator()
  evaluations = {
    'ours': _Evaluation(task_factory.get_task(params.task.supervised()), params, bench.teacher),
    'stock': _Evaluation(stock, params, bench.teacher),
  }
  for evaluation in evaluations.values():
    evaluation.run(steps=1)
  seconds = timing.interleave(
    {name: timing.wall(evaluation.run) for name, evaluation in evaluations.items()},
    bench.effort.rounds(_ROUNDS),
    warm_up=0,
  )
  images = params.dataset.digits.num_validation
  versions = [e.nms_version for e in evaluations.values()]
  return [
    results.compare(
      'evaluation',
      f'{images} images, NMS {versions[0]} : {versions[1]}',
      's',
      seconds['ours'],
      seconds['stock'],
      figure=float,
    ),
    results.Row(
      'evaluation',
      'AP found by ours : by stock',
      'AP',
      ours=evaluations['ours'].average_precision,
      reference=evaluations['stock'].average_precision,
    ),
  ]


class _Evaluation:
  """One task's evaluation.

  Attributes:
    average_precision: AP of the last run.
    nms_version: of the model.
  """

  def __init__(self, task: Any, params: runs.SelfTrainingExperiment, checkpoint: str):
    config = training.job_experiment(task.task_config, params.trainer, params.runtime)
    model = labelling.load_model(task, checkpoint)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    self.average_precision = 0.0
    self.nms_version = task.task_config.model.detection_generator.nms_version
    with contextlib.redirect_stdout(io.StringIO()):
      self._trainer = base_trainer.Trainer(
        config, task, model, optimizer, train=False, evaluate=True
      )

  def run(self, steps: int = -1) -> None:
    """Evaluates so many batches of the validation images; all of them if negative."""
    # pycocotools prints its table.
    with contextlib.redirect_stdout(io.StringIO()):
      metrics = self._trainer.evaluate(tf.constant(steps))
    self.average_precision = float(metrics['AP'])
