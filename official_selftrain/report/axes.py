"""Scales and axes of the charts."""

import dataclasses
import math

from official_selftrain.report import markup

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MAX_TICKS = 12


def nice_ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
  """Round numbers that cover `[low, high]`.

  Args:
    low: smallest value, finite.
    high: largest value, finite, at least `low`.
    count: intervals wanted; the answer comes close.

  Returns:
    Equally spaced rising ticks; the first is at most `low`, the last at least `high`.
  """
  if high <= low:
    high = low + (abs(low) or 1.0)
  raw = (high - low) / count
  magnitude = 10.0 ** math.floor(math.log10(raw))
  step = next(s * magnitude for s in _STEPS if s * magnitude >= raw * (1 - 1e-9))
  first = math.floor(low / step + 1e-9)
  last = math.ceil(high / step - 1e-9)
  return tuple(round(i * step, 12) for i in range(first, last + 1))


def tick_text(value: float) -> str:
  """A number short enough for the margin: 0.25, 1,500, 40k, 1.2M."""
  if abs(value) >= 1_000_000:
    return f'{value / 1_000_000:g}M'
  if abs(value) >= 10_000:
    return f'{value / 1000:g}k'
  return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:g}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
  """Maps data to pixels of the SVG's own coordinates, y downwards.

  Attributes:
    width: of the whole drawing.
    height: of the whole drawing.
    x_range: data values at the left and right end of the plot.
    y_range: data values at its bottom and top.
    left: pixels left of the plot, for the labels.
    right: pixels right of it.
    top: pixels above it.
    bottom: pixels below it.
  """

  width: float
  height: float
  x_range: tuple[float, float]
  y_range: tuple[float, float]
  left: float = 44
  right: float = 24
  top: float = 22
  bottom: float = 40

  def x(self, value: float) -> float:
    """Horizontal position of a data value, in pixels."""
    low, high = self.x_range
    return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

  def y(self, value: float) -> float:
    """Vertical position of a data value, in pixels from the top."""
    low, high = self.y_range
    return (
      self.height
      - self.bottom
      - (value - low) / (high - low) * (self.height - self.top - self.bottom)
    )


def y_axis(
  frame: Frame, ticks: tuple[float, ...], title: str, percent: bool = False
) -> markup.Markup:
  """Horizontal grid lines with their labels, and the title above them."""
  parts = [markup.element('text', title, class_='axis-title', x=2, y=12)] if title else []
  for tick in ticks[:_MAX_TICKS]:
    y = frame.y(tick)
    label = f'{tick_text(round(100 * tick, 6))}%' if percent else tick_text(tick)
    parts.append(
      markup.element(
        'line',
        class_='base' if tick == frame.y_range[0] else 'grid',
        x1=frame.left,
        x2=frame.width - frame.right,
        y1=y,
        y2=y,
      )
    )
    parts.append(
      markup.element('text', label, class_='tick', x=frame.left - 6, y=y + 4, text_anchor='end')
    )
  return markup.join(parts)


def x_axis(frame: Frame, ticks: tuple[float, ...], title: str) -> markup.Markup:
  """Labels under the plot and the title below them; ticks outside the range are left out."""
  low, high = frame.x_range
  baseline = frame.height - frame.bottom
  parts = [x_title(frame, title)]
  for tick in ticks:
    if not low <= tick <= high:
      continue
    x = frame.x(tick)
    parts.append(markup.element('line', class_='base', x1=x, x2=x, y1=baseline, y2=baseline + 4))
    parts.append(
      markup.element(
        'text', tick_text(tick), class_='tick', x=x, y=baseline + 16, text_anchor='middle'
      )
    )
  return markup.join(parts)


def x_title(frame: Frame, title: str) -> markup.Markup:
  """The horizontal axis' title, at the right end."""
  return markup.element(
    'text',
    title,
    class_='axis-title',
    x=frame.width - frame.right,
    y=frame.height - 5,
    text_anchor='end',
  )
