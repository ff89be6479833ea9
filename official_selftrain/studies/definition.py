"""Study files: a base experiment, axes of overrides, seeds, and how results are shown."""

import dataclasses
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from official_selftrain.core import config as config_lib
from official_selftrain.core import errors, files
from official_selftrain.report import study_contents

Overrides = dict[str, Any]
# Names of values by axis.
_Rule = Mapping[str, Sequence[str]]

_REQUIRED = ('title', 'experiment', 'axes', 'seeds')
_KEYS = (
  *_REQUIRED, 'question', 'config_files', 'overrides', 'seed_settings', 'adjust', 'exclude', 'tables', 'plots',
  'seconds',
)  # fmt: skip
_SEED = '{seed}'
_ADJUST_KEYS = ('when', 'overrides')
_TABLE_KEYS = ('title', 'rows', 'columns', 'models', 'paper')
_PLOT_KEYS = ('title', 'effect', 'x')


@dataclasses.dataclass(frozen=True)
class Cell:
  """One run of a study.

  Attributes:
    name: of its run directory.
    values: name of its value by axis.
    seed: of the run.
    overrides: nested settings on top of the experiment and the config files; `experiment` among them names another
      registered experiment than the study's.
  """

  name: str
  values: Mapping[str, str]
  seed: int
  overrides: Overrides

  @property
  def title(self) -> str:
    """For a line on the console."""
    return ', '.join(
      [*(f'{axis} {value}' for axis, value in self.values.items()), f'seed {self.seed}']
    )

  def experiment(self, study: 'Study') -> str:
    """Registered name of its experiment."""
    return str(self.overrides.get('experiment') or study.experiment)

  def digest(self, study: 'Study') -> str:
    """Tells whether a result that was made earlier, perhaps elsewhere, is of this cell."""
    return files.digest_of([study.experiment, study.base, self.overrides])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """A study file.

  Attributes:
    path: of the file.
    title: heading of its page.
    question: what it asks, in a sentence or two.
    experiment: registered name of the self-training experiment.
    config_files: YAML files, as for `train.py`.
    base: their settings and the file's own `overrides`, nested; every cell has them.
    axes: name of each value and its overrides, by axis; the first value is what others are compared with.
    seeds: of the runs of each combination.
    cells: all runs, without the excluded ones; the seeds of one combination follow each other.
    layout: tables and plots of the page.
    seconds: time of each kind of stage on the machine that the file names, for estimates before anything has run.
  """

  path: str
  title: str
  question: str
  experiment: str
  config_files: tuple[str, ...]
  base: Overrides
  axes: Mapping[str, Mapping[str, Overrides]]
  seeds: tuple[int, ...]
  cells: tuple[Cell, ...]
  layout: study_contents.Layout
  seconds: Mapping[str, float]

  def cell(self, name: str) -> Cell:
    """The cell of a name.

    Raises:
      ConfigError: there is none.
    """
    found = [cell for cell in self.cells if cell.name == name]
    if not found:
      raise errors.ConfigError(f'--cell={name}: {self.path} has no such cell.')
    return found[0]


def load(path: str) -> Study:
  """Reads a study file.

  Args:
    path: a YAML file; see docs/study.md for its keys.

  Raises:
    ConfigError: it cannot be read, or a key is missing, unknown or of the wrong kind; the message names it.
  """
  if not os.path.exists(path):
    raise errors.ConfigError(f'--study={path}: there is no such file.')
  value = dict(config_lib.read_override_file(path))
  _check_keys(value, _KEYS, path)
  missing = [key for key in _REQUIRED if not value.get(key)]
  if missing:
    raise errors.ConfigError(f'{path}: {missing[0]} is missing.')
  axes = _axes(value['axes'], path)
  seeds = _seeds(value['seeds'], path)
  config_files = tuple(_list_of(value.get('config_files', []), str, 'config_files', path))
  base: Overrides = {}
  for layer, _ in config_lib.read_override_layers(*config_files):
    base = merge(base, layer)
  base = merge(base, nested(value.get('overrides', {}), 'overrides', path))
  if base.get('experiment') not in (None, value['experiment']):
    raise errors.ConfigError(
      f'{path}: experiment is {value["experiment"]!r}, and overrides or config_files say {base["experiment"]!r}: let '
      'them be the same.'
    )
  seed_settings = _seed_settings(value.get('seed_settings', ['seed']), path)
  excluded = _rules(value.get('exclude', []), axes, 'exclude', path)
  adjusted = _adjusted(value.get('adjust', []), axes, path)
  made = tuple(_cells(axes, seeds, seed_settings, excluded, adjusted))
  if not made:
    raise errors.ConfigError(f'{path}: exclude leaves no run.')
  try:
    layout = _layout(value, axes, path)
    seconds = {str(kind): float(time) for kind, time in value.get('seconds', {}).items()}
  except errors.ConfigError:
    raise
  except (AttributeError, TypeError, ValueError) as error:
    raise errors.ConfigError(
      f'{path}: tables, plots or seconds are not as docs/study.md has them ({errors.first_line(error)}).'
    ) from error
  return Study(
    path=path,
    title=str(value['title']),
    question=str(value.get('question', '')),
    experiment=str(value['experiment']),
    config_files=config_files,
    base=base,
    axes=axes,
    seeds=seeds,
    cells=made,
    layout=layout,
    seconds=seconds,
  )


def nested(settings: object, key: str, path: str) -> Overrides:
  """Overrides whose names may be dotted, as nested dictionaries.

  Raises:
    ConfigError: they are no mapping, or a name is both a setting and a part of another's.
  """
  if not isinstance(settings, Mapping):
    raise errors.ConfigError(
      f'{path}: {key} is {settings!r}: it must be settings with their values.'
    )
  found: Overrides = {}
  for name, value in settings.items():
    inner: Any = nested(value, f'{key}.{name}', path) if isinstance(value, Mapping) else value
    *above, last = str(name).split('.')
    layer: Overrides = {last: inner}
    for part in reversed(above):
      layer = {part: layer}
    found = merge(found, layer)
  return found


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> Overrides:
  """Both, of which the second wins where they differ."""
  found = dict(first)
  for name, value in second.items():
    old = found.get(name)
    if isinstance(old, Mapping) and isinstance(value, Mapping):
      value = merge(old, value)
    found[name] = value
  return found


def _cells(
  axes: Mapping[str, Mapping[str, Overrides]],
  seeds: Sequence[int],
  seed_settings: Mapping[str, str],
  excluded: Sequence[_Rule],
  adjusted: Sequence[tuple[_Rule, Overrides]],
) -> Iterator[Cell]:
  for combination in itertools.product(*axes.values()):
    values = dict(zip(axes, combination, strict=True))
    if any(_fits(rule, values) for rule in excluded):
      continue
    overrides: Overrides = {}
    for axis, name in values.items():
      overrides = merge(overrides, axes[axis][name])
    for rule, own_overrides in adjusted:
      if _fits(rule, values):
        overrides = merge(overrides, own_overrides)
    for seed in seeds:
      own = nested(
        {name: _filled(text, seed) for name, text in seed_settings.items()}, 'seed_settings', ''
      )
      slug = '_'.join(re.sub(r'[^A-Za-z0-9.+-]+', '-', name) for name in combination)
      yield Cell(f'{slug}_seed{seed}', values, seed, merge(overrides, own))


def _axes(value: object, path: str) -> dict[str, dict[str, Overrides]]:
  if not isinstance(value, Mapping) or not all(
    isinstance(v, Mapping) and v for v in value.values()
  ):
    raise errors.ConfigError(
      f'{path}: axes must be names with values, and each value a name with its settings ({{}} for none).'
    )
  axes = {
    str(axis): {
      str(name): nested(settings or {}, f'axes.{axis}.{name}', path)
      for name, settings in values.items()
    }
    for axis, values in value.items()
  }
  slugs = [cell.name for cell in _cells(axes, [0], {}, [], [])]
  twice = [slug for slug in slugs if slugs.count(slug) > 1]
  if twice:
    raise errors.ConfigError(
      f'{path}: axes: two combinations would have the directory {twice[0]}: let the names of values differ in their '
      'letters and digits.'
    )
  return axes


def _seed_settings(value: object, path: str) -> dict[str, str]:
  """Text with `{seed}` by the name of the setting that follows the seed."""
  if isinstance(value, Mapping):
    without = [name for name, text in value.items() if _SEED not in str(text)]
    if without:
      raise errors.ConfigError(
        f'{path}: seed_settings.{without[0]} is {value[without[0]]!r}: it must have {_SEED} in it.'
      )
    found = {str(name): str(text) for name, text in value.items()}
  else:
    found = dict.fromkeys(_list_of(value, str, 'seed_settings', path), _SEED)
  if not found:
    raise errors.ConfigError(
      f'{path}: seed_settings is empty, so that all seeds would give the same run: name what follows them, or leave it '
      'out.'
    )
  return found


def _filled(text: str, seed: int) -> str | int:
  """A setting of one seed: a number where the text is nothing but the seed."""
  return seed if text == _SEED else text.replace(_SEED, str(seed))


def _seeds(value: object, path: str) -> tuple[int, ...]:
  seeds = tuple(_list_of(value, int, 'seeds', path))
  if len(set(seeds)) < len(seeds):
    raise errors.ConfigError(f'{path}: seeds has one twice: {list(seeds)}.')
  return seeds


def _fits(rule: _Rule, values: Mapping[str, str]) -> bool:
  return all(values[axis] in names for axis, names in rule.items())


def _adjusted(
  value: object, axes: Mapping[str, Mapping[str, Overrides]], path: str
) -> list[tuple[_Rule, Overrides]]:
  entries = _list_of(value, Mapping, 'adjust', path)
  for number, entry in enumerate(entries):
    _check_keys(entry, _ADJUST_KEYS, f'{path}: adjust[{number}]')
  rules = _rules([entry.get('when', {}) for entry in entries], axes, 'adjust', path)
  settings = [nested(entry.get('overrides', {}), 'adjust', path) for entry in entries]
  return list(zip(rules, settings, strict=True))


def _rules(
  value: object, axes: Mapping[str, Mapping[str, Overrides]], key: str, path: str
) -> list[_Rule]:
  rules: list[_Rule] = []
  for number, rule in enumerate(_list_of(value, Mapping, key, path)):
    found: dict[str, Sequence[str]] = {}
    if not rule:
      raise errors.ConfigError(
        f'{path}: {key}[{number}] names no axis, so that it is for every run: name one.'
      )
    for axis, names in rule.items():
      listed = tuple(str(name) for name in (names if isinstance(names, list) else [names]))
      _check_axis(str(axis), axes, f'{key}[{number}]', path)
      unknown = [name for name in listed if name not in axes[str(axis)]]
      if unknown:
        raise errors.ConfigError(
          f'{path}: {key}[{number}].{axis} is {unknown[0]!r}: the axis has {", ".join(axes[str(axis)])}.'
        )
      found[str(axis)] = listed
    rules.append(found)
  return rules


def _layout(
  value: Mapping[str, Any], axes: Mapping[str, Mapping[str, Overrides]], path: str
) -> study_contents.Layout:
  tables = []
  for number, table in enumerate(_list_of(value.get('tables', []), Mapping, 'tables', path)):
    where = f'tables[{number}]'
    _check_keys(table, _TABLE_KEYS, f'{path}: {where}')
    rows = table.get('rows', [])
    rows = [rows] if isinstance(rows, str) else rows
    columns = str(table.get('columns', ''))
    for axis in (*rows, columns):
      _check_axis(axis, axes, where, path)
    models = tuple(table.get('models', study_contents.MODELS))
    for model in models:
      if model not in study_contents.ALL_MODELS:
        raise errors.ConfigError(
          f'{path}: {where}.models has {model!r}: allowed are {", ".join(study_contents.ALL_MODELS)}.'
        )
    paper = {
      (str(row), str(column)): float(figure)
      for row, figures in table.get('paper', {}).items()
      for column, figure in figures.items()
    }
    tables.append(
      study_contents.Table(str(table.get('title', '')), tuple(rows), columns, models, paper)
    )
  plots = []
  for number, plot in enumerate(_list_of(value.get('plots', []), Mapping, 'plots', path)):
    where = f'plots[{number}]'
    _check_keys(plot, _PLOT_KEYS, f'{path}: {where}')
    effect, x = str(plot.get('effect', '')), str(plot.get('x', ''))
    if effect != study_contents.SELF_TRAINING:
      _check_axis(effect, axes, f'{where}.effect', path)
    _check_axis(x, axes, f'{where}.x', path)
    plots.append(study_contents.Plot(str(plot.get('title', '')), effect, x))
  return study_contents.Layout(tuple(tables), tuple(plots))


def _check_axis(name: str, axes: Mapping[str, object], where: str, path: str) -> None:
  if name not in axes:
    raise errors.ConfigError(f'{path}: {where}: {name!r} is no axis; there are {", ".join(axes)}.')


def _check_keys(value: Mapping[str, Any], known: Sequence[str], where: str) -> None:
  unknown = [key for key in value if key not in known]
  if unknown:
    raise errors.ConfigError(f'{where}: {unknown[0]!r} is unknown; there are {", ".join(known)}.')


def _list_of(value: object, kind: type, key: str, path: str) -> list[Any]:
  if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
    raise errors.ConfigError(f'{path}: {key} is {value!r}: it must be a list of {kind.__name__}.')
  return value
