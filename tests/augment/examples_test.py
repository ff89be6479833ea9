"""Seeds that travel in the example, and rows that belong to boxes."""

import tensorflow as tf

from official_selftrain.augment import examples
from official_selftrain.core import keys
from tests.augment import scenes


class TakeSeedTest(tf.test.TestCase):
  def test_two_new_seeds(self):
    example = scenes.scene()
    left, seed = examples.take_seed(example)
    self.assertEqual((seed.shape, seed.dtype), ([2], tf.int32))
    self.assertNotAllEqual(left[keys.SEED], seed)
    self.assertNotAllEqual(left[keys.SEED], example[keys.SEED])
    self.assertNotAllEqual(seed, example[keys.SEED])
    # The example itself is not touched.
    self.assertAllEqual(example[keys.SEED], [1, 11])
    self.assertAllEqual(left['image'], example['image'])

  def test_same_seed_same_seeds_also_in_a_graph(self):
    example = scenes.scene()
    left, seed = examples.take_seed(example)
    again, again_seed = tf.function(examples.take_seed)(example)
    self.assertAllEqual(again_seed, seed)
    self.assertAllEqual(again[keys.SEED], left[keys.SEED])

  def test_a_chain_never_repeats(self):
    example, seen = {keys.SEED: tf.constant([0, 0])}, set()
    for _ in range(50):
      example, seed = examples.take_seed(example)
      seen.add(tuple(seed.numpy()))
    self.assertLen(seen, 50)


class KeepBoxesTest(tf.test.TestCase):
  def test_drops_rows_of_everything_that_belongs_to_boxes(self):
    example = scenes.scene(boxes=((0, 0, 6, 8), (30, 40, 54, 72), (2, 2, 9, 9)))
    out = examples.keep_boxes(example, tf.constant([False, True, True]))
    self.assertAllClose(
      out[keys.GROUNDTRUTH_BOXES], [[0.5, 0.5, 0.9, 0.9], [2 / 60, 2 / 80, 9 / 60, 9 / 80]]
    )
    self.assertAllEqual(out[keys.GROUNDTRUTH_CLASSES], [2, 3])
    self.assertAllClose(out[keys.GROUNDTRUTH_SCORES], [0.01, 0.02])
    self.assertAllEqual(out[keys.GROUNDTRUTH_IS_CROWD], [True, False])
    self.assertAllEqual(out[keys.GROUNDTRUTH_IS_IGNORED], [True, False])
    for name in ('image', keys.SEMANTIC_MASK, keys.SEED):
      self.assertAllEqual(out[name], example[name])

  def test_entries_with_more_dimensions(self):
    example = {'groundtruth_points': tf.reshape(tf.range(12), [3, 2, 2])}
    out = examples.keep_boxes(example, tf.constant([True, False, True]))
    self.assertAllEqual(out['groundtruth_points'], [[[0, 1], [2, 3]], [[8, 9], [10, 11]]])

  def test_none_and_all(self):
    example = scenes.scene(boxes=((0, 0, 6, 8), (30, 40, 54, 72)))
    none = examples.keep_boxes(example, tf.constant([False, False]))
    self.assertAllEqual(none[keys.GROUNDTRUTH_BOXES].shape, [0, 4])
    everything = examples.keep_boxes(example, tf.constant([True, True]))
    self.assertAllEqual(everything[keys.GROUNDTRUTH_BOXES], example[keys.GROUNDTRUTH_BOXES])


if __name__ == '__main__':
  tf.test.main()
