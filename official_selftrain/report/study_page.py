"""`study.html`: one file that needs nothing else."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

from official_selftrain.report import (
  charts,
  contents,
  interval_chart,
  markup,
  page,
  parts,
  sections,
  study_contents,
  study_effects,
  study_words,
)
from official_selftrain.report.study_effects import Named

_STYLES = ('c0', 'c1', 'c2', 'c3', 'c4', 'c5')


def render_html(facts: study_contents.StudyFacts, sheets: Sequence[contents.Sheet] = ()) -> str:
  """The whole page.

  Args:
    facts: the study; it may be unfinished.
    sheets: pictures.

  Returns:
    An HTML document that is well-formed XML, with its style, charts and pictures inside.
  """
  words = study_words.sentences(facts)
  shown = [
    _answer(words),
    *(_table(facts, table, number) for number, table in enumerate(facts.layout.tables)),
    _plots(facts),
    _effects(facts),
    *(sections.sheet(number, sheet) for number, sheet in enumerate(sheets)),
    _runs(facts),
  ]
  seeds = ', '.join(str(seed) for seed in facts.seeds)
  header = markup.element(
    'header',
    markup.element('h1', facts.title),
    markup.element('p', facts.question) if facts.question else None,
    markup.element('p', f'{facts.experiment} · {facts.metric} · seeds {seeds}', class_='muted'),
  )
  main = markup.element('main', header, [each for each in shown if each is not None])
  body = markup.element('body', main)
  return f'<!DOCTYPE html>\n{markup.element("html", page.head(facts.title), body, lang="en")}\n'


def _answer(words: Sequence[str]) -> markup.Markup:
  return parts.section(
    'answer',
    'What it says',
    '',
    markup.element('ul', [markup.element('li', sentence) for sentence in words]),
    markup.element('p', study_words.METHOD, class_='muted'),
  )


def _table(
  facts: study_contents.StudyFacts, table: study_contents.Table, number: int
) -> markup.Markup:
  columns = facts.axes[table.columns]
  rows = []
  for name, cells in table_rows(facts, table):
    rows.append(
      [name, *(text_with_paper(table, name, column, cells[column]) for column in columns)]
    )
  lead = 'Mean and standard deviation of the runs, and their number.'
  if table.paper:
    lead += " The paper's figures are of its own data and networks, in points of a hundred."
  grid = parts.grid(['', *(f'{table.columns} {column}' for column in columns)], rows)
  return parts.section(f'table-{number}', table.title, lead, grid)


def table_rows(
  facts: study_contents.StudyFacts, table: study_contents.Table
) -> list[tuple[str, dict[str, list[float]]]]:
  """The metrics that a table shows.

  Args:
    facts: the study.
    table: which table.

  Returns:
    Name of the row and the metrics of its runs by column; empty lists where none has finished.
  """
  combinations: list[tuple[str, ...]] = []
  for result in facts.results:
    key = tuple(result.values[axis] for axis in table.rows)
    if key not in combinations:
      combinations.append(key)
  rows = []
  for key in combinations:
    for model in table.models:
      cells: dict[str, list[float]] = {column: [] for column in facts.axes[table.columns]}
      for result in facts.done:
        value = result.metrics.get(model)
        if tuple(result.values[axis] for axis in table.rows) == key and value is not None:
          cells[result.values[table.columns]].append(value)
      rows.append((' '.join([*key, model]), cells))
  return rows


def text_with_paper(
  table: study_contents.Table, row: str, column: str, values: Sequence[float]
) -> str:
  """A cell of a table, with the paper's figure if there is one."""
  paper = table.paper.get((row, column))
  return text_of(values) if paper is None else f'{text_of(values)} · paper {paper:g}'


def text_of(values: Sequence[float]) -> str:
  """Mean, spread and number of runs; a dash without any."""
  if not values:
    return '-'
  mean = statistics.fmean(values)
  if len(values) == 1:
    return f'{mean:.3f} (1)'
  return f'{mean:.3f} ± {statistics.stdev(values):.3f} ({len(values)})'


def _plots(facts: study_contents.StudyFacts) -> markup.Markup | None:
  drawn = [_plot(facts, plot) for plot in facts.layout.plots]
  if not drawn:
    return None
  return parts.section(
    'gains',
    'Gains',
    'Differences of pairs that share the seed, averaged over the other axes; the bars are 90% intervals over seeds.',
    markup.element('div', drawn, class_='charts'),
  )


def _plot(facts: study_contents.StudyFacts, plot: study_contents.Plot) -> markup.Markup:
  if plot.effect == study_contents.SELF_TRAINING:
    groups = {'self-training': study_effects.self_training(facts)}
  else:
    groups = {}
    for each in study_effects.of_axis(facts, plot.effect):
      words = 'with' if each.model == 'student' else 'without'
      groups.setdefault(f'{each.choice}, {words} self-training', []).append(each)
  values = facts.axes[plot.x]
  series = [
    interval_chart.Series(name, style, [_point(named, plot.x, value) for value in values])
    for (name, named), style in zip(groups.items(), itertools.cycle(_STYLES), strict=False)
  ]
  labels = charts.Labels(plot.title, plot.x, f'gain in {facts.metric}')
  return interval_chart.interval_chart(labels, values, series)


def _point(named: Sequence[Named], axis: str, value: str) -> interval_chart.Point | None:
  found = study_effects.pooled(named, axis, value)
  if found is None:
    return None
  if found.over_seeds is None:
    return interval_chart.Point(found.mean)
  return interval_chart.Point(found.mean, found.over_seeds.low, found.over_seeds.high)


def _effects(facts: study_contents.StudyFacts) -> markup.Markup | None:
  """Every difference with its intervals."""
  named = study_effects.everything(facts)
  if not named:
    return None
  rows = [
    [
      f'{each.choice} against {each.baseline}',
      each.model,
      _values(each.context),
      f'{each.effect.mean:+.3f}',
      each.effect.outcome,
      _interval(each.effect.over_seeds),
      _interval(each.effect.over_images),
      f'{each.effect.seeds}',
    ]
    for each in named
  ]
  header = ['choice', 'model', 'setting', facts.metric, '', 'over seeds', 'over images', 'seeds']
  lead = f'Differences in {facts.metric} with their 90% intervals.'
  return parts.section('differences', 'Differences', lead, parts.grid(header, rows))


def _runs(facts: study_contents.StudyFacts) -> markup.Markup:
  models = [
    m
    for m in contents.ALL_MODELS
    if m in contents.MODELS or any(m in r.metrics for r in facts.done)
  ]
  rows = [
    [
      result.name,
      *(_number(result.metrics.get(model)) for model in models),
      result.status if result.status != 'failed' else f'failed: {result.error}',
    ]
    for result in facts.results
  ]
  seconds: dict[str, float] = {}
  for result in facts.results:
    seconds |= result.seconds
  hours = math.fsum(seconds.values()) / 3600
  lead = f'{hours:.2f} hours of training and labelling, shared products counted once.'
  return parts.section(
    'runs',
    'Runs',
    lead,
    markup.element('p', 'Continue or repeat: ', markup.element('code', facts.command)),
    parts.fold('All runs', parts.grid(['run', *models, ''], rows)),
  )


def _interval(found: study_contents.Interval | None) -> str:
  return '-' if found is None else study_words.ends(found)


def _values(context: Mapping[str, str]) -> str:
  return ', '.join(f'{axis} {value}' for axis, value in context.items())


def _number(value: float | None) -> str:
  return '-' if value is None else f'{value:.3f}'
