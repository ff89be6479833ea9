"""Tests of the program that reads pseudo labels whole."""

import contextlib
import dataclasses
import io
import os
import shutil

import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.pseudo_labels import manifest, shards, verify
from tests.pseudo_labels import unlabelled


class VerifyTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.get_temp_dir(), self.id())
    os.makedirs(self.folder)
    self.labels = os.path.join(self.folder, 'labels')
    self.images = [self._images('a', range(6)), self._images('b', range(6, 11))]
    unlabelled.make_labeller().run(self.images, self.labels)
    self.shard = os.path.join(self.labels, 'b.labels.tfrecord')

  def _images(self, name, numbers):
    return unlabelled.write_images(os.path.join(self.folder, f'{name}.tfrecord'), numbers)

  def _main(self, *more):
    """Status, standard output and standard error of the program."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = verify.main([f'--labels={self.labels}', *more])
    return status, out.getvalue(), err.getvalue()

  def _with_images(self):
    return self._main(f'--images={self.folder}/*.tfrecord')

  def _rewrite(self, change):
    """Changes the records of the second shard, and lets manifest and digest follow."""
    labels = [tf.train.Example.FromString(r.serialized) for r in shards.iterate(self.shard)]
    written = [label.SerializeToString(deterministic=True) for label in change(labels)]
    digest = shards.write(self.shard, written)
    result = manifest.read_marker(self.shard)
    entry = dataclasses.replace(
      result.entry, label_sha256=digest, label_bytes=os.path.getsize(self.shard)
    )
    first = manifest.read_marker(os.path.join(self.labels, 'a.labels.tfrecord'))
    provenance = manifest.Manifest.load(self.labels).provenance
    results = [first, dataclasses.replace(result, entry=entry)]
    manifest.save(self.labels, unlabelled.label_format(), provenance, results)

  def assert_fault(self, found, pattern):
    status, out, err = found
    self.assertEqual(status, 2)
    self.assertRegex(err, rf'^error: 1 of 2 label shards in .* The first, b\.labels\.tf.*{pattern}')
    self.assertRegex(out.splitlines()[3], pattern)
    self.assertRegex(out.splitlines()[2], r'a\.labels\.tfrecord .* as written')

  def test_table(self):
    status, out, err = self._main()
    self.assertEqual((status, err), (0, ''))
    rows = [line.split() for line in out.splitlines()]
    self.assertEqual(
      rows[0], ['label', 'shard', 'records', 'labelled', 'empty', 'dead', 'MB', 'state']
    )
    self.assertEqual(rows[2][:5], ['a.labels.tfrecord', '6', '4', '2', '0'])
    self.assertEqual(rows[3][:5], ['b.labels.tfrecord', '5', '4', '1', '0'])
    self.assertEqual(rows[2][6:], ['as', 'written'])
    status, out, err = self._with_images()
    self.assertEqual((status, err), (0, ''))
    self.assertEqual(out.count('as written, fits its images'), 2)

  def test_same_size_and_date_is_found(self):
    date = os.stat(self.shard).st_mtime_ns
    unlabelled.change_content(self.shard)
    unlabelled.set_date(self.shard, date)
    self.assert_fault(self._main(), r'is not the file that was written \(its SHA-256 differs\)')

  def test_missing_shard(self):
    os.remove(self.shard)
    self.assert_fault(self._main(), 'is missing')

  def test_counts(self):
    def make_dead(labels):
      labels[1].features.feature[keys.LABEL_STATUS].bytes_list.value[0] = b'dead'
      return labels

    self._rewrite(make_dead)
    self.assert_fault(
      self._main(),
      r'has 5 records \(3 labelled, 1 empty, 1 dead\), but the manifest says 5 \(4, 1, 0\)',
    )

  def test_order_within_the_shard(self):
    self._rewrite(lambda labels: labels[::-1])
    self.assert_fault(self._main(), 'has the label of image 4 at place 0')

  def test_a_record_is_missing(self):
    self._rewrite(lambda labels: labels[:4])
    self.assert_fault(self._main(), r'has 4 records \(3 labelled, 1 empty, 0 dead\), but .* 5 \(4')

  def test_images_with_other_ids(self):
    records = [unlabelled.record(unlabelled.png(i), f'no-{i}') for i in range(6, 10)]
    records.append(unlabelled.record(unlabelled.png(10), 'no-010'[:5]))
    size = os.path.getsize(self.images[1])
    unlabelled.write(self.images[1], records)
    self.assertEqual(os.path.getsize(self.images[1]), size)
    self.assertEqual(self._main()[0], 0)
    self.assert_fault(
      self._with_images(), "labels of id 'id-6' at place 0, where the image has id 'no-6'"
    )

  def test_images_with_the_same_id_and_other_pixels(self):
    # Two images of one size change places and keep their ids.
    size = os.path.getsize(self.images[1])
    numbers = [6, 8, 7, 9, 10]
    records = [
      unlabelled.record(unlabelled.png(number), f'id-{place}')
      for place, number in enumerate(numbers, start=6)
    ]
    unlabelled.write(self.images[1], records)
    self.assertEqual(os.path.getsize(self.images[1]), size)
    self.assert_fault(
      self._with_images(), r"was made from another image than the one at place 1 \(id 'id-7'\)"
    )

  def test_records_that_are_no_images(self):
    first = next(shards.iterate(self.images[1])).serialized
    junk = b'\xff' * len(first)
    rest = [record.serialized for record in shards.iterate(self.images[1])][1:]
    unlabelled.write(self.images[1], [junk, *rest])
    self.assert_fault(
      self._with_images(), 'has labels of records that hold no image, among those from 0'
    )

  def test_files_of_images(self):
    self._images('c', [1])
    status, _, err = self._with_images()
    self.assertEqual(status, 2)
    self.assertRegex(err, 'There are 3 image files, but 2 label shards in .*Give --images the')
    status, out, _ = self._main(f'--images={self.images[1]},{self.images[0]}')
    self.assertEqual(status, 2)
    self.assertRegex(out, r'is about a\.tfrecord, but is paired with b\.tfrecord')
    status, _, err = self._main('--images=nowhere*')
    self.assertEqual(status, 2)
    self.assertRegex(err, "--images: no file matches 'nowhere\\*'")

  def test_image_shard_of_another_size(self):
    self._images('b', range(6, 10))
    self.assert_fault(self._with_images(), r'is about \d+ bytes of images, but .*b\.tfrecord has')

  def test_dead_letters_need_no_image(self):
    records = [unlabelled.record(unlabelled.png(i), f'id-{i}') for i in range(4)]
    records[1] = unlabelled.record(b'junk', None)
    unlabelled.write(self.images[0], records)
    unlabelled.flip_bit(self.images[1], unlabelled.record_offset(self.images[1], 3) + 20)
    # Damage after labelling is distinguished from damage that labelling has met.
    self.assertRegex(self._with_images()[1], 'labels of image 3, which cannot be read: checksum')
    shutil.rmtree(self.labels)
    unlabelled.make_labeller().run(self.images, self.labels)
    status, out, err = self._with_images()
    self.assertEqual((status, err), (0, ''))
    self.assertEqual(out.splitlines()[2].split()[1:5], ['4', '2', '1', '1'])
    self.assertEqual(out.splitlines()[3].split()[1:5], ['5', '3', '1', '1'])

  def test_no_manifest(self):
    os.remove(os.path.join(self.labels, manifest.FILE_NAME))
    status, out, err = self._main()
    self.assertEqual((status, out), (2, ''))
    self.assertRegex(err, 'manifest.json does not exist')


if __name__ == '__main__':
  tf.test.main()
