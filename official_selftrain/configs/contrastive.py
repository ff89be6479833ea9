"""Settings and registered experiment of SimCLR, which pre-trains a backbone without any labels."""

import dataclasses
from typing import ClassVar

from official.core import config_definitions as cfg
from official.modeling import hyperparams, optimization

from official_selftrain.configs import (
  bounds,
  classification,
  inputs,
  tasks,
  trainers,
)
from official_selftrain.core import errors


@dataclasses.dataclass
class Views(hyperparams.Config):
  """The random views of an image (Chen et al. 2020, appendix A).

  Attributes:
    crop_min_area: smallest share of the image's area that a view shows.
    crop_max_area: largest share.
    flip_probability: chance of mirroring; set it to 0 where left and right have a meaning.
    colour_strength: of the distortion of colours, see `augment.views.distort_colours`; 1 for ImageNet, less for small
      images.
    colour_probability: chance of that distortion.
    grey_probability: chance of a grey view.
    blur_probability: chance of a Gaussian blur.
    blur_sigma: smallest and largest sigma of the blur, in pixels of the view.
    blur_kernel: width of its kernel over the view's shorter side.
  """

  crop_min_area: float = 0.08
  crop_max_area: float = 1.0
  flip_probability: float = 0.5
  colour_strength: float = 1.0
  colour_probability: float = 0.8
  grey_probability: float = 0.2
  blur_probability: float = 0.5
  blur_sigma: list[float] = dataclasses.field(default_factory=lambda: [0.1, 2.0])
  blur_kernel: float = 0.1

  def check(self, prefix: str) -> None:
    """Raises ConfigError for a value out of range; `prefix` is the dotted name of this config."""
    for name in ('flip', 'colour', 'grey', 'blur'):
      chance = getattr(self, f'{name}_probability')
      if not 0 <= chance <= 1:
        raise errors.ConfigError(f'{prefix}.{name}_probability is {chance}: it must be in [0, 1].')
    if not 0 < self.crop_min_area <= self.crop_max_area <= 1:
      raise errors.ConfigError(
        f'{prefix}.crop_min_area is {self.crop_min_area} and {prefix}.crop_max_area is {self.crop_max_area}: they must '
        'be shares, 0 < smallest <= largest <= 1.'
      )
    if not self.colour_strength >= 0:
      raise errors.ConfigError(
        f'{prefix}.colour_strength is {self.colour_strength}: it must be at least 0.'
      )
    sigma = self.blur_sigma
    if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
      raise errors.ConfigError(
        f'{prefix}.blur_sigma is {sigma}: it must be two numbers, 0 < smallest <= largest.'
      )
    if not 0 < self.blur_kernel <= 1:
      raise errors.ConfigError(f'{prefix}.blur_kernel is {self.blur_kernel}: it must be in (0, 1].')


@dataclasses.dataclass
class DataConfig(inputs.Stream, cfg.DataConfig):
  """A stream of images; records may have labels, which are not read.

  Attributes:
    views: what is done to an image, twice. A policy of keras-cv in `augmentation` takes its place in training; no other
      policy can be chosen, and validation images always get these.
  """

  file_type: str = 'tfrecord'
  dtype: str = 'float32'
  views: Views = dataclasses.field(default_factory=Views)


@dataclasses.dataclass
class Projection(hyperparams.Config):
  """The head between backbone and loss, which is thrown away afterwards.

  Attributes:
    num_layers: dense layers with batch norm, and ReLU between them; 2 in SimCLR and 3 in its second version.
    hidden_size: width of all layers but the last.
    output_size: width of the last.
  """

  num_layers: int = 2
  hidden_size: int = 2048
  output_size: int = 128


@dataclasses.dataclass
class ContrastiveModel(classification.ClassificationModel):
  """A backbone as in `ClassificationModel`, without classes.

  Attributes:
    projection: the head.
  """

  projection: Projection = dataclasses.field(default_factory=Projection)


@dataclasses.dataclass
class Losses(hyperparams.Config):
  """The loss.

  Attributes:
    temperature: of NT-Xent.
    l2_weight_decay: factor of half the sum of squared kernels; 0 where the optimizer has its own, as LARS does.
    loss_weight: factor of everything.
  """

  temperature: float = 0.1
  l2_weight_decay: float = 0.0
  loss_weight: float = 1.0


@dataclasses.dataclass
class ContrastiveTask(tasks.LabelledTask, cfg.TaskConfig):
  """SimCLR on images without labels, with reproducible streams."""

  # Any data card will do: labels are not read.
  data_kind: ClassVar[str] = ''
  first_class: ClassVar[int] = 0

  model: ContrastiveModel = dataclasses.field(default_factory=ContrastiveModel)
  losses: Losses = dataclasses.field(default_factory=Losses)
  train_data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(is_training=True))
  validation_data: DataConfig = dataclasses.field(
    default_factory=lambda: DataConfig(is_training=False, drop_remainder=False)
  )
  init_checkpoint_modules: str = 'all'

  def check_stream(self, stream: DataConfig, name: str) -> None:
    """See `LabelledTask`."""
    stream.views.check(f'{name}.views')
    if stream.tfds_name:
      raise errors.ConfigError(f'{name}.tfds_name: SimCLR reads TFRecord files; use input_path.')
    if stream.global_batch_size < 2:
      raise errors.ConfigError(
        f'{name}.global_batch_size is {stream.global_batch_size}: SimCLR compares images of a batch with each other, '
        'so it must be at least 2, better hundreds.'
      )
    augmentation = stream.augmentation
    if augmentation.policy != 'none' and not augmentation.is_keras_cv:
      raise errors.ConfigError(
        f"{name}.augmentation.policy is {augmentation.policy!r}: it must be 'none'; views have their own "
        f"settings, {name}.views. Or 'keras_cv', whose layers then make both views."
      )
    if augmentation.mixes():
      raise errors.ConfigError(
        f'{name}.augmentation: views are of one image; nothing may mix images.'
      )

  def check_model(self) -> None:
    """See `LabelledTask`."""
    self.model.check_size('task.model')
    projection = self.model.projection
    bounds.check_at_least(
      1, projection, 'task.model.projection', 'num_layers', 'hidden_size', 'output_size'
    )
    if not self.losses.temperature > 0:
      raise errors.ConfigError(
        f'task.losses.temperature is {self.losses.temperature}: it must be above 0.'
      )


def lars(
  train_steps: int, learning_rate: float, warmup_steps: int, rhythm: trainers.Rhythm
) -> cfg.TrainerConfig:
  """SimCLR's optimizer: LARS, which leaves biases and batch norm as SGD has them, linear warm-up and cosine decay.

  Args:
    train_steps: length of the training.
    learning_rate: at the end of the warm-up; 0.3 times the batch over 256 in the paper.
    warmup_steps: length of the warm-up.
    rhythm: see `trainers.trainer`.
  """
  trainer = trainers.trainer(train_steps, trainers.Sgd(learning_rate, warmup_steps), rhythm)
  without = ['gamma:', 'beta:', 'bias:']
  trainer.optimizer_config.optimizer = optimization.OptimizationConfig(
    {
      'optimizer': {
        'type': 'lars',
        'lars': {
          'momentum': 0.9,
          'weight_decay_rate': 1e-6,
          'exclude_from_weight_decay': without,
          'exclude_from_layer_adaptation': without,
        },
      }
    }
  ).optimizer
  return trainer
