"""Tests of official_selftrain.pseudo_labels.labeller, batches and manifest."""

import json
import os
import pathlib
import shutil
import threading
from unittest import mock

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, files, keys
from official_selftrain.pseudo_labels import labeller, manifest, shards
from tests.pseudo_labels import unlabelled
from tests.testing import records, replicas


class _Case(tf.test.TestCase):
  """A folder of its own for each test."""

  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.get_temp_dir(), self.id())
    os.makedirs(self.folder)
    self.output = os.path.join(self.folder, 'labels')

  def _images(self, name, numbers):
    return unlabelled.write_images(os.path.join(self.folder, name), numbers)

  def _labels(self, image_file):
    path = os.path.join(self.output, shards.label_shard_name(image_file))
    return [records.parse(record.serialized) for record in shards.iterate(path)]

  def _statuses(self, image_file):
    return [label[keys.LABEL_STATUS][0].decode() for label in self._labels(image_file)]


class LabellerTest(_Case):
  def test_record_i_is_about_image_i(self):
    image = self._images('a.tfrecord', range(10))
    result = unlabelled.make_labeller().run([image], self.output)
    labels = self._labels(image)
    self.assertLen(labels, 10)
    for index, label in enumerate(labels):
      scores = list(unlabelled.SCORES[: index % 4])
      self.assertEqual(label.get(keys.BOX_SCORE, []), scores)
      self.assertEqual(label.get(keys.BOX_CLASS, []), [1, 2, 3][: index % 4])
      self.assertEqual(label[keys.SOURCE_ID], [f'id-{index}'.encode()])
      self.assertEqual(label[keys.LABEL_INDEX], [index])
      self.assertEqual((label[keys.IMAGE_HEIGHT], label[keys.IMAGE_WIDTH]), ([16], [24]))
      # FarmHash in NumPy's reading of the bytes: a second way to the same number.
      digest = tf.fingerprint([unlabelled.png(index)]).numpy()[0]
      self.assertEqual(label[keys.IMAGE_FINGERPRINT], [digest.view(np.int64)[0]])
    self.assertEqual((result.images, result.labelled, result.empty, result.dead), (10, 7, 3, 0))
    self.assertEqual(result.summary['boxes'], {'1': 7, '2': 4, '3': 2})

  def test_label_shard_alone_gives_the_same_bytes_as_a_run(self):
    images = [self._images('a.tfrecord', range(6)), self._images('b.tfrecord', range(3, 8))]
    worker = unlabelled.make_labeller()
    worker.run(images, self.output)
    alone = os.path.join(self.folder, 'alone', 'b.labels.tfrecord')
    result = worker.label_shard(images[1], alone)
    name = os.path.join(self.output, 'b.labels.tfrecord')
    self.assertEqual(pathlib.Path(alone).read_bytes(), pathlib.Path(name).read_bytes())
    self.assertEqual(result.entry.label_sha256, files.sha256(name))
    self.assertEqual(result, manifest.read_marker(name))

  def test_two_replicas_give_the_same_bytes_as_one(self):
    # One batch, two, and three: a replica has nothing to do, and a group ends with its shard.
    images = [
      self._images('a.tfrecord', range(3)),
      self._images('b.tfrecord', range(8)),
      self._images('c.tfrecord', range(2, 12)),
    ]
    seen = []

    def report(state):
      seen.append((state.images, state.shards_done))

    unlabelled.make_labeller().run(images, self.output)
    together = os.path.join(self.folder, 'together')
    teacher = unlabelled.FakeTeacher()
    strategy = replicas.two_replicas()
    unlabelled.make_labeller(teacher, strategy=strategy).run(images, together, report)
    self.assertEqual(unlabelled.contents(together), unlabelled.contents(self.output))
    self.assertEqual(seen, [(3, 0), (3, 1), (11, 1), (11, 2), (19, 2), (21, 2), (21, 3)])
    self.assertEqual(teacher.calls, 2 * 4)

  def test_manifest_is_the_sum_of_the_shards_and_loads_again(self):
    images = [self._images('a.tfrecord', range(6)), self._images('b.tfrecord', range(5))]
    written = unlabelled.make_labeller(image_size=2).run(images, self.output)
    loaded = manifest.Manifest.load(self.output)
    self.assertEqual(loaded, written)
    with open(os.path.join(self.output, manifest.FILE_NAME), encoding='utf-8') as stream:
      self.assertEqual(json.load(stream), json.loads(json.dumps(written.to_json())))
    self.assertEqual([entry.records for entry in loaded.shards], [6, 5])
    self.assertEqual(loaded.format, 'detection')
    self.assertEqual(loaded.provenance.config, {'image_size': 2})
    self.assertEqual(loaded.class_names, ())
    self.assertEqual(loaded.provenance.teacher['global_step'], 1)
    self.assertEqual(loaded.provenance.versions['tensorflow'], tf.__version__)
    for entry, image in zip(loaded.shards, images, strict=True):
      self.assertEqual(entry.image_bytes, os.path.getsize(image))
      self.assertEqual(entry.records, entry.labelled + entry.empty + entry.dead)
      self.assertFalse(entry.damaged)

  def test_class_names_travel_and_older_manifests_have_none(self):
    image = self._images('a.tfrecord', range(3))
    names = ('cat', 'dog', 'owl')
    named, unnamed = (manifest.Provenance(class_names=each) for each in (names, ()))
    # Labels are ids: names do not change them.
    label_format = unlabelled.label_format()
    self.assertEqual(named.digest(label_format), unnamed.digest(label_format))
    worker = labeller.Labeller(
      label_format, unlabelled.preprocess, unlabelled.FakeTeacher(), named, unlabelled.BATCH_SIZE
    )
    worker.run([image], self.output)
    self.assertEqual(manifest.Manifest.load(self.output).class_names, names)
    path = os.path.join(self.output, manifest.FILE_NAME)
    content = files.read_json(path)
    del content['provenance']['class_names']
    files.write_json(path, content)
    self.assertEqual(manifest.Manifest.load(self.output).class_names, ())

  def test_label_shards_hold_no_image(self):
    image = self._images('a.tfrecord', range(3))
    unlabelled.make_labeller().run([image], self.output)
    self.assertNotIn(keys.IMAGE_ENCODED, {name for label in self._labels(image) for name in label})


class BadInputTest(_Case):
  def _write(self, records):
    return unlabelled.write(os.path.join(self.folder, 'a.tfrecord'), records)

  def test_bad_images_are_dead_letters_and_the_others_are_labelled(self):
    good = [unlabelled.record(unlabelled.png(number), f'id-{number}') for number in range(6)]
    truncated = unlabelled.record(unlabelled.png(1)[:40], 'cut off')
    image = self._write(
      [good[0], unlabelled.record(b'junk', 'junk'), good[1], truncated, *good[2:]]
      + [unlabelled.record(None, 'no image'), b'no example']
    )
    result = unlabelled.make_labeller().run([image], self.output)
    empty, dead, full = 'empty', 'dead', 'labelled'
    self.assertEqual(
      self._statuses(image), [empty, dead, full, dead, full, full, empty, full, dead, dead]
    )
    letters = {letter.index: letter for letter in result.dead_letters}
    self.assertEqual(sorted(letters), [1, 3, 8, 9])
    self.assertEqual(
      [letters[i].source_id for i in (1, 3, 8, 9)],
      ['junk', 'cut off', 'a.tfrecord:8', 'a.tfrecord:9'],
    )
    self.assertRegex(letters[1].reason, 'PNG')
    self.assertRegex(letters[8].reason, 'image/encoded.* is required')
    self.assertRegex(letters[9].reason, 'parse')
    self.assertEqual({letter.shard for letter in letters.values()}, {'a.tfrecord'})
    self.assertEqual((result.images, result.dead, result.damaged), (10, 4, False))

  def test_binary_junk_is_a_dead_letter(self):
    good = [unlabelled.record(unlabelled.png(number), f'id-{number}') for number in range(3)]
    image = self._write([good[0], b'\xff\xfe\x00' * 9, *good[1:]])
    result = unlabelled.make_labeller().run([image], self.output)
    self.assertEqual(self._statuses(image), ['empty', 'dead', 'labelled', 'labelled'])
    self.assertRegex(result.dead_letters[0].reason, 'ould not parse')

  def test_a_shard_of_nothing_but_bad_images_does_not_stop_the_run(self):
    bad = self._write([unlabelled.record(b'junk', str(i)) for i in range(6)])
    good = self._images('b.tfrecord', range(5))
    result = unlabelled.make_labeller().run([bad, good], self.output)
    self.assertEqual([entry.dead for entry in result.shards], [6, 0])
    self.assertEqual(self._statuses(bad), ['dead'] * 6)

  def test_corrupt_record_in_the_middle(self):
    image = self._images('a.tfrecord', range(1, 10))
    unlabelled.flip_bit(image, unlabelled.record_offset(image, 4) + 30)
    result = unlabelled.make_labeller().run([image], self.output)
    self.assertEqual([i for i, s in enumerate(self._statuses(image)) if s == 'dead'], [4])
    self.assertEqual(self._labels(image)[5][keys.SOURCE_ID], [b'id-6'])
    self.assertRegex(result.dead_letters[0].reason, 'checksum of the record data')
    self.assertEqual(result.dead_letters[0].source_id, 'a.tfrecord:4')
    self.assertTrue(result.damaged)

  def test_truncated_file(self):
    image = self._images('a.tfrecord', range(9))
    content = pathlib.Path(image).read_bytes()
    pathlib.Path(image).write_bytes(content[: unlabelled.record_offset(image, 7) + 20])
    result = unlabelled.make_labeller().run([image], self.output)
    self.assertEqual((result.images, result.dead), (8, 1))
    self.assertRegex(result.dead_letters[0].reason, '20 bytes unread')

  def test_records_without_an_id_are_named_by_place(self):
    image = self._write([unlabelled.record(unlabelled.png(1), None)] * 2)
    unlabelled.make_labeller().run([image], self.output)
    ids = [label[keys.SOURCE_ID][0] for label in self._labels(image)]
    self.assertEqual(ids, [b'a.tfrecord:0', b'a.tfrecord:1'])

  def test_dead_letters_are_capped_in_the_manifest_only(self):
    bad = [unlabelled.record(b'junk', str(i)) for i in range(manifest.MAX_DEAD_LETTERS + 5)]
    image = self._write([*bad, unlabelled.record(unlabelled.png(1), 'good')])
    result = unlabelled.make_labeller().run([image], self.output)
    self.assertLen(result.dead_letters, manifest.MAX_DEAD_LETTERS)
    lines = pathlib.Path(self.output, 'dead_letters.jsonl').read_text().splitlines()
    self.assertEqual([json.loads(line)['index'] for line in lines], list(range(len(bad))))
    self.assertEqual(result.dead, len(bad))

  def test_a_prediction_that_is_not_finite_is_a_dead_letter(self):
    class Diverged(unlabelled.FakeTeacher):
      def __call__(self, batch):
        outputs = super().__call__(batch)
        outputs['scores'][2, 0] = np.nan
        return outputs

    image = self._images('a.tfrecord', [1, 1, 1, 1])
    result = unlabelled.make_labeller(Diverged()).run([image], self.output)
    self.assertEqual(self._statuses(image), ['labelled', 'labelled', 'dead', 'labelled'])
    self.assertEqual(result.dead_letters[0].source_id, 'id-1')
    self.assertRegex(result.dead_letters[0].reason, 'NaN')

  def test_messages(self):
    worker = unlabelled.make_labeller()
    with self.assertRaisesRegex(errors.DataError, 'no unlabelled images; give at least one'):
      worker.run([], self.output)
    empty = self._write([])
    with self.assertRaisesRegex(errors.DataError, r'a\.tfrecord holds no record \(0 bytes\)'):
      worker.run([self._images('b.tfrecord', [1]), empty], self.output)
    with self.assertRaisesRegex(errors.DataError, r'Cannot read the TFRecord file .*nowhere'):
      worker.run([os.path.join(self.folder, 'nowhere')], self.output)
    with self.assertRaisesRegex(errors.DataError, r'2 unlabelled .* called a\.tfrecord'):
      worker.run(['x/a.tfrecord', 'y/a.tfrecord'], self.output)
    junk = self._write([unlabelled.record(b'junk', 'first')])
    with self.assertRaisesRegex(errors.DataError, r'None of the 1 .*record 0 of a\.tfrecord.*PNG'):
      worker.run([junk], self.output)

  def test_a_class_outside_the_model_stops_the_run(self):
    class OtherModel(unlabelled.FakeTeacher):
      def __call__(self, batch):
        return {**super().__call__(batch), 'classes': np.full([4, 3], 9)}

    image = self._images('a.tfrecord', [1])
    with self.assertRaisesRegex(errors.DataError, 'predicted class 9; allowed are 0 to 3'):
      unlabelled.make_labeller(OtherModel()).run([image], self.output)

  def test_preprocessing_that_is_no_use(self):
    def build(preprocess):
      labeller.Labeller(
        unlabelled.label_format(), preprocess, unlabelled.FakeTeacher(), manifest.Provenance()
      )

    with self.assertRaisesRegex(ValueError, 'original size; missing:.*image/height'):
      build(lambda encoded: {'image': tf.zeros([2])})
    with self.assertRaisesRegex(ValueError, r'returns image of shape .*static'):
      build(lambda encoded: {**unlabelled.preprocess(encoded), 'image': tf.io.decode_png(encoded)})
    with self.assertRaisesRegex(errors.ConfigError, 'batch_size of the labeller is 0'):
      labeller.Labeller(unlabelled.label_format(), None, None, manifest.Provenance(), 0)


class ResumeTest(_Case):
  def setUp(self):
    super().setUp()
    self.images = [
      self._images('a.tfrecord', range(10)),
      self._images('b.tfrecord', range(1, 8)),
      self._images('c.tfrecord', range(5)),
    ]
    unlabelled.flip_bit(self.images[1], unlabelled.record_offset(self.images[1], 3) + 20)

  def test_an_interrupted_run_ends_with_the_same_bytes(self):
    whole = os.path.join(self.folder, 'whole')
    counting = unlabelled.FakeTeacher()
    unlabelled.make_labeller(counting).run(self.images, whole)
    expected = unlabelled.contents(whole)
    # In the first shard, at the start of the second and of the third, in the last batch.
    for fail_at in (2, 4, 6, counting.calls):
      shutil.rmtree(self.output, ignore_errors=True)
      with self.assertRaises(KeyboardInterrupt):
        unlabelled.make_labeller(unlabelled.FakeTeacher(fail_at)).run(self.images, self.output)
      unlabelled.make_labeller().run(self.images, self.output)
      self.assertEqual(unlabelled.contents(self.output), expected, fail_at)

  def test_a_shard_is_written_while_the_teacher_works_on_the_next_one(self):
    begun = threading.Event()
    overlapped = []
    write = shards.write

    class Teacher(unlabelled.FakeTeacher):
      def __call__(self, batch):
        outputs = super().__call__(batch)
        if self.calls > 3:  # The first shard has three batches.
          begun.set()
        return outputs

    def slow_write(path, records):
      overlapped.append(begun.wait(timeout=60))
      return write(path, records)

    with mock.patch.object(shards, 'write', slow_write):
      unlabelled.make_labeller(Teacher()).run(self.images, self.output)
    self.assertEqual(overlapped, [True] * 3)

  def test_a_shard_that_cannot_be_written_ends_the_run(self):
    with mock.patch.object(shards, 'write', side_effect=errors.DataError('disk full')):
      with self.assertRaisesRegex(errors.DataError, 'disk full'):
        unlabelled.make_labeller().run(self.images, self.output)
    self.assertFalse(os.path.exists(os.path.join(self.output, manifest.FILE_NAME)))

  def test_finished_shards_are_not_labelled_again(self):
    with self.assertRaises(KeyboardInterrupt):
      unlabelled.make_labeller(unlabelled.FakeTeacher(5)).run(self.images, self.output)
    rest = unlabelled.FakeTeacher()
    unlabelled.make_labeller(rest).run(self.images, self.output)
    # a: 3 batches, b: 2, c: 2; the fifth call failed, and with it shard b.
    self.assertEqual(rest.calls, 4)
    again = unlabelled.FakeTeacher()
    unlabelled.make_labeller(again).run(self.images, self.output)
    self.assertEqual(again.calls, 0)

  def test_workers_share_the_shards_and_a_run_puts_them_together(self):
    whole = os.path.join(self.folder, 'whole')
    unlabelled.make_labeller().run(self.images, whole)
    expected = unlabelled.contents(whole)
    for workers in (1, 2, 3, 4):
      shutil.rmtree(self.output, ignore_errors=True)
      seen = []
      for worker in reversed(range(workers)):
        unlabelled.make_labeller().run_share(
          self.images,
          self.output,
          worker,
          workers,
          lambda state, seen=seen: seen.append(state.shards_total),
        )
        self.assertFalse(os.path.exists(os.path.join(self.output, manifest.FILE_NAME)))
      rest = unlabelled.FakeTeacher()
      unlabelled.make_labeller(rest).run(self.images, self.output)
      self.assertEqual(rest.calls, 0)
      self.assertEqual(unlabelled.contents(self.output), expected, workers)
      self.assertEqual(max(seen), -(-3 // workers))
    # A worker that never ran is missed by nobody.
    shutil.rmtree(self.output)
    unlabelled.make_labeller().run_share(self.images, self.output, 1, 3)
    unlabelled.make_labeller().run(self.images, self.output)
    self.assertEqual(unlabelled.contents(self.output), expected)

  def test_leftovers_and_a_shard_without_marker_are_written_again(self):
    unlabelled.make_labeller().run(self.images, self.output)
    expected = unlabelled.contents(self.output)
    label = os.path.join(self.output, 'a.labels.tfrecord')
    os.remove(manifest.marker_path(label))
    pathlib.Path(label).write_bytes(b'half')
    pathlib.Path(files.temporary_path(label)).write_bytes(b'half')
    pathlib.Path(files.temporary_path(manifest.marker_path(label))).write_bytes(b'{')
    unlabelled.make_labeller().run(self.images, self.output)
    self.assertEqual(unlabelled.contents(self.output), expected)

  def test_other_settings_other_images_or_an_unreadable_marker_are_not_mixed_in(self):
    unlabelled.make_labeller().run(self.images, self.output)
    changed = unlabelled.FakeTeacher()
    unlabelled.make_labeller(changed, image_size=3).run(self.images, self.output)
    self.assertEqual(changed.calls, 7)
    self._images('c.tfrecord', range(6))
    other_images = unlabelled.FakeTeacher()
    unlabelled.make_labeller(other_images, image_size=3).run(self.images, self.output)
    self.assertEqual(other_images.calls, 2)
    label = os.path.join(self.output, 'a.labels.tfrecord')
    pathlib.Path(manifest.marker_path(label)).write_text('{"entry": {}}')
    no_marker = unlabelled.FakeTeacher()
    unlabelled.make_labeller(no_marker, image_size=3).run(self.images, self.output)
    self.assertEqual(no_marker.calls, 3)

  def test_a_labeller_that_was_interrupted_can_be_used_again(self):
    worker = unlabelled.make_labeller(unlabelled.FakeTeacher(2))
    with self.assertRaises(KeyboardInterrupt):
      worker.run(self.images, self.output)
    result = worker.run(self.images, self.output)
    whole = unlabelled.make_labeller().run(self.images, os.path.join(self.folder, 'whole'))
    self.assertEqual(result, whole)

  def test_progress(self):
    states = []
    unlabelled.make_labeller().run(self.images, self.output, states.append)
    total = sum(map(os.path.getsize, self.images))
    last = labeller.Progress(
      images=22, bytes_done=total, bytes_total=total, shards_done=3, shards_total=3
    )
    self.assertEqual(states[-1], last)
    self.assertEqual([state.images for state in states[:4]], [4, 8, 10, 10])
    self.assertEqual(states[0].bytes_done, unlabelled.record_offset(self.images[0], 4))
    done = [state.bytes_done for state in states]
    self.assertEqual(done, sorted(done))
    states.clear()
    unlabelled.make_labeller().run(self.images, self.output, states.append)
    self.assertEqual(states, [])


if __name__ == '__main__':
  tf.test.main()
