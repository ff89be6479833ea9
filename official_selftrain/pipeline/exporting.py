"""The export stage."""

import os
from typing import Any

from official_selftrain.configs import runs
from official_selftrain.core import console, files
from official_selftrain.pipeline import model_cards, run_facts
from official_selftrain.serving import saved_model


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
  saved_model.export_model(
    model.job.params,
    model.checkpoint,
    directory,
    settings.input_type,
    settings.batch_size,
    class_names=model.job.class_names,
  )
  model_cards.write(
    params,
    model.job.name,
    model.checkpoint,
    model.job.class_names,
    os.path.dirname(directory),
    directory,
  )
  console.say(f'export: SavedModel of the {model.job.name} in {directory}')
  return {
    'digest': files.sha256(os.path.join(directory, 'saved_model.pb')),
    'input_type': settings.input_type,
  }
