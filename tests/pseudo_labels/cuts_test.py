"""Tests of official_selftrain.pseudo_labels.cuts."""

import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.pseudo_labels import cuts

_SCORES = [0.5, 0.4999, 0.2, 0.1999, 1.0]
_CLASSES = [1, 1, 2, 2, 3]


class CutsTest(tf.test.TestCase):
  def _apply(self, settings):
    masks = settings.apply(tf.constant(_SCORES), tf.constant(_CLASSES, tf.int64))
    in_graph = (
      tf.data.Dataset.from_tensors((_SCORES, _CLASSES)).map(settings.apply).get_single_element()
    )
    self.assertAllEqual(masks, in_graph)
    return [mask.numpy().tolist() for mask in masks]

  def test_a_score_equal_to_the_cut_is_kept(self):
    self.assertEqual(self._apply(cuts.Cuts(0.5)), [[True, False, False, False, True], [False] * 5])

  def test_every_cut_that_is_a_float32_keeps_its_own_score(self):
    for step in range(1, 21):
      cut = step * 0.05
      kept, _ = cuts.Cuts(cut).apply(tf.constant([cut], tf.float32), tf.constant([1]))
      self.assertEqual(kept.numpy().tolist(), [True], cut)

  def test_ignore_band_is_between_the_cuts(self):
    objects, ignored = self._apply(cuts.Cuts(0.5, ignore_cut=0.2))
    self.assertEqual(objects, [True, False, False, False, True])
    self.assertEqual(ignored, [False, True, True, False, False])

  def test_cuts_of_classes(self):
    objects, ignored = self._apply(cuts.Cuts(0.5, ignore_cut=0.3, per_class={1: 0.3, 2: 0.1}))
    self.assertEqual(objects, [True, True, True, True, True])
    self.assertEqual(ignored, [False] * 5)
    objects, _ = self._apply(cuts.Cuts(0.1, per_class={2: 0.9}))
    self.assertEqual(objects, [True, True, False, False, True])

  def test_classes_beyond_those_that_have_a_cut_of_their_own_take_the_common_one(self):
    chosen = cuts.Cuts(0.5, per_class={2: 0.9, 0: 0.2})
    scores, classes = [0.6, 0.4, 0.6, 0.6, 0.3], [9, 9, 2, 3, 0]
    for dtype in (tf.int32, tf.int64):
      kept, _ = chosen.apply(tf.constant(scores), tf.constant(classes, dtype))
      self.assertEqual(kept.numpy().tolist(), [True, False, False, True, True])

  def test_the_ends_of_the_range_are_allowed(self):
    scores, classes = tf.constant([0.0, 1.0]), tf.constant([1, 1])
    for cut, expected in ((0.0, [True, True]), (1.0, [False, True])):
      self.assertEqual(cuts.Cuts(cut).apply(scores, classes)[0].numpy().tolist(), expected)

  def test_images_without_labels_are_kept_unless_said_otherwise(self):
    self.assertTrue(cuts.Cuts(0.5).keep_empty)
    self.assertEqual(cuts.Cuts(), cuts.Cuts(0.5, None, None, True))

  def test_no_labels(self):
    empty = cuts.Cuts(0.5, 0.1, {1: 0.4}).apply(tf.zeros([0]), tf.zeros([0], tf.int64))
    self.assertEqual([mask.shape.as_list() for mask in empty], [[0], [0]])

  def test_lowest_and_of(self):
    several = cuts.Cuts(0.5, ignore_cut=0.2, per_class={3: 0.1})
    self.assertEqual((several.lowest, several.of(3), several.of(1)), (0.1, 0.1, 0.5))
    self.assertEqual(cuts.Cuts(0.7).lowest, 0.7)

  def test_values_out_of_range(self):
    with self.assertRaisesRegex(errors.ConfigError, r'cut is 1\.5; .* from 0 to 1'):
      cuts.Cuts(1.5)
    with self.assertRaisesRegex(errors.ConfigError, 'cut is True'):
      cuts.Cuts(True)
    with self.assertRaisesRegex(errors.ConfigError, r'per_class\[2\] is -1'):
      cuts.Cuts(per_class={2: -1})
    with self.assertRaisesRegex(errors.ConfigError, 'per_class has the key -1'):
      cuts.Cuts(per_class={-1: 0.5})
    with self.assertRaisesRegex(errors.ConfigError, 'per_class has the key True'):
      cuts.Cuts(per_class={True: 0.5})
    with self.assertRaisesRegex(errors.ConfigError, "per_class has the key 'cat'"):
      cuts.Cuts(per_class={'cat': 0.5})
    with self.assertRaisesRegex(errors.ConfigError, r'ignore_cut is 0\.5 .* band .* is empty'):
      cuts.Cuts(0.5, ignore_cut=0.5)

  def test_in_words(self):
    self.assertEqual(cuts.Cuts(0.5, ignore_cut=0.2).in_words(), '0.5')
    several = cuts.Cuts(0.5, per_class={1: 0.7, 2: 0.3, 3: 0.4})
    self.assertEqual(several.in_words(), '0.5 (by class 0.3 to 0.7)')


if __name__ == '__main__':
  tf.test.main()
