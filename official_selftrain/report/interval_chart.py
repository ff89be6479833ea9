"""Points with intervals over named categories, as inline SVG."""

import dataclasses
from collections.abc import Sequence

from official_selftrain.report import axes, charts, markup

_RADIUS = 4
_CAP = 4


@dataclasses.dataclass(frozen=True)
class Point:
  """A value with its interval.

  Attributes:
    value: the value.
    low: lower end; None without an interval.
    high: upper end.
  """

  value: float
  low: float | None = None
  high: float | None = None


@dataclasses.dataclass(frozen=True)
class Series:
  """Points of one colour.

  Attributes:
    name: shown in the legend.
    style: class name that gives the colour, as in `charts.Line`.
    points: one per category; None leaves a gap.
  """

  name: str
  style: str
  points: Sequence[Point | None]


def interval_chart(
  labels: charts.Labels, categories: Sequence[str], series: Sequence[Series]
) -> markup.Markup:
  """Points side by side in each category, with a line at zero.

  Args:
    labels: texts.
    categories: names under the groups.
    series: one point per category each.

  Returns:
    A figure, or a sentence when there is no point.
  """
  ends = [0.0]
  for each in series:
    for point in each.points:
      if point is not None:
        ends += [end for end in (point.value, point.low, point.high) if end is not None]
  if len(ends) == 1:
    return charts.nothing(labels)
  ticks = axes.nice_ticks(min(ends), max(ends))
  frame = axes.Frame(
    width=charts.WIDTH,
    height=charts.HEIGHT,
    x_range=(0, len(categories)),
    y_range=(ticks[0], ticks[-1]),
    left=52,
  )
  zero = frame.y(0.0)
  body = [
    axes.y_axis(frame, ticks, labels.y),
    axes.x_title(frame, labels.x),
    markup.element(
      'line', class_='base', x1=frame.left, x2=frame.width - frame.right, y1=zero, y2=zero
    ),
  ]
  slot = frame.x(1) - frame.x(0)
  for i, category in enumerate(categories):
    body.append(charts.category_name(frame, frame.x(i + 0.5), category, slot))
    for j, each in enumerate(series):
      point = each.points[i]
      if point is not None:
        x = frame.x(i + (j + 1) / (len(series) + 1))
        body.append(_point(frame, x, point, each.style, f'{category}, {each.name}'))
  legend = charts.legend_of([(each.name, f'bar {each.style}') for each in series])
  return charts.framed(labels, frame, body, legend)


def _point(frame: axes.Frame, x: float, point: Point, style: str, name: str) -> markup.Markup:
  words = f'{name}: {point.value:+.3f}'
  parts = []
  if point.low is not None and point.high is not None:
    words += f' ({point.low:+.3f} to {point.high:+.3f})'
    bottom, top = frame.y(point.low), frame.y(point.high)
    data = f'M{markup.text(x)} {markup.text(bottom)}V{markup.text(top)}'
    for y in (bottom, top):
      data += f'M{markup.text(x - _CAP)} {markup.text(y)}h{markup.text(2 * _CAP)}'
    parts.append(markup.element('path', class_='line', d=data))
  dot = markup.element(
    'circle', markup.element('title', words), class_='dot', cx=x, cy=frame.y(point.value), r=_RADIUS
  )
  return markup.element('g', parts, dot, class_=style)
