"""SimCLR: pre-trains a backbone on images without labels (Chen et al. 2020)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from official.core import base_task, task_factory

from official_selftrain.configs import contrastive as configs
from official_selftrain.dataloaders import contrastive as parsing
from official_selftrain.losses import normalized, ntxent
from official_selftrain.modeling import contrastive as modeling
from official_selftrain.tasks import contract, multi_stream, run_state, stream_specs, streams

Inputs = tuple[tf.Tensor, Mapping[str, tf.Tensor]]


@task_factory.register_task_cls(configs.ContrastiveTask)
class ContrastiveTask(streams.StreamsMixin, base_task.Task):
  """Two views of each image are told from those of all others in the batch, over all replicas."""

  setting_names = contract.SettingNames(
    model=('task.model',),
    training=('task.losses', 'task.train_data', 'task.init_statistics'),
    inference=(),
    evaluation=('task.validation_data', 'trainer.validation_steps'),
  )

  def build_model(self) -> tf.keras.Model:
    """See `modeling.contrastive.build`; the model also remembers its first non-finite loss."""
    config = self.task_config
    return run_state.attach(modeling.build(config.model, config.losses.l2_weight_decay))

  def initialize(self, model: tf.keras.Model) -> None:
    """See `StreamsMixin`; a whole network of SimCLR also gives its projection."""
    super().initialize(model)
    self.start_further_part(model, 'head', 'the projection')

  def training_streams(self) -> tuple[stream_specs.Stream, ...]:
    """See `StreamsMixin`; TensorBoard has a sheet of views."""
    return tuple(
      dataclasses.replace(stream, shows_views=True) for stream in super().training_streams()
    )

  def decoder(self, params: configs.DataConfig) -> Callable[[tf.Tensor], parsing.Example]:
    """The image of a record."""
    del params
    return parsing.decode

  def training_parser(self, params: configs.DataConfig) -> parsing.TrainingParser:
    """See `StreamsMixin`."""
    return parsing.TrainingParser(self.task_config.model, params)

  def evaluation_parser(self, params: configs.DataConfig) -> Callable[[parsing.Example], Any]:
    """See `dataloaders.contrastive.evaluation_parser`."""
    return parsing.evaluation_parser(self.task_config.model, params)

  def batch_evaluation(
    self, dataset: tf.data.Dataset, size: int, drop_remainder: bool
  ) -> tf.data.Dataset:
    """See `StreamsMixin`; a single image has no other to be told from, so a last batch of one is left out."""
    batches = super().batch_evaluation(dataset, size, drop_remainder)
    return batches.filter(lambda pairs, _: tf.shape(pairs)[0] > 1)

  def check_record(self, params: configs.DataConfig, record: tf.Tensor) -> None:
    """Decodes one record eagerly; raises tf.errors.OpError if it cannot be decoded."""
    del params
    parsing.decode(record)

  def build_metrics(self, training: bool = True) -> list[tf.keras.metrics.Metric]:
    """The share of views that found their partner; in evaluation also the contrastive loss."""
    names = ['contrastive_accuracy'] + ([] if training else ['contrastive_loss'])
    return [tf.keras.metrics.Mean(name, dtype=tf.float32) for name in names]

  def _compare(self, pairs: tf.Tensor, model: tf.keras.Model, training: bool) -> ntxent.NtXent:
    """NT-Xent of pairs of views, [batch, 2, h, w, 3], in one pass, so that batch norm sees both."""
    shape = pairs.shape
    views = tf.reshape(tf.transpose(pairs, [1, 0, 2, 3, 4]), [-1, *shape[2:]])
    first, second = tf.split(model(views, training=training), 2)
    if shape[0] is not None:
      first, second = (tf.ensure_shape(part, [shape[0], None]) for part in (first, second))
    # The last batches of an evaluation differ in size among replicas.
    temperature = self.task_config.losses.temperature
    return ntxent.ntxent(first, second, temperature, gathers=training)

  # AutoGraph stays out, see `pipelines.map_in_order`.
  @tf.autograph.experimental.do_not_convert
  def train_step(
    self,
    inputs: Inputs,
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    metrics: list[tf.keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """One step; `inputs` are pairs of views, float [batch, 2, height, width, 3], and no labels."""
    pairs, _ = inputs
    config = self.task_config.losses
    with tf.GradientTape() as tape:
      found = self._compare(pairs, model, training=True)
      total = found.loss + (tf.add_n(model.losses) if model.losses else 0.0)
      total *= config.loss_weight
      scaled = multi_stream.scaled_loss(total, optimizer)
    gradients = tape.gradient(scaled, model.trainable_variables)
    multi_stream.apply_gradients(gradients, model, optimizer)
    model.first_non_finite.observe([found.loss], optimizer.iterations - 1)
    logs = {'contrastive_accuracy': found.accuracy}
    return multi_stream.update_metrics(metrics, logs) | {self.loss: total}

  def validation_step(
    self,
    inputs: Inputs,
    model: tf.keras.Model,
    metrics: list[tf.keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """Loss and accuracy within one batch of validation images; a replica that has none left adds nothing."""
    pairs, _ = inputs
    count = tf.cast(tf.shape(pairs)[0], tf.float32)

    def compare() -> tuple[tf.Tensor, tf.Tensor]:
      found = self._compare(pairs, model, training=False)
      return found.loss, found.accuracy

    # Nothing has no nearest view, and no mean.
    loss, accuracy = tf.cond(count > 0, compare, lambda: (tf.zeros([]), tf.zeros([])))
    logs = {'contrastive_accuracy': accuracy, 'contrastive_loss': loss}
    results = multi_stream.update_metrics(metrics, logs, weight=count)
    # Over all pairs, of which replicas may have different numbers.
    total, pairs_of_all = map(normalized.mean_over_replicas, (loss * count, count))
    return results | {self.loss: tf.math.divide_no_nan(total, pairs_of_all)}
