"""Settings of joint training: images with one class each share the backbone of a detector or segmenter."""

import dataclasses

from official.modeling import hyperparams

from official_selftrain.configs import classification, families, inputs
from official_selftrain.core import errors

# Below `task`.
FIELD = 'joint'


@dataclasses.dataclass
class Joint(hyperparams.Config):
  """A classifier on the shared backbone (paper section 5 and Table 7).

  Its loss times `weight` is added to the loss of the task, outside the normalised loss of self-training. Its images
  pass through the backbone by themselves, with their own batch statistics; the moving statistics of batch norm stay
  those of the task's images.

  Attributes:
    weight: factor of its loss; the paper has 0.5, and 0.2 with self-training. 0 leaves it out altogether.
    card: directory of class folders that `python -m official_selftrain.datasets.prepare` made; its data card gives
      `data.input_path` and `num_classes`. Empty without one.
    num_classes: number of classes, which count from 0.
    input_size: [height, width] of its images; empty takes those of `task.model.input_size`.
    dropout_rate: share of the pooled features that training leaves out.
    label_smoothing: share of the target that is spread over all classes.
    data: the stream of images; with empty paths everywhere it is the embedded one of single digits. Its batch comes on
      top of the others.
  """

  weight: float = 0.0
  card: str = ''
  num_classes: int = 10
  input_size: list[int] = dataclasses.field(default_factory=list)
  dropout_rate: float = 0.0
  label_smoothing: float = 0.0
  data: classification.DataConfig = dataclasses.field(
    default_factory=lambda: classification.DataConfig(is_training=True, global_batch_size=8)
  )

  def check(self, prefix: str) -> None:
    """Raises ConfigError for a value out of range; `prefix` is the dotted name of this config."""
    if not self.weight >= 0:
      raise errors.ConfigError(
        f'{prefix}.weight is {self.weight}: it must be at least 0, and 0 trains without the classifier.'
      )
    classification.check_num_classes(self.num_classes, f'{prefix}.num_classes')
    for name in ('dropout_rate', 'label_smoothing'):
      classification.check_share(getattr(self, name), f'{prefix}.{name}')
    size = self.input_size
    if size and (len(size) != 2 or min(size) < 1):
      raise errors.ConfigError(
        f'{prefix}.input_size is {size}: it must be height and width, or empty for those of task.model.'
      )
    if not self.data.is_training:
      raise errors.ConfigError(f'{prefix}.data.is_training is false: the stream is for training.')
    inputs.check(self.data, f'{prefix}.data')
    classification.check_stream(self.data, f'{prefix}.data')
    classification.check_augmentation(self.data.augmentation, f'{prefix}.data.augmentation')


@dataclasses.dataclass
class JointTask(hyperparams.Config):
  """Ours in a task whose backbone a classifier may share.

  Attributes:
    joint: the classifier and its images.
  """

  joint: Joint = dataclasses.field(default_factory=Joint)

  def check(self) -> None:
    """See `LabelledTask`."""
    super().check()
    self.joint.check(f'task.{FIELD}')
    if self.joint.weight and self.joint.input_size:
      families.check_image_size(self.model, self.joint.input_size, f'task.{FIELD}.input_size')


def model_of(task: JointTask) -> classification.ClassificationModel:
  """The settings of a classifier for images of the joint stream, which tell its parser classes and size."""
  joint = task.joint
  size = [*(joint.input_size or task.model.input_size[:2]), 3]
  return classification.ClassificationModel(num_classes=joint.num_classes, input_size=size)
