"""One labeller, many threads: as in a worker of Beam; and one folder of labels, many labellers."""

import collections
import concurrent.futures
import os
import pathlib
import threading
import time

import tensorflow as tf

from official_selftrain.pseudo_labels import manifest, shards
from tests.pseudo_labels import unlabelled


class _WatchedTeacher(unlabelled.FakeTeacher):
  """Counts the shards whose batches are in it at a time, at most; their grey levels are 0 to 9, 10 to 19 and so on."""

  def __init__(self):
    super().__init__()
    self.at_once = 0
    self._inside = collections.Counter()
    self._door = threading.Lock()

  def __call__(self, batch):
    shard = int(batch['image'].numpy()[0, 0]) // 10
    with self._door:
      self._inside[shard] += 1
      self.at_once = max(self.at_once, len(+self._inside))
    time.sleep(0.02)  # Others can come in.
    with self._door:
      self._inside[shard] -= 1
    return super().__call__(batch)


class ThreadsTest(tf.test.TestCase):
  def test_threads_take_turns_and_write_what_one_would(self):
    folder = self.create_tempdir().full_path
    images = [
      unlabelled.write_images(os.path.join(folder, f'{n}.tfrecord'), range(10 * n, 10 * n + 6))
      for n in range(4)
    ]
    teacher = _WatchedTeacher()
    worker = unlabelled.make_labeller(teacher)
    together, alone = (os.path.join(folder, name) for name in ('together', 'alone'))
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
      results = list(pool.map(lambda path: worker.run_one(path, together), images))
    self.assertEqual([each.entry.records for each in results], [6] * 4)
    self.assertEqual(teacher.at_once, 1)
    for path in images:
      unlabelled.make_labeller().run_one(path, alone)
      name = shards.label_shard_name(path)
      self.assertEqual(
        *(pathlib.Path(place, name).read_bytes() for place in (together, alone)), name
      )


class FolderTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.create_tempdir().full_path
    self.output = os.path.join(folder, 'labels')
    self.images = [
      unlabelled.write_images(os.path.join(folder, f'{n}.tfrecord'), range(10 * n, 10 * n + 6))
      for n in range(2)
    ]
    unlabelled.make_labeller().run(self.images, self.output)
    self.finished = unlabelled.contents(self.output)

  def test_a_worker_that_makes_a_lost_shard_again_keeps_the_manifest(self):
    lost = os.path.join(self.output, shards.label_shard_name(self.images[1]))
    for path in (lost, manifest.marker_path(lost)):
      os.remove(path)
    unlabelled.make_labeller().run_share(self.images, self.output, 1, 2)
    self.assertEqual(unlabelled.contents(self.output), self.finished)
    os.remove(lost)
    unlabelled.make_labeller().run_one(self.images[1], self.output)
    self.assertEqual(unlabelled.contents(self.output), self.finished)

  def test_labels_of_other_settings_take_the_manifest_and_their_own_markers_back(self):
    names = [shards.label_shard_name(path) for path in self.images]
    # Stopped in the first batch.
    with self.assertRaises(KeyboardInterrupt):
      other = unlabelled.make_labeller(unlabelled.FakeTeacher(1), image_size=3)
      other.run_share(self.images, self.output, 0, 2)
    left = set(self.finished) - {manifest.FILE_NAME, f'{names[0]}.json'}
    self.assertEqual(set(unlabelled.contents(self.output)), left)
    unlabelled.make_labeller(image_size=3).run(self.images, self.output)
    again = manifest.Manifest.load(self.output)
    self.assertEqual(again.provenance.config, {'image_size': 3})
    self.assertEqual(again.settings, again.provenance.digest(unlabelled.label_format()))


if __name__ == '__main__':
  tf.test.main()
