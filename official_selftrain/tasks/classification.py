"""Classification of whole images, with which backbones are pre-trained."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from official.core import task_factory
from official.vision.tasks import image_classification

from official_selftrain.configs import classification as configs
from official_selftrain.dataloaders import classification as parsing
from official_selftrain.modeling import classification as modeling
from official_selftrain.tasks import contract, run_state, streams

Inputs = tuple[tf.Tensor, Mapping[str, tf.Tensor]]


@task_factory.register_task_cls(configs.ClassificationTask)
class ClassificationTask(streams.StreamsMixin, image_classification.ImageClassificationTask):
  """The Model Garden's classification with reproducible streams, on the backbones of detectors and segmenters."""

  setting_names = contract.SettingNames(
    model=('task.model',),
    training=('task.losses', 'task.train_data', 'task.init_statistics', 'task.freeze_backbone'),
    inference=(),
    evaluation=('task.validation_data', 'task.evaluation', 'trainer.validation_steps'),
  )

  def build_model(self) -> tf.keras.Model:
    """See `modeling.classification.build`; the model also remembers its first non-finite loss."""
    config = self.task_config
    model = modeling.build(config.model, config.losses.l2_weight_decay)
    if config.freeze_backbone:
      model.backbone.trainable = False
    return run_state.attach(model)

  def initialize(self, model: tf.keras.Model) -> None:
    """See `StreamsMixin`; a whole classifier of as many classes also gives its head."""
    super().initialize(model)
    self.start_further_part(model, 'head', 'the head')

  def decoder(self, params: configs.DataConfig) -> Callable[[tf.Tensor], parsing.Example]:
    """Image and class of a record."""
    decode, check = self.decoding_steps(params)
    return lambda record: check(decode(record))

  def decoding_steps(self, params: configs.DataConfig) -> streams.DecodingSteps:
    """See `StreamsMixin`."""
    del params
    num_classes = self.task_config.model.num_classes
    return parsing.decode, lambda example: parsing.checked(example, num_classes)

  def training_parser(self, params: configs.DataConfig) -> parsing.TrainingParser:
    """See `StreamsMixin`."""
    return parsing.TrainingParser(self.task_config.model, params)

  def evaluation_parser(self, params: configs.DataConfig) -> Callable[[parsing.Example], Any]:
    """See `dataloaders.classification.evaluation_parser`."""
    return parsing.evaluation_parser(self.task_config.model, params)

  def check_record(self, params: configs.DataConfig, record: tf.Tensor) -> None:
    """See `dataloaders.classification.check_record`."""
    del params
    parsing.check_record(record, self.task_config.model.num_classes)

  def train_step(
    self,
    inputs: Inputs,
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    metrics: list[tf.keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """See `StreamsMixin`; the Model Garden wants bare classes."""
    images, labels = inputs
    return super().train_step((images, labels['classes']), model, optimizer, metrics)

  def validation_step(
    self,
    inputs: Inputs,
    model: tf.keras.Model,
    metrics: list[tf.keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """See the Model Garden, which wants bare classes."""
    images, labels = inputs
    return super().validation_step((images, labels['classes']), model, metrics)
