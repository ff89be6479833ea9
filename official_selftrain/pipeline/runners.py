"""The Model Garden's runner of a training, with what it leaves open."""

import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from official.core import base_trainer, train_lib, train_utils
from official.core import config_definitions as cfg
from official.modeling import optimization

from official_selftrain.core import errors, files
from official_selftrain.tasks import contract


class _BestCheckpoint(train_utils.BestCheckpointExporter):
  """Says what is wrong with the metric, or with the file of the best metrics, which have no message in the base."""

  def __init__(self, folder: str, metric: str, comparison: str):
    self._metric = metric
    super().__init__(folder, metric, comparison)

  def maybe_export_checkpoint(
    self,
    checkpoint: tf.train.Checkpoint,
    eval_logs: Mapping[str, Any],
    global_step: int,
    write_logs: bool = True,
  ) -> bool:
    """See the base.

    Raises:
      ConfigError: the evaluation has no such metric.
    """
    self._check_metric(eval_logs)
    found: bool = super().maybe_export_checkpoint(checkpoint, eval_logs, global_step, write_logs)
    return found

  def _maybe_load_best_eval_metric(self) -> dict[str, Any] | None:
    path = self.best_ckpt_logs_path
    if not tf.io.gfile.exists(path):
      return None

    def parse(value: dict[str, Any]) -> dict[str, Any]:
      found = {name: float(each) for name, each in value.items()}
      self._check_metric(found)
      return found

    return files.parse_json(path, parse, 'Remove it, and the next evaluation counts as the best.')

  def _check_metric(self, found: Mapping[str, Any]) -> None:
    if self._metric not in found:
      has = ', '.join(sorted(name for name in found if '/' not in name))
      raise errors.ConfigError(
        f'best_checkpoint_eval_metric is {self._metric!r}, and the metrics of the evaluation are {has}. The same '
        'command goes on from the last checkpoint with one of these.'
      )


class Runner(train_lib.OrbitExperimentRunner):
  """Makes the same variables in the same order in every worker: to make one is an operation of all of them.

  Attributes:
    has_swapped_weights: weights and their moving averages have changed places, or are about to: for an evaluation, or
      for a checkpoint of the averages after it.
  """

  has_swapped_weights = False

  def _build_trainer(
    self, task: contract.TrainableTask, train: bool, evaluate: bool
  ) -> base_trainer.Trainer:
    trainer = super()._build_trainer(task, train, evaluate)
    with self.strategy.scope():
      # Else whoever restores first makes it: on the chief the action for preemption, outside the scope.
      _ = trainer.checkpoint.save_counter
    if isinstance(trainer.optimizer, optimization.ExponentialMovingAverage):
      self._watch(trainer.optimizer)
    return trainer

  def _build_best_checkpoint_exporter(self) -> _BestCheckpoint | None:
    settings: cfg.TrainerConfig = self.params.trainer
    if not (settings.best_checkpoint_export_subdir and settings.best_checkpoint_eval_metric):
      return None
    return _BestCheckpoint(
      os.path.join(self.model_dir, settings.best_checkpoint_export_subdir),
      settings.best_checkpoint_eval_metric,
      settings.best_checkpoint_metric_comp,
    )

  def _watch(self, optimizer: optimization.ExponentialMovingAverage) -> None:
    """Notes when weights are swapped, and when they have been swapped back."""
    swap = optimizer.swap_weights

    def swap_weights() -> None:
      are_swapped, self.has_swapped_weights = self.has_swapped_weights, True
      swap()
      self.has_swapped_weights = not are_swapped

    optimizer.swap_weights = swap_weights

  def follow(self, model_dir: str) -> None:
    """Takes the chief's checkpoint: the Model Garden looks for one in the folder that this worker writes to."""
    latest = tf.train.latest_checkpoint(model_dir)
    if latest:
      # Restoring makes the optimizer's slots, on the chief, too.
      with self.strategy.scope():
        self.trainer.checkpoint.restore(latest)
