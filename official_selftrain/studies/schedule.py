"""Which products a study needs, which of them runs share, and how long the rest will take."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping

from official_selftrain.core import console
from official_selftrain.studies import definition


@dataclasses.dataclass(frozen=True)
class Schedule:
  """The products of a study.

  Attributes:
    keys: key of each dear product by cell and stage.
    seconds: measured seconds by cell and stage, of what is finished.
    expected: seconds by stage where nothing was measured.
    finished: cells that need nothing more.
  """

  keys: Mapping[str, Mapping[str, str]]
  seconds: Mapping[tuple[str, str], float]
  expected: Mapping[str, float]
  finished: frozenset[str] = frozenset()

  @property
  def unique(self) -> int:
    """How many different products there are."""
    return len({key for stages in self.keys.values() for key in stages.values()})

  @property
  def total(self) -> int:
    """How many there would be if nothing were shared."""
    return sum(len(stages) for stages in self.keys.values())

  def left(self) -> dict[str, str]:
    """Stage by key of each product that is still to be made."""
    made = {
      self.keys[cell][stage] for cell, stage in self.seconds if stage in self.keys.get(cell, {})
    }
    return {
      key: stage
      for cell, stages in self.keys.items()
      if cell not in self.finished
      for stage, key in stages.items()
      if key not in made
    }

  def remaining(self) -> tuple[float, tuple[str, ...]]:
    """Seconds that one process will need, and the kinds of stage left out: never measured nor given."""
    times = [(stage, self._time(stage)) for stage in self.left().values()]
    known = sum(time for _, time in times if time is not None)
    return known, tuple(sorted({stage for stage, time in times if time is None}))

  def duration(self) -> str:
    """`remaining` in words."""
    seconds, unknown = self.remaining()
    if not unknown:
      return hours(seconds)
    others = ', '.join(unknown)
    if not seconds:
      return f'time unknown until one has run of {others} (or `seconds` in the study file says)'
    return f'{hours(seconds)} and the time of {others}, which is not known yet'

  def _time(self, stage: str) -> float | None:
    measured = [seconds for (_, name), seconds in self.seconds.items() if name == stage]
    return statistics.fmean(measured) if measured else self.expected.get(stage)

  def text(self, study: definition.Study) -> str:
    """The plan, for `--dry_run`."""
    users: dict[str, list[str]] = {}
    for cell, stages in self.keys.items():
      for key in stages.values():
        users.setdefault(key, []).append(cell)
    rows = [
      (cell.name, ', '.join(_shared(self.keys[cell.name], users, cell.name)) or 'nothing')
      for cell in study.cells
    ]
    lines = [
      console.table(rows, ('run', 'made by an earlier run of this list')),
      '',
      f'{len(study.cells)} runs, {self.total} products, of which {self.unique} different; {len(self.left())} are left.',
      f'One process: {self.duration()}.',
    ]
    return '\n'.join(lines)


def _shared(stages: Mapping[str, str], users: Mapping[str, list[str]], cell: str) -> Iterable[str]:
  return (stage for stage, key in stages.items() if users[key][0] != cell)


def hours(seconds: float) -> str:
  """A duration in words."""
  if seconds < 90:
    return f'about {seconds:.0f} seconds'
  if seconds < 5400:
    return f'about {seconds / 60:.0f} minutes'
  return f'about {seconds / 3600:.1f} hours'
