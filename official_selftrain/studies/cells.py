"""One cell of a study: its settings, its run, and what it says when that ends."""

import os
import shlex
import tempfile
from typing import Any

import yaml

from official_selftrain.configs import runs
from official_selftrain.core import config as config_lib
from official_selftrain.core import errors, files
from official_selftrain.pipeline import directories, distribution, selftrain, sharing, training
from official_selftrain.studies import definition, places

MODE = 'train_and_eval'
# In the run of a cell.
REPORT = 'report.json'
# Exit status of a start that found another process at a product that it needs.
BUSY = 75


def load(
  study: definition.Study, cell: definition.Cell, where: places.Places
) -> runs.SelfTrainingExperiment:
  """Loads the experiment of a cell as `train.py` would; touches nothing in the study's directory.

  Raises:
    ConfigError: the settings are refused, the experiment does not self-train, or it is for several workers; the message
      names the cell.
  """
  name = cell.experiment(study)
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'settings')
    files.write_text(path, settings(study, cell, where))
    try:
      params = config_lib.load_experiment(name, [path])
    except errors.ConfigError as error:
      words = str(error).replace(path, f'cell {cell.name}')
      raise errors.ConfigError(f'{study.path}: {words}') from error
  if not isinstance(params, runs.SelfTrainingExperiment):
    raise errors.ConfigError(
      f'{study.path}: experiment {name} does not self-train: name one of the *_selftrain.'
    )
  if distribution.number_of_workers(params.runtime) > 1:
    raise errors.ConfigError(
      f'{study.path}: cell {cell.name} has runtime.worker_hosts: a run of a study is one process. Start the study '
      'on several machines instead, see docs/study.md.'
    )
  return params


def settings(study: definition.Study, cell: definition.Cell, where: places.Places) -> str:
  """The settings of a cell as YAML, with the command that they are for in the first line."""
  directory = {'dataset': {'directory': where.data}}
  found = definition.merge(directory, definition.merge(study.base, cell.overrides))
  found['experiment'] = cell.experiment(study)
  header = f'# {study.title}: {cell.title}. Run as: {command(study, cell, where)}\n'
  return header + yaml.safe_dump(found, sort_keys=True)


def command(study: definition.Study, cell: definition.Cell, where: places.Places) -> str:
  """The command that makes the run of a cell by itself."""
  return shlex.join(
    [
      *('python', 'train.py', f'--experiment={cell.experiment(study)}', f'--mode={MODE}'),
      f'--config_file={where.settings(cell.name)}',
      f'--model_dir={where.run(cell.name)}',
    ]
  )


def planned(
  study: definition.Study, cell: definition.Cell, where: places.Places
) -> tuple[dict[str, str], str]:
  """Keys of the products that are dear to make, by stage, before there are any files; and the primary metric."""
  params = load(study, cell, where)
  run = selftrain.SelfTrainingRun(params, where.run(cell.name), MODE)
  keys = run.planned_keys()
  dear = {stage.name: keys[stage.name] for stage in run.stages if not stage.is_cheap}
  return dear, params.report.primary_metric


def execute(study: definition.Study, cell: definition.Cell, where: places.Places) -> int:
  """Runs a cell as far as it can.

  Returns:
    Exit status: 0 when it is finished, `BUSY` when another process makes a product that it needs, or this very run.

  Raises:
    SelfTrainError: any error of the run; it is noted for the study, too.
  """
  for path in (where.failure(cell.name), where.waiting(cell.name)):
    files.remove(path)
  try:
    params = load(study, cell, where)
    files.write_text(where.settings(cell.name), settings(study, cell, where))
    training.set_precision(params.runtime)
    shelf = sharing.Shelf(where.products)
    with directories.occupied(where.run(cell.name)):
      selftrain.SelfTrainingRun(params, where.run(cell.name), MODE, shelf).execute()
  except (sharing.BusyError, directories.OccupiedError) as error:
    # Of a cell whose runner was killed, the process may live on.
    files.write_json(where.waiting(cell.name), {'lease': error.lease_path})
    return BUSY
  except Exception as error:
    note_failure(cell, where, f'{error}' or type(error).__name__)
    raise
  files.write_json(where.done(cell.name), {'digest': cell.digest(study)})
  return 0


def was_started(cell: definition.Cell, where: places.Places) -> bool:
  """Whether a cell was ever begun in this directory and has left something."""
  left = (where.run(cell.name), where.settings(cell.name), where.done(cell.name))
  return any(map(os.path.exists, left))


def is_done(study: definition.Study, cell: definition.Cell, where: places.Places) -> bool:
  """Whether the run of a cell was finished with the settings that the study has now."""
  if not os.path.exists(os.path.join(where.run(cell.name), REPORT)):
    return False  # It was restarted by hand, or removed.
  return _read(where.done(cell.name)).get('digest') == cell.digest(study)


def product_awaited(cell: definition.Cell, where: places.Places) -> str:
  """The lease of the product that the last start of a cell found in the making elsewhere; '' if it found none."""
  return str(_read(where.waiting(cell.name)).get('lease', ''))


def _read(path: str) -> dict[str, Any]:
  """A file that another runner may remove at any time; empty if there is none."""
  try:
    return dict(files.read_json(path))
  except FileNotFoundError:
    return {}


def note_failure(cell: definition.Cell, where: places.Places, words: str) -> None:
  """Notes why a cell failed."""
  files.write_json(where.failure(cell.name), {'error': words})


def failure(cell: definition.Cell, where: places.Places) -> str:
  """Why the last start of a cell failed; '' if it did not."""
  return str(_read(where.failure(cell.name)).get('error', ''))
