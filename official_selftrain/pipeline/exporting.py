"""The export stage."""

import os
from typing import Any

from official_selftrain.core import console, files
from official_selftrain.serving import saved_model

EXPORT_DIR = 'export'


def export_student(run: Any) -> dict[str, Any]:
  """Exports the student of a `SelfTrainingRun`.

  Args:
    run: the run.

  Returns:
    The stage's record.
  """
  settings = run.params.export
  directory = run.path(EXPORT_DIR)
  job = run.job('student')
  saved_model.export_model(
    job.params, run.checkpoint('student'), directory, settings.input_type, settings.batch_size
  )
  console.say(f'export: SavedModel of the student in {directory}')
  return {
    'digest': files.sha256(os.path.join(directory, 'saved_model.pb')),
    'input_type': settings.input_type,
  }
