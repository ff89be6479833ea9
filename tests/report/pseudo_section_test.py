"""Tests for the page's section on the pseudo labels: boxes and masks."""

import unittest
import xml.etree.ElementTree as ET

from official_selftrain.report import pseudo_section
from tests.report import examples

NAN = float('nan')


def _section(facts) -> ET.Element:
  return ET.fromstring(pseudo_section.pseudo_labels(facts))


def _facts(section: ET.Element) -> dict[str, list[str]]:
  """Figure and note by name."""
  return {fact[0].text: [line.text for line in fact[1:]] for fact in section.find('dl')}


def _charts(section: ET.Element) -> dict[str, ET.Element]:
  """Charts by title."""
  return {figure.find('figcaption').text: figure for figure in section.iter('figure')}


def _legend(chart: ET.Element) -> list[str]:
  return [''.join(item.itertext()) for item in chart.findall('ul/li')]


def _ends(chart: ET.Element) -> list[str]:
  """What the last point of each line says of itself."""
  return [dot.find('title').text for dot in chart.iter('circle')]


def _quality_rows(section: ET.Element) -> list[list[str]]:
  return [[cell.text for cell in row] for row in section.find('details').iter('tr')]


class FactsTest(unittest.TestCase):
  def test_boxes(self):
    self.assertEqual(
      _facts(_section(examples.inputs())),
      {
        'Unlabelled images': ['1,500', '1,400 labelled, 98 empty, 2 left out'],
        'Kept at the cut': ['30%', 'of all boxes'],
        'Boxes per image': ['2.90', 'people drew 3.00'],
        'Count ratio': ['0.97', '1 means as many as people draw'],
        'Precision and recall': ['0.90 / 0.60', 'at the cut 0.5, held-out truth'],
      },
    )

  def test_masks_speak_of_object_pixels_and_of_all_pixels(self):
    facts = _facts(_section(examples.mask_inputs()))
    self.assertEqual(facts['Kept at the cut'], ['30%', 'of all object pixels'])
    self.assertEqual(facts['Object pixels per image'], ['1,450', 'people drew 1,500'])
    self.assertEqual(facts['Pixels kept'], ['81%', 'of all; 96.2% of these are right'])
    self.assertNotIn('Boxes per image', facts)

  def test_masks_without_truth_and_without_a_kept_pixel(self):
    without = _facts(
      _section(examples.mask_inputs(pseudo_labels=examples.mask_facts(quality=None)))
    )
    self.assertNotIn('Pixels kept', without)
    self.assertNotIn('Precision and recall', without)
    nothing = _facts(_section(examples.mask_inputs(pseudo_labels=examples.mask_facts(cut=0.95))))
    self.assertEqual(nothing['Pixels kept'], ['0%', 'of all; - of these are right'])
    self.assertEqual(nothing['Precision and recall'][0], '- / -')

  def test_nothing_drawn_by_people_gives_no_ratio(self):
    facts = examples.mask_facts(human_labels_per_image=0.0)
    shown = _facts(_section(examples.mask_inputs(pseudo_labels=facts)))
    self.assertEqual(shown['Count ratio'][0], '-')
    self.assertEqual(shown['Object pixels per image'], ['1,450', 'people drew 0.00'])

  def test_no_pseudo_labels_no_section(self):
    self.assertIsNone(pseudo_section.pseudo_labels(examples.inputs(pseudo_labels=None)))


class LeadTest(unittest.TestCase):
  def test_boxes_and_their_band(self):
    lead = _section(examples.inputs(pseudo_labels=examples.pseudo_labels(ignore_cut=0.3)))
    self.assertEqual(
      lead.find('p').text,
      'What the teacher wrote on the unlabelled images. The student sees boxes that score 0.5 or '
      'more. Labels between 0.3 and the cut are ignored: neither object nor background. Written '
      'by the teacher 0123456789abcdef.',
    )

  def test_soft_labels_are_named_and_no_other_cut_is_suggested(self):
    facts = examples.pseudo_labels(suggested_cut=0.35, is_soft=True)
    section = _section(examples.inputs(pseudo_labels=facts))
    self.assertIn(' Their scores are the targets (soft labels). ', section.find('p').text)
    hard = _section(examples.inputs(pseudo_labels=examples.pseudo_labels(suggested_cut=0.35)))
    texts = [' '.join(each.itertext()) for each in (section, hard)]
    self.assertEqual(['suggested 0.35' in text for text in texts], [False, True])

  def test_masks_ignore_all_below_the_cut(self):
    text = _section(examples.mask_inputs()).find('p').text
    self.assertIn('Pixels below the cut are ignored, those of the background too.', text)


class ChartsTest(unittest.TestCase):
  def test_charts_of_single_pixels_are_only_for_masks(self):
    common = [
      *('Scores of all pseudo labels', 'Precision and recall by cut', 'Count ratio by cut'),
      'Class balance',
    ]
    pixels = ['Pixels kept, and their accuracy, by cut', 'Accuracy of pixels by confidence']
    self.assertEqual(list(_charts(_section(examples.inputs()))), common)
    self.assertEqual(
      list(_charts(_section(examples.mask_inputs()))), [*common[:3], *pixels, common[3]]
    )
    without = examples.mask_inputs(pseudo_labels=examples.mask_facts(quality=None))
    self.assertEqual(list(_charts(_section(without))), [common[0], common[3]])

  def test_kept_pixels_and_accuracy_by_cut(self):
    chart = _charts(_section(examples.mask_inputs()))['Pixels kept, and their accuracy, by cut']
    self.assertEqual(_legend(chart), ['kept pixels', 'accuracy'])
    # No pixel reaches 0.95, so accuracy ends at the cut before.
    self.assertEqual(_ends(chart), ['kept pixels: 0 at 0.95', 'accuracy: 0.9625 at 0.5'])

  def test_accuracy_by_confidence(self):
    chart = _charts(_section(examples.mask_inputs()))['Accuracy of pixels by confidence']
    self.assertEqual(_legend(chart), ['accuracy', 'perfectly calibrated'])
    self.assertEqual(_ends(chart), ['accuracy: 0.99 at 0.975', 'perfectly calibrated: 1 at 1'])
    self.assertIn('cut 0.5', [node.text for node in chart.iter('text')])

  def test_scores_of_masks_are_ignored_or_kept_but_never_dropped(self):
    title = 'Scores of all pseudo labels'
    self.assertEqual(_legend(_charts(_section(examples.mask_inputs()))[title]), ['ignored', 'kept'])
    self.assertEqual(_legend(_charts(_section(examples.inputs()))[title]), ['dropped', 'kept'])
    band = examples.inputs(pseudo_labels=examples.pseudo_labels(ignore_cut=0.3))
    self.assertEqual(_legend(_charts(_section(band))[title]), ['dropped', 'ignored', 'kept'])

  def test_axes_name_the_unit(self):
    charts = _charts(_section(examples.mask_inputs()))
    scores = [node.text for node in charts['Scores of all pseudo labels'].iter('text')]
    self.assertIn('object pixels', scores)
    ratio = [node.text for node in charts['Count ratio by cut'].iter('text')]
    self.assertIn('pseudo object pixels per true one', ratio)


class QualityTableTest(unittest.TestCase):
  def test_boxes(self):
    self.assertEqual(
      _quality_rows(_section(examples.inputs())),
      [
        ['cut', 'precision', 'recall', 'F1', 'count ratio'],
        ['0.3', '0.700', '0.800', '0.747', '1.14'],
        ['0.5', '0.900', '0.600', '0.720', '0.67'],
      ],
    )

  def test_masks_have_two_columns_more(self):
    section = _section(examples.mask_inputs())
    self.assertEqual(
      _quality_rows(section),
      [
        ['cut', 'precision', 'recall', 'F1', 'count ratio', 'kept pixels', 'accuracy'],
        ['0.3', '0.700', '0.800', '0.720', '0.67', '0.950', '0.875'],
        ['0.5', '0.900', '0.600', '0.720', '0.67', '0.812', '0.963'],
        ['0.95', '-', '-', '0.720', '0.67', '0.000', '-'],
      ],
    )
    here = [row[0].text for row in section.iter('tr') if row.get('class') == 'here']
    self.assertEqual(here, ['0.5'])


if __name__ == '__main__':
  unittest.main()
