"""Settings of a self-training run that do not depend on the task."""

import dataclasses
from typing import Any, Literal, Optional

from absl import logging
from official.core import config_definitions as cfg
from official.modeling import hyperparams

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import bounds, datasets, inputs
from official_selftrain.core import comparison, errors

# The parts of a model that can be loaded alone.
INIT_MODULES = ('backbone', 'decoder')

StudentInit = Literal['teacher', 'checkpoint', 'random']


@dataclasses.dataclass
class OnlineTeacher(hyperparams.Config):
  """Labels that a moving average of the student makes in each step, in place of those on disk.

  Beyond the paper: the mean teacher of Tarvainen & Valpola (2017), which labels a weakly augmented view of each
  unlabelled image while the student learns from a strongly augmented one (Liu et al. 2021 for detection). Cuts, loss
  and images are those of the labels on disk, which teach until `warmup_steps` are over.

  Attributes:
    enabled: off by default.
    decay: weight of the past in each update of the average, in [0, 1]; it looks back on about 1 / (1 - decay) steps.
    warmup_steps: steps before the average labels. During them its decay is at most (1 + n) / (10 + n) after n steps, so
      that it forgets where a student from random weights began. 0 for a student that starts from its teacher.
  """

  enabled: bool = False
  decay: float = 0.999
  warmup_steps: int = 0

  def check(self, prefix: str) -> None:
    """Raises ConfigError for a value out of range; `prefix` is the dotted name of this config."""
    if not 0 <= self.decay <= 1:
      raise errors.ConfigError(f'{prefix}.decay is {self.decay}: it must be in [0, 1].')
    bounds.check_at_least(0, self, prefix, 'warmup_steps')


@dataclasses.dataclass
class SelfTraining(hyperparams.Config):
  """The normalised two-source loss and how the student starts (paper section 3.2, appendices B and C).

  Attributes:
    alpha: weight of the pseudo loss, >= 0. The paper searches 0.25 to 3; the best value falls with stronger
      augmentation and rises with longer training.
    alpha_decay_steps: steps of the student in which alpha falls linearly to 0, beyond the paper, so that it ends on
      human labels; null takes its whole training, 0 keeps alpha as it is. With alpha the divisor 1 + alpha falls: the
      human loss weighs 1 at the end, and 1 / (1 + alpha) before.
    ema_decay: decay of the moving averages of both losses, in [0, 1).
    normalize_loss: scale the pseudo loss by the ratio of the averages and divide by 1 + alpha; off gives the plain
      sum, which diverges at large alpha.
    separate_batch_norm: normalise each source with its own batch statistics (two forward passes instead of one); the
      moving statistics kept for inference are then those of the human images.
    student_init: where student and control start: `teacher`, `checkpoint` (`task.init_checkpoint`) or `random`.
    online_teacher: labels made during the student's training.
  """

  alpha: float = 1.0
  alpha_decay_steps: int | None = 0
  ema_decay: float = 0.9997
  normalize_loss: bool = True
  separate_batch_norm: bool = False
  student_init: StudentInit = 'teacher'
  online_teacher: OnlineTeacher = dataclasses.field(default_factory=OnlineTeacher)

  def check(self, prefix: str) -> None:
    """Raises ConfigError for a value out of range; `prefix` is the dotted name of this config."""
    if not self.alpha >= 0:
      raise errors.ConfigError(f'{prefix}.alpha is {self.alpha}: it must be at least 0.')
    if self.alpha_decay_steps is not None and self.alpha_decay_steps < 0:
      raise errors.ConfigError(
        f'{prefix}.alpha_decay_steps is {self.alpha_decay_steps}: it must be at least 0, or null for the whole '
        'training.'
      )
    if not 0 <= self.ema_decay < 1:
      raise errors.ConfigError(f'{prefix}.ema_decay is {self.ema_decay}: it must be in [0, 1).')
    self.online_teacher.check(f'{prefix}.online_teacher')


@dataclasses.dataclass
class Dataset(hyperparams.Config):
  """The embedded data set, used where the input paths of the task are empty, and facts about any data set.

  Attributes:
    card: directory of a data set that `python -m official_selftrain.datasets.prepare` made; its data card gives input
      paths, number of classes and class names, which other settings can replace. Empty without one.
    name: `digits`, or `none` when the task's own input paths must be given.
    directory: where it is written on first use; empty puts it next to the run directory.
    digits: its size and looks.
    digit_classes: images of single digits in these looks, for experiments of classification.
    class_names: names in the order of class ids from 1, without the background; empty shows the ids; the embedded data
      set brings its own.
    invalid_ops: augmentation ops that would change what the labels mean, in the embedded or in your own data: `Flip`
      for text, for example. No policy of any stream uses them. The digits bring their own.
  """

  card: str = ''
  name: Literal['digits', 'none'] = 'digits'
  directory: str = ''
  digits: datasets.Digits = dataclasses.field(default_factory=datasets.Digits)
  digit_classes: datasets.DigitClasses = dataclasses.field(default_factory=datasets.DigitClasses)
  class_names: list[str] = dataclasses.field(default_factory=list)
  invalid_ops: list[str] = dataclasses.field(default_factory=list)

  def check(self, prefix: str, num_classes: int, first_class: int = 1) -> None:
    """Raises ConfigError for class names that are not one for each class.

    Args:
      prefix: the dotted name of this config.
      num_classes: of `task.model`.
      first_class: the first class that has a name here: 1 where class 0 is the background.
    """
    names, field = self.class_names, f'{prefix}.class_names'
    if not names:
      return
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
      raise errors.ConfigError(
        f'{field} has {", ".join(map(repr, repeated))} more than once: each class needs a different name.'
      )
    if not all(name.strip() for name in names):
      raise errors.ConfigError(
        f'{field} has an empty name at place {[not name.strip() for name in names].index(True) + 1}: name every class, '
        'or none.'
      )
    if len(names) != num_classes - first_class:
      background = ' and without the background' if first_class else ''
      raise errors.ConfigError(
        f'{field} has {len(names)} names and task.model.num_classes is {num_classes}: give one name for each class '
        f'from {first_class} to {num_classes - 1}, in this order{background}; ids without a class need a name too.'
      )


@dataclasses.dataclass
class Teacher(hyperparams.Config):
  """Settings of the teacher.

  Attributes:
    checkpoint: a finished teacher (file prefix or directory) with the model of `task.model`; empty trains one.
    init_checkpoint: what a teacher that is trained starts from; empty starts from random weights.
    init_checkpoint_modules: `all` or `backbone`.
    global_batch_size: labelled images per step; 0 takes that of human and pseudo stream together.
    augmentation: of the images that it learns from; null takes the student's `task.train_data.augmentation`. With
      policy `none` flip and jitter are those of `task.train_data`.
    trainer: its training schedule.
  """

  checkpoint: str = ''
  init_checkpoint: str = ''
  init_checkpoint_modules: str = 'all'
  global_batch_size: int = 0
  # Not `| None`, in which the Model Garden does not find the class when a config is copied.
  augmentation: Optional[aug.Augmentation] = None  # noqa: UP045
  trainer: cfg.TrainerConfig = dataclasses.field(default_factory=cfg.TrainerConfig)


@dataclasses.dataclass
class Labelling(hyperparams.Config):
  """Settings of making pseudo labels; each task adds its own.

  Attributes:
    batch_size: images per call of the teacher.
  """

  batch_size: int = 32

  def check(self, prefix: str, pseudo: inputs.PseudoStream) -> None:
    """Raises ConfigError for a value out of range, or one that contradicts how the labels will be read.

    Args:
      prefix: the dotted name of this config.
      pseudo: `task.pseudo_data`.
    """
    del pseudo
    bounds.check_at_least(1, self, prefix, 'batch_size')

  def deciding(self) -> tuple[str, ...]:
    """Names of the fields that label files depend on; changing another one keeps the labels."""
    return ()

  def reaching(self, model: hyperparams.Config) -> dict[str, Any]:
    """What labels further depend on, by name, where these settings reach beyond those of `task.model`."""
    del model
    return {}

  def gating(self) -> tuple[str, ...]:
    """Names of the fields that the gate depends on."""
    return ()

  def gate(self) -> dict[str, float]:
    """Limits that labels must reach before a student is trained: arguments of `pseudo_labels.quality.gate`."""
    return {}


@dataclasses.dataclass
class Control(hyperparams.Config):
  """The honest baseline: starts like the student and trains as long, on human labels only.

  Attributes:
    enabled: without it no report can say whether self-training helped.
    global_batch_size: labelled images per step; 0 takes that of human and pseudo stream together, so that control
      and student see as many images.
  """

  enabled: bool = True
  global_batch_size: int = 0


@dataclasses.dataclass
class Ceiling(hyperparams.Config):
  """What could be reached if people labelled more images, so that a reader sees which share of them is replaced.

  A model that starts and is trained like the teacher, with as many steps as the control has had at its end: those of
  teacher and control of all rounds, or of the control alone where it starts anew. The teacher's schedule is stretched
  to them. Without files there is none.

  Attributes:
    card: directory of prepared data with more labelled images and the same validation images.
    input_path: its labelled TFRecords; a card fills it in.
  """

  card: str = ''
  input_path: str = ''

  @property
  def enabled(self) -> bool:
    """Whether there is one."""
    return bool(self.input_path)


@dataclasses.dataclass
class Report(hyperparams.Config):
  """Settings of the report.

  Attributes:
    primary_metric: the evaluator's metric that the verdict is about; there is a verdict only for those of
      `core.comparison.METRICS`.
    num_pictures: images per group of the contact sheets.
    training_pictures: for TensorBoard, images of each stream at the start and validation images of each evaluation; 0
      writes neither these nor SimCLR's views, precision by recall and confusions.
    unlabelled_truth: COCO JSON with held-out truth for the unlabelled images, used only to judge the labels; the
      embedded data set brings its own.
  """

  primary_metric: str = 'AP'
  num_pictures: int = 8
  training_pictures: int = 8
  unlabelled_truth: str = ''

  def check(self, prefix: str) -> None:
    """Warns about a metric that no verdict can rest on; `prefix` is the dotted name of this config.

    Raises:
      ConfigError: a number of pictures is negative.
    """
    for name in ('num_pictures', 'training_pictures'):
      if getattr(self, name) < 0:
        raise errors.ConfigError(
          f'{prefix}.{name} is {getattr(self, name)}: it must not be negative.'
        )
    if self.primary_metric not in comparison.METRICS:
      *first, last = comparison.METRICS
      logging.warning(
        '%s.primary_metric is %r: the report will not say whether self-training helped, because only %s and %s can be '
        'resampled by image.',
        prefix,
        self.primary_metric,
        ', '.join(first),
        last,
      )


@dataclasses.dataclass
class Export(hyperparams.Config):
  """The student's SavedModel.

  Attributes:
    enabled: write it at the end of the run.
    input_type: `image_bytes` (encoded JPEG or PNG) or `image_tensor` (uint8 pixels).
    batch_size: fixed batch, or null for any.
  """

  enabled: bool = True
  input_type: Literal['image_bytes', 'image_tensor'] = 'image_bytes'
  batch_size: int | None = None


def check_scales(scales: list[float], prefix: str) -> None:
  """Raises ConfigError unless there are scales, all of them positive."""
  if not scales or any(scale <= 0 for scale in scales):
    raise errors.ConfigError(f'{prefix}.scales is {scales}: it must be a list of positive numbers.')


def check_init_modules(modules: str | list[str], name: str) -> None:
  """Raises ConfigError for parts that no model has; the Model Garden would load nothing, silently."""
  named = [modules] if isinstance(modules, str) else list(modules)
  allowed = ('all', *INIT_MODULES)
  if (
    not named
    or any(module not in allowed for module in named)
    or ('all' in named and len(named) > 1)
  ):
    raise errors.ConfigError(
      f"{name} is {modules!r}: allowed are 'all', or 'backbone' and 'decoder'."
    )


def check_averages(trainer: cfg.TrainerConfig, prefix: str, runtime: cfg.RuntimeConfig) -> None:
  """Raises ConfigError where the Model Garden could not average weights, `optimizer_config.ema`."""
  ema, name = trainer.optimizer_config.ema, f'{prefix}.optimizer_config.ema'
  if ema is None:
    return
  if not 0 <= ema.average_decay < 1:
    raise errors.ConfigError(f'{name}.average_decay is {ema.average_decay}: it must be in [0, 1).')
  if not ema.dynamic_decay and ema.start_step < 1:
    raise errors.ConfigError(
      f'{name}: averages begin at zero, which the first steps must outweigh. Leave dynamic_decay on, or set start_step '
      'to 1 or more.'
    )
  if runtime.mixed_precision_dtype == 'float16':
    raise errors.ConfigError(
      f'{name} does not go with runtime.mixed_precision_dtype=float16, whose loss scaling hides the averages from the '
      "Model Garden's trainer: use bfloat16 or null."
    )


def input_streams(task: cfg.TaskConfig) -> dict[str, cfg.DataConfig]:
  """The data configs that a task reads, by dotted name: that of joint training, if it is used, after its own."""
  found = own_streams(task)
  joint = getattr(task, 'joint', None)
  if joint is not None and joint.weight:
    found['task.joint.data'] = joint.data
  return found


def own_streams(task: cfg.TaskConfig) -> dict[str, cfg.DataConfig]:
  """The data configs of a task's own kind by dotted name, whatever they are called: validation last."""
  names = [field.name for field in dataclasses.fields(task)]
  names.sort(key=lambda name: name == 'validation_data')
  found = {f'task.{name}': getattr(task, name) for name in names}
  return {name: value for name, value in found.items() if isinstance(value, cfg.DataConfig)}
