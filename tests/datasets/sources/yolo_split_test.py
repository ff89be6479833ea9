"""Tests for the splits of YOLO data."""

import os
import unittest
from unittest import mock

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import yolo
from tests.datasets.sources import yolo_case


class SplitTest(yolo_case.YoloTestCase):
  def names(self, split: str = 'train') -> list[str]:
    found = self.read(split)
    self.assertEqual([item.faults for item in found], [()] * len(found))
    return [item.image.name for item in found]

  def setUp(self):
    super().setUp()
    for name in ('train/b', 'train/s/a', 'train/s-a', 'val/c'):
      self.add(f'images/{name}.jpg')
      self.add(f'labels/{name}.txt', yolo_case.LINE)

  def test_images_of_a_folder_sorted_by_name(self):
    self.write(val='images/val')
    expected = ['images/train/b.jpg', 'images/train/s-a.jpg', 'images/train/s/a.jpg']
    self.assertEqual(self.names(), expected)
    self.assertEqual(self.names('val'), ['images/val/c.jpg'])

  def test_files_of_boxes_without_an_image_are_counted(self):
    self.write()
    self.assertEqual(yolo.open_source(self.yaml).notes, ())
    # Of the same name as an image elsewhere.
    for name in ('train/s/b', 'train/a'):
      self.add(f'labels/{name}.txt', yolo_case.LINE)
    detail = f'2 files in {self.root}/labels/train'
    expected = (faults.Fault(faults.Kind.NO_IMAGE, detail),)
    self.assertEqual(yolo.open_source(self.yaml).notes, expected)

  def test_several_folders_sorted_together(self):
    self.write(train=['images/val', 'images/train/s'])
    self.assertEqual(self.names(), ['images/train/s/a.jpg', 'images/val/c.jpg'])

  def test_items_can_be_read_again(self):
    self.write()
    source = yolo.open_source(self.yaml)
    self.assertEqual(list(source.items()), list(source.items()))

  def test_a_folder_given_for_data_yaml(self):
    self.write()
    self.assertEqual(len(list(yolo.open_source(self.root).items())), 3)

  def test_another_yaml_file_in_the_folder(self):
    self.write()
    self.yaml.rename(self.root / 'coco8.yml')
    self.assertEqual(len(list(yolo.open_source(self.root).items())), 3)

  def test_no_or_several_yaml_files_in_the_folder(self):
    with self.assertRaisesRegex(
      errors.DataError, 'has no data.yaml and no other .yaml files in it'
    ):
      yolo.open_source(self.root)
    for name in ('a.yaml', 'b.yml'):
      self.add(name, 'x: 1')
    with self.assertRaisesRegex(errors.DataError, 'has no data.yaml and several other'):
      yolo.open_source(self.root)

  def test_path_is_where_folders_start(self):
    for path in ('set', str(self.root)):
      self.yaml = self.folder / 'data.yaml'
      self.write(path=path)
      self.assertEqual(self.names()[0], 'images/train/b.jpg')

  def test_a_path_that_does_not_exist_is_passed_over(self):
    self.write(path='/content/somewhere')
    self.assertEqual(self.names()[0], 'images/train/b.jpg')

  def test_folders_that_begin_with_two_dots_and_are_not_there(self):
    self.write(train='../images/train')
    self.assertEqual(self.names()[0], 'images/train/b.jpg')

  def test_folders_outside_the_path(self):
    self.yaml = self.root / 'yaml/data.yaml'
    self.yaml.parent.mkdir()
    self.write(train='../images/train')
    self.assertEqual(self.names()[0], 'images/train/b.jpg')
    self.assertEqual(self.read()[0].image.path, str(self.root / 'images/train/b.jpg'))

  def test_a_folder_that_is_twice_in_the_split(self):
    self.write(train=['images/train', 'images/train/s'])
    found = [(item.image.name, [fault.kind for fault in item.faults]) for item in self.read()]
    self.assertEqual(
      found[2:], [('images/train/s/a.jpg', []), ('images/train/s/a.jpg', [faults.Kind.SAME_NAME])]
    )

  def test_a_relative_path_of_data_yaml(self):
    self.write()
    before = os.getcwd()
    self.addCleanup(os.chdir, before)
    os.chdir(self.folder)
    (first, *_) = yolo.open_source('set/data.yaml').items()
    self.assertEqual((first.image.name, len(first.boxes)), ('images/train/b.jpg', 1))

  def test_lists_of_images(self):
    lists = {
      'with dots': './images/val/c.jpg\n\n./images/train/b.jpg\n',
      'without': '\ufeffimages/val/c.jpg\nimages/train/b.jpg',
      'absolute': f'{self.root}/images/val/c.jpg\n{self.root}/images/train/../train/b.jpg',
    }
    self.write(train='train.txt')
    for name, content in lists.items():
      with self.subTest(name):
        (self.root / 'train.txt').write_text(content, encoding='utf-8')
        self.assertEqual(self.names(), ['images/train/b.jpg', 'images/val/c.jpg'])
        self.assertEqual([len(item.boxes) for item in self.read()], [1, 1])

  def test_a_list_in_a_folder_whose_lines_start_there_or_from_path(self):
    self.write(train='lists/train.txt')
    for line in ('../images/train/b.jpg', 'images/train/b.jpg'):
      self.add('lists/train.txt', line)
      self.assertEqual(self.names(), ['images/train/b.jpg'])

  def test_a_list_together_with_a_folder(self):
    self.write(train=['train.txt', 'images/val'])
    self.add('train.txt', 'images/train/b.jpg')
    self.assertEqual(self.names(), ['images/train/b.jpg', 'images/val/c.jpg'])

  def test_images_of_a_list_that_are_elsewhere(self):
    other = self.folder / 'other/x.jpg'
    other.parent.mkdir()
    other.touch()
    self.write(train='train.txt')
    self.add('train.txt', f'{other}\nimages/train/b.jpg')
    self.assertEqual(self.names(), ['other/x.jpg', 'set/images/train/b.jpg'])

  def test_images_of_a_list_that_are_missing_twice_there_or_badly_named(self):
    self.write(train='train.txt')
    lines = [
      'images/val/c.jpg',
      'images/val/c.jpg',
      'images/gone.jpg',
      'none/a.jpg',
      'images/\udcff.jpg',
      'images/\0.jpg',
    ]
    (self.root / 'train.txt').write_bytes('\n'.join(lines).encode('utf-8', 'surrogateescape'))
    found = {item.image.name: item for item in self.read()}
    kinds = {name: [fault.kind for fault in item.faults] for name, item in found.items()}
    missing, name = [faults.Kind.MISSING], [faults.Kind.NAME]
    expected = {
      'images/val/c.jpg': [faults.Kind.SAME_NAME], 'images/gone.jpg': missing, 'none/a.jpg': missing,
      'images/\udcff.jpg': name, 'images/\0.jpg': name,
    }  # fmt: skip
    self.assertEqual(kinds, expected)
    self.assertEqual(found['images/\0.jpg'].image.path, '')
    self.assertEqual(found['images/gone.jpg'].faults[0].detail, str(self.root / 'images/gone.jpg'))

  def test_folders_are_listed_once(self):
    self.write()
    source = yolo.open_source(self.yaml)
    with mock.patch.object(os, 'listdir', wraps=os.listdir) as listdir:
      found = list(source.items())
    self.assertEqual(len(found), 3)
    self.assertEqual(listdir.call_count, 2)

  def test_splits_that_are_wrong(self):
    self.write(val=None, test='')
    self.assert_error('data.yaml gives no folder or list for val; it has the splits: train', 'val')
    self.assert_error('gives no folder or list for test', 'test')
    for split, expected in (
      (
        'images/gone',
        r'train is images/gone, which does not exist. Looked for: .*set/images/gone\.',
      ),
      ('data.yaml', 'train is data.yaml, neither a folder nor a .txt file'),
      ([], 'gives no folder or list for train'),
      ({'x': 'y'}, 'gives no folder or list for train'),
      (['images/train', ''], 'gives no folder or list for train'),
      ('empty.txt', 'empty.txt lists no image'),
      ('nothing', 'nothing has no image in it'),
    ):
      with self.subTest(split=split):
        self.add('empty.txt', '\n')
        (self.root / 'nothing').mkdir(exist_ok=True)
        self.write(train=split)
        self.assert_error(expected)

  def test_a_split_that_the_format_does_not_have(self):
    self.write()
    with self.assertRaisesRegex(
      errors.ConfigError, "split is 'valid'; allowed are train, val, test"
    ):
      yolo.open_source(self.yaml, split='valid')

  def test_a_list_that_cannot_be_read(self):
    self.write(train='train.txt')
    self.add('train.txt', 'images/train/b.jpg')
    original = open

    def refuse(path, *args, **kwargs):
      if str(path).endswith('train.txt'):
        raise PermissionError(13, 'denied')
      return original(path, *args, **kwargs)

    with mock.patch('builtins.open', side_effect=refuse):
      self.assert_error('train.txt cannot be read: denied')


if __name__ == '__main__':
  unittest.main()
