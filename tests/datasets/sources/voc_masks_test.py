"""Tests for the reading of PASCAL VOC's segmentation layout."""

import pathlib
import tempfile
import unittest

from official_selftrain.core import errors
from official_selftrain.datasets import faults, voc_layout
from official_selftrain.datasets.sources import items, voc_masks


class VocMasksTest(unittest.TestCase):
  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.root = self.folder / 'VOCdevkit/VOC2012'
    for name in ('a', 'b', 'c'):
      self.add(f'JPEGImages/{name}.jpg')
    for name in ('b', 'a', 'x'):
      self.add(f'SegmentationClass/{name}.png')

  def add(self, name: str, content: str = '') -> None:
    path = self.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)

  def pairs(self, source: items.Source) -> list[tuple[str, str | None]]:
    """Names of images, and of masks from the root on."""
    return [
      (
        item.image.name,
        item.mask and str(pathlib.Path(item.mask.path).relative_to(self.root)),
      )
      for item in source.items()
    ]

  def test_all_images_with_a_mask(self):
    expected = [('a.jpg', 'SegmentationClass/a.png'), ('b.jpg', 'SegmentationClass/b.png')]
    for path in (self.folder, self.folder / 'VOCdevkit', self.root):
      source = voc_masks.open_source(path)
      self.assertEqual(self.pairs(source), expected)
    note = faults.Fault(faults.Kind.NO_IMAGE, f'1 masks in {self.root / "SegmentationClass"}')
    self.assertEqual((source.task, source.notes), (items.Task.SEGMENTATION, (note,)))
    first = next(source.items())
    self.assertEqual(
      (first.source_id, first.image.path), ('a', str(self.root / 'JPEGImages/a.jpg'))
    )

  def test_a_list(self):
    self.add('ImageSets/Segmentation/train.txt', 'c\nb\n\nlost\n')
    source = voc_masks.open_source(self.root, split='train')
    self.assertEqual(source.notes, ())
    self.assertEqual(
      self.pairs(source),
      [('b.jpg', 'SegmentationClass/b.png'), ('c.jpg', None), ('lost.jpg', None)],
    )
    kinds = [[fault.kind for fault in item.faults] for item in source.items()]
    self.assertEqual(kinds, [[], [faults.Kind.NO_ANNOTATION], [faults.Kind.MISSING]])

  def test_a_list_of_images_with_another_ending(self):
    self.add('ImageSets/Segmentation/train.txt', 'a\nx\n')
    self.add('JPEGImages/x.png')
    source = voc_masks.open_source(self.root, split='train')
    self.assertEqual(
      self.pairs(source),
      [('a.jpg', 'SegmentationClass/a.png'), ('x.png', 'SegmentationClass/x.png')],
    )

  def test_the_augmented_list_has_masks_of_its_own(self):
    self.add('ImageSets/Segmentation/trainaug.txt', 'a\nb')
    self.add('SegmentationClassAug/a.png')
    source = voc_masks.open_source(self.root, split='trainaug')
    self.assertEqual(self.pairs(source), [('a.jpg', 'SegmentationClassAug/a.png'), ('b.jpg', None)])

  def test_classes_are_those_of_voc_by_value_and_colour(self):
    source = voc_masks.open_source(self.root)
    self.assertEqual(source.class_names, voc_layout.CLASS_NAMES[1:])
    values = source.mask_values
    self.assertEqual(len(values), 2 * 22)
    # Colours as they are in print.
    self.assertEqual((values[15], values[192, 128, 128]), (15, 15))
    self.assertEqual((values[0], values[0, 0, 0]), (0, 0))
    self.assertEqual((values[255], values[224, 224, 192]), (255, 255))

  def test_classes_of_a_file(self):
    classes = self.folder / 'classes.txt'
    classes.write_text('3 cat\n7 dog\n')
    source = voc_masks.open_source(self.root, classes=classes)
    self.assertEqual(source.class_names, ('cat', 'dog'))
    self.assertEqual(source.mask_values, {3: 1, 7: 2, 0: 0, 255: 255})

  def test_errors_say_what_is_missing(self):
    with self.assertRaisesRegex(errors.DataError, 'train.txt is missing'):
      voc_masks.open_source(self.root, split='train')
    with self.assertRaisesRegex(errors.DataError, 'no SegmentationClass in it'):
      voc_masks.open_source(self.root / 'JPEGImages')
    for path in (self.root / 'SegmentationClass').glob('[ab].png'):
      path.unlink()
    with self.assertRaisesRegex(errors.DataError, 'No image in .*JPEGImages has a mask in'):
      voc_masks.open_source(self.root)


if __name__ == '__main__':
  unittest.main()
