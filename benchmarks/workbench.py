"""Shared by all benchmarks: the embedded data, a trained teacher, its labels, and the stock task to compare with.

All of it is made on first use and kept in a cache folder, so that running the benchmarks again costs only the
measurements. Delete the folder after a change to model or training.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from official.core import exp_factory, task_factory
from official.vision.configs import retinanet as stock_configs
from official.vision.configs import semantic_segmentation as stock_segmentation
from official.vision.tasks import retinanet as stock_tasks
from official.vision.tasks import semantic_segmentation as stock_segmentation_tasks

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.checkpoints import restore
from official_selftrain.configs import datasets, runs
from official_selftrain.configs import detection as configs
from official_selftrain.core import config as config_lib
from official_selftrain.core import console, files
from official_selftrain.dataloaders import tfrecords
from official_selftrain.modeling import segmentation as modeling
from official_selftrain.pipeline import data, labelling, training
from official_selftrain.pseudo_labels import manifest

DETECTION = 'retinanet_selftrain'
SEGMENTATION = 'segmentation_selftrain'


@dataclasses.dataclass(frozen=True)
class Effort:
  """Size of the measurements.

  Attributes:
    teacher_steps: training steps of the teacher; enough that its scores are those of a trained detector.
    scale: factor on the number of rounds.
    digits: the data set.
  """

  teacher_steps: int = 250
  scale: float = 1.0
  digits: datasets.Digits = dataclasses.field(default_factory=datasets.Digits)

  def rounds(self, number: int) -> int:
    """Rounds to measure where a full run takes `number`."""
    return max(1, round(number * self.scale))


def quick_effort() -> Effort:
  """A smoke run: everything is exercised, no figure means anything."""
  digits = datasets.Digits(num_labelled=16, num_unlabelled=96, num_validation=64, num_shards=3)
  return Effort(teacher_steps=4, scale=0.0, digits=digits)


class Workbench:
  """Data, teacher and labels.

  Attributes:
    effort: how much is measured.
    experiment: name of the self-training experiment.
  """

  def __init__(self, cache_dir: str, effort: Effort, experiment: str = DETECTION):
    """Makes nothing yet.

    Args:
      cache_dir: where data, teacher and labels are kept.
      effort: how much is measured.
      experiment: name of a self-training experiment.
    """
    self.effort = effort
    self.experiment = experiment
    self._cache_dir = cache_dir

  def of(self, experiment: str) -> 'Workbench':
    """The same for another experiment."""
    return Workbench(self._cache_dir, self.effort, experiment)

  def params(self) -> runs.SelfTrainingExperiment:
    """A new copy of the default self-training experiment, with the embedded data."""
    params = exp_factory.get_exp_config(self.experiment)
    params.dataset.directory = self._cache_dir
    params.dataset.digits = self.effort.digits
    # The folder beside a run is where its data is.
    data.make(params, data.locate(params, os.path.join(self._cache_dir, 'run')))
    params.task.pseudo_data.label_dir = os.path.join(self._run_dir, 'labels')
    return params

  @functools.cached_property
  def _run_dir(self) -> str:
    """The folder of teacher and labels; its name depends on the settings that they are made with."""
    params = exp_factory.get_exp_config(self.experiment)
    settings = [config_lib.flatten(params), dataclasses.asdict(self.effort)]
    return os.path.join(self._cache_dir, f'teacher-{files.digest_of(settings)[:8]}')

  @functools.cached_property
  def teacher(self) -> str:
    """Prefix of the checkpoint of a teacher trained on the labelled images as the pipeline trains it, only shorter."""
    params = self.params()
    task = params.task.supervised()
    task.train_data.global_batch_size += params.task.pseudo_data.global_batch_size
    steps = self.effort.teacher_steps
    trainer = params.teacher.trainer.replace(train_steps=steps, validation_interval=steps)
    job = training.Job(
      'teacher for the benchmarks',
      os.path.join(self._run_dir, 'model'),
      training.job_experiment(task, trainer, params.runtime),
      params.seed,
    )
    if training.finished_steps(job.model_dir) < steps:
      training.run(job, 'train')
    return restore.find(job.model_dir)

  @functools.cached_property
  def unlabelled(self) -> list[str]:
    """The unlabelled shards."""
    pattern = self.params().task.pseudo_data.input_path
    return tfrecords.match_files(pattern, 'task.pseudo_data.input_path')

  def make_labels(self) -> None:
    """Has the teacher label the unlabelled images, where `params().task.pseudo_data.label_dir` says."""
    params = self.params()
    label_dir = params.task.pseudo_data.label_dir
    if not os.path.exists(os.path.join(label_dir, manifest.FILE_NAME)):
      labelling.run(labelling_request(params, self.teacher, self.unlabelled))


def labelling_request(
  params: runs.SelfTrainingExperiment, teacher: str, images: Sequence[str]
) -> labelling.Request:
  """The job of labelling image shards with a checkpoint, where `task.pseudo_data.label_dir` says."""
  return labelling.Request(
    task=params.task,
    labels=params.labels,
    teacher=teacher,
    images=tuple(images),
    output_dir=params.task.pseudo_data.label_dir,
    runtime=params.runtime,
    seed=params.seed,
  )


class _SegmentationTask(stock_segmentation_tasks.SemanticSegmentationTask):
  """The Model Garden's own task around our model: its own NAS-FPN is another, slower network."""

  def build_model(self) -> tf.keras.Model:
    return modeling.build(self.task_config.model, self.task_config.losses.l2_weight_decay)


def stock_segmentation_task(params: runs.SelfTrainingExperiment) -> Any:
  """The Model Garden's own segmentation task with our model and losses; it is given batches from memory."""
  own = params.task
  config = stock_segmentation.SemanticSegmentationTask(
    model=own.model.replace(), losses=own.losses.replace(), evaluation=own.evaluation.replace()
  )
  return _SegmentationTask(config)


def stock_task(params: runs.SelfTrainingExperiment, batch_size: int) -> stock_tasks.RetinaNetTask:
  """The Model Garden's own task with the model, losses and labelled data of ours.

  Apart from these only dtype and batch sizes are set: the Model Garden's default dtype is meant for TPUs.

  Args:
    params: our experiment.
    batch_size: images per training step.

  Returns:
    The task.
  """
  own = params.task

  def _data(params: configs.DataConfig, size: int) -> stock_configs.DataConfig:
    return stock_configs.DataConfig(
      input_path=params.input_path,
      is_training=params.is_training,
      global_batch_size=size,
      dtype='float32',
      parser=params.parser.replace(),
    )

  config = stock_configs.RetinaNetTask(
    model=own.model.replace(),
    losses=own.losses.replace(),
    train_data=_data(own.train_data, batch_size),
    validation_data=_data(own.validation_data, own.validation_data.global_batch_size),
    annotation_file=own.annotation_file,
  )
  return stock_tasks.RetinaNetTask(config)


class Step:
  """A task's training step as the Model Garden's trainer calls it: model, optimizer and metrics included.

  Attributes:
    task: the task.
    run: takes a batch, waits until the step is done.
  """

  def __init__(self, task: Any, params: runs.SelfTrainingExperiment):
    """Builds model, optimizer and metrics.

    Args:
      task: any task.
      params: for optimizer and seed.
    """
    tf.keras.utils.set_random_seed(params.seed)
    trainer = training.job_experiment(params.task, params.trainer, params.runtime).trainer
    self.task = task
    model = task.build_model()
    optimizer = task.create_optimizer(trainer.optimizer_config, params.runtime)
    metrics = task.build_metrics(training=True)
    self.run: Callable[[Any], Any] = tf.function(
      lambda inputs: task.train_step(inputs, model, optimizer, metrics)
    )


def self_training_task(params: runs.SelfTrainingExperiment) -> Any:
  """Our two-source task."""
  return task_factory.get_task(params.task)


def in_one_thread(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """The same data set, computed in one thread."""
  options = tf.data.Options()
  options.threading.private_threadpool_size = 1
  options.threading.max_intra_op_parallelism = 1
  # Anything that works ahead would do so while the other contender is measured.
  options.experimental_optimization.inject_prefetch = False
  options.autotune.enabled = False
  return dataset.with_options(options)


def drain(dataset: tf.data.Dataset, elements: int) -> Callable[[], None]:
  """A function that takes so many elements of an endless data set in one thread, on from where it stopped."""
  # One iterator for all rounds: building one takes longer than an image does.
  iterator = iter(in_one_thread(dataset))
  return lambda: [None for _ in itertools.islice(iterator, elements)] and None


def say(text: str) -> None:
  """Prints what is being done."""
  console.say(f'  {text}')
