"""Tests of official_selftrain.pseudo_labels.quality and boxes."""

import json
import os
import time
import weakref
from unittest import mock

import numpy as np
import tensorflow as tf

from official_selftrain.core import errors
from official_selftrain.datasets import coco
from official_selftrain.pseudo_labels import boxes, cuts, detection, formats, manifest, quality
from tests.pseudo_labels import unlabelled


def _split(rows, columns):
  rows = np.array(rows, np.float64).reshape(-1, columns)
  return rows[:, :4], rows[:, 4].astype(int), rows[:, 5:]


def _truth(rows, is_crowd=None):
  """True boxes from rows (ymin, xmin, ymax, xmax, class)."""
  corners, classes, _ = _split(rows, 5)
  crowds = np.zeros(len(classes), bool) if is_crowd is None else np.array(is_crowd)
  return coco.Boxes(corners, classes, crowds)


def _found(rows):
  """Predicted boxes from rows (ymin, xmin, ymax, xmax, class, score)."""
  corners, classes, scores = _split(rows, 6)
  return boxes.ScoredBoxes(corners, classes, scores[:, 0])


def _above(found, cut):
  kept = found.scores >= cut
  return boxes.ScoredBoxes(found.boxes[kept], found.classes[kept], found.scores[kept])


class PairwiseIouTest(tf.test.TestCase):
  def test_by_hand(self):
    found = quality.pairwise_iou(
      [[0, 0, 2, 2], [0, 0, 0, 0]], [[0, 1, 2, 3], [0, 0, 2, 2], [5, 5, 6, 6], [0, 0, 4, 4]],
      np.array([False, False, False, True]),
    )  # fmt: skip
    # 2 of 6 shared; equal; apart; wholly inside a crowd.
    self.assertAllClose(found, [[1 / 3, 1, 0, 1], [0, 0, 0, 0]])


class EvaluateTest(tf.test.TestCase):
  def _rows(self, curve):
    return {row['cut']: row for row in curve['cuts']}

  def test_by_hand(self):
    truths = [
      _truth([[0, 0, 2, 2, 1], [4, 4, 6, 6, 1], [0, 4, 2, 6, 2]]),
      _truth([[0, 0, 2, 2, 2]]),
    ]
    predictions = [
      _found(
        [
          [0, 0, 2, 2, 1, 0.9],  # true
          [0, 0, 2, 2, 1, 0.8],  # the same object again: false
          [4, 4, 6, 6, 2, 0.7],  # wrong class: false
          [0, 4, 2, 6, 2, 0.5],  # true
          [4, 4, 6, 5.2, 1, 0.3],  # IoU 0.6: true
          [0, 4, 2, 4.9, 2, 0.2],  # IoU 0.45: false
        ]
      ),
      _found([]),
    ]
    report = quality.evaluate(predictions, truths, cuts=(0.1, 0.3, 0.5, 0.95))
    rows = self._rows(report['overall'])
    self.assertEqual(
      rows[0.1],
      {
        'cut': 0.1,
        'boxes': 6,
        'precision': 3 / 6,
        'recall': 3 / 4,
        'f1': 6 / 10,
        'count_ratio': 6 / 4,
      },
    )
    self.assertEqual((rows[0.3]['boxes'], rows[0.3]['precision']), (5, 3 / 5))
    self.assertEqual((rows[0.5]['boxes'], rows[0.5]['recall'], rows[0.5]['f1']), (4, 2 / 4, 4 / 8))
    self.assertIsNone(rows[0.95]['precision'])
    self.assertEqual(rows[0.95]['recall'], 0)
    # Four boxes as in the truth at 0.5; the best F1 is 6/9, at 0.3.
    self.assertEqual(report['overall']['cut_by_count'], 0.5)
    self.assertEqual(report['overall']['cut_by_f1'], 0.3)
    second = self._rows(report['per_class']['2'])
    self.assertEqual(report['per_class']['2']['truths'], 2)
    self.assertEqual(
      (second[0.1]['boxes'], second[0.1]['precision'], second[0.1]['recall']), (3, 1 / 3, 1 / 2)
    )
    json.dumps(report, allow_nan=False)

  def test_the_best_scored_box_takes_the_object_it_overlaps_most(self):
    truths = [_truth([[0, 0, 2, 2, 1], [0, 0, 2, 1.6, 1]])]
    predictions = [_found([[0, 0, 2, 1.7, 1, 0.5], [0, 0, 2, 1.6, 1, 0.9]])]
    row = self._rows(quality.evaluate(predictions, truths, (0.1,))['overall'])[0.1]
    self.assertEqual((row['precision'], row['recall']), (1.0, 1.0))

  def test_boxes_on_a_crowd_do_not_count(self):
    truths = [_truth([[0, 0, 9, 9, 1], [20, 20, 22, 22, 1]], is_crowd=[True, False])]
    predictions = [_found([[0, 0, 2, 2, 1, 0.9], [4, 4, 6, 6, 1, 0.9], [20, 20, 22, 22, 1, 0.9]])]
    report = quality.evaluate(predictions, truths, (0.1,))
    self.assertEqual(report['overall']['truths'], 1)
    self.assertEqual(report['overall']['cuts'][0]['boxes'], 1)
    self.assertEqual(report['overall']['cuts'][0]['precision'], 1.0)

  def test_a_class_that_the_truth_has_not(self):
    report = quality.evaluate([_found([[0, 0, 1, 1, 7, 0.9]])], [_truth([])], (0.5,))
    curve = report['per_class']['7']
    self.assertEqual((curve['truths'], curve['cut_by_f1']), (0, None))
    self.assertEqual((curve['cuts'][0]['precision'], curve['cuts'][0]['recall']), (0.0, None))

  def test_equals_matching_anew_at_every_cut(self):
    rng = np.random.default_rng(0)

    def boxes_of(count):
      low = rng.uniform(0, 0.6, [count, 2])
      return np.concatenate([low, low + rng.uniform(0.2, 0.4, [count, 2])], axis=1)

    truths, predictions = [], []
    for _ in range(20):
      count = rng.integers(0, 8)
      truths.append(coco.Boxes(boxes_of(4), rng.integers(1, 3, 4), np.zeros(4, bool)))
      scores = rng.uniform(0, 1, count)
      classes = rng.integers(1, 3, count)
      predictions.append(boxes.ScoredBoxes(boxes_of(count), classes, scores))
    levels = (0.2, 0.5, 0.8)
    report = quality.evaluate(predictions, truths, levels, min_iou=0.3)
    for row in report['overall']['cuts']:
      only = [_above(prediction, row['cut']) for prediction in predictions]
      alone = quality.evaluate(only, truths, (0.0,), min_iou=0.3)['overall']['cuts'][0]
      self.assertEqual({**alone, 'cut': row['cut']}, row)
      self.assertGreater(row['recall'], 0)

  def test_a_large_set_takes_seconds(self):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.8, [100, 2])
    corners, classes = np.concatenate([low, low + 0.1], axis=1), rng.integers(1, 11, 100)
    many = boxes.ScoredBoxes(corners, classes, rng.uniform(0, 1, 100))
    few = coco.Boxes(corners[:5], classes[:5], np.zeros(5, bool))
    start = time.process_time()
    report = quality.evaluate([many] * 1500, [few] * 1500)
    self.assertLess(time.process_time() - start, 20)
    self.assertEqual(report['overall']['cuts'][0]['boxes'], 1500 * (many.scores >= 0.05).sum())

  def test_messages(self):
    with self.assertRaisesRegex(errors.DataError, '1 images have predictions and 0'):
      quality.evaluate([_found([])], [])


class EvaluateLabelsTest(tf.test.TestCase):
  def _write(self, content):
    path = os.path.join(self.get_temp_dir(), 'truth.json')
    with open(path, 'w', encoding='utf-8') as stream:
      json.dump(content, stream)
    return coco.read(path)

  def test_labels_against_truth(self):
    folder = os.path.join(self.get_temp_dir(), self.id())
    os.makedirs(folder)
    records = [unlabelled.record(unlabelled.png(n), str(n)) for n in (1, 2, 3, 4)]
    records.append(unlabelled.record(b'junk', '5'))
    image = unlabelled.write(os.path.join(folder, 'a.tfrecord'), records)
    unlabelled.make_labeller().run([image], folder)
    # Image 1 is right, of image 2 the second box is (the other has another class), 3 has no truth.
    truth = self._write(
      {
        'images': [{'id': n, 'height': 16, 'width': 24} for n in (1, 2, 4, 5)],
        'annotations': [
          {'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 12, 8]},
          {'image_id': 2, 'category_id': 3, 'bbox': [0, 0, 12, 8]},
          {'image_id': 2, 'category_id': 2, 'bbox': [6, 4, 18, 8]},
        ],
      }
    )
    label = os.path.join(folder, 'a.labels.tfrecord')
    report = quality.evaluate_labels([label], truth, cuts=(0.05, 0.6))
    self.assertEqual((report['images'], report['images_without_truth']), (3, 1))
    low, high = report['overall']['cuts']
    self.assertEqual((low['boxes'], low['precision'], low['recall']), (3, 2 / 3, 2 / 3))
    self.assertEqual((high['boxes'], high['precision'], high['recall']), (2, 1 / 2, 1 / 3))

    with self.assertRaisesRegex(errors.DataError, "None of the 4 .* such as '1', the truth None"):
      quality.evaluate_labels([label], self._write({'images': [], 'annotations': []}))
    unlabelled.flip_bit(label, 40)
    with self.assertRaisesRegex(errors.DataError, 'Record 0 of the label shard .* is broken'):
      quality.evaluate_labels([label], truth)

  def test_only_images_with_truth_are_held(self):
    truth = self._write(
      {
        'images': [{'id': n, 'height': 16, 'width': 24} for n in ('a', 'b')],
        'annotations': [],
      }
    )
    made, alive = [], []

    def read_predictions(label_files):
      for name in (*label_files, 'a', 'x', 'y', 'b'):
        found = _found([])
        made.append(weakref.ref(found))
        yield name, found
        del found
      alive.append(sum(each() is not None for each in made))

    with mock.patch.object(boxes, 'read_predictions', read_predictions):
      report = quality.evaluate_labels(['z'], truth)
    self.assertEqual((report['images'], report['images_without_truth']), (2, 3))
    self.assertEqual((len(made), alive), (5, [2]))


class GateTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.format = detection.BoxFormat(num_classes=3)

  def _manifest(self, scores_by_image, empty=0):
    summary = self.format.new_summary()
    for scores in scores_by_image:
      prediction = {
        'boxes': np.tile(np.float32([0, 0, 1, 1]), [len(scores), 1]),
        'scores': np.float32(scores),
        'classes': np.ones(len(scores), int),
      }
      self.format.count(summary, self.format.encode(prediction))
    labelled = len(scores_by_image)
    entry = manifest.ShardEntry(
      image_file='a',
      image_bytes=1,
      records=labelled + empty,
      label_file='b',
      label_bytes=1,
      label_sha256='',
      labelled=labelled,
      empty=empty,
      dead=0,
      damaged=False,
    )
    return manifest.Manifest(
      format=self.format.name,
      format_settings=self.format.settings(),
      provenance=manifest.Provenance(),
      shards=(entry,),
      summary=summary,
    )

  def test_share_kept(self):
    made = self._manifest([[0.9, 0.5], [0.4, 0.2]])
    self.assertEqual(quality.share_kept(made, self.format, cuts.Cuts(0.5)), 0.5)
    self.assertEqual(quality.share_kept(made, self.format, cuts.Cuts(0.25)), 0.75)
    self.assertEqual(quality.share_kept(self._manifest([], 3), self.format, cuts.Cuts()), 0.0)

  def test_good_labels_pass(self):
    kept = quality.gate(self._manifest([[0.9, 0.5], [0.4]], 2), self.format, cuts.Cuts(0.5))
    self.assertEqual(
      kept, formats.Kept(objects=3, objects_kept=2, images_kept=1, highest_score=0.95)
    )

  def test_nothing_above_the_cut(self):
    with self.assertRaisesRegex(
      errors.GateError,
      r'At cut 0\.5 the 4 unlabelled images keep 0 pseudo labels, 0\.000 per image.*highest score '
      r'is at most 0\.45\. Train the teacher longer, or lower the cut: 0\.4 would keep 0\.250',
    ):
      quality.gate(self._manifest([[0.42, 0.2], [0.1]], 2), self.format, cuts.Cuts(0.5))

  def test_too_few_boxes_or_images(self):
    made = self._manifest([[0.9, 0.9, 0.3], [0.3]], 2)
    self.assertEqual(quality.gate(made, self.format, cuts.Cuts(0.5), 0.5).objects_kept, 2)
    with self.assertRaisesRegex(
      errors.GateError, r'0\.500 per image.*required: .* 0\.75 labels.*lower the cut: 0\.3 would'
    ):
      quality.gate(made, self.format, cuts.Cuts(0.5), 0.75)
    with self.assertRaisesRegex(errors.GateError, r'1 images keep any.*50\.0% .*the cut: 0\.3'):
      quality.gate(made, self.format, cuts.Cuts(0.5), min_share=0.5)
    with self.assertRaisesRegex(errors.GateError, 'No lower cut would keep enough either'):
      quality.gate(made, self.format, cuts.Cuts(0.5), 5)

  def test_a_teacher_that_found_nothing(self):
    with self.assertRaisesRegex(errors.GateError, 'found nothing at all: train it longer'):
      quality.gate(self._manifest([], 4), self.format, cuts.Cuts(0.5))

  def test_a_cut_below_what_was_stored(self):
    with self.assertRaisesRegex(errors.ConfigError, r'lowest cut is 0\.01, .* below 0\.05'):
      quality.gate(self._manifest([[0.9]]), self.format, cuts.Cuts(0.5, ignore_cut=0.01))


if __name__ == '__main__':
  tf.test.main()
