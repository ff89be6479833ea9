"""Tests for the text by which a user names a data set."""

import importlib
import inspect
import json
import os
import pathlib
import re
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import errors
from official_selftrain.datasets.sources import items, spec

_GUIDE = pathlib.Path(__file__).parents[3] / 'docs/your_data.md'


class FormatsTest(unittest.TestCase):
  def test_options_are_the_parameters_of_open_source(self):
    for name, form in spec.FORMATS.items():
      with self.subTest(format=name):
        module = importlib.import_module(f'official_selftrain.datasets.sources.{form.module}')
        parameters = dict(inspect.signature(module.open_source).parameters)
        has_wish = parameters.pop('needs_annotations', None) is not None
        self.assertEqual(form.needs_annotations, has_wish)
        first, *others = parameters.values()
        self.assertEqual((first.name, first.default), ('path', inspect.Parameter.empty))
        self.assertEqual(form.options, tuple(each.name for each in others))
        for each in others:
          self.assertIsNot(each.default, inspect.Parameter.empty, each.name)

  def test_the_guide_has_each_format_with_its_options(self):
    rows = re.findall(
      r'^\| `(\w+)` \|.*\|(.*)\|$', _GUIDE.read_text(encoding='utf-8'), re.MULTILINE
    )
    found = {name: set(re.findall(r'`(\w+)`: ', options)) for name, options in rows}
    self.assertEqual(found, {name: set(form.options) for name, form in spec.FORMATS.items()})

  def test_help_has_each_format_with_its_options(self):
    first, *lines = spec.describe_formats().splitlines()
    self.assertEqual(first, 'SPEC is [FORMAT:]PATH[,KEY=VALUE...]. Formats:')
    self.assertEqual([line.split()[0] for line in lines], list(spec.FORMATS))
    self.assertEqual(
      lines[3], '  yolo         data.yaml, or the folder with it; split=train, val or test [split]'
    )
    self.assertRegex(lines[-1], 'without annotations$')


class SpecTestCase(unittest.TestCase):
  """Each test works in a folder of its own, where it has data sets of each format."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def add(self, name: str, content: str = '') -> str:
    path = self.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return os.fspath(path)

  def add_coco(self, name: str = 'boxes.json') -> str:
    self.add('a.jpg')
    value = {
      'images': [{'id': 1, 'file_name': 'a.jpg', 'height': 8, 'width': 8}],
      'annotations': [{'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [1, 2, 3, 4]}],
      'categories': [{'id': 1, 'name': 'cat'}],
    }
    return self.add(name, json.dumps(value))

  def add_voc(self, root: str = 'voc') -> str:
    self.add(f'{root}/JPEGImages/a.jpg')
    box = '<bndbox><xmin>2</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox>'
    text = (
      f'<annotation><filename>a.jpg</filename><object><name>dog</name>{box}</object></annotation>'
    )
    self.add(f'{root}/Annotations/a.xml', text)
    return os.fspath(self.folder / root)

  def add_yolo(self, root: str = 'yolo') -> str:
    self.add(f'{root}/data.yaml', 'train: images/train\nval: images/val\nnames: [emu]\n')
    for split in ('train', 'val'):
      self.add(f'{root}/images/{split}/{split}.jpg')
      self.add(f'{root}/labels/{split}/{split}.txt', '0 0.5 0.5 0.5 0.5\n')
    return os.fspath(self.folder / root)

  def add_open_images(self, header: str = 'ImageID,LabelName,XMin,XMax,YMin,YMax') -> str:
    self.add('images/0a.jpg')
    return self.add('boxes.csv', f'{header}\n0a,/m/01,0.1,0.2,0.3,0.4\n')

  def add_masks(self) -> str:
    self.add('photos/a.jpg')
    self.add('truth/a.png')
    self.add('classes.txt', '1 road\n')
    return os.fspath(self.folder / 'photos')

  def add_folders(self) -> str:
    self.add('classes/cat/a.jpg')
    self.add('classes/dog/b.jpg')
    return os.fspath(self.folder / 'classes')

  def open(self, text: str, is_labelled: bool = True) -> items.Source:
    return spec.open_spec(text, '--labelled' if is_labelled else '--unlabelled', is_labelled)

  def names(self, text: str, is_labelled: bool = True) -> list[str]:
    return [item.image.name for item in self.open(text, is_labelled).items()]

  def assert_error(
    self, kind: type[Exception], text: str, expected: str, is_labelled: bool = True
  ) -> None:
    with self.assertRaisesRegex(kind, expected):
      self.open(text, is_labelled)


class DetectionTest(SpecTestCase):
  """Finding the format out."""

  def test_coco(self):
    for name in ('boxes.json', 'other.JSON'):
      source = self.open(self.add_coco(name))
      self.assertEqual((source.class_names, source.task), (('cat',), items.Task.DETECTION))

  def test_voc(self):
    for root in ('voc', 'one/VOC2012', 'two/VOCdevkit/VOC2012'):
      self.add_voc(root)
      source = self.open(str(self.folder / root.split('/')[0]))
      self.assertEqual((source.class_names, len(list(source.items()))), (('dog',), 1))

  def test_voc_masks(self):
    for root in ('voc', 'one/VOC2012', 'two/VOCdevkit/VOC2012'):
      self.add(f'{root}/JPEGImages/a.jpg')
      self.add(f'{root}/SegmentationClass/a.png')
      source = self.open(str(self.folder / root.split('/')[0]))
      self.assertEqual((source.task, len(source.class_names)), (items.Task.SEGMENTATION, 20))
    self.add_voc('voc')
    self.assert_error(errors.ConfigError, str(self.folder / 'voc'), 'it could be voc or voc_masks')

  def test_yolo(self):
    root = self.add_yolo()
    self.add('yolo/other.YML', 'train: images/val\nnames: [yak]\n')
    self.assertEqual(self.open(root).class_names, ('emu',))
    self.assertEqual(self.open(f'{root}/data.yaml').class_names, ('emu',))
    self.assertEqual(self.open(f'{root}/other.YML').class_names, ('yak',))

  def test_open_images(self):
    self.assertEqual(self.open(self.add_open_images()).class_names, ('/m/01',))

  def test_open_images_with_a_byte_order_mark(self):
    path = self.add_open_images('\ufeffImageID,LabelName,XMin,XMax,YMin,YMax')
    self.assertEqual(self.open(path).class_names, ('/m/01',))

  def test_class_folders(self):
    path = self.add_folders()
    self.add('classes/.DS_Store')
    source = self.open(path)
    self.assertEqual((source.class_names, source.task), (('cat', 'dog'), items.Task.CLASSIFICATION))

  def test_a_file_beside_the_folders_leaves_the_format_open(self):
    path = self.add_folders()
    self.add('classes/c.jpg')
    self.assert_unclear(path, 'nothing in it tells')

  def test_a_link_to_itself_leaves_the_format_open(self):
    path = self.add_folders()
    os.symlink('loop', f'{path}/loop')
    self.assert_unclear(path, 'nothing in it tells')

  def test_folders_with_names_that_mean_something_else_are_no_classes(self):
    for name in ('images', 'Labels', 'masks'):
      with self.subTest(name=name):
        self.add(f'{name}_set/{name}/a.jpg')
        self.assert_unclear(str(self.folder / f'{name}_set'), 'nothing in it tells')

  def test_parts_of_a_data_set_are_no_classes(self):
    self.add('set/train/cat/a.jpg')
    self.add('set/Val/cat/b.jpg')
    path = str(self.folder / 'set')
    expected = (
      f'^--labelled: the folders of {path} are called like parts of a data set. Give one of them, or, if they are '
      f'classes, --labelled=folders:{path}.$'
    )
    self.assert_error(errors.ConfigError, path, expected)
    self.assertEqual(self.open(f'folders:{path}').class_names, ('Val', 'train'))
    self.add('set/bus/c.jpg')
    self.assertEqual(self.open(path).class_names, ('Val', 'bus', 'train'))

  def test_the_path_of_a_text(self):
    for text, expected in (
      ('coco:a/b.json,images=c,task=segmentation', 'a/b.json'),
      ('a,b:c', 'a,b:c'),
      ('C:/photos', 'C:/photos'),
      ('images:photos/*.jpg', 'photos/*.jpg'),
    ):
      self.assertEqual(spec.path_of(text), expected)

  def test_nothing_tells(self):
    (self.folder / 'empty').mkdir()
    for path in (
      self.add('a.txt'), self.add('header.csv', 'file,label\n'), self.add('empty.csv'),
      self.add('long.csv', 'a' * 200_000 + ',ImageID\n'), str(self.folder / 'empty'),
    ):  # fmt: skip
      with self.subTest(path=path):
        self.assert_unclear(path, 'nothing in it tells', 'coco')

  def test_several_fit(self):
    self.add_voc('both')
    self.add_yolo('both')
    self.assert_unclear(str(self.folder / 'both'), 'it could be voc or yolo', 'voc')
    self.assertEqual(self.open(f'yolo:{self.folder}/both').class_names, ('emu',))

  def assert_unclear(self, path: str, reason: str, example: str = 'coco') -> None:
    self.assert_error(
      errors.ConfigError,
      path,
      f'^--labelled: the format of {path} is not clear: {reason}. Say which: --labelled={example}:{path}. '
      'Formats: coco, voc, voc_masks, yolo, open_images, masks, folders, images.$',
    )

  def test_a_path_that_does_not_exist(self):
    path = self.folder / 'gone.json'
    expected = f'^--labelled: {path} does not exist. Check the path and the working directory.$'
    for name in set(spec.FORMATS) - {'images'}:
      self.assert_error(errors.DataError, f'{name}:{path}', expected)
    self.assert_error(errors.DataError, str(path), expected)

  def test_a_path_that_cannot_be_read(self):
    path = self.add_folders()
    with mock.patch('os.listdir', side_effect=PermissionError(13, 'Permission denied')):
      expected = f'^--labelled: {path} cannot be read: Permission denied.$'
      self.assert_error(errors.DataError, path, expected)


class FormatTest(SpecTestCase):
  """Naming the format, with options."""

  def test_each_format_by_name(self):
    paths = {
      'coco': self.add_coco(),
      'voc': self.add_voc(),
      'yolo': self.add_yolo(),
      'open_images': self.add_open_images(),
      'masks': f'{self.add_masks()},masks={self.folder}/truth,classes={self.folder}/classes.txt',
      'folders': self.add_folders(),
    }
    expected = {
      'coco': ('cat',), 'voc': ('dog',), 'yolo': ('emu',), 'open_images': ('/m/01',), 'masks': ('road',),
      'folders': ('cat', 'dog'),
    }  # fmt: skip
    found = {name: self.open(f'{name}:{path}').class_names for name, path in paths.items()}
    self.assertEqual(found, expected)

  def test_options_reach_the_reader(self):
    root = self.add_yolo()
    self.assertEqual(self.names(f'{root},split=val'), ['images/val/val.jpg'])
    self.assertEqual(self.names(f'yolo:{root},split=train'), ['images/train/train.jpg'])
    names = self.add('names.txt', 'cat Katze\ndog Hund\n')
    source = self.open(f'folders:{self.add_folders()},names={names}')
    self.assertEqual(source.class_names, ('Katze', 'Hund'))

  def test_a_value_may_have_commas_colons_and_equals_signs(self):
    names = self.add('a=b,c:d.txt', 'cat Katze\ndog Hund\n')
    source = self.open(f'{self.add_folders()},names={names}')
    self.assertEqual(source.class_names, ('Katze', 'Hund'))

  def test_a_path_may_have_commas_and_colons(self):
    self.add('a, b:c/d,e.jpg')
    path = f'{self.folder}/a, b:c'
    self.assertEqual(self.names(path, is_labelled=False), ['d,e.jpg'])
    self.assertEqual(self.names(f'images:{path}', is_labelled=False), ['d,e.jpg'])

  def test_a_relative_path_that_begins_like_a_format(self):
    self.add('photos:may/a.jpg')
    before = os.getcwd()
    os.chdir(self.folder)
    self.addCleanup(os.chdir, before)
    self.assertEqual(self.names('photos:may', is_labelled=False), ['a.jpg'])

  def test_an_unknown_format(self):
    known = 'Formats: coco, voc, voc_masks, yolo, open_images, masks, folders, images.'
    self.assert_error(
      errors.ConfigError,
      'yollo:x',
      f"^--labelled=yollo:x: there is no format 'yollo'. Did you mean yolo\\? {known}$",
    )
    self.assert_error(
      errors.ConfigError, 'zzz:x', f"^--labelled=zzz:x: there is no format 'zzz'. {known}$"
    )

  def test_an_unknown_option(self):
    text = f'yolo:{self.add_yolo()}'
    self.assert_error(
      errors.ConfigError,
      f'{text},splt=val',
      "^--labelled: there is no option 'splt'. Did you mean split\\? Options of yolo: split.$",
    )
    self.assert_error(
      errors.ConfigError,
      f'{text},zzz=1',
      "^--labelled: there is no option 'zzz'. Options of yolo: split.$",
    )

  def test_options_of_a_format_without_any(self):
    self.add('photos/a.jpg')
    expected = "^--unlabelled: there is no option 'split'. images has no options.$"
    text = f'{self.folder}/photos,split=val'
    self.assert_error(errors.ConfigError, text, expected, is_labelled=False)

  def test_errors_of_a_reader_pass(self):
    path = self.add('broken.json', '{')
    self.assert_error(errors.DataError, f'coco:{path}', 'broken.json')
    root = self.add_yolo()
    self.assert_error(errors.ConfigError, f'{root},split=may', 'may')
    text = f'masks:{self.add_masks()}'
    self.assert_error(errors.ConfigError, text, 'Masks need classes=FILE')


class UnlabelledTest(SpecTestCase):
  def test_without_a_format_annotations_are_passed_over(self):
    source = self.open(self.add_yolo(), is_labelled=False)
    self.assertEqual((source.task, source.class_names), (items.Task.NONE, ()))
    found = [item.image.name for item in source.items()]
    self.assertEqual(found, ['images/train/train.jpg', 'images/val/val.jpg'])

  def test_with_a_format_its_images_are_taken(self):
    text = f'yolo:{self.add_yolo()},split=val'
    self.assertEqual(self.names(text, is_labelled=False), ['images/val/val.jpg'])

  def test_labelled_images_need_annotations(self):
    self.add('photos/a.jpg')
    text = f'images:{self.folder}/photos'
    expected = (
      f'^--labelled={text}: these images have no annotations. Give them with --unlabelled.$'
    )
    self.assert_error(errors.ConfigError, text, expected)

  def test_a_path_that_does_not_exist(self):
    text = f'{self.folder}/gone'
    self.assert_error(errors.DataError, text, 'gone does not exist', is_labelled=False)


if __name__ == '__main__':
  unittest.main()
