"""The page of a study: well-formed, and with the right figures in the right places."""

import dataclasses
import unittest
from xml.etree import ElementTree as ET

import numpy as np

from official_selftrain.report import charts, contents, interval_chart, study_contents, study_page
from tests.report import study_facts
from tests.report.study_facts import flat


def _parse(text):
  return ET.fromstring(text.removeprefix('<!DOCTYPE html>\n'))


def _text(element):
  return ' '.join(' '.join(element.itertext()).split())


class PageTest(unittest.TestCase):
  def setUp(self):
    self.facts = study_facts.study({'S1': 0.05, 'S4': 0.01}, flat(0.1))

  def _page(self, **changes):
    return _parse(study_page.render_html(dataclasses.replace(self.facts, **changes)))

  def test_heading_answer_and_runs(self):
    page = self._page()
    self.assertEqual(page.find('.//h1').text, 'Made up <b>')
    self.assertIn('Self-training helps in', _text(page.find('.//section[@id="answer"]')))
    self.assertIn('Student', _text(page.find('.//section[@id="answer"]')))
    runs = page.find('.//section[@id="runs"]')
    self.assertEqual(len(runs.findall('.//tbody/tr')), 12)
    # Three shared teachers of a minute, twelve students of half a minute.
    self.assertIn('0.15 hours', _text(runs))
    self.assertIn(self.facts.command, _text(runs))

  def test_table_has_means_spreads_numbers_and_the_papers_figures(self):
    (table,) = self.facts.layout.tables
    paper = dataclasses.replace(table, paper={('random student', 'S4'): 45.6})
    page = self._page(layout=study_contents.Layout((paper,)))
    rows = page.findall('.//section[@id="table-0"]//tbody/tr')
    self.assertEqual(
      [row[0].text for row in rows],
      ['random control', 'random student', 'simclr control', 'simclr student'],
    )
    # Mean of 0.4 plus luck of 0, 0.03 and -0.02; spread over the seeds.
    spread = np.std([0.0, 0.03, -0.02], ddof=1)
    self.assertEqual(rows[0][1].text, f'0.403 ± {spread:.3f} (3)')
    self.assertTrue(rows[1][2].text.endswith('(3) · paper 45.6'))
    self.assertIsNone(page.find('.//section[@id="gains"]'))

  def test_cells_without_runs(self):
    page = self._page(results=self.facts.results[:1])
    rows = page.findall('.//section[@id="table-0"]//tbody/tr')
    self.assertEqual([cell.text for cell in rows[0]], ['random control', '0.400 (1)', '-'])

  def test_plots_have_a_point_for_each_value(self):
    page = self._page()
    self_training, start = page.findall('.//section[@id="gains"]//figure')
    self.assertEqual(len(self_training.findall('.//circle')), 2)
    titles = [each.text for each in self_training.findall('.//circle/title')]
    self.assertTrue(titles[0].startswith('S1, self-training: +0.050 ('), titles)
    # Control and student, two augmentations.
    self.assertEqual(len(start.findall('.//circle')), 4)

  def test_failed_runs_say_why(self):
    failed = dataclasses.replace(
      self.facts.results[0], status='failed', error='NaN & worse', metrics={}
    )
    page = self._page(results=(failed, *self.facts.results[1:]))
    self.assertIn('failed: NaN & worse', _text(page.find('.//section[@id="runs"]')))

  def test_pictures(self):
    tile = contents.Tile(np.zeros([8, 8, 3], np.uint8), caption='truth')
    sheet = contents.Sheet('Class a', 'From a run.', 1, (tile,))
    page = _parse(study_page.render_html(self.facts, (sheet,)))
    self.assertEqual(len(page.findall('.//section[@id="sheet-0"]//img')), 1)

  def test_an_empty_study(self):
    page = self._page(results=())
    self.assertIn('Nothing is finished yet', _text(page.find('.//section[@id="answer"]')))


class IntervalChartTest(unittest.TestCase):
  def test_points_are_at_their_values(self):
    series = [
      interval_chart.Series('a', 'c0', [interval_chart.Point(0.1, 0.0, 0.2), None]),
      interval_chart.Series('b', 'c1', [None, interval_chart.Point(-0.1)]),
    ]
    figure = ET.fromstring(
      interval_chart.interval_chart(charts.Labels('T', 'x', 'y'), ['u', 'v'], series)
    )
    first, second = figure.findall('.//circle')
    line = figure.find('.//path').get('d')
    # Ticks from -0.1 to 0.2; the plot is between 22 and 210 pixels from the top.
    self.assertAlmostEqual(float(first.get('cy')), 210 - 188 * 2 / 3, delta=0.01)
    self.assertAlmostEqual(float(second.get('cy')), 210, delta=0.01)
    self.assertIn(f'M{float(first.get("cx")):g} {210 - 188 / 3:.2f}V22'.replace('.00', ''), line)
    self.assertLess(float(first.get('cx')), float(second.get('cx')))
    self.assertEqual(first.find('title').text, 'u, a: +0.100 (+0.000 to +0.200)')

  def test_nothing(self):
    figure = interval_chart.interval_chart(
      charts.Labels('T', 'x', 'y'), ['u'], [interval_chart.Series('a', 'c0', [None])]
    )
    self.assertIn('Nothing to show', figure)


if __name__ == '__main__':
  unittest.main()
