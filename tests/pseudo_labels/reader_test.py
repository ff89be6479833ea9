"""Tests of official_selftrain.pseudo_labels.reader."""

import dataclasses
import os
import shutil
from unittest import mock

import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.dataloaders import record_order
from official_selftrain.pseudo_labels import cuts, labeller, manifest, reader, shards
from tests.pseudo_labels import unlabelled

_ALL = cuts.Cuts(0.05)


class _Case(tf.test.TestCase):
  """Two shards in a folder of their own for each test."""

  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.get_temp_dir(), self.id())
    os.makedirs(self.folder)
    self.labels = os.path.join(self.folder, 'labels')
    self.images = [self._images('a.tfrecord', range(6)), self._images('b.tfrecord', range(6, 11))]

  def _images(self, name, numbers):
    return unlabelled.write_images(os.path.join(self.folder, name), numbers)

  def _label(self):
    return unlabelled.make_labeller().run(self.images, self.labels)

  def _label_files(self):
    return [os.path.join(self.labels, shards.label_shard_name(image)) for image in self.images]


class ReaderTest(_Case):
  def _read(self, some=_ALL):
    dataset = reader.read_pairs(self.images, self.labels, unlabelled.label_format(), some)
    return list(dataset.as_numpy_iterator())

  def _join(self, pairs):
    label_format = unlabelled.label_format()
    return pairs.map(lambda image, label: reader.join(image, label, label_format, _ALL))

  def test_each_image_comes_with_its_labels(self):
    self._label()
    examples = self._read()
    self.assertEqual([e[keys.SOURCE_ID] for e in examples], [b'id-%d' % i for i in range(11)])
    for number, example in enumerate(examples):
      self.assertEqual(example[keys.IMAGE_ENCODED], unlabelled.png(number))
      self.assertEqual((example[keys.IMAGE_HEIGHT], example[keys.IMAGE_WIDTH]), (16, 24))
      scores = unlabelled.SCORES[: number % 4]
      self.assertAllEqual(example[keys.GROUNDTRUTH_SCORES], scores)
      self.assertAllEqual(example[keys.GROUNDTRUTH_CLASSES], [1, 2, 3][: number % 4])
      self.assertAllEqual(example[keys.GROUNDTRUTH_IS_IGNORED], [False] * (number % 4))
    # The second box of the fake teacher, in square pixels: half of 16 by three quarters of 24.
    self.assertAllEqual(examples[2][keys.GROUNDTRUTH_AREA], [8 * 12, 8 * 18])

  def test_cut_and_ignore_band(self):
    self._label()
    example = self._read(cuts.Cuts(0.5, ignore_cut=0.25))[3]
    self.assertAllEqual(example[keys.GROUNDTRUTH_SCORES], [0.75, 0.5, 0.25])
    self.assertAllEqual(example[keys.GROUNDTRUTH_IS_IGNORED], [False, False, True])
    self.assertAllEqual(self._read(cuts.Cuts(0.5))[3][keys.GROUNDTRUTH_SCORES], [0.75, 0.5])

  def test_keep_empty(self):
    self._label()
    without = self._read(cuts.Cuts(0.5, ignore_cut=0.2, keep_empty=False))
    ids = [b'id-%d' % number for number in range(11) if number % 4]
    self.assertEqual([example[keys.SOURCE_ID] for example in without], ids)
    # Images 3 and 7 are the only ones with a class 3; at 0.3 its box is ignored, no object.
    only_three = cuts.Cuts(0.9, ignore_cut=0.2, per_class={3: 0.25}, keep_empty=False)
    self.assertEqual([e[keys.SOURCE_ID] for e in self._read(only_three)], [b'id-3', b'id-7'])

  def test_has_objects_needs_the_label_only(self):
    self._label()
    records = [r.serialized for r in shards.iterate(self._label_files()[0])]
    label_format = unlabelled.label_format()
    found = [bool(reader.has_objects(r, label_format, cuts.Cuts(0.6, 0.2))) for r in records]
    self.assertEqual(found, [False, True, True, True, False, True])

  def test_dead_letters_are_left_out(self):
    records = [unlabelled.record(unlabelled.png(i), f'id-{i}') for i in range(4)]
    records[1] = unlabelled.record(b'junk', 'id-1')
    unlabelled.write(self.images[0], records)
    self._label()
    ids = [b'id-%d' % number for number in (0, 2, 3, 6, 7, 8, 9, 10)]
    self.assertEqual([example[keys.SOURCE_ID] for example in self._read()], ids)

  def test_damaged_image_shards_pair_correctly(self):
    unlabelled.flip_bit(self.images[0], unlabelled.record_offset(self.images[0], 2) + 20)
    unlabelled.flip_bit(self.images[1], unlabelled.record_offset(self.images[1], 3))
    self._label()
    ids = [b'id-%d' % number for number in (0, 1, 3, 4, 5, 6, 7, 8)]
    self.assertEqual([example[keys.SOURCE_ID] for example in self._read()], ids)

  def test_whole_image_shards_are_read_by_tensorflow_alone(self):
    self._label()
    with mock.patch.object(reader, '_surviving_records', side_effect=AssertionError('slow')):
      pairs = list(reader.pair_files(self.images[0], self._label_files()[0]))
      self.assertNotEmpty(pairs)
      with self.assertRaisesRegex(tf.errors.UnknownError, 'slow'):
        list(reader.pair_files(self.images[0], self._label_files()[0], True))

  def test_pair_files_inside_interleave(self):
    for damaged in (False, True):
      with self.subTest(damaged=damaged):
        if damaged:
          unlabelled.flip_bit(self.images[1], unlabelled.record_offset(self.images[1], 1) + 20)
          shutil.rmtree(self.labels)
        self._label()
        pairs = tf.data.Dataset.from_tensor_slices((self.images, self._label_files())).interleave(
          lambda image, label, damaged=damaged: reader.pair_files(image, label, damaged),
          cycle_length=2,
          num_parallel_calls=2,
          deterministic=True,
        )
        ids = [example[keys.SOURCE_ID] for example in self._join(pairs)]
        first, second = [0, 1, 2, 3, 4, 5], [6, 8, 9, 10] if damaged else [6, 7, 8, 9, 10]
        expected = [n for both in zip(first, second, strict=False) for n in both]
        expected += first[len(second) :]
        self.assertAllEqual(ids, [b'id-%d' % number for number in expected])

  def test_a_stream_of_pairs_starts_in_the_middle(self):
    for number, damaged in ((0, False), (1, True)):
      if damaged:
        unlabelled.flip_bit(self.images[1], unlabelled.record_offset(self.images[1], 1) + 20)
        shutil.rmtree(self.labels)
      self._label()
      for some, counts in (
        (cuts.Cuts(0.05), ([6, 5], [6, 4])),
        (cuts.Cuts(0.5, ignore_cut=0.2, keep_empty=False), ([4, 4], [4, 3])),
      ):
        files = reader.PairedFiles(
          self.images, self._label_files(), unlabelled.label_format(), some, damaged
        )
        self.assertEqual([files.usable(each).sum() for each in (0, 1)], counts[number])
        options = record_order.StreamOptions(seed=3, shuffle_buffer_size=3)
        whole = self._serialized(files, options, 30)
        late = dataclasses.replace(options, start=20)
        self.assertEqual(self._serialized(files, late, 10), whole[20:])

  def test_a_late_start_without_reading_labels(self):
    unlabelled.write(
      self.images[0],
      [unlabelled.record(b'junk' if i == 1 else unlabelled.png(i), f'id-{i}') for i in range(4)],
    )
    entries = self._label().shards
    self.assertEqual([(entry.records, entry.dead) for entry in entries], [(4, 1), (5, 0)])
    some = (_ALL, cuts.Cuts(0.5, ignore_cut=0.2, keep_empty=False))
    read = [self._paired(each) for each in some]
    known = [self._paired(each, entries) for each in some]
    # The fake teacher finds nothing in images 0 and 8.
    masks = (
      ([True, False, True, True], [True] * 5),
      ([False, False, True, True], [True, True, False, True, True]),
    )
    for ours, theirs, expected in zip(known, read, masks, strict=True):
      for index in (0, 1):
        self.assertAllEqual(ours.usable(index), expected[index])
        self.assertAllEqual(theirs.usable(index), expected[index])
        self.assertEqual(ours.usable(index).dtype, bool)
    for path in self._label_files():
      os.remove(path)
    self.assertAllEqual(known[0].usable(1), [True] * 5)
    # One has a dead letter, the others leave out images without an object.
    for files, index in ((known[0], 0), (known[1], 1), (read[0], 1)):
      with self.assertRaises(tf.errors.NotFoundError):
        files.usable(index)

  def _paired(self, some, entries=()):
    return reader.PairedFiles(
      self.images, self._label_files(), unlabelled.label_format(), some, entries=entries
    )

  def test_images_with_a_url(self):
    written = self._label()
    local = self._read()
    self.assertLen(local, 11)
    copies = [f'ram://{self.id()}/{os.path.basename(path)}' for path in self.images]
    for path, copy in zip(self.images, copies, strict=True):
      tf.io.gfile.copy(path, copy)
      os.remove(path)
    self.images = copies
    labelled = unlabelled.make_labeller().run(copies, self.labels + '-remote')
    self.assertEqual(labelled.shards, written.shards)
    for ours, theirs in zip(self._read(), local, strict=True):
      self.assertAllEqual(ours[keys.GROUNDTRUTH_BOXES], theirs[keys.GROUNDTRUTH_BOXES])
      for name in (keys.IMAGE_ENCODED, keys.SOURCE_ID):
        self.assertEqual(ours[name], theirs[name])

  def _serialized(self, files, options, count):
    return list(record_order.ordered(files, options).take(count).as_numpy_iterator())

  def test_swapped_shards_are_a_mismatch_at_the_first_record(self):
    self._label()
    joined = self._join(reader.pair_files(self.images[0], self._label_files()[1]))
    with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
      next(iter(joined))
    error = reader.mismatch_error(caught.exception)
    self.assertIsInstance(error, errors.LabelMismatchError)
    self.assertRegex(
      str(error),
      "image with id 'id-0' is read with the pseudo labels of id 'id-6', record 0 of its shard.*"
      'delete the labels and write them again',
    )

  def test_reordered_records_are_a_mismatch(self):
    self._label()
    self._images('a.tfrecord', [0, 2, 1, 3, 4, 5])
    reader.check_labels_match(self.images, self.labels)  # Same name, same size: not seen here ...
    with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
      self._read()  # ... but here.
    self.assertRegex(str(reader.mismatch_error(caught.exception)), "'id-2' is read .* of id 'id-1'")

  def test_other_errors_are_no_mismatch(self):
    self.assertIsNone(reader.mismatch_error(ValueError('something else')))

  def test_a_mismatch_is_recognised_through_a_training_step(self):
    self._label()
    pairs = reader.pair_files(self.images[0], self._label_files()[1])
    batched = self._join(pairs).map(lambda example: example[keys.IMAGE_ENCODED]).batch(2)

    @tf.function
    def step(iterator):
      return tf.shape(next(iterator))

    with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
      step(iter(batched))
    self.assertIsNotNone(reader.mismatch_error(caught.exception))


class CheckLabelsMatchTest(_Case):
  def assert_refused(self, message):
    with self.assertRaisesRegex(errors.LabelMismatchError, f'(?s){message}.*write the labels in'):
      reader.check_labels_match(self.images, self.labels)

  def test_matching_labels_give_the_manifest(self):
    written = self._label()
    self.assertEqual(reader.check_labels_match(self.images, self.labels), written)

  def test_no_manifest(self):
    with self.assertRaisesRegex(errors.DataError, 'manifest.json does not exist'):
      reader.check_labels_match(self.images, self.labels)

  def test_other_order(self):
    self._label()
    self.images.reverse()
    self.assert_refused(r'labels are for a\.tfrecord where b\.tfrecord is read')

  def test_other_number_of_files(self):
    self._label()
    self.images.append(self._images('c.tfrecord', [1]))
    self.assert_refused('3 image files are read, but 2 were labelled')
    del self.images[1:]
    self.assert_refused('1 image files are read, but 2 were labelled')

  def test_other_size(self):
    self._label()
    self._images('b.tfrecord', range(4))
    self.assert_refused(r'b\.tfrecord has \d+ bytes, but had \d+ when it was labelled')

  def test_changed_or_missing_label_shard(self):
    self._label()
    label = self._label_files()[1]
    date = os.stat(label).st_mtime_ns
    unlabelled.change_content(label)
    unlabelled.set_date(label, date + 10**9)
    self.assert_refused(r'b\.labels\.tfrecord of b\.tfrecord is not the file that was written')
    os.remove(label)
    self.assert_refused(r'b\.labels\.tfrecord of b\.tfrecord is missing')

  def test_labels_may_be_moved(self):
    self._label()
    moved = shutil.move(self.labels, self.labels + '-moved')
    self.assertLen(reader.check_labels_match(self.images, moved).shards, 2)


class CheckClassesTest(_Case):
  def _manifest(self, *names):
    provenance = manifest.Provenance(teacher={'sha256': 'ab'}, class_names=names)
    label_format = unlabelled.label_format()
    worker = labeller.Labeller(
      label_format,
      unlabelled.preprocess,
      unlabelled.FakeTeacher(),
      provenance,
      unlabelled.BATCH_SIZE,
    )
    worker.run(self.images, self.labels)
    return manifest.Manifest.load(self.labels)

  def test_the_same_classes(self):
    labels = self._manifest('cat', 'dog', 'owl')
    self.assertEqual(labels.class_names, ('cat', 'dog', 'owl'))
    reader.check_classes(labels, 4, ['cat', 'dog', 'owl'])
    reader.check_classes(labels, 4)
    # Names of one side only cannot be compared.
    unnamed = dataclasses.replace(labels, provenance=manifest.Provenance())
    reader.check_classes(unnamed, 4, ['cat', 'dog', 'owl'])

  def test_other_classes(self):
    labels = self._manifest('cat', 'dog', 'owl')
    advice = 'Use a teacher with the classes of the student, or write the labels again'
    for num_classes, names, message in (
      (5, (), 'written for 4 classes, but task.model.num_classes is 5 '),
      (
        4,
        ('cat', 'owl', 'dog'),
        "Class 2 is 'dog' in .* 'owl' in this run. The names are the same, in another order.",
      ),
      (4, ('cat', 'dog', 'ox'), "Class 3 is 'owl' in the pseudo labels, but 'ox' in this run"),
      (4, ('cat', 'dog'), "Class 3 is 'owl' in the pseudo labels, but without a name in this run"),
      (
        4,
        ('cat', 'dog', 'owl', 'ox'),
        "Class 4 is without a name in the pseudo labels, but 'ox' in",
      ),
    ):
      with self.assertRaisesRegex(errors.LabelMismatchError, f'{message}.*{advice}'):
        reader.check_classes(labels, num_classes, names)


if __name__ == '__main__':
  tf.test.main()
