"""Tests for the reading of Open Images' boxes."""

import csv
import os
import pathlib
import tempfile
import unittest

import hypothesis
from hypothesis import strategies as st

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import items, open_images

_HEADER = 'ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction'


def _row(
  image: str = 'a',
  label: str = '/m/cat',
  *,
  confidence: object = 1,
  group: object = 0,
  box: tuple[object, ...] = (0.125, 0.5, 0.25, 0.75),
) -> str:
  edges = ','.join(map(str, box))
  return f'{image},xclick,{label},{confidence},{edges},0,1,{group},0'


class OpenImagesTestCase(unittest.TestCase):
  """Each test has a folder with a CSV file of boxes and `images`."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.path = self.folder / 'boxes.csv'
    self.images = self.folder / 'images'
    self.images.mkdir()
    self.descriptions = self.folder / 'classes.csv'

  def add_image(self, *names: str) -> None:
    for name in names:
      path = self.images / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()

  def write(self, *rows: str, header: str = _HEADER) -> None:
    self.path.write_text('\n'.join([header, *rows]) + '\n', encoding='utf-8')

  def open(self, **options: object):
    return open_images.open_source(self.path, **options)

  def only_item(self, *rows: str, **options: object) -> items.Item:
    self.add_image('a.jpg')
    self.write(*rows)
    (item,) = self.open(**options).items()
    return item

  def assert_error(self, expected: str, **options: object) -> None:
    with self.assertRaisesRegex(errors.DataError, expected):
      self.open(**options)


class BoxesTest(OpenImagesTestCase):
  def test_a_box_in_fractions(self):
    item = self.only_item(_row())
    expected = items.Box('/m/cat', ymin=0.25, xmin=0.125, ymax=0.75, xmax=0.5)
    self.assertEqual((item.boxes, item.is_relative, item.faults), ((expected,), True, ()))
    self.assertEqual((item.source_id, item.size), ('a', None))
    self.assertEqual(item.image, items.ImageFile('a.jpg', str(self.images / 'a.jpg')))

  def test_groups_are_crowds(self):
    found = self.only_item(*(_row(group=group) for group in (0, 1, -1, ''))).boxes
    self.assertEqual([box.is_crowd for box in found], [False, True, False, False])

  def test_confidence_is_the_score_unless_it_is_1(self):
    found = self.only_item(*(_row(confidence=value) for value in (1, '1.0', '', 0.25, 0))).boxes
    self.assertEqual([box.score for box in found], [None, None, None, 0.25, 0.0])

  def test_numbers_pass_as_they_are(self):
    item = self.only_item(_row(box=(0.9, 0.1, 0.8, 0.2)), _row(box=(-1, 2, 'nan', 'inf')))
    edges = [(box.ymin, box.xmin, box.ymax, box.xmax) for box in item.boxes]
    self.assertEqual(str(edges), '[(0.8, 0.9, 0.2, 0.1), (nan, -1.0, inf, 2.0)]')
    self.assertEqual(item.faults, ())

  def test_what_is_no_number_is_malformed_and_names_the_line(self):
    item = self.only_item(
      _row(), _row(box=(1, '', 0, 1)), _row(confidence='x'), 'a,xclick,/m/cat,1,0.5'
    )
    self.assertEqual(len(item.boxes), 1)
    self.assertEqual([fault.kind for fault in item.faults], [faults.Kind.MALFORMED] * 3)
    for fault, line in zip(item.faults, (3, 4, 5), strict=True):
      self.assertTrue(
        fault.detail.startswith(
          f'{self.path}, line {line}: XMin, XMax, YMin, YMax, Confidence are ['
        )
      )

  def test_a_row_without_a_label_is_of_an_unknown_class(self):
    item = self.only_item(_row(), _row(label=''))
    self.assertEqual(len(item.boxes), 1)
    self.assertEqual(
      item.faults, (faults.Fault(faults.Kind.UNKNOWN_CLASS, f"{self.path}, line 3: ''"),)
    )

  def test_columns_in_any_order_and_those_that_may_be_left_out(self):
    self.add_image('a.jpg')
    self.write('0.75,x,0.25,0.5,0.125,a', header='YMax,LabelName,YMin,XMax,XMin,ImageID')
    (item,) = self.open().items()
    self.assertEqual(item.boxes, (items.Box('x', ymin=0.25, xmin=0.125, ymax=0.75, xmax=0.5),))

  @hypothesis.given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5))
  def test_what_was_written_is_read(self, boxes):
    item = self.only_item(*(_row(box=box) for box in boxes))
    found = [(box.xmin, box.xmax, box.ymin, box.ymax) for box in item.boxes]
    self.assertEqual(found, boxes)


class ImagesTest(OpenImagesTestCase):
  def test_images_sorted_by_name_with_their_boxes_in_order(self):
    self.add_image('train/c.jpg', 'a.jpg', 'train/b.png')
    self.write(_row('c', 'x'), _row('a', 'y'), _row('c', 'z'))
    found = [
      (item.image.name, [box.class_name for box in item.boxes]) for item in self.open().items()
    ]
    self.assertEqual(found, [('a.jpg', ['y']), ('train/b.png', []), ('train/c.jpg', ['x', 'z'])])

  def test_an_image_that_the_file_does_not_mention_has_no_objects(self):
    self.add_image('a.jpg', 'b.jpg')
    self.write(_row('a'))
    _, item = self.open().items()
    self.assertEqual((item.boxes, item.faults, item.source_id), ((), (), 'b'))

  def test_boxes_of_images_that_are_not_there_are_counted(self):
    self.add_image('a.jpg')
    self.write(_row('a'), _row('b'), _row('b'), _row(''))
    source = self.open()
    (note,) = source.notes
    self.assertEqual(note.kind, faults.Kind.NO_IMAGE)
    self.assertRegex(note.detail, '^3 boxes in .*csv$')
    self.assertEqual([len(item.boxes) for item in source.items()], [1])

  def test_two_images_of_one_id(self):
    self.add_image('train/a.jpg', 'val/a.png')
    self.write(_row('a'))
    first, second = self.open().items()
    self.assertEqual((len(first.boxes), first.faults), (1, ()))
    self.assertEqual(second.boxes, ())
    self.assertEqual(second.faults, (faults.Fault(faults.Kind.SAME_NAME, 'ImageID a'),))

  def test_a_name_that_is_not_utf8(self):
    self.add_image('a.jpg')
    os.close(os.open(os.fsencode(self.images) + b'/\xff.jpg', os.O_CREAT))
    self.write(_row())
    _, item = self.open().items()
    self.assertEqual([fault.kind for fault in item.faults], [faults.Kind.NAME])
    self.assertEqual((item.image, item.boxes), (items.ImageFile('\udcff.jpg', ''), ()))

  def test_a_folder_that_is_given(self):
    self.images = self.folder / 'elsewhere'
    item = self.only_item(_row(), images=self.folder / 'elsewhere')
    self.assertEqual((item.image.path, len(item.boxes)), (str(self.folder / 'elsewhere/a.jpg'), 1))

  def test_items_can_be_read_again(self):
    self.add_image('a.jpg', 'b.jpg')
    self.write(_row())
    source = self.open()
    self.assertEqual(list(source.items()), list(source.items()))

  def test_folders_that_are_wrong(self):
    self.write(_row())
    self.assert_error('images has no image in it')
    self.assert_error('gone is not a folder', images=self.folder / 'gone')
    self.images.rmdir()
    self.assert_error(r'boxes.csv has no folder images beside it. Give the folder \(images\)')

  def test_no_box_is_of_an_image_in_the_folder(self):
    self.add_image('z.jpg')
    self.write(_row('a'), _row('b'))
    self.assert_error(
      'has 2 boxes, none of which is of an image in .*images. Give the folder of the same split'
    )
    self.write()
    self.assert_error('has 0 boxes')


class ClassesTest(OpenImagesTestCase):
  def setUp(self):
    super().setUp()
    self.add_image('a.jpg')
    self.write(_row(label='/m/2'), _row(label='/m/1'), _row('b', label='/m/3'))

  def classes(self, text: str) -> tuple[str, ...]:
    self.descriptions.write_text(text, encoding='utf-8')
    return self.open(classes=self.descriptions).class_names

  def test_without_descriptions_sorted_labels_of_the_whole_file(self):
    self.assertEqual(self.open().class_names, ('/m/1', '/m/2', '/m/3'))

  def test_descriptions_give_all_names_and_their_order(self):
    text = '/m/3,Zebra\n/m/9,Unused\n/m/1,"Toy, soft"\n\n/m/2,Ant\n'
    for header in ('', 'LabelName,DisplayName\n', '\ufeffLabelName,DisplayName\n'):
      self.assertEqual(self.classes(header + text), ('Zebra', 'Unused', 'Toy, soft', 'Ant'))
    (item,) = self.open(classes=self.descriptions).items()
    self.assertEqual([box.class_name for box in item.boxes], ['Ant', 'Toy, soft'])

  def test_a_label_without_description_is_an_unknown_class(self):
    self.assertEqual(self.classes('/m/1,Cat\n'), ('Cat',))
    (item,) = self.open(classes=self.descriptions).items()
    self.assertEqual([box.class_name for box in item.boxes], ['Cat'])
    self.assertEqual(
      item.faults, (faults.Fault(faults.Kind.UNKNOWN_CLASS, f"{self.path}, line 2: '/m/2'"),)
    )

  def test_two_sets_with_boxes_of_different_classes_have_the_same(self):
    text = '/m/3,Zebra\n/m/1,Cat\n/m/2,Ant\n'
    first = self.classes(text)
    self.write(_row(label='/m/1'))
    self.assertEqual(self.classes(text), first)

  def test_a_name_that_two_unused_labels_have_is_no_matter(self):
    text = '/m/8,Cat\n/m/9,Cat\n/m/2,Ant\n/m/1,Cat\n'
    self.assertEqual(self.classes(text), ('Cat', 'Ant'))
    (item,) = self.open(classes=self.descriptions).items()
    self.assertEqual([box.class_name for box in item.boxes], ['Ant', 'Cat'])

  def test_descriptions_that_are_wrong(self):
    for text, expected in (
      ('/m/1,Cat\n/m/2\n', r"classes.csv, line 2: \['/m/2'\] is not a LabelName and a DisplayName"),
      ('/m/1,Toy, soft\n', 'line 1: .*Names with commas need quotes'),
      ('/m/1,\n', 'line 1: .*is not a LabelName and a DisplayName'),
      ('/m/1,Cat\n/m/1,Dog\n', 'line 2: /m/1 or Dog was there before'),
      ('/m/1,Cat\n/m/2,Cat\n', 'line 2: /m/2 or Cat was there before'),
      ('/m/7,Cat\n', 'classes.csv has none of the LabelNames of the boxes'),
    ):
      with self.subTest(text=text):
        with self.assertRaisesRegex(errors.DataError, expected):
          self.classes(text)
    self.assert_error('gone.csv cannot be read: No such file', classes=self.folder / 'gone.csv')

  def test_the_source_says_what_it_is(self):
    source = self.open()
    self.assertIs(source.task, items.Task.DETECTION)
    self.assertEqual(source.mask_values, {})


class WholeFileTest(OpenImagesTestCase):
  def test_a_missing_file(self):
    self.assert_error('boxes.csv cannot be read: No such file')

  def test_columns_that_are_missing(self):
    self.write(header='ImageID,LabelName,XMin,XMax,YMin')
    self.assert_error(
      'boxes.csv has no column YMax. Expected: a header with ImageID, LabelName, XMin'
    )
    self.path.write_text('')
    self.assert_error('has no column ImageID and no column LabelName')

  def test_a_file_that_is_no_csv_in_utf8(self):
    self.add_image('a.jpg')
    for content in (b'\xff\xfe', b'a' * (csv.field_size_limit() + 2)):
      self.path.write_bytes(_HEADER.encode() + b'\n' + content)
      self.assert_error('boxes.csv cannot be read as CSV in UTF-8')


if __name__ == '__main__':
  unittest.main()
