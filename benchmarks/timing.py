"""Interleaved measurements and the ratios of pairs.

Contenders take turns, A B A B, so that other work on the machine hits both; the ratio is the median over the
rounds of A / B, so that one disturbed round does not count.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Does a piece of work and returns how long it took, in seconds.
Measure = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Ratio:
  """Ratio of two contenders over paired rounds.

  Attributes:
    median: median of the rounds' ratios.
    low: lower quartile.
    high: upper quartile.
    rounds: number of pairs.
  """

  median: float
  low: float
  high: float
  rounds: int


def wall(work: Callable[[], Any]) -> Measure:
  """Measures wall time."""
  return _timed(work, time.perf_counter)


def cpu(work: Callable[[], Any]) -> Measure:
  """Measures processor time over all threads of the process."""
  return _timed(work, time.process_time)


def _timed(work: Callable[[], Any], clock: Callable[[], float]) -> Measure:
  def measure() -> float:
    start = clock()
    work()
    return clock() - start

  return measure


def interleave(
  contenders: Mapping[str, Measure], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
  """Measures contenders in turn.

  Args:
    contenders: by name; within a round they run in this order.
    rounds: measurements of each, at least 1.
    warm_up: rounds before those, which do not count: tracing, caches, buffers.

  Returns:
    Seconds by name, one per round; entry i of all contenders was measured in round i.

  Raises:
    ValueError: `rounds` is below 1.
  """
  if rounds < 1:
    raise ValueError(f'rounds is {rounds}: it must be at least 1.')
  for _ in range(warm_up):
    for measure in contenders.values():
      measure()
  seconds: dict[str, list[float]] = {name: [] for name in contenders}
  for _ in range(rounds):
    for name, measure in contenders.items():
      seconds[name].append(measure())
  return seconds


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
  """Median and quartiles of the ratios of pairs.

  Args:
    numerators: one positive number per round.
    denominators: those of the same rounds.

  Returns:
    `Ratio`; with a single pair, all three numbers are its ratio.

  Raises:
    ValueError: there are no pairs, or the lengths differ.
  """
  if not numerators or len(numerators) != len(denominators):
    raise ValueError(
      f'Ratios need pairs; got {len(numerators)} numerators and {len(denominators)} denominators.'
    )
  ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
  if len(ratios) == 1:
    return Ratio(ratios[0], ratios[0], ratios[0], 1)
  low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
  return Ratio(median, low, high, len(ratios))
