"""Tests for the reading of images with masks."""

import collections
import os
import pathlib
import tempfile
import unittest

import hypothesis
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import items, mask_pairs

_WBC = pathlib.Path(__file__).parents[4] / 'shared/data/wbc'
_NO_MASK = (faults.Fault(faults.Kind.NO_ANNOTATION, 'no mask'),)


class MaskPairsTestCase(unittest.TestCase):
  """Each test has a folder for images, one for masks, and a file of classes."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.images = self.folder / 'images'
    self.masks = self.folder / 'masks'
    self.classes = self.folder / 'classes.txt'
    self.classes.write_text('1 cat\n')

  def add(self, *names: str) -> None:
    for name in names:
      path = self.folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()

  def open(self) -> items.Source:
    return mask_pairs.open_source(self.images, self.classes, self.masks)

  def pairs(self, source: items.Source) -> list[tuple[str, str | None]]:
    """Names of image and mask."""
    return [(item.image.name, item.mask and item.mask.name) for item in source.items()]

  def pairs_of_one_folder(self, *names: str) -> list[tuple[str, str | None]]:
    self.add(*(f'images/{name}' for name in names))
    return self.pairs(mask_pairs.open_source(self.images, self.classes))

  def assert_error(self, expected: str) -> None:
    with self.assertRaisesRegex(errors.DataError, expected):
      self.open()


class TwoFoldersTest(MaskPairsTestCase):
  def test_masks_in_formats_that_change_values(self):
    self.add('images/a.jpg', 'masks/a.jpg', 'masks/a.webp')
    self.assert_error(
      r'No image in .*images has a mask in .*masks\. Masks have the names of their images, and are PNG, BMP, GIF or '
      r'TIFF files: JPEG and WebP change values\.$'
    )

  def test_more_classes_than_class_maps_have(self):
    self.add('images/a.jpg', 'masks/a.png')
    lines = [f'{n} {n // 256} 0 class {n}' for n in range(256)]
    self.classes.write_text('\n'.join(lines[:254]))
    self.assertEqual(len(self.open().class_names), 254)
    self.classes.write_text('\n'.join([*lines[:254], '0 0 9 background', lines[254]]))
    self.assert_error(r'classes\.txt names 255 classes; class maps have at most 254\.$')

  def test_images_of_unusual_formats_have_masks(self):
    self.assertEqual(self.pairs_of_one_folder('a.avif', 'a.png'), [('a.avif', 'a.png')])

  def test_masks_without_an_image_are_counted(self):
    self.add('images/a.jpg', 'masks/a_mask.png')
    self.assertEqual(self.open().notes, ())
    self.add('masks/b_mask.png', 'masks/c_mask.png', 'masks/d.png')
    expected = faults.Fault(faults.Kind.NO_IMAGE, f'2 masks in {self.masks}')
    self.assertEqual(self.open().notes, (expected,))

  def test_an_image_and_the_mask_of_its_name(self):
    self.add('images/a.jpg', 'masks/a.png')
    source = self.open()
    (item,) = source.items()
    image = items.ImageFile('a.jpg', str(self.images / 'a.jpg'))
    mask = items.ImageFile('a.png', str(self.masks / 'a.png'))
    self.assertEqual(item, items.Item(image, mask=mask))
    self.assertEqual((source.task, source.class_names), (items.Task.SEGMENTATION, ('cat',)))

  def test_image_and_mask_may_have_one_ending(self):
    self.add('images/a.png', 'masks/a.png')
    (item,) = self.open().items()
    assert item.mask is not None
    self.assertEqual(item.image.path, str(self.images / 'a.png'))
    self.assertEqual(item.mask.path, str(self.masks / 'a.png'))

  def test_folders_in_folders(self):
    self.add('images/x/a.jpg', 'images/a.jpg', 'masks/a.png', 'masks/x/a.tif', 'masks/y/a.png')
    self.assertEqual(self.pairs(self.open()), [('a.jpg', 'a.png'), ('x/a.jpg', 'x/a.tif')])

  def test_masks_have_any_format_without_loss_and_endings_any_case(self):
    endings = ('png', 'bmp', 'gif', 'tif', 'TIFF', 'PNG')
    self.add(*(f'images/{each}.JPG' for each in endings))
    self.add(*(f'masks/{each}.{each}' for each in endings))
    found = self.pairs(self.open())
    self.assertEqual(found, [(f'{each}.JPG', f'{each}.{each}') for each in sorted(endings)])

  def test_of_two_masks_the_png_is_taken(self):
    self.add('images/a.jpg', 'masks/a.bmp', 'masks/a.png', 'masks/a.tif')
    self.assertEqual(self.pairs(self.open()), [('a.jpg', 'a.png')])

  def test_each_suffix(self):
    for suffix in ('_mask', '-mask', '_label', '_labelIds', '_gt'):
      with self.subTest(suffix=suffix), tempfile.TemporaryDirectory() as folder:
        self.folder = pathlib.Path(folder)
        self.images, self.masks = self.folder / 'images', self.folder / 'masks'
        self.add('images/a.jpg', 'images/x/b.jpg', f'masks/a{suffix}.png', f'masks/x/b{suffix}.png')
        expected = [('a.jpg', f'a{suffix}.png'), ('x/b.jpg', f'x/b{suffix}.png')]
        self.assertEqual(self.pairs(self.open()), expected)

  def test_the_suffix_of_most_masks_is_that_of_all(self):
    self.add('images/a.jpg', 'images/b.jpg', 'images/c.jpg')
    self.add('masks/a.png', 'masks/b_gt.png', 'masks/c_gt.png', 'masks/a_mask.png')
    source = self.open()
    expected = [('a.jpg', None), ('b.jpg', 'b_gt.png'), ('c.jpg', 'c_gt.png')]
    self.assertEqual(self.pairs(source), expected)
    self.assertEqual([item.faults for item in source.items()], [_NO_MASK, (), ()])

  def test_an_image_without_a_mask(self):
    # Masks are never JPEG, whose values are not those that were saved.
    self.add('images/a.jpg', 'images/b.jpg', 'images/c.jpg', 'masks/a.png', 'masks/c.jpg')
    self.add('masks/d.png')
    found = list(self.open().items())
    self.assertEqual([item.faults for item in found], [(), _NO_MASK, _NO_MASK])
    self.assertEqual([item.mask is None for item in found], [False, True, True])

  def test_a_name_that_is_not_utf_8(self):
    self.add('images/a.jpg', 'masks/a.png')
    for folder, name in ((self.images, b'/\xff.jpg'), (self.masks, b'/\xff.png')):
      os.close(os.open(os.fsencode(folder) + name, os.O_CREAT))
    good, bad = self.open().items()
    self.assertEqual(good.faults, ())
    fault = faults.Fault(faults.Kind.NAME, r"'\udcff.jpg' is not UTF-8")
    self.assertEqual((bad.faults, bad.mask), ((fault,), None))

  def test_masks_in_the_folder_of_the_images_are_no_images(self):
    self.add('images/a.jpg', 'images/masks/a.png', 'images/masks2/b.jpg')
    self.masks = self.images / 'masks'
    expected = [('a.jpg', 'a.png'), ('masks2/b.jpg', None)]
    self.assertEqual(self.pairs(self.open()), expected)

  def test_images_in_the_folder_of_the_masks(self):
    self.add('masks/a.png', 'masks/images/a.jpg')
    self.images = self.masks / 'images'
    self.assertEqual(self.pairs(self.open()), [('a.jpg', 'a.png')])


class OneFolderTest(MaskPairsTestCase):
  def test_images_and_masks_differ_by_their_endings(self):
    found = self.pairs_of_one_folder('a.jpg', 'a.png', 'x/b.JPEG', 'x/b.PNG', 'c.bmp', 'c.png')
    expected = [('a.jpg', 'a.png'), ('c.bmp', 'c.png'), ('x/b.JPEG', 'x/b.PNG')]
    self.assertEqual(found, expected)

  def test_each_pair_of_endings(self):
    order = ('jpg', 'jpeg', 'webp', 'tif', 'tiff', 'bmp', 'gif', 'png')
    for place, mask in enumerate(order):
      for image in order[:place]:
        with self.subTest(image=image, mask=mask), tempfile.TemporaryDirectory() as folder:
          self.folder = pathlib.Path(folder)
          self.images = self.folder / 'images'
          if mask in ('jpeg', 'webp'):
            with self.assertRaisesRegex(errors.DataError, 'No image in .* has a mask in'):
              self.pairs_of_one_folder(f'a.{image}', f'a.{mask}')
          else:
            found = self.pairs_of_one_folder(f'a.{image}', f'a.{mask}')
            self.assertEqual(found, [(f'a.{image}', f'a.{mask}')])

  def test_an_image_is_never_its_own_mask(self):
    found = self.pairs_of_one_folder('a.jpg', 'a.png', 'b.png', 'c.bmp', 'd.jpg')
    expected = [('a.jpg', 'a.png'), ('b.png', None), ('c.bmp', None), ('d.jpg', None)]
    self.assertEqual(found, expected)

  def test_masks_with_a_suffix_are_no_images(self):
    found = self.pairs_of_one_folder('a.png', 'a_mask.png', 'b.jpg', 'b_mask.gif', 'c.png')
    self.assertEqual(found, [('a.png', 'a_mask.png'), ('b.jpg', 'b_mask.gif'), ('c.png', None)])

  def test_one_folder_by_two_paths(self):
    self.add('images/a.jpg', 'images/a.png', 'images/b.png')
    (self.folder / 'link').symlink_to(self.images)
    for masks in (f'{self.images}/', f'{self.folder}/./images', self.folder / 'link'):
      with self.subTest(masks=masks):
        found = self.pairs(mask_pairs.open_source(self.images, self.classes, masks))
        self.assertEqual(found, [('a.jpg', 'a.png'), ('b.png', None)])


class ClassesTest(MaskPairsTestCase):
  def setUp(self):
    super().setUp()
    self.add('images/a.jpg', 'masks/a.png')

  def test_classes_in_the_order_of_the_lines(self):
    self.classes.write_text('7 dog\n\n3 big  cat \n255\temu\n0 sky\n')
    source = self.open()
    self.assertEqual(source.class_names, ('dog', 'big cat', 'emu', 'sky'))
    self.assertEqual(source.mask_values, {7: 1, 3: 2, 255: 3, 0: 4})

  def test_values_0_and_255_without_a_line_are_background_and_void(self):
    self.assertEqual(self.open().mask_values, {1: 1, 0: 0, 255: 255})

  def test_a_background_of_another_value(self):
    self.classes.write_text('1 Background\n2 cat\n3 background\n')
    source = self.open()
    self.assertEqual((source.class_names, source.mask_values[1]), (('cat',), 0))
    self.assertEqual(source.mask_values, {1: 0, 2: 1, 3: 0, 0: 0, 255: 255})

  def test_colours_have_no_background_and_no_void_of_their_own(self):
    self.classes.write_text('128 64 0 road\n0 0 0 background\n255 255 255 2nd lane\n')
    source = self.open()
    self.assertEqual(source.class_names, ('road', '2nd lane'))
    expected = {(128, 64, 0): 1, (0, 0, 0): 0, (255, 255, 255): 2}
    self.assertEqual(source.mask_values, expected)

  def test_a_name_may_be_a_number(self):
    self.classes.write_text('1 2 3 4\n')
    source = self.open()
    self.assertEqual((source.class_names, source.mask_values), (('4',), {(1, 2, 3): 1}))

  def test_a_byte_order_mark_and_the_line_ends_of_windows(self):
    self.classes.write_bytes('\ufeff0 background\r\n5 chien à poil\r\n'.encode())
    source = self.open()
    self.assertEqual(source.class_names, ('chien à poil',))
    self.assertEqual(source.mask_values, {0: 0, 5: 1, 255: 255})

  def test_lines_that_are_wrong_name_file_and_line(self):
    for line in (
      'cat', '1', '256 cat', '-1 cat', '1.0 cat', '1 2 cat', '1 2 3', '0 0 256 cat', 'cat 1', '1,cat', '²  cat',
    ):  # fmt: skip
      with self.subTest(line=line):
        self.classes.write_text(f'9 dog\n\n{line}\n')
        text = ' '.join(line.split())
        self.assert_error(
          f"classes.txt, line 3 is '{text}'; expected `value name` or `red green blue name` with numbers from 0 to 255."
        )

  def test_a_value_of_two_lines(self):
    self.classes.write_text('1 cat\n2 dog\n1 emu\n')
    self.assert_error('classes.txt, line 3: the value 1 has a class already.')
    self.classes.write_text('1 1 1 cat\n1 1 1 background\n')
    self.assert_error(r'classes.txt, line 2: the value \(1, 1, 1\) has a class already.')

  def test_a_class_of_two_lines(self):
    self.classes.write_text('1 cat\n2 dog\n3 cat\n')
    self.assert_error('classes.txt, line 3: the class cat has a value already.')

  def test_no_class(self):
    for text in ('', '\n\n', '0 background\n'):
      self.classes.write_text(text)
      self.assert_error('classes.txt names no class. Write `value name` on each line.')

  def test_a_file_that_cannot_be_read(self):
    self.classes.write_bytes(b'1 \xff\n')
    self.assert_error("classes.txt cannot be read: 'utf-8' codec can't decode byte 0xff")
    self.classes.unlink()
    self.assert_error('classes.txt cannot be read: no such file or directory.$')

  @hypothesis.given(
    st.dictionaries(
      st.integers(0, 255) | st.tuples(*[st.integers(0, 255)] * 3),
      st.text('abc -', min_size=1).map(lambda text: f'c{text.strip()}'),
      min_size=1,
      max_size=6,
    )
  )
  def test_what_was_written_is_read(self, classes):
    named = {
      value: f'{" ".join(name.split())}{n}' for n, (value, name) in enumerate(classes.items())
    }
    lines = [
      f'{" ".join(map(str, value)) if isinstance(value, tuple) else value} {name}\n'
      for value, name in named.items()
    ]
    self.classes.write_text(''.join(lines))
    source = self.open()
    self.assertEqual(source.class_names, tuple(named.values()))
    found = {value: source.class_names[source.mask_values[value] - 1] for value in named}
    self.assertEqual(found, named)


class ErrorsTest(MaskPairsTestCase):
  def test_classes_must_be_given(self):
    self.add('images/a.jpg', 'masks/a.png')
    with self.assertRaisesRegex(errors.ConfigError, 'Masks need classes=FILE, a text file with a'):
      mask_pairs.open_source(self.images, masks=self.masks)

  def test_no_folder_of_images(self):
    self.masks.mkdir()
    self.assert_error('images is not a folder. Give the folder of the images.')
    with self.assertRaisesRegex(errors.DataError, 'Give the folder of the images.'):
      mask_pairs.open_source(self.images, self.classes)

  def test_no_folder_of_masks(self):
    self.add('images/a.jpg')
    self.assert_error('masks is not a folder. Give the folder of the masks.')

  def test_no_image(self):
    self.add('images/a.txt', 'masks/a.png')
    self.assert_error('images has no image in it')

  def test_no_mask(self):
    self.add('images/a.jpg', 'masks/b.png', 'masks/a_other.png')
    self.assert_error(
      'No image in .*images has a mask in .*masks. Masks have the names of their images.'
    )
    self.add('images/c.png')
    with self.assertRaisesRegex(errors.DataError, 'No image in .*images has a mask in .*images.'):
      mask_pairs.open_source(self.images, self.classes)


@unittest.skipUnless(_WBC.is_dir(), f'the white blood cells are not in {_WBC}')
class WhiteBloodCellsTest(MaskPairsTestCase):
  def test_all_images_masks_and_values(self):
    self.classes.write_text('255 nucleus\n128 cytoplasm\n')
    source = mask_pairs.open_source(_WBC / 'images_and_masks', self.classes)
    self.assertEqual(source.class_names, ('nucleus', 'cytoplasm'))
    found = list(source.items())
    self.assertEqual([fault for item in found for fault in item.faults], [])
    expected = [(f'{number:03}.bmp', f'{number:03}.png') for number in range(1, 301)]
    self.assertEqual(self.pairs(source), expected)
    counts = collections.Counter()
    for item in found:
      assert item.mask is not None
      with Image.open(item.image.path) as image, Image.open(item.mask.path) as mask:
        self.assertEqual(image.size, mask.size)
        counts.update(source.mask_values[int(value)] for value in np.unique(np.asarray(mask)))
    self.assertEqual(counts, {0: 300, 1: 300, 2: 300})


if __name__ == '__main__':
  unittest.main()
