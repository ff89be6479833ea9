"""Settings of the backbone that teacher, control and student start from."""

import dataclasses

from official.core import config_definitions as cfg
from official.modeling import hyperparams

from official_selftrain.configs import classification, contrastive, families
from official_selftrain.core import errors

SUPERVISED, SIMCLR, IMAGENET, NOISY_STUDENT = 'supervised', 'simclr', 'imagenet', 'noisy_student'
RANDOM = 'random'
# Those that a run can train itself, before the teacher.
TRAINED = (SUPERVISED, SIMCLR)
NAMES = (RANDOM, IMAGENET, *TRAINED, NOISY_STUDENT)
# Files of weights that are imported; everything else is a checkpoint.
FOREIGN_FILES = ('.npz', '.h5')

# Settings of `task.model` that decide the backbone; not every model has all.
_OF_BACKBONE = ('family', 'backbone', 'norm_activation')
_OF_KERAS_CV = ('keras_cv', 'min_level', 'max_level', 'decoder')


@dataclasses.dataclass
class Supervised(hyperparams.Config):
  """Classification of whole images, as `classification_pretrain`.

  Attributes:
    card: directory of class folders that `python -m official_selftrain.datasets.prepare` made; its data card gives
      input paths and number of classes. Empty without one.
    task: the task. Its backbone is that of the run's `task.model`; an empty `model.input_size` takes the run's, too.
      Empty input paths mean the embedded images of single digits.
    trainer: its training schedule.
  """

  card: str = ''
  task: classification.ClassificationTask = dataclasses.field(
    default_factory=classification.ClassificationTask
  )
  trainer: cfg.TrainerConfig = dataclasses.field(default_factory=cfg.TrainerConfig)


@dataclasses.dataclass
class SimClr(hyperparams.Config):
  """SimCLR on images without labels, as `simclr_pretrain`.

  Attributes:
    task: the task. Its backbone is that of the run's `task.model`; an empty `model.input_size` takes the run's, too.
      Empty input paths mean the run's unlabelled images, and its validation images for the loss that is watched.
    trainer: its training schedule.
  """

  task: contrastive.ContrastiveTask = dataclasses.field(default_factory=contrastive.ContrastiveTask)
  trainer: cfg.TrainerConfig = dataclasses.field(default_factory=cfg.TrainerConfig)


@dataclasses.dataclass
class Pretraining(hyperparams.Config):
  """Where the backbone comes from that `init` names.

  Attributes:
    checkpoint: a checkpoint of an earlier run or import (file prefix or directory), or for `imagenet` a file of weights
      that `import_weights` reads. Empty trains it in this run (`supervised`, `simclr`) or downloads it (`imagenet`).
    supervised: how `supervised` is trained.
    simclr: how `simclr` is trained.
  """

  checkpoint: str = ''
  supervised: Supervised = dataclasses.field(default_factory=Supervised)
  simclr: SimClr = dataclasses.field(default_factory=SimClr)

  def check(self, prefix: str, init: str, model: hyperparams.Config) -> None:
    """Raises ConfigError for settings that do not go together with `init` and with the run's model.

    Args:
      prefix: the dotted name of this config.
      init: the setting that names the backbone.
      model: `task.model`.
    """
    is_named = init in NAMES and init != RANDOM
    if self.checkpoint and not is_named:
      named = ', '.join(name for name in NAMES if name != RANDOM)
      raise errors.ConfigError(
        f'{prefix}.checkpoint is given, but init is {init!r}: it must be one of {named}. A checkpoint can also be '
        'given as init itself.'
      )
    if init == NOISY_STUDENT and not self.checkpoint:
      raise errors.ConfigError(
        f'init is {init!r}, which cannot be trained or downloaded here: import a checkpoint of it with python -m '
        f'official_selftrain.import_tf1, and name the folder in {prefix}.checkpoint.'
      )
    if init == IMAGENET and not self.checkpoint:
      _check_download(prefix, model)
    if self.is_trained(init):
      section = getattr(self, init)
      task = task_for(section, model)
      own_size = f'{prefix}.{init}.task.model.input_size'
      families.check_image_size(model, task.model.input_size, own_size)
      if self.has_files(init) and not task.validation_data.input_path:
        raise errors.ConfigError(
          f'{prefix}.{init}.task.validation_data.input_path: empty although train_data.input_path names files.'
        )
      if not self.has_files(init):
        # They come from the run, which is checked itself.
        task.train_data.input_path = task.validation_data.input_path = 'images of the run'
      try:
        task.check()
      except errors.ConfigError as error:
        raise errors.ConfigError(f'{prefix}.{init}: {error}') from error

  def is_trained(self, init: str) -> bool:
    """Whether this run trains the backbone that `init` names."""
    return init in TRAINED and not self.checkpoint

  def is_imported(self, init: str) -> bool:
    """Whether this run imports or downloads it."""
    return init == IMAGENET and (not self.checkpoint or self.checkpoint.endswith(FOREIGN_FILES))

  def has_files(self, init: str) -> bool:
    """Whether the images to train it on are named."""
    return bool(getattr(self, init).task.train_data.input_path)


def task_for(
  section: Supervised | SimClr, model: hyperparams.Config
) -> classification.ClassificationTask | contrastive.ContrastiveTask:
  """The task of a pre-training with the backbone of a run; its own copy.

  Args:
    section: `pretraining.supervised` or `pretraining.simclr`.
    model: `task.model` of the run.
  """
  task = section.task.replace()
  task.model.override({name: model.as_dict()[name] for name in backbone_settings(model)})
  if not task.model.input_size:
    task.model.input_size = list(model.input_size)
  return task


def backbone_settings(model: hyperparams.Config) -> tuple[str, ...]:
  """Names of the settings of a `task.model` that decide its backbone."""
  is_keras_cv = families.of(model) is families.KERAS_CV
  return (*_OF_BACKBONE, *(_OF_KERAS_CV if is_keras_cv else ()))


def is_path(init: str) -> bool:
  """Whether `init` is a checkpoint itself."""
  return bool(init) and init not in NAMES


def _check_download(prefix: str, model: hyperparams.Config) -> None:
  """Raises ConfigError for a backbone that Keras offers no weights of."""
  ids = tuple(f'b{number}' for number in range(8))
  is_offered = (
    model.family == families.ORIGINAL.name
    and model.backbone.type == 'efficientnet'
    and model.backbone.efficientnet.model_id in ids
  )
  if not is_offered:
    raise errors.ConfigError(
      f"init is 'imagenet' without {prefix}.checkpoint, which downloads EfficientNet-B0 to B7 for "
      f'task.model.family=original; task.model has {model.backbone.type} of family {model.family}. Import weights of '
      f'this backbone and name them in {prefix}.checkpoint.'
    )
