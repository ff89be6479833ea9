"""The stages of self-training: teacher, labels, control, student, report, export."""

import os
from typing import Any

from official.core import config_definitions as cfg
from official.core import task_factory

from official_selftrain.configs import self_training as st
from official_selftrain.core import config as config_lib
from official_selftrain.core import console, errors, files
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pipeline import (
  data,
  exporting,
  label_summaries,
  labelling,
  reporting,
  stages,
  training,
)
from official_selftrain.presentation import base as presentations
from official_selftrain.pseudo_labels import cuts
from official_selftrain.pseudo_labels import manifest as manifest_lib

LABELS_DIR = os.path.join('labels', 'round-1')

_TEACHER_STREAM = 1

_DATA = ('seed', 'dataset')
_PRECISION = 'runtime.mixed_precision_dtype'
_SUPERVISED = (
  *_DATA,
  'task.model',
  'task.losses',
  'task.train_data',
  'task.freeze_backbone',
  _PRECISION,
)
_VALIDATION = (
  'task.validation_data',
  'task.annotation_file',
  'task.max_num_eval_detections',
  'trainer.validation_steps',
)
_START = ('task.self_training.student_init', 'task.init_checkpoint', 'task.init_checkpoint_modules')


class SelfTrainingRun:
  """One run directory and what belongs in it."""

  def __init__(self, params: st.SelfTrainingExperiment, model_dir: str, mode: str):
    """Resolves the data and lays out the stages.

    Args:
      params: a checked experiment.
      model_dir: the run directory.
      mode: `train` leaves out evaluation and report, `train_and_eval` runs everything.
    """
    self.settings = config_lib.flatten(params)
    self.params = params.replace()
    self.model_dir = model_dir
    self.mode = mode
    self.given = params
    self.data = data.resolve(self.params, model_dir)
    self.records = stages.StageRecords(model_dir)
    self.makes_labels = not self.params.task.pseudo_data.label_dir
    if self.makes_labels:
      self.params.task.pseudo_data.label_dir = self.path(LABELS_DIR)

  def path(self, *parts: str) -> str:
    """A path in the run directory."""
    return os.path.join(self.model_dir, *parts)

  def plan(self) -> list[stages.Stage]:
    """All stages in their order, as far as mode and settings ask for them."""
    both_batches = ('task.pseudo_data.global_batch_size',)
    teacher = self.params.teacher
    from_teacher = self._inputs('teacher')

    def with_files(inputs: Any) -> Any:
      return lambda: self._with_files(inputs())

    on_teacher: tuple[str, ...] = (
      ('teacher', 'task.model') if teacher.checkpoint else ('teacher', *_SUPERVISED)
    )
    on_teacher += () if teacher.global_batch_size else both_batches
    on_labels: tuple[str, ...] = (
      *(f'labels.{name}' for name in self.params.labels.deciding()),
      'task.model',
      'task.pseudo_data.input_path',
    )
    on_labels += (*_DATA, _PRECISION)
    on_student = (*_SUPERVISED, *_START, 'task.pseudo_data', 'task.self_training', 'trainer')
    wanted = [
      stages.Stage('teacher', ('teacher',), on_teacher, lambda: self._with_files({}), self._teacher)
    ]
    if self.makes_labels:
      wanted.append(stages.Stage('labels', ('labels',), on_labels, from_teacher, self._labels))
    if self.params.control.enabled:
      on_control: tuple[str, ...] = (*_SUPERVISED, *_START, 'control', 'trainer')
      on_control += () if self.params.control.global_batch_size else both_batches
      wanted.append(
        stages.Stage('control', ('control',), on_control, with_files(from_teacher), self._control)
      )
    from_labels = self._inputs('teacher', 'labels') if self.makes_labels else self._given_labels
    wanted.append(
      stages.Stage('student', ('student',), on_student, with_files(from_labels), self._student)
    )
    if self.mode == 'train_and_eval':
      models = [stage.name for stage in wanted]
      pages = ('report.json', 'report.html')
      on_report = ('report', *_VALIDATION)
      wanted.append(
        stages.Stage('report', pages, on_report, self._inputs(*models), self._report, True)
      )
    if self.params.export.enabled and self.mode == 'train_and_eval':
      from_student = self._inputs('student')
      wanted.append(
        stages.Stage('export', ('export',), ('export',), from_student, self._export, True)
      )
    return wanted

  def execute(self, only: str = 'all') -> None:
    """Runs the stages that are not done, or one of them with those it needs already finished.

    Args:
      only: a stage's name, or `all`.

    Raises:
      ConfigError: there is no such stage in this run.
      SelfTrainError: whatever a stage raises.
    """
    wanted = self._select(only)
    did_work = False
    for stage in self._before(wanted[0]):
      self.records.check(stage, self.settings)
    if not all(self.records.is_done(stage.name) for stage in wanted):
      data.check_files(self.params.task, is_training=True)
      data.check_truth(self.data)
      data.check_first_records(task_factory.get_task(self.params.task))
    for number, stage in enumerate(wanted, 1):

      def announce(stage: stages.Stage = stage, number: int = number) -> None:
        training.write_params(self.given, self.model_dir)
        console.say(f'[{number}/{len(wanted)}] {stage.name}')

      did_work |= self.records.execute(stage, self.settings, announce)
    if not did_work:
      console.say(f'Everything in {self.model_dir} is finished already: nothing to do.')
    if any(stage.name == 'report' for stage in wanted):
      console.say(reporting.closing_words(self))

  def restart(self, name: str) -> None:
    """Removes the products of a stage and of those made from them."""
    (first,) = self._select(name, flag='restart')
    # The control does not read the labels; nothing but the report is made from the control.
    spared = {'labels': {'control'}, 'control': {'student', 'export'}, 'report': {'export'}}
    kept = {stage.name for stage in self._before(first)} | spared.get(name, set())
    self.records.restart([stage for stage in self.plan() if stage.name not in kept])

  def _before(self, stage: stages.Stage) -> list[stages.Stage]:
    """The stages that come before one."""
    ordered = self.plan()
    return ordered[: [other.name for other in ordered].index(stage.name)]

  def job(self, name: str) -> training.Job:
    """The training job of teacher, control or student."""
    params = self.params
    if name == 'student':
      task, trainer = params.task.replace(), params.trainer
      self._set_start(task)
    else:
      task = params.task.supervised()
      both = task.train_data.global_batch_size + params.task.pseudo_data.global_batch_size
      if name == 'teacher':
        trainer = params.teacher.trainer.replace(validation_steps=params.trainer.validation_steps)
        task.init_checkpoint = params.teacher.init_checkpoint
        task.init_checkpoint_modules = params.teacher.init_checkpoint_modules
        task.train_data.global_batch_size = params.teacher.global_batch_size or both
      else:
        trainer = params.trainer
        task.train_data.global_batch_size = params.control.global_batch_size or both
        self._set_start(task)
    experiment = training.job_experiment(task, trainer, params.runtime)
    return training.Job(
      name=name,
      model_dir=self.path(name),
      params=experiment,
      seed=params.seed,
      # The control must not meet the teacher's crops again, or its further steps would be worth less.
      stream=_TEACHER_STREAM if name == 'teacher' else 0,
    )

  def checkpoint(self, name: str) -> str:
    """Prefix of the checkpoint of teacher, control or student."""
    return os.path.join(self.model_dir, self.records.result(name)['checkpoint'])

  def _select(self, only: str, flag: str = 'stage') -> list[stages.Stage]:
    wanted = self.plan()
    if only == 'all' and flag == 'stage':
      return wanted
    chosen = [stage for stage in wanted if stage.name == only]
    if not chosen:
      names = ', '.join(stage.name for stage in wanted)
      raise errors.ConfigError(
        f'--{flag}={only}: this run (mode {self.mode}) has the stages {names}'
        + (', and all.' if flag == 'stage' else '.')
      )
    return chosen

  def _set_start(self, task: cfg.TaskConfig) -> None:
    if 'train' not in self.mode:
      return  # The weights come from the model's own checkpoint.
    init = self.params.task.self_training.student_init
    if init == 'teacher':
      task.init_checkpoint, task.init_checkpoint_modules = self.checkpoint('teacher'), 'all'
    elif init == 'random':
      task.init_checkpoint = None

  def _inputs(self, *names: str) -> Any:
    return lambda: {name: self.records.result(name)['digest'] for name in names}

  def _with_files(self, inputs: dict[str, str]) -> dict[str, str]:
    """Adds the labelled files to what a model is made from: another file would change the order of its stream."""
    return {
      **inputs,
      'labelled files': data.files_digest(self.params.task.train_data, 'train_data'),
    }

  def _given_labels(self) -> dict[str, str]:
    manifest = os.path.join(self.params.task.pseudo_data.label_dir, manifest_lib.FILE_NAME)
    if not os.path.exists(manifest):
      raise errors.DataError(f'task.pseudo_data.label_dir: {manifest} does not exist.')
    return {**self._inputs('teacher')(), 'labels': files.sha256(manifest)}

  def metrics(self, name: str) -> dict[str, float]:
    """Metrics of teacher, control or student; evaluated now if its last step has not been on this data."""
    path = self.path(name, training.METRICS_FILE)
    valid = {
      'step': self.records.result(name)['global_step'],
      'validation': training.validation_digest(self.job(name)),
    }
    if os.path.exists(path):
      record = files.read_json(path)
      if valid.items() <= record.items():
        return {k: float('nan') if v is None else v for k, v in record['metrics'].items()}
    if name == 'teacher' and self.params.teacher.checkpoint:
      return labelling.evaluate_given_teacher(self.job(name), self.checkpoint('teacher'))
    return training.run(self.job(name), 'eval')

  def _train(self, name: str) -> dict[str, Any]:
    job = self.job(name)
    if training.finished_steps(job.model_dir) < job.train_steps:
      training.run(job, self.mode)
    return self._model_facts(job.model_dir)

  def _model_facts(self, checkpoint: str) -> dict[str, Any]:
    facts = labelling.describe_checkpoint(checkpoint)
    own = os.path.abspath(self.model_dir) + os.sep
    path = os.path.abspath(facts['checkpoint'])
    # Relative to the run directory if it lies there, so that the directory can be moved.
    return {**facts, 'checkpoint': path.removeprefix(own), 'digest': facts['sha256']}

  def _teacher(self) -> dict[str, Any]:
    if not self.params.teacher.checkpoint:
      return self._train('teacher')
    os.makedirs(self.path('teacher'), exist_ok=True)
    return self._model_facts(self.params.teacher.checkpoint)

  def _control(self) -> dict[str, Any]:
    # Behind a closed gate there will be no student to compare with.
    if not self.makes_labels or self.records.is_done('labels'):
      self._gate()
    return self._train('control')

  def _student(self) -> dict[str, Any]:
    self._gate()
    return self._train('student')

  def _gate(self) -> None:
    labelling.gate(
      self.params, self.params.task.pseudo_data.label_dir, self.label_format(), self.label_cuts()
    )

  def label_format(self) -> Any:
    """How this task's labels are written."""
    task = task_factory.get_task(self.params.task)
    return task.label_format(self.params.labels)

  def _labels(self) -> dict[str, Any]:
    images = tfrecords.match_files(
      self.params.task.pseudo_data.input_path, 'task.pseudo_data.input_path'
    )
    manifest = labelling.run(self.params, self.checkpoint('teacher'), images, self.path(LABELS_DIR))
    self._summarize_labels(images)
    digests = [shard.label_sha256 for shard in manifest.shards]
    totals = {name: getattr(manifest, name) for name in ('images', 'labelled', 'empty', 'dead')}
    return {'digest': files.digest_of(digests), **totals}

  def label_cuts(self) -> cuts.Cuts:
    """The cuts that the student trains with."""
    task = task_factory.get_task(self.params.task)
    return task.label_cuts(self.params.task.pseudo_data)

  def task_report(self) -> Any:
    """What this run's task shows of itself, see `presentation.detection`."""
    task = task_factory.get_task(self.params.task)
    presentation = presentations.PRESENTATIONS.lookup(self.params.task)
    return presentation(task, self.label_format(), self.data.class_names)

  def _summarize_labels(self, images: list[str]) -> None:
    label_dir, count = self.params.task.pseudo_data.label_dir, self.params.report.num_pictures
    label_summaries.write(self.task_report(), images, label_dir, self.label_cuts(), count)

  def _report(self) -> dict[str, Any]:
    return reporting.write(self)

  def _export(self) -> dict[str, Any]:
    return exporting.export_student(self)
