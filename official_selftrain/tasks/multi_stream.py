"""Training on several declared streams at once, for any Model Garden task."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.core import keys
from official_selftrain.modeling import precision
from official_selftrain.tasks import accumulation, passes, stream_specs

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
  backbone has a learning rate of its own or its batches are trained on in parts, for which the task provides
  `label_count(labels)`.
  """

  # Names under which `extra_losses` and `combine` log.
  extra_loss_names: tuple[str, ...] = ()
  combined_log_names: tuple[str, ...] = ()

  def taught_streams(self) -> tuple[stream_specs.Stream, ...]:
    """The declared streams without those of weight 0, so that such a run equals one that never had them."""
    return stream_specs.taught(self.training_streams())

  @property
  def _is_single(self) -> bool:
    return len(self.taught_streams()) == 1 and self._backbone_rate == 1.0 and self._parts == 1

  @property
  def _backbone_rate(self) -> float:
    return getattr(self.task_config, 'backbone_learning_rate', 1.0)

  @property
  def _parts(self) -> int:
    return getattr(self.task_config, 'gradient_accumulation_steps', 1)

  @property
  def weighs_by_losses(self) -> bool:
    """Whether what `combine` multiplies losses by depends on them, so that they must be known first."""
    return False

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
    return tf.data.Dataset.zip(batches)

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
    self, model: tf.keras.Model, parts: ByStream, optimizer: tf.keras.optimizers.Optimizer
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The loss that human and pseudo labels make together.

    Args:
      model: the model, whose state may be used.
      parts: the losses of each stream, see `stream_losses`.
      optimizer: its `iterations` are the steps that are done. The first to ask for them makes the variable.

    Returns:
      float32 scalar, and what to log under `combined_log_names`. Here it is the loss of the human labels.
    """
    del model, optimizer
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
      return passes.forward_separately(model, features)
    joined = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *features.values())
    outputs = precision.to_float32(model(joined, training=True))
    sizes = [_batch_size(value) for value in features.values()]
    pieces = [tf.split(tensor, sizes, axis=0) for tensor in tf.nest.flatten(outputs)]
    return {
      stream: tf.nest.pack_sequence_as(outputs, [piece[i] for piece in pieces])
      for i, stream in enumerate(features)
    }

  def label_count(self, labels: Nest) -> tf.Tensor:
    """What the losses of a batch of human or pseudo labels are divided by, float32 scalar."""
    raise NotImplementedError

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
    if self._parts == 1:
      with tf.GradientTape() as tape:
        parts, extra = self._losses(model, features, labels)
        combined, logs = self.combine(model, parts, optimizer)
        total = self._total(model, combined, parts, extra)
        scaled = scaled_loss(total, optimizer)
      gradients = tape.gradient(scaled, model.trainable_variables)
    else:
      gradients, total, parts, extra, logs = self._accumulate(model, optimizer, features, labels)
    apply_gradients(gradients, model, optimizer, self._backbone_rate)
    self.after_update(model, optimizer)
    model.first_non_finite.observe(
      [parts[stream.name]['model_loss'] for stream in declared], optimizer.iterations - 1
    )
    logs = {**logs, **extra, 'total_loss': total, **self._stream_logs(parts, labels)}
    return update_metrics(metrics, logs) | {self.loss: total}

  def _losses(
    self, model: tf.keras.Model, features: ByStream, labels: ByStream
  ) -> tuple[ByStream, ByStream]:
    """Losses of each stream, and the extra ones, of a training pass."""
    outputs = self.forward(model, features)
    parts = {
      stream.name: self.stream_losses(stream, outputs[stream.name], labels[stream.name])
      for stream in self.taught_streams()
    }
    return parts, self.extra_losses(outputs, labels)

  def _total(
    self, model: tf.keras.Model, combined: tf.Tensor, parts: ByStream, extra: ByStream
  ) -> tf.Tensor:
    """What is minimised: the combined loss, those of further streams, extra ones and weight decay."""
    total = combined
    for stream in self.taught_streams():
      if stream.role is stream_specs.Role.EXTRA:
        total += stream.weight * parts[stream.name]['model_loss']
    for loss in extra.values():
      total += loss
    total += tf.add_n(model.losses) if model.losses else 0.0
    return total * self.task_config.losses.loss_weight

  def _accumulate(
    self,
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    features: ByStream,
    labels: ByStream,
  ) -> tuple[accumulation.Gradients, tf.Tensor, ByStream, ByStream, dict[str, tf.Tensor]]:
    """One part of the batch after the other, see `accumulation`.

    What `combine` makes of the losses may depend on those of the whole batch. Then a first pass over all parts finds
    the losses, and a second one the gradients.

    Returns:
      Gradients, and total, losses of the streams, extra losses and logs of `combine`, as for a whole batch.
    """
    batches = accumulation.split((features, self._counted(labels)), self._parts)
    gradients: accumulation.Gradients | None = None
    factors: dict[str, tf.Tensor] | None = None
    logs: dict[str, tf.Tensor] = {}
    if self.weighs_by_losses:
      aside: list[ByStream] = []
      with passes.statistics_kept(model):
        for batch in batches:
          aside.append(self._losses(model, *accumulation.after(batch, aside))[0])
      factors, logs = self._factors(model, accumulation.mean(aside), optimizer)
    seen: list[tuple[ByStream, ByStream, tf.Tensor]] = []
    for batch in batches:
      with tf.GradientTape() as tape:
        parts, extra = self._losses(model, *accumulation.after(batch, gradients or []))
        if factors is None:
          combined, logs = self.combine(model, parts, optimizer)
        else:
          combined = tf.add_n([factors[name] * parts[name]['model_loss'] for name in factors])
        total = self._total(model, combined, parts, extra)
        scaled = scaled_loss(total, optimizer) / self._parts
      more = tape.gradient(scaled, model.trainable_variables)
      gradients = accumulation.add(gradients, more)
      seen.append((parts, extra, total))
    parts, extra, total = accumulation.mean(seen)
    assert gradients is not None
    return gradients, total, parts, extra, logs

  def _counted(self, labels: ByStream) -> ByStream:
    """The labels, with what each stream's loss divides by, once for each part."""
    counted = dict(labels)
    for stream in self.taught_streams():
      if stream.role is not stream_specs.Role.EXTRA:
        mine = labels[stream.name]
        whole = tf.fill([self._parts], self.label_count(mine))
        counted[stream.name] = {**mine, accumulation.WHOLE_COUNT: whole}
    return counted

  def _factors(
    self, model: tf.keras.Model, parts: ByStream, optimizer: tf.keras.optimizers.Optimizer
  ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """What `combine` multiplies the loss of each stream by, and its logs."""
    names = [s.name for s in self.taught_streams() if s.role is not stream_specs.Role.EXTRA]
    losses = [parts[name]['model_loss'] for name in names]
    with tf.GradientTape() as tape:
      tape.watch(losses)
      given = {name: {'model_loss': loss} for name, loss in zip(names, losses, strict=True)}
      combined, logs = self.combine(model, given, optimizer)
    return dict(zip(names, tape.gradient(combined, losses), strict=True)), logs

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


def scaled_loss(loss: tf.Tensor, optimizer: tf.keras.optimizers.Optimizer) -> tf.Tensor:
  """The part of a replica in the mean over replicas, scaled for mixed precision where the optimizer does that."""
  scaled = loss / tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, loss.dtype)
  is_scaling = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
  return optimizer.get_scaled_loss(scaled) if is_scaling else scaled


def apply_gradients(
  gradients: accumulation.Gradients,
  model: tf.keras.Model,
  optimizer: tf.keras.optimizers.Optimizer,
  backbone_rate: float = 1.0,
) -> None:
  """Applies gradients of a `scaled_loss` to the trainable variables of a model.

  Args:
    gradients: one per variable.
    model: the model.
    optimizer: its optimizer.
    backbone_rate: factor of the gradients of the backbone; with SGD that is a factor of its learning rate.
  """
  variables = model.trainable_variables
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
  metrics: list[tf.keras.metrics.Metric] | None,
  logs: Mapping[str, tf.Tensor],
  weight: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
  """Feeds each metric the value of its name, with a weight if there is one, and returns their results."""
  results = {}
  for metric in metrics or []:
    metric.update_state(logs[metric.name], sample_weight=weight)
    results[metric.name] = metric.result()
  return results


def _batch_size(features: Nest) -> int | tf.Tensor:
  """Batch size as a Python int where it is known, which keeps shapes static for XLA."""
  first = tf.nest.flatten(features)[0]
  return first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]
