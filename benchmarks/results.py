"""The results of benchmarks: rows of one table, and the same as JSON."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import timing
from official_selftrain.core import console

HEADERS = (
  'benchmark', 'ours : reference', 'unit', 'ours', 'reference', 'ratio', 'quartiles', 'target', '',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Target:
  """The target of a figure.

  Attributes:
    at_least: smallest good value, or None.
    at_most: largest good value, or None.
  """

  at_least: float | None = None
  at_most: float | None = None

  def is_met(self, value: float) -> bool:
    """Whether a value is in the range, limits included."""
    above = self.at_least is None or value >= self.at_least
    return above and (self.at_most is None or value <= self.at_most)

  def __str__(self) -> str:
    limits = (('>=', self.at_least), ('<=', self.at_most))
    return ' and '.join(f'{sign} {value:g}' for sign, value in limits if value is not None)


@dataclasses.dataclass(frozen=True)
class Row:
  """One comparison.

  Attributes:
    benchmark: name of the benchmark.
    comparison: what is compared, 'ours : reference', or what `ours` is when there is no reference.
    unit: of both figures.
    ours: our figure, the median over the rounds.
    reference: the figure it is compared with, a median too; None when there is none.
    ratio: ours / reference over paired rounds; None when there is nothing to pair.
    target: for the ratio, or for `ours` where there is no ratio; None when the row is for information.
  """

  benchmark: str
  comparison: str
  unit: str
  ours: float
  reference: float | None = None
  ratio: timing.Ratio | None = None
  target: Target | None = None

  @property
  def verdict(self) -> str:
    """`met`, `missed`, or `` for information."""
    if self.target is None:
      return ''
    value = self.ours if self.ratio is None else self.ratio.median
    return 'met' if self.target.is_met(value) else 'missed'


def compare(
  benchmark: str,
  comparison: str,
  unit: str,
  ours: Sequence[float],
  reference: Sequence[float],
  *,
  figure: Callable[[float], float],
  target: Target | None = None,
) -> Row:
  """A row from the seconds of paired rounds.

  Args:
    benchmark: name of the benchmark.
    comparison: what is compared.
    unit: of what `figure` returns.
    ours: our seconds, one per round.
    reference: the reference's seconds in the same rounds.
    figure: seconds of a round -> what the row shows, such as images per second. The ratio is one of such figures.
    target: for the ratio.

  Returns:
    The row.
  """
  figures = [[figure(seconds) for seconds in each] for each in (ours, reference)]
  return Row(
    benchmark,
    comparison,
    unit,
    ours=median(figures[0]),
    reference=median(figures[1]),
    ratio=timing.paired_ratio(*figures),
    target=target,
  )


def median(values: Sequence[float]) -> float:
  """The median, through the same arithmetic as the ratios."""
  return timing.paired_ratio(values, [1.0] * len(values)).median


def table(rows: Sequence[Row]) -> str:
  """All rows as one plain text table."""
  return console.table([_cells(row) for row in rows], HEADERS)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
  """Rows as plain values, with their verdicts."""
  return [{**dataclasses.asdict(row), 'verdict': row.verdict} for row in rows]


def _cells(row: Row) -> tuple[Any, ...]:
  ratio = row.ratio
  return (
    row.benchmark,
    row.comparison,
    row.unit,
    _rounded(row.ours),
    None if row.reference is None else _rounded(row.reference),
    None if ratio is None else ratio.median,
    '' if ratio is None else f'{ratio.low:.3f} .. {ratio.high:.3f}',
    '' if row.target is None else str(row.target),
    row.verdict,
  )


def _rounded(value: float) -> float | int:
  """Three decimals mean nothing after three figures."""
  return round(value) if abs(value) >= 100 else value
