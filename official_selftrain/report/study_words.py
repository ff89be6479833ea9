"""What a study says, in plain English: what helps on this data, what does not, what is within noise."""

from collections.abc import Mapping, Sequence

from official_selftrain.core import comparison
from official_selftrain.report import ceiling, study_contents, study_effects
from official_selftrain.report.study_effects import Effect, Named, Outcome

METHOD = (
  'How sure: two runs that differ in one choice and share a seed are a pair. The mean of their differences over the '
  "seeds has a 90% interval by Student's t, and, where it is given, the mean of the pairs' 90% intervals over "
  'validation images that were drawn again 1,000 times (bootstrap). "Helps" and "hurts" mean that all intervals are on '
  'one side of zero. With fewer than three seeds nothing is called either.'
)

_VERBS: Mapping[Outcome, str] = {
  'helps': 'helps',
  'hurts': 'hurts',
  'noise': 'is within noise',
  'unknown': 'cannot be judged',
}


def sentences(facts: study_contents.StudyFacts) -> list[str]:
  """The answer of a study.

  Args:
    facts: the study; it may be unfinished.

  Returns:
    First how much has been run, then a sentence for each choice: self-training, and each value of each axis that is
    compared with its first, for models that differ at all.
  """
  if not facts.done:
    return [f'Nothing is finished yet: {len(facts.results)} runs are left.']
  found = [_progress(facts)]
  few = _seeds(facts)
  if few < study_effects.MIN_SEEDS:
    found.append(
      f'With {few} {"seed" if few == 1 else "seeds"} for each combination this study cannot tell an effect from '
      f'chance: it takes at least {study_effects.MIN_SEEDS}. The differences are shown, but nothing is concluded.'
    )
  if study_effects.has_few_images(facts):
    found.append(
      f'With fewer than {comparison.MIN_IMAGES} validation images this study cannot tell an effect from chance. The '
      'differences are shown, but nothing is concluded.'
    )
  lead = study_effects.self_training(facts)
  if lead:
    baseline = 'the control of equal steps' if facts.baseline == 'control' else 'its teacher'
    found.append(_sentence('Self-training', baseline, lead, facts))
    found += _ceiling(baseline, lead, facts)
  for axis in facts.axes:
    effects = study_effects.of_axis(facts, axis)
    for choice in facts.axes[axis][1:]:
      for model, words in ((facts.baseline, 'without'), ('student', 'with')):
        own = [each for each in effects if (each.choice, each.model) == (choice, model)]
        # A choice that a model does not read, like the cut of a control, says nothing about it.
        if any(any(each.differences.values()) for each in own):
          subject = f'{axis.capitalize()} {choice}, {words} self-training,'
          found.append(_sentence(subject, f'{axis} {own[0].baseline}', own, facts))
  return found


def _ceiling(baseline: str, lead: Sequence[Named], facts: study_contents.StudyFacts) -> list[str]:
  """What the missing human labels are worth, and which share of that self-training gives, where both help."""
  found = study_effects.of_ceiling(facts)
  # A teacher has had fewer steps.
  if not found or facts.baseline != 'control':
    return []
  first = _sentence('Labelling more images', baseline, found, facts)
  gains = {
    tuple(each.context.items()): each.effect.mean for each in lead if each.effect.outcome == 'helps'
  }
  shares = [
    (gains[key], each.effect.mean)
    for each in found
    if (key := tuple(each.context.items())) in gains and each.effect.outcome == 'helps'
  ]
  if not shares:
    return [first]
  words = list(dict.fromkeys(ceiling.share(gain, gap) for gain, gap in sorted(shares, key=_ratio)))
  ends = words[0] if len(words) == 1 else f'{words[0]} to {words[-1]}'
  return [f'{first} Self-training gives {ends} of what that is worth.']


def _ratio(gain_and_gap: tuple[float, float]) -> float:
  gain, gap = gain_and_gap
  return gain / gap


def _progress(facts: study_contents.StudyFacts) -> str:
  counts = {s: sum(r.status == s for r in facts.results) for s in ('done', 'failed', 'left')}
  words = f'{counts["done"]} of {len(facts.results)} runs are finished'
  if counts['failed']:
    words += f', {counts["failed"]} failed'
  if counts['left']:
    words += f', {counts["left"]} are left, so all of this is provisional'
  return f'{words}.'


def _seeds(facts: study_contents.StudyFacts) -> int:
  """The most seeds that any combination has."""
  counts: dict[tuple[str, ...], int] = {}
  for result in facts.done:
    key = tuple(result.values.values())
    counts[key] = counts.get(key, 0) + 1
  return max(counts.values())


def _sentence(
  subject: str, baseline: str, found: Sequence[Named], facts: study_contents.StudyFacts
) -> str:
  """What is known about one choice in all settings."""
  by_outcome = {
    outcome: [each for each in found if each.effect.outcome == outcome] for outcome in _VERBS
  }
  if len(found) == 1:
    only = found[0].effect
    return f'{subject} {_VERBS[only.outcome]} here: {quantity(only)} {facts.metric}, compared with {baseline}.'
  parts = []
  for outcome, verb in _VERBS.items():
    members = by_outcome[outcome]
    if members:
      where = 'all' if len(members) == len(found) else f'{len(members)} of'
      parts.append(f'{verb} in {where} {len(found)} settings ({_range(members)} {facts.metric})')
  return f'{subject} {_list(parts)}, compared with {baseline}.'


def _range(members: Sequence[Named]) -> str:
  means = [each.effect.mean for each in members]
  low, high = min(means), max(means)
  same = f'{low:+.3f}' == f'{high:+.3f}'
  return f'{low:+.3f}' if same else f'{low:+.3f} to {high:+.3f}'


def quantity(effect: Effect) -> str:
  """An effect with its intervals and number of seeds."""
  words = f'{effect.mean:+.3f}'
  inner = []
  if effect.over_seeds is not None:
    inner.append(f'{ends(effect.over_seeds)} over {effect.seeds} seeds')
  else:
    inner.append('1 seed')
  if effect.over_images is not None:
    inner.append(f'{ends(effect.over_images)} over images')
  return f'{words} ({", ".join(inner)})'


def ends(interval: study_contents.Interval) -> str:
  """The ends of an interval."""
  return f'{interval.low:+.3f} to {interval.high:+.3f}'


def _list(parts: Sequence[str]) -> str:
  *others, last = parts
  return f'{", ".join(others)} and {last}' if others else last
