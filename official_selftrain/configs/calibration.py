"""Settings of cuts that are calibrated on labelled images."""

import dataclasses
from typing import Literal

from official.modeling import hyperparams

from official_selftrain.configs import bounds, inputs
from official_selftrain.core import errors


@dataclasses.dataclass
class Calibration(hyperparams.Config):
  """Cuts by class, from what a teacher finds in labelled images that it has not learned from.

  That is a second teacher, trained like the first one but without these images: the one that labels the unlabelled
  images learns from all. A given teacher (`teacher.checkpoint`) is used itself.

  The cuts are used with `task.pseudo_data.cut: calibrated`. If `task.pseudo_data.ignore_cut` is not null, the ignore
  band is calibrated, too. Validation images are never looked at. All rounds use the cuts of the first.

  Attributes:
    share: share of the labelled images that is held out from the second teacher, in (0, 1).
    rule: the cut of a class is the one with the highest F-beta (`f_beta`), or the one that keeps as many labels as
      people drew (`count`).
    beta: of F-beta: below 1 precision weighs more than recall.
    min_precision: share of a class's labels that must be right at its cut, in [0, 1); the rule chooses among the cuts
      that reach it. Where none does, the cut is the one with the largest share. Without a bound, the rule gives a weak
      teacher, which finds little at any cut, the lowest one.
    min_objects: a class with fewer true objects (or pixels) in the held-out images gets the cut of all classes
      together.
    label_dir: label shards of the labelled images, made by `pseudo_labels.import_labels --set=labelled`: needed where
      the labels come from elsewhere, too. Nothing is held out then.
  """

  share: float = 0.2
  rule: Literal['f_beta', 'count'] = 'f_beta'
  beta: float = 1.0
  min_precision: float = 0.5
  min_objects: int = 10
  label_dir: str = ''

  def check(self, prefix: str) -> None:
    """Raises ConfigError for a value out of range; `prefix` is the dotted name of this config."""
    if not 0 < self.share < 1:
      raise errors.ConfigError(f'{prefix}.share is {self.share:g}: it must be above 0 and below 1.')
    if not self.beta > 0:
      raise errors.ConfigError(f'{prefix}.beta is {self.beta:g}: it must be above 0.')
    if not 0 <= self.min_precision < 1:
      raise errors.ConfigError(
        f'{prefix}.min_precision is {self.min_precision:g}: it must be at least 0 and below 1.'
      )
    bounds.check_at_least(1, self, prefix, 'min_objects')

  def check_use(self, prefix: str, pseudo: inputs.PseudoStream, num_classes: int) -> None:
    """Raises ConfigError where cuts or spared classes do not fit the model, or cuts are to be calibrated and cannot be.

    Args:
      prefix: the dotted name of this config.
      pseudo: `task.pseudo_data`.
      num_classes: of `task.model`, with the background.
    """
    count = len(pseudo.class_cuts)
    if count and count != num_classes - 1:
      raise errors.ConfigError(
        f'task.pseudo_data.class_cuts has {count} cuts and task.model.num_classes is {num_classes}: give one for each '
        f'class from 1 to {num_classes - 1}.'
      )
    outside = [each for each in pseudo.known_spared() if not 1 <= each < num_classes]
    if outside:
      raise errors.ConfigError(
        f'task.pseudo_data.spared_classes has {outside[0]}: ids of classes are 1 to {num_classes - 1}.'
      )
    if pseudo.is_calibrated and bool(pseudo.label_dir) != bool(self.label_dir):
      given, missing = 'task.pseudo_data.label_dir', f'{prefix}.label_dir'
      if self.label_dir:
        given, missing = missing, given
      raise errors.ConfigError(
        f"task.pseudo_data.cut is 'calibrated' and {given} is given without {missing}: cuts must be calibrated on "
        'labels of the program that made those of the unlabelled images.'
      )
