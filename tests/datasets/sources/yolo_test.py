"""Tests for the reading of YOLO data sets."""

import math
import unittest

import hypothesis
from hypothesis import strategies as st

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import items, yolo
from tests.datasets.sources import yolo_case


class BoxesTest(yolo_case.YoloTestCase):
  def test_a_box_around_its_centre_in_fractions(self):
    item = self.only_item('1 0.5 0.25 0.25 0.125')
    expected = items.Box('dog', ymin=0.1875, xmin=0.375, ymax=0.3125, xmax=0.625)
    self.assertEqual(
      (item.boxes, item.is_relative, item.faults, item.size), ((expected,), True, (), None)
    )
    path = str(self.root / 'images/train/a.jpg')
    self.assertEqual(item.image, items.ImageFile('images/train/a.jpg', path))

  def test_a_sixth_number_is_the_score(self):
    (box,) = self.only_item(f'{yolo_case.LINE} 0.75').boxes
    self.assertEqual((box.score, box.ymin), (0.75, 0.25))

  def test_a_polygon_becomes_the_box_around_it(self):
    item = self.only_item('0 0.5 0.25 0.75 0.5 0.25 0.625', '1 .1 .2 .3 .2 .3 .4 .1 .4')
    expected = (
      items.Box('cat', ymin=0.25, xmin=0.25, ymax=0.625, xmax=0.75),
      items.Box('dog', ymin=0.2, xmin=0.1, ymax=0.4, xmax=0.3),
    )
    self.assertEqual(item.boxes, expected)

  def test_points_of_a_pose_are_passed_over(self):
    points = ' '.join(['0.9 0.9 2'] * 2)
    self.write(kpt_shape=[2, 3])
    self.add_image('a', f'{yolo_case.LINE} {points}', yolo_case.LINE, f'{yolo_case.LINE} 0.9 0.9')
    (item,) = self.read()
    self.assertEqual(item.boxes, (items.Box('cat', 0.25, 0.25, 0.75, 0.75),))
    self.assertEqual([fault.kind for fault in item.faults], [faults.Kind.MALFORMED] * 2)
    for shape in ([2], [0, 3], ['x', 3], 'x', [1, 2, 3]):
      self.write(kpt_shape=shape)
      self.assert_error('kpt_shape is .* such as \\[17, 3\\]')

  def test_numbers_pass_as_they_are(self):
    item = self.only_item('0 0.5 0.5 -1 nan', '0 2 -3 inf 0')
    edges = [(box.ymin, box.xmin, box.ymax, box.xmax) for box in item.boxes]
    self.assertEqual(str(edges), '[(nan, 1.0, nan, 0.0), (-3.0, -inf, -3.0, inf)]')
    self.assertEqual(item.faults, ())

  def test_a_class_may_be_a_whole_float(self):
    self.assertEqual(self.only_item('1.0 0.5 0.5 0.5 0.5').boxes[0].class_name, 'dog')

  def test_blank_lines_tabs_and_a_byte_order_mark(self):
    item = self.only_item('\ufeff0\t0.5 0.5\t0.5   0.5 ', '', '  ', yolo_case.LINE)
    self.assertEqual(len(item.boxes), 2)

  def test_a_class_that_has_no_name(self):
    item = self.only_item(yolo_case.LINE, '2 0.5 0.5 0.5 0.5', '-1 0.5 0.5 0.5 0.5')
    place = self.root / 'labels/train/a.txt'
    expected = [
      faults.Fault(faults.Kind.UNKNOWN_CLASS, f'{place}, line 2: class 2'),
      faults.Fault(faults.Kind.UNKNOWN_CLASS, f'{place}, line 3: class -1'),
    ]
    self.assertEqual((list(item.faults), len(item.boxes)), (expected, 1))

  def test_lines_that_are_malformed_name_file_and_line(self):
    for line in (
      '0', '0 1 1 1', '0 1 1 1 x', 'cat 1 1 1 1', '0.5 1 1 1 1', 'nan 1 1 1 1', '0 1 1 1 1 1 1 1', '0,1,1,1,1',
    ):  # fmt: skip
      with self.subTest(line=line):
        item = self.only_item(yolo_case.LINE, '', line, yolo_case.LINE)
        detail = f'{self.root / "labels/train/a.txt"}, line 3: {line!r}'
        self.assertEqual(item.faults, (faults.Fault(faults.Kind.MALFORMED, detail),))
        self.assertEqual(len(item.boxes), 2)

  @hypothesis.given(
    st.lists(st.tuples(st.integers(0, 1), *[st.floats(0, 1)] * 4), min_size=1, max_size=4)
  )
  def test_what_was_written_is_read(self, boxes):
    found = self.only_item(*(' '.join(map(str, box)) for box in boxes)).boxes
    for box, (number, x, y, width, height) in zip(found, boxes, strict=True):
      self.assertEqual(box.class_name, ('cat', 'dog')[number])
      for value, expected in (
        ((box.xmin + box.xmax) / 2, x),
        ((box.ymin + box.ymax) / 2, y),
        (box.xmax - box.xmin, width),
        (box.ymax - box.ymin, height),
      ):
        self.assertTrue(math.isclose(value, expected, abs_tol=1e-12))


class LabelFilesTest(yolo_case.YoloTestCase):
  def test_a_missing_txt_is_an_image_without_objects(self):
    self.write()
    self.add_image('a', yolo_case.LINE)
    self.add('images/train/b.jpg')
    _, item = self.read()
    self.assertEqual((item.image.name, item.boxes, item.faults), ('images/train/b.jpg', (), ()))

  def test_an_empty_txt_is_an_image_without_objects(self):
    item = self.only_item()
    self.assertEqual((item.boxes, item.faults), ((), ()))

  def test_the_last_images_in_the_path_becomes_labels(self):
    self.write(train='images/x/images/y')
    self.add('images/x/images/y/a.jpg')
    self.add('images/x/labels/y/a.txt', yolo_case.LINE)
    self.add('labels/x/images/y/a.txt', '1 1 1 1 1')
    self.assertEqual([box.class_name for box in self.read()[0].boxes], ['cat'])

  def test_only_a_whole_part_of_the_path_is_images(self):
    self.write(train='my_images')
    self.add('my_images/a.jpg')
    self.add('my_images/a.txt', yolo_case.LINE)
    self.assertEqual(len(self.read()[0].boxes), 1)

  def test_labels_are_beside_images_where_there_is_no_folder_of_labels(self):
    self.write()
    self.add('images/train/a.jpg')
    self.add('images/train/a.txt', yolo_case.LINE)
    self.assertEqual(len(self.read()[0].boxes), 1)

  def test_a_label_file_that_cannot_be_read(self):
    self.write()
    self.add_image('a', yolo_case.LINE)
    self.add_image('b').write_bytes(b'0 \xff')
    path = self.add_image('c')
    path.unlink()
    path.mkdir()
    first, second, third = self.read()
    self.assertEqual(len(first.boxes), 1)
    for item, expected in ((second, 'b.txt: .*utf-8'), (third, 'c.txt: .*directory')):
      (fault,) = item.faults
      self.assertIs(fault.kind, faults.Kind.UNREADABLE)
      self.assertRegex(fault.detail, expected)
      self.assertEqual(item.boxes, ())

  def test_no_label_file_at_all_is_an_error(self):
    self.write()
    self.add('images/train/a.jpg')
    self.add('labels/train/other.txt', yolo_case.LINE)
    first = self.root / 'labels/train/a.txt'
    self.assert_error(f'no image of train has a file of boxes. The first one would be {first}')


class ClassesTest(yolo_case.YoloTestCase):
  def classes(self, text: str) -> tuple[str, ...]:
    self.add_image('a', yolo_case.LINE)
    self.yaml.write_text(f'train: images/train\n{text}')
    return yolo.open_source(self.yaml).class_names

  def test_names_as_a_list_or_by_number(self):
    self.assertEqual(self.classes('names: [b, a]\nnc: 2'), ('b', 'a'))
    self.assertEqual(self.classes('names: {10: c, 2: a, 0: b}'), ('b', 'a', 'c'))

  def test_names_that_yaml_would_take_for_something_else(self):
    self.assertEqual(
      self.classes('names: [no, 1, 1.0, null, 2020-01-01]'),
      ('no', '1', '1.0', 'null', '2020-01-01'),
    )

  def test_numbers_with_a_gap(self):
    self.assertEqual(self.classes('names: {0: cat, 3: dog}'), ('cat', 'dog'))
    self.add_image('b', '3 1 1 1 1', '1 1 1 1 1')
    item = list(yolo.open_source(self.yaml).items())[1]
    self.assertEqual([box.class_name for box in item.boxes], ['dog'])
    self.assertEqual([fault.kind for fault in item.faults], [faults.Kind.UNKNOWN_CLASS])

  def test_names_that_are_wrong(self):
    for text, expected in (
      ('nc: 2', 'has no names. Give them as a list, or as numbers'),
      ('names: []', 'has no names'),
      ('names: cat', 'has no names'),
      ('names: {x: cat}', "names has the number 'x'; allowed are integers from 0 on"),
      ('names: {-1: cat}', "names has the number '-1'"),
      ('names: [a, b, a]', "the name of class 2 is 'a'; expected is a text that no other has"),
      ("names: [a, '']", "the name of class 1 is ''"),
      ('names: [a, [b]]', r"the name of class 1 is \['b'\]"),
      ('names: [a, b]\nnc: 3', "nc is '3', but names has 2"),
    ):
      with self.subTest(text=text):
        with self.assertRaisesRegex(errors.DataError, f'{self.yaml}:? {expected}'):
          self.classes(text)

  def test_data_yaml_that_is_wrong(self):
    for content, expected in (
      (b'a: [', 'is no YAML: '),
      (b'a: \xff', 'is no YAML: '),
      (b'- a', 'is not a list of settings. Expected: names, train and val'),
      (b'', 'is not a list of settings'),
      (b'names: !!python/object:os.system {}', 'has no names'),
    ):
      with self.subTest(content=content):
        self.yaml.write_bytes(content)
        self.assert_error(f'{self.yaml} {expected}')

  def test_no_data_yaml(self):
    self.assert_error(f'{self.yaml} cannot be read: No such file')

  def test_the_source_says_what_it_is(self):
    self.write()
    self.add_image('a', yolo_case.LINE)
    source = yolo.open_source(self.yaml)
    self.assertIs(source.task, items.Task.DETECTION)
    self.assertEqual(source.mask_values, {})


if __name__ == '__main__':
  unittest.main()
