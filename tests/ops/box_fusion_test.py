"""Boxes of several views as one: by hand, and against a second implementation."""

import numpy as np
import tensorflow as tf

from official_selftrain.ops import box_fusion


def _fuse(views, most=6, **settings):
  """Fuses views of one image, lists of (class, score, ymin, xmin, ymax, xmax)."""
  longest = max(len(view) for view in views)
  rows = np.zeros([1, len(views), longest, 6], np.float32)
  rows[..., 0] = 1  # The Model Garden's padding has class 1.
  for place, view in enumerate(views):
    rows[0, place, : len(view)] = np.reshape(view, [-1, 6])
  fused = box_fusion.fuse(
    *(tf.constant(rows[..., 2:]), tf.constant(rows[..., 1]), tf.constant(rows[..., 0], tf.int32)),
    most,
    **settings,
  )
  count = int(fused.num_boxes[0])
  for values in (fused.boxes, fused.scores, fused.classes):
    assert not np.any(values.numpy()[0, count:])
  return [values.numpy()[0, :count] for values in (fused.boxes, fused.scores, fused.classes)]


def _iou(a, b):
  height, width = (max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1))
  area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
  return height * width / (sum(area) - height * width)


def _reference(views):
  """The same, one box at a time."""
  everything = [(place, tuple(row)) for place, view in enumerate(views) for row in view]
  everything.sort(key=lambda entry: -entry[1][1])
  kept = []
  for _, row in everything:
    if all(row[0] != other[0] or _iou(row[2:], other[2:]) <= 0.5 for other in kept):
      kept.append(row)
  result = []
  for row in kept:
    votes = [e for e in everything if e[1][0] == row[0] and _iou(e[1][2:], row[2:]) >= 0.6]
    corners = np.average([r[2:] for _, r in votes], axis=0, weights=[r[1] for _, r in votes])
    best = [max((r[1] for p, r in votes if p == place), default=0.0) for place in range(len(views))]
    result.append((row[0], np.mean(best), *corners))
  return sorted(result, key=lambda row: -row[1])


class FuseTest(tf.test.TestCase):
  def test_by_hand(self):
    first = [(2, 0.75, 0, 0, 0.5, 0.5), (1, 0.5, 0.5, 0.5, 1, 1)]
    second = [(2, 0.25, 0, 0.125, 0.5, 0.5), (1, 0.75, 0, 0, 0.5, 0.5)]
    boxes, scores, classes = _fuse([first, second])
    # Class 2 is seen twice, with an IoU of 0.75; both boxes of class 1 are seen once.
    self.assertAllEqual(classes, [2, 1, 1])
    self.assertAllClose(scores, [0.5, 0.375, 0.25])
    self.assertAllClose(boxes, [[0, 0.03125, 0.5, 0.5], [0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])

  def test_views_that_agree_change_nothing(self):
    view = [
      (1, 0.9, 0.1, 0.2, 0.6, 0.7),
      (3, 0.4, 0.1, 0.2, 0.6, 0.7),
      (1, 0.3, 0.7, 0.7, 0.9, 0.9),
    ]
    boxes, scores, classes = _fuse([view] * 3)
    self.assertAllClose(np.c_[classes, scores, boxes], view, atol=1e-6)

  def test_an_image_without_boxes(self):
    boxes, scores, classes = _fuse([[], [(1, 0.0, 0, 0, 0, 0)]])
    self.assertEqual((len(boxes), len(scores), len(classes)), (0, 0, 0))

  def test_boxes_without_area_are_left_out(self):
    boxes, scores, _ = _fuse([[(1, 0.5, 1, 1, 1, 1), (1, 0.25, 0, 0, 0.5, 0.5)]])
    self.assertAllClose(boxes, [[0, 0, 0.5, 0.5]])
    self.assertAllClose(scores, [0.25])

  def test_suppression_is_that_of_the_model(self):
    # The first two overlap by 0.6, as do the last two.
    first = [(1, 0.75, 0, 0, 0.8, 0.5), (1, 0.5, 0.2, 0, 1, 0.5)]
    second = [(1, 0.75, 0, 0.5, 0.8, 1), (2, 0.5, 0.2, 0.5, 1, 1)]
    for settings, expected in (
      ({}, [(1, 0.375), (1, 0.375), (2, 0.25)]),
      ({'nms_iou': 0.7}, [(1, 0.375), (1, 0.375), (1, 0.375), (2, 0.25)]),
      ({'is_class_agnostic': True}, [(1, 0.375), (1, 0.375)]),
    ):
      with self.subTest(**settings):
        _, scores, classes = _fuse([first, second], **settings)
        self.assertAllClose(np.c_[classes, scores], expected)

  def test_only_the_surest_are_kept(self):
    view = [(1, 0.1 * k, 0.1 * k, 0, 0.1 * k + 0.05, 1) for k in range(1, 9)]
    _, scores, _ = _fuse([view], most=3)
    self.assertAllClose(scores, [0.8, 0.7, 0.6])

  def test_equals_a_second_implementation(self):
    rng = np.random.default_rng(7)
    for _ in range(20):
      views = []
      for _ in range(int(rng.integers(1, 5))):
        count = int(rng.integers(0, 12))
        corners = rng.uniform(0, 0.4, [count, 2])
        boxes = np.c_[corners, corners + rng.uniform(0.3, 0.6, [count, 2])]
        rows = np.c_[rng.integers(1, 4, count), rng.uniform(0.05, 1, count), boxes]
        views.append([tuple(row) for row in rows.astype(np.float32).astype(float)])
      if not any(views):
        continue
      boxes, scores, classes = _fuse(views, most=60)
      expected = np.reshape(_reference(views), [-1, 6])
      self.assertAllClose(np.c_[classes, scores, boxes], expected, atol=1e-4)


if __name__ == '__main__':
  tf.test.main()
