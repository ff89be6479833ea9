"""HTML and SVG built from elements, so that text is escaped unless it is markup already."""

import html
from collections.abc import Iterable

_VOID = frozenset({'meta', 'img', 'input'})


class Markup(str):
  """A string that is markup: `element` does not escape it."""

  __slots__ = ()


Child = str | Iterable['Child'] | None


def element(name: str, *children: Child, **attributes: str | float | None) -> Markup:
  """Builds one element.

  Args:
    name: tag, such as 'td' or 'svg'.
    *children: text, which is escaped; `Markup`, which is not; iterables of both; None, which is
      left out.
    **attributes: None is left out; numbers are rounded to two decimals; a trailing underscore is
      dropped and the others become dashes, so that `class_` and `stroke_width` can be written.

  Returns:
    The element. It is well-formed XML too, which lets a test parse the page strictly.
  """
  rendered = ''.join(
    f' {_attribute_name(key)}="{html.escape(text(value))}"'
    for key, value in attributes.items()
    if value is not None
  )
  if name in _VOID:
    return Markup(f'<{name}{rendered} />')
  return Markup(f'<{name}{rendered}>{join(children)}</{name}>')


def join(children: Child) -> Markup:
  """Children in a row, escaped where they are text."""
  if children is None:
    return Markup('')
  if isinstance(children, Markup):
    return children
  if isinstance(children, str):
    return Markup(html.escape(children, quote=False))
  return Markup(''.join(join(child) for child in children))


def text(value: str | float) -> str:
  """An attribute's text: numbers with at most two decimals and no trailing zeros."""
  if isinstance(value, str):
    return value
  rounded = round(float(value), 2) + 0.0  # Adding zero turns -0.0 into 0.0.
  return f'{rounded:g}' if abs(rounded) < 1e5 else f'{rounded:.0f}'


def _attribute_name(key: str) -> str:
  # SVG's camel-case names, such as viewBox, pass unchanged.
  return key.rstrip('_').replace('_', '-')
