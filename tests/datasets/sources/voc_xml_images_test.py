"""Tests for the images, lists and folders of PASCAL VOC data."""

import os
import pathlib
import tempfile
import unittest

from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import items, voc_xml
from tests.datasets.sources import voc_case


class ImagesTest(voc_case.VocTestCase):
  def kinds(self, item: items.Item) -> list[faults.Kind]:
    return [fault.kind for fault in item.faults]

  def test_images_sorted_by_name_in_folders_too(self):
    for stem in ('c', 'a/z', 'a-b', 'B'):
      self.add(stem, voc_case.object())
    self.assertEqual(
      [item.image.name for item in self.read()], ['B.jpg', 'a-b.jpg', 'a/z.jpg', 'c.jpg']
    )
    self.assertEqual([len(item.boxes) for item in self.read()], [1] * 4)

  def test_an_xml_file_without_objects_is_an_image_without_objects(self):
    self.add('a', voc_case.object())
    self.add('b')
    _, item = self.read()
    self.assertEqual((item.image.name, item.boxes, item.faults), ('b.jpg', (), ()))

  def test_the_image_that_filename_names(self):
    self.add_image('other.png', 'a.jpg', 's/inner.jpg', 'inner.jpg')
    self.add_xml('a', voc_case.annotation(voc_case.object(), filename='other.png'))
    self.add_xml('s/x', voc_case.annotation(voc_case.object(), filename='inner.jpg'))
    found = {item.image.name: self.kinds(item) for item in self.read()}
    no_annotation = [faults.Kind.NO_ANNOTATION]
    expected = {
      'other.png': [],
      's/inner.jpg': [],
      'a.jpg': no_annotation,
      'inner.jpg': no_annotation,
    }
    self.assertEqual(found, expected)

  def test_a_filename_that_is_wrong_gives_way_to_the_name_of_the_file(self):
    for filename in ('gone.jpg', 'a', '', '/home/me/a.jpg', 'C:\\me\\a.jpg', '../JPEGImages/a.jpg'):
      with self.subTest(filename=filename):
        self.add_image('a.PNG')
        self.add_xml('a', voc_case.annotation(voc_case.object(), filename=filename))
        item = self.only_item()
        self.assertEqual((item.image.name, item.faults, len(item.boxes)), ('a.PNG', (), 1))

  def test_a_filename_with_the_folder_of_the_image(self):
    self.add_image('s/b.jpg')
    self.add_xml('a', voc_case.annotation(voc_case.object(), filename='s\\b.jpg'))
    self.assertEqual((self.only_item().image.name, self.only_item().faults), ('s/b.jpg', ()))

  def classes_of_images(self):
    return {item.image.name: [box.class_name for box in item.boxes] for item in self.read()}

  def test_the_name_of_an_xml_file_counts_more_than_one_left_over_in_it(self):
    self.add('a', voc_case.object())
    self.add('b', voc_case.object('dog'), filename='a.jpg')
    self.assertEqual(self.classes_of_images(), {'a.jpg': ['cat'], 'b.jpg': ['dog']})
    (note,) = voc_xml.open_source(self.root).notes
    self.assertEqual(note, faults.Fault(faults.Kind.LEFT_OVER_NAME, '1 XML files; first b.xml'))

  def test_files_with_numbers_of_their_own_name_their_images(self):
    self.add_image('1.jpg', '2.jpg', '3.jpg')
    for stem, image in ((1, 2), (2, 3), (3, 1)):
      self.add_xml(
        f'{stem}', voc_case.annotation(voc_case.object(f'c{image}'), filename=f'{image}.jpg')
      )
    expected = {f'{each}.jpg': [f'c{each}'] for each in (1, 2, 3)}
    self.assertEqual(self.classes_of_images(), expected)
    self.assertEqual(voc_xml.open_source(self.root).notes, ())

  def test_filename_chooses_among_endings(self):
    self.add_image('a.jpg', 'a.png')
    self.add_xml('a', voc_case.annotation(voc_case.object(), filename='a.png'))
    found = {item.image.name: len(item.boxes) for item in self.read()}
    self.assertEqual(found['a.png'], 1)

  def test_an_image_that_is_missing(self):
    self.add('a', voc_case.object())
    self.add_xml('b', voc_case.annotation(voc_case.object(), filename='x.png'))
    self.add_xml('c', voc_case.annotation(voc_case.object()))
    self.add_xml('d', '<broken')
    found = [(item.image.name, item.boxes, item.faults) for item in self.read()][1:]
    expected = [
      (name, (), (faults.Fault(faults.Kind.MISSING, str(self.images / name)),))
      for name in ('c.jpg', 'd.jpg', 'x.png')
    ]
    self.assertEqual(found, expected)

  def test_a_missing_image_with_a_name_that_leads_elsewhere(self):
    self.add('a', voc_case.object())
    for filename in ('../../secret.jpg', '/etc/secret.jpg'):
      self.add_xml('b', voc_case.annotation(voc_case.object(), filename=filename))
      item = next(item for item in self.read() if item.image.name == filename)
      self.assertEqual(
        (self.kinds(item), item.boxes, item.image.path), ([faults.Kind.NAME], (), '')
      )

  def test_an_image_without_an_xml_file(self):
    self.add('a', voc_case.object())
    self.add_image('b.jpg')
    _, item = self.read()
    self.assertEqual(
      (item.image.name, item.faults), ('b.jpg', (faults.Fault(faults.Kind.NO_ANNOTATION),))
    )

  def test_two_xml_files_of_one_image(self):
    self.add('a', voc_case.object('cat'))
    second = self.add_xml('b', voc_case.annotation(voc_case.object('dog'), filename='a.jpg'))
    found = self.read()
    self.assertEqual([item.image.name for item in found], ['a.jpg', 'a.jpg'])
    self.assertEqual(found[0].faults, ())
    detail = f'{second} names an image that was named before'
    self.assertEqual(found[1].faults, (faults.Fault(faults.Kind.SAME_NAME, detail),))
    self.assertEqual([box.class_name for box in found[1].boxes], ['dog'])

  def test_xml_files_that_cannot_be_read(self):
    self.add('a', voc_case.object())
    for content, expected in {
      '<annotation><object>': 'Premature end',
      '': '.+',
      'text': 'Start tag expected',
      '<html/>': 'it begins with <html>, expected <annotation>',
    }.items():
      with self.subTest(content=content):
        self.add_image('b.jpg')
        path = self.add_xml('b', content)
        first, second = self.read()
        self.assertEqual(len(first.boxes), 1)
        self.assertEqual((self.kinds(second), second.boxes), ([faults.Kind.UNREADABLE], ()))
        self.assertRegex(second.faults[0].detail, f'^{path}: {expected}')

  def test_an_xml_file_that_is_a_folder_or_is_lost(self):
    self.add('a', voc_case.object())
    self.add_image('b.jpg')
    (self.annotations / 'b.xml').symlink_to('gone')
    _, item = self.read()
    self.assertEqual(self.kinds(item), [faults.Kind.UNREADABLE])
    self.assertIn('No such file', item.faults[0].detail)

  def test_an_image_name_that_is_not_utf8(self):
    self.add('a', voc_case.object())
    os.close(os.open(os.fsencode(self.images) + b'/\xff.jpg', os.O_CREAT))
    _, item = self.read()
    self.assertEqual((item.image.name, self.kinds(item)), ('\udcff.jpg', [faults.Kind.NAME]))


class SplitTest(voc_case.VocTestCase):
  def setUp(self):
    super().setUp()
    for stem in ('a', 'b', 'b c', 's/d'):
      self.add(stem, voc_case.object())

  def names(self, *lines: str) -> list[str]:
    (self.lists / 'train.txt').write_text('\n'.join(lines), encoding='utf-8')
    return [item.image.name for item in self.read(split='train')]

  def test_images_of_a_list_sorted_by_name(self):
    self.assertEqual(self.names('s/d', 'a', '', ''), ['a.jpg', 's/d.jpg'])

  def test_the_first_column_of_each_line(self):
    self.assertEqual(self.names('a  1', 'b -1', 's/d\t0'), ['a.jpg', 'b.jpg', 's/d.jpg'])

  def test_a_line_that_is_a_name_with_a_blank(self):
    self.assertEqual(self.names('b c'), ['b c.jpg'])

  def test_lines_with_the_ending_of_an_image(self):
    self.assertEqual(self.names('a.jpg', 's/d.png'), ['a.jpg', 's/d.jpg'])

  def test_a_list_anywhere(self):
    path = self.folder / 'mine.txt'
    path.write_text('\ufeffb\n', encoding='utf-8')
    self.assertEqual([item.image.name for item in self.read(split=str(path))], ['b.jpg'])

  def test_an_image_of_the_list_without_an_xml_file(self):
    self.add_image('x.png')
    (self.lists / 'train.txt').write_text('x')
    self.assertEqual(
      self.only_item(split='train').faults, (faults.Fault(faults.Kind.NO_ANNOTATION),)
    )

  def test_a_line_that_is_neither_image_nor_xml_file(self):
    self.names('gone', '../x')
    found = {item.image.name: item.faults for item in self.read(split='train')}
    missing = faults.Fault(faults.Kind.MISSING, str(self.images / 'gone.jpg'))
    self.assertEqual(found['gone.jpg'], (missing,))
    self.assertEqual([fault.kind for fault in found['../x.jpg']], [faults.Kind.NAME])

  def test_a_line_that_is_there_twice(self):
    self.names('a', 'b', 'a 1')
    found = [
      (item.image.name, [fault.kind for fault in item.faults]) for item in self.read(split='train')
    ]
    expected = [('a.jpg', []), ('a.jpg', [faults.Kind.SAME_NAME]), ('b.jpg', [])]
    self.assertEqual(found, expected)

  def test_lists_that_are_wrong(self):
    (self.lists / 'val.txt').write_text('a\n')
    self.assert_error(
      r'There is no list .*ImageSets/Main/test.txt, and no file test\. Lists that are there: val\.',
      split='test',
    )
    (self.lists / 'val.txt').write_text('\n')
    self.assert_error('val.txt is empty', split='val')
    (self.lists / 'val.txt').write_bytes(b'\xff\n')
    self.assert_error('val.txt cannot be read as text', split='val')


class FoldersTest(voc_case.VocTestCase):
  def test_the_data_set_may_be_in_folders_of_the_development_kit(self):
    self.add('a', voc_case.object())
    for inner in ('VOC2012', 'VOCdevkit/VOC2012'):
      with self.subTest(inner=inner), tempfile.TemporaryDirectory() as outer:
        target = pathlib.Path(outer) / inner
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(self.root)
        (item,) = voc_xml.open_source(outer).items()
        self.assertEqual(item.image, items.ImageFile('a.jpg', str(target / 'JPEGImages/a.jpg')))

  def test_xml_files_beside_their_images(self):
    flat = self.folder / 'flat'
    (flat / 's').mkdir(parents=True)
    for stem in ('a', 's/b'):
      (flat / f'{stem}.jpg').touch()
      (flat / f'{stem}.xml').write_text(
        voc_case.annotation(voc_case.object(), filename=f'{stem[-1]}.jpg')
      )
    found = list(voc_xml.open_source(flat).items())
    self.assertEqual(
      [item.image.path for item in found], [str(flat / 'a.jpg'), str(flat / 's/b.jpg')]
    )
    self.assertEqual([len(item.boxes) for item in found], [1, 1])

  def test_folders_that_are_no_data_set(self):
    self.root = self.folder / 'nothing'
    self.assert_error(
      'nothing is not a VOC data set: there is no Annotations in it, nor in VOC2012'
    )
    self.root.mkdir()
    self.assert_error('nothing is not a VOC data set.*and no XML file')

  def test_no_xml_files(self):
    self.add_image('a.jpg')
    self.assert_error('Annotations has no XML file in it')

  def test_no_images(self):
    self.add_xml('a', voc_case.annotation(voc_case.object()))
    self.assert_error('JPEGImages has no image in it')
    self.images.rmdir()
    self.assert_error('JPEGImages is not a folder')


if __name__ == '__main__':
  unittest.main()
