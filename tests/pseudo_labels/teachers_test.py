"""Tests of official_selftrain.pseudo_labels.teachers."""

import threading
import time

import tensorflow as tf

from official_selftrain.pseudo_labels import batches, teachers
from tests.testing import replicas


def _batch(number):
  record = batches.ImageRecord(index=number)
  return batches.Batch([record], {'image': tf.fill([1], float(number))})


def _numbers(items):
  """Number of each batch's image and what was predicted for it, and None for ends of shards."""
  return [
    (item.group[0].records[0].index, float(item.outputs[0]['twice'][0]))
    if isinstance(item, teachers.Predicted)
    else None
    for item in items
  ]


class TeacherTest(tf.test.TestCase):
  def test_two_batches_are_predicted_at_a_time_and_come_in_order(self):
    # Each waits for another one: with one at a time this would never end.
    both = threading.Barrier(2, timeout=60)

    def predict(features):
      both.wait()
      return {'twice': 2.0 * features['image']}

    end = batches.EndOfShard(4, {})
    reading = iter([_batch(0), _batch(1), _batch(2), _batch(3), end])
    teacher = teachers.Teacher(predict, tf.distribute.get_strategy())
    with teacher.predictions(reading) as found:
      self.assertEqual(_numbers(found), [(0, 0.0), (1, 2.0), (2, 4.0), (3, 6.0), None])

  def test_an_end_of_a_shard_comes_between_its_batches_and_the_next(self):
    end = batches.EndOfShard(1, {})
    teacher = teachers.Teacher(
      lambda features: {'twice': 2.0 * features['image']}, tf.distribute.get_strategy()
    )
    with teacher.predictions(iter([_batch(0), end, end, _batch(1), end])) as found:
      self.assertEqual(_numbers(found), [(0, 0.0), None, None, (1, 2.0), None])

  def test_with_replicas_one_group_at_a_time(self):
    # The replicas of a group take turns on processors, so two calls at a time would be of two groups.
    door, at_once = threading.Semaphore(1), []

    def predict(features):
      at_once.append(not door.acquire(blocking=False))
      time.sleep(0.05)
      door.release()
      return {'twice': 2.0 * features['image']}

    teacher = teachers.Teacher(predict, replicas.two_replicas())
    reading = iter([*map(_batch, range(4)), batches.EndOfShard(4, {})])
    with teacher.predictions(reading) as found:
      self.assertEqual(_numbers(found), [(0, 0.0), (2, 4.0), None])
    self.assertEqual(at_once, [False] * 4)

  def test_with_replicas_nothing_is_predicted_beyond_the_group_that_is_asked_for(self):
    begun = []

    def predict(features):
      begun.append(float(features['image'][0]))
      return {'twice': features['image']}

    teacher = teachers.Teacher(predict, replicas.two_replicas())
    with teacher.predictions(iter([*map(_batch, range(6)), batches.EndOfShard(6, {})])) as found:
      for images in (2, 4, 6):
        next(found)
        time.sleep(0.1)
        self.assertLen(begun, images)

  def test_what_was_not_begun_is_given_up(self):
    begun = []

    def predict(features):
      begun.append(float(features['image'][0]))
      return {'twice': features['image']}

    teacher = teachers.Teacher(predict, tf.distribute.get_strategy())
    with teacher.predictions(map(_batch, range(1000))) as found:
      next(found)
    self.assertLess(len(begun), 10)

  def test_an_error_of_the_teacher_is_that_of_the_reader(self):
    def predict(features):
      raise ValueError(f'no such thing: {features["image"][0]}')

    teacher = teachers.Teacher(predict, tf.distribute.get_strategy())
    with self.assertRaisesRegex(ValueError, 'no such thing: 0'):
      with teacher.predictions(iter([_batch(0)])) as found:
        list(found)


if __name__ == '__main__':
  tf.test.main()
