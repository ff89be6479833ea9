"""Tests for reading images out of files, archives and TFRecord files."""

import gzip
import os
import pathlib
import pickle
import tarfile
import tempfile
import unittest
import zipfile
from unittest import mock

import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.datasets.sources import items, storage

_CONTENTS = {'one.jpg': b'\xff\xd8 first', 'deep/two.png': b'second ' * 500}


class StorageTestCase(unittest.TestCase):
  """Each test has a folder."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.reader = self.enterContext(storage.Reader())

  def path(self, name):
    return str(self.folder / name)

  def write_zip(self, name, contents=None):
    with zipfile.ZipFile(self.path(name), 'w', zipfile.ZIP_DEFLATED) as archive:
      for member, content in (contents or _CONTENTS).items():
        archive.writestr(member, content)
    return self.path(name)

  def write_tar(self, name, mode):
    """A tar archive; where the bytes of each of its files are, by name."""
    for member, content in _CONTENTS.items():
      (self.folder / 'content').mkdir(exist_ok=True)
      (self.folder / 'content' / os.path.basename(member)).write_bytes(content)
    with tarfile.open(self.path(name), mode) as archive:
      for member in _CONTENTS:
        archive.add(self.folder / 'content' / os.path.basename(member), member)
    with tarfile.open(self.path(name)) as archive:
      return {each.name: f'{each.offset_data}:{each.size}' for each in archive}

  def write_records(self, name):
    """A TFRecord file; where each of its records is, by the name of the image."""
    places, offset = {}, 0
    with tf.io.TFRecordWriter(self.path(name)) as writer:
      for member, content in _CONTENTS.items():
        example = tf.train.Example()
        example.features.feature[keys.SOURCE_ID].bytes_list.value.append(member.encode())
        example.features.feature[keys.IMAGE_ENCODED].bytes_list.value.append(content)
        record = example.SerializeToString()
        writer.write(record)
        places[member] = f'{offset}:{len(record)}'
        # 8 bytes of length and 4 of checksum before the data, 4 behind it.
        offset += 16 + len(record)
    return places

  def image(self, archive, name, member=''):
    return items.ImageFile(path=self.path(archive), name=name, member=member)

  def assert_unreadable(self, image, reason):
    with self.assertRaisesRegex(errors.DataError, f'{image.path}.* cannot be read: {reason}'):
      self.reader.read_bytes(image)


class ReadTest(StorageTestCase):
  def test_a_file_is_read_as_it_is(self):
    (self.folder / 'a.jpg').write_bytes(b'bytes')
    self.assertEqual(self.reader.read_bytes(self.image('a.jpg', 'a.jpg')), b'bytes')
    self.assert_unreadable(self.image('b.jpg', 'b.jpg'), 'no such file or directory')

  def test_zip(self):
    self.write_zip('a.zip')
    for name, content in _CONTENTS.items():
      self.assertEqual(self.reader.read_bytes(self.image('a.zip', name, name)), content)
    self.assert_unreadable(self.image('a.zip', 'three', 'three'), 'There is no item named')

  def test_tar_forward_and_backward(self):
    for name, mode in (('a.tar', 'w'), ('a.tgz', 'w:gz'), ('a.tbz', 'w:bz2'), ('a.txz', 'w:xz')):
      with self.subTest(name):
        places = self.write_tar(name, mode)
        for member in (*_CONTENTS, *reversed(_CONTENTS)):
          image = self.image(name, member, places[member])
          self.assertEqual(self.reader.read_bytes(image), _CONTENTS[member])

  def test_records(self):
    places = self.write_records('a.tfrecord')
    for member in (*_CONTENTS, *reversed(_CONTENTS)):
      image = self.image('a.tfrecord', member, places[member])
      self.assertEqual(self.reader.read_bytes(image), _CONTENTS[member])
    self.assert_unreadable(
      self.image('a.tfrecord', 'x', '0:7'),
      r'the record at byte 0 has \d+ bytes of data instead of 7',
    )
    self.assert_unreadable(self.image('a.tfrecord', 'x', '5:7'), 'has a length that its checksum')

  def test_an_archive_that_was_replaced_is_opened_again(self):
    self.write_zip('a.zip')
    self.assertEqual(
      self.reader.read_bytes(self.image('a.zip', 'x', 'one.jpg')), _CONTENTS['one.jpg']
    )
    os.rename(self.write_zip('b.zip', {'one.jpg': b'another'}), self.path('a.zip'))
    self.assertEqual(self.reader.read_bytes(self.image('a.zip', 'x', 'one.jpg')), b'another')

  def test_at_most_8_archives_are_open(self):
    descriptors = pathlib.Path('/proc/self/fd')
    before = len(list(descriptors.iterdir()))
    for n in range(12):
      self.write_zip(f'{n}.zip')
    for n in (*range(12), 0):
      image = self.image(f'{n}.zip', 'x', 'one.jpg')
      self.assertEqual(self.reader.read_bytes(image), _CONTENTS['one.jpg'])
    self.assertEqual(len(list(descriptors.iterdir())), before + 8)
    self.reader.close()
    self.assertEqual(len(list(descriptors.iterdir())), before)

  def test_another_process_gets_a_reader_with_nothing_open(self):
    self.write_zip('a.zip')
    image = self.image('a.zip', 'x', 'one.jpg')
    self.reader.read_bytes(image)
    copied = pickle.loads(pickle.dumps(self.reader))
    self.assertIsNot(copied, self.reader)
    self.assertEqual(copied.read_bytes(image), _CONTENTS['one.jpg'])
    copied.close()
    # Closing the copy leaves the first one open.
    self.assertEqual(self.reader.read_bytes(image), _CONTENTS['one.jpg'])


class DamageTest(StorageTestCase):
  def test_what_is_too_large_for_an_image_is_not_read(self):
    (self.folder / 'a.jpg').write_bytes(bytes(101))
    self.write_zip('a.zip', {'bomb': bytes(101)})
    places = self.write_tar('a.tar', 'w')
    with mock.patch.object(storage, '_MAX_BYTES', 100):
      reason = r'it has \d+ bytes; no image has more than 100'
      self.assert_unreadable(self.image('a.jpg', 'a.jpg'), reason)
      self.assert_unreadable(self.image('a.zip', 'bomb', 'bomb'), reason)
      self.assert_unreadable(self.image('a.tar', 'x', places['deep/two.png']), reason)

  def test_a_damaged_member_of_a_zip(self):
    path = pathlib.Path(self.write_zip('a.zip', {'x': os.urandom(1000)}))
    content = bytearray(path.read_bytes())
    content[500] ^= 255
    path.write_bytes(content)
    self.assert_unreadable(self.image('a.zip', 'x', 'x'), 'Bad CRC-32|Error -3')

  def test_a_tar_that_was_cut_off(self):
    places = self.write_tar('a.tar', 'w')
    offset = int(places['deep/two.png'].partition(':')[0])
    os.truncate(self.path('a.tar'), offset + 3000)
    self.assert_unreadable(
      self.image('a.tar', 'x', places['deep/two.png']), 'the archive ends 500 bytes before it does'
    )

  def test_a_compressed_tar_that_was_cut_off(self):
    places = self.write_tar('a.tgz', 'w:gz')
    os.truncate(self.path('a.tgz'), os.path.getsize(self.path('a.tgz')) - 30)
    self.assert_unreadable(
      self.image('a.tgz', 'x', places['deep/two.png']), 'Compressed file ended before'
    )

  def test_something_else_with_members(self):
    (self.folder / 'a.zip').write_bytes(b'<html>')
    self.assert_unreadable(
      self.image('a.zip', 'x', 'x'),
      'the file that holds it is no zip or tar archive and no TFRecord',
    )


class ContainerTest(StorageTestCase):
  def test_the_content_decides(self):
    self.write_zip('zip.jpg')
    zipfile.ZipFile(self.path('empty.jpg'), 'w').close()
    self.write_tar('tar.jpg', 'w')
    self.write_tar('gz.jpg', 'w:gz')
    self.write_tar('bz.jpg', 'w:bz2')
    self.write_tar('xz.jpg', 'w:xz')
    self.write_records('records.jpg')
    (self.folder / 'image.zip').write_bytes(_CONTENTS['one.jpg'])
    (self.folder / 'nothing.tar').write_bytes(b'')
    kinds = storage.Container
    expected = {
      'zip.jpg': kinds.ZIP, 'empty.jpg': kinds.ZIP, 'tar.jpg': kinds.TAR, 'gz.jpg': kinds.GZIP,
      'bz.jpg': kinds.BZIP2, 'xz.jpg': kinds.XZ, 'records.jpg': kinds.TFRECORD, 'image.zip': None,
      'nothing.tar': None,
    }  # fmt: skip
    self.assertEqual({name: storage.container_of(self.path(name)) for name in expected}, expected)

  def test_a_length_that_looks_like_a_zip_is_a_record(self):
    # 'PK\3\4' as a number of bytes, and the checksum that belongs to it.
    size = int.from_bytes(b'PK\3\4', 'little')
    with tf.io.TFRecordWriter(self.path('a')) as writer:
      writer.write(bytes(size))
    with open(self.path('a'), 'rb') as stream:
      self.assertEqual(stream.read(4), b'PK\3\4')
    self.assertEqual(storage.container_of(self.path('a')), storage.Container.TFRECORD)

  def test_what_is_inside_of_a_compressed_tar(self):
    self.write_tar('a.tgz', 'w:gz')
    with storage.open_tar(self.path('a.tgz'), storage.Container.GZIP) as stream:
      content = stream.read()
    with gzip.open(self.path('a.tgz')) as stream:
      self.assertEqual(content, stream.read())
    self.assertEqual(content[257:262], b'ustar')


if __name__ == '__main__':
  unittest.main()
