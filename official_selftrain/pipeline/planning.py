"""Decides what a stage has to do, from what is recorded about it; touches no file and needs no TensorFlow."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Literal

from official_selftrain.core import errors, files
from official_selftrain.pipeline import graph

Status = Literal['running', 'done']


@dataclasses.dataclass(frozen=True)
class Inputs:
  """The current inputs of a stage.

  Attributes:
    settings: the settings it reads, by dotted name.
    digests: digests of the products and files it is made from, by name.
  """

  settings: Mapping[str, Any]
  digests: Mapping[str, str]

  def key(self, kind: str) -> str:
    """Hex digest that names the product: two runs with equal keys would make the same."""
    return files.digest_of([kind, dict(self.settings), dict(self.digests)])


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
  stage: graph.Stage, record: Record | None, inputs: Inputs | None, traces: Traces, where: str
) -> Action:
  """What to do with a stage.

  Args:
    stage: the stage.
    record: what is remembered of it; None if it never started.
    inputs: what it would work with now; None while something that it needs is not finished, which leaves out the
      comparison of inputs.
    traces: what it left on the disk.
    where: the run directory, for the message.

  Returns:
    `SKIP` when the product is there and fits, `CONTINUE` when it was started with the same inputs, `START` otherwise.

  Raises:
    StageChangedError: it has a product, or a part of one, that was made with something else.
  """
  if record is None:
    return Action.START
  change = None if inputs is None else first_change(record.inputs, inputs)
  if change:
    is_bound = record.is_done or traces.has_progress
    if is_bound and not stage.is_cheap:
      raise errors.StageChangedError(_changed_message(stage.name, record, change, where))
    return Action.START
  if record.is_done and traces.has_product:
    return Action.SKIP
  return Action.CONTINUE


def first_change(before: Inputs, now: Inputs) -> str | None:
  """The first setting or input that differs, in words; None if nothing does."""
  for name in sorted({*before.settings, *now.settings}):
    old, new = before.settings.get(name), now.settings.get(name)
    if old != new:
      return f'{name} was {old!r} and is now {new!r}'
  for name in sorted({*before.digests, *now.digests}):
    if before.digests.get(name) != now.digests.get(name):
      return f'its input {name} has changed'
  return None


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
