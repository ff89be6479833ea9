"""One labeller, many threads: as in a worker of Beam."""

import concurrent.futures
import os
import pathlib
import threading
import time

import tensorflow as tf

from official_selftrain.pseudo_labels import shards
from tests.pseudo_labels import unlabelled


class _WatchedTeacher(unlabelled.FakeTeacher):
  """Counts how many threads are in it at most."""

  def __init__(self):
    super().__init__()
    self.at_once = 0
    self._inside = 0
    self._lock = threading.Lock()

  def __call__(self, batch):
    with self._lock:
      self._inside += 1
      self.at_once = max(self.at_once, self._inside)
    time.sleep(0.02)  # Others can come in.
    with self._lock:
      self._inside -= 1
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


if __name__ == '__main__':
  tf.test.main()
