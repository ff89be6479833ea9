"""Why nothing may be written of a data set, in sentences that say what to do."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from official_selftrain.core import class_names, errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import overlaps, plan, store
from official_selftrain.datasets.sources import image_names, items

_WITH_OBJECTS = (items.Task.DETECTION, items.Task.SEGMENTATION)


def find(
  source: store.Store,
  sources: Mapping[store.Part, items.Source],
  sets: Mapping[store.Part, plan.SetPlan],
  found: overlaps.Overlaps,
  notes: Mapping[store.Part, Sequence[faults.Fault]],
  allowed: frozenset[faults.Kind],
) -> tuple[str, ...]:
  """Finds what the user must decide before anything is written.

  Args:
    source: the examined images.
    sources: what they were read from, by set.
    sets: the divided images.
    found: images that are there twice.
    notes: what was found that belongs to no image, by set.
    allowed: kinds of faults that stop nothing.

  Returns:
    A sentence or a few for each problem; empty if there is none.
  """
  problems = (
    *_empty(source, sources, sets),
    *_of_classes(source, sources),
    *_of_annotations(sources, allowed),
    *_of_sets(notes, allowed),
    *_of_images(source, allowed),
    *_leaks(source, found, allowed),
  )
  # What is wrong otherwise is often the reason.
  return problems or tuple(_without_objects(source, sources, sets, allowed))


def unlike_teacher(teacher: str, names: Sequence[str]) -> faults.Fault | None:
  """How classes differ from those of a teacher.

  Args:
    teacher: a model directory, a checkpoint or a SavedModel; '' for none.
    names: classes of the labelled images, from id 1.

  Returns:
    The first difference; None if there is none.

  Raises:
    DataError: the classes of the teacher are not known.
  """
  if not teacher:
    return None
  theirs = class_names.of_model(teacher)
  if not theirs:
    raise errors.DataError(
      f'--teacher={teacher}: no class names lie beside it. Give a model directory or a SavedModel of this package '
      'that was trained with class names.'
    )
  difference = class_names.first_difference(theirs, names)
  return (
    faults.Fault(faults.Kind.TEACHER_CLASSES, f'{teacher}: {difference}') if difference else None
  )


def _empty(
  source: store.Store,
  sources: Mapping[store.Part, items.Source],
  sets: Mapping[store.Part, plan.SetPlan],
) -> Iterator[str]:
  """Which sets were asked for and have no image."""
  for part in sources:
    if part not in sets:
      total, good = source.count(part), source.count(part, is_good=True)
      reason = ', and these are, or look like, validation images' if good else ''
      yield f'No image of --{part.value} is left: {good} of {total} can be used{reason}.'


def _of_classes(source: store.Store, sources: Mapping[store.Part, items.Source]) -> Iterator[str]:
  """What a classifier could not learn from the labelled images."""
  labelled = sources.get(store.Part.LABELLED)
  if labelled is None or labelled.task is not items.Task.CLASSIFICATION:
    return
  names = labelled.class_names
  if len(names) == 1:
    yield f'--labelled has only one class folder, {names[0]}: a classifier needs two classes to tell apart.'
    return
  entries = source.entries(store.Part.LABELLED, is_good=True)
  found = Counter(entry.item.class_name for entry in entries)
  empty = [name for name in names if not found[name]]
  if empty and source.count(store.Part.LABELLED, is_good=True):
    yield (
      f'{len(empty)} of {len(names)} class folders have no image that can be used; first {empty[0]}. Remove them, or '
      'put images there.'
    )


def _of_annotations(
  sources: Mapping[store.Part, items.Source], allowed: frozenset[faults.Kind]
) -> Iterator[str]:
  """How the annotations of two sets differ."""
  labelled = {
    part.value: each for part, each in sources.items() if part is not store.Part.UNLABELLED
  }
  names = {part: each.class_names for part, each in labelled.items()}
  if len(set(names.values())) > 1 and faults.Kind.CLASS_ORDER not in allowed:
    told = '; '.join(f'{part}: {", ".join(each)}' for part, each in names.items())
    yield (
      f'The sets have different classes ({told}). Give both the same list of classes in the same order, or go on with '
      'the first list: --allow=class_order.'
    )
  tasks = {part: each.task.value for part, each in labelled.items()}
  if len(set(tasks.values())) > 1:
    told = '; '.join(f'{part}: {each}' for part, each in tasks.items())
    yield f'The sets are for different tasks ({told}). Annotate both in the same way.'


def _of_sets(
  notes: Mapping[store.Part, Sequence[faults.Fault]], allowed: frozenset[faults.Kind]
) -> Iterator[str]:
  """What is wrong with a set as a whole."""
  for part, each in notes.items():
    for fault in each:
      if fault.outcome is faults.Outcome.ERROR and fault.kind not in allowed:
        yield (
          f'--{part.value}: {fault.kind.rule.meaning}; {fault.detail}. Correct it, or go on with '
          f'--allow={fault.kind.name.lower()}.'
        )


def _of_images(source: store.Store, allowed: frozenset[faults.Kind]) -> Iterator[str]:
  """What faults of images stop the preparation, and how often."""
  wrong: Counter[faults.Kind] = Counter()
  first: dict[faults.Kind, str] = {}
  for entry in source.entries():
    for fault in entry.finding.faults if entry.finding else ():
      if fault.outcome is faults.Outcome.ERROR and fault.kind not in allowed:
        wrong[fault.kind] += 1
        detail = f'{image_names.display_name(entry.item.image.name)}: {fault.detail}'
        first.setdefault(fault.kind, detail)
  for kind, count in wrong.items():
    yield f'{count} x {kind.rule.meaning}; first {first[kind]}. --allow={kind.name.lower()} goes on without them.'


def _without_objects(
  source: store.Store,
  sources: Mapping[store.Part, items.Source],
  sets: Mapping[store.Part, plan.SetPlan],
  allowed: frozenset[faults.Kind],
) -> Iterator[str]:
  """Which sets with annotations have no object in any image, and what has become of the annotations."""
  if faults.Kind.NO_OBJECTS in allowed:
    return
  for part, each in sets.items():
    labelled = sources.get(part) or sources.get(store.Part.LABELLED)
    if part is store.Part.UNLABELLED or labelled is None or labelled.task not in _WITH_OBJECTS:
      continue
    left_out: Counter[faults.Kind] = Counter()
    first: dict[faults.Kind, str] = {}
    for entry in source.entries_of(each.keys):
      assert entry.finding is not None
      if entry.finding.boxes or entry.finding.object_pixels:
        break
      for fault in entry.finding.faults:
        is_allowed = fault.outcome is faults.Outcome.ERROR and fault.kind in faults.OF_ANNOTATIONS
        if is_allowed or fault.outcome is faults.Outcome.DROPPED:
          left_out[fault.kind] += 1
          first.setdefault(fault.kind, fault.detail)
    else:
      reason = f'of its {len(each.keys)} images none has an annotation that is used. Check that it is the right set'
      if left_out:
        ((kind, count),) = left_out.most_common(1)
        reason = f'all annotations were left out, {count} x {kind.rule.meaning}; first {first[kind]}. Correct them'
      yield (
        f'--{part.value}: {faults.Kind.NO_OBJECTS.rule.meaning}: {reason}, or go on with '
        f'--allow={faults.Kind.NO_OBJECTS.name.lower()}.'
      )


def _leaks(
  source: store.Store, found: overlaps.Overlaps, allowed: frozenset[faults.Kind]
) -> Iterator[str]:
  leaks = [pair for pair in found.pairs if pair.kind is faults.Kind.LEAK]
  if leaks and faults.Kind.LEAK not in allowed:
    one, other = (source.entry(key) for key in (leaks[0].first, leaks[0].second))
    shown = [image_names.display_name(each.item.image.name) for each in (one, other)]
    yield (
      f'{len(leaks)} x a training image is, or looks like, a validation image; first '
      f'{shown[0]} ({one.part.value}) and {shown[1]}. '
      '--leaks=drop leaves them out of training, --leaks=allow keeps them.'
    )
