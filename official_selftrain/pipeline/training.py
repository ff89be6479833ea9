"""Training and evaluating one model: the Model Garden's runner with our actions around it."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from official.common import distribute_utils
from official.core import config_definitions as cfg
from official.core import task_factory, train_lib, train_utils
from official.modeling import performance
from official.vision.utils import summary_manager

from official_selftrain.checkpoints import restore
from official_selftrain.core import console, errors, files
from official_selftrain.pipeline import actions, data, diagnosis

METRICS_FILE = 'metrics.json'
LOG_FILE = 'log.txt'


@dataclasses.dataclass(frozen=True)
class Job:
  """One model to train.

  Attributes:
    name: `teacher`, `control`, `student`, or the experiment's name; used in messages.
    model_dir: a Model Garden model directory.
    params: an ordinary Model Garden experiment.
    seed: of weights, streams and augmentation.
    stream: number of the stream family, see `tasks.detection`.
  """

  name: str
  model_dir: str
  params: cfg.ExperimentConfig
  seed: int
  stream: int = 0

  @property
  def train_steps(self) -> int:
    """Steps after which the model is finished."""
    return self.params.trainer.train_steps


def finished_steps(model_dir: str) -> int:
  """Steps in the latest checkpoint of a model directory; 0 without one."""
  checkpoint = tf.train.latest_checkpoint(model_dir)
  return checkpoint_step(checkpoint) if checkpoint else 0


def checkpoint_step(checkpoint: str) -> int:
  """Steps recorded in a checkpoint, 0 if it records none; makes no variable, which some strategies forbid so early."""
  reader = tf.train.load_checkpoint(checkpoint)
  key = 'global_step/.ATTRIBUTES/VARIABLE_VALUE'
  return int(reader.get_tensor(key)) if reader.has_tensor(key) else 0


def run(job: Job, mode: str) -> dict[str, float]:
  """Runs a job in one of the Model Garden's modes and resumes where an earlier process stopped.

  Args:
    job: what to train.
    mode: `train`, `eval`, `train_and_eval` or `continuous_eval`.

  Returns:
    Metrics of the last evaluation by the evaluator's names; empty in mode `train`. They are also in `metrics.json`.

  Raises:
    SelfTrainError: bad data or a loss that is not finite; see `diagnosis` and `actions`.
  """
  _check_mode(job, mode)
  # Models of earlier stages are finished with; their graphs would stay in memory.
  tf.keras.backend.clear_session()
  tf.keras.utils.set_random_seed(job.seed)
  os.makedirs(job.model_dir, exist_ok=True)
  if 'train' in mode:
    write_params(job.params, job.model_dir)
  strategy = build_strategy(job.params.runtime)
  with strategy.scope():
    task = task_factory.get_task(job.params.task, logging_dir=job.model_dir)
  task.seed, task.stream = job.seed, job.stream
  task.start_step = finished_steps(job.model_dir) if 'train' in mode else 0
  if 'train' in mode and job.params.task.init_checkpoint and not task.start_step:
    _check_init_checkpoint(job)
  with diagnosis.explain(job.name, task):
    return _run(job, mode, task, strategy)


def set_precision(runtime: cfg.RuntimeConfig) -> None:
  """Sets the Keras policy; once, before the first model, so that every stage computes alike."""
  if runtime.mixed_precision_dtype:
    performance.set_mixed_precision_policy(runtime.mixed_precision_dtype)


def validation_digest(job: Job) -> str:
  """Tells metrics on some validation data from metrics on other data."""
  task = job.params.task
  stream = task.validation_data
  listing = data.files_digest(stream, 'validation_data') if stream.input_path else ''
  limits = [job.params.trainer.validation_steps, getattr(task, 'max_num_eval_detections', None)]
  return files.digest_of(
    [stream.as_dict(), getattr(task, 'annotation_file', None), listing, limits]
  )


def write_params(params: cfg.ExperimentConfig, model_dir: str) -> None:
  """Writes `params.yaml`, the whole resolved config, as the Model Garden does."""
  train_utils.serialize_config(params, model_dir)


def build_strategy(runtime: cfg.RuntimeConfig) -> tf.distribute.Strategy:
  """The distribution strategy of the runtime settings; `mirrored` with `num_gpus` 0 takes all GPUs there are."""
  if runtime.worker_hosts:
    distribute_utils.configure_cluster(runtime.worker_hosts, runtime.task_index)
  name = runtime.distribution_strategy
  num_gpus = runtime.num_gpus
  if name == 'mirrored':
    num_gpus = num_gpus or len(tf.config.list_physical_devices('GPU'))
  if name == 'mirrored' and num_gpus < 2:
    # Nothing to mirror over one device, and the machinery costs ten seconds of tracing per model.
    name = 'off'
  return _strategy(name, runtime.all_reduce_alg, num_gpus, runtime.tpu)


@functools.cache
def _strategy(
  name: str, all_reduce_alg: str | None, num_gpus: int, tpu: str | None
) -> tf.distribute.Strategy:
  """One strategy for all stages of a process.

  Each strategy numbers its collective operations from the same start, and TensorFlow remembers the shape behind each
  number: a second strategy on the same devices fails with a shape mismatch.
  """
  return distribute_utils.get_distribution_strategy(
    distribution_strategy=name,
    all_reduce_alg=all_reduce_alg,
    num_gpus=num_gpus,
    tpu_address=tpu,
  )


def _check_init_checkpoint(job: Job) -> None:
  """Raises DataError when the checkpoint to start from does not exist."""
  try:
    restore.find(job.params.task.init_checkpoint)
  except errors.DataError as error:
    raise errors.DataError(f'{job.name}: {error}') from error


def _check_mode(job: Job, mode: str) -> None:
  if (
    'train' not in mode
    and mode != 'continuous_eval'
    and not tf.train.latest_checkpoint(job.model_dir)
  ):
    raise errors.DataError(
      f'{job.name}: there is no checkpoint in {job.model_dir} to evaluate. Train it first.'
    )


def _run(job: Job, mode: str, task: Any, strategy: tf.distribute.Strategy) -> dict[str, float]:
  recorder = _EvaluationRecorder(job, task)
  progress = actions.TrainingProgress(job.name, job.params, task.start_step, job.model_dir)
  interrupted_at = None
  with _stdout_to(os.path.join(job.model_dir, LOG_FILE)):
    runner = train_lib.OrbitExperimentRunner(
      distribution_strategy=strategy,
      task=task,
      mode=mode,
      params=job.params,
      model_dir=job.model_dir,
      train_actions=[progress],
      eval_actions=[recorder],
      eval_summary_manager=summary_manager.maybe_build_eval_summary_manager(
        job.params, job.model_dir
      ),
    )
    guard = actions.NonFiniteGuard(job.name, runner.trainer, job.model_dir, job.params.trainer)
    progress.bind(runner.trainer, guard)
    recorder.bind(runner.trainer)
    try:
      runner.run()
    except KeyboardInterrupt:
      interrupted_at = _save_on_interrupt(job, runner, guard)
    finally:
      progress.close()
  if interrupted_at is not None:
    # Only here does standard output lead to the user again.
    console.say(
      f'{job.name}: interrupted at step {interrupted_at}; the same command continues there.'
    )
    raise KeyboardInterrupt
  return recorder.metrics


def _save_on_interrupt(
  job: Job, runner: train_lib.OrbitExperimentRunner, guard: actions.NonFiniteGuard
) -> int:
  """Keeps the steps since the last checkpoint and returns the step.

  Ctrl-C arrives between two loops, so the variables belong together; the guard looks at them first.
  """
  step = int(runner.trainer.global_step.numpy())
  if (
    runner.checkpoint_manager
    and 0 < step < job.train_steps
    and step > finished_steps(job.model_dir)
  ):
    guard({})
    runner.checkpoint_manager.save(checkpoint_number=step, check_interval=False)
  return step


class _EvaluationRecorder:
  """Eval action: keeps the metrics and writes them to `metrics.json`."""

  def __init__(self, job: Job, task: Any):
    self._job = job
    self._task = task
    self._validation = validation_digest(job)
    self._trainer: Any = None
    self.metrics: dict[str, float] = {}

  def bind(self, trainer: Any) -> None:
    self._trainer = trainer

  def __call__(self, output: Mapping[str, Any]) -> None:
    self.metrics = scalars(output)
    step = int(self._trainer.global_step.numpy())
    record = {
      'step': step,
      'validation': self._validation,
      'details': self._task.evaluation_details(),
      'metrics': {name: _or_none(value) for name, value in self.metrics.items()},
    }
    files.write_json(os.path.join(self._job.model_dir, METRICS_FILE), record)


def evaluation_details(model_dir: str) -> dict[str, Any]:
  """What the last evaluation of a model found besides numbers; empty if there is nothing."""
  path = os.path.join(model_dir, METRICS_FILE)
  return files.read_json(path).get('details', {}) if os.path.exists(path) else {}


def scalars(output: Mapping[str, Any]) -> dict[str, float]:
  """The scalar entries of an Orbit output as floats."""
  values = {}
  for name, value in output.items():
    if tf.rank(value) == 0:
      values[name] = float(value)
  return values


def _or_none(value: float) -> float | None:
  return value if value == value and abs(value) != float('inf') else None


@contextlib.contextmanager
def _stdout_to(path: str) -> Any:
  """Sends what the Model Garden and pycocotools print to a log file; our own lines go to the real console."""
  with open(path, 'a', encoding='utf-8') as log, contextlib.redirect_stdout(log):
    yield


def job_experiment(
  task: cfg.TaskConfig, trainer: cfg.TrainerConfig, runtime: cfg.RuntimeConfig
) -> cfg.ExperimentConfig:
  """A plain Model Garden experiment from its parts."""
  return with_schedule_length(
    cfg.ExperimentConfig(task=task, trainer=trainer.replace(), runtime=runtime)
  )


def with_schedule_length(params: cfg.ExperimentConfig) -> cfg.ExperimentConfig:
  """Gives a learning rate schedule with `decay_steps: null` the length of the training; changes `params`."""
  schedule = params.trainer.optimizer_config.learning_rate.get()
  if schedule is not None and getattr(schedule, 'decay_steps', 0) is None:
    schedule.decay_steps = params.trainer.train_steps
  return params
