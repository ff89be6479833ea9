"""The page's section on the rounds of a run that has several."""

from official_selftrain.report import charts, contents, markup, parts, table

_COMPARED = ('control', 'student')


def rounds(inputs: contents.ReportInputs) -> markup.Markup | None:
  """Metrics and labels by round; None for a run of one round."""
  if len(inputs.rounds) < 2:
    return None
  name = inputs.primary_metric
  lines = [
    charts.Line(
      model,
      model,
      [
        (each.number, value)
        for each in inputs.rounds
        if (value := contents.finite(each.metrics.get(model))) is not None
      ],
      dashed=model == 'control',
    )
    for model in _COMPARED
  ]
  chart = charts.line_chart(charts.Labels(f'{name} by round', 'round', name), lines, ())
  return parts.section(
    'rounds',
    'Rounds',
    'The student of a round writes the labels of the next. The control of each round starts from the one before it and '
    'trains as many steps on human labels alone.',
    markup.element('div', chart, class_='charts'),
    parts.grid(_header(inputs), [_row(inputs, each) for each in inputs.rounds]),
  )


def _header(inputs: contents.ReportInputs) -> list[str]:
  name = inputs.primary_metric
  known = next((each.comparison for each in inputs.rounds if each.comparison), None)
  brackets = f' [{known.confidence:.0%}]' if known else ''
  header = ['round', f'{inputs.unit} per image']
  if any(each.quality for each in inputs.rounds):
    header += ['precision', 'recall']
  header += [f'control {name}', f'student {name}', f'student vs control{brackets}']
  if any(each.corrected or each.rejected for each in inputs.rounds):
    header += ['images corrected', 'images rejected']
  return header


def _row(inputs: contents.ReportInputs, each: contents.Round) -> list[str]:
  cells = [str(each.number), contents.quantity(each.labels_per_image)]
  if any(other.quality for other in inputs.rounds):
    quality = each.quality
    cells += [
      table.number(quality.precision if quality else None),
      table.number(quality.recall if quality else None),
    ]
  control, student = (each.metrics.get(model) for model in _COMPARED)
  gain = table.number(contents.difference(student, control), '+.3f')
  if each.comparison is not None:
    gain += f' [{", ".join(contents.bounds(each.comparison))}]'
  cells += [table.number(control), table.number(student), gain]
  if any(other.corrected or other.rejected for other in inputs.rounds):
    cells += [f'{each.corrected:,}', f'{each.rejected:,}']
  return cells
