"""Cuts that the number of labels chooses, with `task.pseudo_data.cut: matched`."""

from collections.abc import Mapping
from typing import Any

from official_selftrain.configs import inputs
from official_selftrain.presentation import label_facts
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.pseudo_labels import matching


def find(
  pseudo: inputs.PseudoStream,
  label_dir: str,
  num_classes: int,
  human: label_facts.HumanLabels,
) -> dict[str, Any] | None:
  """The cuts of a round's labels, for `put`; None where the settings have them.

  Args:
    pseudo: settings of the pseudo stream.
    label_dir: label shards and manifest.
    num_classes: of the model, with the background.
    human: the human labels.
  """
  if not pseudo.is_matched:
    return None
  manifest = manifest_lib.Manifest.load(label_dir)
  # As many as people would draw in the images that could be read.
  scale = (manifest.labelled + manifest.empty) / max(human.images, 1)
  wanted = {class_id: count * scale for class_id, count in human.classes.items()}
  found = matching.match(manifest.summary, wanted, num_classes, pseudo.lowest_cut())
  # Where every cut is as low as the ignore band, nothing is left to ignore.
  ignore_cut = getattr(pseudo, 'ignore_cut', None)
  if ignore_cut is not None and ignore_cut >= max(found.cut, *found.class_cuts):
    ignore_cut = None
  return {'cut': found.cut, 'class_cuts': found.class_cuts, 'ignore_cut': ignore_cut}


def put(pseudo: inputs.PseudoStream, found: Mapping[str, Any] | None) -> None:
  """Puts cuts in the place of the setting; None leaves it."""
  if found is None:
    return
  pseudo.cut, pseudo.class_cuts = found['cut'], list(found['class_cuts'])
  pseudo.ignore_cut = found['ignore_cut']
