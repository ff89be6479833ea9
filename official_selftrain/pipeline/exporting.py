"""The export stage."""

import os
from typing import Any

import numpy as np

from official_selftrain.configs import runs
from official_selftrain.core import console, errors, files
from official_selftrain.pipeline import model_cards, run_facts
from official_selftrain.serving import example_images, exports, targets


def export(
  model: run_facts.TrainedModel, params: runs.SelfTrainingExperiment, directory: str
) -> dict[str, Any]:
  """Writes a model's SavedModel.

  Args:
    model: the model, the student as a rule.
    params: the run's experiment, with the settings of the export.
    directory: where it goes, in the run directory.

  Returns:
    The stage's record.
  """
  settings = params.export
  target = targets.Target(input_type=settings.input_type, batch_size=settings.batch_size)
  agreement = exports.export_model(
    model.job.params,
    model.checkpoint,
    directory,
    target,
    model.job.class_names,
    _images(model),
  )
  model_cards.write(
    params,
    model.job.name,
    model.checkpoint,
    model.job.class_names,
    os.path.dirname(directory),
    directory,
    target,
    agreement,
  )
  checked = f', {agreement.sentence()}' if agreement else ''
  console.say(f'export: SavedModel of the {model.job.name} in {directory}{checked}')
  return {
    'digest': files.sha256(os.path.join(directory, 'saved_model.pb')),
    'input_type': settings.input_type,
  }


def _images(model: run_facts.TrainedModel) -> list[np.ndarray]:
  """Validation images; none, with a word about it, where they are those of TensorFlow Datasets, or gone."""
  records = model.job.params.task.validation_data.input_path
  if not records:
    return []
  try:
    return example_images.of_records(records, targets.NUM_CHECKED)
  except errors.DataError as error:
    console.note(f'export: not compared with the model: {error}')
    return []
