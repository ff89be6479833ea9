"""Runs a loaded experiment in one mode."""

import os
import re

from official.core import config_definitions as cfg

from official_selftrain.configs import pretraining, runs
from official_selftrain.core import console, errors
from official_selftrain.pipeline import (
  data,
  directories,
  distribution,
  labelling,
  selftrain,
  selftrain_graph,
  training,
  validation_records,
)
from official_selftrain.report import contents
from official_selftrain.tasks import contract

MODES = ('train', 'eval', 'train_and_eval', 'continuous_eval')
ALL_STAGES = selftrain.ALL_STAGES


def run(
  params: cfg.ExperimentConfig,
  mode: str,
  model_dir: str,
  stage: str = ALL_STAGES,
  restart: str = '',
  label_worker: str = '',
) -> None:
  """Runs an experiment.

  Args:
    params: a loaded and checked experiment.
    mode: one of `MODES`. For a self-training experiment the modes that train run the stages, the others evaluate
      the student of the last round, or the model that `stage` names.
    model_dir: run or model directory.
    stage: the only stage to run.
    restart: a stage whose product, and what was made from it, is removed first.
    label_worker: `i/n`: only label the i-th of n parts of the unlabelled shards, of the first round or of the stage
      that `stage` names. Several of them may work in a run directory at once.

  Raises:
    ConfigError: unknown mode, stages asked of an experiment that has none, or a directory in which another process
      trains.
    SelfTrainError: what goes wrong in the run.
  """
  if mode not in MODES:
    raise errors.ConfigError(f'--mode is {mode!r}: allowed are {", ".join(MODES)}.')
  distribution.check(params.runtime)
  is_ours = isinstance(params, runs.SupervisedExperiment)
  trainers = params.trainers() if is_ours else {'trainer': params.trainer}
  distribution.check_trainers(params.runtime, trainers)
  if restart and (label_worker or 'train' not in mode):
    with_what = '--label_worker' if label_worker else f'--mode={mode}'
    raise errors.ConfigError(
      f'--restart={restart} removes a stage so that it is made again, and {with_what} makes none again: leave out '
      '--restart.'
    )
  if distribution.number_of_workers(params.runtime) > 1 and mode == 'continuous_eval':
    raise errors.ConfigError(
      '--mode=continuous_eval runs in one process: leave out runtime.worker_hosts.'
    )
  if label_worker:
    _label_share(params, mode, model_dir, stage, label_worker)
    return
  # Other workers write nothing, and evaluation may go on beside training.
  if 'train' in mode and distribution.is_chief(params.runtime):
    with directories.occupied(model_dir):
      _run(params, mode, model_dir, stage, restart)
  else:
    directories.make(model_dir)
    _run(params, mode, model_dir, stage, restart)


def _label_share(
  params: cfg.ExperimentConfig, mode: str, model_dir: str, stage: str, label_worker: str
) -> None:
  match = re.fullmatch(r'([0-9]+)/([0-9]+)', label_worker)
  worker, workers = (int(part) for part in match.groups()) if match else (0, 0)
  if not 1 <= worker <= workers:
    raise errors.ConfigError(
      f'--label_worker={label_worker}: it must be i/n with i from 1 to n, such as 2/8.'
    )
  if not isinstance(params, runs.SelfTrainingExperiment):
    raise errors.ConfigError('--label_worker is for self-training experiments.')
  training.set_precision(params.runtime)
  name = selftrain_graph.LABELS if stage == ALL_STAGES else stage
  request = selftrain.SelfTrainingRun(params, model_dir, mode).label_request(name)
  labelling.run_share(request, worker - 1, workers)


def _run(params: cfg.ExperimentConfig, mode: str, model_dir: str, stage: str, restart: str) -> None:
  if distribution.number_of_workers(params.runtime) > 1:
    distribution.announce(params.runtime)
    # Before anything else: TensorFlow must know of the workers when it starts.
    distribution.build_strategy(params.runtime)
  training.set_precision(params.runtime)
  if not isinstance(params, runs.SelfTrainingExperiment):
    _run_supervised(params, mode, model_dir, stage, restart)
    return
  work = selftrain.SelfTrainingRun(params, model_dir, mode)
  if 'train' not in mode:
    models = [each.name for each in work.stages if each.kind in contents.ALL_MODELS]
    students = [each.name for each in work.stages if each.kind in contents.MODELS]
    # The last one is that of the last round.
    model = students[-1] if stage == ALL_STAGES else stage
    if model not in models:
      raise errors.ConfigError(
        f'--stage={stage}: mode {mode} evaluates one of {", ".join(models)}.'
      )
    _print_metrics(model, work.evaluate(model))
    return
  work.execute(stage, restart)


def _run_supervised(
  params: cfg.ExperimentConfig, mode: str, model_dir: str, stage: str, restart: str
) -> None:
  if stage != ALL_STAGES or restart:
    raise errors.ConfigError(
      '--stage and --restart are for self-training experiments; this one trains one model.'
    )
  resolved = params.replace()
  names: tuple[str, ...] = ()
  if isinstance(resolved, runs.SupervisedExperiment) and pretraining.is_path(resolved.init):
    resolved.task.init_checkpoint, resolved.task.init_checkpoint_modules = resolved.init, 'backbone'
  if isinstance(resolved, runs.SupervisedExperiment):
    with distribution.chief_first(params.runtime):
      names = data.make(resolved, data.locate(resolved, model_dir)).class_names
    data.check_augmentation(resolved)
    data.check_files(resolved.task, 'train' in mode)
    data.check_first_records(contract.make(resolved.task), 'train' in mode)
    validation_records.check(resolved.task, names)
  name = os.path.basename(os.path.normpath(model_dir)) or 'model'
  job_params = training.with_schedule_length(resolved)
  seed = getattr(params, 'seed', 0)
  job = training.Job(name, model_dir, job_params, seed, class_names=names)
  if mode == 'train_and_eval' and training.finished_steps(model_dir) >= job.train_steps:
    console.say(f'{model_dir} is trained already ({job.train_steps} steps): evaluating it.')
    mode = 'eval'
  _print_metrics(name, training.run(job, mode))


def _print_metrics(name: str, metrics: dict[str, float]) -> None:
  """Prints the metrics that are single numbers for the whole model."""
  rows = [(key, f'{value:.4f}') for key, value in metrics.items() if '/' not in key]
  if rows:
    console.say(console.table(rows, (name, 'value')))
