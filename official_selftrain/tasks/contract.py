"""The methods that the pipeline calls on a task.

A task is a Model Garden task with these additional methods; `tasks.streams.StreamsMixin` and
`tasks.self_training.SelfTrainingMixin` provide most of them. A new task is a config, a parser, a task class, a label
format, a presentation, pictures and an export module.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import tensorflow as tf
from official.core import config_definitions as cfg
from official.core import task_factory

from official_selftrain.configs import self_training as st
from official_selftrain.pseudo_labels import cuts, formats
from official_selftrain.tasks import stream_specs, streams

Example = dict[str, tf.Tensor]
# From one encoded image to the model's inputs for it; from a batch of these to predictions.
Preprocess = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
Predict = Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingNames:
  """Dotted names of settings, or of whole configs, by what depends on them.

  Attributes:
    model: which network there is.
    training: what weights depend on, beyond the network.
    inference: what detections or masks of a trained model depend on, beyond these. Where it overlaps with `model`, the
      longer name decides.
    evaluation: what metrics depend on, beyond these.
    not_for_labels: settings of inference that labelling has its own in place of.
  """

  model: tuple[str, ...]
  training: tuple[str, ...]
  inference: tuple[str, ...]
  evaluation: tuple[str, ...]
  not_for_labels: tuple[str, ...] = ()


class TrainableTask(Protocol):
  """A task with reproducible streams: what `pipeline.training` asks for."""

  loss: str
  setting_names: SettingNames

  @property
  def task_config(self) -> cfg.TaskConfig:
    """The config it was made from."""

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the classes from id 1; empty if unknown."""

  @property
  def start(self) -> stream_specs.Start:
    """Seed of the streams, and where they start."""

  def training_streams(self) -> tuple[stream_specs.Stream, ...]:
    """The streams that it trains on, the labelled images first."""

  def decoder(self, params: cfg.DataConfig) -> Callable[[tf.Tensor], Example]:
    """From a serialized labelled record of `params`' stream to a decoded example."""

  def training_parser(self, params: cfg.DataConfig) -> stream_specs.StreamParser:
    """Augmentation and targets of a training stream."""

  def build_model(self) -> tf.keras.Model:
    """See the Model Garden."""

  def build_inputs(
    self, params: cfg.DataConfig, input_context: tf.distribute.InputContext | None = None
  ) -> tf.data.Dataset:
    """See the Model Garden."""

  def stream_batches(
    self,
    stream: stream_specs.Stream,
    params: cfg.DataConfig,
    input_context: tf.distribute.InputContext | None = None,
  ) -> tf.data.Dataset:
    """Batches of one training stream, from where the run starts."""

  def make_variables(self, model: tf.keras.Model) -> None:
    """Makes variables that the model would make when it is first called."""

  def check_record(self, params: cfg.DataConfig, record: tf.Tensor) -> None:
    """Decodes one serialized labelled record eagerly.

    Raises:
      ValueError: what is wrong with its labels.
      tf.errors.OpError: it cannot be decoded.
    """

  def find_bad_record(self, params: cfg.DataConfig, field: str) -> str | None:
    """The first bad record of the labelled stream `task.<field>`, and its fault; None if all can be read."""

  def evaluation_details(self) -> dict[str, Any]:
    """Results of the last evaluation that are not numbers; JSON-serialisable."""

  def evaluation_tallies(self) -> dict[str, np.ndarray]:
    """Counts per image of the last evaluation, from which metrics of resampled images can be computed."""


class SelfTrainingTask(TrainableTask, Protocol):
  """A task that also learns from pseudo labels: what the other stages ask for."""

  def label_format(self, labels: st.Labelling | None = None) -> formats.LabelFormat:
    """The format of its pseudo labels; `labels` matters for writing only."""

  def label_cuts(self, params: cfg.DataConfig) -> cuts.Cuts:
    """The cuts with which `params`, a pseudo-labelled stream, is read."""

  def labelling_functions(
    self, model: tf.keras.Model, labels: st.Labelling | None = None
  ) -> tuple[Preprocess, Predict]:
    """Preprocessing of one image and prediction for a batch, as the labeller wants them."""

  def decoded_validation_example(self, record: tf.Tensor) -> Example:
    """Image, truth and `encoded` image bytes of a serialized validation record, for pictures."""

  def source_losses(
    self, outputs: Mapping[str, Any], labels: Mapping[str, Any]
  ) -> dict[str, tf.Tensor]:
    """Losses of one stream, float32 scalars; `model_loss` is what is minimised."""


# For the Model Garden's own tasks, which train.py runs unchanged.
_STOCK_NAMES = SettingNames(
  model=('task.model',),
  training=('task.losses', 'task.train_data'),
  inference=(),
  evaluation=('task.validation_data', 'trainer.validation_steps'),
)


def make(
  config: cfg.TaskConfig,
  logging_dir: str = '',
  start: stream_specs.Start | None = None,
  class_names: Sequence[str] = (),
) -> SelfTrainingTask:
  """The task of a config; one without pseudo labels has only the methods of `TrainableTask`.

  Args:
    config: a task config.
    logging_dir: where the model and summaries go.
    start: seed of the streams, and where they start; None for seed 0 and the beginning.
    class_names: from id 1; empty if unknown.

  Returns:
    The task. One of the Model Garden's own has none of our methods: see `training_streams` and `setting_names`.
  """
  task_class = task_factory.get_task_cls(type(config))
  options: dict[str, Any] = {}
  if issubclass(task_class, streams.StreamsMixin):
    options = {'start': start, 'class_names': class_names}
  return cast(SelfTrainingTask, task_class(config, logging_dir=logging_dir, **options))


def setting_names(config: cfg.TaskConfig) -> SettingNames:
  """Which settings of a task's config its weights, inference and metrics depend on."""
  return getattr(task_factory.get_task_cls(type(config)), 'setting_names', _STOCK_NAMES)


def is_ours(task: TrainableTask) -> bool:
  """Whether a task has the methods of `TrainableTask`; those of the Model Garden itself do not."""
  return isinstance(task, streams.StreamsMixin)


def training_streams(task: TrainableTask) -> tuple[stream_specs.Stream, ...]:
  """The streams that a task trains on; the Model Garden's own tasks declare none."""
  return stream_specs.taught(task.training_streams()) if is_ours(task) else ()
