"""Settings and registered experiment of image classification, with which backbones are pre-trained."""

import dataclasses
from typing import Any, ClassVar

from official.vision.configs import decoders, image_classification

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import (
  families,
  inputs,
  tasks,
)
from official_selftrain.configs import keras_cv as kcv
from official_selftrain.core import errors

# Settings of the Model Garden that are not read here, below a stream and below `task`, and the value they must keep.
_UNSUPPORTED_IN_STREAM: tuple[tuple[str, Any], ...] = (
  ('is_multilabel', False),
  ('image_field_key', 'image/encoded'),
  ('label_field_key', 'image/class/label'),
  ('decoder.type', 'simple_decoder'),
  ('decoder.simple_decoder.regenerate_source_id', False),
  ('decoder.simple_decoder.mask_binarize_threshold', None),
  ('decoder.simple_decoder.attribute_names', []),
  ('decode_jpeg_only', True),
  ('aug_type', None),
  ('randaug_magnitude', 10),
  ('aug_policy', None),
  ('three_augment', False),
  ('color_jitter', 0.0),
  ('random_erasing', None),
  ('mixup_and_cutmix', None),
  ('repeated_augment', None),
  ('tf_resize_method', 'bilinear'),
)
_UNSUPPORTED: tuple[tuple[str, Any], ...] = (
  ('losses.one_hot', True),
  ('losses.soft_labels', False),
  ('losses.use_binary_cross_entropy', False),
  ('evaluation.precision_and_recall_thresholds', None),
  ('model.add_head_batch_norm', False),
  ('model.kernel_initializer', 'random_uniform'),
  ('model.output_softmax', False),
  ('model_output_keys', []),
  ('train_input_partition_dims', []),
  ('eval_input_partition_dims', []),
)


@dataclasses.dataclass
class DataConfig(inputs.Stream, image_classification.DataConfig):
  """A stream of images with a class each: the Model Garden's settings and ours.

  In training, `aug_crop` cuts out a part of `crop_area_range` of the image with sides in proportions of 3:4 to 4:3; the
  jitter of a named policy is then left out. Without it images are fitted into the frame, and a named policy has its
  jitter. In validation, `aug_crop` takes the central square of `center_crop_fraction` of the shorter side.
  """

  dtype: str = 'float32'


@dataclasses.dataclass
class ClassificationModel(image_classification.ImageClassificationModel):
  """The Model Garden's settings and those that say which backbone a detector or segmenter has.

  Attributes:
    family: see `detection.DetectionModel`; the backbone of a detector or segmenter is the same network here.
    keras_cv: the backbone of family `keras_cv`.
    min_level: lowest level of a backbone of family `keras_cv`.
    max_level: highest level of a backbone of family `keras_cv`.
    decoder: of the detector, which decides the levels of a backbone of family `keras_cv`; it is not built.
  """

  family: families.Detection = 'model_garden'
  keras_cv: kcv.KerasCV = dataclasses.field(default_factory=kcv.KerasCV)
  min_level: int = 3
  max_level: int = 5
  decoder: decoders.Decoder = dataclasses.field(
    default_factory=lambda: decoders.Decoder(type='fpn')
  )

  def check_size(self, prefix: str) -> None:
    """Raises ConfigError for an `input_size` that no image can have."""
    size = self.input_size
    if len(size) != 3 or any(side < 1 for side in size) or size[2] != 3:
      raise errors.ConfigError(
        f'{prefix}.input_size is {size}: it must be height, width and 3 channels.'
      )


@dataclasses.dataclass
class ClassificationTask(tasks.LabelledTask, image_classification.ImageClassificationTask):
  """Classification of whole images, with reproducible streams. Classes count from 0, as in the Model Garden."""

  data_kind: ClassVar[str] = 'classification'
  first_class: ClassVar[int] = 0

  model: ClassificationModel = dataclasses.field(default_factory=ClassificationModel)
  train_data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(is_training=True))
  validation_data: DataConfig = dataclasses.field(
    default_factory=lambda: DataConfig(is_training=False, drop_remainder=False)
  )

  def check(self) -> None:
    """See `LabelledTask`."""
    super().check()
    inputs.check_untouched(self, _UNSUPPORTED, 'task')

  def check_stream(self, stream: DataConfig, name: str) -> None:
    """See `LabelledTask`."""
    check_stream(stream, name)

  def check_augmentation(self, settings: aug.Augmentation, name: str, stream: DataConfig) -> None:
    """See `LabelledTask`."""
    del stream
    check_augmentation(settings, name)

  def check_model(self) -> None:
    """See `LabelledTask`."""
    self.model.check_size('task.model')
    check_num_classes(self.model.num_classes, 'task.model.num_classes')
    check_share(self.losses.label_smoothing, 'task.losses.label_smoothing')


def check_num_classes(count: int, name: str) -> None:
  """Raises ConfigError where there is nothing to tell apart; `name` is the dotted name of the setting."""
  if count < 2:
    raise errors.ConfigError(f'{name} is {count}: there must be at least 2 classes to tell apart.')


def check_share(value: float, name: str) -> None:
  """Raises ConfigError for a share that may be nothing but not everything; `name` is the dotted name of the setting."""
  if not 0 <= value < 1:
    raise errors.ConfigError(f'{name} is {value}: it must be in [0, 1).')


def check_stream(stream: DataConfig, name: str) -> None:
  """Raises ConfigError for settings of a stream that classification does not support; `name` is its dotted name."""
  if stream.tfds_name:
    raise errors.ConfigError(
      f'{name}.tfds_name: classification reads TFRecord files; use input_path.'
    )
  inputs.check_untouched(stream, _UNSUPPORTED_IN_STREAM, name)
  area = stream.crop_area_range
  if stream.aug_crop and (area is None or not 0 < area[0] <= area[1] <= 1):
    raise errors.ConfigError(
      f'{name}.crop_area_range is {area}: it must be two shares, 0 < smallest <= largest <= 1.'
    )
  fraction = stream.center_crop_fraction
  if fraction is None or not 0 < fraction <= 1:
    raise errors.ConfigError(f'{name}.center_crop_fraction is {fraction}: it must be in (0, 1].')


def check_augmentation(settings: aug.Augmentation, name: str) -> None:
  """Raises ConfigError for augmentation that images with one class each cannot have; `name` is its dotted name."""
  if settings.mixes():
    raise errors.ConfigError(
      f'{name}: images with one class each are not mixed; copy_paste_probability, mosaic_probability and '
      'mixup_probability must be 0, and keras_cv.layers have no layer that mixes.'
    )
