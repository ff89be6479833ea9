"""Tests for the reading of images in class folders."""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import class_folders, items


class ClassFoldersTestCase(unittest.TestCase):
  """Each test has a folder for a data set."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.root = self.folder / 'set'
    self.root.mkdir()
    self.names = self.folder / 'names.txt'

  def add(self, *names: str) -> None:
    for name in names:
      path = self.root / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()

  def pairs(self, source: items.Source) -> list[tuple[str, str]]:
    return [(item.image.name, item.class_name) for item in source.items()]

  def assert_error(self, expected: str, names: pathlib.Path | None = None) -> None:
    with self.assertRaisesRegex(errors.DataError, expected):
      class_folders.open_source(self.root, names)


class ClassesTest(ClassFoldersTestCase):
  def test_classes_are_the_folders_in_the_order_of_their_names(self):
    self.add('dog/b.jpg', 'cat/z.png', 'dog/a.jpg', 'Zebra/a.gif')
    source = class_folders.open_source(self.root)
    self.assertEqual(source.class_names, ('Zebra', 'cat', 'dog'))
    self.assertEqual((source.task, source.mask_values), (items.Task.CLASSIFICATION, {}))
    expected = [
      ('Zebra/a.gif', 'Zebra'), ('cat/z.png', 'cat'), ('dog/a.jpg', 'dog'), ('dog/b.jpg', 'dog'),
    ]  # fmt: skip
    self.assertEqual(self.pairs(source), expected)

  def test_an_item_has_nothing_but_image_and_class(self):
    self.add('cat/a.jpg')
    (item,) = class_folders.open_source(self.root).items()
    image = items.ImageFile('cat/a.jpg', str(self.root / 'cat/a.jpg'))
    self.assertEqual(item, items.Item(image, class_name='cat'))

  def test_folders_with_blanks_have_names(self):
    self.add('polar bear/a.jpg', 'polar/b.jpg', 'sun bear/c.jpg')
    self.names.write_text('polar bear Ursus maritimus\npolar Pole\nsun bear\nnot there\n')
    source = class_folders.open_source(self.root, self.names)
    self.assertEqual(source.class_names, ('Pole', 'Ursus maritimus', 'sun bear'))
    self.names.write_text('polar bears x\npolar bear y\nsun bear z\n')
    source = class_folders.open_source(self.root, self.names)
    # A folder ends where a word does.
    self.assertEqual(source.class_names, ('bears x', 'y', 'z'))

  def test_every_iteration_begins_anew(self):
    self.add('cat/a.jpg', 'dog/b.jpg')
    source = class_folders.open_source(os.fspath(self.root))
    self.assertEqual(self.pairs(source), [('cat/a.jpg', 'cat'), ('dog/b.jpg', 'dog')])
    self.assertEqual(self.pairs(source), self.pairs(source))

  def test_folders_in_a_class_folder_belong_to_its_class(self):
    self.add('cat/2020/may/a.jpg', 'cat/b.jpg', 'dog/cat/c.jpg')
    found = self.pairs(class_folders.open_source(self.root))
    expected = [('cat/2020/may/a.jpg', 'cat'), ('cat/b.jpg', 'cat'), ('dog/cat/c.jpg', 'dog')]
    self.assertEqual(found, expected)

  def test_a_folder_without_images_is_a_class_all_the_same(self):
    self.add('cat/a.jpg', 'dog/notes.txt')
    (self.root / 'emu').mkdir()
    source = class_folders.open_source(self.root)
    self.assertEqual(source.class_names, ('cat', 'dog', 'emu'))
    self.assertEqual(self.pairs(source), [('cat/a.jpg', 'cat')])

  def test_hidden_folders_and_files_are_no_classes(self):
    self.add('cat/a.jpg', '.git/b.jpg', 'README.md')
    source = class_folders.open_source(self.root)
    self.assertEqual((source.class_names, self.pairs(source)), (('cat',), [('cat/a.jpg', 'cat')]))

  def test_links(self):
    self.add('cat/a.jpg')
    elsewhere = self.folder / 'elsewhere'
    elsewhere.mkdir()
    (elsewhere / 'b.jpg').touch()
    (self.root / 'dog').symlink_to(elsewhere)
    (self.root / 'loop').symlink_to('loop')
    (self.root / 'lost').symlink_to('gone')
    source = class_folders.open_source(self.root)
    self.assertEqual(source.class_names, ('cat', 'dog'))
    self.assertEqual(self.pairs(source), [('cat/a.jpg', 'cat'), ('dog/b.jpg', 'dog')])


class FaultsTest(ClassFoldersTestCase):
  def test_an_image_in_no_class_folder(self):
    self.add('cat/a.jpg', 'b.jpg')
    found = list(class_folders.open_source(self.root).items())
    fault = faults.Fault(faults.Kind.NO_ANNOTATION, 'it lies in no class folder')
    image = items.ImageFile('b.jpg', str(self.root / 'b.jpg'))
    self.assertEqual(found[0], items.Item(image, faults=(fault,)))
    self.assertEqual((found[1].class_name, found[1].faults), ('cat', ()))

  def test_a_name_that_is_not_utf_8(self):
    self.add('cat/a.jpg')
    os.close(os.open(os.fsencode(self.root) + b'/cat/\xff.jpg', os.O_CREAT))
    good, bad = class_folders.open_source(self.root).items()
    self.assertEqual((good.image.name, good.faults), ('cat/a.jpg', ()))
    fault = faults.Fault(faults.Kind.NAME, r"'cat/\udcff.jpg' is not UTF-8")
    self.assertEqual((bad.image.name, bad.faults), ('cat/\udcff.jpg', (fault,)))
    self.assertEqual(bad.class_name, '')


class ErrorsTest(ClassFoldersTestCase):
  def test_no_folder(self):
    self.root = self.folder / 'gone'
    self.assert_error('gone is not a folder. Give the folder of the class folders.')
    self.root = self.folder / 'file'
    self.root.touch()
    self.assert_error('file is not a folder')

  def test_no_class_folder(self):
    self.add('a.jpg', '.hidden/b.jpg')
    self.assert_error('set has no folders in it. Give the folder of the class folders.')

  def test_no_image(self):
    self.add('cat/a.txt', 'dog/b.pdf')
    self.assert_error(r'set has no image in it, nor in its folders. Images end with \.jpg')

  def test_a_class_folder_whose_name_is_not_utf_8(self):
    self.add('cat/a.jpg')
    os.mkdir(os.fsencode(self.root) + b'/d\xffg')
    self.assert_error(
      r"the name of a folder cannot be that of a class: 'd\\udcffg' is not UTF-8. Rename it."
    )

  def test_a_folder_that_cannot_be_read(self):
    self.add('cat/a.jpg')
    with mock.patch('os.listdir', side_effect=PermissionError(13, 'Permission denied')):
      self.assert_error('The folder .*set cannot be read: Permission denied')


class NamesTest(ClassFoldersTestCase):
  def setUp(self):
    super().setUp()
    self.add('n01/a.jpg', 'n02/b.jpg')

  def test_names_of_a_file_in_the_order_of_the_folders(self):
    self.names.write_text('n02 goldfish, Carassius auratus\n\nn01   tench \nn99 not here\n')
    source = class_folders.open_source(self.root, self.names)
    self.assertEqual(source.class_names, ('tench', 'goldfish, Carassius auratus'))
    expected = [('n01/a.jpg', 'tench'), ('n02/b.jpg', 'goldfish, Carassius auratus')]
    self.assertEqual(self.pairs(source), expected)

  def test_a_folder_without_a_name_keeps_its_own(self):
    self.names.write_text('n01\nn02 dog\n')
    source = class_folders.open_source(self.root, os.fspath(self.names))
    self.assertEqual(source.class_names, ('n01', 'dog'))

  def test_a_byte_order_mark_and_the_line_ends_of_windows(self):
    self.names.write_bytes('\ufeffn01 chat\r\nn02 chien à poil\r\n'.encode())
    source = class_folders.open_source(self.root, self.names)
    self.assertEqual(source.class_names, ('chat', 'chien à poil'))

  def test_a_folder_that_is_left_out(self):
    self.names.write_text('n01 cat\n')
    expected = 'names.txt does not name the folder n02. Add a line for it.'
    self.assert_error(expected, self.names)

  def test_two_folders_of_one_name(self):
    self.names.write_text('n01 cat\nn02 cat\n')
    expected = "names.txt calls two folders 'cat'. Each class needs a name of its own."
    self.assert_error(expected, self.names)

  def test_a_name_of_one_folder_for_another(self):
    self.names.write_text('n01 n02\nn02\n')
    self.assert_error("names.txt calls two folders 'n02'", self.names)

  def test_a_folder_that_is_named_twice(self):
    self.names.write_text('n01 cat\nn02 dog\n\nn01 emu\n')
    self.assert_error('names.txt, line 4: the folder n01 has a name already.', self.names)

  def test_a_file_that_cannot_be_read(self):
    self.assert_error('names.txt cannot be read: no such file or directory.$', self.names)
    self.names.write_bytes(b'n01 cat\nn02 \xff\n')
    self.assert_error("names.txt cannot be read: 'utf-8' codec can't decode byte 0xff", self.names)


if __name__ == '__main__':
  unittest.main()
