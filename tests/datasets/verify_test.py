"""Tests for the check of a prepared data set."""

import contextlib
import io
import json
import pathlib
import shutil
import tempfile
import unittest

import tensorflow as tf

from official_selftrain.core import dataset_card
from official_selftrain.datasets import verify
from tests.datasets import prepared


class VerifyTest(unittest.TestCase):
  """Each test has a copy of a prepared data set."""

  def setUp(self):
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()), 'data')
    reference, _ = prepared.reference()
    shutil.copytree(reference, self.folder)
    self.file = next(self.folder.glob('labelled-*.tfrecord'))

  def run_it(self) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = verify.main([f'--dataset={self.folder}'])
    return status, out.getvalue(), err.getvalue()

  def assert_wrong(self, expected: str) -> None:
    faults = dict(verify.verify(self.folder))
    self.assertRegex(faults.pop(self.file.name), expected)
    self.assertEqual(set(faults.values()), {''})
    status, out, err = self.run_it()
    self.assertEqual(status, 2)
    self.assertRegex(out, f'{self.file.name} .*{expected}')
    self.assertIn(f'are not as they were written; the first is {self.file.name}.', err)

  def test_a_data_set_as_it_was_written(self):
    sets = dataset_card.read(self.folder).sets()
    names = [*sets['labelled'].files, *sets['validation'].files, 'validation.json']
    self.assertEqual(list(verify.verify(self.folder)), [(name, '') for name in names])
    status, out, err = self.run_it()
    self.assertEqual((status, err), (0, ''))
    self.assertEqual(out.count('as written'), len(names))

  def test_a_flipped_byte_and_a_missing_end(self):
    content = self.file.read_bytes()
    place = len(content) // 2
    self.file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    self.assert_wrong('corrupted record')
    self.file.write_bytes(content[:-20])
    self.assert_wrong('truncated|corrupted')

  def test_other_annotations(self):
    self.file = self.folder / 'validation.json'
    self.file.write_text(self.file.read_text().replace('"category_id": 1', '"category_id": 2', 1))
    self.assert_wrong('has another content than the data card says')

  def test_a_card_without_digests_of_annotations(self):
    card = json.loads((self.folder / dataset_card.FILE_NAME).read_text())
    for each in ('labelled', 'validation'):
      del card[each]['annotation_digest']
    (self.folder / dataset_card.FILE_NAME).write_text(json.dumps(card))
    (self.folder / 'validation.json').write_text('{}')
    found = dict(verify.verify(self.folder))
    self.assertNotIn('validation.json', found)
    self.assertEqual(set(found.values()), {''})

  def test_records_of_another_run(self):
    records = list(tf.data.TFRecordDataset(str(self.file)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(self.file)) as writer:
      for record in reversed(records):
        writer.write(record)
    self.assert_wrong('has other records than the data card says')

  def test_records_that_are_no_examples(self):
    with tf.io.TFRecordWriter(str(self.file)) as writer:
      writer.write(b'no example')
    self.assert_wrong('[Ee]rror parsing')

  def test_no_data_set(self):
    (self.folder / dataset_card.FILE_NAME).unlink()
    status, _, err = self.run_it()
    self.assertEqual(status, 2)
    self.assertIn('has no dataset.json', err)


if __name__ == '__main__':
  unittest.main()
