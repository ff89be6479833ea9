"""Tests for report.html."""

import pathlib
import re
import tempfile
import unittest
import xml.etree.ElementTree as ET

import numpy as np

from official_selftrain.report import contents, judgement, page, sections
from tests.report import examples

CURVES = {
  'teacher': {'total_loss': [(10, 2.0), (20, 1.0)]},
  'student': {
    'human_loss': [(10, 1.0), (20, 0.5)],
    'pseudo_loss': [(10, 1.5), (20, float('nan'))],
    'loss_ratio': [(10, 0.8), (20, 0.9)],
  },
}


def _render(facts: contents.ReportInputs) -> str:
  return page.render_html(facts, judgement.verdict(facts))


def _tree(text: str) -> ET.Element:
  return ET.fromstring(text.removeprefix('<!DOCTYPE html>\n'))


def _full() -> contents.ReportInputs:
  dead = contents.DeadLetter(shard='u-0.tfrecord', index=3, source_id='', reason='<truncated>')
  return examples.inputs(
    loss_curves=CURVES,
    sheets=(examples.sheet(), examples.sheet(columns=6)),
    settings={'labels.cut': 0.5, 'task.init_checkpoint': '', 'path': 'https://<host>/x'},
    settings_not_default={'labels.cut': 0.4},
    seconds={'teacher': 125.0, 'student': 4.25},
    versions={'tensorflow': '2.15.1'},
    command="python train.py --params_override='a<b&c'",
    pseudo_labels=examples.pseudo_labels(dead_letters=(dead,), ignore_cut=0.3, suggested_cut=0.4),
  )


class PageTest(unittest.TestCase):
  def test_well_formed_with_all_sections_in_order(self):
    tree = _tree(_render(_full()))
    ids = [node.get('id') for node in tree.iter('section')]
    self.assertEqual(
      ids,
      [
        *('verdict', 'results', 'classes', 'pseudo-labels', 'losses'),
        *('sheet-0', 'sheet-1', 'settings'),
      ],
    )
    links = [node.get('href') for node in tree.iter('a')]
    self.assertEqual(links, [f'#{name}' for name in ids[1:]])

  def test_needs_nothing_from_outside(self):
    text = _render(_full())
    tree = _tree(text)
    for node in tree.iter():
      self.assertNotIn(node.tag, ('link', 'script', 'iframe', 'object'))
      for name in ('src', 'href', 'data', 'poster', 'srcset', 'action'):
        value = node.get(name)
        self.assertTrue(value is None or value.startswith(('data:', '#')), (node.tag, value))
    styles = ' '.join([tree.find('head/style').text, *(n.get('style', '') for n in tree.iter())])
    self.assertNotRegex(styles, r'url\(|@import|http')
    # The address that is a setting is text; the browser loads nothing anyway.
    self.assertEqual(len(re.findall('https?://', text)), 1)
    policy = tree.find("head/meta[@http-equiv='Content-Security-Policy']").get('content')
    self.assertIn("default-src 'none'", policy)

  def test_foreign_text_is_escaped(self):
    text = _render(_full())
    for raw in ('<b>&', '<i>', '<images>', '<truncated>', '<host>', 'a<b&c'):
      self.assertNotIn(raw, text)
    self.assertIn('&lt;b&gt;&amp;', text)
    self.assertIn("--params_override='a&lt;b&amp;c'", text)

  def test_table_cells(self):
    table = next(_tree(_render(_full())).find("body/main/section[@id='results']").iter('table'))
    cells = [[''.join(cell.itertext()) for cell in row] for row in table.iter('tr')]
    self.assertEqual(
      cells,
      [
        ['model', 'steps', 'AP', 'AP50', 'AP75', 'AP vs control [90%]'],
        ['teacher', '1,500', '0.400', '0.600', '0.300', '-0.020 [-0.030, -0.010]'],
        ['control', '1,200', '0.420', '0.620', '0.320', '-'],
        ['student', '1,200', '0.450', '0.650', '0.350', '+0.030 [+0.020, +0.040]'],
      ],
    )
    best = [node.text for node in table.iter('span') if node.get('class') == 'best']
    self.assertEqual(best, ['0.450', '0.650', '0.350'])

  def test_intervals_are_explained_where_there_are_any(self):
    results = _tree(_render(examples.inputs())).find("body/main/section[@id='results']")
    notes = [node.text for node in results.iter('dd') if node.get('class') == 'note']
    self.assertEqual(notes[2], '1,200 steps, +0.050 [+0.040, +0.060] vs teacher')
    (note,) = [node.text for node in results.iter('p') if node.get('class') == 'muted']
    self.assertRegex(
      note, r'90% intervals .* 1,000 random draws from the 500 validation images; 5%'
    )
    self.assertIn('no model was trained again', note)
    without = _render(examples.inputs(comparisons={}))
    self.assertNotIn('In brackets', without)
    self.assertIn('AP vs control<', without)

  def test_verdict_and_advice(self):
    facts = examples.inputs(0.4, 0.5, 0.45)
    answer = judgement.verdict(facts)
    card = _tree(_render(facts)).find("body/main/section[@id='verdict']")
    self.assertEqual(card.get('class'), 'verdict hurt')
    self.assertIn(answer.headline, [node.text for node in card.iter('p')])
    self.assertEqual(tuple(node.text for node in card.iter('li')), answer.advice)

  def test_little_is_enough(self):
    facts = contents.ReportInputs(
      experiment='x', seed=0, steps={}, metrics={'teacher': None, 'control': None, 'student': None}
    )
    ids = [node.get('id') for node in _tree(_render(facts)).iter('section')]
    self.assertEqual(ids, ['verdict', 'results', 'settings'])

  def test_losses_share_a_chart_and_the_ratio_has_its_own(self):
    losses = _tree(_render(_full())).find("body/main/section[@id='losses']")
    titles = [node.text for node in losses.iter('figcaption')]
    self.assertEqual(titles, ['Teacher: total loss', 'Student: losses', 'Student: loss ratio'])
    names = [''.join(node.itertext()) for node in losses.iter('li')]
    self.assertEqual(names, ['human loss', 'pseudo loss'])

  def test_settings_show_the_default_they_replace(self):
    settings = _tree(_render(_full())).find("body/main/section[@id='settings']")
    rows = [' | '.join(''.join(c.itertext()) for c in row) for row in settings.iter('tr')]
    self.assertIn('labels.cut | 0.5 (default 0.4)', rows)
    self.assertIn('task.init_checkpoint | not set', rows)
    self.assertIn('teacher | 2 min 05 s', rows)
    self.assertIn('total | 2 min 09 s', rows)
    self.assertIn('tensorflow | 2.15.1', rows)

  def test_same_facts_give_the_same_bytes(self):
    self.assertEqual(_render(_full()), _render(_full()))

  def test_written_file_is_the_page(self):
    facts = examples.inputs()
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, 'report.html')
      page.write_html(facts, judgement.verdict(facts), path)
      self.assertEqual(path.read_text(encoding='utf-8'), _render(facts))


class ConfusionTest(unittest.TestCase):
  def test_rows_are_shares_of_the_true_class(self):
    section = ET.fromstring(sections.confusion(examples.mask_inputs()))
    self.assertEqual(section.find('h2').text, "The student's confusions")
    cells = [[cell.text for cell in row] for row in section.iter('tr')]
    self.assertEqual(
      cells,
      [
        ['true class', 'background', 'cat', '<b>&', 'pixels'],
        ['background', '80.0%', '20.0%', '0.0%', '100'],
        ['cat', '-', '-', '-', '0'],
        ['<b>&', '0.1%', '0.1%', '99.8%', '1,500'],
      ],
    )

  def test_it_follows_the_classes_and_has_a_link(self):
    tree = _tree(_render(examples.mask_inputs()))
    ids = [node.get('id') for node in tree.iter('section')]
    expected = ['verdict', 'results', 'classes', 'confusion', 'pseudo-labels', 'settings']
    self.assertEqual(ids, expected)
    links = {node.get('href'): node.text for node in tree.iter('a')}
    self.assertEqual(links['#confusion'], 'Confusions')

  def test_absent_where_the_student_has_none(self):
    self.assertIsNone(sections.confusion(examples.inputs()))
    counts = [[1, 0, 0]] * 3
    self.assertIsNone(sections.confusion(examples.mask_inputs(confusion={'teacher': counts})))
    self.assertNotIn('onfusion', _render(examples.inputs()))

  def test_counts_of_other_classes_are_refused(self):
    facts = examples.mask_inputs(confusion={'student': [[1, 0], [0, 1]]})
    with self.assertRaisesRegex(ValueError, 'zip'):
      sections.confusion(facts)


class SheetTest(unittest.TestCase):
  def test_a_comparison_keeps_its_rows(self):
    contact = examples.sheet()
    double = contents.Sheet(contact.title, '', 3, contact.tiles * 2)
    tree = ET.fromstring(sections.sheet(0, double))
    rows = [node for node in tree.iter('div') if node.get('class') == 'row']
    self.assertEqual([len(row) for row in rows], [3, 3])
    legend = [''.join(node.itertext()) for node in tree.find('ul')]
    self.assertEqual(legend, ['truth', 'teacher', 'student'])

  def test_legend_of_masks(self):
    image, mask = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.uint8)
    box = contents.Box(0, 0, 4, 4, '7', None, 'sure')
    tiles = (contents.Tile(image, (), 'id 1', mask=mask), contents.Tile(image, (box,), 'id 2'))
    legend = (('<b>&', (102, 147, 255)), ('ignored', (190, 190, 190)))
    tree = ET.fromstring(sections.sheet(0, contents.Sheet('t', 'e', 4, tiles, legend)))
    items = [(''.join(item.itertext()), item.find('span')) for item in tree.find('ul')]
    self.assertEqual(
      [(name, span.get('class'), span.get('style')) for name, span in items],
      [
        ('pseudo label at or above the cut', 'swatch box', '--c:rgb(240, 228, 66)'),
        ('<b>&', 'swatch box', '--c:rgb(102, 147, 255)'),
        ('ignored', 'swatch box', '--c:rgb(190, 190, 190)'),
      ],
    )
    self.assertEqual([node.get('alt') for node in tree.iter('img')], ['id 1', 'id 2 (1 boxes)'])

  def test_nothing_drawn_needs_no_legend(self):
    tiles = (contents.Tile(np.zeros((8, 8, 3), np.uint8), mask=np.zeros((8, 8), np.uint8)),)
    self.assertIsNone(
      ET.fromstring(sections.sheet(0, contents.Sheet('t', 'e', 4, tiles))).find('ul')
    )

  def test_groups_have_headings(self):
    image = np.zeros((8, 8, 3), np.uint8)
    groups = ('sure', 'sure', 'empty')
    tiles = tuple(contents.Tile(image, (), str(i), group) for i, group in enumerate(groups))
    tree = ET.fromstring(sections.sheet(0, contents.Sheet('t', 'e', 6, tiles)))
    self.assertEqual([node.text for node in tree.iter('h3')], ['sure', 'empty'])
    counts = [len(node) for node in tree.iter('div') if node.get('class') == 'tiles']
    self.assertEqual(counts, [2, 1])

  def test_sixty_noisy_tiles_stay_under_four_megabytes(self):
    noise = np.random.default_rng(0)
    tiles = tuple(
      contents.Tile(
        noise.integers(60, 100, (128, 128, 3), np.uint8),
        (contents.Box(20, 20, 80, 80, '7', 0.5, 'sure'),),
      )
      for _ in range(60)
    )
    size = len(sections.sheet(0, contents.Sheet('t', 'e', 6, tiles)))
    self.assertLess(size, 4e6)
    self.assertGreater(size, 60 * 1000)


class DurationTest(unittest.TestCase):
  def test_units(self):
    cases = [(8.31, '8.3 s'), (59.94, '59.9 s'), (245, '4 min 05 s'), (7380, '2 h 03 min')]
    for seconds, expected in cases:
      self.assertEqual(sections.duration(seconds), expected)
    self.assertEqual(sections.duration(float('nan')), '-')


if __name__ == '__main__':
  unittest.main()
