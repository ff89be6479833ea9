"""Settings and registered experiments of object detection with RetinaNet."""

import dataclasses
from typing import Any, ClassVar, TypeVar

from official.core import config_definitions as cfg
from official.modeling import hyperparams
from official.vision.configs import backbones, common, decoders, retinanet

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import (
  bounds,
  experiments,
  families,
  inputs,
  joint,
  pretraining_experiments,
  runs,
  tasks,
  trainers,
)
from official_selftrain.configs import keras_cv as kcv
from official_selftrain.configs import self_training as st
from official_selftrain.core import errors

_Task = TypeVar('_Task', bound='DetectionTask')


@dataclasses.dataclass
class DataConfig(inputs.Stream, retinanet.DataConfig):
  """A stream of labelled images: the Model Garden's settings and ours."""

  dtype: str = 'float32'


@dataclasses.dataclass
class PseudoDataConfig(inputs.PseudoStream, DataConfig):
  """A stream of unlabelled images with pseudo labels: boxes with a score of at least `cut` are objects.

  Attributes:
    ignore_cut: boxes with a score from here up to `cut` give anchors that are neither object nor background; null
      makes them background, as the paper does.
    soft_labels: teach the score of a box in place of certainty: its anchors have the score as target of their class,
      with the quality focal loss of Li et al. (2020), and their offsets weigh as much. So boxes of low scores do little
      harm, and `cut` may be low. Off teaches every box that is kept like one of a person, as the paper does.
  """

  ignore_cut: float | None = None
  soft_labels: bool = False

  def check(self, prefix: str) -> None:
    """Raises ConfigError for cuts out of range or order; `prefix` is the dotted name of this config."""
    super().check(prefix)
    highest = max(self.cuts(), default=1.0)
    if self.ignore_cut is not None and not 0 < self.ignore_cut < highest:
      raise errors.ConfigError(
        f'{prefix}.ignore_cut is {self.ignore_cut}: it must be in (0, {prefix}.cut = {highest}), or be null.'
      )

  def lowest_cut(self) -> float:
    """See `PseudoStream`."""
    lowest = super().lowest_cut()
    # That of a calibrated cut is chosen with it.
    if self.is_calibrated or self.ignore_cut is None:
      return lowest
    # No matched cut is below the band; one that is given may be.
    return self.ignore_cut if self.is_matched else min(lowest, self.ignore_cut)


# What ours reads images and measures without.
_UNSUPPORTED_IN_STREAM: tuple[tuple[str, Any], ...] = (
  ('parser.num_channels', 3),
  ('parser.aug_policy', None),
)
_UNSUPPORTED: tuple[tuple[str, Any], ...] = (('use_wod_metrics', False),)

# Those of `nms_version` that find boxes outside TensorFlow Lite.
_NMS = ('batched', 'v1', 'v2', 'v3')

# Those that XLA always compiles: `batched` never, `v1` only without `soft_nms_sigma`, 0 included.
COMPILED_NMS = ('v2', 'v3')


@dataclasses.dataclass
class BoxLabelling(st.Labelling):
  """Settings of making pseudo boxes.

  Attributes:
    min_score: boxes are written from this score on; cuts are applied when they are read.
    max_boxes: most boxes per image.
    scales: sizes at which the teacher sees each image, relative to `task.model.input_size`; the boxes of all views are
      fused, see `ops.box_fusion`. Not in the paper.
    flip: also show the teacher the mirrored image at each scale, for twice the cost.
    soft_nms_sigma: sigma of Soft-NMS as in `task.model.detection_generator.soft_nms_sigma`, which labelling does not
      read; 0 is hard NMS. Soft-NMS keeps second boxes of an object, some of them with scores above the cut.
    min_boxes_per_image: the gate: fewer boxes above the cut than this, on average over the unlabelled images, stop
      the run before a student is trained.
  """

  min_score: float = 0.05
  max_boxes: int = 100
  scales: list[float] = dataclasses.field(default_factory=lambda: [1.0])
  flip: bool = False
  soft_nms_sigma: float = 0.0
  min_boxes_per_image: float = 0.05

  def check(self, prefix: str, pseudo: inputs.PseudoStream) -> None:
    """See `Labelling`."""
    super().check(prefix, pseudo)
    bounds.check_at_least(1, self, prefix, 'max_boxes')
    st.check_scales(self.scales, prefix)
    if self.has_views and self.soft_nms_sigma:
      raise errors.ConfigError(
        f'{prefix}.soft_nms_sigma is {self.soft_nms_sigma}: the second boxes that it keeps are lost where boxes of '
        f'several views are fused ({prefix}.scales, {prefix}.flip). Set it to 0.'
      )
    if not self.soft_nms_sigma >= 0:
      raise errors.ConfigError(
        f'{prefix}.soft_nms_sigma is {self.soft_nms_sigma}: it must be at least 0, where 0 is hard NMS.'
      )
    lowest = pseudo.lowest_cut()
    if self.min_score > lowest:
      raise errors.ConfigError(
        f'{prefix}.min_score is {self.min_score}, above the cut that is applied when labels are read ({lowest}): '
        'labels between the two would be missing. Lower it.'
      )

  def reaching(self, model: hyperparams.Config) -> dict[str, Any]:
    """See `Labelling`: boxes that evaluation would not find, which earlier versions did not store."""
    generator = model.detection_generator
    is_beyond = (
      self.min_score < generator.pre_nms_score_threshold
      or self.max_boxes > generator.max_num_detections
    )
    return {'beyond_evaluation': True} if is_beyond else {}

  def deciding(self) -> tuple[str, ...]:
    """See `Labelling`."""
    names = ('min_score', 'max_boxes', 'soft_nms_sigma')
    return (*names, 'scales', 'flip') if self.has_views else names

  @property
  def has_views(self) -> bool:
    """Whether the teacher sees an image more than once, or at another size than that of the model."""
    return self.flip or list(self.scales) != [1.0]

  def gating(self) -> tuple[str, ...]:
    """See `Labelling`."""
    return ('min_boxes_per_image',)

  def gate(self) -> dict[str, float]:
    """See `Labelling`."""
    return {'min_objects_per_image': self.min_boxes_per_image}


@dataclasses.dataclass
class DetectionModel(retinanet.RetinaNet):
  """The Model Garden's settings of RetinaNet and two more.

  Attributes:
    family: whose networks: `model_garden`; `original`, those of the paper's authors, which compute what their TF1 code
      computes and take its checkpoints (docs/networks.md); or `keras_cv`.
    keras_cv: the backbone of family `keras_cv`.
  """

  family: families.Detection = 'model_garden'
  keras_cv: kcv.KerasCV = dataclasses.field(default_factory=kcv.KerasCV)

  def check_size(self, prefix: str) -> None:
    """Raises ConfigError for an `input_size` that the network cannot take."""
    side, kind = families.of(self).side(self)
    size = self.input_size
    if len(size) != 3 or any(each % side or each < 1 for each in size[:2]):
      raise errors.ConfigError(
        f'{prefix}.input_size is {size}: height and width must be multiples of {side} '
        f'(levels up to {self.max_level}, backbone {kind}), and there are 3 channels.'
      )


@dataclasses.dataclass
class DetectionTask(joint.JointTask, tasks.BackboneTask, retinanet.RetinaNetTask):
  """RetinaNet on labelled images, with reproducible streams."""

  data_kind: ClassVar[str] = 'detection'

  model: DetectionModel = dataclasses.field(default_factory=DetectionModel)
  train_data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(is_training=True))
  validation_data: DataConfig = dataclasses.field(
    default_factory=lambda: DataConfig(is_training=False, drop_remainder=False)
  )

  def check(self) -> None:
    """See `LabelledTask`."""
    super().check()
    inputs.check_untouched(self, _UNSUPPORTED, 'task')
    for name, found, needed in (
      ('task.gradient_accumulation_steps', self.gradient_accumulation_steps, 1),
      ('task.backbone_learning_rate', self.backbone_learning_rate, 1.0),
      ('task.joint.weight', self.joint.weight, 0.0),
    ):
      if self.train_data.tfds_name and found != needed:
        raise errors.ConfigError(
          f'{name} is {found:g}: this needs images of TFRecord files. Use task.train_data.input_path instead of '
          f'tfds_name, or set it to {needed:g}.'
        )

  def check_stream(self, stream: DataConfig, name: str) -> None:
    """See `LabelledTask`."""
    inputs.check_untouched(stream, _UNSUPPORTED_IN_STREAM, name)
    aug_type = stream.parser.aug_type
    if aug_type is not None and aug_type.type is not None:
      raise errors.ConfigError(
        f'{name}.parser.aug_type is {aug_type.type!r}: choose {name}.augmentation.policy instead (S2 and S3 for '
        'AutoAugment, S4 for RandAugment).'
      )

  def check_augmentation(self, settings: aug.Augmentation, name: str, stream: DataConfig) -> None:
    """See `LabelledTask`."""
    if settings.copy_paste_probability > 0 and isinstance(stream, PseudoDataConfig):
      raise errors.ConfigError(
        f'{name}.copy_paste_probability is {settings.copy_paste_probability}: objects are cut out by their masks, and '
        'pseudo labels of detection are boxes; it must be 0. Labelled images can be mixed so: '
        'task.train_data.augmentation.copy_paste_probability.'
      )
    settings.check_labels(('boxes',), name)
    if stream.tfds_name and (settings.mixes() or settings.policy != 'none'):
      raise errors.ConfigError(
        f"{name}: images of tfds_name go through the Model Garden's parser; policy must be 'none', and "
        'copy_paste_probability, mosaic_probability and mixup_probability 0. Use input_path instead of tfds_name.'
      )

  def check_model(self) -> None:
    """See `LabelledTask`."""
    families.of(self.model).check_detector(self.model, 'task.model')
    self.model.check_size('task.model')
    if self.model.head.attribute_heads:
      raise errors.ConfigError(
        'task.model.head.attribute_heads: attribute heads are not supported.'
      )
    anchor = self.model.anchor
    if anchor.num_scales < 1 or not anchor.aspect_ratios or not anchor.anchor_size > 0:
      raise errors.ConfigError(
        f'task.model.anchor has num_scales {anchor.num_scales}, aspect_ratios {anchor.aspect_ratios} and anchor_size '
        f'{anchor.anchor_size}: there must be at least one scale, one ratio and a size above 0.'
      )
    _check_suppression(self.model.detection_generator, 'task.model.detection_generator')

  def check_strategy(self, runtime: cfg.RuntimeConfig) -> None:
    """See `LabelledTask`."""
    super().check_strategy(runtime)
    generator = self.model.detection_generator
    if runtime.distribution_strategy != 'tpu' or not generator.apply_nms:
      return
    name = 'task.model.detection_generator'
    if generator.soft_nms_sigma:
      raise errors.ConfigError(
        f'{name}.soft_nms_sigma is {generator.soft_nms_sigma}: Soft-NMS does not compile for a TPU, where the model is '
        'evaluated. Train with 0, and evaluate with it on another device (--mode=eval).'
      )
    if generator.nms_version not in COMPILED_NMS:
      raise errors.ConfigError(
        f'{name}.nms_version is {generator.nms_version!r}, which does not compile for a TPU with all settings: choose '
        f'{" or ".join(COMPILED_NMS)}.'
      )


def _check_suppression(generator: retinanet.DetectionGenerator, name: str) -> None:
  """Boxes are compared and become labels after suppression, so a setting that finds none ends a run late."""
  if not generator.apply_nms:
    raise errors.ConfigError(
      f'{name}.apply_nms is false: evaluation and pseudo labels need it. For a model without suppression export with '
      '--nms=none.'
    )
  if generator.nms_version not in _NMS:
    raise errors.ConfigError(
      f'{name}.nms_version is {generator.nms_version!r}: it must be one of {", ".join(_NMS)}. What an export to '
      'TensorFlow Lite needs is set by --format=tflite.'
    )
  if generator.use_class_agnostic_nms and generator.nms_version != 'v2':
    raise errors.ConfigError(
      f'{name}.use_class_agnostic_nms needs nms_version v2, not {generator.nms_version}.'
    )


@dataclasses.dataclass
class DetectionSelfTrainingTask(tasks.SelfTrainingTask, DetectionTask):
  """RetinaNet on labelled and pseudo-labelled images.

  Attributes:
    pseudo_data: the pseudo-labelled stream; its batch comes on top of `train_data`'s.
  """

  pseudo_data: PseudoDataConfig = dataclasses.field(
    default_factory=lambda: PseudoDataConfig(is_training=True)
  )

  def check(self) -> None:
    """See `LabelledTask`."""
    super().check()
    gamma = self.losses.focal_loss_gamma
    if self.pseudo_data.soft_labels and 0 < gamma < 1:
      raise errors.ConfigError(
        f'task.losses.focal_loss_gamma is {gamma}: with task.pseudo_data.soft_labels it must be 0 or at least 1, '
        'because the slope of the loss is not finite where a probability is close to a score.'
      )

  def supervised(self) -> DetectionTask:
    """The same task on human labels only: what teacher and control train."""
    return tasks.supervised(self, DetectionTask)


def small_retinanet(num_classes: int, image_size: int) -> DetectionModel:
  """RetinaNet on half a ResNet-10 with FPN: trains in minutes on two CPU cores (levels 3 to 5, square anchors)."""
  return DetectionModel(
    num_classes=num_classes,
    input_size=[image_size, image_size, 3],
    min_level=3,
    max_level=5,
    anchor=retinanet.Anchor(num_scales=3, aspect_ratios=[1.0], anchor_size=3.0),
    backbone=backbones.Backbone(
      type='resnet', resnet=backbones.ResNet(model_id=10, depth_multiplier=0.5)
    ),
    decoder=decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=48)),
    head=retinanet.RetinaNetHead(num_convs=2, num_filters=48, use_separable_conv=False),
    # Batched NMS is the fastest of the Model Garden's on CPU (benchmarks/), and the one that exports.
    detection_generator=retinanet.DetectionGenerator(nms_version='batched', pre_nms_top_k=1000),
    # Synchronised batch norm is not fused, which halves the speed on a CPU; turn it on for small batches per device.
    norm_activation=common.NormActivation(
      activation='swish', use_sync_bn=False, norm_momentum=0.97
    ),
  )


def _small_images() -> retinanet.Parser:
  """Jitter of the embedded images; a named policy replaces it."""
  return retinanet.Parser(aug_scale_min=0.6, aug_scale_max=1.5, aug_rand_hflip=False)


def _embedded(task: _Task, batch_size: int) -> _Task:
  """`task` with network, losses and streams of the embedded images."""
  task.model = small_retinanet(num_classes=11, image_size=128)
  task.losses = retinanet.Losses(l2_weight_decay=1e-4)
  task.per_category_metrics = True
  task.train_data = DataConfig(
    is_training=True, global_batch_size=batch_size, parser=_small_images()
  )
  task.validation_data = DataConfig(is_training=False, global_batch_size=32, drop_remainder=False)
  return task


@experiments.register('retinanet_supervised')
def retinanet_supervised() -> runs.SupervisedExperiment:
  """RetinaNet on the labelled images of the embedded data set."""
  return runs.SupervisedExperiment(
    task=_embedded(DetectionTask(), batch_size=16),
    trainer=trainers.sgd_trainer(train_steps=800, learning_rate=0.12, warmup_steps=100),
  )


@experiments.register('retinanet_selftrain')
def retinanet_selftrain() -> runs.SelfTrainingExperiment:
  """Teacher, pseudo labels, control and student on the embedded data set."""
  task = _embedded(DetectionSelfTrainingTask(), batch_size=8)
  task.pseudo_data = PseudoDataConfig(
    is_training=True, global_batch_size=8, cut=0.6, ignore_cut=0.15, parser=_small_images()
  )
  return runs.SelfTrainingExperiment(
    pretraining=pretraining_experiments.digits(),
    task=task,
    trainer=trainers.sgd_trainer(train_steps=400, learning_rate=0.12, warmup_steps=50),
    labels=BoxLabelling(),
    teacher=st.Teacher(
      trainer=trainers.sgd_trainer(train_steps=800, learning_rate=0.12, warmup_steps=100)
    ),
  )
