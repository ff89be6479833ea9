"""What a check found, as a table, as JSON, and as rows for a page."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from official_selftrain.core import console
from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import overlaps, store
from official_selftrain.datasets.sources import image_names

_OUTCOMES = list(faults.Outcome)
_WORST_FIRST = sorted(faults.Kind, key=lambda kind: -_OUTCOMES.index(kind.rule.outcome))
# Examples that are listed for each kind of fault.
_EXAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Example:
  """An image with a fault.

  Attributes:
    key: its number in the store; 0 for what belongs to no image.
    part: its set.
    name: of the image, or of the class; '' without one.
    detail: particulars of the fault.
    other: number of the image that it is like; 0 without one.
  """

  key: int
  part: store.Part
  name: str
  detail: str
  other: int = 0


@dataclasses.dataclass(frozen=True)
class Summary:
  """All that was found.

  Attributes:
    images: number of images by set, as they were given.
    good: number of those that can be used.
    counts: number of faults by kind and set, the worst kinds first; of leaks and near-duplicates the number of images.
    examples: some images of each kind, in the order of their names.
  """

  images: Mapping[store.Part, int]
  good: Mapping[store.Part, int]
  counts: Mapping[faults.Kind, Mapping[store.Part, int]]
  examples: Mapping[faults.Kind, tuple[Example, ...]]


def summarise(
  source: store.Store,
  found: overlaps.Overlaps,
  unused: tuple[str, ...],
  notes: Mapping[store.Part, Sequence[faults.Fault]],
) -> Summary:
  """Counts the faults of all images.

  Args:
    source: the examined images.
    found: images that are there twice.
    unused: classes without objects.
    notes: what was found that belongs to no image, by set.

  Returns:
    The summary.
  """
  counts: dict[faults.Kind, Counter[store.Part]] = {}
  examples: dict[faults.Kind, list[Example]] = {}

  def note(kind: faults.Kind, example: Example) -> None:
    counts.setdefault(kind, Counter())[example.part] += 1
    listed = examples.setdefault(kind, [])
    if len(listed) < _EXAMPLES:
      listed.append(example)

  def note_pair(pair: overlaps.Pair) -> None:
    # Entries hold all annotations of their images, and there may be millions of pairs.
    if len(examples.get(pair.kind, ())) < _EXAMPLES:
      note(pair.kind, _example_of(pair, source))
    else:
      counts[pair.kind][source.part_of(pair.first)] += 1

  for entry in source.entries():
    name = image_names.display_name(entry.item.image.name)
    for fault in entry.finding.faults if entry.finding else ():
      note(fault.kind, Example(entry.key, entry.part, name, image_names.display_name(fault.detail)))
  for pair in found.pairs:
    note_pair(pair)
  if found.similar:
    # Not all of their pairs are listed.
    counts[faults.Kind.NEAR_DUPLICATE] = Counter(found.similar)
  for part, each in notes.items():
    for fault in each:
      note(fault.kind, Example(0, part, '', fault.detail))
  for name in unused:
    note(faults.Kind.UNUSED_CLASS, Example(0, store.Part.LABELLED, name, ''))
  return Summary(
    {part: source.count(part) for part in store.Part if source.count(part)},
    {part: source.count(part, is_good=True) for part in store.Part if source.count(part)},
    {kind: counts[kind] for kind in _WORST_FIRST if kind in counts},
    {kind: tuple(examples[kind]) for kind in _WORST_FIRST if kind in examples},
  )


def _example_of(pair: overlaps.Pair, source: store.Store) -> Example:
  first, second = source.entry(pair.first), source.entry(pair.second)
  name = image_names.display_name(first.item.image.name)
  detail = f'{"mirrored " if pair.is_mirrored else ""}like {image_names.display_name(second.item.image.name)}'
  detail += f' ({second.part.value}), {pair.distance} of 64 bits differ'
  return Example(pair.first, first.part, name, detail, pair.second)


def rows(summary: Summary) -> Iterator[tuple[str, str, list[int]]]:
  """What was found, its outcome, and how often in each of the sets, which are in the order of `summary.images`."""
  parts = list(summary.images)
  yield 'images', '', [summary.images[part] for part in parts]
  yield 'images that can be used', '', [summary.good[part] for part in parts]
  for kind, counts in summary.counts.items():
    yield kind.rule.meaning, kind.rule.outcome.value, [counts.get(part, 0) for part in parts]


def table(summary: Summary) -> str:
  """The summary for a terminal: a row for each kind of fault, a column for each set."""
  cells = [(meaning, outcome, *counts) for meaning, outcome, counts in rows(summary)]
  return console.table(cells, ['', 'outcome', *(part.value for part in summary.images)])


def as_json(summary: Summary, problems: tuple[str, ...]) -> dict[str, Any]:
  """The summary as one JSON-serialisable value, with why nothing may be written."""
  return {
    'images': {part.value: count for part, count in summary.images.items()},
    'usable': {part.value: count for part, count in summary.good.items()},
    'problems': list(problems),
    'faults': {
      kind.name.lower(): {
        'outcome': kind.rule.outcome.value,
        'meaning': kind.rule.meaning,
        'counts': {part.value: count for part, count in counts.items()},
        'examples': [
          {'set': each.part.value, 'name': each.name, 'detail': each.detail}
          for each in summary.examples[kind]
        ],
      }
      for kind, counts in summary.counts.items()
    },
  }
