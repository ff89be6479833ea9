"""Runs the cells of a study, each in a process of its own; several runners may share one directory.

A runner goes through the cells and starts a process for the first that is neither finished nor another runner's. The
process takes what others have made from the shelf and makes the rest, one stage after the other. When it needs what is
being made elsewhere, it ends, and the runner goes on with another cell. What a killed runner leaves behind is picked up
when its leases are over (`lease.LIFETIME`), from the last checkpoint.
"""

import subprocess
import sys
import time
from collections.abc import Mapping

from official_selftrain.core import console, errors, lease
from official_selftrain.report import study_contents
from official_selftrain.studies import cells, collecting, definition, places, schedule

_INTERRUPTED = 130


def plan(study: definition.Study, where: places.Places) -> schedule.Schedule:
  """Loads every cell and says what there is to do.

  Raises:
    ConfigError: the settings of a cell are refused, or the reports of two would be about different metrics.
  """
  with console.warnings_once():
    planned = {cell.name: cells.planned(study, cell, where) for cell in study.cells}
  metrics = {metric: cell for cell, (_, metric) in planned.items()}
  if len(metrics) > 1:
    told = ', '.join(f'{metric} in {cell}' for metric, cell in sorted(metrics.items()))
    raise errors.ConfigError(
      f'{study.path}: the runs have different report.primary_metric ({told}), which cannot be compared: set one.'
    )
  return _schedule(study, where, {cell: keys for cell, (keys, _) in planned.items()})


def run(study: definition.Study, where: places.Places, command: str, seconds: float = 5.0) -> int:
  """Runs what is left of a study.

  Args:
    study: the study.
    where: its directory.
    command: that continues it, for the page.
    seconds: between looks when other runners have all that is left.

  Returns:
    How many runs failed.

  Raises:
    ConfigError: the settings of a cell are refused.
    KeyboardInterrupt: a cell was interrupted.
  """
  keys = plan(study, where).keys
  failed: set[str] = set()
  while True:
    started = waits = False
    for cell in study.cells:
      if cell.name in failed or _is_finished(study, cell, where):
        continue
      waits = True
      if _must_wait(cell, where):
        continue
      with lease.hold(where.lease(cell.name)) as is_ours:
        # Another runner may have finished it since.
        if not is_ours or _is_finished(study, cell, where):
          continue
        started = True
        _announce(study, where, keys, cell)
        if not _run_cell(study, cell, where):
          failed.add(cell.name)
      if _is_finished(study, cell, where):
        write_results(study, where, command)
    if not waits:
      break
    if not started:
      time.sleep(seconds)
  write_results(study, where, command)
  return len(failed)


def write_results(
  study: definition.Study, where: places.Places, command: str
) -> study_contents.StudyFacts:
  """Writes `study.json` and `study.csv`, one process after the other; returns what is in them."""
  with lease.wait(where.page_lease):
    facts = collecting.gather(study, where, command)
    collecting.write(facts, where)
  return facts


def _schedule(
  study: definition.Study, where: places.Places, keys: Mapping[str, Mapping[str, str]]
) -> schedule.Schedule:
  measured = {(c, stage): seconds for c, stage, seconds in collecting.durations(study, where)}
  finished = frozenset(cell.name for cell in study.cells if _is_finished(study, cell, where))
  return schedule.Schedule(keys, measured, study.seconds, finished)


def _is_finished(study: definition.Study, cell: definition.Cell, where: places.Places) -> bool:
  return cells.is_done(study, cell, where) or collecting.is_known(study, cell, where)


def _must_wait(cell: definition.Cell, where: places.Places) -> bool:
  """Whether a product that the cell needs is still being made elsewhere, as its last start found."""
  path = cells.product_awaited(cell, where)
  return bool(path) and lease.is_held(path)


def _announce(
  study: definition.Study,
  where: places.Places,
  keys: Mapping[str, Mapping[str, str]],
  cell: definition.Cell,
) -> None:
  now = _schedule(study, where, keys)
  number = [each.name for each in study.cells].index(cell.name) + 1
  left = len(now.left())
  console.say(
    f'\n{cell.title} ({number} of {len(study.cells)}; {left} products left: {now.duration()})'
  )


def _run_cell(study: definition.Study, cell: definition.Cell, where: places.Places) -> bool:
  """Starts a process for a cell; returns False if it failed."""
  command = [
    *(sys.executable, '-m', 'official_selftrain.study'),
    *(f'--study={study.path}', f'--model_dir={where.root}', f'--cell={cell.name}'),
  ]
  process = subprocess.Popen(command)
  try:
    status = process.wait()
  except KeyboardInterrupt:
    # Ctrl-C went to both, and the cell writes what it has to write.
    process.wait()
    raise
  if status == _INTERRUPTED:
    raise KeyboardInterrupt
  if status < 0:
    cells.note_failure(cell, where, f'its process was killed by signal {-status}')
  elif status not in (0, cells.BUSY) and not cells.failure(cell, where):
    cells.note_failure(cell, where, f'its process ended with status {status}')
  elif status == 0 and not _is_finished(study, cell, where):
    status = 1
    cells.note_failure(
      cell, where, f'{study.path} or a file that it names was changed meanwhile. Start again.'
    )
  if status in (0, cells.BUSY):
    return True
  console.say(f'{cell.name} failed: {cells.failure(cell, where)} The rest goes on.')
  return False
