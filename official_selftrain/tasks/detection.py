"""RetinaNet on one or two sources of labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from official.core import task_factory
from official.vision.losses import loss_utils
from official.vision.tasks import retinanet

from official_selftrain.configs import detection as configs
from official_selftrain.configs import families
from official_selftrain.core import keys
from official_selftrain.dataloaders import detection as parsing
from official_selftrain.dataloaders import teacher_views
from official_selftrain.evaluation import coco
from official_selftrain.losses import detection as detection_losses
from official_selftrain.losses import spared
from official_selftrain.modeling import detection_generator
from official_selftrain.modeling import retinanet as modeling
from official_selftrain.pseudo_labels import detection as label_formats
from official_selftrain.tasks import box_views, contract, joint, self_training, streams

# The target of an anchor for which all classes are wrong, see `losses.detection.focal_loss`.
_NO_CLASS = -1


@task_factory.register_task_cls(configs.DetectionTask)
class DetectionTask(joint.JointMixin, streams.StreamsMixin, retinanet.RetinaNetTask):
  """The Model Garden's RetinaNet with reproducible training streams and losses that do not depend on the replicas."""

  # The training parser scales offsets by the weights of the box coder; all else there matters to inference alone.
  setting_names = contract.SettingNames(
    model=('task.model', 'task.model.detection_generator.box_coder_weights'),
    training=joint.TRAINING_SETTINGS,
    inference=('task.model.detection_generator',),
    evaluation=(
      'task.validation_data',
      'task.annotation_file',
      'task.max_num_eval_detections',
      'task.per_category_metrics',
      'task.use_coco_metrics',
      'trainer.validation_steps',
    ),
    not_for_labels=('task.model.detection_generator.soft_nms_sigma',),
  )

  source_log_names = (
    'loss',
    'cls_loss',
    'box_loss',
    'positives_per_image',
    'boxes_per_image',
    'share_with_boxes',
  )

  def build_model(self) -> tf.keras.Model:
    """See `modeling.retinanet.build`, and `JointMixin.finished`."""
    config = self.task_config
    model = modeling.build(config.model, config.losses.l2_weight_decay)
    return self.finished(model)

  def make_variables(self, model: tf.keras.Model) -> None:
    """See `StreamsMixin`."""
    model.make_variables(self.task_config.model.input_size)

  def decoder(self, params: configs.DataConfig) -> Callable[[tf.Tensor], parsing.Example]:
    """The Model Garden's decoder of the stream."""
    return parsing.build_decoder(params).decode

  def training_parser(self, params: configs.DataConfig) -> parsing.TrainingParser:
    """See `StreamsMixin`."""
    return parsing.TrainingParser(self.task_config.model, params)

  def evaluation_parser(self, params: configs.DataConfig) -> Callable[[parsing.Example], Any]:
    """The Model Garden's, after a check of the classes."""
    parse = parsing.evaluation_parser(self.task_config.model, params)
    num_classes = self.task_config.model.num_classes
    return lambda example: parse(parsing.check_classes(example, num_classes))

  def check_record(self, params: configs.DataConfig, record: tf.Tensor) -> None:
    """Decodes one serialized record eagerly; used to find the record that made a run fail.

    Raises:
      ValueError: a class id is outside the model's classes, a validation image has an id that is not a number, or masks
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
    The positives of soft labels are the sum of their scores.
    """
    settings, num_classes = self.task_config.losses, self.task_config.model.num_classes
    positives = tf.reduce_sum(labels['box_weights']) + 1.0
    flatten = loss_utils.multi_level_flatten
    class_loss = detection_losses.focal_loss(
      tf.cast(flatten(outputs['cls_outputs'], num_classes), tf.float32),
      flatten(labels['cls_targets']),
      labels['cls_weights'] / positives,
      settings.focal_loss_alpha,
      settings.focal_loss_gamma,
      labels.get('cls_scores'),
    )
    if families.of(self.task_config.model).skips_zero_offsets:
      box_loss = detection_losses.original_box_loss(
        outputs['box_outputs'], labels, settings.huber_loss_delta
      )
    else:
      huber = tf.keras.losses.Huber(settings.huber_loss_delta, tf.keras.losses.Reduction.SUM)
      box_loss = huber(
        flatten(labels['box_targets'], 4),
        flatten(outputs['box_outputs'], 4),
        labels['box_weights'] / positives,
      )
    model_loss = class_loss + settings.box_loss_weight * box_loss
    # The Model Garden adds 1 to the positives.
    scale = self.batch_share(labels, self.label_count(labels), 1.0)
    total = settings.loss_weight * scale * model_loss
    if aux_losses:
      total += settings.loss_weight * tf.reduce_sum(aux_losses)
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

  def evaluation_tallies(self) -> dict[str, np.ndarray]:
    """See `StreamsMixin`."""
    return self.coco_metric.tallies() if self.task_config.use_coco_metrics else {}

  def evaluation_boxes(self) -> dict[str, np.ndarray]:
    """The boxes that the rows of the tallies are about, see `evaluation.coco.CocoEvaluator.boxes`."""
    return self.coco_metric.boxes() if self.task_config.use_coco_metrics else {}

  def source_losses(
    self, outputs: Mapping[str, Any], labels: Mapping[str, Any]
  ) -> dict[str, tf.Tensor]:
    """Losses of one source, each normalised by that source's own positives; float32 scalars."""
    _, class_loss, box_loss, model_loss = self.build_losses(outputs=outputs, labels=labels)
    return {'model_loss': model_loss, 'cls_loss': class_loss, 'box_loss': box_loss}

  def label_count(self, labels: Mapping[str, Any]) -> tf.Tensor:
    """See `MultiStreamMixin`: positive anchors, or with soft labels the sum of their scores."""
    return tf.reduce_sum(labels['box_weights'])

  def source_statistics(self, labels: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Statistics of one source's labels to log; float32 scalars."""
    boxes = tf.cast(labels['num_boxes'], tf.float32)
    return {
      'positives_per_image': self.label_count(labels) / tf.cast(tf.size(boxes), tf.float32),
      'boxes_per_image': tf.reduce_mean(boxes),
      'share_with_boxes': tf.reduce_mean(tf.cast(boxes > 0, tf.float32)),
    }


@task_factory.register_task_cls(configs.DetectionSelfTrainingTask)
class DetectionSelfTrainingTask(self_training.SelfTrainingMixin, DetectionTask):
  """RetinaNet on human and pseudo labels."""

  def label_format(self, labels: configs.BoxLabelling | None = None) -> label_formats.BoxFormat:
    """The format of this task's pseudo labels; `labels` matters for writing only."""
    settings = labels or configs.BoxLabelling()
    num_classes = self.task_config.model.num_classes
    return label_formats.BoxFormat(num_classes, settings.min_score, settings.max_boxes)

  def pseudo_example(self, record: parsing.Example) -> parsing.Example:
    """See `StreamsMixin`."""
    return parsing.decoded_example(record)

  def spare_outputs(self, outputs: Mapping[str, Any], classes: Sequence[int]) -> Mapping[str, Any]:
    """See `SelfTrainingMixin`."""
    num_classes = self.task_config.model.num_classes
    scores = {
      level: spared.without_classes(logits, num_classes, classes)
      for level, logits in outputs['cls_outputs'].items()
    }
    return {**outputs, 'cls_outputs': scores}

  def spare_labels(self, labels: Mapping[str, Any], classes: Sequence[int]) -> Mapping[str, Any]:
    """See `SelfTrainingMixin`; an anchor of such a class still teaches its box, and that no other class is there."""
    targets = {
      level: spared.without_labels(target, classes, _NO_CLASS)
      for level, target in labels['cls_targets'].items()
    }
    return {**labels, 'cls_targets': targets}

  def online_predictions(
    self, teacher: tf.keras.Model, images: tf.Tensor
  ) -> Mapping[str, tf.Tensor]:
    """See `SelfTrainingMixin`: boxes as the labeller finds them, with hard suppression."""
    config = self.task_config.model
    size = tf.tile(tf.constant([config.input_size[:2]], tf.float32), [tf.shape(images)[0], 1])
    lowest, most = self.task_config.pseudo_data.lowest_cut(), configs.BoxLabelling().max_boxes
    generator = detection_generator.build_for_labels(config, 0.0, lowest, most)
    found = teacher.detect(images, size, generator)
    return {name: found[f'detection_{name}'] for name in ('boxes', 'scores', 'classes')}

  def online_labels(
    self, prediction: Mapping[str, tf.Tensor], views: teacher_views.Views
  ) -> Mapping[str, Any]:
    """See `SelfTrainingMixin`; boxes are cut as those on disk are."""
    pseudo = self.task_config.pseudo_data
    min_visible = pseudo.augmentation.min_visible
    boxes, is_seen = teacher_views.move_boxes(prediction['boxes'], views, min_visible)
    classes = tf.cast(prediction['classes'], tf.int64)
    is_object, in_band = self.label_cuts(pseudo).apply(prediction['scores'], classes)
    is_kept = tf.logical_and(is_seen, tf.logical_or(is_object, in_band))
    example = {
      keys.GROUNDTRUTH_BOXES: boxes,
      keys.GROUNDTRUTH_CLASSES: tf.where(is_kept, classes, 0),
      keys.GROUNDTRUTH_IS_IGNORED: tf.logical_and(in_band, is_seen),
      keys.GROUNDTRUTH_SCORES: prediction['scores'],
    }
    return self.training_parser(pseudo).labels(example)

  def labelling_functions(
    self, model: tf.keras.Model, labels: configs.BoxLabelling | None = None
  ) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Preprocessing of one image and prediction for a batch, as the labeller wants them.

    Args:
      model: the teacher.
      labels: views and suppression of second boxes; None shows each image once, with the model's suppression.

    Returns:
      `preprocess(encoded)` -> inputs of one image; `predict(inputs)` -> `boxes` float32 [batch, n, 4] yxyx relative to
      the original image, `scores` [batch, n], `classes` [batch, n], `num_detections` [batch], and `is_finite` [batch],
      of all that the network says of the image.
    """
    config = self.task_config.model
    if labels and labels.has_views:
      return box_views.labelling_functions(config, model, labels)
    generator = model.detection_generator
    if labels:
      generator = detection_generator.build_for_labels(
        config, labels.soft_nms_sigma, labels.min_score, labels.max_boxes
      )

    @tf.function
    def predict(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
      info = inputs['image_info']
      found = model.detect(inputs['image'], info[:, 1, :], generator, with_finite=True)
      original, scale = info[:, None, 0, :], info[:, None, 2, :]
      return {
        'boxes': found['detection_boxes'] / tf.tile(original * scale, [1, 1, 2]),
        'scores': found['detection_scores'],
        'classes': found['detection_classes'],
        'num_detections': found['num_detections'],
        'is_finite': found['is_finite'],
      }

    return parsing.inference_preprocessor(config), predict
