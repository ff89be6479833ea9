"""Charts as inline SVG; colours come from the page's style sheet by class name."""

import dataclasses
import math
from collections.abc import Sequence

from official_selftrain.report import axes, contents, markup

# Drawn this wide, a chart is legible both on a phone and in half a laptop's window.
WIDTH, HEIGHT = 440, 250
# A chart that takes the whole width of the page; on a phone it scrolls.
WIDE = 960
_MAX_POINTS = 240
# A horizontal axis that starts within this part of its end starts at zero instead.
_NEAR_ZERO = 0.1
_PIXELS_PER_BAR = 11
_PIXELS_BETWEEN_GROUPS = 16
_MARK_LINE_HEIGHT, _MARK_LABEL_WIDTH = 14, 85


@dataclasses.dataclass(frozen=True)
class Line:
  """A line of a line chart.

  Attributes:
    name: shown in the legend.
    style: class name that gives the colour: 'teacher', 'human', 'c0' and so on.
    points: `(x, y)` in rising x; a NaN leaves a gap.
    dashed: draws the line dashed, so that it differs by more than its colour.
  """

  name: str
  style: str
  points: Sequence[tuple[float, float]]
  dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Bars:
  """One bar in every group of a bar chart.

  Attributes:
    name: shown in the legend.
    style: class name that gives the colour.
    values: one per category; a NaN draws no bar.
  """

  name: str
  style: str
  values: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Mark:
  """A labelled line across the plot.

  Attributes:
    value: where.
    label: what it says.
    horizontal: at a value of y instead of x.
  """

  value: float
  label: str
  horizontal: bool = False


@dataclasses.dataclass(frozen=True)
class Labels:
  """Texts of a chart.

  Attributes:
    title: shown above and read aloud by screen readers.
    x: horizontal axis.
    y: vertical axis.
  """

  title: str
  x: str
  y: str


def line_chart(
  labels: Labels, lines: Sequence[Line], marks: Sequence[Mark] = (), from_zero: bool = True
) -> markup.Markup:
  """Lines over a common numeric axis.

  Args:
    labels: texts.
    lines: what to draw; long ones are thinned by averaging neighbours.
    marks: lines across the plot.
    from_zero: let the vertical axis include zero.

  Returns:
    A figure, or a sentence when there is no finite point.
  """
  thinned = [dataclasses.replace(line, points=thin(line.points)) for line in lines]
  points = [point for line in thinned for point in line.points if math.isfinite(point[1])]
  if not points:
    return nothing(labels)
  xs, ys = zip(*points, strict=True)
  ys += tuple(mark.value for mark in marks if mark.horizontal)
  x_low, x_high = min(xs), max(xs)
  if 0 <= x_low <= _NEAR_ZERO * x_high:
    x_low = 0
  y_ticks = axes.nice_ticks(min(0.0, *ys) if from_zero else min(ys), max(ys))
  frame = axes.Frame(
    width=WIDTH,
    height=HEIGHT,
    x_range=(x_low, x_high if x_high > x_low else x_low + 1),
    y_range=(y_ticks[0], y_ticks[-1]),
  )
  body = [
    axes.y_axis(frame, y_ticks, labels.y),
    axes.x_axis(frame, axes.nice_ticks(*frame.x_range), labels.x),
    [_line(frame, line) for line in thinned],
    _marks(frame, marks),
  ]
  return framed(
    labels,
    frame,
    body,
    legend_of([(line.name, f'line {line.style}{_dash(line)}') for line in lines]),
  )


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
  """At most 240 points, each the mean of equally many neighbours; shorter series pass unchanged."""
  size = math.ceil(len(points) / _MAX_POINTS)
  if size <= 1:
    return list(points)
  chunks = [points[i : i + size] for i in range(0, len(points), size)]
  return [
    (sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk))
    for chunk in chunks
  ]


def bar_chart(
  labels: Labels,
  categories: Sequence[str],
  series: Sequence[Bars],
  percent: bool = False,
  wide: bool = False,
) -> markup.Markup:
  """Groups of bars, one group per category and one bar per series in it.

  Args:
    labels: texts.
    categories: names under the groups.
    series: one value per category each; a NaN draws no bar.
    percent: label the vertical axis in percent.
    wide: take the whole width of the page even when the bars need less.

  Returns:
    A figure as wide as its bars need, or a sentence when there is no finite value.
  """
  values = [value for bars in series for value in bars.values if math.isfinite(value)]
  if not values:
    return nothing(labels)
  group = _PIXELS_PER_BAR * len(series) + _PIXELS_BETWEEN_GROUPS
  ticks = axes.nice_ticks(min(0.0, *values), max(values))
  frame = axes.Frame(
    width=max(WIDE if wide else WIDTH, 60 + group * len(categories)),
    height=HEIGHT,
    x_range=(0, len(categories)),
    y_range=(ticks[0], ticks[-1]),
  )
  body = [axes.y_axis(frame, ticks, labels.y, percent), axes.x_title(frame, labels.x)]
  slot = frame.x(1) - frame.x(0)
  bar = min(24.0, slot * 0.74 / len(series))
  for i, category in enumerate(categories):
    center = frame.x(i + 0.5)
    start = center - bar * len(series) / 2
    for j, bars in enumerate(series):
      text = f'{bars.values[i]:.1%}' if percent else f'{bars.values[i]:.3f}'
      title = f'{category}, {bars.name}: {text}'
      body.append(_bar(frame, (start + j * bar, bar - 1), bars.values[i], bars.style, title))
    body.append(category_name(frame, center, category, slot))
  return framed(
    labels, frame, body, legend_of([(bars.name, f'bar {bars.style}') for bars in series])
  )


def histogram(
  labels: Labels,
  data: contents.ScoreHistogram,
  styles: Sequence[tuple[float, str, str]],
  marks: Sequence[Mark] = (),
) -> markup.Markup:
  """Bars between bin edges.

  Args:
    labels: texts.
    data: edges and counts.
    styles: `(from, style, name)` in rising order: bins whose middle is at least `from` get this
      style.
    marks: vertical lines.

  Returns:
    A figure, or a sentence when all counts are zero.
  """
  if not any(data.counts):
    return nothing(labels)
  ticks = axes.nice_ticks(0.0, max(data.counts))
  frame = axes.Frame(
    width=WIDTH,
    height=HEIGHT,
    x_range=(data.edges[0], data.edges[-1]),
    y_range=(0.0, ticks[-1]),
    left=52,
  )
  body = [axes.y_axis(frame, ticks, labels.y)]
  for low, high, count in zip(data.edges[:-1], data.edges[1:], data.counts, strict=True):
    style = [name for start, name, _ in styles if (low + high) / 2 >= start][-1]
    left, right = frame.x(low), frame.x(high)
    title = f'{low:g} to {high:g}: {count:,}'
    body.append(_bar(frame, (left + 0.5, right - left - 1), count, style, title))
  body += [axes.x_axis(frame, axes.nice_ticks(*frame.x_range), labels.x), _marks(frame, marks)]
  legend = legend_of([(name, f'bar {style}') for _, style, name in styles])
  return framed(labels, frame, body, legend)


def path(frame: axes.Frame, points: Sequence[tuple[float, float]]) -> str:
  """SVG path data of a line; a point that is not finite interrupts it."""
  commands, pen = [], 'M'
  for x, y in points:
    if not math.isfinite(y):
      pen = 'M'
      continue
    commands.append(f'{pen}{markup.text(frame.x(x))} {markup.text(frame.y(y))}')
    pen = 'L'
  return ''.join(commands)


def _line(frame: axes.Frame, line: Line) -> markup.Markup:
  last = next((point for point in reversed(line.points) if math.isfinite(point[1])), None)
  if last is None:
    return markup.Markup('')
  # A line of one point has no length; its end is marked so that it shows.
  end = markup.element(
    'circle',
    markup.element('title', f'{line.name}: {last[1]:.4g} at {axes.tick_text(last[0])}'),
    class_='dot',
    cx=frame.x(last[0]),
    cy=frame.y(last[1]),
    r=3,
  )
  stroke = markup.element('path', class_=f'line{_dash(line)}', d=path(frame, line.points))
  return markup.element('g', stroke, end, class_=line.style)


def _bar(
  frame: axes.Frame, span: tuple[float, float], value: float, style: str, title: str
) -> markup.Markup:
  """A bar from zero to `value`; `span` is its left edge and width in pixels."""
  if not math.isfinite(value):
    return markup.Markup('')
  top, bottom = sorted((frame.y(value), frame.y(0.0)))
  return markup.element(
    'rect',
    markup.element('title', title),
    class_=f'bar {style}',
    x=span[0],
    y=top,
    width=span[1],
    height=bottom - top,
  )


def category_name(frame: axes.Frame, center: float, name: str, slot: float) -> markup.Markup:
  """The name under a group, shortened to what fits."""
  fits = max(3, int(slot / 6.5))
  short = name if len(name) <= fits else name[: fits - 1] + '…'
  return markup.element(
    'text',
    short,
    markup.element('title', name) if short != name else None,
    class_='tick',
    x=center,
    y=frame.height - frame.bottom + 16,
    text_anchor='middle',
  )


def _marks(frame: axes.Frame, marks: Sequence[Mark]) -> markup.Markup:
  upright = [mark for mark in marks if not mark.horizontal]
  level = [_level_mark(frame, mark) for mark in marks if mark.horizontal]
  # Neighbouring marks would write over each other, so each label has its own line.
  rightmost = max((mark.value for mark in upright), default=0.0)
  return markup.join(
    [
      *level,
      *(_upright_mark(frame, mark, i, mark.value < rightmost) for i, mark in enumerate(upright)),
    ]
  )


def _level_mark(frame: axes.Frame, mark: Mark) -> markup.Markup:
  y, right = frame.y(mark.value), frame.width - frame.right
  line = markup.element('line', class_='mark', x1=frame.left, x2=right, y1=y, y2=y)
  label = markup.element(
    'text', mark.label, class_='mark-label', x=right - 2, y=y - 5, text_anchor='end'
  )
  return markup.join([line, label])


def _upright_mark(frame: axes.Frame, mark: Mark, row: int, has_next: bool) -> markup.Markup:
  x = frame.x(mark.value)
  line = markup.element(
    'line', class_='mark', x1=x, x2=x, y1=frame.top, y2=frame.height - frame.bottom
  )
  # To the right, unless another mark or the edge is there.
  goes_left = x > frame.width * 0.66 or (has_next and x > frame.left + _MARK_LABEL_WIDTH)
  label = markup.element(
    'text',
    mark.label,
    class_='mark-label',
    x=x - 5 if goes_left else x + 5,
    y=frame.top + 9 + _MARK_LINE_HEIGHT * row,
    text_anchor='end' if goes_left else 'start',
  )
  return markup.join([line, label])


def _dash(line: Line) -> str:
  return ' dashed' if line.dashed else ''


def legend_of(entries: Sequence[tuple[str, str]]) -> markup.Markup | None:
  """Names with a swatch each; an entry is `(name, class names of the swatch)`."""
  if len(entries) < 2:
    return None  # The title says it.
  items = [
    markup.element('li', markup.element('span', class_=f'swatch {style}'), name)
    for name, style in entries
  ]
  return markup.element('ul', items, class_='legend')


def framed(
  labels: Labels, frame: axes.Frame, body: markup.Child, names: markup.Markup | None
) -> markup.Markup:
  """A drawing with its title above it and `names`, its legend, between them."""
  svg = markup.element(
    'svg',
    body,
    viewBox=f'0 0 {markup.text(frame.width)} {markup.text(frame.height)}',
    role='img',
    aria_label=labels.title,
    # Never smaller than three quarters of its size, where text stops being legible; it scrolls
    # instead.
    style=f'min-width:{markup.text(frame.width * 0.68)}px',
  )
  return markup.element(
    'figure',
    markup.element('figcaption', labels.title),
    names,
    markup.element('div', svg, class_='scroll'),
    class_='chart wide' if frame.width > WIDTH else 'chart',
  )


def nothing(labels: Labels) -> markup.Markup:
  """What stands in the place of a chart without any value."""
  return markup.element(
    'figure',
    markup.element('figcaption', labels.title),
    markup.element('p', 'Nothing to show: no value was recorded.', class_='muted'),
    class_='chart',
  )
