"""Tests of official_selftrain.pseudo_labels.label_shard."""

import os

import tensorflow as tf

from official_selftrain.core import keys
from official_selftrain.pseudo_labels import shards
from tests.pseudo_labels import unlabelled
from tests.testing import records


class LeftOutTest(tf.test.TestCase):
  def test_an_image_without_an_id_is_left_out_by_its_place(self):
    folder = self.get_temp_dir()
    path = os.path.join(folder, 'a.tfrecord')
    unlabelled.write(path, [unlabelled.record(unlabelled.png(n), None) for n in range(1, 4)])
    worker = unlabelled.make_labeller(left_out=(('a.tfrecord:1', 'a person rejected it'),))
    result = worker.run([path], os.path.join(folder, 'labels'))
    written = os.path.join(folder, 'labels', shards.label_shard_name(path))
    statuses = [
      records.parse(each.serialized)[keys.LABEL_STATUS][0] for each in shards.iterate(written)
    ]
    self.assertEqual(statuses, [b'labelled', b'dead', b'labelled'])
    self.assertEqual(result.dead_letters[0].reason, 'a person rejected it')


if __name__ == '__main__':
  tf.test.main()
