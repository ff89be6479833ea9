"""The export stage."""

import os
from typing import Any

from official_selftrain.configs import self_training as st
from official_selftrain.core import console, files
from official_selftrain.pipeline import run_facts
from official_selftrain.serving import saved_model


def export(model: run_facts.TrainedModel, settings: st.Export, directory: str) -> dict[str, Any]:
  """Writes a model's SavedModel.

  Args:
    model: the model, the student as a rule.
    settings: signature and batch size.
    directory: where it goes.

  Returns:
    The stage's record.
  """
  saved_model.export_model(
    model.job.params,
    model.checkpoint,
    directory,
    settings.input_type,
    settings.batch_size,
    class_names=model.job.class_names,
  )
  console.say(f'export: SavedModel of the {model.job.name} in {directory}')
  return {
    'digest': files.sha256(os.path.join(directory, 'saved_model.pb')),
    'input_type': settings.input_type,
  }
