"""Classes that a student learns from human labels alone, see `task.pseudo_data.spared_classes`."""

import dataclasses
from collections.abc import Sequence

from official_selftrain.configs import tasks
from official_selftrain.core import class_names as names_lib
from official_selftrain.report import contents, foresight


def find(
  task: tasks.LabelledTask, class_names: Sequence[str], facts: contents.PseudoLabelFacts
) -> list[int]:
  """Ids of the spared classes, chosen by the labels where the settings leave it to them.

  Args:
    task: of self-training.
    class_names: from id 1; where some are missing, the ids stand for them.
    facts: what is known of the labels at the cut.
  """
  pseudo = task.pseudo_data
  if pseudo.spared_classes != 'auto':
    found: list[int] = pseudo.known_spared()
    return found
  ids = range(1, task.model.num_classes)
  names = {names_lib.name_of(class_names, each): each for each in ids}
  return [names[name] for name in foresight.starved(facts, list(names))]


def add(
  facts: contents.PseudoLabelFacts, ids: Sequence[int], class_names: Sequence[str]
) -> contents.PseudoLabelFacts:
  """The facts with the names of spared classes."""
  return dataclasses.replace(
    facts, spared=tuple(names_lib.name_of(class_names, each) for each in ids)
  )
