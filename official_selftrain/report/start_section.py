"""The page's section on what the models started from."""

from official_selftrain.report import charts, contents, markup, parts, table

_STYLES = ('c0', 'c1', 'c2')


def starts(inputs: contents.ReportInputs) -> markup.Markup | None:
  """The start of each model, and the curves of a pre-training in the run; None where nothing is known."""
  if not inputs.starts:
    return None
  rows = [(model, inputs.starts[model]) for model in contents.ALL_MODELS if model in inputs.starts]
  body = [parts.grid(('model', 'starts from'), rows)]
  found = inputs.pretraining
  if found is not None and found.curves:
    body.append(markup.element('div', _charts(found), class_='charts'))
  if found is not None and found.metrics:
    measured = [(name.replace('_', ' '), table.number(v)) for name, v in found.metrics.items()]
    body.append(parts.grid((f'pre-training ({found.kind})', 'on held-out images'), measured))
  return parts.section(
    'starts',
    'Starts',
    'A student that starts from the teacher has its whole network; a start by name gives the backbone alone.',
    *body,
  )


def _charts(found: contents.Pretraining) -> list[markup.Markup]:
  """One for each curve: losses and shares have different scales."""
  shown = []
  for place, (name, points) in enumerate(found.curves.items()):
    words = name.replace('_', ' ')
    title = f'Pre-training ({found.kind}), {found.steps:,} steps: {words}'
    line = charts.Line(words, _STYLES[place % len(_STYLES)], points)
    shown.append(charts.line_chart(charts.Labels(title, 'step', ''), [line]))
  return shown
