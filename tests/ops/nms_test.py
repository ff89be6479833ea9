"""Suppression: worked by hand, against a plain NumPy version of the paper's loop, and against TensorFlow's op."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.modeling.layers import detection_generator

from official_selftrain.ops import nms


def _iou(a, b):
  sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
  shared = np.prod(np.maximum(sides, 0.0))
  union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
  return shared / union if shared > 0 else 0.0


def _one_class(boxes, scores, sigma, threshold, top_k, most):
  """The loop of the paper's figure 2 on boxes [n, 4] and scores [n] of one class; (score, index) of each pick."""
  scores = scores.astype(np.float64)
  order = np.argsort(-scores, kind='stable')[:top_k]
  left = {int(index): scores[index] for index in order if scores[index] > threshold}
  picks = []
  while left and len(picks) < most:
    best = max(left, key=left.get)  # The first of equals.
    score = left.pop(best)
    if score <= threshold:
      break
    picks.append((score, best))
    for index in left:
      left[index] *= math.exp(-(_iou(boxes[best], boxes[index]) ** 2) / (2 * sigma))
  return picks


def _one_image(boxes, scores, sigma, threshold=0.05, top_k=5000, most=100):
  """Boxes, scores and classes of an image's detections: every class on its own, then the best of all."""
  found = []
  for number in range(scores.shape[1]):
    picks = _one_class(boxes, scores[:, number], sigma, threshold, top_k, most)
    found += [(score, number, index) for score, index in picks]
  found.sort(key=lambda each: -each[0])
  found = found[:most]
  return [boxes[i] for *_, i in found], [s for s, *_ in found], [c for _, c, _ in found]


def _random(seed, batch, count, classes):
  """Crowded boxes in 100 x 100 pixels, with scores up to 1 in the first image and up to 0.06 in the last."""
  rng = np.random.default_rng(seed)
  corner = rng.uniform(0, 70, [batch, count, 2])
  boxes = np.concatenate([corner, corner + rng.uniform(5, 40, [batch, count, 2])], axis=-1)
  highest = np.geomspace(1.0, 0.06, batch)[:, None, None]
  scores = highest * rng.uniform(0.0, 1.0, [batch, count, classes])
  return boxes.astype(np.float32), scores.astype(np.float32)


class ByHandTest(tf.test.TestCase, parameterized.TestCase):
  # The second box overlaps the first by 0.6, the third neither of them.
  boxes = ((0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 6.0), (20.0, 20.0, 30.0, 30.0))

  def _run(self, boxes, scores, sigma=0.5, **options):
    boxes, scores = tf.constant(boxes)[None], tf.constant(scores)[None]
    found = nms.soft_nms(boxes, scores, sigma, **{'max_num_detections': 4, **options})
    return tf.nest.map_structure(lambda value: value[0].numpy(), found)

  def test_scores_fall_with_the_overlap_and_change_the_order(self):
    found = self._run(self.boxes, [[0.9], [0.8], [0.6]])
    lowered = 0.8 * math.exp(-(0.6**2) / (2 * 0.5))
    self.assertLess(lowered, 0.6)
    self.assertAllClose(found.scores, [0.9, 0.6, lowered, 0.0])
    self.assertAllEqual(found.boxes, [self.boxes[0], self.boxes[2], self.boxes[1], [0.0] * 4])
    self.assertEqual(found.num_detections, 3)

  def test_the_papers_sigma_is_twice_ours(self):
    found = self._run(self.boxes, [[0.9], [0.8], [0.1]], sigma=0.15)
    self.assertAllClose(found.scores[1], 0.8 * math.exp(-(0.6**2) / 0.3))

  def test_decays_multiply(self):
    found = self._run([self.boxes[0]] * 3, [[0.9], [0.8], [0.7]])
    decay = math.exp(-1.0)
    self.assertAllClose(found.scores, [0.9, 0.8 * decay, 0.7 * decay**2, 0.0])

  def test_classes_do_not_touch_each_other(self):
    found = self._run([self.boxes[0]] * 2, [[0.9, 0.0, 0.5], [0.0, 0.8, 0.0]])
    self.assertAllClose(found.scores, [0.9, 0.8, 0.5, 0.0])
    self.assertAllEqual(found.classes, [0, 1, 2, 0])

  def test_a_score_at_the_threshold_is_out_at_first_and_after_the_decay(self):
    found = self._run(self.boxes, [[0.75], [0.5], [0.25]], score_threshold=0.25)
    self.assertAllClose(found.scores, [0.75, 0.5 * math.exp(-0.36), 0.0, 0.0])
    found = self._run([self.boxes[0]] * 2, [[0.9], [0.1]], score_threshold=0.05)
    self.assertAllClose(found.scores, [0.9, 0.0, 0.0, 0.0])  # 0.1 / e is below 0.05.

  def test_nothing_above_the_threshold(self):
    found = self._run(self.boxes, [[0.05], [0.0], [0.01]])
    self.assertEqual(found.num_detections, 0)
    self.assertAllEqual(found.boxes, np.zeros([4, 4]))
    self.assertAllEqual(found.scores, np.zeros([4]))
    self.assertAllEqual(found.classes, np.zeros([4]))

  def test_no_boxes_and_no_images(self):
    for batch, count in ((2, 0), (0, 3), (0, 0)):
      boxes, scores = tf.zeros([batch, count, 4]), tf.ones([batch, count, 2])
      found = nms.soft_nms(boxes, scores, 0.5, max_num_detections=3)
      self.assertAllEqual(found.boxes, np.zeros([batch, 3, 4]))
      self.assertAllEqual(found.num_detections, np.zeros([batch]))

  def test_most_detections_and_the_best_per_class(self):
    apart = [[10.0 * i, 0.0, 10.0 * i + 5.0, 5.0] for i in range(5)]
    scores = [[0.1, 0.2], [0.3, 0.9], [0.5, 0.6], [0.7, 0.8], [0.95, 0.4]]
    found = self._run(apart, scores, max_num_detections=3)
    self.assertAllClose(found.scores, [0.95, 0.9, 0.8])
    self.assertAllEqual(found.classes, [0, 1, 1])
    found = self._run(apart, scores, pre_nms_top_k=1)
    self.assertAllClose(found.scores, [0.95, 0.9, 0.0, 0.0])
    found = self._run(apart, [[0.5]] * 5, pre_nms_top_k=2)
    self.assertAllEqual(found.boxes[:2], apart[:2])
    self.assertEqual(found.num_detections, 2)

  def test_equal_scores_go_to_the_lower_class_and_then_to_the_earlier_box(self):
    apart = [[10.0 * i, 0.0, 10.0 * i + 5.0, 5.0] for i in range(3)]
    found = self._run(apart, [[0.1, 0.5], [0.5, 0.5], [0.5, 0.1]])
    self.assertAllEqual(found.boxes, [apart[1], apart[2], apart[0], apart[1]])
    self.assertAllEqual(found.classes, [0, 0, 1, 1])

  def test_empty_boxes_overlap_nothing_and_corners_may_be_swapped(self):
    boxes = [[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 5.0, 5.0], [10.0, 6.0, 0.0, 0.0]]
    found = self._run(boxes, [[0.9], [0.8], [0.7]])
    self.assertAllClose(found.scores, [0.9, 0.8, 0.7 * math.exp(-0.36), 0.0])
    self.assertAllEqual(found.boxes[2], boxes[2])
    found = self._run([boxes[1]] * 2, [[0.9], [0.8]])
    self.assertAllClose(found.scores, [0.9, 0.8, 0.0, 0.0])

  @parameterized.parameters((0.0, 0.05), (-0.3, 0.05), (0.3, -0.01))
  def test_settings_out_of_range(self, sigma, threshold):
    with self.assertRaisesRegex(ValueError, 'sigma must be above 0, the threshold not below 0'):
      self._run(self.boxes, [[0.9], [0.8], [0.6]], sigma=sigma, score_threshold=threshold)


class PromisingTest(tf.test.TestCase):
  def test_by_hand(self):
    boxes = tf.reshape(tf.range(24.0), [2, 3, 4])
    scores = tf.constant(
      [[[0.1, 0.2], [0.3, 0.31], [0.9, 0.0]], [[0.3, 0.3], [0.0, 0.0], [0.0, 0.4]]], tf.float32
    )
    left, its_scores = nms.promising(boxes, scores, 0.3)
    self.assertAllEqual(left, [[boxes[0, 1], boxes[0, 2]], [boxes[1, 2], tf.zeros(4)]])
    self.assertAllEqual(its_scores, [[scores[0, 1], scores[0, 2]], [scores[1, 2], tf.zeros(2)]])

  def test_nothing_is_left(self):
    boxes, scores = nms.promising(tf.ones([2, 3, 1, 4]), tf.zeros([2, 3, 5]), 0.0)
    self.assertAllEqual(boxes, tf.zeros([2, 1, 1, 4]))
    self.assertAllEqual(scores, tf.zeros([2, 1, 5]))

  def test_hard_suppression_finds_the_same(self):
    for seed, threshold in ((1, 0.05), (2, 0.5), (3, 0.0)):
      boxes, scores = _random(seed, 3, 200, 4)
      # Many equal scores: the earlier box wins.
      scores = np.round(scores, 1)
      settings = {'max_output_size_per_class': 50, 'max_total_size': 40}
      settings |= {'iou_threshold': 0.4, 'score_threshold': threshold, 'clip_boxes': False}
      expected = tf.image.combined_non_max_suppression(boxes[:, :, None], scores, **settings)
      left = nms.promising(boxes, scores, threshold)
      found = tf.image.combined_non_max_suppression(left[0][:, :, None], left[1], **settings)
      self.assertGreater(tf.reduce_max(expected.valid_detections), 3)
      for ours, theirs in zip(found, expected, strict=True):
        self.assertAllEqual(ours, theirs)


class SecondImplementationTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(
    # batch, boxes, classes, sigma, threshold, top_k, most
    (1, 30, 1, 0.5, 0.05, 5000, 100),
    (3, 80, 4, 0.15, 0.05, 5000, 20),
    (4, 60, 7, 0.3, 0.0, 5000, 50),
    (3, 100, 3, 0.3, 0.05, 10, 100),
    (2, 200, 5, 1.0, 0.055, 30, 40),
    (5, 50, 2, 0.02, 0.05, 5000, 100),
  )
  def test_equals_a_plain_loop(self, batch, count, classes, sigma, threshold, top_k, most):
    boxes, scores = _random(count, batch, count, classes)
    options = (sigma, threshold, top_k, most)
    found = nms.soft_nms(tf.constant(boxes), tf.constant(scores), *options)
    numbers = []
    for i in range(batch):
      expected_boxes, expected_scores, expected_classes = _one_image(boxes[i], scores[i], *options)
      number = len(expected_scores)
      numbers.append(number)
      self.assertAllClose(found.scores[i, :number], expected_scores, rtol=1e-5)
      self.assertAllEqual(found.boxes[i, :number], np.reshape(expected_boxes, [-1, 4]))
      self.assertAllEqual(found.classes[i, :number], expected_classes)
      self.assertAllEqual(found.scores[i, number:], np.zeros([most - number]))
    self.assertAllEqual(found.num_detections, numbers)
    self.assertGreater(min(numbers), 0)

  @parameterized.parameters(0.15, 0.5)
  def test_equals_the_model_gardens_v1_for_the_same_setting(self, sigma):
    boxes, scores = _random(7, 3, 120, 4)
    scores = np.round(scores, 2)  # Many are equal.
    theirs = detection_generator._generate_detections_v1(
      tf.constant(boxes)[:, :, None],
      tf.constant(scores),
      pre_nms_top_k=40,
      pre_nms_score_threshold=0.05,
      nms_iou_threshold=0.5,  # Not used with a sigma.
      max_num_detections=100,
      soft_nms_sigma=sigma,
    )
    ours = nms.soft_nms(tf.constant(boxes), tf.constant(scores), sigma, 0.05, 40, 100)
    self.assertAllEqual(ours.num_detections, theirs[3])
    self.assertAllInRange(theirs[3][-1], 1, 99)
    for i, number in enumerate(ours.num_detections):
      self.assertAllClose(ours.scores[i, :number], theirs[1][i, :number], rtol=1e-5)
      self.assertAllEqual(ours.boxes[i, :number], theirs[0][i, :number])
      self.assertAllEqual(ours.classes[i, :number], theirs[2][i, :number])


class HardTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(
    # batch, boxes, classes, iou, threshold, most
    (1, 30, 1, 0.5, 0.05, 100),
    (3, 80, 4, 0.3, 0.05, 20),
    (4, 60, 7, 0.7, 0.0, 50),
    (2, 200, 5, 0.1, 0.055, 40),
  )
  def test_equals_tensorflows_operator(self, batch, count, classes, iou, threshold, most):
    boxes, scores = map(tf.constant, _random(count, batch, count, classes))
    found = nms.hard_nms(boxes, scores, iou, threshold, None, most)
    expected = tf.image.combined_non_max_suppression(
      boxes[:, :, None],
      scores,
      max_output_size_per_class=most,
      max_total_size=most,
      iou_threshold=iou,
      score_threshold=threshold,
      clip_boxes=False,
    )
    self.assertGreater(tf.reduce_min(expected.valid_detections), 0)
    for ours, theirs in zip(found, expected, strict=True):
      self.assertAllEqual(ours, theirs)

  def test_the_threshold_itself_does_not_remove(self):
    boxes = tf.constant([[(0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 5.0)]])
    scores = tf.constant([[[0.9], [0.8]]])
    self.assertAllEqual(nms.hard_nms(boxes, scores, 0.5).num_detections, [2])
    self.assertAllEqual(nms.hard_nms(boxes, scores, 0.499).num_detections, [1])

  def test_best_per_class(self):
    boxes = tf.constant([[(0.0, 0.0, 1.0, 1.0), (2.0, 2.0, 3.0, 3.0), (4.0, 4.0, 5.0, 5.0)]])
    scores = tf.constant([[[0.5, 0.1], [0.9, 0.2], [0.7, 0.3]]])
    found = nms.hard_nms(boxes, scores, 0.5, pre_nms_top_k=2)
    self.assertAllClose(found.scores[0, :4], [0.9, 0.7, 0.3, 0.2])
    self.assertAllEqual(found.classes[0, :4], [0, 0, 1, 1])
    self.assertAllEqual(found.num_detections, [4])

  def test_threshold_out_of_range(self):
    with self.assertRaisesRegex(ValueError, 'score_threshold is -0.1: it must not be below 0'):
      nms.hard_nms(tf.zeros([1, 1, 4]), tf.zeros([1, 1, 1]), 0.5, -0.1)


class GraphTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(((None, None),), ((None, 40),), ((3, 40),))
  def test_one_trace_serves_every_size_that_is_not_given(self, static):
    specs = [tf.TensorSpec([*static, 4]), tf.TensorSpec([*static, 3], tf.float16)]

    @tf.function(input_signature=specs)
    def suppress(boxes, scores):
      return nms.soft_nms(boxes, scores, 0.3, max_num_detections=10)

    shapes = [value.as_list() for value in suppress.get_concrete_function().output_shapes]
    batch, number = static
    self.assertEqual(shapes, [[batch, 10, 4], [batch, 10], [batch, 10], [batch]])
    for size in [batch] if batch else [1, 5, 0]:
      boxes, scores = _random(size, size, number or 8 * size, 3)
      scores = scores.astype(np.float16)
      traced = suppress(tf.constant(boxes), tf.constant(scores))
      eager = nms.soft_nms(tf.constant(boxes), tf.constant(scores), 0.3, max_num_detections=10)
      for one, other in zip(traced, eager, strict=True):
        self.assertAllClose(one, other, rtol=1e-6)
    self.assertEqual(suppress.experimental_get_tracing_count(), 1)

  def test_an_image_does_not_depend_on_its_batch(self):
    boxes, scores = _random(1, 4, 50, 3)
    boxes, scores = tf.constant(boxes), tf.constant(scores)
    together = nms.soft_nms(boxes, scores, 0.3)
    for i in range(4):
      alone = nms.soft_nms(boxes[i : i + 1], scores[i : i + 1], 0.3)
      for one, other in zip(together, alone, strict=True):
        self.assertAllClose(one[i], other[0], rtol=1e-6)


if __name__ == '__main__':
  tf.test.main()
