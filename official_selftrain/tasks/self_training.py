"""Two-source training for any Model Garden task (Zoph et al. 2020, section 3.2 and appendix B)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.losses import normalized
from official_selftrain.tasks import run_state

Nest = Any
BySource = Mapping[str, Any]

_LOGGED = ('loss_ratio', 'average_human_loss', 'average_pseudo_loss')


if TYPE_CHECKING:

  class _Host:
    """What the class that the mixin is mixed into brings; only for the type checker, it would shadow the real one."""

    loss: str
    task_config: Any
    source_log_names: tuple[str, ...]

    def build_model(self) -> tf.keras.Model: ...
    def build_inputs(self, params: Any, input_context: Any = None) -> tf.data.Dataset: ...
    def build_metrics(self, training: bool = True) -> list[tf.keras.metrics.Metric]: ...
    def build_source_inputs(
      self, source: str, params: Any, input_context: Any = None
    ) -> tf.data.Dataset: ...
    def source_losses(self, outputs: Any, labels: Any) -> dict[str, tf.Tensor]: ...
    def source_statistics(self, labels: Any) -> dict[str, tf.Tensor]: ...

else:
  _Host = object


class SelfTrainingMixin(_Host):
  """Trains a task on a batch of human labels and a batch of pseudo labels at once.

  Put it first in the bases: `class DetectionSelfTraining(SelfTrainingMixin, DetectionTask)`. The task it is mixed into
  provides `build_source_inputs(source, params, input_context)`, `source_losses(outputs, labels)` and
  `source_statistics(labels)`; the mixin knows neither boxes nor masks.

  Inputs are `{source: (features, labels)}`. Further sources (a classification batch for joint training) are
  further entries: override `forward` to send them to their own head and `extra_losses` to add their term.
  """

  def build_model(self) -> tf.keras.Model:
    """The task's model, with the state of self-training attached so that checkpoints carry it."""
    model = super().build_model()
    # An attribute of the model and not of the task: the Trainer checkpoints the model. Not in `checkpoint_items`,
    # which must match a teacher's checkpoint.
    model.loss_averages = normalized.LossAverages(self.task_config.self_training.ema_decay)
    return run_state.attach(model)

  def build_inputs(
    self, params: Any, input_context: tf.distribute.InputContext | None = None
  ) -> tf.data.Dataset:
    """Both streams zipped for training; the task's own input otherwise."""
    if not params.is_training:
      return super().build_inputs(params, input_context)
    streams = {
      keys.HUMAN: self.build_source_inputs(keys.HUMAN, params, input_context),
      keys.PSEUDO: self.build_source_inputs(
        keys.PSEUDO, self.task_config.pseudo_data, input_context
      ),
    }
    return tf.data.Dataset.zip(streams).prefetch(tf.data.AUTOTUNE)

  def pseudo_targets(self, inputs: BySource, model: tf.keras.Model) -> BySource:
    """Hook for targets that are made during training (an online teacher); here they come from disk unchanged."""
    del model
    return inputs

  def extra_losses(self, outputs: BySource, labels: BySource) -> tf.Tensor:
    """Hook for terms outside the normalisation, such as the classification loss of joint training; float32 scalar."""
    del outputs, labels
    return tf.zeros([], tf.float32)

  def forward(self, model: tf.keras.Model, features: BySource) -> BySource:
    """Outputs of the model for each source.

    Args:
      model: the model.
      features: [batch of the source, ...] per source.

    Returns:
      The model's training outputs, cast to float32, per source. One pass over the joined batch, so that both sources
      share batch-norm statistics as in the paper, or one pass per source with `separate_batch_norm`.
    """
    if self.task_config.self_training.separate_batch_norm:
      return _forward_separately(model, features)
    joined = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *features.values())
    outputs = _to_float32(model(joined, training=True))
    sizes = [_batch_size(value) for value in features.values()]
    pieces = [tf.split(tensor, sizes, axis=0) for tensor in tf.nest.flatten(outputs)]
    return {
      source: tf.nest.pack_sequence_as(outputs, [piece[i] for piece in pieces])
      for i, source in enumerate(features)
    }

  def train_step(
    self,
    inputs: BySource,
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    metrics: list[tf.keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """One step on both sources.

    Args:
      inputs: `{source: (features, labels)}` of this replica.
      model: the student.
      optimizer: its optimizer.
      metrics: those of `build_metrics(training=True)`.

    Returns:
      Logs by metric name; the task's loss under `self.loss`.
    """
    inputs = self.pseudo_targets(inputs, model)
    features = {source: pair[0] for source, pair in inputs.items()}
    labels = {source: pair[1] for source, pair in inputs.items()}
    with tf.GradientTape() as tape:
      outputs = self.forward(model, features)
      parts = {
        source: self.source_losses(outputs[source], labels[source]) for source in keys.SOURCES
      }
      combined = self._combine(model, parts)
      total = combined.loss + self.extra_losses(outputs, labels)
      total += tf.add_n(model.losses) if model.losses else 0.0
      total *= self.task_config.losses.loss_weight
      scaled = total / tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, total.dtype)
      if isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
        scaled = optimizer.get_scaled_loss(scaled)
    apply_gradients(tape, scaled, model, optimizer)
    model.first_non_finite.observe(
      [parts[source]['model_loss'] for source in keys.SOURCES], optimizer.iterations - 1
    )
    logs = self._logs(total, combined, parts, labels)
    return update_metrics(metrics, logs) | {self.loss: total}

  def build_metrics(self, training: bool = True) -> list[tf.keras.metrics.Metric]:
    """Means of everything that `train_step` logs; the task's own metrics for evaluation."""
    if not training:
      return super().build_metrics(training=False)
    names = ['total_loss', *_LOGGED]
    for source in keys.SOURCES:
      names += [f'{source}_{name}' for name in self.source_log_names]
    return [tf.keras.metrics.Mean(name, dtype=tf.float32) for name in names]

  def _combine(self, model: tf.keras.Model, parts: BySource) -> normalized.CombinedLoss:
    config = self.task_config.self_training
    return normalized.combine(
      parts[keys.HUMAN]['model_loss'],
      parts[keys.PSEUDO]['model_loss'],
      model.loss_averages,
      alpha=config.alpha,
      normalize=config.normalize_loss,
    )

  def _logs(
    self, total: tf.Tensor, combined: normalized.CombinedLoss, parts: BySource, labels: BySource
  ) -> dict[str, tf.Tensor]:
    logs = {
      'total_loss': total,
      'loss_ratio': combined.ratio,
      'average_human_loss': combined.average_human,
      'average_pseudo_loss': combined.average_pseudo,
    }
    for source in keys.SOURCES:
      values = {**parts[source], **self.source_statistics(labels[source])}
      values['loss'] = values.pop('model_loss')
      logs |= {f'{source}_{name}': value for name, value in values.items()}
    return logs


def apply_gradients(
  tape: tf.GradientTape,
  loss: tf.Tensor,
  model: tf.keras.Model,
  optimizer: tf.keras.optimizers.Optimizer,
) -> None:
  """Gradients of a (scaled) loss, unscaled again where the optimizer scales it, applied to the model."""
  variables = model.trainable_variables
  gradients = tape.gradient(loss, variables)
  if isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
    gradients = optimizer.get_unscaled_gradients(gradients)
  optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))


def update_metrics(
  metrics: list[tf.keras.metrics.Metric] | None, logs: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
  """Feeds each metric the value of its name and returns their results."""
  results = {}
  for metric in metrics or []:
    metric.update_state(logs[metric.name])
    results[metric.name] = metric.result()
  return results


def _to_float32(outputs: Nest) -> Nest:
  return tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float32), outputs)


def _batch_size(features: Nest) -> int | tf.Tensor:
  """Batch size as a Python int where it is known, which keeps shapes static for XLA."""
  first = tf.nest.flatten(features)[0]
  return first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]


def _forward_separately(model: tf.keras.Model, features: BySource) -> BySource:
  """One pass per source; the moving statistics end up as if only the human batch had been seen."""
  moving = [v for v in model.non_trainable_variables if 'moving_' in v.name]
  before = [tf.identity(variable) for variable in moving]
  outputs = {}
  # Human images last: what they leave behind stays.
  for source in sorted(features, key=lambda source: source == keys.HUMAN):
    outputs[source] = _to_float32(model(features[source], training=True))
    if source != keys.HUMAN:
      for variable, value in zip(moving, before, strict=True):
        variable.assign(value)
  return {source: outputs[source] for source in features}
