"""Semantic segmentation on one or two sources of labels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from official.core import task_factory
from official.vision.losses import segmentation_losses
from official.vision.tasks import semantic_segmentation

from official_selftrain.configs import families
from official_selftrain.configs import segmentation as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import segmentation as parsing
from official_selftrain.dataloaders import teacher_views
from official_selftrain.evaluation import segmentation as evaluation
from official_selftrain.losses import spared
from official_selftrain.modeling import segmentation as modeling
from official_selftrain.ops import images as image_ops
from official_selftrain.ops import masks
from official_selftrain.pseudo_labels import segmentation as label_formats
from official_selftrain.tasks import contract, joint, self_training, streams

# Their logits have the size of the features of `low_level`.
_LOW_LEVEL_FUSIONS = ('deeplabv3plus', 'deeplabv3plus_sum_to_merge')


@task_factory.register_task_cls(configs.SegmentationTask)
class SegmentationTask(
  joint.JointMixin, streams.StreamsMixin, semantic_segmentation.SemanticSegmentationTask
):
  """The Model Garden's segmentation with reproducible training streams, images of any size, and two mIoUs."""

  setting_names = contract.SettingNames(
    model=('task.model',),
    training=joint.TRAINING_SETTINGS,
    inference=(),
    evaluation=('task.validation_data', 'task.evaluation', 'trainer.validation_steps'),
  )

  source_log_names = ('loss', 'labelled_share', 'object_share')

  def build_model(self) -> tf.keras.Model:
    """See `modeling.segmentation.build`, and `JointMixin.finished`."""
    config = self.task_config
    model = modeling.build(config.model, config.losses.l2_weight_decay)
    return self.finished(model)

  def decoder(self, params: configs.DataConfig) -> Callable[[tf.Tensor], parsing.Example]:
    """See `dataloaders.segmentation.decoder`."""
    del params
    return parsing.decoder(self.task_config.model.num_classes)

  def decoding_steps(self, params: configs.DataConfig) -> streams.DecodingSteps:
    """See `StreamsMixin`."""
    del params
    num_classes = self.task_config.model.num_classes
    return parsing.decode, lambda example: parsing.checked(example, num_classes)

  def training_parser(self, params: configs.DataConfig) -> parsing.TrainingParser:
    """See `StreamsMixin`."""
    return parsing.TrainingParser(self.task_config.model, params)

  def evaluation_parser(self, params: configs.DataConfig) -> Callable[[parsing.Example], Any]:
    """See `dataloaders.segmentation.evaluation_parser`."""
    return parsing.evaluation_parser(self.task_config.model, params)

  def batch_evaluation(
    self, dataset: tf.data.Dataset, size: int, drop_remainder: bool
  ) -> tf.data.Dataset:
    """See `StreamsMixin`; masks at their own size are padded."""
    return parsing.batch_of_sizes(dataset, size, drop_remainder)

  def check_record(self, params: configs.DataConfig, record: tf.Tensor) -> None:
    """Decodes one serialized record eagerly; used to find the record that made a run fail.

    Raises:
      ValueError: what is wrong with its mask.
      tf.errors.OpError: it cannot be decoded.
    """
    del params
    parsing.check_record(record, self.task_config.model.num_classes)

  def decoded_validation_example(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Image, mask and `encoded` image bytes of a serialized validation record, for pictures."""
    decode = self.decoder(self.task_config.validation_data)
    return {**decode(record), 'encoded': parsing.parse_record(record)[keys.IMAGE_ENCODED]}

  def build_losses(
    self, labels: Mapping[str, tf.Tensor], model_outputs: Any, aux_losses: Any = None
  ) -> tf.Tensor:
    """The Model Garden's loss, averaged over the pixels of the whole batch that are not ignored.

    With `top_k_percent_pixels` each part of a batch has hardest pixels of its own.

    An image, or a batch, in which every pixel is ignored has loss 0. `aux_losses` are not averaged.
    """
    labels, model_outputs = self._of_one_size(labels, model_outputs)
    loss = super().build_losses(labels, model_outputs, None)
    counted = self._count(labels['masks'])
    loss *= self.batch_share(labels, counted, segmentation_losses.EPSILON)
    if aux_losses:
      loss += self.task_config.losses.loss_weight * tf.add_n(aux_losses)
    return loss

  def label_count(self, labels: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """See `MultiStreamMixin`: pixels that count, of those that the loss looks at."""
    return self._count(self._as_seen(labels['masks'], self._logit_stride))

  def _count(self, mask: tf.Tensor) -> tf.Tensor:
    """Pixels that the loss is divided by, float32 scalar: those not ignored, or the hardest share of all if fewer."""
    count = tf.reduce_sum(tf.cast(mask != keys.IGNORE_LABEL, tf.float32))
    share = self.task_config.losses.top_k_percent_pixels
    if share >= 1.0:
      return count
    return tf.minimum(count, tf.floor(share * tf.cast(tf.size(mask), tf.float32)))

  @property
  def _logit_stride(self) -> int:
    """Pixels of the network's images for one of its logits, in height and in width."""
    head = self.task_config.model.head
    level = head.low_level if head.feature_fusion in _LOW_LEVEL_FUSIONS else head.level
    # A low level may be a layer of it, as '2/depthwise'.
    return max(1, 2 ** int(str(level).split('/')[0]) // head.upsample_factor)

  def _as_seen(self, mask: tf.Tensor, stride: int) -> tf.Tensor:
    """The pixels of a mask, [batch, height, width, 1], that the loss looks at, see `_of_one_size`."""
    if self.task_config.losses.use_groundtruth_dimension:
      return mask
    first = 0 if families.of(self.task_config.model).corners_meet else stride // 2
    return mask[:, first::stride, first::stride]

  @property
  def enlarge(self) -> image_ops.Resize:
    """How this family enlarges logits."""
    return families.of(self.task_config.model).resize

  def _of_one_size(
    self, labels: Mapping[str, tf.Tensor], outputs: Mapping[str, Any]
  ) -> tuple[Mapping[str, tf.Tensor], Mapping[str, Any]]:
    """Masks and logits in the size of the loss, as the authors have it; the Model Garden then finds nothing to resize.

    With `use_groundtruth_dimension` logits are enlarged, by the authors as TF1 did; without, masks are reduced, by the
    authors to every fourth pixel from the first one on, where the Model Garden begins with the third.
    """
    mask = labels['masks']
    if not self.task_config.losses.use_groundtruth_dimension:
      stride = max(1, mask.shape[1] // outputs['logits'].shape[1])
      return {**labels, 'masks': self._as_seen(mask, stride)}, outputs
    if not families.of(self.task_config.model).corners_meet:
      return labels, outputs
    return labels, {**outputs, 'logits': self.enlarge(outputs['logits'], mask.shape[1:3])}

  def build_metrics(self, training: bool = True) -> list[tf.keras.metrics.Metric]:
    """For evaluation those of `evaluation.segmentation`, which the trainer resets."""
    if training:
      return super().build_metrics(training=True)
    self.evaluator = evaluation.SegmentationEvaluator(
      self.task_config.model.num_classes,
      self.task_config.validation_data.evaluate_native,
      self.enlarge,
    )
    return self.evaluator.metrics

  def validation_step(
    self, inputs: Any, model: tf.keras.Model, metrics: Any = None
  ) -> dict[str, tf.Tensor]:
    """Takes one batch into the evaluator; returns the loss at the size that the model sees."""
    del metrics
    images, labels = inputs
    outputs = self.inference_step(images, model)
    self.evaluator.update_state(labels, outputs['logits'])
    return {self.loss: self.build_losses(labels, outputs, model.losses)}

  def aggregate_logs(self, state: Any = None, step_outputs: Any = None) -> Any:
    """See the Model Garden; the evaluator has taken in the batch already."""
    del step_outputs
    return state or True

  def reduce_aggregated_logs(
    self, aggregated_logs: Any, global_step: tf.Tensor | None = None
  ) -> dict[str, float]:
    """The evaluator's figures over all batches, those of single classes under the classes' names."""
    del aggregated_logs, global_step
    named = {}
    for name, value in self.evaluator.result().items():
      class_id = name.removeprefix(evaluation.PER_CLASS)
      if class_id != name:
        name = f'{evaluation.PER_CLASS}{self.class_label(int(class_id))}'
      named[name] = value
    return named

  def evaluation_details(self) -> dict[str, Any]:
    """Results of the last evaluation that are not numbers, see `evaluation.segmentation`; JSON-serialisable."""
    return self.evaluator.details()

  def watch(self, image_ids: Iterable[int]) -> None:
    """Keeps what evaluation finds in images with these ids, see `evaluation_masks` and `dataloaders.segmentation`."""
    self.evaluator.watch(image_ids)

  def evaluation_masks(self) -> dict[int, np.ndarray]:
    """What the last evaluation found in the watched images, see `SegmentationEvaluator.found`."""
    return self.evaluator.found()

  def evaluation_tallies(self) -> dict[str, np.ndarray]:
    """See `StreamsMixin`."""
    return self.evaluator.tallies()

  def source_losses(
    self, outputs: Mapping[str, Any], labels: Mapping[str, Any]
  ) -> dict[str, tf.Tensor]:
    """Loss of one source, averaged over its own pixels that are not ignored; float32 scalar."""
    loss = self.build_losses(labels=labels, model_outputs=outputs)
    weight = self.task_config.losses.loss_weight
    # The Model Garden's loss has the factor of the whole loss, which the sum of all streams gets once.
    return {'model_loss': loss / weight if weight not in (0.0, 1.0) else loss}

  def source_statistics(self, labels: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Shares of the pixels that are not ignored, and that show an object; float32 scalars."""
    mask = labels['masks']
    is_labelled = mask != keys.IGNORE_LABEL
    is_object = tf.logical_and(is_labelled, mask != label_formats.BACKGROUND)
    return {
      'labelled_share': tf.reduce_mean(tf.cast(is_labelled, tf.float32)),
      'object_share': tf.reduce_mean(tf.cast(is_object, tf.float32)),
    }


@task_factory.register_task_cls(configs.SegmentationSelfTrainingTask)
class SegmentationSelfTrainingTask(self_training.SelfTrainingMixin, SegmentationTask):
  """Semantic segmentation on human and pseudo labels."""

  def label_format(self, labels: configs.MaskLabelling | None = None) -> label_formats.MaskFormat:
    """The format of this task's pseudo labels."""
    del labels
    return label_formats.MaskFormat(self.task_config.model.num_classes)

  def pseudo_example(self, record: parsing.Example) -> parsing.Example:
    """See `StreamsMixin`."""
    image = parsing.decode_image(record[keys.IMAGE_ENCODED])
    return {'image': image, keys.SEMANTIC_MASK: record[keys.SEMANTIC_MASK]}

  def spare_outputs(self, outputs: Mapping[str, Any], classes: Sequence[int]) -> Mapping[str, Any]:
    """See `SelfTrainingMixin`: each pixel chooses among the other classes."""
    logits = spared.without_classes(outputs['logits'], self.task_config.model.num_classes, classes)
    return {**outputs, 'logits': logits}

  def spare_labels(self, labels: Mapping[str, Any], classes: Sequence[int]) -> Mapping[str, Any]:
    """See `SelfTrainingMixin`: pixels of such a class are ignored."""
    mask = spared.without_labels(labels['masks'], classes, keys.IGNORE_LABEL)
    return {**labels, 'masks': mask}

  def online_predictions(self, teacher: tf.keras.Model, images: tf.Tensor) -> tf.Tensor:
    """See `SelfTrainingMixin`: masks, cut as those on disk are; the teacher sees each image once."""
    probabilities = masks.multi_scale_probabilities(
      _logits_of(teacher), images, [1.0], False, configs.STRIDE, self.enlarge
    )
    classes = tf.argmax(probabilities, -1, output_type=tf.int32)
    cut = self.label_cuts(self.task_config.pseudo_data).thresholds(classes)
    is_kept = tf.reduce_max(probabilities, -1) >= cut
    return tf.cast(tf.where(is_kept, classes, keys.IGNORE_LABEL), tf.uint8)[..., tf.newaxis]

  def online_labels(self, prediction: tf.Tensor, views: teacher_views.Views) -> Mapping[str, Any]:
    """See `SelfTrainingMixin`."""
    return {'masks': teacher_views.move_mask(prediction, views)}

  def labelling_functions(
    self, model: tf.keras.Model, labels: configs.MaskLabelling | None = None
  ) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Preprocessing of one image and prediction for a batch, as the labeller wants them.

    Args:
      model: the teacher.
      labels: size, scales and flip; None shows each image once, at the size of the model.

    Returns:
      `preprocess(encoded)` -> inputs of one image; `predict(inputs)` -> see `pseudo_labels.segmentation`.
    """
    settings = labels or configs.MaskLabelling(scales=[1.0])
    size = configs.image_size(settings, self.task_config.model)

    logits_of = _logits_of(model)

    @tf.function
    def predict(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
      probabilities = masks.multi_scale_probabilities(
        logits_of, inputs['image'], settings.scales, settings.flip, configs.STRIDE, self.enlarge
      )
      return {'probabilities': probabilities, 'image_info': inputs['image_info']}

    return parsing.inference_preprocessor(size, settings.at_own_size), predict


def _logits_of(model: tf.keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
  return lambda images: model(images, training=False)['logits']
