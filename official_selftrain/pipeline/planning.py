"""Decides what a stage has to do, from what is recorded about it; touches no file and needs no TensorFlow."""

import dataclasses
import enum
import os
from collections.abc import Mapping
from typing import Any, Literal

from official_selftrain.core import errors, files
from official_selftrain.pipeline import graph

Status = Literal['running', 'done']

# Ends of the names of settings that are paths of data.
_PLACES = ('.card', '.input_path', '.label_dir')


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What a stage works with now.

  Attributes:
    settings: the settings it reads, by dotted name.
    digests: digests of the products and files it is made from, by name; None where a product is not finished.
    defaults: what settings are if nobody sets them, by dotted name: with these, a run that an older version began,
      which did not know them, is the same.
    former: of files that older versions described in another way, their digests in that way.
  """

  settings: Mapping[str, Any]
  digests: Mapping[str, str | None]
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  former: Mapping[str, str] = dataclasses.field(default_factory=dict)


def keys(
  stages: graph.Graph, settings: Mapping[str, Any], file_digests: Mapping[str, str]
) -> dict[str, str]:
  """Names of products: two runs in which a stage has one key would make the same there.

  They follow from settings and input files alone, so they are known before anything runs.

  Args:
    stages: the graph.
    settings: all settings, flattened to dotted names.
    file_digests: digest of the files that a setting names, and of the additions, for all that any stage has in `files`
      or `additions`.

  Returns:
    Hex digest by stage.
  """
  found: dict[str, str] = {}
  for stage in stages.stages:
    own = {name: file_digests[name] for name in (*stage.files, *stage.additions)}
    needs = {need: found[need] for need in stage.needs}
    found[stage.name] = files.digest_of([stage.kind, stage.reads.select(settings), own, needs])
  return found


@dataclasses.dataclass(frozen=True)
class Record:
  """The record of a stage.

  Attributes:
    inputs: what it worked with.
    status: `running` from its start on, `done` when its product is whole.
    seconds: wall time so far, over all processes.
    result: JSON-serialisable facts about the product, among them its `digest`; empty unless done.
  """

  inputs: Inputs
  status: Status
  seconds: float = 0.0
  result: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def is_done(self) -> bool:
    """Whether the product is whole."""
    return self.status == 'done'


@dataclasses.dataclass(frozen=True)
class Traces:
  """The traces of a stage on the disk.

  Attributes:
    has_progress: something that a later start would continue from.
    has_product: all that it makes.
  """

  has_progress: bool
  has_product: bool


class Action(enum.Enum):
  """What to do with a stage."""

  SKIP = 'skip'
  CONTINUE = 'continue'
  START = 'start'


def decide(
  stage: graph.Stage, record: Record | None, inputs: Inputs, traces: Traces, where: str
) -> Action:
  """Decides what to do with a stage.

  Args:
    stage: the stage.
    record: what is remembered of it; None if it never started.
    inputs: what it would work with now. What is not known yet is not compared.
    traces: what it left on the disk.
    where: the run directory, for the message.

  Returns:
    `SKIP` when the product is there and fits, `CONTINUE` when it was started with the same inputs, `START` otherwise.

  Raises:
    StageChangedError: it has a product, or a part of one, that was made with something else; or its product is gone.
  """
  if record is None:
    return Action.START
  change = first_change(record.inputs, inputs)
  if change:
    is_bound = record.is_done or traces.has_progress
    if is_bound and not stage.is_cheap:
      raise errors.StageChangedError(_changed_message(stage.name, record, change, where))
    return Action.START
  if not record.is_done:
    return Action.CONTINUE
  if traces.has_product:
    return Action.SKIP
  if stage.is_cheap:
    return Action.START
  raise errors.StageChangedError(
    f'The stage {stage.name} is finished in {where}, but its product ({", ".join(stage.makes)}) is gone. Put it back, '
    f'or run it and the stages made from it again with --restart={stage.name}.'
  )


def check_given_teacher(record: Record | None, given: str, digest: str, where: str) -> None:
  """Raises StageChangedError if a run has another teacher than a given one; how it is evaluated is left open.

  Args:
    record: of the run's teacher; None if there is none.
    given: `teacher.checkpoint`.
    digest: of that.
    where: the run directory, for the message.
  """
  name = 'teacher.checkpoint'
  if record is not None and record.inputs.digests.get(name) != digest:
    raise errors.StageChangedError(
      f'The teacher of {where} is another one than {name}={given}. Use another --model_dir.'
    )


def first_change(before: Inputs, now: Inputs) -> str | None:
  """The first setting or input that differs, in words; None if nothing that is known does."""
  for name in sorted({*before.settings, *now.settings}):
    old, new = before.settings.get(name), now.settings.get(name)
    if name.endswith(_PLACES) and _is_one_place(old, new):
      continue
    if old != new and not _is_newer(name, before.settings, now):
      return f'{name} was {old!r} and is now {new!r}'
  for name in sorted({*before.digests, *now.digests}):
    is_unknown = name in now.digests and now.digests[name] is None
    known = (now.digests.get(name), now.former.get(name, now.digests.get(name)))
    if not is_unknown and before.digests.get(name) not in known:
      return f'its input {name} has changed'
  return None


def _is_one_place(old: object, new: object) -> bool:
  """Whether two paths lead to the same files."""
  if not isinstance(old, str) or not isinstance(new, str) or not old or not new:
    return False
  return '://' not in old + new and os.path.realpath(old) == os.path.realpath(new)


def _is_newer(name: str, before: Mapping[str, Any], now: Inputs) -> bool:
  """Whether a setting is one that the record could not know, and is as if it were not there."""
  if name in before or name not in now.settings or name not in now.defaults:
    return False
  part = name.rpartition('.')[0]
  if part and not any(other == part or other.startswith(f'{part}.') for other in before):
    return True  # Of all this an older version read nothing.
  # Of a part that was null then, all settings are missing in the record.
  above = name.split('.')
  was_null = any('.'.join(above[:end]) in before for end in range(1, len(above)))
  return not was_null and now.settings[name] == now.defaults[name]


def choose(stages: graph.Graph, only: str, flag: str, where: str) -> graph.Stage:
  """The stage that a user named.

  Args:
    stages: the graph.
    only: what was typed.
    flag: the flag, without dashes, for the message.
    where: which run this is, for the message.

  Raises:
    ConfigError: there is no such stage.
  """
  if only not in stages:
    also = ', and all.' if flag == 'stage' else '.'
    raise errors.ConfigError(
      f'--{flag}={only}: {where} has the stages {", ".join(stages.names)}{also}'
    )
  return stages[only]


def restarted(stages: graph.Graph, name: str) -> tuple[graph.Stage, ...]:
  """The stages that a restart of `name` removes: itself and all that are made from it, in order."""
  return (stages[name], *stages.made_from(name))


def _changed_message(name: str, record: Record, change: str, where: str) -> str:
  state = 'is finished' if record.is_done else 'has started'
  return (
    f'The stage {name} {state} in {where} with other settings: {change}. One run never mixes settings. Put the setting '
    f'back, restart this stage and those made from it with --restart={name}, or use another --model_dir.'
  )
