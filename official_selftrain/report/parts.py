"""Pieces of the page that several sections use."""

from collections.abc import Iterable, Sequence

from official_selftrain.report import markup


def section(anchor: str, title: str, lead: str, *children: markup.Child) -> markup.Markup:
  """A titled card; `anchor` is what the navigation links to."""
  return markup.element(
    'section',
    markup.element('h2', title),
    markup.element('p', lead, class_='lead') if lead else None,
    children,
    id=anchor,
  )


def grid(
  header: Sequence[str],
  rows: Iterable[Sequence[markup.Child]],
  style: str = 'full',
  here: int | None = None,
) -> markup.Markup:
  """A table in a box that scrolls sideways when it is too wide.

  Args:
    header: texts of the first row; empty for a table without one.
    rows: cells; the first of each row is its heading.
    style: class names of the table: 'full', 'text'.
    here: index of a row to point out.

  Returns:
    The table.
  """
  head = None
  if header:
    cells = [markup.element('th', name, scope='col') for name in header]
    head = markup.element('thead', markup.element('tr', cells))
  body = [
    markup.element(
      'tr',
      markup.element('th', row[0], scope='row'),
      [markup.element('td', cell) for cell in row[1:]],
      class_='here' if i == here else None,
    )
    for i, row in enumerate(rows)
  ]
  table = markup.element('table', head, markup.element('tbody', body), class_=style)
  return markup.element('div', table, class_='scroll')


def fold(title: str, *children: markup.Child) -> markup.Markup:
  """Content that opens on a click."""
  return markup.element('details', markup.element('summary', title), children)


def fact(name: str, value: str, note: str = '', style: str = '') -> markup.Markup:
  """A figure with its name above and a note below."""
  return markup.element(
    'div',
    markup.element('dt', name),
    markup.element('dd', value, class_='value'),
    markup.element('dd', note, class_='note') if note else None,
    class_=f'fact {style}'.strip(),
  )


def facts(cells: Iterable[markup.Markup], style: str = '') -> markup.Markup:
  """Figures side by side."""
  return markup.element('dl', cells, class_=f'facts {style}'.strip())
