"""Decides which image goes into which set, and into which file of it."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from official_selftrain.core import errors, splits
from official_selftrain.datasets import tf_examples
from official_selftrain.datasets.preparation import shards, store
from official_selftrain.datasets.sources import image_names


@dataclasses.dataclass(frozen=True)
class SplitSettings:
  """How labelled images are divided.

  Attributes:
    seed: of the draw.
    validation_share: part of the labelled images that becomes the validation set, in (0, 1); of the unlabelled ones
      where there are no labelled ones. 0 where validation images are given.
    fraction: part of the remaining labelled images that keeps its annotations, in (0, 1].
    is_stratified: each part gets its share of the images of each class.
    rest_is_unlabelled: labelled images outside the fraction join the unlabelled ones, without their annotations;
      otherwise they are left out.
  """

  seed: int = 0
  validation_share: float = 0.0
  fraction: float = 1.0
  is_stratified: bool = False
  rest_is_unlabelled: bool = False

  def check(self) -> None:
    """Raises ConfigError for a share out of range."""
    if not 0 <= self.validation_share < 1:
      raise errors.ConfigError(
        f'The share for validation is {self.validation_share:g}; it must be above 0 and below 1.'
      )
    splits.count_of(self.fraction, 1)

  def as_dict(self) -> dict[str, Any]:
    """The settings by name."""
    return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class SetPlan:
  """One set of the result.

  Attributes:
    part: which.
    keys: its images, as numbers in the store, in the order of their records.
    from_labelled: those among them that came from the labelled images.
    origin: how the set was drawn, in words.
  """

  part: store.Part
  keys: tuple[int, ...]
  from_labelled: frozenset[int]
  origin: str


def divide(source: store.Store, settings: SplitSettings) -> dict[store.Part, SetPlan]:
  """Divides the good images of a store into sets.

  Training sets are in random order, so that their files are alike; validation images are in the order of their names.

  Args:
    source: the examined images.
    settings: how labelled images are divided.

  Returns:
    The sets that have images.

  Raises:
    ConfigError: a share is out of range.
    DataError: the share for validation leaves no image for training.
  """
  settings.check()
  names: dict[str, int] = {}
  classes: dict[str, tuple[str, ...]] = {}
  for entry in source.entries(store.Part.LABELLED, is_good=True):
    names[entry.item.image.name] = entry.key
    classes[entry.item.image.name] = _classes(entry)
  ranked = splits.ranking(list(names), settings.seed, classes if settings.is_stratified else None)
  held_out, rest = _validation_share(ranked, settings, 'labelled')
  labelled = rest[: splits.count_of(settings.fraction, len(rest))] if rest else []
  left = rest[len(labelled) :] if settings.rest_is_unlabelled else []
  if not names and settings.validation_share:
    return _without_labels(source, settings)
  found = {
    store.Part.LABELLED: _labelled(names, labelled, len(rest), settings),
    store.Part.UNLABELLED: _unlabelled(source, names, left, settings),
    store.Part.VALIDATION: _validation(source, names, held_out, settings),
  }
  return {part: each for part, each in found.items() if each.keys}


def _without_labels(source: store.Store, settings: SplitSettings) -> dict[store.Part, SetPlan]:
  """The sets of images without any labels, for pre-training: unlabelled images, some of them for validation."""
  own = {e.item.image.name: e.key for e in source.entries(store.Part.UNLABELLED, is_good=True)}
  held_out, rest = _validation_share(
    splits.ranking(list(own), settings.seed), settings, 'unlabelled'
  )
  origin = f'{settings.validation_share:.0%} of the unlabelled images (seed {settings.seed})'
  found = {
    store.Part.UNLABELLED: (rest, f'{len(rest)} unlabelled images'),
    store.Part.VALIDATION: (sorted(held_out), origin),
  }
  return {
    part: SetPlan(part, tuple(own[name] for name in names), frozenset(), words)
    for part, (names, words) in found.items()
    if names
  }


def _validation_share(
  ranked: list[str], settings: SplitSettings, kind: str
) -> tuple[list[str], list[str]]:
  """The names that are held out for validation, and the others: the first ranks stay for training."""
  if not settings.validation_share or not ranked:
    return [], ranked
  count = splits.count_of(settings.validation_share, len(ranked))
  if count >= len(ranked):
    raise errors.DataError(
      f'{settings.validation_share:.0%} of {len(ranked)} {kind} images for validation leave none for training.'
    )
  return ranked[len(ranked) - count :], ranked[: len(ranked) - count]


def _labelled(
  names: dict[str, int], chosen: list[str], total: int, settings: SplitSettings
) -> SetPlan:
  origin = 'all' if len(chosen) == total else f'{len(chosen)} of {total} (seed {settings.seed})'
  keys = tuple(names[name] for name in chosen)
  return SetPlan(store.Part.LABELLED, keys, frozenset(keys), origin)


def _unlabelled(
  source: store.Store, names: dict[str, int], left: list[str], settings: SplitSettings
) -> SetPlan:
  own = {e.item.image.name: e.key for e in source.entries(store.Part.UNLABELLED, is_good=True)}
  order = splits.ranking(list(own), settings.seed)
  without = tuple(names[name] for name in left)
  origin = ' and '.join(
    [f'{len(own)} unlabelled images'] * bool(own)
    + [f'{len(left)} labelled images without their annotations'] * bool(left)
  )
  keys = tuple(own[name] for name in order) + without
  return SetPlan(store.Part.UNLABELLED, keys, frozenset(without), origin)


def _validation(
  source: store.Store, names: dict[str, int], held_out: list[str], settings: SplitSettings
) -> SetPlan:
  if held_out:
    keys = tuple(names[name] for name in sorted(held_out))
    origin = f'{settings.validation_share:.0%} of the labelled images (seed {settings.seed})'
    return SetPlan(store.Part.VALIDATION, keys, frozenset(keys), origin)
  keys = tuple(e.key for e in source.entries(store.Part.VALIDATION, is_good=True))
  return SetPlan(store.Part.VALIDATION, keys, frozenset(), 'all')


def jobs(
  source: store.Store,
  plan: SetPlan,
  directory: str,
  images_per_file: int,
  has_instance_masks: bool = False,
) -> Iterator[shards.Job]:
  """The files of a set.

  Args:
    source: the examined images.
    plan: the set.
    directory: where the files go.
    images_per_file: largest number of images in a file.
    has_instance_masks: records have a mask for each box.

  Yields:
    Jobs, in the order of the files. Ids of validation images are whole numbers, as the COCO evaluator needs them:
    those of the source if all are, otherwise from 1 on. Other images have their names as ids.
  """
  ids = ids_of(source, plan)
  total = -(-len(plan.keys) // images_per_file)
  for number in range(total):
    # Files of nearly equal length.
    first, last = (len(plan.keys) * n // total for n in (number, number + 1))
    name = tf_examples.shard_name(plan.part.value, number, total)
    yield shards.Job(
      f'{directory}/{name}',
      tuple(shards.Place(key, str(ids[key])) for key in plan.keys[first:last]),
      has_annotations=plan.part is not store.Part.UNLABELLED,
      has_instance_masks=has_instance_masks,
    )


def ids_of(source: store.Store, plan: SetPlan) -> dict[int, int | str]:
  """Ids of the images of a set by their numbers in the store, see `jobs`."""
  # Only what ids are made of is kept: an item has its annotations, too.
  found = (each.item for each in source.entries_of(plan.keys))
  if plan.part is not store.Part.VALIDATION:
    return _names_as_ids(plan, (each.image.name for each in found))
  given = [each.source_id for each in found]
  numbers = [int(text) for text in given if _is_number(text)]
  if len(set(numbers)) == len(given):
    return dict(zip(plan.keys, numbers, strict=True))
  return {key: number for number, key in enumerate(plan.keys, 1)}


def _names_as_ids(plan: SetPlan, names: Iterable[str]) -> dict[int, int | str]:
  """Names of images; unlabelled images from two places may have one name, and are then told apart by their place."""
  ids: dict[int, int | str] = {}
  taken: set[str] = set()
  for key, path in zip(plan.keys, names, strict=True):
    name = image_names.display_name(path)
    place = store.Part.LABELLED if key in plan.from_labelled else plan.part
    while name in taken:
      name = f'{place.value}/{name}'
    taken.add(name)
    ids[key] = name
  return ids


def _is_number(text: str) -> bool:
  return text.isdecimal() and text.isascii() and int(text) < 2**63


def _classes(entry: store.Entry) -> tuple[str, ...]:
  """Names of the classes in an image, for the stratified draw."""
  assert entry.finding is not None
  if entry.item.class_name:
    return (entry.item.class_name,)
  if entry.finding.pixel_counts:
    return tuple(str(index) for index, _ in entry.finding.object_pixels)
  return tuple(box.class_name for box in entry.finding.boxes)
