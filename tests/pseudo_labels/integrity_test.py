"""What the start of a run sees of changed label shards, and what it does not read."""

import os
import shutil
from unittest import mock

import tensorflow as tf

from official_selftrain.core import console, errors, files
from official_selftrain.pseudo_labels import integrity, manifest, reader, shards
from tests.pseudo_labels import unlabelled

_SECOND = 10**9


class CheckDatesTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.get_temp_dir(), self.id())
    os.makedirs(self.folder)
    self.labels = os.path.join(self.folder, 'labels')
    self.images = [
      unlabelled.write_images(os.path.join(self.folder, f'{name}.tfrecord'), numbers)
      for name, numbers in (('a', range(6)), ('b', range(6, 11)))
    ]
    unlabelled.make_labeller().run(self.images, self.labels)
    self.shards = [os.path.join(self.labels, shards.label_shard_name(p)) for p in self.images]

  def _check(self):
    """The names of the shards that were hashed, and the lines that were said."""
    hashed, said = [], []
    real = files.sha256

    def sha256(path):
      hashed.append(os.path.basename(path))
      return real(path)

    with (
      mock.patch.object(files, 'sha256', sha256),
      mock.patch.object(console, 'note', said.append),
    ):
      reader.check_labels_match(self.images, self.labels)
    return hashed, said

  def test_nothing_is_hashed_after_labelling(self):
    self.assertEqual(self._check(), ([], []))

  def test_same_size_other_content_and_newer_date_is_found(self):
    marker = os.stat(manifest.marker_path(self.shards[1])).st_mtime_ns
    unlabelled.change_content(self.shards[1])
    unlabelled.set_date(self.shards[1], marker + 1)
    for _ in range(2):  # It is not forgotten.
      with self.assertRaisesRegex(
        errors.LabelMismatchError,
        r'b\.labels\.tfrecord of b\.tfrecord is not the file that was written \(its SHA-256 differs\).*again',
      ):
        self._check()

  def test_same_size_and_date_is_left_to_verify(self):
    unlabelled.change_content(self.shards[1])
    unlabelled.set_date(self.shards[1], os.stat(manifest.marker_path(self.shards[1])).st_mtime_ns)
    self.assertEqual(self._check(), ([], []))

  def test_a_copy_without_dates_is_hashed_once(self):
    moved = self.labels + '-copy'
    shutil.copytree(self.labels, moved, copy_function=shutil.copyfile)
    self.labels = moved
    copies = [os.path.join(moved, os.path.basename(path)) for path in self.shards]
    # Files are copied in any order: here one shard after its marker, and one before.
    for path, later in zip(copies, (5 * _SECOND, -5 * _SECOND), strict=True):
      unlabelled.set_date(path, os.stat(manifest.marker_path(path)).st_mtime_ns + later)
    hashed, said = self._check()
    self.assertEqual(hashed, ['a.labels.tfrecord'])
    self.assertRegex(said[0], r'1 of 2 label shards in .*-copy are newer than their markers.*GB')
    self.assertLen(said, 1)
    self.assertEqual(self._check(), ([], []))
    # What is changed after that is found all the same.
    date = os.stat(copies[0]).st_mtime_ns
    unlabelled.change_content(copies[0])
    unlabelled.set_date(copies[0], date + 1)
    with self.assertRaisesRegex(errors.LabelMismatchError, 'SHA-256 differs'):
      self._check()

  def test_without_a_marker_the_date_of_the_manifest_counts(self):
    for path in self.shards:
      os.remove(manifest.marker_path(path))
    self.assertEqual(self._check(), ([], []))
    known = os.stat(os.path.join(self.labels, manifest.FILE_NAME)).st_mtime_ns
    unlabelled.set_date(self.shards[0], known + _SECOND)
    for _ in range(2):
      self.assertEqual(self._check()[0], ['a.labels.tfrecord'])

  def test_size_is_compared_first(self):
    entry = manifest.Manifest.load(self.labels).shards[0]
    self.assertIsNone(integrity.size_fault(self.shards[0], entry))
    with open(self.shards[0], 'ab') as stream:
      stream.write(b'more')
    expected = f'has {entry.label_bytes + 4} bytes, but {entry.label_bytes} were written'
    self.assertEqual(integrity.size_fault(self.shards[0], entry), expected)
    with self.assertRaisesRegex(
      errors.LabelMismatchError, f'a.labels.tfrecord of a.tfrecord {expected}'
    ):
      self._check()
    os.remove(self.shards[0])
    self.assertEqual(integrity.size_fault(self.shards[0], entry), 'is missing')


if __name__ == '__main__':
  tf.test.main()
