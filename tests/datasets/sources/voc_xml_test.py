"""Tests for the reading of VOC data sets."""

import collections
import os
import socket
import unittest

import hypothesis
from hypothesis import strategies as st
from lxml import etree

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import items, voc_xml
from tests.datasets.sources import voc_case


class BoxesTest(voc_case.VocTestCase):
  def test_pixels_from_1_on_with_the_last_one_included_become_edges(self):
    self.add(
      'a',
      voc_case.object('cat', (1, 2, 10, 20)),
      size='<size><width>50</width><height>40</height></size>',
    )
    item = self.only_item()
    self.assertEqual(item.boxes, (items.Box('cat', ymin=1.0, xmin=0.0, ymax=20.0, xmax=10.0),))
    self.assertEqual((item.size, item.is_relative, item.faults), ((40, 50), False, ()))
    self.assertEqual(item.image, items.ImageFile('a.jpg', str(self.images / 'a.jpg')))

  def test_a_zero_in_one_file_makes_all_files_count_from_zero(self):
    self.add('a', voc_case.object('cat', (1, 2, 10, 20)))
    self.assertEqual(voc_xml.open_source(self.root).notes, ())
    for box in ((0, 5, 9, 9), (5, 0, 9, 9), (5, '0.0', 9, 9), (-3, 5, 0, 9)):
      self.add('b', voc_case.object('cat', box))
      source = voc_xml.open_source(self.root)
      (note,) = source.notes
      self.assertEqual(note.kind, faults.Kind.FROM_ZERO)
      first = next(source.items()).boxes
      self.assertEqual(first, (items.Box('cat', ymin=2.0, xmin=1.0, ymax=20.0, xmax=10.0),))

  def test_zeros_of_a_box_without_area_do_not_count(self):
    self.add('a', voc_case.object('cat', (1, 2, 10, 20)))
    for box in ((0, 0, 0, 0), (0, 3, 0, 9), (3, 0, 9, 0)):
      self.add('b', voc_case.object('cat', box))
      source = voc_xml.open_source(self.root)
      self.assertEqual(source.notes, ())
      self.assertEqual(next(source.items()).boxes[0].xmin, 0.0)

  def test_a_zero_outside_the_split_counts(self):
    self.add('a', voc_case.object())
    self.add('b', voc_case.object('cat', (0, 1, 2, 3)))
    (self.lists / 'train.txt').write_text('a\n')
    self.assertEqual(self.only_item(split='train').boxes[0].xmin, 2.0)

  def test_numbers_pass_as_they_are(self):
    self.add(
      'a',
      *(
        voc_case.object(box=box)
        for box in ((9, 8, 2, 1), ('nan', 1, 'inf', 3), ('2.5', -4, 9e9, 3))
      ),
    )
    item = self.only_item()
    found = [(box.ymin, box.xmin, box.ymax, box.xmax) for box in item.boxes]
    self.assertEqual(
      str(found), '[(7.0, 8.0, 1.0, 2.0), (0.0, nan, 3.0, inf), (-5.0, 1.5, 3.0, 9000000000.0)]'
    )
    self.assertEqual(item.faults, ())

  def test_what_is_no_box_is_malformed_and_the_others_stay(self):
    wrong = (
      voc_case.object(box=('x', 1, 2, 3)),
      voc_case.object(box=('', 1, 2, 3)),
      '<object><name>cat</name></object>',
    )
    for each in wrong:
      with self.subTest(each=each):
        path = self.add('a', voc_case.object(), each, voc_case.object())
        item = self.only_item()
        self.assertEqual(len(item.boxes), 2)
        (fault,) = item.faults
        self.assertIs(fault.kind, faults.Kind.MALFORMED)
        self.assertIn(f"{path}, object 2: name 'cat', bndbox ", fault.detail)

  def test_an_object_without_a_name_is_malformed(self):
    self.add('a', voc_case.object(' '), voc_case.object('dog'))
    item = self.only_item()
    self.assertEqual([fault.kind for fault in item.faults], [faults.Kind.MALFORMED])
    self.assertEqual([box.class_name for box in item.boxes], ['dog'])

  def test_parts_are_left_out(self):
    self.add(
      'a',
      voc_case.object(
        'person', more='<part><name>head</name><bndbox><xmin>0</xmin></bndbox></part>'
      ),
    )
    source = voc_xml.open_source(self.root)
    self.assertEqual((source.class_names, source.notes), (('person',), ()))
    self.assertEqual([box.class_name for item in source.items() for box in item.boxes], ['person'])

  def test_difficult_objects(self):
    self.add(
      'a',
      voc_case.object('cat', difficult=1),
      voc_case.object('dog', difficult=0),
      voc_case.object('cow'),
    )
    for difficult, expected in {
      'crowd': [('cat', True), ('dog', False), ('cow', False)],
      'object': [('cat', False), ('dog', False), ('cow', False)],
      'drop': [('dog', False), ('cow', False)],
    }.items():
      found = self.only_item(difficult=difficult).boxes
      self.assertEqual([(box.class_name, box.is_crowd) for box in found], expected)
    self.assertEqual(self.only_item(), self.only_item(difficult='crowd'))

  def test_another_value_of_difficult(self):
    with self.assertRaisesRegex(
      errors.ConfigError, "difficult is 'x'; allowed are crowd, object, drop"
    ):
      voc_xml.open_source(self.root, difficult='x')

  def test_sizes_that_are_none(self):
    for size in (
      '',
      '<size/>',
      '<size><width>0</width><height>0</height></size>',
      '<size><height>4</height></size>',
    ):
      self.add('a', voc_case.object(), size=size)
      self.assertIsNone(self.only_item().size)

  @hypothesis.given(st.lists(st.tuples(*[st.integers(1, 9999)] * 4), min_size=1, max_size=5))
  def test_what_was_written_is_read(self, boxes):
    self.add('a', *(voc_case.object(box=box) for box in boxes))
    found = [(box.xmin + 1, box.ymin + 1, box.xmax, box.ymax) for box in self.only_item().boxes]
    self.assertEqual(found, boxes)


class ClassesTest(voc_case.VocTestCase):
  def test_classes_are_the_names_in_all_files_sorted(self):
    self.add('a', voc_case.object('cat'), voc_case.object('Zebra'))
    self.add('b', voc_case.object('ant'), voc_case.object('cat'))
    (self.lists / 'train.txt').write_text('a\n')
    for split in (None, 'train'):
      self.assertEqual(
        voc_xml.open_source(self.root, split=split).class_names, ('Zebra', 'ant', 'cat')
      )

  def test_a_list_of_classes_gives_their_order(self):
    path = self.add('a', voc_case.object('cat'), voc_case.object('ant'), voc_case.object('dog'))
    names = self.folder / 'names.txt'
    names.write_text('\ufeffdog\n\n hot dog \ncat\n', encoding='utf-8')
    source = voc_xml.open_source(self.root, classes=names)
    self.assertEqual(source.class_names, ('dog', 'hot dog', 'cat'))
    (item,) = source.items()
    self.assertEqual([box.class_name for box in item.boxes], ['cat', 'dog'])
    unknown = faults.Fault(faults.Kind.UNKNOWN_CLASS, f"{path}, object 2: 'ant'")
    self.assertEqual(item.faults, (unknown,))

  def test_lists_of_classes_that_are_wrong(self):
    self.add('a', voc_case.object())
    names = self.folder / 'names.txt'
    self.assert_error('names.txt cannot be read as text', classes=names)
    for content, expected in (
      (b'cat\ndog\ncat\n', 'has the class cat twice'),
      (b' \n', 'names.txt is empty'),
      (b'\xff', 'cannot be read as text'),
    ):
      names.write_bytes(content)
      self.assert_error(expected, classes=names)

  def test_no_object_at_all(self):
    self.add('a')
    self.assert_error('No XML file in .*Annotations has an object with a name')

  def test_the_source_says_what_it_is(self):
    self.add('a', voc_case.object())
    source = voc_xml.open_source(self.root)
    self.assertIs(source.task, items.Task.DETECTION)
    self.assertEqual(source.mask_values, {})


class SafetyTest(voc_case.VocTestCase):
  def setUp(self):
    super().setUp()
    self.secret = self.folder / 'secret.txt'
    self.secret.write_text('SECRET')
    self.add('z', voc_case.object())

  def read_attack(self, doctype: str, name: str) -> tuple[tuple[str, ...], items.Item]:
    self.add_image('a.jpg')
    self.add_xml(
      'a',
      f'<!DOCTYPE annotation {doctype}>'
      + voc_case.annotation(voc_case.object(name), voc_case.object('dog')),
    )
    source = voc_xml.open_source(self.root)
    return source.class_names, next(source.items())

  def test_the_attack_works_on_a_parser_that_is_not_safe(self):
    text = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{self.secret}">]><a>&x;</a>'
    parser = etree.XMLParser(resolve_entities=True, load_dtd=True, no_network=True)
    self.assertEqual(etree.fromstring(text, parser).text, 'SECRET')

  def test_files_are_not_read_through_entities(self):
    for address in (f'file://{self.secret}', str(self.secret), '../../secret.txt'):
      doctype = f'[<!ENTITY x SYSTEM "{address}">]'
      names, item = self.read_attack(doctype, '&x;')
      self.assertEqual(names, ('cat', 'dog'))
      self.assertEqual([box.class_name for box in item.boxes], ['dog'])
      self.assertEqual([fault.kind for fault in item.faults], [faults.Kind.MALFORMED])
      self.assertNotIn('SECRET', repr(item))

  def test_definitions_in_other_files_are_not_loaded(self):
    (self.folder / 'x.dtd').write_text('<!ENTITY x "SECRET">')
    for doctype in (
      f'SYSTEM "{self.folder}/x.dtd"',
      f'[<!ENTITY % more SYSTEM "file://{self.folder}/x.dtd"> %more;]',
    ):
      names, item = self.read_attack(doctype, '&x;')
      self.assertEqual(names[0], 'cat')
      self.assertNotIn('SECRET', repr((names, item)))

  def test_no_connection_is_made(self):

    server = self.enterContext(socket.create_server(('127.0.0.1', 0)))
    server.setblocking(False)
    address = f'http://127.0.0.1:{server.getsockname()[1]}/x'
    for doctype in (f'SYSTEM "{address}"', f'[<!ENTITY x SYSTEM "{address}">]'):
      _, item = self.read_attack(doctype, '&x;')
      self.assertEqual(item.image.name, 'a.jpg')
      with self.assertRaises(BlockingIOError):
        server.accept()

  def test_entities_that_grow_are_not_unfolded(self):
    lines = ''.join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10}">' for n in range(1, 10))
    names, item = self.read_attack(f'[<!ENTITY x0 "SECRET">{lines}]', '&x9;')
    self.assertEqual((names, item.boxes), (('cat',), ()))
    self.assertEqual([fault.kind for fault in item.faults], [faults.Kind.UNREADABLE])
    self.assertRegex(item.faults[0].detail, 'amplification')


@unittest.skipUnless(voc_case.BCCD.is_dir(), f'the blood cells are not in {voc_case.BCCD}')
class BloodCellsTest(unittest.TestCase):
  def test_all_images_and_boxes(self):
    source = voc_xml.open_source(voc_case.BCCD)
    self.assertEqual((source.class_names, source.notes), (('Platelets', 'RBC', 'WBC'), ()))
    found = list(source.items())
    self.assertEqual([fault for item in found for fault in item.faults], [])
    self.assertEqual({item.size for item in found}, {(480, 640)})
    self.assertEqual(
      [item.image.name for item in found], sorted(os.listdir(voc_case.BCCD / 'JPEGImages'))
    )
    self.assertEqual(len(found), 364)
    counts = collections.Counter(box.class_name for item in found for box in item.boxes)
    self.assertEqual(counts, {'RBC': 4155, 'WBC': 372, 'Platelets': 361})
    self.assertEqual(
      found[0].boxes[0], items.Box('WBC', ymin=176.0, xmin=259.0, ymax=376.0, xmax=491.0)
    )

  def test_splits(self):
    numbers = {}
    for split in ('train', 'val', 'test', 'trainval'):
      found = list(voc_xml.open_source(voc_case.BCCD, split=split).items())
      self.assertFalse(any(item.faults for item in found))
      numbers[split] = len(found)
    self.assertEqual(numbers, {'train': 205, 'val': 87, 'test': 72, 'trainval': 292})


if __name__ == '__main__':
  unittest.main()
