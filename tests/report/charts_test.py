"""Tests for axes and charts, with coordinates worked out by hand."""

import itertools
import math
import unittest
import xml.etree.ElementTree as ET

from official_selftrain.report import axes, charts, contents

NAN = float('nan')
# A plot of 100 x 50 pixels whose lower left corner is at (10, 60).
FRAME = axes.Frame(
  width=120, height=80, x_range=(0, 10), y_range=(0, 2), left=10, right=10, top=10, bottom=20
)
LABELS = charts.Labels('Title & more', 'step', 'loss')


def _all(figure: str, name: str, style: str = '') -> list[ET.Element]:
  found = ET.fromstring(figure).iter(name)
  return [node for node in found if style in node.get('class', '').split() or not style]


class TicksTest(unittest.TestCase):
  def test_hand_worked(self):
    self.assertEqual(axes.nice_ticks(0, 1), (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    self.assertEqual(axes.nice_ticks(0, 1500), (0.0, 500.0, 1000.0, 1500.0))
    self.assertEqual(axes.nice_ticks(0.13, 0.21), (0.12, 0.14, 0.16, 0.18, 0.2, 0.22))
    self.assertEqual(axes.nice_ticks(-1, 1), (-1.0, -0.5, 0.0, 0.5, 1.0))

  def test_cover_the_range_in_equal_steps(self):
    for low, high in ((0, 3e-7), (-7.3, 12.9), (5, 5), (0, 0), (999, 1001), (0, 2.6e6)):
      ticks = axes.nice_ticks(low, high)
      self.assertLessEqual(ticks[0], low)
      self.assertGreaterEqual(ticks[-1], high)
      steps = [b - a for a, b in itertools.pairwise(ticks)]
      self.assertTrue(all(math.isclose(step, steps[0], rel_tol=1e-5) for step in steps))
      self.assertLessEqual(len(steps), 7)

  def test_text(self):
    cases = {0.25: '0.25', 3.0: '3', 1500.0: '1,500', 40_000.0: '40k', 1_200_000.0: '1.2M'}
    self.assertEqual([axes.tick_text(v) for v in cases], list(cases.values()))


class LineTest(unittest.TestCase):
  def test_path_of_a_hand_worked_series(self):
    points = [(0, 0.0), (5, 1.0), (10, 2.0)]
    self.assertEqual(charts.path(FRAME, points), 'M10 60L60 35L110 10')

  def test_nan_interrupts_the_line(self):
    points = [(0, 0.0), (1, 1.0), (2, NAN), (3, 1.0), (4, 2.0)]
    self.assertEqual(charts.path(FRAME, points), 'M10 60L20 35M40 35L50 10')

  def test_thinning_keeps_the_mean(self):
    points = [(float(i), float(i % 2)) for i in range(1000)]
    thinned = charts.thin(points)
    self.assertEqual(len(thinned), 200)
    self.assertEqual(thinned[0], (2.0, 0.4))  # Mean of steps 0..4 with values 0 1 0 1 0.
    self.assertEqual(charts.thin(points[:240]), points[:240])

  def test_chart(self):
    lines = [
      charts.Line('a <b>', 'human', [(0, 1.0), (100, 3.0)]),
      charts.Line('c', 'pseudo', [(0, 2.0), (50, NAN)], dashed=True),
    ]
    marks = [charts.Mark(50, 'cut 50'), charts.Mark(4.0, 'level', horizontal=True)]
    figure = charts.line_chart(LABELS, lines, marks)
    # The plot is 440 - 44 - 24 by 250 - 22 - 40 pixels; values run from 0 to 4.
    paths = [node.get('d') for node in _all(figure, 'path')]
    self.assertEqual(paths, ['M44 163L416 69', 'M44 116'])
    self.assertEqual([n.get('class') for n in _all(figure, 'path')], ['line', 'line dashed'])
    dots = [(n.get('cx'), n.get('cy')) for n in _all(figure, 'circle')]
    self.assertEqual(dots, [('416', '69'), ('44', '116')])
    level, upright = _all(figure, 'line', 'mark')
    self.assertEqual((level.get('y1'), level.get('x1'), level.get('x2')), ('22', '44', '416'))
    self.assertEqual(
      (upright.get('x1'), upright.get('y1'), upright.get('y2')), ('230', '22', '210')
    )
    names = [''.join(node.itertext()) for node in _all(figure, 'li')]
    self.assertEqual(names, ['a <b>', 'c'])
    ticks = [node.text for node in _all(figure, 'text', 'tick')]
    self.assertEqual(ticks, ['0', '1', '2', '3', '4', '0', '20', '40', '60', '80', '100'])

  def test_nothing_finite(self):
    for lines in ([], [charts.Line('a', 'c0', [])], [charts.Line('a', 'c0', [(1, NAN)])]):
      self.assertIn('no value was recorded', charts.line_chart(LABELS, lines))


class BarTest(unittest.TestCase):
  def test_bars_stand_on_zero_and_nan_draws_none(self):
    series = [charts.Bars('human', 'human', [0.5, 1.0]), charts.Bars('p', 'pseudo', [0.25, NAN])]
    figure = charts.bar_chart(LABELS, ['cat', 'dog'], series)
    bars = _all(figure, 'rect')
    self.assertEqual([b.get('class') for b in bars], ['bar human', 'bar pseudo', 'bar human'])
    # The plot is 188 pixels high from y = 22 to 210 and spans 0 to 1.
    self.assertEqual([b.get('height') for b in bars], ['94', '47', '188'])
    self.assertEqual([b.get('y') for b in bars], ['116', '163', '22'])
    # Groups are 186 wide; two bars of 24 around the middles 137 and 323, with a gap of 1.
    self.assertEqual([b.get('x') for b in bars], ['113', '137', '299'])
    self.assertEqual({b.get('width') for b in bars}, {'23'})
    self.assertEqual(bars[1].find('title').text, 'cat, p: 0.250')

  def test_many_categories_widen_the_chart(self):
    names = [f'class {i}' for i in range(80)]
    figure = charts.bar_chart(LABELS, names, [charts.Bars('a', 'c0', [1.0] * 80)])
    self.assertEqual(_all(figure, 'svg')[0].get('viewBox'), '0 0 2220 250')

  def test_long_names_are_shortened_but_kept_as_title(self):
    names = ['a very long name of a class indeed'] * 6
    figure = charts.bar_chart(LABELS, names, [charts.Bars('a', 'c0', [1.0] * 6)])
    label = _all(figure, 'text', 'tick')[-1]
    self.assertEqual(label.text, 'a very l…')
    self.assertEqual(label.find('title').text, names[0])

  def test_percent(self):
    figure = charts.bar_chart(LABELS, ['cat'], [charts.Bars('a', 'c0', [0.12])], percent=True)
    ticks = [node.text for node in _all(figure, 'text', 'tick')]
    self.assertEqual(ticks, ['0%', '2.5%', '5%', '7.5%', '10%', '12.5%', 'cat'])
    self.assertEqual(_all(figure, 'rect')[0].find('title').text, 'cat, a: 12.0%')

  def test_nothing_finite(self):
    figure = charts.bar_chart(LABELS, ['cat'], [charts.Bars('a', 'c0', [NAN])])
    self.assertIn('no value was recorded', figure)


class HistogramTest(unittest.TestCase):
  def test_bins_get_the_style_of_their_middle(self):
    data = contents.ScoreHistogram((0.0, 0.25, 0.5, 1.0), (40, 20, 10))
    styles = [(-math.inf, 'faint', 'dropped'), (0.25, 'band', 'ignored'), (0.5, 'pseudo', 'kept')]
    figure = charts.histogram(LABELS, data, styles, [charts.Mark(0.5, 'cut 0.5')])
    bars = _all(figure, 'rect')
    self.assertEqual([b.get('class') for b in bars], ['bar faint', 'bar band', 'bar pseudo'])
    self.assertEqual([b.get('height') for b in bars], ['188', '94', '47'])
    # The plot is 364 pixels wide from x = 52; each bar leaves half a pixel on either side.
    self.assertEqual([b.get('x') for b in bars], ['52.5', '143.5', '234.5'])
    self.assertEqual([b.get('width') for b in bars], ['90', '90', '181'])
    self.assertEqual(_all(figure, 'line', 'mark')[0].get('x1'), '234')

  def test_all_zero(self):
    data = contents.ScoreHistogram((0.0, 1.0), (0,))
    figure = charts.histogram(LABELS, data, [(0.0, 'pseudo', 'kept')])
    self.assertIn('no value was recorded', figure)


if __name__ == '__main__':
  unittest.main()
