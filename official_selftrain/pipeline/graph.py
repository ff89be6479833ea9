"""The graph of stages as data: what each stage needs, which settings it reads and what it makes.

Order, plan, restart and messages are derived from this, and are not written down anywhere else. Nothing here touches a
file or imports TensorFlow.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from official_selftrain.core import errors

# Settings that change neither what a stage learns nor what it writes, by the last part of their name. A stage that
# does depend on one of them names it in full.
_HARMLESS = frozenset({
    'steps_per_loop', 'summary_interval', 'checkpoint_interval', 'max_to_keep', 'validation_interval',
    'validation_steps', 'validation_summary_subdir', 'continuous_eval_timeout', 'best_checkpoint_export_subdir',
    'best_checkpoint_eval_metric', 'best_checkpoint_metric_comp', 'prefetch_buffer_size', 'recovery_max_trials',
    'preemption_on_demand_checkpoint', 'loss_upper_bound', 'recovery_begin_steps', 'skip_errors', 'train_tf_while_loop',
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Reads:
  """The settings that a stage depends on.

  Attributes:
    prefixes: dotted names of settings, or of configs with all that is below them.
    without: dotted names below these that it does not depend on. Of several names that fit, the longest decides, so a
      longer prefix can restore a part of what `without` removes.
    also: further settings, each with its own exceptions.
  """

  prefixes: tuple[str, ...] = ()
  without: tuple[str, ...] = ()
  also: tuple['Reads', ...] = ()

  def __add__(self, other: 'Reads') -> 'Reads':
    """The settings that either depends on; an exception of one takes nothing from the other."""
    return dataclasses.replace(self, also=(*self.also, other))

  def minus(self, *names: str) -> 'Reads':
    """The same without the settings of these names and those below them, in all parts."""
    also = tuple(other.minus(*names) for other in self.also)
    return Reads(self.prefixes, (*self.without, *names), also)

  def select(self, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that count, in the order of their names.

    Args:
      settings: all of them by dotted name.
    """
    return {name: value for name, value in sorted(settings.items()) if self._counts(name)}

  def unknown(self, names: Iterable[str]) -> list[str]:
    """Prefixes that fit none of the settings' names."""
    known = list(names)
    return [
      prefix for prefix in self.prefixes if not any(_is_below(name, prefix) for name in known)
    ] + [prefix for other in self.also for prefix in other.unknown(known)]

  def _counts(self, name: str) -> bool:
    return self._counts_alone(name) or any(other._counts(name) for other in self.also)

  def _counts_alone(self, name: str) -> bool:
    if _longest(name, self.prefixes) <= _longest(name, self.without):
      return False
    return name in self.prefixes or name.rpartition('.')[2] not in _HARMLESS


def _is_below(name: str, prefix: str) -> bool:
  return name == prefix or name.startswith(f'{prefix}.')


def _longest(name: str, prefixes: Sequence[str]) -> int:
  """Length of the longest prefix that fits; -1 if none does."""
  return max((len(prefix) for prefix in prefixes if _is_below(name, prefix)), default=-1)


def stage_name(kind: str, round_number: int) -> str:
  """Name of a stage; the stages of the first round are named after their kind alone."""
  return kind if round_number == 1 else f'{kind}-{round_number}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
  """One step of a run.

  Attributes:
    kind: what is done, such as `teacher`, `labels`, `gate`, `control`, `student`, `report` or `export`.
    round: number of the round, from 1.
    needs: names of the stages whose products it is made from.
    reads: settings that its product depends on.
    files: dotted settings that name the input files that its product depends on.
    additions: paths below the run directory where a person may put what its product then depends on.
    makes: files and folders below the run directory that hold its product.
    keeps: what people put into a folder of its product; it stays when the product goes.
    is_cheap: run again when something changed; the others refuse, since a mistake would cost hours.
    is_for_all: with several workers all of them take part; the other stages are the chief's.
  """

  kind: str
  round: int = 1
  needs: tuple[str, ...] = ()
  reads: Reads = dataclasses.field(default_factory=Reads)
  files: tuple[str, ...] = ()
  additions: tuple[str, ...] = ()
  makes: tuple[str, ...] = ()
  keeps: tuple[str, ...] = ()
  is_cheap: bool = False
  is_for_all: bool = False

  @property
  def name(self) -> str:
    """As on the command line."""
    return stage_name(self.kind, self.round)


class Graph:
  """Stages in an order in which they can run."""

  def __init__(self, stages: Sequence[Stage]):
    """Checks the graph.

    Raises:
      ValueError: two stages have one name, or a stage needs one that does not come before it.
    """
    self._stages: dict[str, Stage] = {}
    for stage in stages:
      if stage.name in self._stages:
        raise ValueError(f'Two stages are called {stage.name}.')
      later = [need for need in stage.needs if need not in self._stages]
      if later:
        raise ValueError(f'The stage {stage.name} needs {later[0]}, which does not come before it.')
      self._stages[stage.name] = stage

  @property
  def names(self) -> tuple[str, ...]:
    """Names of all stages in order."""
    return tuple(self._stages)

  @property
  def stages(self) -> tuple[Stage, ...]:
    """All stages in order."""
    return tuple(self._stages.values())

  @property
  def sources(self) -> frozenset[str]:
    """Everything outside the run that products depend on: settings that name files, and additions."""
    return frozenset(name for each in self.stages for name in (*each.files, *each.additions))

  def __getitem__(self, name: str) -> Stage:
    return self._stages[name]

  def __contains__(self, name: str) -> bool:
    return name in self._stages

  def needed_by(self, name: str) -> tuple[Stage, ...]:
    """The stages that `name` is made from, directly or through others, in order."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
      new = set(self._stages[waiting.pop()].needs) - found
      found |= new
      waiting += new
    return tuple(stage for stage in self.stages if stage.name in found)

  def made_from(self, name: str) -> tuple[Stage, ...]:
    """The stages that are made from `name`, directly or through others, in order."""
    return tuple(
      stage
      for stage in self.stages
      if any(needed.name == name for needed in self.needed_by(stage.name))
    )

  def check_settings(self, names: Iterable[str]) -> None:
    """Raises ConfigError when a stage reads a setting that does not exist.

    Args:
      names: dotted names of all settings.
    """
    known = list(names)
    for stage in self.stages:
      unknown = [*stage.reads.unknown(known), *(set(stage.files) - set(known))]
      if unknown:
        raise errors.ConfigError(
          f'The stage {stage.name} depends on the setting {unknown[0]}, which this experiment does not have.'
        )
