"""What helps, and how sure that is: paired differences over seeds, and over resampled validation images.

Two runs that differ in one choice and share the seed are a pair: same scenes, same split, same order. The mean of the
differences over the seeds gets a 90 % interval from Student's t (other seeds could have shown something else), and
where both evaluations are at hand the mean of the pairs' intervals over resampled images (other images could have).
A choice `helps` when both are above zero and `hurts` when both are below. With fewer than three seeds, or than
`comparison.MIN_IMAGES` validation images, it is `unknown`.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from scipy import stats

from official_selftrain.core import comparison
from official_selftrain.report import contents, study_contents

MIN_SEEDS = 3
CONFIDENCE = 0.9

Outcome = Literal['helps', 'hurts', 'noise', 'unknown']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
  """A difference between two choices, everything else being equal.

  Attributes:
    mean: over the seeds.
    seeds: how many pairs there are.
    over_seeds: interval of the mean; None for one pair.
    over_images: mean of the pairs' intervals; None where not all are known.
    outcome: what follows.
  """

  mean: float
  seeds: int
  over_seeds: study_contents.Interval | None
  over_images: study_contents.Interval | None
  outcome: Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
  """An effect with what it is of.

  Attributes:
    choice: `self-training`, `ceiling`, or a value of `axis`.
    axis: the axis of the choice; '' for the first two.
    baseline: what it is compared with: `control` (or `teacher`), or the first value of the axis.
    model: whose metric it is.
    context: the values of the other axes.
    differences: by seed.
    effect: what they show.
  """

  choice: str
  axis: str
  baseline: str
  model: contents.Model
  context: Mapping[str, str]
  differences: Mapping[int, float]
  effect: Effect


def effect(
  differences: Sequence[float], intervals: Sequence[study_contents.Interval | None] = ()
) -> Effect:
  """The effect that paired differences show.

  Args:
    differences: one per seed.
    intervals: of each over resampled images, None where it is not known; empty for none.

  Returns:
    Their mean, its intervals and the outcome.
  """
  mean = statistics.fmean(differences)
  over_seeds = None
  if len(differences) > 1:
    spread = statistics.stdev(differences) / math.sqrt(len(differences))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1)) * spread
    over_seeds = study_contents.Interval(mean - reach, mean + reach)
  known = [interval for interval in intervals if interval is not None]
  over_images = None
  if known and len(known) == len(differences):
    counts = [each.images for each in known if each.images is not None]
    over_images = study_contents.Interval(
      statistics.fmean(each.low for each in known),
      statistics.fmean(each.high for each in known),
      min(counts, default=None),
    )
  return Effect(
    mean=mean,
    seeds=len(differences),
    over_seeds=over_seeds,
    over_images=over_images,
    outcome=_outcome(len(differences), over_seeds, over_images),
  )


def _outcome(seeds: int, *intervals: study_contents.Interval | None) -> Outcome:
  if seeds < MIN_SEEDS:
    return 'unknown'
  known = [interval for interval in intervals if interval is not None]
  if any(_has_few_images(interval) for interval in known):
    return 'unknown'
  if all(interval.low > 0 for interval in known):
    return 'helps'
  if all(interval.high < 0 for interval in known):
    return 'hurts'
  return 'noise'


def _has_few_images(interval: study_contents.Interval) -> bool:
  return interval.images is not None and interval.images < comparison.MIN_IMAGES


def has_few_images(facts: study_contents.StudyFacts) -> bool:
  """Whether runs were evaluated on too few images for their intervals to decide anything."""
  return any(result.lead is not None and _has_few_images(result.lead) for result in facts.done)


def self_training(facts: study_contents.StudyFacts) -> list[Named]:
  """Student minus `facts.baseline` in each combination of the axes' values that has both."""
  return _of_model(facts, 'student', study_contents.SELF_TRAINING)


def of_ceiling(facts: study_contents.StudyFacts) -> list[Named]:
  """Ceiling minus `facts.baseline` in each combination that has both: what the missing labels are worth."""
  return _of_model(facts, study_contents.CEILING, study_contents.CEILING)


def _of_model(facts: study_contents.StudyFacts, model: contents.Model, choice: str) -> list[Named]:
  """A model of the runs minus their baseline."""
  found, baseline = [], facts.baseline
  for context, results in _groups(facts.done):
    both = [r for r in results if _measured(r, model) and _measured(r, baseline)]
    if both:
      differences = {r.seed: r.metrics[model] - r.metrics[baseline] for r in both}
      intervals = [r.lead for r in both] if model == 'student' else []
      found.append(
        Named(
          choice=choice,
          axis='',
          baseline=baseline,
          model=model,
          context=context,
          differences=differences,
          effect=effect([*differences.values()], intervals),
        )
      )
  return found


def of_axis(facts: study_contents.StudyFacts, axis: str) -> list[Named]:
  """Each other value of an axis minus its first, per model, in each combination of the other axes' values."""
  baseline, *others = facts.axes[axis]
  found = []
  for context, results in _groups(facts.done, without=axis):
    by_value = {(r.values[axis], r.seed): r for r in results}
    for choice in others:
      for model in (facts.baseline, 'student'):
        pairs = [
          (by_value[choice, seed], by_value[baseline, seed])
          for seed in facts.seeds
          if _measured(by_value.get((choice, seed)), model)
          and _measured(by_value.get((baseline, seed)), model)
        ]
        if not pairs:
          continue
        differences = {
          ours.seed: ours.metrics[model] - theirs.metrics[model] for ours, theirs in pairs
        }
        intervals = [facts.between.get((model, ours.name, theirs.name)) for ours, theirs in pairs]
        found.append(
          Named(
            choice=choice,
            axis=axis,
            baseline=baseline,
            model=model,
            context=context,
            differences=differences,
            effect=effect([*differences.values()], intervals),
          )
        )
  return found


def everything(facts: study_contents.StudyFacts) -> list[Named]:
  """All effects: of self-training, of the ceiling's labels, then of each axis."""
  return [
    *self_training(facts),
    *of_ceiling(facts),
    *(each for axis in facts.axes for each in of_axis(facts, axis)),
  ]


def pooled(named: Sequence[Named], axis: str, value: str) -> Effect | None:
  """The effect at one value of a further axis: the mean over the other contexts, paired by seed.

  Contexts that were not measured at every value of that axis are left out, or a plot would compare different ones.

  Args:
    named: effects of one choice on one model, from `self_training` or `of_axis`.
    axis: along which they are shown.
    value: at which.

  Returns:
    The effect; its interval is over the seeds' means. None when nothing comparable was measured there.
  """
  contexts: dict[str, set[frozenset[tuple[str, str]]]] = {}
  for each in named:
    if axis in each.context:
      contexts.setdefault(each.context[axis], set()).add(_rest(each, axis))
  everywhere = set.intersection(*contexts.values()) if contexts else set()
  there = [
    each.differences
    for each in named
    if each.context.get(axis) == value and _rest(each, axis) in everywhere
  ]
  by_seed: dict[int, list[float]] = {}
  for differences in there:
    for seed, difference in differences.items():
      by_seed.setdefault(seed, []).append(difference)
  whole = [statistics.fmean(v) for v in by_seed.values() if len(v) == len(there)]
  return effect(whole) if whole else None


def _rest(named: Named, axis: str) -> frozenset[tuple[str, str]]:
  """The values of all other axes."""
  return frozenset(each for each in named.context.items() if each[0] != axis)


def _groups(
  results: Sequence[study_contents.Result], without: str = ''
) -> Iterator[tuple[dict[str, str], list[study_contents.Result]]]:
  """Results by their values of all axes but one, in the order in which these first appear."""
  groups: dict[tuple[tuple[str, str], ...], list[study_contents.Result]] = {}
  for result in results:
    key = tuple((axis, value) for axis, value in result.values.items() if axis != without)
    groups.setdefault(key, []).append(result)
  for key, members in groups.items():
    yield dict(key), members


def _measured(result: study_contents.Result | None, model: str) -> bool:
  return result is not None and result.metrics.get(model) is not None
