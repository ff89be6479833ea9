"""Folders that are whole or absent, and JSON that is written item by item."""

import json
import os
import pathlib
import stat
import tempfile
import unittest

from official_selftrain.core import errors
from official_selftrain.pseudo_labels.exporters import output


class NewFolderTest(unittest.TestCase):
  def setUp(self):
    super().setUp()
    temporary = tempfile.TemporaryDirectory()
    self.addCleanup(temporary.cleanup)
    self.root = pathlib.Path(temporary.name)
    self.path = str(self.root / 'deep' / 'out')

  def _left(self):
    return sorted(str(path.relative_to(self.root)) for path in self.root.rglob('*'))

  def test_it_appears_when_it_is_whole(self):
    with output.new_folder(self.path) as folder:
      folder.write_text('a/b.txt', 'ü\n')
      self.assertFalse(os.path.exists(self.path))
    self.assertEqual(pathlib.Path(self.path, 'a', 'b.txt').read_bytes(), 'ü\n'.encode())
    self.assertEqual(self._left(), ['deep', 'deep/out', 'deep/out/a', 'deep/out/a/b.txt'])

  def test_it_can_be_read_like_any_new_folder(self):
    usual = self.root / 'usual'
    usual.mkdir()
    with output.new_folder(self.path):
      pass
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (self.path, usual)]
    self.assertEqual(modes[0], modes[1])

  def test_an_empty_folder_is_filled(self):
    os.makedirs(self.path)
    with output.new_folder(self.path) as folder:
      folder.write('a', b'1')
    self.assertEqual(os.listdir(self.path), ['a'])

  def test_nothing_is_left_after_an_error_or_an_interrupt(self):
    for error in (errors.DataError('bad record'), KeyboardInterrupt()):
      with self.assertRaises(type(error)), output.new_folder(self.path) as folder:
        folder.open('stream').write('half')
        raise error
      self.assertEqual(self._left(), ['deep'])

  def test_what_is_there_is_refused_and_kept(self):
    os.makedirs(self.path)
    kept = pathlib.Path(self.path, 'mine')
    kept.write_text('1')
    with self.assertRaisesRegex(errors.ConfigError, r'--output: .*out holds files already\. Name'):
      output.check(self.path)
    with self.assertRaisesRegex(errors.ConfigError, 'holds files already'):
      with output.new_folder(self.path):
        self.fail('The folder was opened.')
    with self.assertRaisesRegex(errors.ConfigError, 'mine is not a folder'):
      output.check(str(kept))
    self.assertEqual(kept.read_text(), '1')

  def test_remote_storage_is_refused(self):
    with self.assertRaisesRegex(
      errors.ConfigError, '--output=gs://b/out: the output must be a local .*gs:// cannot do that'
    ):
      output.check('gs://b/out')

  def test_what_appears_meanwhile_is_kept_too(self):
    with self.assertRaisesRegex(errors.ConfigError, 'holds files already'):
      with output.new_folder(self.path) as folder:
        folder.write('a', b'1')
        os.makedirs(self.path)
        pathlib.Path(self.path, 'other').write_text('2')
    self.assertEqual(self._left(), ['deep', 'deep/out', 'deep/out/other'])

  def test_a_place_that_cannot_be_written_is_named(self):
    pathlib.Path(self.root, 'file').write_text('')
    path = str(self.root / 'file' / 'out')
    with self.assertRaisesRegex(errors.DataError, f'--output: cannot write {path}: .* Nothing is'):
      with output.new_folder(path):
        self.fail('The folder was opened.')

  def test_no_file_is_written_twice(self):
    with self.assertRaisesRegex(errors.DataError, 'cannot write .*: File exists'):
      with output.new_folder(self.path) as folder:
        folder.write('a', b'1')
        folder.write('a', b'2')


class StreamTest(unittest.TestCase):
  def _write(self, items):
    with tempfile.TemporaryDirectory() as root:
      path = os.path.join(root, 'out')
      with output.new_folder(path) as folder:
        stream = folder.open('items.json')
        items_list = output.JsonList(stream)
        for item in items:
          items_list.add(item)
        items_list.end()
      return pathlib.Path(path, 'items.json').read_text(encoding='utf-8')

  def test_one_item_to_a_line(self):
    items = [{'b': 1.5, 'a': 'ü "q"'}, [None, True]]
    text = self._write(items)
    self.assertEqual(text, '[\n{"b": 1.5, "a": "ü \\"q\\""},\n[null, true]\n]')
    self.assertEqual(json.loads(text), items)

  def test_an_empty_list(self):
    self.assertEqual(json.loads(self._write([])), [])

  def test_no_json_has_nan(self):
    with self.assertRaises(ValueError):
      output.to_json({'score': float('nan')})

  def test_one_file_is_moved_into_another(self):
    with tempfile.TemporaryDirectory() as root:
      path = os.path.join(root, 'out')
      with output.new_folder(path) as folder:
        whole, part = folder.open('whole'), folder.open('part')
        whole.write('before ')
        part.write('ü\r\npart ')
        part.close()
        folder.move_into('part', whole)
        whole.write('after')
      self.assertEqual(os.listdir(path), ['whole'])
      content = pathlib.Path(path, 'whole').read_bytes()
    self.assertEqual(content, 'before ü\r\npart after'.encode())


if __name__ == '__main__':
  unittest.main()
