"""Tests for the converter of PASCAL VOC 2012."""

import contextlib
import io
import pathlib
import tempfile
import zlib

import numpy as np
import tensorflow as tf
from official.vision.dataloaders import segmentation_input
from PIL import Image

from official_selftrain.core import errors, keys
from official_selftrain.datasets import voc, voc_layout

# Height and width of the images of the split `train`, by id, in the order of its list.
_SIZES = {'2007_000039': (24, 16), '2007_000032': (20, 30), '2008_000008': (18, 18)}

_TEXT, _NUMBER = tf.io.FixedLenFeature([], tf.string), tf.io.FixedLenFeature([], tf.int64)
_FEATURES = {keys.IMAGE_ENCODED: _TEXT, keys.SOURCE_ID: _TEXT}
_FEATURES |= {keys.IMAGE_HEIGHT: _NUMBER, keys.IMAGE_WIDTH: _NUMBER}


def _class_map(height: int, width: int) -> np.ndarray:
  """Rows 0 and 1 are void; below, the class grows by one per pixel, all 21 in turn."""
  class_map = np.resize(np.arange(21, dtype=np.uint8), [height, width])
  class_map[:2] = 255
  return class_map


def _palette_image(indices: np.ndarray, palette: np.ndarray | None = None) -> Image.Image:
  """A palette image, with the colours of VOC if no others are given."""
  image = Image.fromarray(indices)
  image.putpalette(
    (voc_layout.colour_map() if palette is None else palette).astype(np.uint8).tobytes()
  )
  return image


def _records(pattern: str, features=_FEATURES) -> list[dict[str, np.ndarray]]:
  """The parsed records of the files that match, in the order of file names."""
  paths = sorted(tf.io.gfile.glob(pattern))
  parsed = (tf.io.parse_single_example(each, features) for each in tf.data.TFRecordDataset(paths))
  return [{name: value.numpy() for name, value in each.items()} for each in parsed]


def _ids(pattern: str) -> list[str]:
  return [record[keys.SOURCE_ID].decode() for record in _records(pattern)]


def _masks(pattern: str) -> list[np.ndarray]:
  """What TensorFlow makes of the masks, uint8 [height, width]."""
  mask = keys.SEGMENTATION_MASK
  pngs = (each[mask] for each in _records(pattern, {mask: _TEXT}))
  return [tf.squeeze(tf.io.decode_png(png), axis=2).numpy() for png in pngs]


class VocTestCase(tf.test.TestCase):
  """Each test has a data set of its own: palette masks, and the lists `train` and, of the last image, `val`."""

  def setUp(self):
    super().setUp()
    folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.root, self.output = folder / 'VOC2012', folder / 'records'
    self.lists, self.masks = self.root / 'ImageSets/Segmentation', self.root / 'SegmentationClass'
    self.images = self.root / 'JPEGImages'
    self.image, self.mask = self.images / '2008_000008.jpg', self.masks / '2008_000008.png'
    for new in (self.lists, self.images, self.masks, self.root / 'SegmentationClassAug'):
      new.mkdir(parents=True)
    for name, (height, width) in _SIZES.items():
      image = np.linspace(0, 255, height * width * 3).reshape(height, width, 3).astype(np.uint8)
      Image.fromarray(image).save(self.images / f'{name}.jpg', quality=70)
      _palette_image(_class_map(height, width)).save(self.masks / f'{name}.png')
    self.write_list('train', *_SIZES)
    self.write_list('val', '2008_000008')

  def write_list(self, split: str, *lines: str) -> None:
    (self.lists / f'{split}.txt').write_text('\n'.join(lines) + '\n')

  def convert(self, split: str = 'train', **options) -> voc.Converted:
    return voc.convert(self.root, split, self.output, **options)

  def written(self) -> list[str]:
    return sorted(path.name for path in self.output.glob('*'))


class RoundTripTest(VocTestCase):
  def test_images_and_ids_are_those_of_the_files(self):
    made = self.convert()
    self.assertEqual(made.pattern, f'{self.output}/train-*-of-00001.tfrecord')
    self.assertEqual((made.num_images, _ids(made.pattern)), (3, list(_SIZES)))
    for (name, size), record in zip(_SIZES.items(), _records(made.pattern), strict=True):
      content = (self.images / f'{name}.jpg').read_bytes()
      self.assertEqual(record[keys.IMAGE_ENCODED], content)
      self.assertEqual((record[keys.IMAGE_HEIGHT], record[keys.IMAGE_WIDTH]), size)
      self.assertEqual(tf.io.decode_jpeg(content).shape, (*size, 3))

  def test_tensorflow_decodes_masks_to_class_ids(self):
    masks = _masks(self.convert().pattern)
    for size, mask in zip(_SIZES.values(), masks, strict=True):
      self.assertAllEqual(mask, _class_map(*size))

  def test_tensorflow_decodes_the_palette_file_itself_to_something_else(self):
    # This is why masks are rewritten: a class becomes 0.299 red + 0.587 green + 0.114 blue.
    decoded = tf.io.decode_png(self.mask.read_bytes(), channels=1)[..., 0].numpy()
    found = [set(decoded[_class_map(18, 18) == value]) for value in (0, 1, 2, 255)]
    self.assertEqual(found, [{0}, {38}, {75}, {220}])

  def test_pixels_are_counted(self):
    made = self.convert()
    values = np.concatenate([_class_map(*size).ravel() for size in _SIZES.values()])
    expected = {
      name: int((values == index).sum()) for index, name in enumerate(voc_layout.CLASS_NAMES)
    }
    self.assertEqual(list(made.pixels.items()), list(expected.items()))
    self.assertEqual(made.void_pixels, 2 * (16 + 30 + 18))

  def test_model_garden_reads_the_records(self):
    parse = segmentation_input.Parser(
      output_size=[32, 32], resize_eval_groundtruth=False, groundtruth_padded_size=[32, 32]
    ).parse_fn(is_training=False)
    (path,) = tf.io.gfile.glob(self.convert().pattern)
    for record, size in zip(tf.data.TFRecordDataset(path), _SIZES.values(), strict=True):
      image, labels = parse(segmentation_input.Decoder().decode(record))
      self.assertEqual(image.shape, (32, 32, 3))
      padding = [(0, 32 - side) for side in size]
      expected = np.pad(_class_map(*size), padding, constant_values=255)
      self.assertAllEqual(labels['masks'][..., 0], expected)


class MaskFormsTest(VocTestCase):
  def assert_converts(self, image: Image.Image, mode: str, expected: np.ndarray) -> None:
    self.assertEqual(image.mode, mode)
    image.save(self.mask)
    (mask,) = _masks(self.convert('val').pattern)
    self.assertAllEqual(mask, expected)

  def test_grey_and_colours(self):
    class_map = _class_map(18, 18)
    self.assert_converts(Image.fromarray(class_map), 'L', class_map)
    self.assert_converts(Image.fromarray(voc_layout.colour_map()[class_map]), 'RGB', class_map)

  def test_other_palettes(self):
    class_map, colours = _class_map(18, 18), voc_layout.colour_map()
    greys = np.repeat(np.arange(256)[:, None], 3, axis=1)
    black_void = np.where(np.arange(256)[:, None] < 21, colours, 0)
    for palette in (greys, black_void, colours[:21]):
      self.assert_converts(_palette_image(class_map, palette), 'P', class_map)
    # With so few colours Pillow writes 4 bits per pixel.
    self.assert_converts(_palette_image(class_map % 16, colours[:16]), 'P', class_map % 16)
    self.assertEqual(self.mask.read_bytes()[24], 4)

  def test_renumbered_palette(self):
    # Programs that make files smaller sort colours by use and drop the others.
    order = np.array([255, *reversed(range(21))])
    indices = np.zeros([256], np.uint8)
    indices[order] = np.arange(22)
    image = _palette_image(indices[_class_map(18, 18)], voc_layout.colour_map()[order])
    self.assert_converts(image, 'P', _class_map(18, 18))


class ListTest(VocTestCase):
  def setUp(self):
    super().setUp()
    # Other classes in each folder tell where a mask is from.
    for folder, value in ((self.masks, 3), (self.root / 'SegmentationClassAug', 4)):
      for name, size in _SIZES.items():
        Image.fromarray(np.full(size, value, np.uint8)).save(folder / f'{name}.png')

  def assert_classes(self, expected: list[int], split: str, *lines: str) -> None:
    """Writes a list of all images; `expected` are the classes that the images then have."""
    self.write_list(split, *lines)
    made = self.convert(split)
    self.assertEqual(_ids(made.pattern), list(_SIZES))
    self.assertEqual([int(mask.max()) for mask in _masks(made.pattern)], expected)

  def test_ids(self):
    self.assert_classes([4, 4, 4], 'trainaug', *_SIZES)
    self.assert_classes([3, 3, 3], 'trainval', *_SIZES)
    (self.root / 'SegmentationClassAug').rename(self.root / 'elsewhere')
    self.assert_classes([3, 3, 3], 'trainaug', *_SIZES)

  def test_paths(self):
    first, second, third = _SIZES
    lines = (
      f'/JPEGImages/{first}.jpg /SegmentationClassAug/{first}.png',
      f'JPEGImages/{second}.jpg\tVOC2012/SegmentationClass/{second}.png',
      f'/JPEGImages/{third}.jpg /SegmentationClassRaw/{third}.png\r',
    )
    # A folder that is there goes before the usual one of the split, which the third line gets.
    self.assert_classes([4, 3, 4], 'trainaug', *lines)
    self.assert_classes([4, 3, 3], 'train_aug', *lines)

  def test_blank_lines_spaces_and_byte_order_mark(self):
    first, second, third = _SIZES
    self.assert_classes([3, 3, 3], 'odd', f'\ufeff{first}', '', f'  {second} \r', ' ', third, '')


class OutputTest(VocTestCase):
  def test_shards_follow_the_list(self):
    calls = []
    made = self.convert(num_shards=2, progress=lambda *counts: calls.append(counts))
    names = ['train-00000-of-00002.tfrecord', 'train-00001-of-00002.tfrecord']
    self.assertEqual(self.written(), names)
    shards = [_ids(f'{self.output}/{name}') for name in names]
    self.assertEqual(shards, [['2007_000039'], ['2007_000032', '2008_000008']])
    self.assertEqual(_ids(made.pattern), list(_SIZES))
    self.assertEqual(made.void_pixels, 2 * (16 + 30 + 18))
    self.assertEqual(calls, [(1, 3), (2, 3), (3, 3)])

  def test_unlabelled(self):
    self.masks.rename(self.root / 'elsewhere')
    made = self.convert(unlabelled=True)
    pattern = f'{self.output}/unlabelled_train-*-of-00001.tfrecord'
    self.assertEqual(made, voc.Converted(pattern, 3, None, None))
    self.assertEqual(_ids(made.pattern), list(_SIZES))
    (path,) = tf.io.gfile.glob(made.pattern)
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
      self.assertEqual(set(tf.train.Example.FromString(record).features.feature), set(_FEATURES))

  def test_patterns_match_files_of_their_own_only(self):
    self.write_list('train-1', '2008_000008')
    self.output /= 'a[0]*'
    made = [self.convert(), self.convert('train-1'), self.convert(unlabelled=True)]
    self.assertEqual([len(tf.io.gfile.glob(each.pattern)) for each in made], [1, 1, 1])
    self.assertEqual([len(_records(each.pattern)) for each in made], [3, 1, 3])
    self.assertIn('train_1-00000-of-00001.tfrecord', self.written())

  def test_folders_that_hold_the_root(self):
    outer = self.root.parent
    self.assertLen(_records(voc.convert(outer, 'train', self.output).pattern), 3)
    (outer / 'VOCdevkit').mkdir()
    self.root.rename(outer / 'VOCdevkit' / 'VOC2012')
    self.assertLen(_records(voc.convert(str(outer), 'val', self.output).pattern), 1)

  def test_after_an_error_only_whole_new_files_are_there(self):
    self.convert(num_shards=3)
    (self.masks / '2007_000032.png').write_bytes(b'')
    with self.assertRaisesRegex(errors.DataError, '2007_000032.png is not a PNG file'):
      self.convert(num_shards=3)
    self.assertEqual(self.written(), ['train-00000-of-00003.tfrecord'])
    self.assertEqual(_ids(f'{self.output}/*'), ['2007_000039'])


class ErrorTest(VocTestCase):
  def assert_error(self, message: str, split='val', kind=errors.DataError, **options) -> None:
    """Converting fails with this message, and leaves no file."""
    with self.assertRaises(kind) as caught:
      self.convert(split, **options)
    self.assertEqual(str(caught.exception), message)
    self.assertEqual(self.written(), [])

  def assert_bad_mask(self, message: str, *images: Image.Image) -> None:
    for image in images:
      image.save(self.mask)
      self.assert_error(f'{self.mask} {message}')

  def test_root(self):
    self.root = self.images
    message = f'{self.root} is not the VOC2012 folder: there is no ImageSets/Segmentation in it, nor in VOC2012 or '
    message += (
      'VOCdevkit/VOC2012 in it. Give the folder that has ImageSets/Segmentation and JPEGImages.'
    )
    self.assert_error(message)

  def test_list_is_missing(self):
    rest = 'txt is missing. Give a split whose list is there'
    for split in ('trainaug', '../Segmentation/val', ''):
      self.assert_error(f'{self.lists}/{split}.{rest} (train, val), or add the list.', split)
    for path in self.lists.iterdir():
      path.unlink()
    self.assert_error(f'{self.lists}/val.{rest} (there is none), or add the list.')

  def test_content_of_a_list(self):
    path = self.lists / 'val.txt'
    self.write_list('val', '', '  ')
    self.assert_error(f'{path} names no image; write one id per line into it.')
    self.write_list('val', '2008_000008', '2007_000032', '2008_000008')
    self.assert_error(f'{path}, line 3: 2008_000008 is in the list already; delete this line.')
    for line in ('a 1', '/JPEGImages/a.jpg', '/JPEGImages/a.jpg /SegmentationClass/b.png', 'a b c'):
      self.write_list('val', '2008_000008', line)
      self.assert_error(
        f'{path}, line 2 is {line!r}; expected an id such as 2007_000032, or the paths of an image and of its mask '
        'such as /JPEGImages/2007_000032.jpg /SegmentationClass/2007_000032.png.'
      )
    path.write_bytes(b'\xff\xfe2')
    with self.assertRaisesRegex(errors.DataError, f'{path} cannot be read as text: .*utf-8'):
      self.convert('val')

  def test_number_of_shards(self):
    where = f'{self.lists}/train.txt'
    for number in (0, 4):
      message = f'The number of shards is {number}; allowed are values from 1 to 3, the number of images in {where}.'
      self.assert_error(message, 'train', errors.ConfigError, num_shards=number)

  def test_missing_files(self):
    for name in ('2007_000032', '2008_000008'):
      (self.masks / f'{name}.png').unlink()
    message = f'{self.masks}/2007_000032.png is missing. Of the 3 masks for {self.lists}/train.txt, 2 are not there. '
    message += 'Give a split whose masks are there (trainaug needs the folder SegmentationClassAug), or write images '
    self.assert_error(f'{message}without masks (unlabelled).', 'train')
    self.image.unlink()
    for unlabelled in (False, True):
      message = f'{self.image} is missing. Of the 3 images for {self.lists}/train.txt, 1 are not there. Unpack all of '
      self.assert_error(f'{message}the data set.', 'train', unlabelled=unlabelled)

  def test_sizes_differ(self):
    message = f'has 30 x 20 pixels (height x width), but the image {self.image} has 18 x 18. Take both from the same '
    self.assert_bad_mask(f'{message}copy of the data set.', _palette_image(_class_map(30, 20)))

  def test_value_of_no_class(self):
    for value in (21, 254):
      class_map = _class_map(18, 18)
      class_map[9, 9] = value
      message = f'has the value {value}; allowed are 0..20 and 255 (void). Take the '
      message += 'masks of classes, from SegmentationClass or SegmentationClassAug.'
      self.assert_bad_mask(message, _palette_image(class_map), Image.fromarray(class_map))

  def test_colour_of_no_class(self):
    class_map, changed = _class_map(18, 18), voc_layout.colour_map().copy()
    changed[7] = (128, 1, 0)
    rest = 'which is neither a class nor void in the colour map of VOC. Take a mask that was neither resized nor '
    rest += 'compressed with loss.'
    images = (_palette_image(class_map, changed), Image.fromarray(changed[class_map]))
    self.assert_bad_mask(f'has the colour (128, 1, 0), {rest}', *images)
    without_colour = _palette_image(class_map, voc_layout.colour_map()[:17])
    self.assert_bad_mask(f'has the colour (255, 255, 255), {rest}', without_colour)

  def test_forms_of_masks_that_are_not_read(self):
    rest = 'expected a palette, 8-bit greyscale or RGB. Save it as 8-bit greyscale with the class ids as values.'
    for mode, bits in (('RGBA', 8), ('1', 1), ('I;16', 16)):
      image = Image.fromarray(_class_map(18, 18)).convert(mode)
      self.assert_bad_mask(f'is a PNG of mode {mode} with {bits} bits; {rest}', image)
    # Grey of 4 bits, which decoders scale by 17: a palette image that has its type and checksum changed.
    _palette_image(_class_map(18, 18) % 16, voc_layout.colour_map()[:16]).save(self.mask)
    content = bytearray(self.mask.read_bytes())
    content[25] = 0
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, 'big')
    self.mask.write_bytes(content)
    self.assert_error(f'{self.mask} is a PNG of mode L with 4 bits; {rest}')

  def test_files_that_are_damaged_or_of_another_format(self):
    for path, form in ((self.mask, 'PNG'), (self.image, 'JPEG')):
      options = {'unlabelled': path == self.image}
      path.write_bytes(path.read_bytes()[:-30])
      message = f'{path} cannot be read: .*[tT]runcated.*. Restore it from the data set.'
      with self.assertRaisesRegex(errors.DataError, message):
        self.convert('val', **options)
      path.write_bytes(b'GIF89a')
      message = f'{path} is not a {form} file. Restore it from the data set.'
      self.assert_error(message, **options)

  def test_output_cannot_be_written(self):
    self.output.touch()
    message = f'{self.output}/val-00000-of-00001.tfrecord cannot be written: .*exists.*permission'
    with self.assertRaisesRegex(errors.DataError, message):
      self.convert('val')


class CommandLineTest(VocTestCase):
  def run_main(self, *arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = voc.main([f'--root={self.root}', f'--output={self.output}', *arguments])
    return status, out.getvalue(), err.getvalue()

  def test_table(self):
    status, out, err = self.run_main('--split=train', '--shards=2')
    lines = [line.split() for line in out.splitlines()]
    expected = ['train', '3', f'{self.output}/train-*-of-00002.tfrecord']
    self.assertEqual((status, lines[2]), (0, expected))
    self.assertEqual(lines[4], ['value', 'class', 'pixels', '%'])
    self.assertEqual([line[1] for line in lines[6:]], [*voc_layout.CLASS_NAMES, 'void'])
    # The images have 24 * 16 + 20 * 30 + 18 * 18 = 1,308 pixels.
    self.assertEqual(sum(int(line[2]) for line in lines[6:]), 1308)
    self.assertEqual(lines[-1], ['255', 'void', '128', '9.786'])
    self.assertIn('train 100%  3/3 images', err)

  def test_unlabelled(self):
    status, out, _ = self.run_main('--split=val', '--unlabelled')
    expected = ['val', '1', f'{self.output}/unlabelled_val-*-of-00001.tfrecord']
    self.assertEqual((status, [line.split() for line in out.splitlines()][2:]), (0, [expected]))

  def test_errors_are_one_line_and_status_2(self):
    status, out, err = self.run_main('--split=val', '--shards=2')
    message = 'The number of shards is 2; allowed are values from 1 to 1, the number of images in'
    self.assertEqual((status, out, err), (2, '', f'error: {message} {self.lists}/val.txt.\n'))


if __name__ == '__main__':
  tf.test.main()
