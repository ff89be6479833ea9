"""Settings and registered experiments of semantic segmentation."""

import dataclasses
from typing import Any, ClassVar, TypeVar

from official.vision.configs import backbones, common, decoders, semantic_segmentation
from official.vision.ops import preprocess_ops

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import (
  datasets,
  experiments,
  families,
  inputs,
  joint,
  pretraining_experiments,
  runs,
  tasks,
  trainers,
)
from official_selftrain.configs import self_training as st
from official_selftrain.core import errors

# Sides of images that a model sees are multiples of this, see `modeling.segmentation`.
STRIDE = 32

# The paper's, relative to the size that a model is trained on (section 3.2 and the released code).
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)

_Task = TypeVar('_Task', bound='SegmentationTask')
_Stream = TypeVar('_Stream', bound='DataConfig')


@dataclasses.dataclass
class DataConfig(inputs.Stream, semantic_segmentation.DataConfig):
  """A stream of images with class masks: the Model Garden's settings and ours.

  `output_size`, [height, width], is the size of the images that the model sees; empty takes `task.model.input_size`.

  Attributes:
    at_own_size: for validation: images smaller than `output_size` are padded to it instead of being enlarged; larger
      ones are shrunk to fit either way.
    evaluate_native: for validation: also measure at the images' own size; off leaves the size that the model sees, for
      devices that need fixed shapes.
  """

  at_own_size: bool = False
  evaluate_native: bool = True


@dataclasses.dataclass
class PseudoDataConfig(inputs.PseudoStream, DataConfig):
  """A stream of unlabelled images with pseudo labels: pixels below `cut` are ignored.

  Without `keep_empty`, images that have no pixel of an object above the cut are left out: those that are only
  background, or nothing at all.
  """


@dataclasses.dataclass
class MaskLabelling(st.Labelling):
  """Settings of making pseudo masks.

  Attributes:
    scales: sizes at which the teacher sees each image, relative to `output_size`; its probabilities are averaged.
    flip: also average over the mirrored image at each scale; not in the paper, and twice the cost.
    output_size: [height, width] that images are fitted into before they are scaled; empty takes
      `task.model.input_size`.
    at_own_size: images smaller than `output_size` are padded to it instead of being enlarged.
    min_image_share: the gate: when a smaller share of the unlabelled images than this has a pixel of an object above
      the cut, the run stops before a student is trained.
  """

  batch_size: int = 16
  scales: list[float] = dataclasses.field(default_factory=lambda: list(SCALES))
  flip: bool = False
  output_size: list[int] = dataclasses.field(default_factory=list)
  at_own_size: bool = False
  min_image_share: float = 0.01

  def check(self, prefix: str, pseudo: inputs.PseudoStream) -> None:
    """See `Labelling`."""
    super().check(prefix, pseudo)
    st.check_scales(self.scales, prefix)
    check_size(self.output_size, f'{prefix}.output_size')
    if not 0 <= self.min_image_share <= 1:
      raise errors.ConfigError(
        f'{prefix}.min_image_share is {self.min_image_share}: it must be in [0, 1].'
      )

  def deciding(self) -> tuple[str, ...]:
    """See `Labelling`."""
    return ('scales', 'flip', 'output_size', 'at_own_size')

  def gating(self) -> tuple[str, ...]:
    """See `Labelling`."""
    return ('min_image_share',)

  def gate(self) -> dict[str, float]:
    """See `Labelling`."""
    return {'min_share': self.min_image_share}


def check_size(size: list[int], name: str) -> None:
  """Raises ConfigError unless `size` is empty, or height and width that a model can take."""
  if size and (len(size) != 2 or any(side < 1 or side % STRIDE for side in size)):
    raise errors.ConfigError(
      f'{name} is {size}: it must be empty, or height and width in multiples of {STRIDE}.'
    )


# Settings of the Model Garden that are not read here, below a stream and below `task`, and the value they must keep.
_UNSUPPORTED_IN_STREAM: tuple[tuple[str, Any], ...] = (
  ('image_feature.feature_name', 'image/encoded'),
  ('image_feature.num_channels', 3),
  ('image_feature.mean', list(preprocess_ops.MEAN_RGB)),
  ('image_feature.stddev', list(preprocess_ops.STDDEV_RGB)),
  ('decoder.type', 'simple_decoder'),
  ('decoder.simple_decoder.regenerate_source_id', False),
  ('decoder.simple_decoder.mask_binarize_threshold', None),
  ('decoder.simple_decoder.attribute_names', []),
  ('crop_size', []),
  ('preserve_aspect_ratio', True),
  ('aug_policy', None),
  ('additional_dense_features', []),
  ('groundtruth_padded_size', []),
  ('resize_eval_groundtruth', True),
)
_UNSUPPORTED: tuple[tuple[str, Any], ...] = (
  ('losses.ignore_label', 255),
  ('losses.gt_is_matting_map', False),
  # Confidences are those of a softmax.
  ('losses.use_binary_cross_entropy', False),
  ('evaluation.report_per_class_iou', True),
  ('evaluation.report_train_mean_iou', False),
  ('model.mask_scoring_head', None),
  ('train_input_partition_dims', []),
  ('eval_input_partition_dims', []),
  ('allow_image_summary', False),
)


@dataclasses.dataclass
class SegmentationModel(semantic_segmentation.SemanticSegmentationModel):
  """The Model Garden's settings of segmentation models and one more.

  Attributes:
    family: whose networks: `model_garden`, or `original`, those of the paper's authors, which compute what their TF1
      code computes and take its checkpoints (docs/networks.md).
  """

  family: families.Segmentation = 'model_garden'


@dataclasses.dataclass
class SegmentationTask(
  joint.JointTask, tasks.BackboneTask, semantic_segmentation.SemanticSegmentationTask
):
  """Semantic segmentation on labelled images, with reproducible streams."""

  data_kind: ClassVar[str] = 'segmentation'

  model: SegmentationModel = dataclasses.field(default_factory=SegmentationModel)
  train_data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(is_training=True))
  validation_data: DataConfig = dataclasses.field(
    default_factory=lambda: DataConfig(is_training=False, drop_remainder=False)
  )
  evaluation: semantic_segmentation.Evaluation = dataclasses.field(
    default_factory=lambda: semantic_segmentation.Evaluation(report_train_mean_iou=False)
  )
  allow_image_summary: bool = False

  def check(self) -> None:
    """See `LabelledTask`."""
    super().check()
    inputs.check_untouched(self, _UNSUPPORTED, 'task')

  def check_stream(self, stream: DataConfig, name: str) -> None:
    """See `LabelledTask`."""
    check_size(stream.output_size, f'{name}.output_size')
    if stream.tfds_name:
      raise errors.ConfigError(
        f'{name}.tfds_name: segmentation reads TFRecord files; use input_path.'
      )
    inputs.check_untouched(stream, _UNSUPPORTED_IN_STREAM, name)

  def check_augmentation(self, settings: aug.Augmentation, name: str, stream: DataConfig) -> None:
    """See `LabelledTask`."""
    del stream
    if settings.copy_paste_probability > 0:
      raise errors.ConfigError(
        f'{name}.copy_paste_probability is {settings.copy_paste_probability}: objects are cut out by instance masks, '
        'and segmentation has class masks; it must be 0.'
      )
    settings.check_labels(('masks',), name)

  def check_model(self) -> None:
    """See `LabelledTask`."""
    model = self.model
    if not 2 <= model.num_classes <= 255:
      raise errors.ConfigError(
        f'task.model.num_classes is {model.num_classes}: it must be from 2, with the background as class 0, to 255, '
        'since masks have 8 bits and 255 means ignored.'
      )
    weights = self.losses.class_weights
    if weights and len(weights) != model.num_classes:
      raise errors.ConfigError(
        f'task.losses.class_weights has {len(weights)} numbers and task.model.num_classes is {model.num_classes}: give '
        'each class, the background first, a weight, or an empty list for equal ones.'
      )
    if len(model.input_size) != 3:
      raise errors.ConfigError(
        f'task.model.input_size is {model.input_size}: it must be height, width and 3 channels.'
      )
    check_size(list(model.input_size[:2]), 'task.model.input_size[:2]')
    if model.backbone.type in families.OF_ONE_SIZE:
      raise errors.ConfigError(
        f'task.model.backbone.type is {model.backbone.type!r}: its layers fit one image size, and segmentation sees '
        'images at several; choose efficientnet or resnet.'
      )
    if model.decoder.type == 'nasfpn' and (model.min_level, model.max_level) != (3, 7):
      raise errors.ConfigError(
        f'task.model.min_level and max_level are {model.min_level} and {model.max_level}: NAS-FPN has the levels '
        '3 to 7.'
      )
    if model.head.feature_fusion == 'panoptic_fpn_fusion':
      raise errors.ConfigError(
        "task.model.head.feature_fusion is 'panoptic_fpn_fusion', which the Model Garden cannot build; choose "
        "'pyramid_fusion'."
      )


@dataclasses.dataclass
class SegmentationSelfTrainingTask(tasks.SelfTrainingTask, SegmentationTask):
  """Semantic segmentation on labelled and pseudo-labelled images.

  Attributes:
    pseudo_data: the pseudo-labelled stream; its batch comes on top of `train_data`'s.
  """

  pseudo_data: PseudoDataConfig = dataclasses.field(
    default_factory=lambda: PseudoDataConfig(is_training=True)
  )

  def supervised(self) -> SegmentationTask:
    """The same task on human labels only: what teacher and control train."""
    return tasks.supervised(self, SegmentationTask)

  def check(self) -> None:
    super().check()
    human, pseudo = self.train_data.output_size, self.pseudo_data.output_size
    if list(human) != list(pseudo):
      raise errors.ConfigError(
        f'task.pseudo_data.output_size is {pseudo} and task.train_data.output_size {human}: the student sees images of '
        'both in one batch, so they must be equal.'
      )
    if self.pseudo_data.is_matched:
      raise errors.ConfigError(
        "task.pseudo_data.cut is 'matched': boxes are matched by their number, and the number of pixels depends on the "
        "size of images. Use a number, or 'calibrated'."
      )
    if self.pseudo_data.spared_classes and self.losses.label_smoothing:
      raise errors.ConfigError(
        f'task.losses.label_smoothing is {self.losses.label_smoothing}: it gives each class a share of every pixel, '
        'also those of task.pseudo_data.spared_classes. Leave out one of the two.'
      )


def small_nasfpn(num_classes: int, image_size: int) -> SegmentationModel:
  """NAS-FPN on half a ResNet-10, with the paper's head: trains in minutes on two CPU cores."""
  return SegmentationModel(
    num_classes=num_classes,
    input_size=[image_size, image_size, 3],
    min_level=3,
    max_level=7,
    backbone=backbones.Backbone(
      type='resnet', resnet=backbones.ResNet(model_id=10, depth_multiplier=0.5)
    ),
    decoder=decoders.Decoder(
      type='nasfpn',
      nasfpn=decoders.NASFPN(num_filters=48, num_repeats=1, use_separable_conv=True),
    ),
    head=semantic_segmentation.SegmentationHead(
      level=2, num_convs=1, num_filters=48, feature_fusion='pyramid_fusion'
    ),
    # Synchronised batch norm is not fused, which halves the speed on a CPU; turn it on for small batches per device.
    norm_activation=common.NormActivation(
      activation='swish', use_sync_bn=False, norm_momentum=0.97
    ),
  )


def image_size(stream: DataConfig | MaskLabelling, model: SegmentationModel) -> tuple[int, int]:
  """Height and width of the images that a stream, or the labeller, shows to `model`, a `task.model`."""
  size = stream.output_size or model.input_size[:2]
  return size[0], size[1]


def _dataset() -> st.Dataset:
  return st.Dataset(digits=datasets.Digits(num_labelled=120))


def _training(kind: type[_Stream], batch_size: int) -> _Stream:
  """A training stream of `kind` with the jitter of the embedded images, which a named policy replaces."""
  return kind(
    is_training=True,
    global_batch_size=batch_size,
    aug_scale_min=0.6,
    aug_scale_max=1.5,
    aug_rand_hflip=False,
  )


def _embedded(task: _Task, batch_size: int) -> _Task:
  """`task` with network, losses and streams of the embedded images."""
  task.model = small_nasfpn(num_classes=11, image_size=128)
  # Nine of ten pixels are background; without weights its class is learned first and long alone.
  task.losses = semantic_segmentation.Losses(l2_weight_decay=1e-4, class_weights=[1.0] + [4.0] * 10)
  task.train_data = _training(DataConfig, batch_size)
  task.validation_data = DataConfig(
    is_training=False, global_batch_size=32, drop_remainder=False, aug_rand_hflip=False
  )
  return task


@experiments.register('segmentation_supervised')
def segmentation_supervised() -> runs.SupervisedExperiment:
  """NAS-FPN on the labelled images of the embedded data set."""
  return runs.SupervisedExperiment(
    dataset=_dataset(),
    task=_embedded(SegmentationTask(), batch_size=16),
    trainer=trainers.sgd_trainer(train_steps=1200, learning_rate=0.2, warmup_steps=100),
  )


@experiments.register('segmentation_selftrain')
def segmentation_selftrain() -> runs.SelfTrainingExperiment:
  """Teacher, pseudo labels, control and student on the embedded data set."""
  task = _embedded(SegmentationSelfTrainingTask(), batch_size=8)
  task.pseudo_data = _training(PseudoDataConfig, batch_size=8)
  task.pseudo_data.cut = 0.65
  return runs.SelfTrainingExperiment(
    pretraining=pretraining_experiments.digits(simclr_steps=250),
    dataset=_dataset(),
    task=task,
    # The jitter of training ends at 0.6 and 1.5; the paper's 0.5 and 1.75 show digits of sizes the teacher never saw.
    labels=MaskLabelling(scales=[0.75, 1.0, 1.25]),
    report=st.Report(primary_metric='mean_iou'),
    trainer=trainers.sgd_trainer(train_steps=500, learning_rate=0.2, warmup_steps=50),
    teacher=st.Teacher(
      trainer=trainers.sgd_trainer(train_steps=1500, learning_rate=0.2, warmup_steps=100)
    ),
  )
