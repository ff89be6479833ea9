"""Two-source training for any Model Garden task (Zoph et al. 2020, section 3.2 and appendix B)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.core import keys
from official_selftrain.dataloaders import teacher_views
from official_selftrain.losses import normalized
from official_selftrain.tasks import multi_stream, online_teacher, stream_specs, streams

ByStream = multi_stream.ByStream

if TYPE_CHECKING:

  class _Host(multi_stream.MultiStreamMixin):
    """The class that the mixin is mixed into, for the type checker only: at run time it would shadow the real one."""

    task_config: Any

    def build_model(self) -> tf.keras.Model: ...
    def initialize(self, model: tf.keras.Model) -> None: ...
    def make_variables(self, model: tf.keras.Model) -> None: ...
    def pseudo_stream(self, name: str, field: str, seed_offset: int) -> stream_specs.Stream: ...
    def training_parser(self, params: cfg.DataConfig) -> Any: ...

else:
  _Host = multi_stream.MultiStreamMixin


class SelfTrainingMixin(_Host):
  """Trains a task on a batch of human labels and a batch of pseudo labels at once, with the normalised loss.

  Put it first in the bases: `class DetectionSelfTraining(SelfTrainingMixin, DetectionTask)`. See `MultiStreamMixin` for
  further streams. With `self_training.online_teacher` the model has an `online_teacher`, which makes the pseudo labels
  in each step; the task then provides `online_predictions`
  and `online_labels`.
  """

  combined_log_names = ('loss_ratio', 'average_human_loss', 'average_pseudo_loss')

  def build_model(self) -> tf.keras.Model:
    """The task's model, with the state of self-training attached so that checkpoints carry it."""
    model = super().build_model()
    # An attribute of the model and not of the task: the Trainer checkpoints the model. Not in `checkpoint_items`,
    # which must match a teacher's checkpoint.
    settings = self.task_config.self_training
    model.loss_averages = normalized.LossAverages(settings.ema_decay)
    if settings.online_teacher.enabled:
      self.make_variables(model)
      model.online_teacher = online_teacher.OnlineTeacher(self._build_copy, settings.online_teacher)
    return model

  def _build_copy(self) -> tf.keras.Model:
    model = super().build_model()
    self.make_variables(model)
    return model

  def initialize(self, model: tf.keras.Model) -> None:
    """See `StreamsMixin`; a teacher that follows the student starts with its weights."""
    super().initialize(model)
    if self._is_online:
      model.online_teacher.copy(model)

  @property
  def _is_online(self) -> bool:
    return self.task_config.self_training.online_teacher.enabled

  def training_streams(self) -> tuple[stream_specs.Stream, ...]:
    """Human labels, then pseudo labels."""
    pseudo = self.pseudo_stream(keys.PSEUDO, 'pseudo_data', streams.PSEUDO_OFFSET)
    if self._is_online:
      pseudo = dataclasses.replace(
        pseudo, parser=lambda params: teacher_views.TeacherViews(self.training_parser(params))
      )
    return (*super().training_streams(), pseudo)

  def online_predictions(self, teacher: tf.keras.Model, images: tf.Tensor) -> multi_stream.Nest:
    """What a teacher says of a batch of weak views.

    Args:
      teacher: the model.
      images: normalised, float32 [batch, height, width, 3].

    Returns:
      A nest of tensors [batch, ...], for `online_labels`.
    """
    raise NotImplementedError

  def online_labels(
    self, prediction: multi_stream.Nest, views: teacher_views.Views
  ) -> Mapping[str, Any]:
    """Labels of one image for the student's view.

    Args:
      prediction: of this image, see `online_predictions`.
      views: see `dataloaders.teacher_views`.

    Returns:
      The same structure, shapes and types as `training_parser` gives.
    """
    raise NotImplementedError

  def pseudo_targets(self, inputs: ByStream, model: tf.keras.Model) -> ByStream:
    """See `MultiStreamMixin`: labels of the online teacher, if there is one, and nothing of the spared classes."""
    targets = self._targets_of_now(inputs, model) if self._is_online else inputs
    spared = self.task_config.pseudo_data.known_spared()
    if not spared:
      return targets
    features, labels = targets[keys.PSEUDO]
    return {**targets, keys.PSEUDO: (features, self.spare_labels(labels, spared))}

  def _targets_of_now(self, inputs: ByStream, model: tf.keras.Model) -> ByStream:
    """Labels of the online teacher, once its warm-up is over, in place of those on disk."""
    views, on_disk = inputs[keys.PSEUDO]
    teacher = model.online_teacher
    signature = tf.nest.map_structure(
      lambda each: tf.TensorSpec(each.shape[1:], each.dtype), on_disk
    )

    def made_now() -> Mapping[str, Any]:
      predictions = self.online_predictions(teacher.model, views[keys.TEACHER_IMAGE])
      return tf.map_fn(
        lambda row: self.online_labels(*row), (predictions, views), fn_output_signature=signature
      )

    labels = tf.cond(teacher.is_ready(), made_now, lambda: on_disk)
    return {**inputs, keys.PSEUDO: (views['image'], labels)}

  def stream_losses(
    self, stream: stream_specs.Stream, outputs: multi_stream.Nest, labels: multi_stream.Nest
  ) -> dict[str, tf.Tensor]:
    """See `MultiStreamMixin`; pseudo labels teach nothing of the spared classes."""
    spared = self.task_config.pseudo_data.known_spared()
    if spared and stream.name == keys.PSEUDO:
      outputs = self.spare_outputs(outputs, spared)
    return super().stream_losses(stream, outputs, labels)

  def spare_outputs(self, outputs: multi_stream.Nest, classes: Sequence[int]) -> multi_stream.Nest:
    """Outputs in which classes, ids above 0, are out of the question: they cost nothing and get no gradient."""
    raise NotImplementedError

  def spare_labels(self, labels: multi_stream.Nest, classes: Sequence[int]) -> multi_stream.Nest:
    """Labels that say of no place that it shows one of these classes."""
    raise NotImplementedError

  def after_update(self, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer) -> None:
    """See `MultiStreamMixin`: the online teacher follows."""
    super().after_update(model, optimizer)
    if self._is_online:
      model.online_teacher.follow(model)

  @property
  def separates_batch_norm(self) -> bool:
    """See `MultiStreamMixin`."""
    return self.task_config.self_training.separate_batch_norm

  @property
  def weighs_by_losses(self) -> bool:
    """See `MultiStreamMixin`: the averages of both losses take in those of the batch before they are used."""
    return True

  def combine(
    self, model: tf.keras.Model, parts: ByStream, optimizer: tf.keras.optimizers.Optimizer
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """See `MultiStreamMixin` and `losses.normalized.combine`."""
    config = self.task_config.self_training
    alpha, steps = config.alpha, config.alpha_decay_steps
    combined = normalized.combine(
      parts[keys.HUMAN]['model_loss'],
      parts[keys.PSEUDO]['model_loss'],
      model.loss_averages,
      alpha=normalized.falling(alpha, optimizer.iterations, steps) if steps else alpha,
      normalize=config.normalize_loss,
    )
    logs = (combined.ratio, combined.average_human, combined.average_pseudo)
    return combined.loss, dict(zip(self.combined_log_names, logs, strict=True))
