"""Orbit actions: progress on the console, a history file, and a guard against losses that are not finite."""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf
from official.core import base_trainer
from official.core import config_definitions as cfg

from official_selftrain.core import console, errors, memory
from official_selftrain.pipeline import loss_watch
from official_selftrain.tasks import run_state, stream_specs

HISTORY_FILE = 'history.jsonl'


def shown_losses(streams: Sequence[str]) -> tuple[str, ...]:
  """Names of the losses that a user sees, as they are logged: of the whole and of each stream."""
  return ('training_loss', *(f'{stream}_loss' for stream in streams))


class NonFiniteGuard:
  """Stops a run whose loss became NaN or infinite, before a checkpoint of it is written.

  With `trainer.recovery_max_trials` above 0 the guard leaves what the Model Garden's recovery sees to that, which rolls
  back to the last checkpoint. It sees losses and no weights, and without a checkpoint it would go on as before.
  """

  def __init__(
    self,
    name: str,
    trainer: base_trainer.Trainer,
    model_dir: str,
    config: cfg.TrainerConfig,
    streams: Sequence[str],
  ):
    """Builds the guard.

    Args:
      name: of the stage.
      trainer: whose model and losses are watched.
      model_dir: where its checkpoints are.
      config: its settings.
      streams: names of the streams, in the order in which the model's `first_non_finite` counts them.
    """
    self._name = name
    self._streams = tuple(streams)
    self._trainer = trainer
    self._model_dir = model_dir
    self._config = config

  def __call__(self, output: Mapping[str, tf.Tensor]) -> None:
    """Raises NonFiniteLossError, naming step, source and the last good checkpoint."""
    if self._is_rolled_back(output):
      return
    state = getattr(self._trainer.model, 'first_non_finite', None)
    step = int(state.step.numpy()) if state else run_state.NEVER
    if state and step != run_state.NEVER:
      culprit = (
        f'the {self._streams[int(state.source.numpy())]} loss became NaN or infinite at step {step}'
      )
    else:
      bad = [v.name for v in self._trainer.model.trainable_variables if not _is_finite(v)]
      if not bad:
        return
      culprit = f'weights became NaN or infinite by step {int(self._trainer.global_step.numpy())} (first: {bad[0]})'
    shown = shown_losses(self._streams)
    losses = ', '.join(f'{k} {float(output[k]):.4g}' for k in shown if k in output)
    good = tf.train.latest_checkpoint(self._model_dir) or 'none yet'
    raise errors.NonFiniteLossError(
      f'{self._name}: {culprit}. Mean losses since the last report: {losses}. Last good checkpoint: {good}. '
      f'Lower the learning rate or alpha and restart the stage (--restart={self._name} in a self-training run), '
      'or set trainer.recovery_max_trials to roll back and continue.'
    )

  def _is_rolled_back(self, output: Mapping[str, tf.Tensor]) -> bool:
    # -1 is none, as 0 is. Without losses it is asked before a checkpoint is written on Ctrl-C: recovery sees nothing.
    if 'training_loss' not in output:
      return False
    if self._config.recovery_max_trials <= 0 or not tf.train.latest_checkpoint(self._model_dir):
      return False
    loss, step = float(output['training_loss']), int(self._trainer.global_step.numpy())
    return math.isnan(loss) or (math.isinf(loss) and step >= self._config.recovery_begin_steps)


@contextlib.contextmanager
def given_up(name: str, model_dir: str, config: cfg.TrainerConfig) -> Iterator[None]:
  """Turns the Model Garden's error after the last rollback into NonFiniteLossError."""
  try:
    yield
  except RuntimeError as error:
    if not config.recovery_max_trials or not str(error).startswith('The loss value is'):
      raise
    good = tf.train.latest_checkpoint(model_dir) or 'none yet'
    raise errors.NonFiniteLossError(
      f'{name}: {errors.first_line(error)} trainer.recovery_max_trials is {config.recovery_max_trials}. Last good '
      f'checkpoint: {good}. Lower the learning rate or alpha and restart the stage (--restart={name} in a '
      'self-training run).'
    ) from error


def _is_finite(variable: tf.Variable) -> bool:
  return bool(tf.reduce_all(tf.math.is_finite(variable)))


class TrainingProgress:
  """Shows how far training is and appends what it logs to `history.jsonl`, one line per report."""

  def __init__(
    self,
    name: str,
    train_steps: int,
    start_step: int,
    streams: Sequence[stream_specs.Stream],
    model_dir: str,
  ):
    """Builds the action.

    Args:
      name: of the stage.
      train_steps: steps at the end.
      start_step: steps that earlier processes finished.
      streams: what is trained on; they say how many images a step takes.
      model_dir: where the history goes.
    """
    self._path = os.path.join(model_dir, HISTORY_FILE)
    self._bar = console.Progress(name, total=train_steps, initial=start_step, unit='steps')
    self._shown = shown_losses([stream.name for stream in streams])
    self._images_per_step = sum(stream.config.global_batch_size for stream in streams)
    self._last = (start_step, time.monotonic())
    self._train_steps = train_steps
    self._is_used = False
    self._watch = loss_watch.LossWatch(name, self._images_per_step)
    self._trainer: base_trainer.Trainer | None = None
    self._guard: NonFiniteGuard | None = None

  def bind(self, trainer: base_trainer.Trainer, guard: NonFiniteGuard) -> None:
    """Gives the action the objects that are made after it."""
    self._trainer = trainer
    self._guard = guard

  def __call__(self, output: Mapping[str, tf.Tensor]) -> None:
    assert self._guard and self._trainer, 'bind() comes before training'
    self._guard(output)
    step = int(self._trainer.global_step.numpy())
    values = {name: float(value) for name, value in output.items() if tf.rank(value) == 0}
    _append_line(self._path, json.dumps({'step': step, **values}))
    self._watch(values, is_last=step >= self._train_steps)
    shown = {name.removesuffix('_loss'): values[name] for name in self._shown if name in values}
    rate = {'lr': values['learning_rate']} if 'learning_rate' in values else {}
    self._bar.update(
      step, **{'images/s': self._images_per_second(step)}, **shown, **rate, **_memory()
    )
    self._is_used = True

  def _images_per_second(self, step: int) -> float:
    before, then = self._last
    self._last = (step, time.monotonic())
    return (step - before) * self._images_per_step / max(self._last[1] - then, 1e-9)

  def close(self) -> None:
    """Ends the progress line, if there is one."""
    if self._is_used:
      self._bar.close()


def _memory() -> dict[str, str]:
  """Memory of this process, and the most that was used of each GPU, the fullest one shown."""
  found = {'memory': memory.gibibytes(memory.resident_bytes())}
  devices = tf.config.list_logical_devices('GPU')
  if devices:
    most = max(tf.config.experimental.get_memory_info(each.name)['peak'] for each in devices)
    found['GPU'] = memory.gibibytes(most)
  return found


def _append_line(path: str, line: str) -> None:
  """Appends a line, on a line of its own even if a kill cut the last one short."""
  with open(path, 'ab+') as stream:
    if stream.tell() > 0:
      stream.seek(-1, os.SEEK_END)
      line = line if stream.read(1) == b'\n' else '\n' + line
    stream.write(line.encode('utf-8') + b'\n')


def read_history(model_dir: str) -> dict[str, list[tuple[int, float]]]:
  """Curves of a training run.

  Args:
    model_dir: where `history.jsonl` is.

  Returns:
    `(step, value)` per name in ascending steps; where a resumed run reported a step again, the later report counts.
    Empty without a history.
  """
  path = os.path.join(model_dir, HISTORY_FILE)
  if not os.path.exists(path):
    return {}
  rows: dict[int, dict[str, float]] = {}
  with open(path, encoding='utf-8') as history:
    for line in history:
      # Skips a line that a kill cut short.
      with contextlib.suppress(json.JSONDecodeError):
        row = json.loads(line)
        rows[row.pop('step')] = row
  curves: dict[str, list[tuple[int, float]]] = {}
  for step, row in sorted(rows.items()):
    for name, value in row.items():
      curves.setdefault(name, []).append((step, value))
  return curves
