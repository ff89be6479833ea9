"""Gathers the results of a study's runs, and reads and writes `study.json`."""

import csv
import dataclasses
import functools
import io
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from official_selftrain.core import comparison, files
from official_selftrain.evaluation import resampling
from official_selftrain.pipeline import ledger, training
from official_selftrain.report import contents, study_contents, study_effects, study_words
from official_selftrain.studies import cells, definition, places

_CSV = 'study.csv'


def gather(
  study: definition.Study, where: places.Places, command: str
) -> study_contents.StudyFacts:
  """The facts of a study, as far as its runs are finished.

  Args:
    study: the study.
    where: its directory. A `study.json` there counts for cells that have not been run here.
    command: that continues it.

  Returns:
    The facts.
  """
  earlier = _earlier(where)
  results = [
    _result(study, cell, where, earlier.get((cell.name, cell.digest(study))))
    for cell in study.cells
  ]
  facts = study_contents.StudyFacts(
    title=study.title,
    question=study.question,
    experiment=study.experiment,
    command=command,
    axes={axis: tuple(values) for axis, values in study.axes.items()},
    seeds=study.seeds,
    metric=_metric(study, where),
    layout=study.layout,
    results=tuple(results),
  )
  return dataclasses.replace(facts, between=_between(facts, where))


def write(facts: study_contents.StudyFacts, where: places.Places) -> None:
  """Writes `study.json` and `study.csv`."""
  digests = {result.name: result.digest for result in facts.results}
  between = [
    {
      'model': model,
      'run': ours,
      'baseline': theirs,
      **dataclasses.asdict(interval),
      'digests': [digests[ours], digests[theirs]],
    }
    for (model, ours, theirs), interval in facts.between.items()
  ]
  effects = [dataclasses.asdict(each) for each in study_effects.everything(facts)]
  for each in effects:
    # They follow from the results.
    del each['differences']
  here = {(result.name, result.digest) for result in facts.done}
  earlier = [
    dataclasses.asdict(result) for key, result in _earlier(where).items() if key not in here
  ]
  value = {
    'title': facts.title,
    'experiment': facts.experiment,
    'command': facts.command,
    'metric': facts.metric,
    'axes': {axis: list(values) for axis, values in facts.axes.items()},
    'seeds': list(facts.seeds),
    'results': [dataclasses.asdict(result) for result in facts.results],
    'between': between,
    'effects': effects,
    'sentences': study_words.sentences(facts),
    'method': study_words.METHOD,
  }
  if earlier:
    # Of other settings: the study file may be changed back.
    value['earlier'] = earlier
  files.write_json(where.results, value)
  files.write_text(os.path.join(where.root, _CSV), _table(facts))


def durations(study: definition.Study, where: places.Places) -> Iterator[tuple[str, str, float]]:
  """Name of the cell, name of the stage and seconds of every finished stage, those taken from the shelf too."""
  for cell in study.cells:
    path = pathlib.Path(where.settings(cell.name))
    # With other settings than now these are other products.
    if path.exists() and path.read_text(encoding='utf-8') == cells.settings(study, cell, where):
      for stage, record in _finished(where.run(cell.name)).items():
        yield cell.name, stage, record['seconds']


def is_known(study: definition.Study, cell: definition.Cell, where: places.Places) -> bool:
  """Whether `study.json` has a result of this cell with these settings, and nothing of it was run here."""
  is_there = (cell.name, cell.digest(study)) in _earlier(where)
  return is_there and not cells.was_started(cell, where)


def _result(
  study: definition.Study,
  cell: definition.Cell,
  where: places.Places,
  known: study_contents.Result | None,
) -> study_contents.Result:
  """The result of a cell's run here, or the one that `study.json` has."""
  own: dict[str, Any] = {
    'name': cell.name,
    'values': cell.values,
    'seed': cell.seed,
    'digest': cell.digest(study),
    'seconds': {r['key']: r['seconds'] for r in _finished(where.run(cell.name)).values()},
  }
  if not cells.is_done(study, cell, where):
    if known is not None and not cells.was_started(cell, where):
      # Read from a file, in which the axes are sorted.
      return dataclasses.replace(known, values=cell.values)
    error = cells.failure(cell, where)
    return study_contents.Result(status='failed' if error else 'left', error=error, **own)
  report = files.read_json(os.path.join(where.run(cell.name), cells.REPORT))
  metric = report['verdict']['metric']
  measured = {str(model): (report.get(model) or {}).get(metric) for model in contents.ALL_MODELS}
  metrics = {model: value for model, value in measured.items() if value is not None}
  baseline = 'control' if 'control' in metrics else 'teacher'
  lead = report['comparisons'].get(comparison.name('student', baseline))
  return study_contents.Result(
    status='done',
    metrics=metrics,
    per_class=report['per_class'],
    lead=study_contents.Interval(lead['low'], lead['high'], lead.get('images')) if lead else None,
    **own,
  )


def _metric(study: definition.Study, where: places.Places) -> str:
  """The primary metric, as the reports have it."""
  for cell in study.cells:
    if cells.is_done(study, cell, where):
      report = files.read_json(os.path.join(where.run(cell.name), cells.REPORT))
      return str(report['verdict']['metric'])
  return str(_read(where).get('metric', 'AP'))


def _finished(model_dir: str) -> dict[str, dict[str, Any]]:
  """Records of a run's finished stages, by stage."""
  paths = sorted(pathlib.Path(model_dir, ledger.RECORDS_DIR).glob('*.json'))
  records = {path.stem: files.read_json(path) for path in paths}
  return {stage: record for stage, record in records.items() if record['status'] == 'done'}


def _read(where: places.Places) -> dict[str, Any]:
  """The content of `study.json`; empty without one."""

  def parse(value: dict[str, Any]) -> dict[str, Any]:
    for each in (*value['results'], *value.get('earlier', ())):
      _parsed(each)
    for each in value['between']:
      _ = each['model'], each['run'], each['baseline'], each['digests'], each['low'], each['high']
    return value

  if not os.path.exists(where.results):
    return {}
  return files.parse_json(where.results, parse, 'Remove it: the runs in its directory are kept.')


def _parsed(value: Mapping[str, Any]) -> study_contents.Result:
  """A result as `study.json` has it."""
  lead = value['lead']
  interval = study_contents.Interval(**lead) if lead else None
  return study_contents.Result(**{**value, 'lead': interval})


def _earlier(where: places.Places) -> dict[tuple[str, str], study_contents.Result]:
  """Finished results of `study.json` by cell and digest of its settings."""
  value = _read(where)
  listed = [_parsed(each) for each in (*value.get('earlier', ()), *value.get('results', ()))]
  return {(each.name, each.digest): each for each in listed if each.status == 'done'}


def _between(
  facts: study_contents.StudyFacts, where: places.Places
) -> dict[tuple[str, str, str], study_contents.Interval]:
  """Intervals of the differences between runs whose evaluations are at hand; others as they were in `study.json`."""
  known: dict[tuple[str, str, str], study_contents.Interval] = {}
  digests = {result.name: result.digest for result in facts.done}
  for value in _read(where).get('between', ()):
    key = (value['model'], value['run'], value['baseline'])
    if value['digests'] == [digests.get(key[1]), digests.get(key[2])]:
      known[key] = study_contents.Interval(value['low'], value['high'], value.get('images'))
  found: dict[tuple[str, str, str], study_contents.Interval] = {}
  by_place = {(tuple(sorted(r.values.items())), r.seed): r for r in facts.done}
  for axis, (baseline, *others) in facts.axes.items():
    for result in facts.done:
      if result.values[axis] not in others:
        continue
      place = tuple(sorted({**result.values, axis: baseline}.items()))
      base = by_place.get((place, result.seed))
      for model in (facts.baseline, 'student'):
        key = (model, result.name, base.name if base else '')
        if base is None or model not in result.metrics or model not in base.metrics:
          continue
        # A run may have been made again since.
        interval = _compare(facts.metric, key, where) or known.get(key)
        if interval is not None:
          found[key] = interval
  return found


def _compare(
  metric: str, key: tuple[str, str, str], where: places.Places
) -> study_contents.Interval | None:
  model, *names = key
  folders = [where.model(name, model) for name in names]
  paths = [os.path.join(folder, training.TALLIES_FILE) for folder in folders]
  if not all(map(os.path.exists, paths)):
    return None
  return _compared(metric, tuple(folders), tuple(map(files.sha256, paths)))


@functools.cache
def _compared(
  metric: str, folders: tuple[str, ...], digests: tuple[str, ...]
) -> study_contents.Interval | None:
  """The interval between two models, computed once for each content of their evaluations."""
  del digests
  tallies: Mapping[str, Any] = {folder: training.evaluation_tallies(folder) for folder in folders}
  ours, theirs = folders
  for each in resampling.compare(tallies, [(ours, theirs)], metric).values():
    return study_contents.Interval(each.low, each.high, each.images)
  return None


def _table(facts: study_contents.StudyFacts) -> str:
  """One line per run, as CSV."""
  stream = io.StringIO()
  table = csv.writer(stream, lineterminator='\n')
  low_high = [f'student_minus_{facts.baseline}_{end}' for end in ('low', 'high')]
  table.writerow(['run', *facts.axes, 'seed', 'status', 'metric', *contents.ALL_MODELS, *low_high])
  for result in facts.results:
    # The interval of a run without a control is that to its teacher.
    has_lead = result.lead is not None and facts.baseline in result.metrics
    lead = (result.lead.low, result.lead.high) if result.lead and has_lead else ('', '')
    values = (result.values[axis] for axis in facts.axes)
    metrics = (result.metrics.get(model, '') for model in contents.ALL_MODELS)
    table.writerow(
      [result.name, *values, result.seed, result.status, facts.metric, *metrics, *lead]
    )
  return stream.getvalue()
