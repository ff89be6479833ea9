"""Makes the training jobs of backbone, teacher, control and student from the settings of a self-training run."""

import dataclasses
import os

from official.core import config_definitions as cfg

from official_selftrain.configs import pretraining, runs
from official_selftrain.configs import self_training as st
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pipeline import graph, labelling, selftrain_graph, training
from official_selftrain.pipeline.selftrain_graph import (
  CALIBRATION_TEACHER,
  CEILING,
  CONTROL,
  PRETRAINING,
  STUDENT,
  TEACHER,
)
from official_selftrain.pseudo_labels import calibration, corrections

# Kinds of stages that train a model.
TRAINED = (PRETRAINING, TEACHER, CALIBRATION_TEACHER, CONTROL, STUDENT, CEILING)
# Families of streams: the control must not see the teacher's crops again, or its further steps would be worth less.
# Each round draws anew.
_TEACHER_FAMILY = 1
_ROUND_STRIDE = 2


@dataclasses.dataclass(frozen=True)
class Jobs:
  """Makes the jobs of one run.

  Attributes:
    params: the experiment, its input paths filled in.
    model_dir: the run directory.
    class_names: from id 1; empty if unknown.
  """

  params: runs.SelfTrainingExperiment
  model_dir: str
  class_names: tuple[str, ...] = ()

  def label_dir(self, round_number: int) -> str:
    """Folder of a round's labels: in the run, or where the settings say for the first round."""
    given = self.params.task.pseudo_data.label_dir
    if given and round_number == 1:
      return given
    return os.path.join(self.model_dir, selftrain_graph.labels_dir(round_number))

  def task(self, round_number: int = 1) -> cfg.TaskConfig:
    """The self-training task of a round; its own copy."""
    task = self.params.task.replace()
    task.pseudo_data.label_dir = self.label_dir(round_number)
    self._add_corrections(task, round_number)
    self._set_cuts(task)
    return task

  @property
  def calibration_dir(self) -> str:
    """Folder of the calibrated cuts."""
    return os.path.join(self.model_dir, selftrain_graph.CALIBRATION)

  def _set_cuts(self, task: cfg.TaskConfig) -> None:
    """Puts calibrated cuts, once they are known, in the place of the setting."""
    pseudo = task.pseudo_data
    found = calibration.load(self.calibration_dir) if pseudo.is_calibrated else None
    if found is None:
      return
    pseudo.cut = found.cut
    pseudo.class_cuts = found.class_cuts(task.model.num_classes)
    if getattr(pseudo, 'ignore_cut', None) is not None:
      pseudo.ignore_cut = found.ignore_cut

  def corrections(self, round_number: int) -> dict[str, corrections.Corrections]:
    """What people corrected in the rounds before one, by the folder it is in."""
    folders = [corrections.folder_of(self.label_dir(earlier)) for earlier in range(1, round_number)]
    found = {folder: corrections.load(folder) for folder in folders}
    return {folder: each for folder, each in found.items() if each is not None}

  def corrections_digest(self, round_number: int) -> str:
    """Digest of what people corrected in the labels of a round; '' if that is nothing."""
    found = corrections.load(corrections.folder_of(self.label_dir(round_number)))
    return found.digest() if found else ''

  def left_out(self, round_number: int) -> dict[str, str]:
    """Why images get no pseudo labels in a round, by id: people have decided about them."""
    found: dict[str, str] = {}
    for each in self.corrections(round_number).values():
      found |= each.reasons()
    return found

  def labelling(self, round_number: int, teacher: str) -> labelling.Request:
    """The job of labelling in a round; `teacher` is the prefix of a checkpoint."""
    params, task = self.params, self.task(round_number)
    images = tfrecords.match_files(task.pseudo_data.input_path, 'task.pseudo_data.input_path')
    return labelling.Request(
      task=task,
      labels=params.labels,
      teacher=teacher,
      images=tuple(images),
      output_dir=self.label_dir(round_number),
      class_names=self.class_names,
      runtime=params.runtime,
      seed=params.seed,
      left_out=self.left_out(round_number),
    )

  def _ceiling_steps(self) -> int:
    """As many as the control has had at the end, those of the teacher that it started from included."""
    params = self.params
    if params.student_starts_from != 'teacher':
      return params.trainer.train_steps
    return params.teacher.trainer.train_steps + params.rounds * params.trainer.train_steps

  def _add_corrections(self, task: cfg.TaskConfig, round_number: int) -> None:
    paths = [
      os.path.join(folder, name)
      for folder, each in self.corrections(round_number).items()
      for name in each.records
    ]
    if paths:
      task.train_data.corrected_path = ','.join(paths)

  def pretraining(self) -> training.Job:
    """The job of the backbone that `init` names, which must be one that is trained."""
    params = self.params
    section = params.trained_start
    assert section is not None
    task = pretraining.task_for(section, params.task.model)
    return training.Job(
      name=PRETRAINING,
      model_dir=os.path.join(self.model_dir, PRETRAINING),
      params=training.job_experiment(task, section.trainer, params.runtime),
      seed=params.seed,
      class_names=(),
      num_pictures=params.report.training_pictures,
    )

  def make(
    self, kind: str, round_number: int = 1, start: str = '', backbone: str = ''
  ) -> training.Job:
    """The job of a model.

    Args:
      kind: `pretraining`, `teacher`, `calibration_teacher`, `control`, `student` or `ceiling`.
      round_number: which round's.
      start: checkpoint that control or student start from if `student_init` is `teacher`; '' while nothing is trained.
      backbone: checkpoint of the backbone that `init` names, for models that start from it; '' without one.

    Returns:
      The job.
    """
    if kind == PRETRAINING:
      return self.pretraining()
    params = self.params
    is_teacher = kind in (TEACHER, CALIBRATION_TEACHER, CEILING)
    if kind == STUDENT:
      task = self.task(round_number)
    else:
      task = params.task.supervised()
      self._add_corrections(task, round_number)
      both = task.train_data.global_batch_size + params.task.pseudo_data.global_batch_size
      own = params.teacher if is_teacher else params.control
      task.train_data.global_batch_size = own.global_batch_size or both
    trainer = params.trainer
    if is_teacher:
      trainer = params.teacher.trainer.replace(validation_steps=params.trainer.validation_steps)
      _make_teachers(task, params.teacher)
      if kind == CALIBRATION_TEACHER:
        task.train_data.fraction *= 1.0 - params.calibration.share
      if kind == CEILING:
        task.train_data.fraction, task.train_data.input_path = 1.0, params.ceiling.input_path
        trainer = _longer(trainer, self._ceiling_steps())
    else:
      _set_start(task, params.task.self_training.student_init, start)
    if backbone and (is_teacher or params.student_starts_from == 'checkpoint'):
      task.init_checkpoint, task.init_checkpoint_modules = backbone, 'backbone'
    name = graph.stage_name(kind, round_number)
    first_family = _ROUND_STRIDE * (round_number - 1)
    return training.Job(
      name=name,
      model_dir=os.path.join(self.model_dir, name),
      params=training.job_experiment(task, trainer, params.runtime),
      seed=params.seed,
      family=first_family + (_TEACHER_FAMILY if is_teacher else 0),
      class_names=self.class_names,
      num_pictures=params.report.training_pictures,
    )


def _longer(trainer: cfg.TrainerConfig, steps: int) -> cfg.TrainerConfig:
  """The trainer with so many steps, and its schedule of learning rates stretched to them."""
  made = trainer.replace(train_steps=steps)
  schedule = made.optimizer_config.learning_rate.get()
  factor = steps / trainer.train_steps
  for name in ('decay_steps', 'total_decay_steps'):
    if getattr(schedule, name, None):
      setattr(schedule, name, round(getattr(schedule, name) * factor))
  if getattr(schedule, 'boundaries', None):
    schedule.boundaries = [round(boundary * factor) for boundary in schedule.boundaries]
  return made


def _make_teachers(task: cfg.TaskConfig, teacher: st.Teacher) -> None:
  """Gives a task the teacher's own start and augmentation."""
  task.init_checkpoint = teacher.init_checkpoint
  task.init_checkpoint_modules = teacher.init_checkpoint_modules
  if teacher.augmentation is not None:
    task.train_data.augmentation = teacher.augmentation.replace()


def _set_start(task: cfg.TaskConfig, init: st.StudentInit, start: str) -> None:
  """Lets control or student start as the settings say."""
  if init == 'teacher':
    task.init_checkpoint, task.init_checkpoint_modules = start, 'all'
    # That setting is about the backbone that the teacher starts from; a whole model needs its statistics.
    task.init_statistics = True
  elif init == 'random':
    task.init_checkpoint = ''
