"""Reproducible input streams for a Model Garden task, whatever it learns."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import tensorflow as tf

from official_selftrain.checkpoints import restore
from official_selftrain.core import console, errors, keys
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pseudo_labels import cuts, formats, reader
from official_selftrain.tasks import run_state

Example = dict[str, tf.Tensor]

# Far apart, so that the streams of one run, and those of runs with neighbouring seeds, share no draws.
_STREAM_SEEDS = {keys.HUMAN: 0, keys.PSEUDO: 500_000_003}
_SEED_STRIDE = 7_919
_STREAM_STRIDE = 104_729


class StreamParser(Protocol):
  """Turns a stream of decoded examples into one of features and labels."""

  def parse_stream(self, dataset: tf.data.Dataset, stream_seed: int) -> tf.data.Dataset:
    """From `(int64 ordinal, decoded example)` to `(features, labels)`, in the same order."""


if TYPE_CHECKING:

  class _Host:
    """What the Model Garden task brings; only for the type checker, it would shadow the real one."""

    loss: str
    task_config: Any

    def build_model(self) -> tf.keras.Model: ...
    def build_inputs(self, params: Any, input_context: Any = None) -> tf.data.Dataset: ...
    def train_step(
      self, inputs: Any, model: Any, optimizer: Any, metrics: Any = None
    ) -> dict[str, tf.Tensor]: ...

else:
  _Host = object


class StreamsMixin(_Host):
  """Gives a Model Garden task seeded training streams of human and of pseudo labels.

  Put it before the Model Garden's class in the bases. The task provides `decoder`, `training_parser`,
  `evaluation_parser` and, for pseudo labels, `label_format` and `pseudo_example`.

  Attributes:
    seed: of the streams' order and augmentation.
    stream: number of the stream family; models that must not see the same crops in the same order get other numbers.
    start_step: training steps that earlier processes finished; the streams start there.
  """

  seed: int = 0
  stream: int = 0
  start_step: int = 0

  def decoder(self, params: Any) -> Callable[[tf.Tensor], Example]:
    """From a serialized record of `params`' stream to a decoded example."""
    raise NotImplementedError

  def training_parser(self, params: Any) -> StreamParser:
    """Augmentation and targets of a training stream."""
    raise NotImplementedError

  def evaluation_parser(self, params: Any) -> Callable[[Example], Any]:
    """From a decoded example to features and labels of evaluation."""
    raise NotImplementedError

  def label_format(self) -> formats.LabelFormat:
    """How the task's pseudo labels are read."""
    raise NotImplementedError

  def pseudo_example(self, record: Example) -> Example:
    """The decoded example of an image joined with its labels, see `pseudo_labels.reader.join`."""
    raise NotImplementedError

  def label_cuts(self, params: Any) -> cuts.Cuts:
    """The cuts with which `params`, a pseudo-labelled stream, is read."""
    ignore_cut = getattr(params, 'ignore_cut', None)
    return cuts.Cuts(cut=params.cut, ignore_cut=ignore_cut, keep_empty=params.keep_empty)

  def batch_evaluation(
    self, dataset: tf.data.Dataset, size: int, drop_remainder: bool
  ) -> tf.data.Dataset:
    """Batches parsed validation examples."""
    return dataset.batch(size, drop_remainder=drop_remainder)

  def evaluation_details(self) -> dict[str, Any]:
    """What the last evaluation found besides numbers; JSON-serialisable."""
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
    accounting = restore.restore(model, prefix, config.init_checkpoint_modules)
    console.note(f'started from {prefix}: {accounting.text()}')

  def build_inputs(
    self, params: Any, input_context: tf.distribute.InputContext | None = None
  ) -> tf.data.Dataset:
    """Training batches from a seeded stream; evaluation batches in file order."""
    if params.tfds_name:
      return super().build_inputs(params, input_context)
    if params.is_training:
      return self.build_source_inputs(keys.HUMAN, params, input_context)
    files = tfrecords.match_files(params.input_path, 'task.validation_data.input_path')
    tfrecords.check_not_empty(files, 'task.validation_data.input_path')
    options = self._stream_options(params, keys.HUMAN, input_context)
    dataset = tfrecords.record_stream(files, tfrecords.open_tfrecord, options, input_context)
    decode, parse = self.decoder(params), self.evaluation_parser(params)
    dataset = dataset.map(
      lambda _, record: parse(decode(record)), num_parallel_calls=tf.data.AUTOTUNE
    )
    if params.skip_errors:
      dataset = dataset.ignore_errors(log_warning=True)
    return self._batch(dataset, params, input_context, self.batch_evaluation)

  def build_source_inputs(
    self, source: str, params: Any, input_context: tf.distribute.InputContext | None = None
  ) -> tf.data.Dataset:
    """Training batches of one source.

    Args:
      source: `human` or `pseudo`.
      params: `task.train_data` or `task.pseudo_data`.
      input_context: the host's place among others.

    Returns:
      Endless dataset of `(images [batch, h, w, 3], labels)`.

    Raises:
      DataError: if no file matches, or labels do not belong to the images.
    """
    options = self._stream_options(params, source, input_context)
    if source == keys.PSEUDO:
      dataset = self._pseudo_examples(params, options, input_context)
    else:
      dataset = self._human_examples(params, options, input_context)
    dataset = self.training_parser(params).parse_stream(dataset, options.seed)
    return self._batch(dataset, params, input_context, tf.data.Dataset.batch)

  def train_step(
    self,
    inputs: Any,
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    metrics: Any = None,
  ) -> dict[str, tf.Tensor]:
    """See the Model Garden; the step at which the loss stops being finite is remembered."""
    logs = super().train_step(inputs, model, optimizer, metrics)
    model.first_non_finite.observe([logs[self.loss]], optimizer.iterations - 1)
    return logs

  def _stream_options(
    self, params: Any, source: str, context: tf.distribute.InputContext | None
  ) -> tfrecords.StreamOptions:
    pipelines = context.num_input_pipelines if context else 1
    own = self.seed * _SEED_STRIDE + self.stream * _STREAM_STRIDE
    return tfrecords.StreamOptions(
      seed=(own + _STREAM_SEEDS[source] + (params.seed or 0)) % (1 << 31),
      is_training=params.is_training,
      shuffle_buffer_size=params.shuffle_buffer_size,
      start=self.start_step * params.global_batch_size // pipelines if params.is_training else 0,
      skip_errors=params.skip_errors,
      cache=params.cache,
      block_length=params.block_length,
      cycle_length=params.cycle_length,
    )

  def _human_examples(
    self,
    params: Any,
    options: tfrecords.StreamOptions,
    input_context: tf.distribute.InputContext | None,
  ) -> tf.data.Dataset:
    files = tfrecords.match_files(params.input_path, 'task.train_data.input_path')
    tfrecords.check_not_empty(files, 'task.train_data.input_path')
    decode = self.decoder(params)
    dataset = tfrecords.record_stream(files, tfrecords.open_tfrecord, options, input_context)
    dataset = dataset.map(
      lambda i, record: (i, decode(record)), num_parallel_calls=tf.data.AUTOTUNE
    )
    return dataset.ignore_errors(log_warning=True) if params.skip_errors else dataset

  def _pseudo_examples(
    self,
    params: Any,
    options: tfrecords.StreamOptions,
    input_context: tf.distribute.InputContext | None,
  ) -> tf.data.Dataset:
    images = tfrecords.match_files(params.input_path, 'task.pseudo_data.input_path')
    manifest = reader.check_labels_match(images, params.label_dir)
    self._check_label_classes(manifest.format_settings.get('num_classes'), params.label_dir)
    labels = [os.path.join(params.label_dir, shard.label_file) for shard in manifest.shards]
    settings = self.label_cuts(params)
    label_format = self.label_format()

    def _open(files: tf.Tensor) -> tf.data.Dataset:
      # Filtered before the stream numbers its elements, so that a resumed run can skip by number.
      pairs = reader.pair_files(files[0], files[1], manifest.damaged)
      if params.keep_empty:
        return pairs
      return pairs.filter(lambda _, label: reader.has_objects(label, label_format, settings))

    def _join(ordinal: tf.Tensor, pair: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, Example]:
      return ordinal, self.pseudo_example(reader.join(*pair, label_format, settings))

    dataset = tfrecords.record_stream(
      list(zip(images, labels, strict=True)), _open, options, input_context
    )
    return dataset.map(_join, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

  def _check_label_classes(self, num_classes: int | None, label_dir: str) -> None:
    if num_classes != self.task_config.model.num_classes:
      raise errors.LabelMismatchError(
        f'The labels in {label_dir} were written for {num_classes} classes, but task.model.num_classes is '
        f'{self.task_config.model.num_classes}. Use the model they were made with, or write them again.'
      )

  def _batch(
    self,
    dataset: tf.data.Dataset,
    params: Any,
    context: tf.distribute.InputContext | None,
    batch: Callable[..., tf.data.Dataset],
  ) -> tf.data.Dataset:
    size = (
      context.get_per_replica_batch_size(params.global_batch_size)
      if context
      else params.global_batch_size
    )
    return batch(dataset, size, drop_remainder=params.drop_remainder).prefetch(tf.data.AUTOTUNE)
