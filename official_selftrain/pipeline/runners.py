"""The Model Garden's runner of a training, with what it leaves open."""

import tensorflow as tf
from official.core import base_trainer, train_lib
from official.modeling import optimization

from official_selftrain.tasks import contract


class Runner(train_lib.OrbitExperimentRunner):
  """Makes the same variables in the same order in every worker: to make one is an operation of all of them.

  Attributes:
    has_swapped_weights: an evaluation is running for which weights and their moving averages have changed places.
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
      self._watch(trainer)
    return trainer

  def _watch(self, trainer: base_trainer.Trainer) -> None:
    """Notes when an evaluation swaps weights, and when it has swapped them back."""
    begin, end = trainer.eval_begin, trainer.eval_end

    def eval_begin() -> None:
      self.has_swapped_weights = True
      begin()

    def eval_end(*state: object) -> object:
      found = end(*state)
      self.has_swapped_weights = False
      return found

    for watched in (eval_begin, eval_end):
      setattr(trainer, watched.__name__, watched)

  def follow(self, model_dir: str) -> None:
    """Takes the chief's checkpoint: the Model Garden looks for one in the folder that this worker writes to."""
    latest = tf.train.latest_checkpoint(model_dir)
    if latest:
      # Restoring makes the optimizer's slots, on the chief, too.
      with self.strategy.scope():
        self.trainer.checkpoint.restore(latest)
