"""Tests for the names of image files."""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.checks import contents
from official_selftrain.datasets.sources import image_names, items


class NameTest(unittest.TestCase):
  def test_endings_of_images_in_any_case(self):
    for name in ('a.jpg', 'a.JPEG', 'b/c.Png', 'a.bmp', 'a.gif', 'a.tif', 'a.TIFF', 'a.webp'):
      self.assertTrue(image_names.is_image_name(name), name)
    for name in ('a.HEIC', 'a.heif', 'a.avif', 'a.jfif', 'a.jpe', 'a.jp2', 'a.ppm'):
      self.assertTrue(image_names.is_image_name(name), name)
    for name in ('a.txt', 'jpg', 'a.jpg.xml', 'a', ''):
      self.assertFalse(image_names.is_image_name(name), name)

  def test_endings_are_those_of_the_formats_that_checks_know(self):
    known = {f'.{each}' for each in contents._FORM_OF_EXTENSION}
    self.assertEqual(set(image_names.EXTENSIONS), known)

  def test_of_two_files_of_one_name_the_usual_one_comes_first(self):
    names = ('a.heic', 'a.jpg', 'b.ppm', 'c.PNG')
    found = image_names.usual_first(items.ImageFile(name, name) for name in names)
    self.assertEqual([each.name for each in found], ['a.jpg', 'c.PNG', 'a.heic', 'b.ppm'])

  def test_good_names_have_no_fault(self):
    for name in ('a.jpg', 'a/b c/d.jpg', 'ü/日本.jpg', './a.jpg', 'a..b.jpg', '...jpg', 'C:a.jpg'):
      self.assertIsNone(image_names.check_name(name), name)

  def test_faults_of_names(self):
    wrong = {
      '': "'' is empty",
      '/etc/a.jpg': "'/etc/a.jpg' is absolute",
      'C:\\images\\a.jpg': r"'C:\\images\\a.jpg' is absolute",
      '\\\\server\\share\\a.jpg': r"'\\\\server\\share\\a.jpg' is absolute",
      '../a.jpg': '\'../a.jpg\' has a part ".."',
      'a/../../b.jpg': '\'a/../../b.jpg\' has a part ".."',
      'a\\..\\b.jpg': '\'a\\\\..\\\\b.jpg\' has a part ".."',
      'a\0.jpg': r"'a\x00.jpg' has a null character",
      'a\udcff.jpg': r"'a\udcff.jpg' is not UTF-8",
    }
    for name, detail in wrong.items():
      with self.subTest(name=ascii(name)):
        self.assertEqual(image_names.check_name(name), faults.Fault(faults.Kind.NAME, detail))


class ListImagesTest(unittest.TestCase):
  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.root = self.folder / 'root'
    self.root.mkdir()

  def add(self, *names: str) -> None:
    for name in names:
      path = self.folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()

  def listed(self) -> list[str]:
    return [image.name for image in image_names.list_images(self.root)]

  def test_images_of_all_folders_sorted_by_whole_name(self):
    names = ['a/z.jpg', 'a-b.png', 'a.jpg', 'B.JPG', 'a/b/c.gif', 'é.jpg', 'a0/x.jpg', 'a b.webp']
    self.add(*(f'root/{name}' for name in names), 'root/notes.txt', 'root/a/b.xml')
    self.assertEqual(self.listed(), sorted(names))

  def test_paths_lead_to_the_files(self):
    self.add('root/a/b.jpg')
    (image,) = image_names.list_images(self.root)
    self.assertEqual((image.path, image.member), (str(self.root / 'a/b.jpg'), ''))

  def test_hidden_files_and_folders_are_left_out(self):
    self.add('root/.a.jpg', 'root/.git/b.jpg', 'root/c.jpg')
    self.assertEqual(self.listed(), ['c.jpg'])

  def test_a_folder_with_the_name_of_an_image_is_a_folder(self):
    self.add('root/a.jpg/b.png')
    self.assertEqual(self.listed(), ['a.jpg/b.png'])

  def test_a_link_to_a_folder_is_followed(self):
    self.add('elsewhere/a.jpg', 'elsewhere/b/c.jpg')
    (self.root / 'link').symlink_to(self.folder / 'elsewhere')
    self.assertEqual(self.listed(), ['link/a.jpg', 'link/b/c.jpg'])

  def test_a_folder_with_two_links_is_followed_once(self):
    self.add('elsewhere/a.jpg')
    for name in ('one', 'two'):
      (self.root / name).symlink_to(self.folder / 'elsewhere')
    self.assertEqual(self.listed(), ['one/a.jpg'])

  def test_a_folder_with_its_own_place_is_listed_there_and_not_at_a_link(self):
    self.add('root/z/a.jpg')
    (self.root / 'a').symlink_to('z')
    (self.root / 'b.jpg').symlink_to('z')
    self.assertEqual(self.listed(), ['z/a.jpg'])

  def test_a_link_into_a_hidden_folder_is_followed(self):
    self.add('root/.store/a.jpg')
    (self.root / 'images').symlink_to('.store')
    self.assertEqual(self.listed(), ['images/a.jpg'])

  def test_links_in_a_circle_end(self):
    self.add('root/a/b.jpg', 'elsewhere/c.jpg')
    (self.root / 'a/up').symlink_to(self.root)
    (self.root / 'outside').symlink_to(self.folder / 'elsewhere')
    (self.folder / 'elsewhere/again').symlink_to(self.folder / 'elsewhere')
    (self.folder / 'elsewhere/back').symlink_to(self.root)
    self.assertEqual(self.listed(), ['a/b.jpg', 'outside/c.jpg'])

  def test_links_to_files_are_listed_even_if_the_file_is_lost(self):
    self.add('elsewhere/x.jpg')
    (self.root / 'a.jpg').symlink_to(self.folder / 'elsewhere/x.jpg')
    (self.root / 'lost.jpg').symlink_to(self.folder / 'nothing')
    (self.root / 'self.jpg').symlink_to('self.jpg')
    self.assertEqual(self.listed(), ['a.jpg', 'lost.jpg', 'self.jpg'])

  def test_a_pipe_is_no_image(self):
    self.add('root/a.jpg')
    os.mkfifo(self.root / 'pipe.jpg')
    self.assertEqual(self.listed(), ['a.jpg'])

  def test_a_name_that_is_not_utf8_is_listed_and_has_a_fault(self):
    os.close(os.open(os.fsencode(self.root) + b'/\xff.jpg', os.O_CREAT))
    (name,) = self.listed()
    self.assertEqual(name, '\udcff.jpg')
    self.assertIs(image_names.check_name(name).kind, faults.Kind.NAME)

  def test_a_missing_folder_is_an_error_at_once(self):
    with self.assertRaisesRegex(errors.DataError, 'nothing is not a folder. Give the folder'):
      image_names.list_images(self.folder / 'nothing')

  def test_a_folder_without_images_is_an_error_at_once(self):
    self.add('root/a.txt', 'root/b/.c.jpg')
    with self.assertRaisesRegex(errors.DataError, r'root has no image in it.*\.jpg, .*\.webp'):
      image_names.list_images(self.root)

  def test_a_folder_that_cannot_be_read_is_an_error(self):
    self.add('root/a.jpg')
    with mock.patch.object(os, 'scandir', side_effect=PermissionError(13, 'denied')):
      with self.assertRaisesRegex(errors.DataError, 'The folder .*root cannot be read: denied'):
        image_names.list_images(self.root)


class ListFilesTest(unittest.TestCase):
  def test_files_with_one_of_the_endings_in_any_case(self):
    root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    (root / 'b').mkdir()
    for name in ('a.XML', 'b/c.xml', 'd.jpg'):
      (root / name).touch()
    expected = [('a.XML', str(root / 'a.XML')), ('b/c.xml', str(root / 'b/c.xml'))]
    self.assertEqual(list(image_names.list_files(root, ('.xml',))), expected)
    self.assertEqual(list(image_names.list_files(root, ('.csv',))), [])


if __name__ == '__main__':
  unittest.main()
