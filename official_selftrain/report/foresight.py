"""What the pseudo labels say, before a student is trained on them, about whether it will pay."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from official_selftrain.report import calibrated, contents

# Self-training paid where nine of ten labels at the cut were right, and hardly where two of three were, see
# experiments/results/README.md, "How the default was found" and "256 pixels and smaller anchors".
_LOW_PRECISION = 0.75
# A class with less than this part of the labels that people drew learns next to nothing from pseudo labels.
_STARVED = 0.1
# Fewer labels of a class than this are too few to expect a number of pseudo labels from.
_MIN_HUMAN = 5
# As many labels as people drew, give or take a factor of two. With an ignore band fewer do no harm: on the embedded
# digits a third of them is kept at the cut, and self-training pays.
_MANY = 2.0


def starved(facts: contents.PseudoLabelFacts, class_names: Sequence[str]) -> tuple[str, ...]:
  """Classes of which the labels at the cut have none, or less than a tenth of what people drew per image.

  A student that is taught such labels is taught that there are no objects of these classes.

  Args:
    facts: see `doubts`.
    class_names: all of them, from id 1.

  Returns:
    Some of these names, in their order.
  """
  scarce = {each.name for each in _scarce(facts)}
  return tuple(n for n in class_names if n in scarce or not facts.counts_per_class.get(n, 0))


def doubts(
  facts: contents.PseudoLabelFacts, unit: str, calibration: calibrated.Calibration | None = None
) -> list[str]:
  """Reasons to expect little from a student that is trained on these labels.

  Args:
    facts: the labels; truth for the unlabelled images, if there is any, is not looked at.
    unit: plural word for one label.
    calibration: of the cuts; None where they are numbers in the settings.

  Returns:
    Sentences, the gravest first; empty where nothing stands out.
  """
  return [*_precision(calibration), *_amount(facts, unit), *_classes(facts, unit)]


def _precision(calibration: calibrated.Calibration | None) -> Iterator[str]:
  found = contents.finite(calibration.overall.precision) if calibration else None
  if calibration is None or found is None or found >= _LOW_PRECISION:
    return
  yield (
    f'In the {calibration.images} images of the calibration {found:.0%} of the labels at the cut are right. '
    'Self-training has paid where nine of ten were, and hardly where two of three were. Label more images, or train a '
    'better teacher.'
  )


def _amount(facts: contents.PseudoLabelFacts, unit: str) -> Iterator[str]:
  ratio = contents.finite(facts.count_ratio)
  fewest = 0.0 if facts.ignore_cut is not None else 1 / _MANY
  most = math.inf if facts.is_soft else _MANY  # With soft labels a low cut is meant.
  if ratio is None or fewest <= ratio <= most:
    return
  words = f'{ratio:.1f} times as many' if ratio > 1 else f'only {ratio:.0%} as many'
  yield f'The labels have {words} {unit} per image at the cut as people drew. Choose another cut.'


def _classes(facts: contents.PseudoLabelFacts, unit: str) -> Iterator[str]:
  remedy = 'task.pseudo_data.spared_classes=auto would leave it to human labels.'
  if unit == 'boxes' and facts.class_cuts is None:
    remedy = f'task.pseudo_data.cut=matched would lower its cut, {remedy}'
  for each in _scarce(facts):
    ours, theirs = contents.quantity(each.ours), contents.quantity(each.theirs)
    end = (
      'The student learns this class from human labels alone.'
      if each.name in facts.spared
      else 'Pseudo labels teach the student that there is next to nothing of this class; ' + remedy
    )
    yield f'{each.name}: {ours} {unit} per image at the cut where people drew {theirs}. {end}'


class _Scarce(NamedTuple):
  """A class with few labels, and its labels per image: pseudo labels and those of people."""

  name: str
  ours: float
  theirs: float


def _scarce(facts: contents.PseudoLabelFacts) -> Iterator[_Scarce]:
  human, readable = facts.counts_per_class_human, facts.labelled + facts.empty
  if not facts.human_labels_per_image or not readable or math.isnan(facts.count_ratio):
    return
  human_images = sum(human.values()) / facts.human_labels_per_image
  for name, count in human.items():
    theirs, ours = count / human_images, facts.counts_per_class.get(name, 0) / readable
    if count >= _MIN_HUMAN and ours < _STARVED * theirs:
      yield _Scarce(name, ours, theirs)
