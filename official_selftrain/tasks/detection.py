"""RetinaNet on one or two sources of labels."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from official.core import task_factory
from official.vision.tasks import retinanet

from official_selftrain.configs import detection as configs
from official_selftrain.core import errors, keys
from official_selftrain.dataloaders import detection as parsing
from official_selftrain.dataloaders import records
from official_selftrain.evaluation import coco
from official_selftrain.modeling import spinenet
from official_selftrain.pseudo_labels import cuts, reader
from official_selftrain.pseudo_labels import detection as label_formats
from official_selftrain.tasks import run_state, self_training

spinenet.register_sizes()

# Far apart, so that the streams of one run, and those of runs with neighbouring seeds, share no draws.
_STREAM_SEEDS = {keys.HUMAN: 0, keys.PSEUDO: 500_000_003}
_SEED_STRIDE = 7_919
_STREAM_STRIDE = 104_729


@task_factory.register_task_cls(configs.DetectionTask)
class DetectionTask(retinanet.RetinaNetTask):
  """The Model Garden's RetinaNet with reproducible training streams and losses that do not depend on the replicas.

  Attributes:
    seed: of the streams' order and augmentation.
    stream: number of the stream family; models that must not see the same crops in the same order get other numbers.
    start_step: training steps that earlier processes finished; the streams start there.
  """

  seed: int = 0
  stream: int = 0
  start_step: int = 0

  def build_model(self) -> tf.keras.Model:
    """See the Model Garden; the model also remembers its first non-finite loss."""
    return run_state.attach(super().build_model())

  def build_inputs(
    self, params: configs.DataConfig, input_context: tf.distribute.InputContext | None = None
  ) -> tf.data.Dataset:
    """Training batches from a seeded stream; evaluation batches in file order with the Model Garden's parser."""
    if params.tfds_name:
      return super().build_inputs(params, input_context)
    if params.is_training:
      return self.build_source_inputs(keys.HUMAN, params, input_context)
    files = records.match_files(params.input_path, 'task.validation_data.input_path')
    records.check_not_empty(files, 'task.validation_data.input_path')
    options = self._stream_options(params, keys.HUMAN, input_context)
    dataset = records.record_stream(files, records.open_tfrecord, options, input_context)
    decode = parsing.build_decoder(params).decode
    parse = parsing.evaluation_parser(self.task_config.model, params)

    def decode_and_parse(_: tf.Tensor, record: tf.Tensor) -> Any:
      return parse(parsing.check_classes(decode(record), self.task_config.model.num_classes))

    dataset = dataset.map(decode_and_parse, num_parallel_calls=tf.data.AUTOTUNE)
    if params.skip_errors:
      dataset = dataset.ignore_errors(log_warning=True)
    return _batch(dataset, params, input_context)

  def build_source_inputs(
    self,
    source: str,
    params: configs.DataConfig,
    input_context: tf.distribute.InputContext | None = None,
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
      files = records.match_files(params.input_path, 'task.train_data.input_path')
      records.check_not_empty(files, 'task.train_data.input_path')
      decode = parsing.build_decoder(params).decode
      dataset = records.record_stream(files, records.open_tfrecord, options, input_context)
      dataset = dataset.map(
        lambda i, record: (i, decode(record)), num_parallel_calls=tf.data.AUTOTUNE
      )
      if params.skip_errors:
        dataset = dataset.ignore_errors(log_warning=True)
    parser = parsing.TrainingParser(self.task_config.model, params)
    return _batch(parser.parse_stream(dataset, options.seed), params, input_context)

  def check_record(self, params: configs.DataConfig, record: tf.Tensor) -> None:
    """Decodes one serialized record eagerly; used to find the record that made a run fail.

    Raises:
      ValueError: a class id is outside the model's classes, a validation image has an id that is no number, or masks
        that are needed are missing.
      tf.errors.OpError: the record or its image cannot be decoded.
    """
    example = parsing.build_decoder(params).decode(record)
    num_classes = self.task_config.model.num_classes
    classes = example[keys.GROUNDTRUTH_CLASSES].numpy()
    outside = [int(c) for c in classes if not 1 <= c < num_classes]
    if outside:
      raise ValueError(f'{parsing.class_range_message(num_classes)} {outside}')
    if parsing.needs_masks(params):
      needed, found = (size.numpy().tolist() for size in parsing.mask_sizes(example))
      if needed != found:
        raise ValueError(f'{parsing.MASKS_MESSAGE} {needed}, {found}')
    source_id = example['source_id'].numpy().decode()
    if not params.is_training and not source_id.isdigit():
      raise ValueError(
        f'image/source_id is {source_id!r}: the COCO evaluator needs numbers in validation images; write them, or '
        'set task.validation_data.decoder.simple_decoder.regenerate_source_id'
      )

  def decoded_validation_example(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Image, ground truth and `encoded` image bytes of a serialized validation record, for pictures."""
    encoded = tf.io.parse_single_example(
      record, {keys.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
    )
    decode = parsing.build_decoder(self.task_config.validation_data).decode
    return {**decode(record), 'encoded': encoded[keys.IMAGE_ENCODED]}

  def build_losses(
    self, outputs: Mapping[str, Any], labels: Mapping[str, Any], aux_losses: Any = None
  ) -> tuple[tf.Tensor, ...]:
    """The Model Garden's losses, normalised by the positives of the whole batch and not of one replica's share.

    Each replica divides by its own positives + 1 in the Model Garden, so the result depends on how a batch is split.
    The factor below turns that into a division by the batch's positives + 1, and the mean over replicas into the sum.
    """
    _, class_loss, box_loss, model_loss = super().build_losses(outputs, labels, None)
    scale = _positives_scale(labels['box_weights'])
    total = self.task_config.losses.loss_weight * scale * model_loss
    if aux_losses:
      total += self.task_config.losses.loss_weight * tf.reduce_sum(aux_losses)
    return total, scale * class_loss, scale * box_loss, scale * model_loss

  def build_metrics(self, training: bool = True) -> list[tf.keras.metrics.Metric]:
    """See the Model Garden; the evaluator also knows single classes."""
    metrics = super().build_metrics(training)
    if not training and self.task_config.use_coco_metrics:
      self.coco_metric = coco.CocoEvaluator(
        annotation_file=self.task_config.annotation_file,
        include_mask=False,
        per_category_metrics=self.task_config.per_category_metrics,
        max_num_eval_detections=self.task_config.max_num_eval_detections,
      )
    return metrics

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

  def _stream_seed(self, source: str, offset: int) -> int:
    own = self.seed * _SEED_STRIDE + self.stream * _STREAM_STRIDE
    return (own + _STREAM_SEEDS[source] + offset) % (1 << 31)

  def _stream_options(
    self, params: configs.DataConfig, source: str, context: tf.distribute.InputContext | None
  ) -> records.StreamOptions:
    pipelines = context.num_input_pipelines if context else 1
    return records.StreamOptions(
      seed=self._stream_seed(source, params.seed or 0),
      is_training=params.is_training,
      shuffle_buffer_size=params.shuffle_buffer_size,
      start=self.start_step * params.global_batch_size // pipelines if params.is_training else 0,
      skip_errors=params.skip_errors,
      cache=params.cache,
      block_length=params.block_length,
      cycle_length=params.cycle_length,
    )

  def _pseudo_examples(
    self,
    params: configs.PseudoDataConfig,
    options: records.StreamOptions,
    input_context: tf.distribute.InputContext | None,
  ) -> tf.data.Dataset:
    raise NotImplementedError(f'{type(self).__name__} reads human labels only.')


@task_factory.register_task_cls(configs.DetectionSelfTrainingTask)
class DetectionSelfTrainingTask(self_training.SelfTrainingMixin, DetectionTask):
  """RetinaNet on human and pseudo labels."""

  source_log_names = (
    'loss',
    'cls_loss',
    'box_loss',
    'positives',
    'boxes_per_image',
    'share_with_boxes',
  )

  def source_losses(
    self, outputs: Mapping[str, Any], labels: Mapping[str, Any]
  ) -> dict[str, tf.Tensor]:
    """Losses of one source, each normalised by that source's own positives; float32 scalars."""
    _, class_loss, box_loss, model_loss = self.build_losses(outputs=outputs, labels=labels)
    return {'model_loss': model_loss, 'cls_loss': class_loss, 'box_loss': box_loss}

  def source_statistics(self, labels: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """What to log of one source's labels; float32 scalars."""
    boxes = tf.cast(labels['num_boxes'], tf.float32)
    return {
      'positives': tf.reduce_sum(labels['box_weights']),
      'boxes_per_image': tf.reduce_mean(boxes),
      'share_with_boxes': tf.reduce_mean(tf.cast(boxes > 0, tf.float32)),
    }

  def label_format(
    self, min_score: float = 0.05, max_boxes: int = 100
  ) -> label_formats.DetectionLabels:
    """How this task's pseudo labels are written and read; the arguments matter for writing only."""
    return label_formats.DetectionLabels(self.task_config.model.num_classes, min_score, max_boxes)

  def labelling_functions(
    self, model: tf.keras.Model
  ) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Preprocessing of one image and prediction for a batch, as the labeller wants them.

    Args:
      model: the teacher.

    Returns:
      `preprocess(encoded)` -> inputs of one image; `predict(inputs)` -> `boxes` float32 [batch, n, 4] yxyx relative to
      the original image, `scores` [batch, n], `classes` [batch, n], `num_detections` [batch].
    """

    @tf.function
    def predict(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
      info = inputs['image_info']
      outputs = model(inputs['image'], image_shape=info[:, 1, :], training=False)
      original, scale = info[:, None, 0, :], info[:, None, 2, :]
      return {
        'boxes': outputs['detection_boxes'] / tf.tile(original * scale, [1, 1, 2]),
        'scores': outputs['detection_scores'],
        'classes': outputs['detection_classes'],
        'num_detections': outputs['num_detections'],
      }

    return parsing.inference_preprocessor(self.task_config.model), predict

  def _check_label_classes(self, num_classes: int | None, label_dir: str) -> None:
    if num_classes != self.task_config.model.num_classes:
      raise errors.LabelMismatchError(
        f'The labels in {label_dir} were written for {num_classes} classes, but task.model.num_classes is '
        f'{self.task_config.model.num_classes}. Use the model they were made with, or write them again.'
      )

  def _pseudo_examples(
    self,
    params: configs.PseudoDataConfig,
    options: records.StreamOptions,
    input_context: tf.distribute.InputContext | None,
  ) -> tf.data.Dataset:
    images = records.match_files(params.input_path, 'task.pseudo_data.input_path')
    manifest = reader.check_labels_match(images, params.label_dir)
    self._check_label_classes(manifest.format_settings.get('num_classes'), params.label_dir)
    labels = [os.path.join(params.label_dir, shard.label_file) for shard in manifest.shards]
    settings = cuts.Cuts(cut=params.cut, ignore_cut=params.ignore_cut, keep_empty=params.keep_empty)
    labels_format = self.label_format()

    def _open(files: tf.Tensor) -> tf.data.Dataset:
      # Filtered before the stream numbers its elements, so that a resumed run can skip by number.
      pairs = reader.pair_files(files[0], files[1], manifest.damaged)
      if params.keep_empty:
        return pairs
      return pairs.filter(lambda _, label: reader.has_objects(label, labels_format, settings))

    def _join(
      ordinal: tf.Tensor, pair: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, parsing.Example]:
      record = reader.join(*pair, labels_format, settings)
      return ordinal, parsing.decoded_example(record)

    dataset = records.record_stream(
      list(zip(images, labels, strict=True)), _open, options, input_context
    )
    return dataset.map(_join, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _batch(
  dataset: tf.data.Dataset, params: configs.DataConfig, context: tf.distribute.InputContext | None
) -> tf.data.Dataset:
  size = (
    context.get_per_replica_batch_size(params.global_batch_size)
    if context
    else params.global_batch_size
  )
  return dataset.batch(size, drop_remainder=params.drop_remainder).prefetch(tf.data.AUTOTUNE)


def _positives_scale(box_weights: tf.Tensor) -> tf.Tensor:
  context = tf.distribute.get_replica_context()
  if context is None or context.num_replicas_in_sync == 1:
    return tf.ones([], tf.float32)
  own = tf.reduce_sum(box_weights)
  everyone = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
  return context.num_replicas_in_sync * (own + 1.0) / (everyone + 1.0)
