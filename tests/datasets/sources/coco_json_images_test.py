"""Tests for the images of COCO files, and for files that are no COCO data."""

import json
import os
import pathlib
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import coco_json, items
from tests.datasets.sources import coco_case


class ImagesTest(coco_case.CocoTestCase):
  def add(self, *names: str) -> None:
    for name in names:
      path = self.folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()

  def entries(self, *names: object) -> list[dict[str, object]]:
    return [{'id': number, 'file_name': name} for number, name in enumerate(names)]

  def test_images_sorted_by_name_those_without_objects_included(self):
    names = ['c.jpg', 'a/z.png', 'B.jpg', 'a-b.jpg']
    self.add(*(f'images/{name}' for name in names), 'images/not_listed.jpg')
    self.write(self.annotation(image_id=1), images=self.entries(*names))
    found = [(item.image.name, item.source_id, len(item.boxes)) for item in self.read()]
    expected = [('B.jpg', '2', 0), ('a-b.jpg', '3', 0), ('a/z.png', '1', 1), ('c.jpg', '0', 0)]
    self.assertEqual(found, expected)

  def test_the_lists_may_be_in_any_order_among_other_keys(self):
    self.write(self.annotation())
    content = json.loads(self.path.read_text())
    expected = self.read()
    for order in (('categories', 'annotations', 'images'), ('annotations', 'images', 'categories')):
      others = {'info': {'images': [1, 2]}, 'licenses': [{'id': 1}], 'version': 1.5}
      self.path.write_text(json.dumps({**others, **{name: content[name] for name in order}}))
      self.assertEqual(self.read(), expected)

  def test_items_can_be_read_again_and_side_by_side(self):
    self.add('images/a.jpg', 'images/b.jpg')
    self.write(self.annotation(image_id=0), images=self.entries('a.jpg', 'b.jpg'))
    source = coco_json.open_source(self.path)
    first = list(source.items())
    self.assertEqual(
      list(zip(source.items(), source.items(), strict=True)), list(zip(first, first, strict=True))
    )

  def test_folders_where_images_are_found(self):
    for folder in ('a/x', 'a/x/images', 'a/images', 'a/x/JPEGImages'):
      with self.subTest(folder=folder), tempfile.TemporaryDirectory() as root:
        self.folder = pathlib.Path(root)
        self.add(f'{folder}/s/1.jpg', 'a/x/other/s/1.jpg')
        self.path = self.folder / 'a/x/instances.json'
        self.write(images=self.entries('s/1.jpg'))
        (item,) = self.read()
        self.assertEqual(item.image.path, os.path.normpath(self.folder / folder / 's/1.jpg'))
        self.assertEqual(item.faults, ())

  def test_a_missing_first_image_does_not_hide_the_folder(self):
    self.add('images/2.jpg')
    self.write(images=self.entries('1.jpg', '2.jpg'))
    lost, found = self.read()
    self.assertEqual([fault.kind for fault in lost.faults], [faults.Kind.MISSING])
    self.assertEqual(found.image.path, str(self.folder / 'images/2.jpg'))

  def test_a_copy_elsewhere_does_not_hide_the_folder(self):
    self.add('2.jpg', 'images/1.jpg', 'images/2.jpg', 'images/3.jpg')
    self.write(images=self.entries('1.jpg', '2.jpg', '3.jpg'))
    for item, name in zip(self.read(), ('1.jpg', '2.jpg', '3.jpg'), strict=True):
      self.assertEqual(item.image.path, str(self.folder / 'images' / name))

  def test_images_beside_the_file_are_taken_first(self):
    self.add('1.jpg', 'images/1.jpg')
    self.write(images=self.entries('1.jpg'))
    self.assertEqual(self.read()[0].image.path, str(self.folder / '1.jpg'))

  def test_a_folder_that_is_given_is_the_only_one(self):
    self.add('1.jpg', 'other/2.jpg')
    self.write(images=self.entries('1.jpg'))
    (item,) = self.read(images=self.folder / 'other')
    missing = faults.Fault(faults.Kind.MISSING, str(self.folder / 'other/1.jpg'))
    self.assertEqual(item.faults, (missing,))

  def test_images_that_are_in_no_folder(self):
    self.write(images=self.entries('1.jpg'))
    looked = ', '.join(
      os.path.normpath(self.folder / name) for name in ('', 'images', '../images', 'JPEGImages')
    )
    with self.assertRaisesRegex(
      errors.DataError,
      f'{self.path}: its first image, 1.jpg, is in none of the folders {looked}. Give the folder',
    ):
      coco_json.open_source(self.path)

  def test_a_given_folder_that_is_missing_or_empty(self):
    self.write()
    with self.assertRaisesRegex(errors.DataError, 'nothing is not a folder'):
      coco_json.open_source(self.path, images=self.folder / 'nothing')
    (self.folder / 'empty').mkdir()
    with self.assertRaisesRegex(errors.DataError, 'empty has no image in it'):
      coco_json.open_source(self.path, images=self.folder / 'empty')

  def test_a_missing_image_has_no_annotations(self):
    self.add('images/a.jpg')
    self.write(self.annotation(image_id=1), images=self.entries('a.jpg', 'b.jpg'))
    _, item = self.read()
    missing = faults.Fault(faults.Kind.MISSING, str(self.images / 'b.jpg'))
    self.assertEqual((item.image.name, item.boxes, item.faults), ('b.jpg', (), (missing,)))

  def test_an_image_with_an_ending_of_its_own_is_there(self):
    self.add('images/a.jpg', 'images/b.ppm')
    self.write(images=self.entries('a.jpg', 'b.ppm', 'c.ppm'))
    kinds = [[fault.kind for fault in item.faults] for item in self.read()]
    self.assertEqual(kinds, [[], [], [faults.Kind.MISSING]])

  def test_names_in_the_way_of_windows_and_names_that_are_longer_than_needed(self):
    self.add('images/s/a.jpg', 'images/s/b.jpg')
    self.write(images=self.entries('s\\a.jpg', './s//b.jpg'))
    found = [(item.image.name, item.faults) for item in self.read()]
    self.assertEqual(found, [('s/a.jpg', ()), ('s/b.jpg', ())])

  def test_names_that_lead_elsewhere(self):
    self.add('secret.jpg', 'images/a.jpg')
    names = ('a.jpg', '../secret.jpg', str(self.folder / 'secret.jpg'), 'x\ud800.jpg', 'x\0.jpg')
    self.write(self.annotation(image_id=1), images=self.entries(*names))
    found = {item.source_id: item for item in self.read()}
    self.assertEqual(found['0'].faults, ())
    for source_id in ('1', '2', '3', '4'):
      item = found[source_id]
      self.assertEqual([fault.kind for fault in item.faults], [faults.Kind.NAME])
      self.assertEqual((item.image.path, item.boxes), ('', ()))

  def test_entries_without_id_or_name(self):
    self.add('images/a.jpg', 'images/b.jpg', 'images/c.jpg')
    images = [
      {'id': 1, 'file_name': 'a.jpg'}, {'file_name': 'b.jpg'}, {'id': 3}, 'text', {'id': [], 'file_name': 'c.jpg'},
      {'id': 5, 'file_name': 12},
    ]  # fmt: skip
    self.write(self.annotation(image_id=3), self.annotation(image_id=5), images=images)
    found = self.read()
    self.assertEqual(
      [item.image.name for item in found],
      ['a.jpg', 'b.jpg', 'c.jpg', 'images[2]', 'images[3]', 'images[5]'],
    )
    self.assertEqual(found[0].faults, ())
    for item in found[1:]:
      self.assertIs(item.faults[0].kind, faults.Kind.UNREADABLE)
      self.assertEqual((len(item.faults), item.boxes), (1, ()))
    detail = 'an entry of images has the id None and the file_name {}'
    self.assertEqual(found[1].faults[0].detail, detail.format("'b.jpg'"))
    self.assertEqual(found[4].faults[0].detail, detail.format('None'))

  def test_ids_of_texts_and_whole_floats(self):
    self.add('images/a.jpg', 'images/b.jpg')
    images = [{'id': 'x1', 'file_name': 'a.jpg'}, {'id': 2.0, 'file_name': 'b.jpg'}]
    self.write(self.annotation(image_id='x1'), self.annotation(image_id='2'), images=images)
    found = [(item.source_id, len(item.boxes)) for item in self.read()]
    self.assertEqual(found, [('x1', 1), ('2', 1)])

  def test_two_images_of_one_name(self):
    self.add('images/a.jpg')
    images = self.entries('a.jpg', './a.jpg')
    self.write(self.annotation(image_id=0), self.annotation(image_id=1), images=images)
    first, second = self.read()
    self.assertEqual((first.faults, len(first.boxes)), ((), 1))
    self.assertEqual(second.faults, (faults.Fault(faults.Kind.SAME_NAME, "file_name 'a.jpg'"),))
    self.assertEqual((second.source_id, len(second.boxes)), ('1', 1))

  def test_two_images_of_one_id(self):
    self.add('images/a.jpg', 'images/b.jpg')
    images = [{'id': 7, 'file_name': 'b.jpg'}, {'id': '7', 'file_name': 'a.jpg'}]
    self.write(self.annotation(), images=images)
    second, first = self.read()
    self.assertEqual((first.image.name, first.faults, len(first.boxes)), ('b.jpg', (), 1))
    self.assertEqual(second.faults, (faults.Fault(faults.Kind.SAME_NAME, 'id 7'),))
    self.assertEqual(second.boxes, ())

  def test_annotations_of_images_that_are_not_listed_are_counted(self):
    orphans = [self.annotation(image_id=8), self.annotation(image_id=None), 'text', None]
    self.write(self.annotation(), *orphans)
    source = coco_json.open_source(self.path)
    expected = faults.Fault(faults.Kind.NO_IMAGE, f'4 annotations in {self.path}')
    self.assertEqual(source.notes, (expected,))
    self.assertEqual([len(item.boxes) for item in source.items()], [1])


class WholeFileTest(coco_case.CocoTestCase):
  def assert_error(self, expected: str) -> None:
    with self.assertRaisesRegex(errors.DataError, f'{self.path}.*{expected}'):
      coco_json.open_source(self.path)

  def test_the_source_says_what_it_is(self):
    self.write()
    source = coco_json.open_source(self.path)
    self.assertIs(source.task, items.Task.DETECTION)
    self.assertEqual((source.class_names, source.mask_values), (('cat', 'dog'), {}))

  def test_a_missing_file(self):
    self.assert_error('cannot be read: No such file')

  def test_a_file_that_is_no_json(self):
    self.path.write_text('<html>')
    self.assert_error('does not hold a JSON object')
    self.path.write_text('{"images": [}')
    self.assert_error('is no JSON: Expecting value at line 1, column 13')

  def test_a_file_of_results(self):
    self.path.write_text('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]')
    self.assert_error('does not hold a JSON object.*annotations, categories, images')

  def test_a_list_that_is_missing(self):
    for name in ('images', 'annotations', 'categories'):
      self.write()
      content = json.loads(self.path.read_text())
      del content[name]
      self.path.write_text(json.dumps(content))
      self.assert_error(f'has no list {name}. Expected: lists of images with id and file_name')

  def test_two_lists_that_are_missing(self):
    self.path.write_text('{"images": []}')
    self.assert_error('has no list annotations and no list categories')

  def test_no_images(self):
    for images in ([], [{'id': 1}], [{'id': 1, 'file_name': '../a.jpg'}]):
      self.write(images=images)
      self.assert_error('lists no image with a file_name that can be used')

  def test_nothing_is_left_in_the_folder_for_temporary_files(self):
    self.write(self.annotation())
    temporary = self.folder / 'temporary'
    temporary.mkdir()
    with mock.patch.object(tempfile, 'tempdir', str(temporary)):
      source = coco_json.open_source(self.path)
      self.assertEqual(os.listdir(temporary), [])
      self.assertEqual(len(list(source.items())), 1)
      self.path.write_text('{"images": [')
      with self.assertRaises(errors.DataError):
        coco_json.open_source(self.path)
      self.assertEqual(os.listdir(temporary), [])


if __name__ == '__main__':
  unittest.main()
