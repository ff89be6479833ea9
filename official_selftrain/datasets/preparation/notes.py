"""What is odd about a set of images as a whole."""

from collections.abc import Iterable

from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import store
from official_selftrain.datasets.sources import items


def of_source(part: store.Part, source: items.Source) -> tuple[faults.Fault, ...]:
  """What was found that belongs to no image; nothing of annotations that are not used."""
  is_used = part is not store.Part.UNLABELLED
  return tuple(note for note in source.notes if is_used or note.kind not in faults.OF_ANNOTATIONS)


def of_boxes(entries: Iterable[store.Entry], needs_masks: bool) -> tuple[faults.Fault, ...]:
  """Boxes that come from a model, and objects without a mask.

  Args:
    entries: the images of a set with boxes, with their findings.
    needs_masks: records get a mask for each object.

  Returns:
    What was found.
  """
  total = scored = unmasked = 0
  for entry in entries:
    assert entry.finding is not None
    for box in entry.finding.boxes:
      total += 1
      scored += box.score is not None
      unmasked += box.run_lengths is None
  found = [faults.Fault(faults.Kind.SCORES, f'{scored} of {total} boxes')] if scored else []
  if needs_masks and unmasked:
    found.append(faults.Fault(faults.Kind.NO_MASK, f'{unmasked} of {total} objects'))
  return tuple(found)
