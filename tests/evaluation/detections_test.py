"""Curves and confusions of detections: by hand, and recall against pycocotools."""

import contextlib
import io

import numpy as np
import tensorflow as tf
from pycocotools import coco as pycoco
from pycocotools import cocoeval

from official_selftrain.evaluation import coco, detections


def _evaluated(truth, found, num_classes=3):
  """A `COCOeval` of rows (image, class, y, x, height, width, crowd) and (image, class, y, x, height, width, score)."""
  images = sorted({row[0] for row in truth} | {row[0] for row in found})

  def annotation(number, row):
    image, class_id, y, x, height, width, last = row
    fields = {'id': number, 'image_id': image, 'category_id': class_id}
    return {**fields, 'bbox': [x, y, width, height], 'area': height * width}, last

  with contextlib.redirect_stdout(io.StringIO()):
    own = pycoco.COCO()
    own.dataset = {
      'images': [{'id': image} for image in images],
      'categories': [{'id': k} for k in range(1, num_classes + 1)],
      'annotations': [
        {**fields, 'iscrowd': int(crowd)}
        for fields, crowd in (annotation(i, row) for i, row in enumerate(truth, 1))
      ],
    }
    own.createIndex()
    rows = [annotation(i, row) for i, row in enumerate(found, 1)]
    results = own.loadRes([{**fields, 'score': score} for fields, score in rows])
    evaluated = cocoeval.COCOeval(own, results, 'bbox')
    evaluated.evaluate()
    evaluated.accumulate()
  return evaluated


# Image 1: a 1 that is found, a 2 that is taken for a 3, a 2 that nothing finds, and a crowd.
# Image 2: a 1 that is found twice, and something found where there is nothing.
TRUTH = [
  (1, 1, 0, 0, 20, 20, 0),
  (1, 2, 40, 40, 20, 20, 0),
  (1, 2, 70, 0, 20, 20, 0),
  (1, 1, 0, 60, 20, 20, 1),
  (2, 1, 0, 0, 20, 20, 0),
]
FOUND = [
  (1, 1, 0, 2, 20, 20, 0.75),
  (1, 3, 41, 40, 20, 20, 0.5),
  (1, 1, 0, 60, 20, 20, 0.875),
  (2, 1, 0, 0, 20, 20, 0.625),
  (2, 1, 0, 1, 20, 20, 0.9375),
  (2, 2, 50, 50, 20, 20, 0.25),
]


class CurvesTest(tf.test.TestCase):
  def test_by_hand(self):
    curves = detections.curves(coco.tallies_of(_evaluated(TRUTH, FOUND)), np.array([0, 0.625, 1]))
    self.assertCountEqual(curves, [1, 2, 3])
    # The surer of the two boxes in image 2 is right and the other wrong; the crowd is neither.
    self.assertAllEqual(curves[1].right, [2, 2, 0])
    self.assertAllEqual(curves[1].wrong, [1, 1, 0])
    self.assertAllEqual(curves[1].true, [2, 2, 2])
    self.assertAllClose(curves[1].precision, [2 / 3, 2 / 3, 1])
    self.assertAllClose(curves[1].recall, [1, 1, 0])
    self.assertAllEqual(curves[2].wrong, [1, 0, 0])
    self.assertAllClose(curves[2].precision, [0, 1, 1])
    self.assertAllEqual((curves[3].wrong, curves[3].true), ([1, 0, 0], [0, 0, 0]))
    self.assertAllEqual(curves[3].recall, [0, 0, 0])

  def test_a_class_that_is_nowhere_has_none(self):
    curves = detections.curves(coco.tallies_of(_evaluated(TRUTH[:1], FOUND[:1])), np.array([0.0]))
    self.assertCountEqual(curves, [1])

  def test_recall_is_that_of_pycocotools(self):
    rng = np.random.default_rng(5)

    def rows(count, last):
      places = rng.integers(0, 60, [count, 2]).tolist()
      return [
        (int(rng.integers(1, 9)), int(rng.integers(1, 4)), y, x, 30, 30, last(i))
        for i, (y, x) in enumerate(places)
      ]

    truth, found = rows(60, lambda i: i % 10 == 0), rows(200, lambda i: (i + 1) / 256)
    evaluated = _evaluated(truth, found)
    curves = detections.curves(coco.tallies_of(evaluated), np.linspace(0, 1, 11))
    recalls = evaluated.eval['recall'][0, :, 0, -1]
    self.assertAllClose([curves[k].recall[0] for k in (1, 2, 3)], recalls)
    self.assertTrue(np.all((recalls > 0) & (recalls < 1)))
    for curve in curves.values():
      self.assertAllEqual(curve.recall, np.sort(curve.recall)[::-1])


class ConfusionTest(tf.test.TestCase):
  def _counts(self, truth, found, min_score):
    evaluated = _evaluated(truth, found)
    return detections.confusion(coco.tallies_of(evaluated), coco.boxes_of(evaluated), min_score)

  def test_by_hand(self):
    expected = [[2, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]
    self.assertAllEqual(self._counts(TRUTH, FOUND, 0.25), expected)

  def test_what_is_below_the_score_is_not_found(self):
    # The 3 and the last box have gone.
    expected = [[2, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0], [1, 0, 0, 0]]
    self.assertAllEqual(self._counts(TRUTH, FOUND, 0.5625), expected)

  def test_the_surer_detection_takes_the_box_and_the_other_takes_the_next(self):
    truth = [(1, 1, 0, 0, 20, 20, 0), (1, 2, 0, 4, 20, 20, 0)]
    # Both overlap both true boxes; the surer one is nearer to the second.
    found = [(1, 3, 0, 3, 20, 20, 0.5), (1, 1, 0, 4, 20, 20, 0.75)]
    expected = np.zeros([4, 4], int)
    expected[1, 0] = expected[0, 2] = 1
    self.assertAllEqual(self._counts(truth, found, 0.25), expected)

  def test_rows_and_columns_add_up(self):
    rng = np.random.default_rng(6)

    def rows(count, last):
      return [
        (
          int(rng.integers(1, 5)),
          int(rng.integers(1, 4)),
          *rng.integers(0, 40, 2).tolist(),
          30,
          30,
          last(i),
        )
        for i in range(count)
      ]

    truth, found = rows(30, lambda i: 0), rows(50, lambda i: (i + 1) / 64)
    counts = self._counts(truth, found, 0.5)
    self.assertAllEqual(counts[:3].sum(axis=1), [sum(r[1] == k for r in truth) for k in (1, 2, 3)])
    shown = [sum(r[1] == k and r[-1] >= 0.5 for r in found) for k in (1, 2, 3)]
    self.assertAllEqual(counts[:, :3].sum(axis=0), shown)
    self.assertGreater(counts[:3, :3].sum(), 0)


if __name__ == '__main__':
  tf.test.main()
