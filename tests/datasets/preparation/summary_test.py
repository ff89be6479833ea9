"""Tests for the summary of a check."""

import json
import tempfile
import unittest
from unittest import mock

from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import overlaps, store, summary
from tests.datasets.preparation import examined

LABELLED, VALIDATION = store.Part.LABELLED, store.Part.VALIDATION
Kind = faults.Kind


class SummaryTest(unittest.TestCase):
  def setUp(self):
    folder = self.enterContext(tempfile.TemporaryDirectory())
    self.store = examined.new_store(folder)
    self.addCleanup(self.store.close)
    cmyk = faults.Fault(Kind.CMYK, 'YCCK')
    area = faults.Fault(Kind.NO_AREA, 'no \udcff area')
    labelled = {
      'b\udcff.jpg': examined.good(faults=(area, area)),
      'a.jpg': examined.good(faults=(cmyk,)),
      'c.jpg': examined.LOST,
    }
    self.labelled = examined.fill(self.store, LABELLED, labelled)
    self.validation = examined.fill(
      self.store, VALIDATION, {'v.jpg': examined.good(faults=(area,))}
    )

  def summarise(self, *pairs, similar=None, unused=(), notes=None):
    return summary.summarise(
      self.store, overlaps.Overlaps(pairs, similar or {}), unused, notes or {}
    )

  def test_images_and_faults_are_counted_by_set(self):
    found = self.summarise()
    self.assertEqual(found.images, {LABELLED: 3, VALIDATION: 1})
    self.assertEqual(found.good, {LABELLED: 2, VALIDATION: 1})
    self.assertEqual(
      found.counts,
      {
        Kind.TRUNCATED: {LABELLED: 1},
        Kind.NO_AREA: {LABELLED: 2, VALIDATION: 1},
        Kind.CMYK: {LABELLED: 1},
      },
    )

  def test_the_worst_kinds_come_first(self):
    pair = overlaps.Pair(Kind.LEAK, self.labelled['a.jpg'], self.validation['v.jpg'])
    found = self.summarise(pair, unused=('cow',))
    expected = [Kind.LEAK, Kind.TRUNCATED, Kind.NO_AREA, Kind.CMYK, Kind.UNUSED_CLASS]
    self.assertEqual(list(found.counts), expected)
    self.assertEqual(list(found.examples), expected)

  def test_examples_name_image_and_particulars(self):
    found = self.summarise()
    key = self.labelled['b\udcff.jpg']
    example = summary.Example(key, LABELLED, 'b?.jpg', 'no ? area')
    other = summary.Example(self.validation['v.jpg'], VALIDATION, 'v.jpg', 'no ? area')
    self.assertEqual(found.examples[Kind.NO_AREA], (example, example, other))

  def test_there_are_twenty_examples_at_most(self):
    lost = {f'{number:02d}.jpg': examined.LOST for number in range(25)}
    examined.fill(self.store, LABELLED, lost)
    found = self.summarise()
    self.assertEqual(found.counts[Kind.TRUNCATED], {LABELLED: 25})
    self.assertEqual([each.name for each in found.examples[Kind.TRUNCATED]], list(lost)[:20])

  def test_images_that_are_alike_name_each_other(self):
    first, second = self.labelled['a.jpg'], self.validation['v.jpg']
    found = self.summarise(
      overlaps.Pair(Kind.LEAK, first, second, 3, is_mirrored=True),
      overlaps.Pair(Kind.DUPLICATE, self.labelled['b\udcff.jpg'], first),
    )
    detail = 'mirrored like v.jpg (validation), 3 of 64 bits differ'
    expected = summary.Example(first, LABELLED, 'a.jpg', detail, second)
    self.assertEqual(found.examples[Kind.LEAK], (expected,))
    (duplicate,) = found.examples[Kind.DUPLICATE]
    self.assertEqual(duplicate.name, 'b?.jpg')
    self.assertEqual(duplicate.detail, 'like a.jpg (labelled), 0 of 64 bits differ')

  def test_only_pairs_that_are_listed_are_read(self):
    first, second = self.labelled['a.jpg'], self.validation['v.jpg']
    pairs = [overlaps.Pair(Kind.LEAK, first, second)] * 25
    with mock.patch.object(self.store, 'entry', wraps=self.store.entry) as entry:
      found = self.summarise(*pairs)
    self.assertEqual(entry.call_count, 2 * 20)
    self.assertEqual(found.counts[Kind.LEAK], {LABELLED: 25})
    self.assertEqual(len(found.examples[Kind.LEAK]), 20)

  def test_near_duplicates_count_though_not_all_pairs_are_listed(self):
    pair = overlaps.Pair(Kind.NEAR_DUPLICATE, self.labelled['a.jpg'], self.labelled['c.jpg'], 2)
    found = self.summarise(pair, similar={LABELLED: 3000, VALIDATION: 7})
    self.assertEqual(found.counts[Kind.NEAR_DUPLICATE], {LABELLED: 3000, VALIDATION: 7})
    self.assertEqual(len(found.examples[Kind.NEAR_DUPLICATE]), 1)

  def test_classes_without_objects_are_examples_without_an_image(self):
    found = self.summarise(unused=('cow', 'sheep'))
    expected = tuple(summary.Example(0, LABELLED, name, '') for name in ('cow', 'sheep'))
    self.assertEqual(found.examples[Kind.UNUSED_CLASS], expected)
    self.assertEqual(found.counts[Kind.UNUSED_CLASS], {LABELLED: 2})

  def test_what_belongs_to_no_image_is_an_example_without_a_name(self):
    found = self.summarise(notes={VALIDATION: (faults.Fault(Kind.NO_IMAGE, '3 boxes'),)})
    expected = (summary.Example(0, VALIDATION, '', '3 boxes'),)
    self.assertEqual(found.examples[Kind.NO_IMAGE], expected)
    self.assertEqual(found.counts[Kind.NO_IMAGE], {VALIDATION: 1})

  def test_the_table_has_a_row_for_each_kind_and_a_column_for_each_set(self):
    lines = summary.table(self.summarise()).splitlines()
    self.assertEqual(lines[0].split(), ['outcome', 'labelled', 'validation'])
    rows = [line.split() for line in lines[2:]]
    self.assertEqual(rows[0], ['images', '3', '1'])
    self.assertEqual(rows[1][-2:], ['2', '1'])
    row = next(row for row in rows if row[:2] == ['the', 'box'])
    self.assertEqual(row[-3:], ['dropped', '2', '1'])
    row = next(row for row in rows if 'CMYK' in row)
    self.assertEqual(row[-3:], ['fixed', '1', '0'])

  def test_json_has_all_of_it(self):
    found = summary.as_json(self.summarise(), ('No images.',))
    self.assertEqual(found, json.loads(json.dumps(found)))
    self.assertEqual(found['images'], {'labelled': 3, 'validation': 1})
    self.assertEqual(found['usable'], {'labelled': 2, 'validation': 1})
    self.assertEqual(found['problems'], ['No images.'])
    self.assertEqual(list(found['faults']), ['truncated', 'no_area', 'cmyk'])
    self.assertEqual(
      found['faults']['cmyk'],
      {
        'outcome': 'fixed',
        'meaning': Kind.CMYK.rule.meaning,
        'counts': {'labelled': 1},
        'examples': [{'set': 'labelled', 'name': 'a.jpg', 'detail': 'YCCK'}],
      },
    )


if __name__ == '__main__':
  unittest.main()
