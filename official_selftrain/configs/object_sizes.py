"""Warns of objects that a detector cannot find: too small at the size of its input, or too many in an image."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from absl import logging

from official_selftrain.core import dataset_card, errors

if TYPE_CHECKING:
  from official_selftrain.configs import runs

# In strides of the finest level. Blood platelets of one stride had an AP of 0.01 (experiments/results).
_SMALLEST = 1.5


def pixels(found: dataset_card.Set, input_size: Sequence[int]) -> Mapping[str, float]:
  """Sizes of objects as a model sees them.

  Args:
    found: labelled images with `object_sizes`.
    input_size: height and width of the model's input in pixels; images are made as large as fits into it.

  Returns:
    Square root of the area of the median box in pixels, by class; empty for a card without sizes.
  """
  height, width = found.height[1], found.width[1]
  if not height or not width:
    return {}
  longer = max(height, width) * min(input_size[0] / height, input_size[1] / width)
  return {name: sizes[1] * longer for name, sizes in found.object_sizes.items()}


def small(params: 'runs.SupervisedExperiment') -> Mapping[str, float]:
  """Classes of the data card half of whose objects a detector hardly finds.

  Args:
    params: an experiment.

  Returns:
    Side of the median box in pixels, by class; empty for other tasks and where there is no card (any more).
  """
  found = _labelled(params)
  model = params.task.model
  sides = pixels(found, model.input_size) if found else {}
  return {name: side for name, side in sides.items() if side < _SMALLEST * 2**model.min_level}


def _labelled(params: 'runs.SupervisedExperiment') -> dataset_card.Set | None:
  """The labelled images of a detector's data card; None without one."""
  directory = params.dataset.card
  if not directory or params.task.data_kind != 'detection':
    return None
  try:
    return dataset_card.read(directory).labelled
  except errors.DataError:
    # The settings of a finished run do not need it any more, and whoever reads the records says what is wrong.
    return None


def _warn_of_many(params: 'runs.SupervisedExperiment') -> None:
  found, most = _labelled(params), params.task.model.detection_generator.max_num_detections
  if found and found.most_objects > most:
    logging.warning(
      'A labelled image has up to %d objects, and the model finds at most %d in an image '
      "(task.model.detection_generator.max_num_detections); COCO's AP counts the 100 that it is most sure of. Pseudo "
      'labels can be more: labels.max_boxes.',
      found.most_objects,
      most,
    )


def warn(params: 'runs.SupervisedExperiment') -> None:
  """Logs a warning with what `small` finds, and one of images with more objects than the model finds."""
  if params.task.data_kind == 'detection':
    _warn_of_many(params)
  found = small(params)
  if found:
    model = params.task.model
    sides = ', '.join(f'{name} ({side:.0f} pixels)' for name, side in found.items())
    logging.warning(
      'Objects of these classes are small where images are resized to task.model.input_size=%s: %s, half of them no '
      'larger. The finest level of the model has a stride of %d pixels, so it will hardly find them, nor label them. '
      'A larger input_size helps; twice the size takes four times as long.',
      list(model.input_size),
      sides,
      2**model.min_level,
    )
