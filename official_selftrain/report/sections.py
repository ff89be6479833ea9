"""The page's sections on results, losses, pictures and settings."""

import itertools
import math
from collections.abc import Mapping, Sequence

from official_selftrain.report import charts, contents, judgement, markup, parts, pictures, table

_CEILING = (
  ' The ceiling had human labels for more images, and as many steps as the control had at its end.'
)
_LINE_STYLES = ('c0', 'c1', 'c2', 'c3', 'c4', 'c5')
_CURVE_STYLES = {'human_loss': 'human', 'pseudo_loss': 'pseudo', 'loss_ratio': 'student'}
_KIND_NAMES: dict[contents.Kind, str] = {
  'truth': 'truth',
  'teacher': 'teacher',
  'student': 'student',
  'sure': 'pseudo label at or above the cut',
  'unsure': 'pseudo label below the cut',
}


def verdict_card(verdict: judgement.Verdict) -> markup.Markup:
  """The answer, and what to try next."""
  advice = None
  if verdict.advice:
    advice = markup.join(
      [
        markup.element('h3', 'What to try next'),
        markup.element('ul', [markup.element('li', text) for text in verdict.advice]),
      ]
    )
  return markup.element(
    'section',
    markup.element('p', 'Did self-training help?', class_='kicker'),
    markup.element('p', verdict.headline, class_='headline'),
    markup.element('p', verdict.details, class_='muted'),
    advice,
    class_=f'verdict {verdict.outcome}',
    id='verdict',
  )


def results(inputs: contents.ReportInputs) -> markup.Markup:
  """The primary metric as three figures, then the table."""
  name = inputs.primary_metric
  cells = []
  for model in inputs.shown_models:
    title = f'{model.capitalize()} {name}'
    value = table.number(inputs.metric(model))
    cells.append(parts.fact(title, value, _model_note(inputs, model), f'model {model}'))
  best = {
    metric: max(values)
    for metric in inputs.table_metrics
    if (values := [v for m in contents.MODELS if (v := inputs.metric(m, metric)) is not None])
  }

  def emphasised(model: str, column: str, cell: str) -> markup.Child:
    is_best = column in best and inputs.metric(model, column) == best[column]
    return markup.element('span', cell, class_='best') if is_best else cell

  header = table.header(inputs)
  rows = [
    (
      row.model,
      *(emphasised(row.model, h, cell) for h, cell in zip(header, row.cells, strict=True)),
    )
    for row in table.rows(inputs)
  ]
  return parts.section(
    'results',
    'Teacher, control and student',
    'The control starts where the student starts and trains as long, on human labels only. Any lead '
    'of the student over the control comes from the pseudo labels.'
    + (_CEILING if inputs.num_ceiling_images else ''),
    parts.facts(cells, 'models'),
    parts.grid(('model', *header), rows),
    _interval_note(inputs),
    _all_metrics(inputs),
  )


def _interval_note(inputs: contents.ReportInputs) -> markup.Markup | None:
  """How the intervals were computed; None where there are none."""
  if not inputs.comparisons:
    return None
  found = next(iter(inputs.comparisons.values()))
  outside = (1.0 - found.confidence) / 2.0
  text = (
    f'In brackets: {found.confidence:.0%} intervals of the difference. Both models were measured on the same '
    f'{found.resamples:,} random draws from the {found.images:,} validation images; {outside:.0%} of the differences '
    'are below the interval and as many above it. Images were drawn again, but no model was trained again, so the '
    'intervals do not cover what another seed would change.'
  )
  return markup.element('p', text, class_='muted')


def _model_note(inputs: contents.ReportInputs, model: str) -> str:
  if inputs.metrics.get(model) is None:
    return 'not trained'
  steps = inputs.steps.get(model)
  words = [] if steps is None else [f'{steps:,} steps']
  gain = contents.difference(inputs.metric(model), inputs.metric('teacher'))
  if model != 'teacher' and gain is not None:
    words.append(f'{gain:+.3f}{table.interval(inputs, model, "teacher")} vs teacher')
  return ', '.join(words)


def _all_metrics(inputs: contents.ReportInputs) -> markup.Markup | None:
  """Every metric of the evaluator, folded away."""
  names = dict.fromkeys(itertools.chain.from_iterable(m or {} for m in inputs.metrics.values()))
  if set(names) <= set(inputs.table_metrics):
    return None
  rows = [
    (name, *(table.number(inputs.metric(m, name)) for m in inputs.shown_models)) for name in names
  ]
  return parts.fold('All metrics', parts.grid(('metric', *inputs.shown_models), rows))


def per_class(inputs: contents.ReportInputs) -> markup.Markup | None:
  """Bars and a table by class; None when no model has such figures."""
  models = [model for model in inputs.shown_models if inputs.per_class.get(model)]
  if not models:
    return None
  names = list(inputs.class_names) or list(
    dict.fromkeys(itertools.chain.from_iterable(inputs.per_class[model] for model in models))
  )

  def value(model: str, name: str) -> float:
    found = inputs.per_class[model].get(name)
    return math.nan if found is None else found

  metric = inputs.class_metric
  series = [charts.Bars(m, m, [value(m, name) for name in names]) for m in models]
  header = ['class', *models]
  compare = {'student', 'control'} <= set(models)
  if compare:
    header.append('student vs control')
  rows = []
  for name in names:
    row = [name, *(table.number(value(model, name)) for model in models)]
    if compare:
      gain = contents.difference(
        contents.finite(value('student', name)), contents.finite(value('control', name))
      )
      row.append(table.number(gain, '+.3f'))
    rows.append(row)
  return parts.section(
    'classes',
    'Classes',
    '',
    markup.element(
      'div',
      charts.bar_chart(
        charts.Labels(f'{metric} by class', 'class', metric), names, series, wide=True
      ),
      class_='charts',
    ),
    parts.fold('As a table', parts.grid(header, rows)),
  )


def confusion(inputs: contents.ReportInputs) -> markup.Markup | None:
  """Which classes the student confuses; None where that was not measured."""
  counts = inputs.confusion.get('student')
  if not counts:
    return None
  rows = []
  for name, row in zip(inputs.class_names, counts, strict=True):
    total = sum(row)
    shares = [table.number(count / total, '.1%') if total else table.MISSING for count in row]
    rows.append((name, *shares, f'{total:,}'))
  header = ('true class', *inputs.class_names, 'pixels')
  return parts.section(
    'confusion',
    "The student's confusions",
    'Where the pixels of each true class go; rows add up to 100%.',
    parts.grid(header, rows),
  )


def losses(inputs: contents.ReportInputs) -> markup.Markup | None:
  """Loss curves of every stage; None when none was recorded."""
  stages = [stage for stage in inputs.shown_models if inputs.loss_curves.get(stage)]
  if not stages:
    return None
  body: list[markup.Markup] = []
  for stage in stages:
    body += _stage_charts(stage, inputs.loss_curves[stage])
  return parts.section(
    'losses',
    'Losses',
    'Training losses by step. The student minimises both its losses; the ratio of their running '
    'averages scales the pseudo loss.',
    markup.element('div', body, class_='charts'),
  )


def _stage_charts(
  stage: str, curves: Mapping[str, Sequence[tuple[int, float]]]
) -> list[markup.Markup]:
  """The losses share one chart; a curve of another scale, such as their ratio, has its own."""
  together = [name for name in curves if name.endswith('loss')]
  alone = [name for name in curves if name not in together]
  found = []
  for names in ([together] if together else []) + [[name] for name in alone]:
    what = 'losses' if len(names) > 1 else names[0].replace('_', ' ')
    series = [
      charts.Line(
        name.replace('_', ' '),
        _curve_style(stage, name, i, len(names)),
        curves[name],
        # Solid and dashed in turn, so that colour is not the only difference.
        dashed=i % 2 == 1,
      )
      for i, name in enumerate(names)
    ]
    marks = (charts.Mark(1.0, 'equal', horizontal=True),) if names[0].endswith('ratio') else ()
    title = f'{stage.capitalize()}: {what}'
    found.append(
      charts.line_chart(
        charts.Labels(title, 'step', 'loss' if names is together else ''), series, marks
      )
    )
  return found


def _curve_style(stage: str, name: str, index: int, count: int) -> str:
  """A stage's own colour for a line on its own, else one per line."""
  if count == 1 and name not in _CURVE_STYLES:
    return stage
  return _CURVE_STYLES.get(name, _LINE_STYLES[index % len(_LINE_STYLES)])


def sheet(index: int, contact: contents.Sheet) -> markup.Markup:
  """One contact sheet with its legend; tiles that belong side by side stay side by side."""
  drawn = {box.kind for tile in contact.tiles for box in tile.boxes}
  legend = [_legend_item(kind) for kind in pictures.COLOURS if kind in drawn]
  legend += [_swatch(f'rgb{colour}', name) for name, colour in contact.legend]
  body = []
  for group, tiles in itertools.groupby(contact.tiles, key=lambda tile: tile.group):
    if group:
      body.append(markup.element('h3', group))
    body.append(_tiles(list(tiles), contact.columns))
  return parts.section(
    f'sheet-{index}',
    contact.title,
    contact.explanation,
    markup.element('ul', legend, class_='legend') if legend else None,
    body,
  )


def _legend_item(kind: contents.Kind) -> markup.Markup:
  style = 'swatch box dashed' if kind in pictures.DASHED else 'swatch box'
  return _swatch(f'rgb{pictures.COLOURS[kind]}', _KIND_NAMES[kind], style)


def _swatch(colour: str, name: str, style: str = 'swatch box') -> markup.Markup:
  return markup.element('li', markup.element('span', class_=style, style=f'--c:{colour}'), name)


def _tiles(tiles: Sequence[contents.Tile], columns: int) -> markup.Markup:
  figures = [_tile(tile) for tile in tiles]
  # Up to three columns are a comparison, whose rows must not break; more are only a width.
  if not 1 < columns <= 3:
    return markup.element('div', figures, class_='tiles', style=f'--columns:{max(columns, 1)}')
  rows = [figures[i : i + columns] for i in range(0, len(figures), columns)]
  return markup.element(
    'div',
    [markup.element('div', row, class_='row', style=f'--columns:{columns}') for row in rows],
    class_='rows',
  )


def _tile(tile: contents.Tile) -> markup.Markup:
  image = pictures.draw_tile(tile)
  picture = markup.element(
    'img',
    src=pictures.data_uri(image),
    alt=tile.caption if tile.mask is not None else f'{tile.caption} ({len(tile.boxes)} boxes)',
    width=image.width,
    height=image.height,
    loading='lazy',
  )
  caption = markup.element('figcaption', tile.caption) if tile.caption else None
  # A hidden check box is what lets a click enlarge the picture without a script.
  switch = markup.element('input', type='checkbox', aria_label='Enlarge')
  return markup.element('figure', markup.element('label', switch, picture), caption, class_='tile')


def settings(inputs: contents.ReportInputs) -> markup.Markup:
  """Settings, the command, wall times and versions."""
  rows = []
  for name, value in inputs.settings.items():
    default = None
    if name in inputs.settings_not_default:
      default = markup.element(
        'span', f' (default {_setting(inputs.settings_not_default[name])})', class_='muted'
      )
    rows.append((markup.element('code', name), markup.join([_setting(value), default])))
  command = None
  if inputs.command:
    command = markup.join(
      [
        markup.element('h3', 'How to repeat this'),
        markup.element('pre', inputs.command),
        markup.element('p', 'On a CPU the same seed gives the same result.', class_='muted'),
      ]
    )
  total = sum(value for value in inputs.seconds.values() if math.isfinite(value))
  seconds = [(stage, duration(value)) for stage, value in inputs.seconds.items()]
  tables = [
    _titled('Wall time', [*seconds, ('total', duration(total))] if seconds else []),
    _titled('Versions', list(inputs.versions.items())),
  ]
  return parts.section(
    'settings',
    'Settings',
    '',
    parts.grid((), rows, style='text full') if rows else None,
    command,
    markup.element('div', tables, class_='two'),
  )


def _titled(title: str, rows: Sequence[Sequence[str]]) -> markup.Markup | None:
  if not rows:
    return None
  return markup.element('div', markup.element('h3', title), parts.grid((), rows, style='text'))


def _setting(value: object) -> str:
  return 'not set' if value is None or value == '' else str(value)


def duration(seconds: float) -> str:
  """'8.3 s', '4 min 05 s' or '2 h 03 min'."""
  if not math.isfinite(seconds):
    return table.MISSING
  if seconds < 60:
    return f'{seconds:.1f} s'
  minutes, rest = divmod(round(seconds), 60)
  if minutes < 60:
    return f'{minutes} min {rest:02d} s'
  hours, minutes = divmod(minutes, 60)
  return f'{hours} h {minutes:02d} min'
