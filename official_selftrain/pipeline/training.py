"""Training and evaluating one model: the Model Garden's runner with our actions around it."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from official.core import base_trainer, train_utils
from official.core import config_definitions as cfg
from official.modeling import performance
from official.vision.utils import summary_manager

from official_selftrain.checkpoints import restore
from official_selftrain.configs import tasks as task_configs
from official_selftrain.core import config as config_lib
from official_selftrain.core import console, errors, files
from official_selftrain.evaluation import resampling
from official_selftrain.pipeline import (
  actions,
  classes,
  data,
  diagnosis,
  distribution,
  graph,
  runners,
  samples,
  trial,
)
from official_selftrain.tasks import contract, stream_specs

METRICS_FILE = 'metrics.json'
TALLIES_FILE = 'evaluation.npz'
_PRECISION = 'runtime.mixed_precision_dtype'
LOG_FILE = 'log.txt'


@dataclasses.dataclass(frozen=True)
class Job:
  """One model to train.

  Attributes:
    name: `teacher`, `control`, `student`, or the experiment's name; used in messages.
    model_dir: a Model Garden model directory.
    params: an ordinary Model Garden experiment.
    seed: of weights, streams and augmentation.
    family: number of the family of streams, see `tasks.stream_specs.Start`.
    class_names: from id 1; empty if unknown. They are stored next to the model and name its metrics.
    num_pictures: for TensorBoard, of each stream and of each evaluation; 0 for none of what `samples` writes.
  """

  name: str
  model_dir: str
  params: cfg.ExperimentConfig
  seed: int
  family: int = 0
  class_names: tuple[str, ...] = ()
  num_pictures: int = 8

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
  with restore.readable(checkpoint):
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
  is_training = 'train' in mode
  strategy = strategy_of(job)
  is_chief = distribution.is_chief(job.params.runtime)
  # Before the chief writes anything, every worker must have seen where training starts.
  step = finished_steps(job.model_dir) if is_training else 0
  distribution.meet(job.params.runtime)
  if is_training and is_chief:
    write_params(job.params, job.model_dir)
    classes.write(job.model_dir, job.params.task, job.class_names)
  start = stream_specs.Start(job.seed, job.family, step)
  if is_training:
    replicas = strategy.num_replicas_in_sync
    task_configs.check_batches(job.params.task, replicas, evaluates='eval' in mode)
  warning = task_configs.batch_norm_warning(job.params.task, strategy.num_replicas_in_sync)
  if is_training and warning:
    console.note(f'{job.name}: {warning}')
  with strategy.scope():
    task = contract.make(job.params.task, job.model_dir, start, job.class_names)
  if is_training and job.params.task.init_checkpoint and not step:
    _check_init_checkpoint(job)
  with diagnosis.explain(job.name, task), distribution.explain(job.params.runtime):
    if is_training and is_chief and not step:
      samples.write_inputs(task, job.model_dir, job.num_pictures)
      trial.write(job.params, job.name, job.seed, job.model_dir)
    with _folder(job) as folder:
      return _run(job, mode, task, strategy, step, folder)


def strategy_of(job: Job) -> tf.distribute.Strategy:
  """The strategy under which a job is trained."""
  averages = job.params.trainer.optimizer_config.ema is not None
  return distribution.build_strategy(job.params.runtime, swaps_weights=averages)


@contextlib.contextmanager
def _folder(job: Job) -> Iterator[str]:
  """Where this process writes: the model directory, or a scratch folder for a worker that is not the chief."""
  if distribution.is_chief(job.params.runtime):
    yield job.model_dir
    return
  with tempfile.TemporaryDirectory() as scratch:
    yield scratch


def set_precision(runtime: cfg.RuntimeConfig) -> None:
  """Sets the Keras policy; once, before the first model, so that every stage computes alike."""
  if runtime.mixed_precision_dtype:
    performance.set_mixed_precision_policy(runtime.mixed_precision_dtype)


def evaluation_key(job: Job) -> str:
  """Identifies how metrics were measured.

  Args:
    job: the model's job.

  Returns:
    Digest of all settings that metrics depend on, apart from the weights, and of the validation files.
  """
  names = contract.setting_names(job.params.task)
  reads = graph.Reads((*names.inference, *names.evaluation, _PRECISION))
  sources = data.validation_files(job.params.task)
  digests = [data.input_digest(job.params, source) for source in sources]
  settings = config_lib.flatten(job.params)
  return files.digest_of([reads.select(settings), digests, list(job.class_names)])


def write_params(params: cfg.ExperimentConfig, model_dir: str) -> None:
  """Writes `params.yaml`, the whole resolved config, as the Model Garden does."""
  train_utils.serialize_config(params, model_dir)


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


def _run(
  job: Job,
  mode: str,
  task: contract.TrainableTask,
  strategy: tf.distribute.Strategy,
  start_step: int,
  folder: str,
) -> dict[str, float]:
  recorder = _EvaluationRecorder(job, task, folder)
  streams = contract.training_streams(task)
  progress = actions.TrainingProgress(job.name, job.train_steps, start_step, streams, folder)
  interrupted_at = None
  with _stdout_to(os.path.join(folder, LOG_FILE)):
    # The runner starts with the last checkpoint.
    with restore.readable(tf.train.latest_checkpoint(job.model_dir) or job.model_dir):
      runner = runners.Runner(
        distribution_strategy=strategy,
        task=task,
        mode=mode,
        params=job.params,
        model_dir=folder,
        train_actions=[progress],
        eval_actions=[recorder],
        eval_summary_manager=summary_manager.maybe_build_eval_summary_manager(job.params, folder),
      )
    if folder != job.model_dir:
      runner.follow(job.model_dir)
    guard = actions.NonFiniteGuard(
      job.name,
      runner.trainer,
      job.model_dir,
      job.params.trainer,
      [stream.name for stream in streams] or ['training'],
    )
    progress.bind(runner.trainer, guard)
    # Other workers than the chief find the same.
    shows = 'eval' in mode and folder == job.model_dir
    recorder.bind(runner.trainer, job.num_pictures if shows else 0)
    try:
      with actions.given_up(job.name, job.model_dir, job.params.trainer):
        runner.run()
    except KeyboardInterrupt:
      interrupted_at = _save_on_interrupt(job, runner, guard)
    finally:
      progress.close()
  if interrupted_at is not None:
    # From here on standard output goes to the user again.
    console.say(
      f'{job.name}: interrupted at step {interrupted_at}; the same command continues there.'
    )
    raise KeyboardInterrupt
  return recorder.metrics


def _save_on_interrupt(job: Job, runner: runners.Runner, guard: actions.NonFiniteGuard) -> int:
  """Keeps the steps since the last checkpoint and returns the step.

  Ctrl-C arrives between two loops, so the variables belong together; the guard looks at them first. One of several
  workers keeps nothing: the others may be in another loop, and all of them take part in writing a checkpoint. Nor does
  an evaluation of averages keep anything: weights and averages have changed places until its end.
  """
  has_several_workers = distribution.number_of_workers(job.params.runtime) > 1
  if has_several_workers or runner.has_swapped_weights:
    return finished_steps(job.model_dir)
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

  def __init__(self, job: Job, task: contract.TrainableTask, folder: str):
    self._job = job
    self._task = task
    self._folder = folder
    self._pictures = samples.EvaluationPictures(task, job.params, folder)
    self._trainer: base_trainer.Trainer | None = None
    self.metrics: dict[str, float] = {}

  def bind(self, trainer: base_trainer.Trainer, num_pictures: int) -> None:
    self._trainer = trainer
    self._pictures.watch(num_pictures)

  def __call__(self, output: Mapping[str, tf.Tensor]) -> None:
    assert self._trainer, 'bind() comes before evaluation'
    self.metrics = scalars(output)
    details: dict[str, Any] = {}
    tallies_digest = ''
    if contract.is_ours(self._task):
      details = self._task.evaluation_details()
      path = os.path.join(self._folder, TALLIES_FILE)
      resampling.save(path, self._task.evaluation_tallies())
      tallies_digest = files.sha256(path)
    step = int(self._trainer.global_step.numpy())
    record = {
      'step': step,
      'key': evaluation_key(self._job),
      'details': details,
      'tallies_sha256': tallies_digest,
      'metrics': {name: _or_none(value) for name, value in self.metrics.items()},
    }
    files.write_json(os.path.join(self._folder, METRICS_FILE), record)
    self._pictures.write(step, details)


def recorded_metrics(job: Job, step: int) -> dict[str, float] | None:
  """Metrics of a model that were measured earlier; None if they are of another step, or were measured otherwise."""
  path = os.path.join(job.model_dir, METRICS_FILE)
  if not os.path.exists(path):
    return None
  record = files.read_json(path)
  if (record['step'], record['key']) != (step, evaluation_key(job)):
    return None
  return {k: float('nan') if v is None else v for k, v in record['metrics'].items()}


def evaluation_tallies(model_dir: str) -> dict[str, np.ndarray]:
  """Counts per image of the last evaluation, see `evaluation.resampling`; empty if there are none.

  Those of an evaluation that was stopped before it wrote its metrics do not count.
  """
  path, metrics = (os.path.join(model_dir, name) for name in (TALLIES_FILE, METRICS_FILE))
  if not (os.path.exists(path) and os.path.exists(metrics)):
    return {}
  is_whole = files.sha256(path) == files.read_json(metrics)['tallies_sha256']
  return resampling.load(path) if is_whole else {}


def evaluation_details(model_dir: str) -> dict[str, Any]:
  """Results of a model's last evaluation that are not numbers; empty if there are none."""
  path = os.path.join(model_dir, METRICS_FILE)
  return files.read_json(path).get('details', {}) if os.path.exists(path) else {}


def scalars(output: Mapping[str, tf.Tensor]) -> dict[str, float]:
  """The scalar entries of an Orbit output as floats."""
  values = {}
  for name, value in output.items():
    if tf.rank(value) == 0:
      values[name] = float(value)
  return values


def _or_none(value: float) -> float | None:
  return value if value == value and abs(value) != float('inf') else None


@contextlib.contextmanager
def _stdout_to(path: str) -> Iterator[None]:
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
  """Gives the length of the training to schedules of learning rate and alpha that have null; changes `params`."""
  schedule = params.trainer.optimizer_config.learning_rate.get()
  if schedule is not None and getattr(schedule, 'decay_steps', 0) is None:
    schedule.decay_steps = params.trainer.train_steps
  settings = getattr(params.task, 'self_training', None)
  if settings is not None and settings.alpha_decay_steps is None:
    settings.alpha_decay_steps = params.trainer.train_steps
  return params
