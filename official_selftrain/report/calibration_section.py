"""The page's section on calibrated cuts."""

from official_selftrain.report import calibrated, charts, contents, markup, parts, table

# More charts than these nobody reads; all classes are in the table.
_MAX_CHARTS = 6


def calibration(inputs: contents.ReportInputs) -> markup.Markup | None:
  """Cuts by class with their precision and recall; None where cuts are not calibrated."""
  found = inputs.calibration
  if found is None:
    return None
  band = ''
  if found.ignore_cut is not None:
    band = f' Labels from {found.ignore_cut:g} up to the cut are ignored: at least one in five of them is right.'
  learned = ' that the teacher had not learned from'
  if not found.is_held_out:
    learned = ' (whether the model that labelled them has learned from them is not known)'
  largest = sorted(found.classes, key=lambda each: -each.truths)[: _MAX_CHARTS - 1]
  shown = [found.overall, *(each for each in found.classes if each in largest)]
  rows = [_row(each) for each in (found.overall, *found.classes)]
  return parts.section(
    'calibration',
    'Calibrated cuts',
    f'Chosen on {found.images:,} labelled images{learned}: {found.rule}.{band} No validation image was looked at.',
    markup.element('div', [_chart(each) for each in shown], class_='charts'),
    parts.grid(('class', f'true {inputs.unit}', 'cut', 'precision', 'recall', 'chosen for'), rows),
  )


def _row(each: calibrated.CalibratedClass) -> tuple[str, ...]:
  return (
    each.name,
    f'{each.truths:,}',
    f'{each.cut:g}',
    table.number(each.precision),
    table.number(each.recall),
    'itself' if each.is_own else 'all classes',
  )


def _chart(each: calibrated.CalibratedClass) -> markup.Markup:
  lines = [
    charts.Line(
      name,
      style,
      [(point[0], value) for point in each.curve if (value := point[place]) is not None],
      dashed=place > 1,
    )
    for place, (name, style) in enumerate((('precision', 'c0'), ('recall', 'c1')), start=1)
  ]
  labels = charts.Labels(f'Images of the calibration: {each.name}', 'cut', 'share')
  return charts.line_chart(labels, lines, (charts.Mark(each.cut, f'cut {each.cut:g}'),))
