"""Estimates how long a self-training run takes on this machine, from some real steps, batches and labelled images.

Teacher and control are trained for some steps as the run would train them, on its own data and devices; what they learn
is thrown away. Everything else is arithmetic: a student's step takes as long as one of the control for as many images,
a third longer where `task.gradient_accumulation_steps` makes it look at the batch twice, and where an online teacher
labels the unlabelled part of the batch two thirds of that part longer.
"""

import contextlib
import dataclasses
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence

import tensorflow as tf
from official.core import train_utils

from official_selftrain.configs import runs
from official_selftrain.core import console, errors
from official_selftrain.dataloaders import tfrecords
from official_selftrain.pipeline import (
  data,
  graph,
  jobs,
  label_probe,
  outlines,
  selftrain_graph,
  training,
)
from official_selftrain.tasks import contract, stream_specs

# The stage whose step a model's own is compared with; the others have no training.
_LIKE = {
  selftrain_graph.PRETRAINING: selftrain_graph.PRETRAINING,
  selftrain_graph.TEACHER: selftrain_graph.TEACHER,
  selftrain_graph.CALIBRATION_TEACHER: selftrain_graph.TEACHER,
  selftrain_graph.CEILING: selftrain_graph.TEACHER,
  selftrain_graph.CONTROL: selftrain_graph.CONTROL,
  selftrain_graph.STUDENT: selftrain_graph.CONTROL,
}
# Gate, calibration, report and export are not measured.
_STAGES = (*_LIKE, selftrain_graph.LABELS)
# A second forward pass over a third of the cost of forward and backward pass.
_WEIGHED_IN_PARTS = 1 / 3
# A forward pass, selection, and moving the labels into the student's view, measured on the embedded scenes: steps of
# 8 + 8 images take 1.35 times as long (docs/online_teacher.md).
_LABELLED_ONLINE = 2 / 3
_PROBE_IMAGES = 64


@dataclasses.dataclass(frozen=True)
class Steps:
  """What was measured of one training.

  Attributes:
    start: seconds before the second step: network, graph, first images.
    step: seconds of a step, input included.
    batch: images in it.
    evaluation: seconds of evaluating an image.
  """

  start: float
  step: float
  batch: int
  evaluation: float = 0.0

  def seconds(self, steps: int, batch: int, evaluated: int, factor: float = 1.0) -> float:
    """Seconds of so many steps on such batches, and of evaluating so many images."""
    return (
      self.start + steps * self.step * factor * batch / self.batch + evaluated * self.evaluation
    )


@dataclasses.dataclass(frozen=True)
class Row:
  """Seconds of one stage, and what it does in words."""

  stage: str
  work: str
  seconds: float


def text(rows: Sequence[Row]) -> str:
  """The estimate as a table."""
  total = Row('together', '', sum(row.seconds for row in rows))
  cells = [(row.stage, row.work, console.duration(row.seconds)) for row in (*rows, total)]
  return console.table(cells, ('stage', 'work', 'time'))


def estimate(
  params: runs.SelfTrainingExperiment, model_dir: str, probe_seconds: float
) -> list[Row]:
  """Measures and multiplies.

  Args:
    params: a checked experiment; the Keras policy must be set, see `training.set_precision`.
    model_dir: the run directory that it would have; embedded data are made beside it, nothing is written into it.
    probe_seconds: how long to train each of the models that are measured.

  Returns:
    A row for each stage that trains or labels, in order.

  Raises:
    ConfigError: the experiment does not self-train.
    DataError: its data are missing or cannot be read.
  """
  if not isinstance(params, runs.SelfTrainingExperiment):
    raise errors.ConfigError(
      f'The experiment {params.experiment} does not self-train; give one of the *_selftrain.'
    )
  resolved = params.replace()
  facts = data.make(resolved, data.locate(resolved, model_dir))
  data.check_files(resolved.task, is_training=True)
  with tempfile.TemporaryDirectory() as folder:
    measured = _Measured(jobs.Jobs(resolved, model_dir, facts.class_names), probe_seconds, folder)
    stages = selftrain_graph.build(outlines.of(resolved, 'train_and_eval')).stages
    return [
      measured.row(stage)
      for stage in stages
      if stage.kind in _STAGES and not _is_given(resolved, stage.kind)
    ]


class _Measured:
  """Measures each training, and labelling, once: when a stage first asks for it."""

  def __init__(self, made: jobs.Jobs, seconds: float, folder: str):
    self._jobs = made
    self._seconds = seconds
    self._folder = folder
    self._found: dict[str, Steps] = {}
    self._labelling: label_probe.Probe | None = None

  def row(self, stage: graph.Stage) -> Row:
    """The estimate of a stage."""
    if stage.kind == selftrain_graph.LABELS:
      return self._labels(stage)
    job = self._jobs.make(stage.kind, stage.round)
    trainer, task = job.params.trainer, job.params.task
    evaluations = max(1, job.train_steps // max(1, trainer.validation_interval))
    images = trainer.validation_steps * task.validation_data.global_batch_size
    if trainer.validation_steps < 0:
      images = _count(task.validation_data.input_path, 'task.validation_data.input_path')
    factor = _student_factor(job) if stage.kind == selftrain_graph.STUDENT else 1.0
    seconds = self._steps(_LIKE[stage.kind]).seconds(
      job.train_steps, _batch(job), evaluations * images, factor
    )
    return Row(job.name, f'{job.train_steps:,} steps of {_batch(job)} images', seconds)

  def _steps(self, kind: str) -> Steps:
    if kind not in self._found:
      job = self._jobs.make(kind)
      self._found[kind] = measure(job, self._seconds, os.path.join(self._folder, kind))
    return self._found[kind]

  def _labels(self, stage: graph.Stage) -> Row:
    """A teacher that has learned next to nothing takes as long as one that has learned."""
    if self._labelling is None:
      teacher = self._jobs.params.teacher.checkpoint
      if not teacher:
        self._steps(selftrain_graph.TEACHER)
        teacher = tf.train.latest_checkpoint(os.path.join(self._folder, selftrain_graph.TEACHER))
      request = self._jobs.labelling(stage.round, teacher)
      self._labelling = label_probe.measure(request, _PROBE_IMAGES)
    found = self._labelling
    seconds = found.start_seconds + found.images / found.images_per_second
    return Row(stage.name, f'{found.images:,} images', seconds)


def measure(job: training.Job, seconds: float, folder: str) -> Steps:
  """Trains a model for some steps and evaluates it on a batch, as a run would.

  Args:
    job: what to train, from no checkpoint.
    seconds: for how long, the start not counted; at least two steps.
    folder: for a checkpoint of what was trained.

  Returns:
    The measured times.
  """
  tf.keras.backend.clear_session()
  tf.keras.utils.set_random_seed(job.seed)
  strategy = training.strategy_of(job)
  start = stream_specs.Start(job.seed, job.family)
  # The evaluator prints.
  with contextlib.redirect_stdout(io.StringIO()):
    began = time.monotonic()
    with strategy.scope():
      task = contract.make(job.params.task, '', start, job.class_names)
      trainer = train_utils.create_trainer(job.params, task, train=True, evaluate=True)
    trainer.train(tf.constant(1))
    started = time.monotonic() - began
    one = _timed(lambda: trainer.train(tf.constant(1)))
    count = max(1, min(job.train_steps, round(seconds / one)))
    step = _timed(lambda: trainer.train(tf.constant(count))) / count
    # The first evaluation traces the network once more.
    tracing = _timed(lambda: trainer.evaluate(tf.constant(1)))
    evaluation = _timed(lambda: trainer.evaluate(tf.constant(1)))
  trainer.checkpoint.save(os.path.join(folder, 'ckpt'))
  return Steps(
    start=started + max(0.0, tracing - evaluation),
    step=step,
    batch=_batch(job),
    evaluation=evaluation / job.params.task.validation_data.global_batch_size,
  )


def _timed(work: Callable[[], object]) -> float:
  began = time.monotonic()
  work()
  return time.monotonic() - began


def _student_factor(job: training.Job) -> float:
  """How many times as long a student's step takes as one of the control with as many images."""
  task = job.params.task
  factor = 1.0
  if task.gradient_accumulation_steps > 1:
    factor += _WEIGHED_IN_PARTS
  if task.self_training.online_teacher.enabled:
    factor += _LABELLED_ONLINE * task.pseudo_data.global_batch_size / _batch(job)
  return factor


def _batch(job: training.Job) -> int:
  """Images in a step, those of joint training left out: all models of a run have as many of them."""
  streams = [job.params.task.train_data, getattr(job.params.task, 'pseudo_data', None)]
  return sum(stream.global_batch_size for stream in streams if stream is not None)


def _count(pattern: str, setting: str) -> int:
  return sum(label_probe.count(path) for path in tfrecords.match_files(pattern, setting))


def _is_given(params: runs.SelfTrainingExperiment, kind: str) -> bool:
  """Whether a stage only copies or converts weights that exist, or labels."""
  if kind == selftrain_graph.PRETRAINING:
    return params.trained_start is None
  if kind == selftrain_graph.LABELS:
    return bool(params.task.pseudo_data.label_dir)
  return kind == selftrain_graph.TEACHER and bool(params.teacher.checkpoint)
