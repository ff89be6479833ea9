"""Pseudo masks: what is stored, what a cut leaves, what is counted."""

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.pseudo_labels import cuts, formats, histograms, segmentation

IGNORE = keys.IGNORE_LABEL
CLASSES = np.array([[0, 1], [2, 1]])
CONFIDENCE = np.array([[0.95, 0.5], [0.499, 0.9]])


def _predict(classes=CLASSES, confidence=CONFIDENCE, num_classes=3):
  """One row of what a teacher predicts: `confidence` for `classes`, the rest shared by the others."""
  rest = (1.0 - confidence[..., None]) / (num_classes - 1)
  one_hot = np.eye(num_classes)[classes]
  scores = np.where(one_hot > 0, confidence[..., None], rest).astype(np.float32)
  size = classes.shape
  info = tf.constant([[size, size, [1, 1], [0, 0]]], tf.float32)
  batch = segmentation.encode_predictions(tf.constant(scores[None]), info)
  return {name: value.numpy()[0] for name, value in batch.items()}


def _decode(features, label_format):
  example = tf.train.Example(features=tf.train.Features(feature=features))
  parsed = tf.io.parse_single_example(example.SerializeToString(), label_format.feature_spec())
  return label_format.decode(parsed)


class EncodeTest(tf.test.TestCase):
  label_format = segmentation.MaskFormat(num_classes=3)

  def test_round_trip(self):
    decoded = _decode(self.label_format.encode(_predict()), self.label_format)
    self.assertAllEqual(decoded[keys.SEMANTIC_MASK][..., 0], CLASSES)
    steps = decoded[keys.SEMANTIC_CONFIDENCE][..., 0]
    self.assertAllEqual(steps, np.round(CONFIDENCE * 255))
    self.assertEqual(steps.dtype, tf.uint8)

  def test_images_are_stored_at_their_own_size(self):
    scores = np.zeros([1, 8, 8, 3], np.float32)
    scores[..., 1] = 1.0
    scores[:, 4:, :, 1], scores[:, 4:, :, 2] = 0.0, 1.0  # The lower half is padding.
    info = tf.constant([[[3, 6], [8, 8], [4 / 3, 8 / 6], [0, 0]]], tf.float32)
    batch = segmentation.encode_predictions(tf.constant(scores), info)
    mask = tf.io.decode_png(batch['classes'][0])
    self.assertAllEqual(mask[..., 0], np.ones([3, 6]))

  def test_counts_are_stored_next_to_the_masks(self):
    features = self.label_format.encode(_predict())
    counts = self.label_format.counts(features)
    expected = np.zeros([3, 20])
    for class_id, place in ((0, 18), (1, 10), (2, 9), (1, 18)):
      expected[class_id, place] += 1
    # 0.9 is 229.5 steps, which rounds to 230 (0.902) or 229 (0.898): either side of the edge.
    steps = round(0.9 * 255)
    expected[1, 18], expected[1, steps * 20 // 255] = 0, 1
    self.assertAllEqual(counts, expected)
    self.assertEqual(self.label_format.num_objects(features), 3)

  def test_an_image_of_background_has_no_objects(self):
    features = self.label_format.encode(_predict(np.zeros([2, 2], int)))
    self.assertEqual(self.label_format.num_objects(features), 0)

  def test_probabilities_that_are_not_finite_are_no_labels(self):
    for value in (np.nan, np.inf):
      confidence = CONFIDENCE.copy()
      confidence[1, 1] = value
      with (
        self.subTest(value),
        self.assertRaisesRegex(formats.UnusablePredictionError, 'NaN or infinite probability'),
      ):
        self.label_format.encode(_predict(confidence=confidence))

  def test_another_number_of_classes_is_an_error(self):
    with self.assertRaisesRegex(errors.DataError, 'predicts 5 classes, but num_classes is 3'):
      self.label_format.encode(_predict(num_classes=5))


class CutsTest(tf.test.TestCase):
  label_format = segmentation.MaskFormat(num_classes=3)

  def _cut(self, **settings):
    decoded = _decode(self.label_format.encode(_predict()), self.label_format)
    return self.label_format.apply_cuts(decoded, cuts.Cuts(**settings))

  def test_pixels_below_the_cut_are_ignored(self):
    cut = self._cut(cut=0.5)
    # 0.5 itself is kept, as in the paper; 0.499 is not.
    self.assertAllEqual(cut[keys.SEMANTIC_MASK][..., 0], [[0, 1], [IGNORE, 1]])
    self.assertEqual(cut[keys.SEMANTIC_MASK].dtype, tf.uint8)
    self.assertTrue(self.label_format.has_objects(cut))

  def test_classes_may_have_cuts_of_their_own(self):
    cut = self._cut(cut=0.4, per_class={0: 0.96, 1: 0.6})
    self.assertAllEqual(cut[keys.SEMANTIC_MASK][..., 0], [[IGNORE, IGNORE], [2, 1]])

  def test_without_an_object_above_the_cut(self):
    cut = self._cut(cut=0.92)
    self.assertAllEqual(cut[keys.SEMANTIC_MASK][..., 0], [[0, IGNORE], [IGNORE, IGNORE]])
    self.assertFalse(self.label_format.has_objects(cut))

  def test_every_cut_in_steps_keeps_what_the_counts_say(self):
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, [40, 50])
    confidence = rng.uniform(0.4, 1.0, [40, 50])
    features = self.label_format.encode(_predict(classes, confidence))
    decoded = _decode(features, self.label_format)
    counts = self.label_format.counts(features)
    for cut in (0.45, 0.5, 0.6, 0.7, 0.85, 0.95):
      mask = self.label_format.apply_cuts(decoded, cuts.Cuts(cut=cut))[keys.SEMANTIC_MASK]
      for class_id in range(3):
        kept = histograms.count_above(counts[class_id], cut)
        self.assertEqual(int((mask.numpy() == class_id).sum()), kept, (cut, class_id))


class SummaryTest(tf.test.TestCase):
  label_format = segmentation.MaskFormat(num_classes=3)

  def _summary(self, *predictions):
    summary = self.label_format.new_summary()
    for prediction in predictions:
      self.label_format.count(summary, self.label_format.encode(prediction))
    return summary

  def test_counts_of_images_add_up(self):
    background = _predict(np.zeros([2, 2], int), np.full([2, 2], 0.99))
    both = self._summary(_predict(), background)
    merged = formats.merge_summaries(self._summary(_predict()), self._summary(background))
    self.assertEqual(both, merged)
    self.assertEqual(sorted(both['scores']), ['1', '2'])
    self.assertEqual(sum(both['background']), 5)
    self.assertEqual(sum(both['best_scores']), 1)

  def test_what_a_cut_leaves_is_about_objects(self):
    other = _predict(np.full([2, 2], 2), np.full([2, 2], 0.55))
    summary = self._summary(_predict(), other, _predict(np.zeros([2, 2], int)))
    kept = self.label_format.kept(summary, cuts.Cuts(cut=0.5))
    self.assertEqual((kept.objects, kept.objects_kept, kept.images_kept), (7.0, 6.0, 2.0))
    kept = self.label_format.kept(summary, cuts.Cuts(cut=0.6))
    self.assertEqual((kept.objects_kept, kept.images_kept), (1.0, 1.0))


if __name__ == '__main__':
  tf.test.main()
