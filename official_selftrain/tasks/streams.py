"""Reproducible input streams for any Model Garden task."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf
from official.core import config_definitions as cfg

from official_selftrain.checkpoints import restore
from official_selftrain.core import class_names as names_lib
from official_selftrain.core import console, keys
from official_selftrain.dataloaders import record_order, tfrecords
from official_selftrain.losses import normalized
from official_selftrain.ops import pipelines
from official_selftrain.pseudo_labels import changed_images, cuts, formats, reader
from official_selftrain.tasks import accumulation, labelled_records, run_state, stream_specs

Example = dict[str, tf.Tensor]
InputContext: TypeAlias = tf.distribute.InputContext | None
DecodingSteps = labelled_records.DecodingSteps

# Far apart, so that the streams of one run, and those of runs with neighbouring seeds, share no draws. Each
# further stream takes another number.
HUMAN_OFFSET, PSEUDO_OFFSET = 0, 500_000_003
_SEED_STRIDE = 7_919
_FAMILY_STRIDE = 104_729


if TYPE_CHECKING:

  class _Host:
    """The Model Garden task, for the type checker only: at run time it would shadow the real one."""

    loss: str
    task_config: Any

    def __init__(self, params: cfg.TaskConfig, logging_dir: str | None, name: str | None): ...
    def build_model(self) -> tf.keras.Model: ...
    def build_inputs(
      self, params: cfg.DataConfig, input_context: InputContext = None
    ) -> tf.data.Dataset: ...
    def train_step(
      self,
      inputs: Any,
      model: tf.keras.Model,
      optimizer: tf.keras.optimizers.Optimizer,
      metrics: list[tf.keras.metrics.Metric] | None = None,
    ) -> dict[str, tf.Tensor]: ...

else:
  _Host = object


class StreamsMixin(_Host):
  """Gives a Model Garden task seeded training streams.

  Put it before the Model Garden's class in the bases. The task provides `decoder`, `training_parser`,
  `evaluation_parser`, `check_record` and, for pseudo labels, `label_format` and `pseudo_example`. What it trains on is
  declared in `training_streams`.
  """

  # What losses and statistics of each source are logged as.
  source_log_names: tuple[str, ...] = ('loss',)

  def __init__(
    self,
    params: cfg.TaskConfig,
    logging_dir: str | None = None,
    name: str | None = None,
    start: stream_specs.Start | None = None,
    class_names: Sequence[str] = (),
  ):
    """See the Model Garden.

    Args:
      params: the task's config.
      logging_dir: where the model and summaries go.
      name: of the task.
      start: seed of the streams, and where they start; None for seed 0 and the beginning.
      class_names: from id 1; empty if unknown. They name the metrics of single classes.
    """
    super().__init__(params, logging_dir, name)
    self._class_names = tuple(class_names)
    self._start = start or stream_specs.Start()

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the classes from id 1; empty if unknown."""
    return self._class_names

  def class_label(self, class_id: int) -> str:
    """Name of a class in logs, or its id where the name is unknown."""
    if class_id == 0:
      return 'background'
    return names_lib.name_of(self._class_names, class_id)

  @property
  def start(self) -> stream_specs.Start:
    """Seed of the streams, and where they start."""
    return self._start

  def decoder(self, params: cfg.DataConfig) -> Callable[[tf.Tensor], Example]:
    """From a serialized record of `params`' stream to a decoded example."""
    raise NotImplementedError

  def decoding_steps(self, params: cfg.DataConfig) -> DecodingSteps:
    """`decoder` in two steps. `skip_errors` leaves out what the first fails on; what the second fails on stops the run.

    Here the second does nothing, for tasks whose parsers check the labels.
    """
    return self.decoder(params), lambda example: example

  def training_parser(self, params: cfg.DataConfig) -> stream_specs.StreamParser:
    """Augmentation and targets of a training stream."""
    raise NotImplementedError

  def evaluation_parser(self, params: cfg.DataConfig) -> Callable[[Example], Any]:
    """From a decoded example to features and labels of evaluation."""
    raise NotImplementedError

  def check_record(self, params: cfg.DataConfig, record: tf.Tensor) -> None:
    """Decodes one serialized labelled record eagerly, see `tasks.contract`."""
    raise NotImplementedError

  def label_format(self) -> formats.LabelFormat:
    """The format of the task's pseudo labels, for reading."""
    raise NotImplementedError

  def pseudo_example(self, record: Example) -> Example:
    """The decoded example of an image joined with its labels, see `pseudo_labels.reader.join`."""
    raise NotImplementedError

  def batch_share(self, labels: Mapping[str, Any], count: tf.Tensor, offset: float) -> tf.Tensor:
    """See `normalized.batch_share`; `labels` are those of a batch, or of a part of one."""
    whole = labels.get(accumulation.WHOLE_COUNT)
    if whole is None:
      return normalized.batch_share(count, offset)
    parts = self.task_config.gradient_accumulation_steps
    return normalized.batch_share(count, offset, whole[0], parts)

  def training_streams(self) -> tuple[stream_specs.Stream, ...]:
    """The labelled images; a task that trains on more adds to this."""
    return (self.labelled_stream(keys.HUMAN, 'train_data', HUMAN_OFFSET, stream_specs.Role.HUMAN),)

  def labelled_stream(
    self, name: str, field: str, seed_offset: int, role: stream_specs.Role
  ) -> stream_specs.Stream:
    """A stream of labelled images of this task's kind, from the config `task.<field>`."""
    return stream_specs.Stream(
      name=name,
      field=field,
      config=getattr(self.task_config, field),
      seed_offset=seed_offset,
      read=functools.partial(
        labelled_records.examples, f'task.{field}.input_path', self.decoding_steps
      ),
      parser=self.training_parser,
      role=role,
      log_names=self.source_log_names,
      check_record=self.check_record,
      find_bad_record=lambda params: self.find_bad_record(params, field),
    )

  def pseudo_stream(self, name: str, field: str, seed_offset: int) -> stream_specs.Stream:
    """A stream of unlabelled images with pseudo labels, from the config `task.<field>`."""
    return stream_specs.Stream(
      name=name,
      field=field,
      config=getattr(self.task_config, field),
      seed_offset=seed_offset,
      read=functools.partial(self._pseudo_examples, f'task.{field}.input_path'),
      parser=self.training_parser,
      role=stream_specs.Role.PSEUDO,
      log_names=self.source_log_names,
      find_bad_record=_find_changed_image,
    )

  def label_cuts(self, params: cfg.DataConfig) -> cuts.Cuts:
    """The cuts with which `params`, a pseudo-labelled stream, is read."""
    ignore_cut = getattr(params, 'ignore_cut', None)
    per_class = dict(enumerate(params.class_cuts, start=1)) or None
    is_soft = getattr(params, 'soft_labels', False)
    return cuts.Cuts(params.cut, ignore_cut, per_class, params.keep_empty, is_soft)

  def batch_evaluation(
    self, dataset: tf.data.Dataset, size: int, drop_remainder: bool
  ) -> tf.data.Dataset:
    """Batches parsed validation examples."""
    return dataset.batch(size, drop_remainder=drop_remainder)

  def evaluation_details(self) -> dict[str, Any]:
    """Results of the last evaluation that are not numbers; JSON-serialisable."""
    return {}

  def evaluation_tallies(self) -> dict[str, np.ndarray]:
    """Counts per image of the last evaluation, see `evaluation.resampling`; empty if the task keeps none."""
    return {}

  def build_model(self) -> tf.keras.Model:
    """See the Model Garden; the model also remembers its first non-finite loss."""
    return run_state.attach(super().build_model())

  def make_variables(self, model: tf.keras.Model) -> None:
    """Makes variables that the model would make when it is first called."""
    del model

  def initialize(self, model: tf.keras.Model) -> None:
    """Starts a model from `init_checkpoint`, if that is given, and says what was restored.

    Raises:
      DataError: see `checkpoints.restore`.
    """
    config = self.task_config
    if not config.init_checkpoint:
      return
    self.make_variables(model)
    prefix = restore.find(config.init_checkpoint)
    accounting = restore.restore(
      model, prefix, config.init_checkpoint_modules, getattr(config, 'init_statistics', True)
    )
    console.note(f'started from {prefix}: {accounting.text()}')

  def start_further_part(self, model: tf.keras.Model, name: str, title: str) -> None:
    """Starts a part that is not in `checkpoint_items` where `init_checkpoint_modules` is `all`, and says what happened.

    Args:
      model: the model.
      name: of the attribute that is the part, here and in the model of the checkpoint.
      title: what people call it.

    Raises:
      DataError: the checkpoint is damaged.
    """
    config = self.task_config
    if not config.init_checkpoint or not restore.is_whole(config.init_checkpoint_modules):
      return
    prefix = restore.find(config.init_checkpoint)
    root = tf.train.Checkpoint(model=tf.train.Checkpoint(**{name: getattr(model, name)}))
    is_there = restore.restore_if_there(root, prefix, getattr(config, 'init_statistics', True))
    found = 'starts from there, too' if is_there else f'starts afresh: {prefix} has none that fits'
    console.note(f'{title} {found}')

  def build_inputs(
    self, params: cfg.DataConfig, input_context: InputContext = None
  ) -> tf.data.Dataset:
    """Training batches from a seeded stream; evaluation batches in file order."""
    if params.tfds_name:
      return pipelines.without_tuner(super().build_inputs(params, input_context))
    if params.is_training:
      (stream,) = self.training_streams()  # A task with more of them has the `MultiStreamMixin`.
      return self.stream_batches(stream, params, input_context)
    files = tfrecords.match_files(params.input_path, 'task.validation_data.input_path')
    tfrecords.check_not_empty(files, 'task.validation_data.input_path')
    options = self._stream_options(params, HUMAN_OFFSET)
    # Every host evaluates on all images, see `pipeline.distribution`.
    dataset = tfrecords.record_stream(tfrecords.TFRecordFiles(files), options)
    parse = self.evaluation_parser(params)
    dataset = labelled_records.decoded(dataset, params, self.decoding_steps(params))
    dataset = pipelines.map_in_order(dataset, lambda _, example: parse(example))
    return _batch(dataset, params, input_context, self.batch_evaluation)

  def stream_batches(
    self, stream: stream_specs.Stream, params: cfg.DataConfig, input_context: InputContext = None
  ) -> tf.data.Dataset:
    """Batches of one training stream, from where the run starts.

    Args:
      stream: its declaration.
      params: its config; the Model Garden's trainer passes the one it was given.
      input_context: the host's place among others.

    Returns:
      Dataset of (features, labels), endless.

    Raises:
      DataError: no file matches, or labels do not belong to the images.
    """
    options = self._stream_options(params, stream.seed_offset)
    examples = stream.read(params, options, input_context)
    dataset = stream.parser(params).parse_stream(examples, options.seed)
    return _batch(dataset, params, input_context, tf.data.Dataset.batch)

  # AutoGraph stays out, see `pipelines.map_in_order`.
  @tf.autograph.experimental.do_not_convert
  def train_step(
    self,
    inputs: Any,
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    metrics: list[tf.keras.metrics.Metric] | None = None,
  ) -> dict[str, tf.Tensor]:
    """See the Model Garden; the step at which the loss stops being finite is remembered."""
    logs = super().train_step(inputs, model, optimizer, metrics)
    model.first_non_finite.observe([logs[self.loss]], optimizer.iterations - 1)
    return logs

  def find_bad_record(self, params: cfg.DataConfig, field: str) -> str | None:
    """The first bad record of a stream of labelled images, and its fault; None if there is none.

    With `skip_errors` records that cannot be read or decoded do not count: they cannot have stopped the run.

    Args:
      params: the stream's config.
      field: its name below `task`.
    """
    return labelled_records.find_bad(params, field, self.check_record)

  def _stream_options(self, params: cfg.DataConfig, seed_offset: int) -> record_order.StreamOptions:
    own = self.start.seed * _SEED_STRIDE + self.start.family * _FAMILY_STRIDE
    return record_order.StreamOptions(
      seed=(own + seed_offset + (params.seed or 0)) % (1 << 31),
      is_training=params.is_training,
      shuffle_buffer_size=params.shuffle_buffer_size,
      start=self.start.step * params.global_batch_size if params.is_training else 0,
      skip_errors=params.skip_errors,
      cache=params.cache,
      block_length=params.block_length,
      cycle_length=params.cycle_length,
    )

  def _pseudo_examples(
    self,
    path_name: str,
    params: cfg.DataConfig,
    options: record_order.StreamOptions,
    input_context: InputContext,
  ) -> tf.data.Dataset:
    images = tfrecords.match_files(params.input_path, path_name)
    manifest = reader.check_labels_match(images, params.label_dir)
    reader.check_classes(manifest, self.task_config.model.num_classes, self.class_names)
    labels = [os.path.join(params.label_dir, shard.label_file) for shard in manifest.shards]
    label_cuts, label_format = self.label_cuts(params), self.label_format()
    files = reader.PairedFiles(
      images, labels, label_format, label_cuts, manifest.damaged, manifest.shards
    )

    def _join(ordinal: tf.Tensor, pair: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, Example]:
      return ordinal, self.pseudo_example(reader.join(*pair, label_format, label_cuts))

    dataset = tfrecords.record_stream(files, options, input_context)
    return pipelines.map_in_order(dataset, _join)


def _find_changed_image(params: cfg.DataConfig) -> str | None:
  """See `pseudo_labels.changed_images`."""
  if not params.label_dir:
    return None
  images = tfrecords.match_files(params.input_path, 'task.pseudo_data.input_path')
  return changed_images.first_changed(images, params.label_dir)


def _batch(
  dataset: tf.data.Dataset,
  params: cfg.DataConfig,
  context: InputContext,
  batch: Callable[..., tf.data.Dataset],
) -> tf.data.Dataset:
  size, replicas = params.global_batch_size, 1
  if context:
    size = context.get_per_replica_batch_size(size)
    replicas = context.num_replicas_in_sync // context.num_input_pipelines
  batches = batch(dataset, size, drop_remainder=params.drop_remainder)
  # At the very end: options in between would keep tf.data from making batches in the threads that map.
  return pipelines.without_tuner(batches.prefetch(pipelines.BATCHES_AHEAD * replicas))
