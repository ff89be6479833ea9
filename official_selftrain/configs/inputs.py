"""Settings shared by the input streams of all tasks, and their checks."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from absl import logging
from official.core import config_definitions as cfg
from official.modeling import hyperparams

from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import bounds
from official_selftrain.core import errors

# Settings of the Model Garden's reader that ours does not need or have.
_WITHOUT_EFFECT = (
  'weights',
  'sharding',
  'deterministic',
  'enable_tf_data_service',
  'prefetch_buffer_size',
)


# The lowest cut that calibration and matching can choose.
LOWEST_CHOSEN = 0.05


# The classes below hold only what is ours. A task adds them to a Model Garden config; they do not inherit from
# `cfg.DataConfig`, whose defaults would then hide those of the task's own config.
@dataclasses.dataclass
class Stream(hyperparams.Config):
  """Ours in a stream of images.

  Attributes:
    skip_errors: leave out records whose image or mask cannot be decoded, and everything after a broken record in its
      file, in training and validation; off stops at the first and names it. Labels that do not fit the model or the
      image stop the run all the same.
    fraction: share of the labelled images to train on, in (0, 1]: drawn without replacement by image id, the same ones
      for teacher, control and student, and among those of every larger fraction (paper, Section 3.2). Training only.
    fraction_seed: of this draw.
    corrected_path: further labelled images, all of them whatever the fraction: those whose pseudo labels a person
      corrected. Set by a run of several rounds.
    augmentation: augmentation of a training stream.
  """

  skip_errors: bool = False
  fraction: float = 1.0
  fraction_seed: int = 0
  corrected_path: str = ''
  augmentation: aug.Augmentation = dataclasses.field(default_factory=aug.Augmentation)

  def flip_and_jitter(self, name: str) -> tuple[hyperparams.Config, str]:
    """The config with `aug_rand_hflip`, `aug_scale_min` and `aug_scale_max`, which policy `none` reads, and its name.

    Args:
      name: the dotted name of this stream.
    """
    return (self.parser, f'{name}.parser') if hasattr(self, 'parser') else (self, name)


@dataclasses.dataclass
class PseudoStream(hyperparams.Config):
  """Ours in a stream of unlabelled images with pseudo labels.

  Attributes:
    label_dir: folder with label shards and manifest; empty takes those that this run makes.
    cut: labels with at least this score are taught (paper: 0.5); `calibrated` chooses cuts by class, see
      `configs.calibration`, and `matched` those at which each class has as many labels per image as people drew, see
      `pseudo_labels.matching`.
    class_cuts: cuts of the classes from 1 on, in place of `cut`; empty takes `cut` for all.
    keep_empty: train on images without any object above the cut.
    spared_classes: ids of classes that are learned from human labels alone: pseudo labels teach no score of them, be it
      high or low. `auto` spares those of which the labels at the cut have next to none, see
      `report.foresight.starved`; the paper spares none.
  """

  label_dir: str = ''
  cut: float | Literal['calibrated', 'matched'] = 0.5
  class_cuts: list[float] = dataclasses.field(default_factory=list)
  keep_empty: bool = True
  spared_classes: list[int] | Literal['auto'] = dataclasses.field(default_factory=list)

  def check(self, prefix: str) -> None:
    """Raises ConfigError for a cut that no score can reach, or that every score reaches: 0 would keep everything.

    Args:
      prefix: the dotted name of this config.
    """
    if isinstance(self.cut, str) and self.class_cuts:
      raise errors.ConfigError(f'{prefix}.cut is {self.cut!r}: {prefix}.class_cuts must be empty.')
    named = {f'class_cuts[{n}]': cut for n, cut in enumerate(self.class_cuts)}
    if not isinstance(self.cut, str):
      named['cut'] = self.cut
    for name, cut in named.items():
      if not 0 < cut <= 1:
        raise errors.ConfigError(f'{prefix}.{name} is {cut}: scores are in (0, 1].')

  def known_spared(self) -> list[int]:
    """Ids of the spared classes, as far as they are known."""
    return [] if isinstance(self.spared_classes, str) else sorted(set(self.spared_classes))

  @property
  def is_calibrated(self) -> bool:
    """Whether the cuts are still to be chosen on labelled images."""
    return self.cut == 'calibrated'

  @property
  def is_matched(self) -> bool:
    """Whether the cuts are still to be chosen by the number of labels."""
    return self.cut == 'matched'

  def cuts(self) -> list[float]:
    """All cuts that are known."""
    return [*([] if isinstance(self.cut, str) else [self.cut]), *self.class_cuts]

  def lowest_cut(self) -> float:
    """The score from which on labels may matter to training."""
    return min(self.cuts(), default=LOWEST_CHOSEN)


def check(stream: Stream, name: str) -> None:
  """Raises ConfigError, or warns, about settings of one stream.

  Args:
    stream: a `DataConfig` of a task.
    name: its dotted name.
  """
  bounds.check_at_least(1, stream, name, 'global_batch_size')
  is_validation = name.rpartition('.')[2] == 'validation_data'
  if stream.is_training is is_validation:
    raise errors.ConfigError(
      f'{name}.is_training is {stream.is_training}: it must be {not is_validation}.'
    )
  _check_reading(stream, name)
  _check_fraction(stream, name)
  if stream.is_training:
    check_augmentation(stream.augmentation, f'{name}.augmentation')
    _check_flip_and_jitter(stream, name)
  else:
    _check_no_augmentation(stream, name)


def check_untouched(
  settings: hyperparams.Config, expected: Sequence[tuple[str, Any]], name: str
) -> None:
  """Raises ConfigError for settings of the Model Garden that are not read here and have another value than they must.

  Args:
    settings: holds them.
    expected: dotted names below `settings`, and values.
    name: the dotted name of `settings`.
  """
  for field, value in expected:
    found: Any = settings
    for part in field.split('.'):
      found = getattr(found, part, None)
    if (list(found) if isinstance(found, tuple) else found) != value:
      raise errors.ConfigError(
        f'{name}.{field} is {found!r}: this is not supported; it must be {value!r}.'
      )


def check_augmentation(settings: aug.Augmentation, name: str) -> None:
  """Raises ConfigError, or warns, about the augmentation of a training stream; `name` is its dotted name."""
  settings.check(name)
  for field in settings.without_effect():
    logging.warning('%s.%s has no effect with policy %s.', name, field, settings.policy)


def _check_reading(stream: cfg.DataConfig, name: str) -> None:
  if stream.file_type != 'tfrecord':
    raise errors.ConfigError(f"{name}.file_type is {stream.file_type!r}: only 'tfrecord' is read.")
  bounds.check_at_least(1, stream, name, 'block_length')
  if stream.cycle_length is not None:
    bounds.check_at_least(1, stream, name, 'cycle_length')
  if stream.is_training:
    bounds.check_at_least(1, stream, name, 'shuffle_buffer_size')
  if stream.input_path is not None and not isinstance(stream.input_path, (str, list, tuple)):
    raise errors.ConfigError(
      f'{name}.input_path: a mapping of paths is not supported; give a pattern or a list.'
    )
  default = type(stream)()
  for field in _WITHOUT_EFFECT:
    if stream.is_training and getattr(stream, field, None) != getattr(default, field, None):
      logging.warning(
        '%s.%s has no effect: training streams are ordered by the seed alone.', name, field
      )


def _check_fraction(stream: Stream, name: str) -> None:
  if not 0 < stream.fraction <= 1:
    raise errors.ConfigError(
      f'{name}.fraction is {stream.fraction:g}: it must be above 0 and at most 1.'
    )
  if stream.fraction < 1 and stream.tfds_name:
    raise errors.ConfigError(
      f'{name}.fraction: images of tfds_name are not drawn from; use a slice in {name}.tfds_split, or input_path.'
    )
  if stream.fraction < 1 and (not stream.is_training or isinstance(stream, PseudoStream)):
    raise errors.ConfigError(
      f'{name}.fraction is {stream.fraction:g}: only labelled training images are drawn from; it must be 1 here.'
    )
  if stream.fraction_seed and stream.fraction == 1:
    logging.warning('%s.fraction_seed has no effect on a fraction of 1.', name)


def _check_no_augmentation(stream: Stream, name: str) -> None:
  if stream.augmentation.policy != 'none':
    raise errors.ConfigError(
      f'{name}.augmentation.policy is {stream.augmentation.policy!r}: validation images are not augmented; it must '
      "be 'none'."
    )
  if stream.augmentation.mixes():
    raise errors.ConfigError(
      f'{name}.augmentation: validation images are not mixed; copy_paste_probability, mosaic_probability and '
      'mixup_probability must be 0.'
    )


def _check_flip_and_jitter(stream: Stream, name: str) -> None:
  holder, prefix = stream.flip_and_jitter(name)
  if stream.augmentation.policy != 'none':
    if getattr(holder, 'aug_rand_hflip', False):
      logging.warning(
        '%s.aug_rand_hflip has no effect with a named policy; see augmentation.flip_probability.',
        prefix,
      )
  elif hasattr(holder, 'aug_scale_min') and not 0 < holder.aug_scale_min <= holder.aug_scale_max:
    raise errors.ConfigError(
      f'{prefix}.aug_scale_min is {holder.aug_scale_min}: it must be positive and at most '
      f'{prefix}.aug_scale_max ({holder.aug_scale_max}).'
    )
