"""Images without annotations: folders, patterns, lists, archives and TFRecord files."""

import io
import pathlib
import struct
import tarfile
import tempfile
import unittest
import zipfile

from official_selftrain.core import errors
from official_selftrain.datasets import faults
from official_selftrain.datasets.sources import image_sets, items, storage, tf_records


def _record(features):
  """A TFRecord with a `tf.Example` of byte features, written from the definition of the formats."""

  def field(number, content):
    return bytes([number << 3 | 2]) + _varint(len(content)) + content

  entries = b''
  for name, value in features.items():
    feature = field(1, field(1, value))
    entries += field(1, field(1, name.encode()) + field(2, feature))
  data = field(1, entries)
  length = struct.pack('<Q', len(data))
  crc = struct.pack('<I', tf_records._masked_crc(length))
  return length + crc + data + struct.pack('<I', tf_records._masked_crc(data))


def _varint(number):
  out = b''
  while number > 0x7F:
    out += bytes([number & 0x7F | 0x80])
    number >>= 7
  return out + bytes([number])


class ImageSetsTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.root = pathlib.Path(folder.name)

  def _put(self, name, content=b'x'):
    path = self.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)

  def _names(self, path):
    source = image_sets.open_source(path)
    self.assertIs(source.task, items.Task.NONE)
    self.assertEqual((source.class_names, dict(source.mask_values)), ((), {}))
    first, second = ([i.image.name for i in source.items()] for _ in range(2))
    self.assertEqual(first, second)
    return first

  def _contents(self, path):
    with storage.Reader() as reader:
      return [reader.read_bytes(i.image) for i in image_sets.open_source(path).items()]

  def test_a_folder_with_its_folders(self):
    for name in ('b.jpg', 'a/c.PNG', 'a/notes.txt', '.hidden/x.jpg', 'a/.y.jpg'):
      self._put(name)
    self.assertEqual(self._names(str(self.root)), ['a/c.PNG', 'b.jpg'])

  def test_a_pattern_of_images(self):
    for name in ('p/2.jpg', 'p/1.jpg', 'p/1.txt', 'q/3.jpg'):
      self._put(name)
    self.assertEqual(self._names(str(self.root / 'p/*.jpg')), ['1.jpg', '2.jpg'])
    self.assertEqual(self._names(str(self.root / '**/*.jpg')), ['p/1.jpg', 'p/2.jpg', 'q/3.jpg'])

  def test_one_image(self):
    self.assertEqual(self._names(self._put('only.jpg')), ['only.jpg'])

  def test_a_list_names_images_relative_to_itself(self):
    self._put('pics/a.jpg')
    path = self._put('list.txt', b'# mine\n\npics/a.jpg\npics/gone.jpg\n')
    found = list(image_sets.open_source(path).items())
    self.assertEqual([i.image.name for i in found], ['pics/a.jpg', 'pics/gone.jpg'])
    self.assertEqual(found[0].faults, ())
    self.assertEqual([f.kind for f in found[1].faults], [faults.Kind.MISSING])
    self.assertIn('gone.jpg', found[1].faults[0].detail)

  def test_a_zip_archive(self):
    path = str(self.root / 'a.zip')
    with zipfile.ZipFile(path, 'w') as archive:
      for name in ('d/2.jpg', '1.png', '__MACOSX/d/._2.jpg', 'd/.x.jpg', 'read.me', '../up.jpg'):
        archive.writestr(name, name)
    found = list(image_sets.open_source(path).items())
    self.assertEqual([i.image.name for i in found], ['d/2.jpg', '1.png', '../up.jpg'])
    kinds = [[f.kind for f in i.faults] for i in found]
    self.assertEqual(kinds, [[], [], [faults.Kind.NAME]])
    self.assertEqual(self._contents(path), [b'd/2.jpg', b'1.png', b'../up.jpg'])

  def test_tar_archives(self):
    for mode, name in (('w', 'a.tar'), ('w:gz', 'a.tar.gz'), ('w:bz2', 'a.tbz'), ('w:xz', 'a.txz')):
      path = str(self.root / name)
      with tarfile.open(path, mode) as archive:
        for member in ('./z.jpg', 'm/a.png', 'm/readme', '/abs.jpg'):
          info = tarfile.TarInfo(member)
          info.size = len(member)
          archive.addfile(info, io.BytesIO(member.encode()))
      with self.subTest(name):
        found = list(image_sets.open_source(path).items())
        self.assertEqual([i.image.name for i in found], ['z.jpg', 'm/a.png', '/abs.jpg'])
        self.assertEqual([f.kind for f in found[2].faults], [faults.Kind.NAME])
        self.assertEqual(self._contents(path), [b'./z.jpg', b'm/a.png', b'/abs.jpg'])

  def test_tfrecord_files(self):
    first = {'image/encoded': b'one', 'image/source_id': b'id-1'}
    self._put('u-0.tfrecord', _record(first) + _record({'image/encoded': b'two'}))
    self._put('u-1.tfrecord', _record({'image/source_id': b'none'}))
    pattern = str(self.root / 'u-*.tfrecord')
    found = list(image_sets.open_source(pattern).items())
    self.assertEqual([i.image.name for i in found], ['id-1', 'u-0.tfrecord:1', 'none'])
    self.assertEqual([i.source_id for i in found], ['id-1', '', 'none'])
    self.assertEqual([f.kind for f in found[2].faults], [faults.Kind.NOT_AN_IMAGE])
    with storage.Reader() as reader:
      self.assertEqual([reader.read_bytes(i.image) for i in found[:2]], [b'one', b'two'])
    self.assertEqual(self._names(str(self.root / 'u-0.tfrecord')), ['id-1', 'u-0.tfrecord:1'])

  def test_what_holds_no_image(self):
    self._put('e/notes.md')
    with zipfile.ZipFile(self.root / 'e.zip', 'w') as archive:
      archive.writestr('notes.md', 'x')
    cases = {
      str(self.root / 'nowhere'): 'does not exist. Check the path',
      str(self.root / 'e'): 'has no image in it',
      str(self.root / 'e' / '*.jpg'): 'has no image in it. Images end with .jpg',
      str(self.root / 'e.zip'): 'has no image in it',
      str(self.root / 'e' / 'notes.md'): r'is no image, list \(.txt\), zip or tar archive',
    }
    for path, message in cases.items():
      with self.subTest(path), self.assertRaisesRegex(errors.DataError, message):
        image_sets.open_source(path)

  def test_a_damaged_archive_is_named(self):
    path = self._put('a.zip', b'PK\3\4' + b'junk' * 20)
    with self.assertRaisesRegex(errors.DataError, r'a\.zip cannot be read as an archive'):
      image_sets.open_source(path)


if __name__ == '__main__':
  unittest.main()
