"""Shared by the configs of all tasks.

A task's config combines these with the Model Garden's: `DetectionTask(tasks.LabelledTask, retinanet.RetinaNetTask)`.
"""

import dataclasses
from typing import ClassVar, TypeVar

from official.core import config_definitions as cfg
from official.modeling import hyperparams

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import bounds, inputs
from official_selftrain.configs import self_training as st
from official_selftrain.core import errors

_Task = TypeVar('_Task', bound=cfg.TaskConfig)

# Batch norm over fewer images than this per replica learns from statistics that are mostly noise.
MIN_BATCH_NORM_IMAGES = 8

_ONLINE = 'task.self_training.online_teacher'


@dataclasses.dataclass
class LabelledTask(hyperparams.Config):
  """Checks of a task on labelled images.

  Attributes:
    init_statistics: take the moving mean and variance of batch norm from `init_checkpoint`, too; off leaves them as
      new, for images that look unlike those of the start. Models that start from the whole teacher have its own.
  """

  # The `task` of the data cards whose data it trains on; '' for one that reads images alone.
  data_kind: ClassVar[str] = ''
  # The first class with a name: class 0 is the background, except where whole images are classified.
  first_class: ClassVar[int] = 1

  init_statistics: bool = True

  def check(self) -> None:
    """Raises ConfigError for settings that contradict each other or have no effect here."""
    for name, stream in st.own_streams(self).items():
      inputs.check(stream, name)
      self.check_stream(stream, name)
      if stream.is_training:
        self.check_augmentation(stream.augmentation, f'{name}.augmentation', stream)
    st.check_init_modules(self.init_checkpoint_modules, 'task.init_checkpoint_modules')
    self.check_model()

  def check_stream(self, stream: inputs.Stream, name: str) -> None:
    """Raises ConfigError for settings of a stream that this task does not support; `name` is its dotted name."""

  def check_augmentation(
    self, settings: aug.Augmentation, name: str, stream: inputs.Stream
  ) -> None:
    """Raises ConfigError for augmentation that the images of a training stream cannot have in this task.

    Args:
      settings: the augmentation, which has passed `inputs.check_augmentation`.
      name: its dotted name.
      stream: the stream that it is for.
    """

  def check_model(self) -> None:
    """Raises ConfigError for a model that cannot be built."""

  def check_strategy(self, runtime: cfg.RuntimeConfig) -> None:
    """Raises ConfigError for a model that cannot be trained or evaluated with a strategy, or compiled by XLA."""


@dataclasses.dataclass
class BackboneTask(LabelledTask):
  """A task whose model is a backbone and more.

  Attributes:
    freeze_backbone: leave the weights of the backbone as they start.
    backbone_learning_rate: the learning rate of the backbone as a factor of that of all other parts; with SGD only. Its
      gradients are multiplied before all of them are clipped.
    gradient_accumulation_steps: in how many parts each batch is trained on, one after the other, for one update. So a
      large batch fits into little memory; batch norm sees one part at a time. The batches that each replica gets must
      be multiples of it.
    recompute_blocks: compute the inside of the backbone's blocks again in the backward pass instead of keeping it: less
      memory for more time. Blocks are those of ResNet, SpineNet, EfficientNet and MobileNet.
  """

  freeze_backbone: bool = False
  backbone_learning_rate: float = 1.0
  gradient_accumulation_steps: int = 1
  recompute_blocks: bool = False

  def check(self) -> None:
    """See `LabelledTask`."""
    super().check()
    if not self.backbone_learning_rate > 0:
      raise errors.ConfigError(
        f'task.backbone_learning_rate is {self.backbone_learning_rate}: it must be above 0; task.freeze_backbone '
        'leaves the backbone as it is.'
      )
    bounds.check_at_least(1, self, 'task', 'gradient_accumulation_steps')


def check_batches(task: cfg.TaskConfig, num_replicas: int, evaluates: bool = True) -> None:
  """Raises ConfigError for batches that replicas cannot share, or in training not split again into their parts.

  Args:
    task: the task of one training.
    num_replicas: replicas that share a step.
    evaluates: the model is also evaluated.
  """
  batches = {
    name: stream for name, stream in st.own_streams(task).items() if stream.is_training or evaluates
  }
  if getattr(task, 'joint', None) is not None and task.joint.weight:
    batches['task.joint.data'] = task.joint.data
  for name, stream in batches.items():
    parts = getattr(task, 'gradient_accumulation_steps', 1) if stream.is_training else 1
    if stream.global_batch_size % (parts * num_replicas):
      setting = f'with task.gradient_accumulation_steps={parts} ' if parts > 1 else ''
      raise errors.ConfigError(
        f'{name}.global_batch_size is {stream.global_batch_size}: {setting}on {num_replicas} '
        f'replica{"s" if num_replicas > 1 else ""} it must be a multiple of {parts * num_replicas}.'
      )


def _training_streams(task: cfg.TaskConfig) -> dict[str, inputs.Stream]:
  """By dotted name, without that of joint training, which is normalised by itself."""
  return {name: stream for name, stream in st.own_streams(task).items() if stream.is_training}


@dataclasses.dataclass
class SelfTrainingTask(hyperparams.Config):
  """Ours in a task on labelled and pseudo-labelled images; the task adds `pseudo_data`, a `inputs.PseudoStream`.

  Attributes:
    self_training: loss and start of the student.
  """

  self_training: st.SelfTraining = dataclasses.field(default_factory=st.SelfTraining)

  def check(self) -> None:
    """See `LabelledTask`."""
    super().check()
    for name, stream in st.own_streams(self).items():
      if stream.tfds_name:
        raise errors.ConfigError(
          f'{name}.tfds_name: self-training reads TFRecord files; use input_path.'
        )
    self.pseudo_data.check('task.pseudo_data')
    if self.pseudo_data.dtype != self.train_data.dtype:
      raise errors.ConfigError(
        f'task.pseudo_data.dtype is {self.pseudo_data.dtype} and task.train_data.dtype {self.train_data.dtype}: the '
        'student sees images of both in one batch, so they must be equal.'
      )
    self.self_training.check('task.self_training')
    if self.self_training.online_teacher.enabled:
      self._check_online_teacher()

  def check_strategy(self, runtime: cfg.RuntimeConfig) -> None:
    """See `LabelledTask`."""
    super().check_strategy(runtime)
    is_compiled = runtime.distribution_strategy == 'tpu' or runtime.enable_xla
    if is_compiled and self.self_training.online_teacher.enabled:
      raise errors.ConfigError(
        f'{_ONLINE}.enabled: labels made during training were never compiled for a TPU or with runtime.enable_xla; '
        'train with labels on disk there.'
      )

  def _check_online_teacher(self) -> None:
    """Raises ConfigError for augmentation after which the place of a teacher's label is not known."""
    settings, name = self.pseudo_data.augmentation, 'task.pseudo_data.augmentation'
    if settings.mixes():
      raise errors.ConfigError(
        f'{_ONLINE}.enabled: the teacher labels one image at a time; copy_paste_probability, mosaic_probability and '
        f'mixup_probability of {name} must be 0, and keras_cv.layers must mix no images.'
      )
    if settings.faithful or settings.is_keras_cv:
      field = 'faithful' if settings.faithful else 'policy'
      raise errors.ConfigError(
        f'{_ONLINE}.enabled: labels follow the images through our own policies, which move an image once; choose S1 to '
        f'S4 or none for {name}.policy, and faithful=false. {name}.{field} is '
        f'{getattr(settings, field)!r}.'
      )


def supervised(task: cfg.TaskConfig, kind: type[_Task]) -> _Task:
  """A task of `kind` with the settings that `task`, of a subclass, shares with it."""
  shared = {field.name for field in dataclasses.fields(kind)}
  result = kind()
  result.override({name: value for name, value in task.as_dict().items() if name in shared})
  return result


def batch_norm_warning(task: cfg.TaskConfig, num_replicas: int) -> str | None:
  """A warning for trainings with too few images per replica for batch norm.

  Args:
    task: the task of one training, whose batches are those of a step over all replicas.
    num_replicas: replicas that share a step.

  Returns:
    A sentence, or None if batch norm is synchronised or sees at least `MIN_BATCH_NORM_IMAGES`.
  """
  batches = {name: stream.global_batch_size for name, stream in _training_streams(task).items()}
  separate = hasattr(task, 'self_training') and task.self_training.separate_batch_norm
  parts = getattr(task, 'gradient_accumulation_steps', 1)
  images = (min if separate else sum)(batches.values()) / (num_replicas * parts)
  norm = task.model.norm_activation
  if images >= MIN_BATCH_NORM_IMAGES or (norm.use_sync_bn and num_replicas > 1):
    return None
  advice = 'a larger batch'
  if num_replicas > 1:
    advice = f'task.model.norm_activation.use_sync_bn=true, or {advice}'
  named = ', '.join(f'{name}.global_batch_size={size}' for name, size in batches.items())
  return (
    f'{named} on {num_replicas} replica{"s" if num_replicas > 1 else ""}: batch norm sees {images:g} images at a time, '
    f'and below {MIN_BATCH_NORM_IMAGES} its statistics are noisy. Choose {advice}.'
  )
