"""Stages: what a product was made from, whether it is finished, and whether it still fits the settings."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from official_selftrain.core import console, errors, files

RECORDS_DIR = 'stages'
_REMOVED = '.removed'

# Settings that change neither what a stage learns nor what it writes, by the last part of their name.
_HARMLESS = frozenset({
    'steps_per_loop', 'summary_interval', 'checkpoint_interval', 'max_to_keep', 'validation_interval',
    'validation_steps', 'validation_summary_subdir', 'continuous_eval_timeout', 'best_checkpoint_export_subdir',
    'best_checkpoint_eval_metric', 'best_checkpoint_metric_comp', 'prefetch_buffer_size', 'recovery_max_trials',
    'preemption_on_demand_checkpoint', 'loss_upper_bound', 'recovery_begin_steps', 'skip_errors', 'train_tf_while_loop',
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Stage:
  """One step of a run.

  Attributes:
    name: as on the command line.
    outputs: files and folders below the run directory that hold its product; `--restart` removes them.
    depends_on: dotted prefixes of the settings that its product depends on.
    inputs: digests of the products it is made from, by name; evaluated when the stage starts.
    run: does the work and returns facts to record, JSON-serialisable; its `digest` identifies the product.
    redo_when_changed: repeat the stage when settings or inputs changed, for cheap products; others are an error.
  """

  name: str
  outputs: tuple[str, ...]
  depends_on: tuple[str, ...]
  inputs: Callable[[], dict[str, str]]
  run: Callable[[], dict[str, Any]]
  redo_when_changed: bool = False


class StageRecords:
  """The records of a run directory: one JSON file per stage, written when it starts and when it is done."""

  def __init__(self, model_dir: str):
    self._model_dir = model_dir

  def path(self, name: str) -> str:
    """Where a stage's record lies."""
    return os.path.join(self._model_dir, RECORDS_DIR, f'{name}.json')

  def read(self, name: str) -> dict[str, Any] | None:
    """The record of a stage, or None if it never started."""
    return files.read_json(self.path(name)) if os.path.exists(self.path(name)) else None

  def is_done(self, name: str) -> bool:
    """Whether a stage has finished."""
    record = self.read(name)
    return record is not None and record['status'] == 'done'

  def result(self, name: str) -> dict[str, Any]:
    """What a finished stage recorded.

    Raises:
      StageChangedError: if the stage has not finished.
    """
    record = self.read(name)
    if record is None or record['status'] != 'done':
      raise errors.StageChangedError(
        f'The stage {name} is not finished in {self._model_dir}: run it first.'
      )
    return record['result']

  def seconds(self) -> dict[str, float]:
    """Wall seconds of the finished stages, all processes added up."""
    names = sorted(os.listdir(os.path.join(self._model_dir, RECORDS_DIR)))
    records = [
      (name.removesuffix('.json'), self.read(name.removesuffix('.json'))) for name in names
    ]
    return {
      name: record['seconds'] for name, record in records if record and record['status'] == 'done'
    }

  def execute(
    self, stage: Stage, settings: Mapping[str, Any], announce: Callable[[], None] = lambda: None
  ) -> bool:
    """Runs a stage unless it is done.

    Args:
      stage: the stage.
      settings: all settings, flattened to dotted names.
      announce: called before the stage runs, if it runs.

    Returns:
      Whether it ran now.

    Raises:
      StageChangedError: a setting or input of a stage that has started is not what it was.
    """
    relevant = relevant_settings(settings, stage.depends_on)
    inputs = stage.inputs()
    record = self.read(stage.name)
    if record is not None:
      change = _first_change(record, relevant, inputs)
      is_bound = record['status'] == 'done' or self._has_progress(stage)
      if change and is_bound and not stage.redo_when_changed:
        raise errors.StageChangedError(self._changed_message(stage.name, record['status'], change))
      if record['status'] == 'done' and not change and self._has_outputs(stage):
        return False
      if change:
        record = None
    spent = record['seconds'] if record else 0.0
    state = {'stage': stage.name, 'settings': relevant, 'inputs': inputs, 'seconds': spent}
    files.write_json(self.path(stage.name), {**state, 'status': 'running'})
    announce()
    started = time.monotonic()
    try:
      result = stage.run()
    except BaseException:
      state['seconds'] = spent + time.monotonic() - started
      files.write_json(self.path(stage.name), {**state, 'status': 'running'})
      raise
    state['seconds'] = spent + time.monotonic() - started
    files.write_json(self.path(stage.name), {**state, 'status': 'done', 'result': result})
    return True

  def restart(self, stages: list[Stage]) -> None:
    """Removes the products and records of stages.

    Last stage first, and each product is renamed before its record goes: a kill in between leaves no record that
    calls a half-removed product finished.
    """
    for stage in reversed(stages):
      removed = []
      for name in stage.outputs:
        path = os.path.join(self._model_dir, name)
        if os.path.exists(path):
          files.remove(path + _REMOVED)
          os.replace(path, path + _REMOVED)
          removed.append(path + _REMOVED)
      files.remove(self.path(stage.name))
      for path in removed:
        files.remove(path)
      console.say(f'{stage.name}: removed, starts afresh.')

  def check(self, stage: Stage, settings: Mapping[str, Any]) -> None:
    """Raises StageChangedError if a stage that has a product was made with other settings."""
    record = self.read(stage.name)
    if record is None or stage.redo_when_changed:
      return
    change = _first_change(record, relevant_settings(settings, stage.depends_on), record['inputs'])
    if change and (record['status'] == 'done' or self._has_progress(stage)):
      raise errors.StageChangedError(self._changed_message(stage.name, record['status'], change))

  def _has_progress(self, stage: Stage) -> bool:
    """Whether a stage that is not finished has left something that a later start would go on with."""
    for name in stage.outputs:
      for _, _, names in os.walk(os.path.join(self._model_dir, name)):
        if any(file == 'checkpoint' or file.endswith('.tfrecord') for file in names):
          return True
    return False

  def _has_outputs(self, stage: Stage) -> bool:
    return all(os.path.exists(os.path.join(self._model_dir, name)) for name in stage.outputs)

  def _changed_message(self, name: str, status: str, change: str) -> str:
    state = 'is finished' if status == 'done' else 'has started'
    return (
      f'The stage {name} {state} in {self._model_dir} with other settings: {change}. One run never mixes settings. '
      f'Put the setting back, start this stage and those after it afresh with --restart={name}, or use another '
      '--model_dir.'
    )


def relevant_settings(settings: Mapping[str, Any], prefixes: tuple[str, ...]) -> dict[str, Any]:
  """The settings below any of the dotted prefixes, without those that only change logging and timing."""
  return {
    name: value
    for name, value in sorted(settings.items())
    if any(name == prefix or name.startswith(prefix + '.') for prefix in prefixes)
    and name.rsplit('.', 1)[-1] not in _HARMLESS
  }


def _first_change(
  record: Mapping[str, Any], settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> str | None:
  """The first setting or input that differs from the record, in words."""
  old_settings = record['settings']
  for name in sorted(set(old_settings) | set(settings)):
    old, new = old_settings.get(name), settings.get(name)
    if old != new:
      return f'{name} was {old!r} and is now {new!r}'
  for name in sorted(set(record['inputs']) | set(inputs)):
    if record['inputs'].get(name) != inputs.get(name):
      return f'its input {name} has changed'
  return None
