"""Settings and registered experiments of object detection with RetinaNet."""

import dataclasses
from typing import Any, Literal

from official.core import exp_factory
from official.vision.configs import backbones, common, decoders, retinanet

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import inputs, trainers
from official_selftrain.configs import keras_cv as kcv
from official_selftrain.configs import self_training as st
from official_selftrain.core import errors


@dataclasses.dataclass
class DataConfig(retinanet.DataConfig):
  """A stream of labelled images: the Model Garden's settings and two more.

  Attributes:
    skip_errors: leave out images that cannot be decoded, and what follows a broken record in its file; off stops at the
      first and names it. Classes that the model does not have stop the run all the same.
    augmentation: augmentation of a training stream.
  """

  dtype: str = 'float32'
  skip_errors: bool = False
  augmentation: aug.Augmentation = dataclasses.field(default_factory=aug.Augmentation)


@dataclasses.dataclass
class PseudoDataConfig(DataConfig):
  """A stream of unlabelled images with pseudo labels.

  Attributes:
    label_dir: folder with label shards and manifest; empty takes those that this run makes.
    cut: boxes with a score of at least this are objects (paper: 0.5).
    ignore_cut: boxes with a score from here up to `cut` give anchors that are neither object nor background; null
      makes them background, as the paper does.
    keep_empty: train on images without any box above the cut; they are pure background.
  """

  label_dir: str = ''
  cut: float = 0.5
  ignore_cut: float | None = None
  keep_empty: bool = True

  def check(self, prefix: str) -> None:
    """Raises ConfigError for cuts out of range or order; `prefix` is the dotted name of this config."""
    inputs.check_cut(self, prefix)
    if self.ignore_cut is not None and not 0 < self.ignore_cut < self.cut:
      raise errors.ConfigError(
        f'{prefix}.ignore_cut is {self.ignore_cut}: it must lie in (0, {prefix}.cut = {self.cut}), or be null.'
      )


@dataclasses.dataclass
class BoxLabelling(st.Labelling):
  """How pseudo boxes are made.

  Attributes:
    min_score: boxes are written from this score on; cuts are applied when they are read.
    max_boxes: most boxes per image.
    min_boxes_per_image: the gate: fewer boxes above the cut than this, on average over the unlabelled images, stop
      the run before a student is trained.
  """

  min_score: float = 0.05
  max_boxes: int = 100
  min_boxes_per_image: float = 0.05

  def check(self, prefix: str, pseudo: PseudoDataConfig) -> None:
    """See `Labels`."""
    super().check(prefix, pseudo)
    st.check_positive(self, prefix, 'max_boxes')
    lowest = min(pseudo.cut, pseudo.ignore_cut or pseudo.cut)
    if self.min_score > lowest:
      raise errors.ConfigError(
        f'{prefix}.min_score is {self.min_score}, above the cut that is applied when labels are read ({lowest}): '
        'labels between the two would be missing. Lower it.'
      )

  def deciding(self) -> tuple[str, ...]:
    """See `Labels`."""
    return ('min_score', 'max_boxes')

  def gate(self) -> dict[str, float]:
    """See `Labels`."""
    return {'min_objects_per_image': self.min_boxes_per_image}


@dataclasses.dataclass
class DetectionModel(retinanet.RetinaNet):
  """The Model Garden's settings of RetinaNet and two more.

  Attributes:
    family: whose networks: `model_garden`; `original`, those of the paper's authors, which compute what their TF1 code
      computes and take its checkpoints (docs/networks.md); or `keras_cv`.
    keras_cv: the backbone of family `keras_cv`.
  """

  family: Literal['model_garden', 'original', 'keras_cv'] = 'model_garden'
  keras_cv: kcv.KerasCV = dataclasses.field(default_factory=kcv.KerasCV)

  def check_size(self, prefix: str) -> None:
    """Raises ConfigError for an `input_size` that the network cannot take."""
    side, kind = 2**self.max_level, self.backbone.type
    if self.family == 'keras_cv':
      side, kind = self.keras_cv.divisor(self), self.keras_cv.backbone
    elif kind in ('spinenet', 'spinenet_mobile'):
      side = 128  # Its scale-permuted graph goes down to level 7 whatever the levels that are used.
    size = self.input_size
    if len(size) != 3 or any(each % side or each < 1 for each in size[:2]):
      raise errors.ConfigError(
        f'{prefix}.input_size is {size}: height and width must be multiples of {side} '
        f'(levels up to {self.max_level}, backbone {kind}), and there are 3 channels.'
      )

  def check_levels(self, prefix: str) -> None:
    """Raises ConfigError for a backbone whose own levels are not those of the model."""
    backbone = self.backbone.get()
    for name in ('min_level', 'max_level'):
      level = getattr(backbone, name, getattr(self, name))
      if level != getattr(self, name):
        raise errors.ConfigError(
          f'{prefix}.backbone.{self.backbone.type}.{name} is {level}, but {prefix}.{name} is '
          f'{getattr(self, name)}: they must be equal.'
        )


@dataclasses.dataclass
class DetectionTask(retinanet.RetinaNetTask):
  """RetinaNet on labelled images, with reproducible streams."""

  model: DetectionModel = dataclasses.field(default_factory=DetectionModel)
  train_data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(is_training=True))
  validation_data: DataConfig = dataclasses.field(
    default_factory=lambda: DataConfig(is_training=False, drop_remainder=False)
  )

  def check(self) -> None:
    """Raises ConfigError for settings that contradict each other."""
    for name, stream in st.input_streams(self).items():
      _check_stream(stream, name)
    st.check_init_modules(self.init_checkpoint_modules, 'task.init_checkpoint_modules')
    if self.model.family == 'keras_cv':
      self.model.keras_cv.check('task.model.keras_cv', self.model)
    else:
      self.model.check_levels('task.model')
    self.model.check_size('task.model')
    if self.model.head.attribute_heads:
      raise errors.ConfigError(
        'task.model.head.attribute_heads: attribute heads are not supported.'
      )


@dataclasses.dataclass
class DetectionSelfTrainingTask(DetectionTask):
  """RetinaNet on labelled and pseudo-labelled images.

  Attributes:
    pseudo_data: the pseudo-labelled stream; its batch comes on top of `train_data`'s.
    self_training: loss and start of the student.
  """

  pseudo_data: PseudoDataConfig = dataclasses.field(
    default_factory=lambda: PseudoDataConfig(is_training=True)
  )
  self_training: st.SelfTraining = dataclasses.field(default_factory=st.SelfTraining)

  def supervised(self) -> DetectionTask:
    """The same task on human labels only: what teacher and control train."""
    return st.supervised(self, DetectionTask)

  def check(self) -> None:
    super().check()
    self.pseudo_data.check('task.pseudo_data')
    for name, stream in st.input_streams(self).items():
      if stream.tfds_name:
        raise errors.ConfigError(
          f'{name}.tfds_name: self-training reads TFRecord files; use input_path.'
        )
    self.self_training.check('task.self_training')


def _check_stream(stream: DataConfig, name: str) -> None:
  aug_type = stream.parser.aug_type
  if aug_type is not None and aug_type.type is not None:
    raise errors.ConfigError(
      f'{name}.parser.aug_type is {aug_type.type!r}: choose {name}.augmentation.policy instead (S2 and S3 for '
      'AutoAugment, S4 for RandAugment).'
    )
  inputs.check(stream, name)
  if stream.is_training:
    _check_mixing(stream, name)


def _check_mixing(stream: DataConfig, name: str) -> None:
  settings = stream.augmentation
  if settings.copy_paste_probability > 0 and isinstance(stream, PseudoDataConfig):
    raise errors.ConfigError(
      f'{name}.augmentation.copy_paste_probability is {settings.copy_paste_probability}: objects are cut out by their '
      'masks, and pseudo labels of detection are boxes; it must be 0. Labelled images can be mixed so: '
      'task.train_data.augmentation.copy_paste_probability.'
    )
  if stream.tfds_name and (settings.mixes() or settings.policy != 'none'):
    raise errors.ConfigError(
      f"{name}.augmentation: images of tfds_name go through the Model Garden's parser; policy must be 'none', and "
      f'copy_paste_probability, mosaic_probability and mixup_probability 0. Use {name}.input_path.'
    )


def small_spinenet(num_classes: int, image_size: int) -> DetectionModel:
  """RetinaNet on a SpineNet that trains in minutes on two CPU cores (levels 3 to 5, square anchors)."""
  return DetectionModel(
    num_classes=num_classes,
    input_size=[image_size, image_size, 3],
    min_level=3,
    max_level=5,
    anchor=retinanet.Anchor(num_scales=3, aspect_ratios=[1.0], anchor_size=3.0),
    backbone=backbones.Backbone(
      type='spinenet', spinenet=backbones.SpineNet(model_id='nano', min_level=3, max_level=5)
    ),
    decoder=decoders.Decoder(type='identity', identity=decoders.Identity()),
    head=retinanet.RetinaNetHead(num_convs=2, num_filters=48, use_separable_conv=False),
    # Batched NMS is the fastest of the Model Garden's on CPU (benchmarks/), and the one that exports.
    detection_generator=retinanet.DetectionGenerator(nms_version='batched', pre_nms_top_k=1000),
    # Synchronised batch norm is not fused, which halves the speed on a CPU; turn it on for small batches per device.
    norm_activation=common.NormActivation(activation='relu', use_sync_bn=False),
  )


def _small_images() -> dict[str, Any]:
  """Jitter of the embedded images; a named policy replaces it."""
  return {
    'parser': retinanet.Parser(aug_scale_min=0.6, aug_scale_max=1.5, aug_rand_hflip=False),
  }


def _supervised_task(batch_size: int) -> dict[str, Any]:
  return {
    'model': small_spinenet(num_classes=11, image_size=128),
    'losses': retinanet.Losses(l2_weight_decay=1e-4),
    'per_category_metrics': True,
    'train_data': DataConfig(is_training=True, global_batch_size=batch_size, **_small_images()),
    'validation_data': DataConfig(is_training=False, global_batch_size=32, drop_remainder=False),
  }


@exp_factory.register_config_factory('retinanet_supervised')
def retinanet_supervised() -> st.SupervisedExperiment:
  """RetinaNet on the labelled images of the embedded data set."""
  return st.SupervisedExperiment(
    experiment='retinanet_supervised',
    runtime=trainers.runtime(),
    task=DetectionTask(**_supervised_task(batch_size=16)),
    trainer=trainers.sgd_trainer(train_steps=800, learning_rate=0.12, warmup_steps=100),
  )


@exp_factory.register_config_factory('retinanet_selftrain')
def retinanet_selftrain() -> st.SelfTrainingExperiment:
  """Teacher, pseudo labels, control and student on the embedded data set."""
  return st.SelfTrainingExperiment(
    experiment='retinanet_selftrain',
    runtime=trainers.runtime(),
    task=DetectionSelfTrainingTask(
      pseudo_data=PseudoDataConfig(
        is_training=True, global_batch_size=8, cut=0.6, ignore_cut=0.15, **_small_images()
      ),
      self_training=st.SelfTraining(alpha=1.0),
      **_supervised_task(batch_size=8),
    ),
    trainer=trainers.sgd_trainer(train_steps=650, learning_rate=0.12, warmup_steps=50),
    labels=BoxLabelling(),
    teacher=st.Teacher(
      trainer=trainers.sgd_trainer(train_steps=1300, learning_rate=0.12, warmup_steps=100)
    ),
  )
