"""Settings of whole experiments: one model, or a run of self-training."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import logging
from official.core import config_definitions as cfg

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import (
  bounds,
  contrastive,
  digit_settings,
  inputs,
  object_sizes,
  prepared_data,
  runtimes,
)
from official_selftrain.configs import calibration as calibration_lib
from official_selftrain.configs import pretraining as pretraining_lib
from official_selftrain.configs import self_training as st
from official_selftrain.configs import tasks as task_configs
from official_selftrain.core import errors

_CARD = 'dataset.card'
_FILES = ('task.train_data.input_path', 'task.validation_data.input_path')
_PSEUDO_FILES = 'task.pseudo_data.input_path'
_NAMES, _NUM_CLASSES = 'dataset.class_names', 'task.model.num_classes'


@dataclasses.dataclass
class SupervisedExperiment(cfg.ExperimentConfig):
  """One model on labelled data: what the Model Garden offers, plus a seed and the embedded data.

  Attributes:
    experiment: the name it is registered under; recorded so that a run directory can be loaded again.
    seed: of weights, order and augmentation.
    init: what the model starts from: a checkpoint (file prefix or directory) that gives its backbone, or `random`.
      Empty leaves it to `task.init_checkpoint`. Experiments of self-training have further values, see there.
    dataset: the embedded data set.
  """

  experiment: str = ''
  seed: int = 0
  init: str = ''
  dataset: st.Dataset = dataclasses.field(default_factory=st.Dataset)

  def data_overrides(self, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that come from data cards, see `prepared_data`; those of files and command line win.

    Args:
      settings: all that files and command line set, by dotted name.

    Returns:
      Nested overrides; empty without a card, and where all that it says is set already, as in the params.yaml of a
      run, whose card may have been moved.
    """
    found: dict[str, Any] = {}
    directory = settings.get(_CARD, '')
    said = _FILES + ((_PSEUDO_FILES,) if hasattr(self.task, 'pseudo_data') else ())
    said += (_NAMES, _NUM_CLASSES) if self.task.data_kind else ()
    if directory and not all(settings.get(name) for name in said):
      found = prepared_data.overrides(self, directory)
    directory = settings.get('task.joint.card', '')
    if directory and not settings.get('task.joint.data.input_path'):
      found.setdefault('task', {})['joint'] = prepared_data.joint_overrides(directory)
    directory = settings.get('pretraining.supervised.card', '')
    if directory and not settings.get('pretraining.supervised.task.train_data.input_path'):
      task = prepared_data.class_overrides(directory)
      found['pretraining'] = {'supervised': {'task': task}}
    directory = settings.get('ceiling.card', '')
    if directory and not settings.get('ceiling.input_path'):
      found['ceiling'] = prepared_data.ceiling_overrides(settings.get(_CARD, ''), directory)
    return found

  def check(self) -> None:
    """Raises ConfigError for settings that contradict each other."""
    check_paths(self)
    runtimes.check(self.runtime)
    for name, trainer in self.trainers().items():
      runtimes.check_trainer(trainer, name)
      st.check_averages(trainer, name, self.runtime)
    if isinstance(self.task, task_configs.LabelledTask):
      self.task.check()
      self.task.check_strategy(self.runtime)
    self.check_start()
    self.check_backbone_rate('trainer', self.trainer)
    first_class = getattr(self.task, 'first_class', 1)
    if self.task.model.num_classes:
      self.dataset.check('dataset', self.task.model.num_classes, first_class)
    joint = getattr(self.task, 'joint', None)
    if joint is not None and joint.card and not joint.weight:
      logging.warning('task.joint.card has no effect: task.joint.weight is 0.')
    if not uses_embedded_data(self):
      digit_settings.warn(self)
      object_sizes.warn(self)

  def trainers(self) -> dict[str, cfg.TrainerConfig]:
    """The settings of all trainings of the experiment by dotted name; not copies."""
    return {'trainer': self.trainer}

  def check_start(self) -> None:
    """Raises ConfigError for an `init` that this experiment does not have, or that contradicts other settings."""
    if self.init and self.task.init_checkpoint:
      raise errors.ConfigError(
        f'init is {self.init!r} and task.init_checkpoint {self.task.init_checkpoint!r}: give one of them.'
      )
    if self.init in pretraining_lib.NAMES and self.init != pretraining_lib.RANDOM:
      raise errors.ConfigError(
        f'init is {self.init!r}, which only experiments of self-training make by themselves; this one trains one '
        'model. Give the directory of a finished pre-training or import.'
      )

  def check_backbone_rate(self, name: str, trainer: cfg.TrainerConfig) -> None:
    """Raises ConfigError where a learning rate of the backbone alone would have no effect.

    Args:
      name: the trainer's dotted name.
      trainer: a trainer.
    """
    rate = getattr(self.task, 'backbone_learning_rate', 1.0)
    optimizer = trainer.optimizer_config.optimizer.type
    if rate != 1.0 and not optimizer.startswith('sgd'):
      raise errors.ConfigError(
        f'task.backbone_learning_rate is {rate} and {name}.optimizer_config.optimizer.type is {optimizer!r}, whose '
        'steps do not depend on the scale of gradients: it must be sgd.'
      )


@dataclasses.dataclass
class SelfTrainingExperiment(SupervisedExperiment):
  """Teacher, pseudo labels, control, student, report, export.

  `init` names the backbone that the teacher starts from, and control and student with `student_init: checkpoint`:
  `random`; `supervised` or `simclr`, which a stage of this run trains first; `imagenet`; `noisy_student`; or a
  checkpoint. `pretraining` says how each is made or found. Empty leaves it to `teacher.init_checkpoint` and
  `task.init_checkpoint`.

  `task` and `trainer` are those of student and control.

  Attributes:
    pretraining: the backbone that `init` names.
    teacher: the teacher.
    labels: the pseudo labels.
    calibration: cuts by class from labelled images, with `task.pseudo_data.cut: calibrated`.
    rounds: how often labels are made and a student is trained on them: the student of one round labels the images for
      the next. Each round has a control of equal steps.
    control: the honest baseline.
    ceiling: the model with more human labels.
    report: the report.
    export: the SavedModel.
  """

  pretraining: pretraining_lib.Pretraining = dataclasses.field(
    default_factory=pretraining_lib.Pretraining
  )
  teacher: st.Teacher = dataclasses.field(default_factory=st.Teacher)
  labels: st.Labelling = dataclasses.field(default_factory=st.Labelling)
  calibration: calibration_lib.Calibration = dataclasses.field(
    default_factory=calibration_lib.Calibration
  )
  rounds: int = 1
  control: st.Control = dataclasses.field(default_factory=st.Control)
  ceiling: st.Ceiling = dataclasses.field(default_factory=st.Ceiling)
  report: st.Report = dataclasses.field(default_factory=st.Report)
  export: st.Export = dataclasses.field(default_factory=st.Export)

  def check(self) -> None:
    super().check()
    runtimes.check_teachers(self.teacher.trainer, self.trainer)
    st.check_init_modules(self.teacher.init_checkpoint_modules, 'teacher.init_checkpoint_modules')
    if self.teacher.augmentation is not None:
      inputs.check_augmentation(self.teacher.augmentation, 'teacher.augmentation')
      self.task.check_augmentation(
        self.teacher.augmentation, 'teacher.augmentation', self.task.train_data
      )
    self.labels.check('labels', self.task.pseudo_data)
    self.calibration.check('calibration')
    self.calibration.check_use('calibration', self.task.pseudo_data, self.task.model.num_classes)
    if self.rounds < 1:
      raise errors.ConfigError(f'rounds is {self.rounds}: it must be at least 1.')
    # 0 takes that of the student.
    bounds.check_at_least(0, self.teacher, 'teacher', 'global_batch_size')
    bounds.check_at_least(0, self.control, 'control', 'global_batch_size')
    self.report.check('report')
    self._warn_of_online_teacher()
    self._warn_of_alpha()
    init = self.task.self_training.student_init
    if init == 'checkpoint' and not self.task.init_checkpoint and not self.has_init:
      raise errors.ConfigError(
        "task.self_training.student_init is 'checkpoint' but init and task.init_checkpoint are empty: name a start."
      )

  def _warn_of_alpha(self) -> None:
    settings, name = self.task.self_training, 'task.self_training.alpha_decay_steps'
    given, steps = settings.alpha_decay_steps, self.trainer.train_steps
    if given and given > steps:
      logging.warning(
        '%s is %d and the student trains for %d steps: alpha ends above 0. null makes it fall to 0.',
        name,
        given,
        steps,
      )
    if given != 0 and not settings.alpha:
      logging.warning('%s has no effect: task.self_training.alpha is 0.', name)

  def _warn_of_online_teacher(self) -> None:
    settings, online = self.task.self_training, self.task.self_training.online_teacher
    steps, name = self.trainer.train_steps, 'task.self_training.online_teacher'
    if not online.enabled:
      return
    if online.warmup_steps >= steps:
      logging.warning(
        '%s.warmup_steps is %d and the student trains for %d steps: labels on disk teach it all the time.',
        name,
        online.warmup_steps,
        steps,
      )
    if settings.student_init == 'random' and not online.warmup_steps:
      logging.warning(
        '%s.warmup_steps is 0 and the student starts from random weights, whose average labels nothing: choose so many '
        'steps that it has learned something.',
        name,
      )
    if online.decay == 1 or 2 / (1 - online.decay) > steps:
      back = 'all' if online.decay == 1 else f'{1 / (1 - online.decay):.0f}'
      logging.warning(
        '%s.decay is %.7g: the average looks back on %s steps, and the student trains for %d, so that its labels '
        'hardly change. Choose at most %.7g.',
        name,
        online.decay,
        back,
        steps,
        max(1 - 2 / steps, 0.0),
      )

  @property
  def has_init(self) -> bool:
    """Whether `init` names a backbone."""
    return self.init not in ('', pretraining_lib.RANDOM)

  def trainers(self) -> dict[str, cfg.TrainerConfig]:
    """See `SupervisedExperiment`."""
    found = {**super().trainers(), 'teacher.trainer': self.teacher.trainer}
    if self.trained_start is not None:
      found[f'pretraining.{self.init}.trainer'] = self.trained_start.trainer
    return found

  @property
  def trained_start(self) -> pretraining_lib.Supervised | pretraining_lib.SimClr | None:
    """How the backbone that `init` names is trained in this run; None if it is not."""
    is_trained = self.pretraining.is_trained(self.init)
    return getattr(self.pretraining, self.init) if is_trained else None

  def check_start(self) -> None:
    """See `SupervisedExperiment`."""
    for name, given in (
      ('teacher.init_checkpoint', self.teacher.init_checkpoint),
      ('task.init_checkpoint', self.task.init_checkpoint),
    ):
      if self.init and given:
        raise errors.ConfigError(f'init is {self.init!r} and {name} {given!r}: give one of them.')
    if self.task.init_checkpoint and self.student_starts_from != 'checkpoint':
      logging.warning(
        'task.init_checkpoint is %r, but no model starts from it: the teacher starts from teacher.init_checkpoint, and '
        'task.self_training.student_init is %r. init names one start for all models.',
        self.task.init_checkpoint,
        self.student_starts_from,
      )
    if self.has_init and self.teacher.checkpoint and self.student_starts_from != 'checkpoint':
      raise errors.ConfigError(
        f'init is {self.init!r}, but teacher.checkpoint gives a finished teacher, and no student starts from init: '
        "leave one out, or set task.self_training.student_init to 'checkpoint'."
      )
    if self.ceiling.enabled and self.teacher.checkpoint:
      raise errors.ConfigError(
        'ceiling.card and teacher.checkpoint are both given: a ceiling is trained like the teacher, and how that was '
        'trained is not known here. Leave one out.'
      )
    self.pretraining.check('pretraining', self.init, self.task.model)
    if (
      isinstance(self.trained_start, pretraining_lib.Supervised)
      and not self.pretraining.has_files(self.init)
      and not uses_embedded_data(self)
    ):
      raise errors.ConfigError(
        "init is 'supervised', but pretraining.supervised.card is empty: give images with one class each, prepared "
        'from class folders, or pretraining.supervised.task.train_data.input_path and validation_data.input_path.'
      )
    self.check_backbone_rate('teacher.trainer', self.teacher.trainer)

  @property
  def student_starts_from(self) -> st.StudentInit:
    """What control and student start from."""
    return self.task.self_training.student_init


def training_augmentations(experiment: SupervisedExperiment) -> dict[str, aug.Augmentation]:
  """Every augmentation that some model of the experiment is trained with, by dotted name; not copies."""
  found = {
    f'{name}.augmentation': stream.augmentation
    for name, stream in st.input_streams(experiment.task).items()
    if stream.is_training and hasattr(stream, 'augmentation')
  }
  if not isinstance(experiment, SelfTrainingExperiment):
    return found
  if experiment.teacher.augmentation is not None:
    found['teacher.augmentation'] = experiment.teacher.augmentation
  if experiment.trained_start is not None:
    name = f'pretraining.{experiment.init}.task.train_data.augmentation'
    found[name] = experiment.trained_start.task.train_data.augmentation
  return found


def training_views(experiment: SupervisedExperiment) -> list[contrastive.Views]:
  """The settings of all views by which some backbone of the experiment is trained; not copies."""
  tasks = [experiment.task]
  if isinstance(experiment, SelfTrainingExperiment) and experiment.init == pretraining_lib.SIMCLR:
    tasks.append(experiment.pretraining.simclr.task)
  found = [task for task in tasks if isinstance(task, contrastive.ContrastiveTask)]
  return [stream.views for task in found for stream in (task.train_data, task.validation_data)]


def uses_embedded_data(experiment: SupervisedExperiment) -> bool:
  """True when no input path is given and the embedded data set is on."""
  streams = st.input_streams(experiment.task).values()
  return experiment.dataset.name != 'none' and not any(s.input_path or s.tfds_name for s in streams)


def check_paths(experiment: SupervisedExperiment) -> None:
  """Raises ConfigError when only some input paths are given: embedded and own data must not be mixed silently."""
  streams = st.input_streams(experiment.task)
  missing = [
    name for name, stream in streams.items() if not (stream.input_path or stream.tfds_name)
  ]
  if len(missing) == len(streams) and experiment.dataset.name != 'none':
    return
  if missing:
    given = sorted(set(streams) - set(missing))
    reason = f'{", ".join(given)} name files' if given else "dataset.name is 'none'"
    raise errors.ConfigError(
      f'{", ".join(f"{name}.input_path" for name in missing)}: empty although {reason}. Give all input paths, or '
      "none of them with dataset.name='digits' to use the embedded data set."
    )
