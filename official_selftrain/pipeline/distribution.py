"""Devices and workers: the strategy of a run, and who of several workers writes.

With `MultiWorkerMirroredStrategy` every worker is a process that is given the same command. The first one, the chief,
writes all files of a run. The others take part in what is computed together (training, evaluation) and wait for what
the chief does alone (calibration, report, export), see `selftrain`. Unlabelled shards are dealt out; the chief writes
the manifest. All of them evaluate on all validation images: predictions need no exchange, metrics are those of the
whole set, and it takes no longer than by the chief alone.
"""

import contextlib
import functools
import json
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from absl import logging
from official.common import distribute_utils
from official.core import config_definitions as cfg

from official_selftrain.core import console, errors
from official_selftrain.ops import pipelines

_MULTI_WORKER = 'multi_worker_mirrored'
_ON_LOCAL_GPUS = ('off', 'one_device', 'mirrored')
# How often Ctrl-C is looked for while other workers are waited for.
_SECONDS_BETWEEN_LOOKS = 0.2
# What TensorFlow raises in every worker when one of them is gone.
_LOST = (
  tf.errors.UnavailableError,
  tf.errors.AbortedError,
  tf.errors.CancelledError,
  tf.errors.DeadlineExceededError,
)


def check(runtime: cfg.RuntimeConfig) -> None:
  """Raises ConfigError for workers with a strategy that is not for several, or without their number; warns of XLA."""
  hosts, name = runtime.worker_hosts, runtime.distribution_strategy
  if runtime.enable_xla and runtime.num_gpus < 1 and name != 'tpu':
    logging.warning(
      'runtime.enable_xla has no effect: the Model Garden compiles only where runtime.num_gpus is above 0. Set it to '
      'the number of GPUs.'
    )
  if hosts and name != _MULTI_WORKER:
    raise errors.ConfigError(
      f'runtime.worker_hosts is {hosts!r} and runtime.distribution_strategy {name!r}: several workers need '
      f'{_MULTI_WORKER!r}.'
    )
  for host in filter(None, (hosts or '').split(',')):
    if not re.fullmatch(r'[^\s:]+:[0-9]+', host):
      raise errors.ConfigError(
        f'runtime.worker_hosts has {host!r}: it must be host:port for each worker, separated by commas.'
      )
  number = number_of_workers(runtime)
  if not 0 <= index(runtime) < number:
    raise errors.ConfigError(
      f'runtime.task_index is {runtime.task_index}: give each of the {number} workers its place in '
      'runtime.worker_hosts, the first one 0.'
    )


def check_trainers(runtime: cfg.RuntimeConfig, trainers: Mapping[str, cfg.TrainerConfig]) -> None:
  """Raises ConfigError for what several workers cannot do together: only the chief has the files that it needs.

  Args:
    runtime: the settings of workers.
    trainers: those of trainings, by dotted name.
  """
  if number_of_workers(runtime) == 1:
    return
  for name, trainer in trainers.items():
    if trainer.recovery_max_trials > 0:
      raise errors.ConfigError(
        f'{name}.recovery_max_trials is {trainer.recovery_max_trials}: several workers do not go back together. Set it '
        'to -1; a run that stops goes on from its last checkpoint when all workers are started again.'
      )
    if trainer.best_checkpoint_export_subdir:
      raise errors.ConfigError(
        f'{name}.best_checkpoint_export_subdir is {trainer.best_checkpoint_export_subdir!r}: after a restart several '
        'workers would not agree on which checkpoint was the best. Leave it empty.'
      )


def build_strategy(
  runtime: cfg.RuntimeConfig, swaps_weights: bool = False
) -> tf.distribute.Strategy:
  """The distribution strategy of the runtime settings; `mirrored` with `num_gpus` 0 takes all GPUs there are.

  With several workers it must be called before TensorFlow does anything else; it waits for all of them.

  Args:
    runtime: the settings.
    swaps_weights: evaluation takes averages of the weights, which the Model Garden does under a strategy only; so a
      single device gets one.
  """
  pipelines.remove_tuner_of_devices()
  name = runtime.distribution_strategy
  num_gpus = runtime.num_gpus
  if name == _MULTI_WORKER:
    distribute_utils.configure_cluster(runtime.worker_hosts, runtime.task_index)
  if name == 'mirrored':
    num_gpus = num_gpus or len(tf.config.list_physical_devices('GPU'))
  if name == 'mirrored' and num_gpus < 2:
    # There is nothing to mirror on one device, and the machinery costs ten seconds of tracing per model.
    name = 'off'
  if name == 'off' and swaps_weights:
    # A GPU, if there is one, as without averages; the Model Garden takes the CPU where the number is 0.
    name = 'one_device'
    num_gpus = num_gpus or min(1, len(tf.config.list_physical_devices('GPU')))
  return _strategy(name, runtime.all_reduce_alg, num_gpus, runtime.tpu)


def strategy_of_process(runtime: cfg.RuntimeConfig) -> tf.distribute.Strategy:
  """The strategy of what a process does by itself, such as labelling: all its GPUs with `mirrored`, else one device."""
  mirrored = runtime.distribution_strategy == 'mirrored'
  return build_strategy(runtime) if mirrored else tf.distribute.get_strategy()


@functools.cache
def _strategy(
  name: str, all_reduce_alg: str | None, num_gpus: int, tpu: str | None
) -> tf.distribute.Strategy:
  """One strategy for all stages of a process.

  Each strategy numbers its collective operations from the same start, and TensorFlow remembers the shape of each
  number: a second strategy on the same devices fails with a shape mismatch.

  Raises:
    ConfigError: there are fewer GPUs than the settings say; TensorFlow would wait for the others for ever, or take the
      CPU.
  """
  found = len(tf.config.list_physical_devices('GPU'))
  if name in _ON_LOCAL_GPUS and num_gpus > found:
    raise errors.ConfigError(
      f'runtime.num_gpus is {num_gpus}, and TensorFlow finds {found} on this machine. With '
      "runtime.distribution_strategy='mirrored' and 0 it takes all that there are."
    )
  return distribute_utils.get_distribution_strategy(
    distribution_strategy=name,
    all_reduce_alg=all_reduce_alg,
    num_gpus=num_gpus,
    tpu_address=tpu,
  )


def number_of_workers(runtime: cfg.RuntimeConfig) -> int:
  """Worker processes of a run; 1 without `multi_worker_mirrored`."""
  if runtime.distribution_strategy != _MULTI_WORKER:
    return 1
  cluster = _tf_config().get('cluster', {})
  named = [*cluster.get('chief', []), *cluster.get('worker', [])]
  return len(named) or len(list(filter(None, (runtime.worker_hosts or '').split(',')))) or 1


def index(runtime: cfg.RuntimeConfig) -> int:
  """This process's place among all workers, from 0; the chief's is 0."""
  if number_of_workers(runtime) == 1:
    return 0
  found = _tf_config()
  if not found:
    return runtime.task_index
  task = found['task']
  chiefs = len(found['cluster'].get('chief', []))
  return int(task['index']) + (0 if task['type'] == 'chief' else chiefs)


def is_chief(runtime: cfg.RuntimeConfig) -> bool:
  """Whether this process writes the run's files: the only one, or the first of several workers."""
  return index(runtime) == 0


def _tf_config() -> dict[str, Any]:
  return json.loads(os.environ.get('TF_CONFIG') or '{}')


def meet(runtime: cfg.RuntimeConfig) -> None:
  """Returns when all workers have come here; at once in a run of one process.

  Raises:
    WorkerError: another worker is gone.
  """
  if number_of_workers(runtime) == 1:
    return
  strategy = build_strategy(runtime)

  def add_up() -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1.0))

  with explain(runtime):
    # In a thread of its own: no signal interrupts the operation.
    _in_thread(lambda: strategy.run(tf.function(add_up)))


@contextlib.contextmanager
def together(runtime: cfg.RuntimeConfig) -> Iterator[None]:
  """All workers begin the body when all have come to it, and leave it when all have done it."""
  meet(runtime)
  yield
  meet(runtime)


@contextlib.contextmanager
def chief_first(runtime: cfg.RuntimeConfig) -> Iterator[None]:
  """The chief does the body alone; the others begin it when the chief has done it."""
  if not is_chief(runtime):
    meet(runtime)
  yield
  if is_chief(runtime):
    meet(runtime)


def _in_thread(work: Callable[[], object]) -> None:
  """Does work in another thread, so that Ctrl-C ends the wait for it."""
  ended: queue.Queue[BaseException | None] = queue.Queue()

  def run() -> None:
    try:
      work()
    except BaseException as error:  # Raised again where it is waited for.
      ended.put(error)
    else:
      ended.put(None)

  threading.Thread(target=run, daemon=True).start()
  while True:
    with contextlib.suppress(queue.Empty):
      error = ended.get(timeout=_SECONDS_BETWEEN_LOOKS)
      break
  if error is not None:
    raise error


@contextlib.contextmanager
def explain(runtime: cfg.RuntimeConfig) -> Iterator[None]:
  """Turns what TensorFlow raises when a worker is gone into a WorkerError; a run of one process keeps its errors."""
  try:
    yield
  except _LOST as error:
    if number_of_workers(runtime) == 1:
      raise
    raise errors.WorkerError(
      f'another worker has stopped ({errors.first_line(error)}). What it printed last says why. Start all workers '
      'again with the same commands: they go on from the last checkpoint.'
    ) from error


def announce(runtime: cfg.RuntimeConfig) -> None:
  """Says which of several workers this is."""
  part = 'the chief, which writes all files' if is_chief(runtime) else 'follows the chief'
  console.say(f'worker {index(runtime) + 1} of {number_of_workers(runtime)}: {part}')
