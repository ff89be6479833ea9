"""The facts of a study, as plain Python: what its page, its tables and its words are made from."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from official_selftrain.report import contents

MODELS = contents.MODELS
ALL_MODELS = contents.ALL_MODELS
CEILING: contents.Model = 'ceiling'
# The effect of a plot that is no axis: student minus the model without pseudo labels.
SELF_TRAINING = 'self-training'

Status = Literal['done', 'failed', 'left']


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of the page.

  Attributes:
    title: its heading.
    rows: axes whose combinations are rows, each with one row per model.
    columns: axis whose values are columns; further axes are averaged over.
    models: in the order of the rows.
    paper: the paper's figure by name of the row (values and model, joined by a blank) and column.
  """

  title: str
  rows: tuple[str, ...]
  columns: str
  models: tuple[contents.Model, ...]
  paper: Mapping[tuple[str, str], float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Plot:
  """A plot of gains.

  Attributes:
    title: its heading.
    effect: `self-training`, or an axis, whose other values are compared with its first.
    x: axis along which the gain is shown.
  """

  title: str
  effect: str
  x: str


@dataclasses.dataclass(frozen=True)
class Layout:
  """How the results of a study are shown."""

  tables: tuple[Table, ...] = ()
  plots: tuple[Plot, ...] = ()


@dataclasses.dataclass(frozen=True)
class Interval:
  """The middle 90 % of resampled differences, see `evaluation.resampling`.

  Attributes:
    low: lower end.
    high: upper end.
    images: how many were resampled; None for other intervals, and where an earlier version did not write it.
  """

  low: float
  high: float
  images: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """What one run found.

  Attributes:
    name: of its cell.
    values: name of its value by axis.
    seed: of the run.
    status: `done`, `failed`, or `left` to do.
    digest: of its settings, see `studies.definition.Cell.digest`.
    metrics: the primary metric by model.
    per_class: the class metric by model and class.
    lead: student minus control, or teacher where there is none, over resampled images; None without.
    seconds: wall time of its stages by key of the product, so that a shared one counts once.
    error: why it failed; '' else.
  """

  name: str
  values: Mapping[str, str]
  seed: int
  status: Status
  digest: str = ''
  metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
  per_class: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
  lead: Interval | None = None
  seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
  error: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyFacts:
  """Everything that the page of a study shows.

  Attributes:
    title: heading.
    question: what it asks.
    experiment: registered name.
    command: that repeats or continues it.
    axes: names of the values by axis; others are compared with the first.
    seeds: of each combination.
    metric: the primary one.
    layout: tables and plots.
    results: one per cell.
    between: intervals over resampled images between two runs in one model, by (model, name of the cell, name of the
      other cell), where both evaluations are at hand.
  """

  title: str
  question: str
  experiment: str
  command: str
  axes: Mapping[str, tuple[str, ...]]
  seeds: tuple[int, ...]
  metric: str
  layout: Layout
  results: tuple[Result, ...]
  between: Mapping[tuple[str, str, str], Interval] = dataclasses.field(default_factory=dict)

  @property
  def baseline(self) -> contents.Model:
    """The model without pseudo labels: the control, or the teacher in a study whose runs have none."""
    has_control = any('control' in result.metrics for result in self.done)
    return 'control' if has_control or not self.done else 'teacher'

  @property
  def done(self) -> tuple[Result, ...]:
    """The results of finished runs."""
    return tuple(result for result in self.results if result.status == 'done')
