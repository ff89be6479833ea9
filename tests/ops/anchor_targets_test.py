"""Anchor targets against the Model Garden's labeler, by hand, and with boxes of the ignore band."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.ops import anchor as anchor_ops

from official_selftrain.ops import anchor_targets


def _flat(by_level: dict[str, tf.Tensor], depth: int) -> np.ndarray:
  return np.concatenate([np.reshape(value, [-1, depth]) for value in by_level.values()])


def _by_loops(anchors, boxes, classes, is_ignored, match, unmatched, scores):
  """The rules of `assign`, one anchor and one box at a time: class, class weight and box weight, and the box."""
  count = len(boxes)
  is_object = (classes > 0) & ~is_ignored
  sureness = np.ones(count, np.float32) if scores is None else scores
  overlaps = np.array([[_iou(a, b) for b in boxes] for a in anchors]).reshape(len(anchors), count)
  takes = [int(np.argmax(overlaps[:, j])) for j in range(count)]
  for i in range(len(anchors)):
    objects = [j for j in range(count) if is_object[j]]
    matching = [j for j in objects if overlaps[i, j] >= match]
    takers = [j for j in objects if takes[j] == i]
    rank = (lambda j: overlaps[i, j]) if scores is None else (lambda j: overlaps[i, j] * scores[j])  # noqa: B023
    box = max(matching, key=rank) if matching else None
    taker = max(takers, key=lambda j: sureness[j]) if takers else None
    if taker is not None and (box is None or sureness[taker] >= sureness[box]):
      box = taker
    if box is not None:
      yield classes[box], 1.0, sureness[box], box
      continue
    best = max((overlaps[i, j] for j in objects), default=-1.0)
    in_band = any(
      is_ignored[j] and (overlaps[i, j] >= match or takes[j] == i) for j in range(count)
    )
    yield -1, 0.0 if in_band or unmatched <= best < match else 1.0, 0.0, None


def _iou(a, b):
  height, width = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), np.float32(0))
  areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
  union = areas[0] + areas[1] - height * width
  return height * width / union if union else np.float32(0)


def _random_boxes(rng: np.random.Generator, count: int, side: float) -> np.ndarray:
  corner = rng.uniform(0, side * 0.8, [count, 2])
  size = rng.uniform(3, side * 0.5, [count, 2])
  return np.concatenate([corner, np.minimum(corner + size, side)], axis=1).astype(np.float32)


class IouTest(tf.test.TestCase):
  def test_known_overlaps(self):
    a = tf.constant([[0.0, 0.0, 10.0, 10.0]])
    b = tf.constant(
      [
        [0.0, 0.0, 10.0, 10.0],
        [0.0, 5.0, 10.0, 15.0],
        [20.0, 20.0, 30.0, 30.0],
        [4.0, 4.0, 4.0, 4.0],
      ]
    )
    self.assertAllClose(anchor_targets.iou(a, b), [[1.0, 50 / 150, 0.0, 0.0]])


class AssignTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters((0, 0.5, 0.5), (1, 0.5, 0.5), (4, 0.5, 0.4), (9, 0.6, 0.3))
  def test_equals_the_model_garden_without_ignored_boxes(self, count, match, unmatched):
    rng = np.random.default_rng(count)
    by_level = anchor_ops.build_anchor_generator(3, 5, 2, [0.5, 1.0, 2.0], 3.0)(
      image_size=(128, 128)
    )
    boxes = _random_boxes(rng, count, 128.0)
    classes = rng.integers(1, 11, count)
    labeler = anchor_ops.AnchorLabeler(match_threshold=match, unmatched_threshold=unmatched)
    expected = labeler.label_anchors(
      by_level, tf.constant(boxes), tf.constant(classes[:, None]), {}
    )
    anchors = tf.constant(_flat(by_level, 4))
    actual = anchor_targets.assign(
      anchors,
      tf.constant(boxes),
      tf.constant(classes),
      tf.zeros([count], tf.bool),
      match,
      unmatched,
    )
    self.assertAllEqual(actual.classes, _flat(expected[0], 1)[:, 0])
    self.assertAllEqual(actual.class_weights, expected[3])
    self.assertAllEqual(actual.box_weights, expected[4])
    positive = actual.box_weights.numpy() > 0
    self.assertAllClose(actual.boxes[positive], _flat(expected[1], 4)[positive], atol=1e-5)
    self.assertAllEqual(tf.math.is_finite(actual.boxes), tf.ones_like(actual.boxes, tf.bool))
    self.assertEqual(positive.any(), count > 0)

  @parameterized.product(with_scores=(False, True), thresholds=((0.5, 0.5), (0.6, 0.3), (1.0, 0.5)))
  def test_equals_the_rules_one_by_one(self, with_scores, thresholds):
    rng = np.random.default_rng(3)
    positives = 0
    for count in (0, 1, 2, 5, 9) * 10:
      # Few different corners, so that boxes tie and are equal to anchors; some are empty.
      corners = [rng.integers(0, 5, [n, 2]) for n in (24, count)]
      anchors, boxes = (
        np.concatenate([at, at + rng.integers(0, 5, at.shape)], axis=1).astype(np.float32)
        for at in corners
      )
      classes = rng.integers(0, 4, count)
      is_ignored = rng.uniform(size=count) < 0.3
      scores = rng.choice([0.0, 0.25, 0.5, 1.0], count).astype(np.float32) if with_scores else None
      found = anchor_targets.assign(
        *(tf.constant(each) for each in (anchors, boxes, classes, is_ignored)),
        *thresholds,
        scores=scores,
      )
      expected = list(_by_loops(anchors, boxes, classes, is_ignored, *thresholds, scores))
      for i, name in enumerate(('classes', 'class_weights', 'box_weights')):
        self.assertAllEqual(getattr(found, name), [each[i] for each in expected], name)
      for anchor, offsets, (*_, box) in zip(anchors, found.boxes.numpy(), expected, strict=True):
        target = (
          np.zeros(4) if box is None else anchor_targets.encode(boxes[box, None], anchor[None])[0]
        )
        self.assertAllClose(offsets, target, atol=1e-6)
        positives += box is not None
    self.assertGreater(positives, 50)

  def test_a_box_that_is_no_number_changes_no_other(self):
    anchors = tf.constant(_random_boxes(np.random.default_rng(0), 60, 40.0))
    boxes = np.concatenate([anchors[:2], np.full([1, 4], np.nan)]).astype(np.float32)
    classes, scores = tf.constant([3, 5, 0], tf.int64), tf.constant([0.9, 0.8, np.nan])
    alone = anchor_targets.assign(anchors, boxes[:2], classes[:2], tf.zeros([2], tf.bool))
    for is_ignored, given in (([False] * 3, classes), ([False, False, True], classes + 1)):
      found = anchor_targets.assign(anchors, boxes, given, tf.constant(is_ignored))
      self.assertAllEqual(found.box_weights, alone.box_weights)
    # As an object it teaches what stops a run, and ends no pipeline with the message of another operation.
    found = anchor_targets.assign(
      anchors, boxes, classes + 1, tf.zeros([3], tf.bool), scores=scores
    )
    self.assertLen(found.classes, 60)

  def test_offsets_of_a_box_do_not_depend_on_how_many_anchors_are_positive(self):
    anchors = tf.constant(_random_boxes(np.random.default_rng(0), 300, 100.0))
    boxes = tf.constant(_random_boxes(np.random.default_rng(1), 40, 100.0))
    every = anchor_targets.assign(
      anchors, boxes, tf.range(1, 41, dtype=tf.int64), tf.zeros([40], tf.bool)
    )
    compared = 0
    for i in range(40):
      one = anchor_targets.assign(
        anchors, boxes[i : i + 1], tf.constant([i + 1], tf.int64), tf.constant([False])
      )
      same = (every.classes.numpy() == i + 1) & (one.classes.numpy() == i + 1)
      self.assertAllEqual(every.boxes[same], one.boxes[same])
      compared += same.sum()
    self.assertGreater(compared, 30)

  def test_by_hand(self):
    anchors = tf.constant([[0.0, 0, 10, 10], [0, 0, 10, 12], [50, 50, 60, 60], [50, 50, 60, 75]])
    boxes = tf.constant([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    out = anchor_targets.assign(
      anchors, boxes, tf.constant([3, 7], tf.int64), tf.constant([False, True])
    )
    # Box 0 matches anchors 0 and 1 (IoU 1 and 10/12); box 1 is ignored: anchor 2 (IoU 1) counts for nothing, and
    # anchor 3 (IoU 10/25) stays background.
    self.assertAllEqual(out.classes, [3, 3, -1, -1])
    self.assertAllEqual(out.class_weights, [1.0, 1.0, 0.0, 1.0])
    self.assertAllEqual(out.box_weights, [1.0, 1.0, 0.0, 0.0])
    self.assertAllClose(out.boxes[1], [0.0, -1 / 12, 0.0, np.log(10 / 12)], atol=1e-6)

  def test_positive_anchors_weigh_as_much_as_their_box_scores(self):
    anchors = tf.constant([[0.0, 0, 10, 10], [0, 0, 10, 12], [50, 50, 60, 60], [80, 80, 90, 90]])
    boxes = tf.constant([[0.0, 0, 10, 10], [50, 50, 60, 62], [80, 80, 90, 90]])
    scores = tf.constant([0.25, 0.75, 0.125])
    arguments = anchors, boxes, tf.constant([3, 7, 3], tf.int64), tf.constant([False, False, True])
    soft = anchor_targets.assign(*arguments, scores=scores)
    self.assertAllEqual(soft.box_weights, [0.25, 0.25, 0.75, 0.0])
    hard = anchor_targets.assign(*arguments)
    self.assertAllEqual(hard.box_weights, [1.0, 1.0, 1.0, 0.0])
    for name in ('classes', 'boxes', 'class_weights'):
      self.assertAllEqual(getattr(soft, name), getattr(hard, name))

  def test_a_sure_box_keeps_its_anchors_from_unsure_ones(self):
    anchors = tf.constant([[0.0, 0, 10, 10], [0, 0, 10, 12], [0, 0, 10, 30]])
    # The other boxes are less sure guesses at the same object. One fits the first anchor better, one the second.
    boxes = tf.constant([[0.0, 0, 10, 11], [0, 0, 10, 10], [0, 0, 10, 13]])
    classes, band = tf.constant([3, 7, 5], tf.int64), tf.zeros([3], tf.bool)
    hard = anchor_targets.assign(anchors, boxes, classes, band)
    self.assertAllEqual(hard.classes, [7, 3, -1])
    soft = anchor_targets.assign(anchors, boxes, classes, band, scores=tf.constant([0.8, 0.2, 0.3]))
    self.assertAllEqual(soft.classes, [3, 3, -1])
    self.assertAllClose(soft.box_weights, [0.8, 0.8, 0.0])
    # Of boxes that are as sure, the one that fits better.
    even = anchor_targets.assign(anchors, boxes, classes, band, scores=tf.constant([0.5, 0.5, 0.5]))
    self.assertAllEqual(even.classes, hard.classes)
    # A sure box that hardly overlaps does not push aside a fitting one that is less sure.
    apart = tf.constant([[0.0, 0, 10, 10], [0, 4, 10, 14]])
    near = anchor_targets.assign(
      apart, apart, tf.constant([3, 7], tf.int64), band[:2], 0.4, 0.4,
      scores=tf.constant([0.5, 0.9]),
    )  # fmt: skip
    self.assertAllEqual(near.classes, [3, 7])

  def test_scores_of_1_change_nothing(self):
    rng = np.random.default_rng(5)
    anchors, boxes = (tf.constant(_random_boxes(rng, count, 60.0)) for count in (300, 12))
    classes = tf.constant(rng.integers(1, 5, 12))
    band = tf.constant(rng.uniform(size=12) < 0.3)
    hard = anchor_targets.assign(anchors, boxes, classes, band)
    soft = anchor_targets.assign(anchors, boxes, classes, band, scores=tf.ones([12]))
    for name, value in hard._asdict().items():
      positive = hard.box_weights > 0 if name == 'boxes' else slice(None)
      self.assertAllEqual(value[positive], getattr(soft, name)[positive], name)

  def test_best_anchor_of_an_ignored_box_is_left_out_at_any_overlap(self):
    anchors = tf.constant([[0.0, 0, 10, 10], [50, 50, 90, 90]])
    tiny = tf.constant([[60.0, 60, 64, 64]])
    out = anchor_targets.assign(anchors, tiny, tf.constant([1], tf.int64), tf.constant([True]))
    self.assertAllEqual(out.class_weights, [1.0, 0.0])
    self.assertAllEqual(out.box_weights, [0.0, 0.0])

  def test_an_object_wins_over_the_ignore_band(self):
    anchors = tf.constant([[0.0, 0, 10, 10]])
    boxes = tf.constant([[0.0, 0, 10, 10], [0.0, 0, 10, 10]])
    out = anchor_targets.assign(
      anchors, boxes, tf.constant([2, 5], tf.int64), tf.constant([True, False])
    )
    self.assertAllEqual(out.classes, [5])
    self.assertAllEqual(out.class_weights, [1.0])

  def test_same_in_a_dataset_map(self):
    anchors = tf.constant(_random_boxes(np.random.default_rng(0), 50, 100.0))
    boxes = tf.constant(_random_boxes(np.random.default_rng(1), 5, 100.0))
    classes = tf.range(1, 6, dtype=tf.int64)
    ignored = tf.constant([False, True, False, True, False])
    eager = anchor_targets.assign(anchors, boxes, classes, ignored)
    dataset = tf.data.Dataset.from_tensors((boxes, classes, ignored))
    mapped = next(iter(dataset.map(lambda b, c, i: anchor_targets.assign(anchors, b, c, i))))
    for left, right in zip(eager, mapped, strict=True):
      self.assertAllEqual(left, right)


if __name__ == '__main__':
  tf.test.main()
