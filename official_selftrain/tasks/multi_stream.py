"""Training on several declared streams at once, for any Model Garden task."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.core import keys
from official_selftrain.modeling import precision
from official_selftrain.tasks import stream_specs

Nest = Any
ByStream = Mapping[str, Any]


if TYPE_CHECKING:
  from official_selftrain.tasks import streams

  class _Host(streams.StreamsMixin):
    """The class that the mixin is mixed into, for the type checker only: at run time it would shadow the real one."""

    def build_metrics(self, training: bool = True) -> list[tf.keras.metrics.Metric]: ...
    def source_losses(self, outputs: Nest, labels: Nest) -> dict[str, tf.Tensor]: ...
    def source_statistics(self, labels: Nest) -> dict[str, tf.Tensor]: ...

else:
  _Host = object


class MultiStreamMixin(_Host):
  """Trains a task on a batch of each stream that it declares.

  Put it before the task in the bases. The task provides `source_losses(outputs, labels)` and
  `source_statistics(labels)`; the mixin knows neither boxes nor masks.

  Inputs are `{stream: (features, labels)}`, in the order of `training_streams`. A task that adds a stream (images with
  classes, for joint training) overrides `training_streams`; `forward`, to send it to its own head; and
  `stream_losses` and `stream_statistics`, for its loss and its logs. `combine` says what becomes of the losses; that of
  an extra stream is added afterwards, times its weight. Everything else (inputs, logs, the memory of the first loss
  that is not finite, progress, the search for bad records) goes through the declared streams.

  A task that trains on one stream only has its own inputs, step and metrics, as if it were not mixed, unless its
  backbone has a learning rate of its own.
  """

  # Names under which `extra_losses` and `combine` log.
  extra_loss_names: tuple[str, ...] = ()
  combined_log_names: tuple[str, ...] = ()

  def taught_streams(self) -> tuple[stream_specs.Stream, ...]:
    """The declared streams without those of weight 0, so that such a run equals one that never had them."""
    return stream_specs.taught(self.training_streams())

  @property
  def _is_single(self) -> bool:
    return len(self.taught_streams()) == 1 and self._backbone_rate == 1.0

  @property
  def _backbone_rate(self) -> float:
    return getattr(self.task_config, 'backbone_learning_rate', 1.0)

  @property
  def separates_batch_norm(self) -> bool:
    """Whether each stream is normalised with its own batch statistics, in a pass of its own."""
    return False

  def build_inputs(
    self, params: cfg.DataConfig, input_context: tf.distribute.InputContext | None = None
  ) -> tf.data.Dataset:
    """All streams zipped for training; the task's own input otherwise."""
    if not params.is_training or self._is_single:
      return super().build_inputs(params, input_context)
    batches = {
      # The trainer passes the config of the first stream.
      stream.name: self.stream_batches(
        stream, params if stream.role is stream_specs.Role.HUMAN else stream.config, input_context
      )
      for stream in self.taught_streams()
    }
    return tf.data.Dataset.zip(batches).prefetch(tf.data.AUTOTUNE)

  def pseudo_targets(self, inputs: ByStream, model: tf.keras.Model) -> ByStream:
    """Hook for targets that are made during training (an online teacher); here they come from disk unchanged."""
    del model
    return inputs

  def extra_losses(self, outputs: ByStream, labels: ByStream) -> Mapping[str, tf.Tensor]:
    """Hook for terms outside the normalisation that belong to no single stream.

    Args:
      outputs: what `forward` returned.
      labels: labels by stream.

    Returns:
      float32 scalars by name, those of `extra_loss_names`; all are added to the loss and logged.
    """
    del outputs, labels
    return {}

  def after_update(self, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer) -> None:
    """Hook that runs in each step after the optimizer, on every replica: moving averages of weights, for example."""
    del model, optimizer

  def combine(
    self, model: tf.keras.Model, parts: ByStream
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The loss that human and pseudo labels make together.

    Args:
      model: the model, whose state may be used.
      parts: the losses of each stream, see `stream_losses`.

    Returns:
      float32 scalar, and what to log under `combined_log_names`. Here it is the loss of the human labels.
    """
    del model
    return parts[keys.HUMAN]['model_loss'], {}

  def forward(self, model: tf.keras.Model, features: ByStream) -> ByStream:
    """Outputs of the model for each stream.

    Args:
      model: the model.
      features: [batch of the stream, ...] per stream.

    Returns:
      The model's training outputs, cast to float32, per stream. One pass over the joined batch, so that all streams
      share batch-norm statistics as in the paper; with `separates_batch_norm` one for each stream, after which the
      moving statistics are as if only the human batch had been seen.
    """
    if self.separates_batch_norm:
      return _forward_separately(model, features)
    joined = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *features.values())
    outputs = precision.to_float32(model(joined, training=True))
    sizes = [_batch_size(value) for value in features.values()]
    pieces = [tf.split(tensor, sizes, axis=0) for tensor in tf.nest.flatten(outputs)]
    return {
      stream: tf.nest.pack_sequence_as(outputs, [piece[i] for piece in pieces])
      for i, stream in enumerate(features)
    }

  def stream_losses(
    self, stream: stream_specs.Stream, outputs: Nest, labels: Nest
  ) -> dict[str, tf.Tensor]:
    """Losses of one stream, float32 scalars; `model_loss` is what is minimised, the others are logged."""
    del stream
    return self.source_losses(outputs, labels)

  def stream_statistics(self, stream: stream_specs.Stream, labels: Nest) -> dict[str, tf.Tensor]:
    """Statistics of one stream's labels to log, float32 scalars."""
    del stream
    return self.source_statistics(labels)

  # AutoGraph stays out, see `pipelines.map_in_order`.
  @tf.autograph.experimental.do_not_convert
  def train_step(
    self,
    inputs: ByStream,
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    metrics: list[tf.keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """One step on all streams.

    Args:
      inputs: `{stream: (features, labels)}` of this replica.
      model: the student.
      optimizer: its optimizer.
      metrics: those of `build_metrics(training=True)`.

    Returns:
      Logs by metric name; the task's loss under `self.loss`.
    """
    if self._is_single:
      return super().train_step(inputs, model, optimizer, metrics)
    inputs = self.pseudo_targets(inputs, model)
    declared = self.taught_streams()
    features = {stream.name: inputs[stream.name][0] for stream in declared}
    labels = {stream.name: inputs[stream.name][1] for stream in declared}
    with tf.GradientTape() as tape:
      outputs = self.forward(model, features)
      parts = {
        stream.name: self.stream_losses(stream, outputs[stream.name], labels[stream.name])
        for stream in declared
      }
      total, logs = self.combine(model, parts)
      for stream in declared:
        if stream.role is stream_specs.Role.EXTRA:
          total += stream.weight * parts[stream.name]['model_loss']
      extra = self.extra_losses(outputs, labels)
      for loss in extra.values():
        total += loss
      total += tf.add_n(model.losses) if model.losses else 0.0
      total *= self.task_config.losses.loss_weight
      scaled = total / tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, total.dtype)
      if isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
        scaled = optimizer.get_scaled_loss(scaled)
    apply_gradients(tape, scaled, model, optimizer, self._backbone_rate)
    self.after_update(model, optimizer)
    model.first_non_finite.observe(
      [parts[stream.name]['model_loss'] for stream in declared], optimizer.iterations - 1
    )
    logs = {**logs, **extra, 'total_loss': total, **self._stream_logs(parts, labels)}
    return update_metrics(metrics, logs) | {self.loss: total}

  def build_metrics(self, training: bool = True) -> list[tf.keras.metrics.Metric]:
    """Means of everything that `train_step` logs; the task's own metrics for evaluation."""
    if not training or self._is_single:
      return super().build_metrics(training)
    names = ['total_loss', *self.combined_log_names, *self.extra_loss_names]
    for stream in self.taught_streams():
      names += [f'{stream.name}_{name}' for name in stream.log_names]
    return [tf.keras.metrics.Mean(name, dtype=tf.float32) for name in names]

  def _stream_logs(self, parts: ByStream, labels: ByStream) -> dict[str, tf.Tensor]:
    logs: dict[str, tf.Tensor] = {}
    for stream in self.taught_streams():
      values = {**parts[stream.name], **self.stream_statistics(stream, labels[stream.name])}
      values['loss'] = values.pop('model_loss')
      logs |= {f'{stream.name}_{name}': value for name, value in values.items()}
    return logs


def pass_aside(model: tf.keras.Model, features: Nest) -> Nest:
  """A training pass with the batch's own statistics, which leaves the moving ones of batch norm as they were.

  Args:
    model: a model, or a part of one.
    features: of a batch.

  Returns:
    Its outputs, cast to float32.
  """
  moving = [v for v in model.non_trainable_variables if 'moving_' in v.name]
  before = [tf.identity(variable) for variable in moving]
  outputs = precision.to_float32(model(features, training=True))
  for variable, value in zip(moving, before, strict=True):
    variable.assign(value)
  return outputs


def _forward_separately(model: tf.keras.Model, features: ByStream) -> ByStream:
  """One pass per stream, of which that of the human images alone moves the statistics."""
  outputs = {}
  # Human images last: what is put back was there before.
  for source in sorted(features, key=lambda source: source == keys.HUMAN):
    if source == keys.HUMAN:
      outputs[source] = precision.to_float32(model(features[source], training=True))
    else:
      outputs[source] = pass_aside(model, features[source])
  return {source: outputs[source] for source in features}


def apply_gradients(
  tape: tf.GradientTape,
  loss: tf.Tensor,
  model: tf.keras.Model,
  optimizer: tf.keras.optimizers.Optimizer,
  backbone_rate: float = 1.0,
) -> None:
  """Gradients of a (scaled) loss, unscaled again where the optimizer scales it, applied to the model.

  Args:
    tape: has recorded the loss.
    loss: scalar.
    model: the model.
    optimizer: its optimizer.
    backbone_rate: factor of the gradients of the backbone; with SGD that is a factor of its learning rate.
  """
  variables = model.trainable_variables
  gradients = tape.gradient(loss, variables)
  if isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
    gradients = optimizer.get_unscaled_gradients(gradients)
  if backbone_rate != 1.0:
    backbone = {variable.ref() for variable in model.backbone.trainable_variables}
    gradients = [
      gradient * backbone_rate if gradient is not None and variable.ref() in backbone else gradient
      for gradient, variable in zip(gradients, variables, strict=True)
    ]
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


def _batch_size(features: Nest) -> int | tf.Tensor:
  """Batch size as a Python int where it is known, which keeps shapes static for XLA."""
  first = tf.nest.flatten(features)[0]
  return first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]
