"""Two-source training for any Model Garden task (Zoph et al. 2020, section 3.2 and appendix B)."""

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.losses import normalized
from official_selftrain.tasks import multi_stream, stream_specs, streams

ByStream = multi_stream.ByStream

if TYPE_CHECKING:

  class _Host(multi_stream.MultiStreamMixin):
    """The class that the mixin is mixed into, for the type checker only: at run time it would shadow the real one."""

    task_config: Any

    def pseudo_stream(self, name: str, field: str, seed_offset: int) -> stream_specs.Stream: ...

else:
  _Host = multi_stream.MultiStreamMixin


class SelfTrainingMixin(_Host):
  """Trains a task on a batch of human labels and a batch of pseudo labels at once, with the normalised loss.

  Put it first in the bases: `class DetectionSelfTraining(SelfTrainingMixin, DetectionTask)`. See `MultiStreamMixin` for
  further streams.
  """

  combined_log_names = ('loss_ratio', 'average_human_loss', 'average_pseudo_loss')

  def build_model(self) -> tf.keras.Model:
    """The task's model, with the state of self-training attached so that checkpoints carry it."""
    model = super().build_model()
    # An attribute of the model and not of the task: the Trainer checkpoints the model. Not in `checkpoint_items`,
    # which must match a teacher's checkpoint.
    model.loss_averages = normalized.LossAverages(self.task_config.self_training.ema_decay)
    return model

  def training_streams(self) -> tuple[stream_specs.Stream, ...]:
    """Human labels, then pseudo labels."""
    pseudo = self.pseudo_stream(keys.PSEUDO, 'pseudo_data', streams.PSEUDO_OFFSET)
    return (*super().training_streams(), pseudo)

  @property
  def separates_batch_norm(self) -> bool:
    """See `MultiStreamMixin`."""
    return self.task_config.self_training.separate_batch_norm

  @property
  def weighs_by_losses(self) -> bool:
    """See `MultiStreamMixin`: the averages of both losses take in those of the batch before they are used."""
    return True

  def combine(
    self, model: tf.keras.Model, parts: ByStream
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """See `MultiStreamMixin` and `losses.normalized.combine`."""
    config = self.task_config.self_training
    combined = normalized.combine(
      parts[keys.HUMAN]['model_loss'],
      parts[keys.PSEUDO]['model_loss'],
      model.loss_averages,
      alpha=config.alpha,
      normalize=config.normalize_loss,
    )
    logs = (combined.ratio, combined.average_human, combined.average_pseudo)
    return combined.loss, dict(zip(self.combined_log_names, logs, strict=True))
