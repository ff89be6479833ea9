"""The table of teacher, control and student: as rows for the page, as text for the console."""

import dataclasses
import textwrap

from official_selftrain.report import contents, judgement

MISSING = '-'
_GAP = '  '
_TEXT_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Row:
  """One model's line.

  Attributes:
    model: 'teacher', 'control', 'student' or 'ceiling'.
    cells: text of each column after the first.
  """

  model: str
  cells: tuple[str, ...]


def header(inputs: contents.ReportInputs) -> tuple[str, ...]:
  """Names of the columns after the model's."""
  return ('steps', *inputs.table_metrics, f'{inputs.primary_metric} vs control{_brackets(inputs)}')


def rows(inputs: contents.ReportInputs) -> tuple[Row, ...]:
  """One row for each model, also for those that were not trained; the ceiling's only where there is one."""
  return tuple(_row(inputs, model) for model in inputs.shown_models)


def number(value: float | None, form: str = '.3f') -> str:
  """`value` formatted, or a dash when it is missing, NaN or infinite."""
  value = contents.finite(value)
  return MISSING if value is None else format(value, form)


def render_table(inputs: contents.ReportInputs, verdict: judgement.Verdict) -> str:
  """The table and the verdict, as plain text of at most 100 columns.

  Args:
    inputs: the run's facts.
    verdict: what `judgement.verdict` says about them.

  Returns:
    Lines separated by newlines, without a final one.
  """
  body = rows(inputs)
  grid = [('', *header(inputs)), *((row.model, *row.cells) for row in body)]
  widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
  lines = []
  for line in grid:
    cells = [line[0].ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
    lines.append(_GAP.join(cells).rstrip())
  lines.insert(1, '-' * max(len(line) for line in lines))
  return '\n'.join([*lines, '', *textwrap.wrap(verdict.sentence, _TEXT_WIDTH)])


def _row(inputs: contents.ReportInputs, model: str) -> Row:
  trained = inputs.metrics.get(model) is not None
  steps = inputs.steps.get(model) if trained else None
  gain = None
  if model != 'control':
    gain = contents.difference(inputs.metric(model), inputs.metric('control'))
  return Row(
    model,
    (
      MISSING if steps is None else f'{steps:,}',
      *(number(inputs.metric(model, name)) for name in inputs.table_metrics),
      number(gain, '+.3f') + ('' if gain is None else interval(inputs, model, 'control')),
    ),
  )


def interval(inputs: contents.ReportInputs, first: str, second: str) -> str:
  """The interval of a difference with a blank before it, such as ' [+0.041, +0.085]'; '' where there is none."""
  found = inputs.comparison(first, second)
  return '' if found is None else f' [{", ".join(contents.bounds(found))}]'


def _brackets(inputs: contents.ReportInputs) -> str:
  """Explains the brackets in a column."""
  known = [found for first in contents.ALL_MODELS if (found := inputs.comparison(first, 'control'))]
  return f' [{known[0].confidence:.0%}]' if known else ''
