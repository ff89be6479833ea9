"""Tests for files that are either whole or absent."""

import hashlib
import json
import os
import pathlib
import tempfile
import unittest
from unittest import mock

from official_selftrain.core import files


class FilesTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def test_text_appears_whole_in_a_new_folder(self):
    path = self.folder / 'new' / 'deep' / 'a.txt'
    files.write_text(path, 'grüße\n')
    self.assertEqual(path.read_bytes(), 'grüße\n'.encode())
    self.assertEqual(os.listdir(path.parent), ['a.txt'])

  def test_bytes_replace_the_old_file(self):
    path = self.folder / 'a.bin'
    files.write_bytes(path, b'a long first version')
    files.write_bytes(path, b'new')
    self.assertEqual(path.read_bytes(), b'new')

  def test_a_failed_write_leaves_the_old_file(self):
    path = self.folder / 'a.bin'
    files.write_bytes(path, b'old')
    with mock.patch.object(os, 'fsync', side_effect=OSError('disk full')):
      with self.assertRaisesRegex(OSError, 'disk full'):
        files.write_bytes(path, b'new')
    self.assertEqual(path.read_bytes(), b'old')

  def test_json_round_trip_is_sorted_and_ends_with_a_newline(self):
    path = self.folder / 'a.json'
    value = {'b': [1, 2.5, None], 'a': {'y': True, 'x': 'ü'}}
    files.write_json(path, value)
    self.assertEqual(files.read_json(path), value)
    self.assertEqual(list(json.loads(path.read_text(encoding='utf-8'))), ['a', 'b'])
    self.assertTrue(path.read_text(encoding='utf-8').endswith('}\n'))

  def test_json_refuses_what_readers_cannot_parse(self):
    path = self.folder / 'a.json'
    for number in (float('nan'), float('inf')):
      with self.assertRaisesRegex(ValueError, 'not JSON compliant'):
        files.write_json(path, {'loss': number})
    self.assertFalse(path.exists())

  def test_publish_renames_the_temporary_file(self):
    path = self.folder / 'shard'
    temporary = files.temporary_path(path)
    self.assertEqual(pathlib.Path(temporary).parent, self.folder)
    pathlib.Path(temporary).write_bytes(b'records')
    self.assertFalse(path.exists())
    files.publish(path)
    self.assertEqual(path.read_bytes(), b'records')
    self.assertFalse(os.path.exists(temporary))

  def test_sha256_over_several_chunks(self):
    path = self.folder / 'big'
    content = bytes(range(256)) * 5000  # 1.28 MB: more than one chunk of 1 MiB.
    path.write_bytes(content)
    self.assertEqual(files.sha256(path), hashlib.sha256(content).hexdigest())
    path.write_bytes(b'abc')
    # The example of FIPS 180-4.
    self.assertEqual(
      files.sha256(path), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    )

  def test_digest_does_not_depend_on_the_order_of_keys(self):
    self.assertEqual(
      files.digest_of({'a': 1, 'b': {'c': 2, 'd': 3}}),
      files.digest_of({'b': {'d': 3, 'c': 2}, 'a': 1}),
    )
    self.assertNotEqual(files.digest_of({'a': 1}), files.digest_of({'a': 2}))
    self.assertNotEqual(files.digest_of([1, 2]), files.digest_of([2, 1]))


if __name__ == '__main__':
  unittest.main()
