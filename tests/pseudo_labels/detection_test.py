"""Tests of official_selftrain.pseudo_labels.detection and formats."""

import json

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors, keys
from official_selftrain.pseudo_labels import cuts, detection, formats, histograms

_BOXES = np.array(
  [
    [0.0, 0.0, 0.5, 1.0],  # kept
    [0.25, 0.25, 0.75, 0.5],  # kept, second best
    [-0.5, 0.25, 1.5, 0.75],  # clipped
    [0.5, 0.5, 0.5, 0.75],  # no height
    [1.25, 0.0, 1.5, 0.5],  # outside: no height when clipped
    [0.0, 0.0, 1.0, 1.0],  # under min_score
  ],
  np.float32,
)
_SCORES = np.array([0.25, 0.5, 0.75, 0.875, 0.875, 0.0625], np.float32)
_CLASSES = np.array([1, 2, 2, 1, 1, 1])


def _prediction(**changes):
  return {'boxes': _BOXES, 'scores': _SCORES, 'classes': _CLASSES, **changes}


class EncodeTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.format = detection.BoxFormat(num_classes=3, min_score=0.125, max_boxes=100)

  def _decode(self, features):
    size = {keys.IMAGE_HEIGHT: [200], keys.IMAGE_WIDTH: [100]}
    spec = {name: formats.RECORD_SPEC[name] for name in size}
    common = {name: formats.int64_feature(value) for name, value in size.items()}
    example = tf.train.Example(features=tf.train.Features(feature={**features, **common}))
    parsed = tf.io.parse_single_example(
      example.SerializeToString(), {**spec, **self.format.feature_spec()}
    )
    return self.format.decode(parsed)

  def test_what_the_network_says_besides_boxes_must_be_finite_too(self):
    nothing = {'boxes': np.zeros([0, 4]), 'scores': np.zeros(0), 'classes': np.zeros(0, np.int64)}
    with self.assertRaisesRegex(formats.UnusablePredictionError, 'NaN or infinite box or score'):
      self.format.encode({**nothing, 'is_finite': np.bool_(False)})
    features = self.format.encode({**nothing, 'is_finite': np.bool_(True)})
    self.assertEqual(self.format.num_objects(features), 0)

  def test_round_trip_is_sorted_clipped_and_without_worthless_boxes(self):
    features = self.format.encode(_prediction())
    self.assertEqual(self.format.num_objects(features), 3)
    decoded = self._decode(features)
    self.assertAllEqual(
      decoded[keys.GROUNDTRUTH_BOXES],
      [[0.0, 0.25, 1.0, 0.75], [0.25, 0.25, 0.75, 0.5], [0.0, 0.0, 0.5, 1.0]],
    )
    self.assertAllEqual(decoded[keys.GROUNDTRUTH_SCORES], [0.75, 0.5, 0.25])
    self.assertAllEqual(decoded[keys.GROUNDTRUTH_CLASSES], [2, 2, 1])
    self.assertEqual(decoded[keys.GROUNDTRUTH_CLASSES].dtype, tf.int64)
    self.assertAllEqual(decoded[keys.GROUNDTRUTH_IS_CROWD], [False] * 3)
    # 200 x 100 pixels.
    self.assertAllClose(decoded[keys.GROUNDTRUTH_AREA], [200 * 50, 100 * 25, 100 * 100])

  def test_names_are_those_of_the_model_garden(self):
    self.assertEqual(
      set(self.format.encode(_prediction())),
      {f'image/object/bbox/{side}' for side in ('ymin', 'xmin', 'ymax', 'xmax')}
      | {'image/object/class/label', 'image/object/score'},
    )

  def test_a_score_equal_to_the_lowest_is_stored(self):
    labels = detection.BoxFormat(num_classes=3, min_score=0.05)
    prediction = {
      'boxes': _BOXES[:2],
      'scores': np.float32([0.05, 0.0499]),
      'classes': _CLASSES[:2],
    }
    self.assertEqual(labels.num_objects(labels.encode(prediction)), 1)

  def test_max_boxes_keeps_the_best(self):
    labels = detection.BoxFormat(num_classes=3, max_boxes=2)
    features = labels.encode(_prediction())
    self.assertEqual(list(features[keys.BOX_SCORE].float_list.value), [0.75, 0.5])

  def test_nothing_predicted(self):
    features = self.format.encode(
      {'boxes': np.zeros([0, 4]), 'scores': np.zeros([0]), 'classes': np.zeros([0])}
    )
    self.assertEqual(self.format.num_objects(features), 0)
    decoded = self._decode(features)
    self.assertEqual(decoded[keys.GROUNDTRUTH_BOXES].shape, [0, 4])

  def test_absent_features_decode_as_no_boxes(self):
    self.assertEqual(self._decode({})[keys.GROUNDTRUTH_BOXES].shape, [0, 4])

  def test_nan_is_unusable(self):
    scores = _SCORES.copy()
    scores[4] = np.nan
    with self.assertRaisesRegex(formats.UnusablePredictionError, 'NaN or infinite'):
      self.format.encode(_prediction(scores=scores))

  def test_a_class_outside_the_model(self):
    with self.assertRaisesRegex(errors.DataError, 'predicted class 3; allowed are 0 to 2'):
      self.format.encode(_prediction(classes=_CLASSES + 1))

  def test_arrays_that_do_not_fit(self):
    with self.assertRaisesRegex(errors.DataError, r'scores \(5,\)'):
      self.format.encode(_prediction(scores=_SCORES[:5]))

  def test_cuts_put_objects_first_and_mark_the_rest(self):
    decoded = self._decode(self.format.encode(_prediction()))
    per_class = {2: 0.625, 1: 0.25}
    result = self.format.apply_cuts(decoded, cuts.Cuts(0.5, 0.125, per_class))
    self.assertAllEqual(result[keys.GROUNDTRUTH_SCORES], [0.75, 0.25, 0.5])
    self.assertAllEqual(result[keys.GROUNDTRUTH_CLASSES], [2, 1, 2])
    self.assertAllEqual(result[keys.GROUNDTRUTH_IS_IGNORED], [False, False, True])
    self.assertAllEqual(result[keys.GROUNDTRUTH_BOXES][2], [0.25, 0.25, 0.75, 0.5])
    self.assertTrue(self.format.has_objects(result))
    only_ignored = self.format.apply_cuts(decoded, cuts.Cuts(0.9, 0.125))
    self.assertAllEqual(only_ignored[keys.GROUNDTRUTH_IS_IGNORED], [True] * 3)
    self.assertFalse(self.format.has_objects(only_ignored))


class SummaryTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.format = detection.BoxFormat(num_classes=3)

  def _summary(self, scores, classes):
    summary = self.format.new_summary()
    boxes = np.tile(np.float32([0, 0, 1, 1]), [len(scores), 1])
    prediction = {'boxes': boxes, 'scores': np.float32(scores), 'classes': np.array(classes, int)}
    self.format.count(summary, self.format.encode(prediction))
    return summary

  def test_counts_by_hand(self):
    summary = self._summary([0.5, 0.51, 0.05, 1.0], [1, 1, 2, 2])
    self.assertEqual(summary['boxes'], {'1': 2, '2': 2})
    self.assertEqual(summary['scores']['1'], [0] * 10 + [2] + [0] * 9)
    self.assertEqual(summary['scores']['2'], [0, 1] + [0] * 17 + [1])
    self.assertEqual(summary['best_scores'], [0] * 19 + [1])

  def test_summaries_add_up_and_survive_json(self):
    left, right = self._summary([0.5, 0.25], [1, 2]), self._summary([0.5], [1])
    merged = formats.merge_summaries(left, json.loads(json.dumps(right)))
    self.assertEqual(merged['boxes'], {'1': 2, '2': 1})
    self.assertEqual(merged['best_scores'][10], 2)
    self.assertEqual(formats.merge_summaries(self.format.new_summary(), left), left)
    self.assertEqual(left['boxes'], {'1': 1, '2': 1})

  def test_kept_agrees_with_counting_boxes(self):
    rng = np.random.default_rng(0)
    summary = self.format.new_summary()
    images = []
    for _ in range(200):
      count = rng.integers(0, 8)
      # Many scores fall exactly on a bin edge, where >= matters.
      scores = np.float32(rng.choice(np.arange(1, 20) * 0.05, count))
      classes = rng.integers(1, 3, count)
      summary = formats.merge_summaries(summary, self._summary(scores, classes))
      images.append((scores, classes))
    for step in range(1, 20):
      cut = round(step * 0.05, 2)
      kept = self.format.kept(summary, cuts.Cuts(cut))
      above = [scores >= np.float32(cut) for scores, _ in images]
      self.assertEqual(kept.objects_kept, sum(mask.sum() for mask in above), cut)
      self.assertEqual(kept.images_kept, sum(mask.any() for mask in above), cut)
    by_class = self.format.kept(summary, cuts.Cuts(0.5, per_class={2: 0.8}))
    expected = sum(
      (scores >= np.where(classes == 2, np.float32(0.8), np.float32(0.5))).sum()
      for scores, classes in images
    )
    self.assertEqual(by_class.objects_kept, expected)

  def test_kept_of_nothing(self):
    kept = self.format.kept(self.format.new_summary(), cuts.Cuts())
    self.assertEqual(kept, formats.Kept(objects=0, objects_kept=0, images_kept=0, highest_score=0))

  def test_highest_score_is_the_upper_end_of_its_bin(self):
    self.assertEqual(self.format.kept(self._summary([0.33], [1]), cuts.Cuts()).highest_score, 0.35)

  def test_a_cut_inside_a_bin_is_interpolated(self):
    histogram = np.zeros(20)
    histogram[10] = 4
    self.assertAlmostEqual(histograms.count_above(histogram, 0.5125), 3.0)
    self.assertEqual(histograms.count_above(histogram, 0.5), 4.0)
    self.assertEqual(histograms.count_above(histogram, 0.55), 0.0)

  def test_a_score_of_1_is_above_every_cut(self):
    summary = self._summary([1.0, 1.0, 0.94], [1, 2, 2])
    for cut in (0.95, 0.99, 1.0):
      kept = self.format.kept(summary, cuts.Cuts(cut))
      self.assertEqual((kept.objects_kept, kept.images_kept), (2, 1), cut)
    self.assertEqual(self.format.kept(summary, cuts.Cuts(0.9)).objects_kept, 3)
    below = self._summary([0.94], [1])
    self.assertEqual(self.format.kept(below, cuts.Cuts(1.0)).objects_kept, 0)


if __name__ == '__main__':
  tf.test.main()
