"""The records of a run directory: one JSON file per stage, written when the stage starts and when it is done."""

import dataclasses
import os
import time
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from official_selftrain.core import console, errors, files
from official_selftrain.pipeline import graph, planning

RECORDS_DIR = 'stages'
_REMOVED = '.removed'
_ADVICE = 'Delete it; the stage {} then goes on with what it has made.'

# Files that show that training or labelling left something to continue from.
_PROGRESS = ('checkpoint', '.tfrecord')


class Ledger:
  """Reads and writes the records of a run's stages, and finds and removes their products."""

  def __init__(self, model_dir: str):
    """Touches nothing.

    Args:
      model_dir: the run directory.
    """
    self._model_dir = model_dir

  @property
  def model_dir(self) -> str:
    """The run directory."""
    return self._model_dir

  def path(self, name: str) -> str:
    """Path of a stage's record."""
    return os.path.join(self._model_dir, RECORDS_DIR, f'{name}.json')

  def read(self, name: str) -> planning.Record | None:
    """The record of a stage, or None if it never started."""
    if not os.path.exists(self.path(name)):
      return None
    return files.parse_json(self.path(name), _record, _ADVICE.format(name))

  def is_done(self, name: str) -> bool:
    """Whether a stage has finished."""
    record = self.read(name)
    return record is not None and record.is_done

  def result(self, name: str) -> dict[str, Any]:
    """The result recorded by a finished stage.

    Raises:
      StageChangedError: the stage has not finished.
    """
    record = self.read(name)
    if record is None or not record.is_done:
      raise errors.StageChangedError(
        f'The stage {name} is not finished in {self._model_dir}: run it first.'
      )
    return dict(record.result)

  def seconds(self, names: tuple[str, ...]) -> dict[str, float]:
    """Wall seconds of those of the named stages that have finished, all processes added up."""
    found = {name: self.read(name) for name in names}
    return {name: record.seconds for name, record in found.items() if record and record.is_done}

  def traces(self, stage: graph.Stage) -> planning.Traces:
    """The traces of a stage in the run directory."""
    kept = {os.path.join(self._model_dir, name) for name in stage.keeps}
    paths = [os.path.join(self._model_dir, name) for name in stage.makes]
    has_progress = any(name.endswith(_PROGRESS) for path in paths for name in _files(path, kept))
    has_product = all(
      os.path.exists(path) and (not os.path.isdir(path) or not kept or set(_inside(path)) - kept)
      for path in paths
    )
    return planning.Traces(has_progress, has_product)

  def execute(
    self,
    stage: graph.Stage,
    inputs: planning.Inputs,
    key: str,
    work: Callable[[], dict[str, Any]],
  ) -> None:
    """Does the work of a stage between its two records.

    Args:
      stage: the stage.
      inputs: what it works with.
      key: the name of its product, see `planning.keys`.
      work: makes the product and returns facts about it, among them its `digest`.
    """
    before = self.read(stage.name)
    # A removal may have been killed.
    self._put_back(stage)
    for name in stage.makes:
      files.remove(os.path.join(self._model_dir, name) + _REMOVED)
    goes_on = before is not None and planning.first_change(before.inputs, inputs) is None
    if before is not None and not goes_on:
      # Nothing that was made with other settings, such as a history, may mix with the new product.
      self.clear(stage)
    record = planning.Record(inputs, 'running', before.seconds if before and goes_on else 0.0)
    self._write(stage, record, key)
    started = time.monotonic()
    try:
      result = work()
    except BaseException:
      self._write(stage, _after(record, started), key)
      raise
    done = dataclasses.replace(_after(record, started), status='done', result=result)
    self._write(stage, done, key)

  def adopt(
    self,
    stage: graph.Stage,
    inputs: planning.Inputs,
    key: str,
    seconds: float,
    result: dict[str, Any],
  ) -> None:
    """Records a stage whose product another run has made from the same inputs.

    Args:
      stage: the stage; its product is in the run directory.
      inputs: what it would have worked with.
      key: the name of its product.
      seconds: that it took there.
      result: its result there.
    """
    self._write(stage, planning.Record(inputs, 'done', seconds, result), key)

  def remove(self, stages: tuple[graph.Stage, ...]) -> None:
    """Removes products and records of stages.

    Last stage first. The record stops saying that the stage is done, then the product is renamed, then the record goes:
    a kill in between leaves no record that calls a half-removed product finished.
    """
    for stage in reversed(stages):
      if self.is_done(stage.name):
        value = files.read_json(self.path(stage.name))
        files.write_json(self.path(stage.name), {**value, 'status': 'running'})
      removed = self._set_aside(stage)
      files.remove(self.path(stage.name))
      for path in removed:
        files.remove(path)
      console.say(f'{stage.name}: removed, will start again.')

  def clear(self, stage: graph.Stage) -> None:
    """Removes what there is of a stage's product, but not what people put into it, and not its record."""
    for path in self._set_aside(stage):
      files.remove(path)

  def _set_aside(self, stage: graph.Stage) -> list[str]:
    """Renames a product, without what people put into it; returns the new paths."""
    self._put_back(stage)
    removed = []
    for name in stage.makes:
      path = os.path.join(self._model_dir, name)
      if os.path.exists(path):
        files.remove(path + _REMOVED)
        os.replace(path, path + _REMOVED)
        removed.append(path + _REMOVED)
    self._put_back(stage)
    return removed

  def _put_back(self, stage: graph.Stage) -> None:
    """Puts what people had put into a product that was renamed where it was."""
    for name in stage.keeps:
      path = os.path.join(self._model_dir, name)
      folder, last = os.path.split(path)
      aside = os.path.join(folder + _REMOVED, last)
      if os.path.exists(aside) and not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        os.replace(aside, path)

  def _write(self, stage: graph.Stage, record: planning.Record, key: str) -> None:
    value = {
      'stage': stage.name,
      'key': key,
      'settings': dict(record.inputs.settings),
      'inputs': dict(record.inputs.digests),
      'seconds': record.seconds,
      'status': record.status,
    }
    if record.is_done:
      value['result'] = dict(record.result)
    files.write_json(self.path(stage.name), value)


def _inside(folder: str) -> list[str]:
  return [os.path.join(folder, name) for name in os.listdir(folder)]


def _files(folder: str, kept: Container[str]) -> Iterator[str]:
  """The files below a folder, without the folders `kept`."""
  for root, folders, names in os.walk(folder):
    folders[:] = [name for name in folders if os.path.join(root, name) not in kept]
    yield from names


def _record(value: Mapping[str, Any]) -> planning.Record:
  return planning.Record(
    planning.Inputs(dict(value['settings']), dict(value['inputs'])),
    value['status'],
    float(value['seconds']),
    dict(value.get('result', {})),
  )


def _after(record: planning.Record, started: float) -> planning.Record:
  return dataclasses.replace(record, seconds=record.seconds + time.monotonic() - started)


class FollowersLedger(Ledger):
  """The ledger of a worker that follows the chief: it reads the chief's records and writes none."""

  def execute(
    self,
    stage: graph.Stage,
    inputs: planning.Inputs,
    key: str,
    work: Callable[[], dict[str, Any]],
  ) -> None:
    """Takes part in a stage that all workers do; does nothing in the others."""
    del inputs, key
    if stage.is_for_all:
      work()

  def remove(self, stages: tuple[graph.Stage, ...]) -> None:
    """Does nothing: the chief removes."""
