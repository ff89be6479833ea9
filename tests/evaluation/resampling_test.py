"""The paired bootstrap: metrics of draws against pycocotools and NumPy on data sets with the images copied."""

import contextlib
import dataclasses
import io
import os
import tempfile
import unittest
from unittest import mock

import numpy as np
from pycocotools import coco as coco_api
from pycocotools import cocoeval

from official_selftrain.core import comparison
from official_selftrain.evaluation import coco, resampling

_MAX_DETECTIONS = 6
_CLASSES = (1, 2, 3, 7)
# Class 2 is in the first two images only, class 3 only as a crowd, class 7 never; image 4 has no box at all.
_RARE, _ONLY_CROWD, _NEVER = 2, 3, 7


def _scene(rng, num_images=12, noise=6.0):
  """True boxes and detections by image: lists of (class, box xywh, crowd) and (class, box xywh, score)."""
  truth, found = [], []
  for image in range(num_images):
    boxes, guesses = [], []
    for _ in range(0 if image == 4 else rng.integers(1, 5)):
      box = [*rng.uniform(0, 60, 2), *rng.uniform(15, 40, 2)]
      kinds = [1, 1, _RARE] if image < 2 else [1]
      boxes.append((int(rng.choice(kinds)), box, 0))
    if image % 3 == 0:
      boxes.append((int(rng.choice([1, _ONLY_CROWD])), [0.0, 0.0, 100.0, 50.0], 1))
    for class_id, box, _ in boxes:
      for _ in range(rng.integers(0, 3)):
        moved = [float(v) for v in np.maximum(np.array(box) + rng.normal(0, noise, 4), 1.0)]
        guesses.append((class_id, moved))
    for _ in range(rng.integers(1, 5)):
      guesses.append((int(rng.choice(_CLASSES)), [*rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2)]))
    # Few different scores, so that many are equal, but none in the same image: pycocotools then takes the tied boxes
    # of one copy before those of the next, where ours takes all copies of one box before those of the next.
    scores = rng.choice(np.arange(1, 20), len(guesses), replace=False).astype(np.float32) / 20
    scored = [(*guess, float(score)) for guess, score in zip(guesses, scores, strict=True)]
    truth.append(boxes)
    found.append(scored)
  return truth, found


def _evaluated(truth, found, copies, ids=None):
  """pycocotools' evaluation of a data set that has image i `copies[i]` times."""
  order = np.repeat(np.arange(len(truth)), copies)
  ids = np.arange(1, len(order) + 1) if ids is None else ids
  images = [{'id': int(i), 'height': 100, 'width': 100} for i in ids]
  annotations, detections = [], []
  for image_id, image in zip(ids, order, strict=True):
    common = {'image_id': int(image_id)}
    for class_id, box, crowd in truth[image]:
      area = box[2] * box[3]
      annotations.append(
        common | {'category_id': class_id, 'bbox': box, 'iscrowd': crowd, 'area': area}
      )
    for class_id, box, score in found[image]:
      detections.append(common | {'category_id': class_id, 'bbox': box, 'score': score})
  for number, annotation in enumerate(annotations, 1):
    annotation['id'] = number
  with contextlib.redirect_stdout(io.StringIO()):
    true = coco_api.COCO()
    true.dataset = {
      'images': images,
      'annotations': annotations,
      'categories': [{'id': c} for c in _CLASSES],
    }
    true.createIndex()
    evaluation = cocoeval.COCOeval(true, true.loadRes(detections), 'bbox')
    evaluation.params.maxDets = [1, 3, _MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
  return evaluation


def _reference(evaluation):
  """AP, AP50 and AP75 as pycocotools summarises them."""
  table = evaluation.eval['precision'][:, :, :, 0, -1]
  return [float(rows[rows > -1].mean()) for rows in (table, table[0], table[5])]


def _masks(rng, num_images=9, num_classes=4, quality=0.6):
  """Truth and prediction of small images, int64 [images, pixels]; the last class is in the first image only."""
  truth = rng.integers(0, num_classes - 1, [num_images, 30])
  truth[0, :5] = num_classes - 1
  guess = rng.integers(0, num_classes - 1, truth.shape)
  return truth, np.where(rng.uniform(size=truth.shape) < quality, truth, guess)


def _mask_tallies(truth, found, num_classes=4, ids=None):
  onehot = np.eye(num_classes, dtype=bool)
  true, predicted = onehot[truth], onehot[found]
  return {
    'image_ids': np.arange(len(truth)) if ids is None else ids,
    'category_ids': np.arange(num_classes),
    'intersection': (true & predicted).sum(axis=1),
    'union': (true | predicted).sum(axis=1),
  }


def _plain_mean_iou(truth, found, copies, num_classes=4):
  truth, found = np.repeat(truth, copies, axis=0), np.repeat(found, copies, axis=0)
  ious = []
  for k in range(num_classes):
    union = np.sum((truth == k) | (found == k))
    if union:
      ious.append(np.sum((truth == k) & (found == k)) / union)
  return np.mean(ious)


class BoxMetricTest(unittest.TestCase):
  def assert_equals_pycocotools(self, truth, found, weights):
    tallies = coco.tallies_of(_evaluated(truth, found, np.ones(len(truth), int)))
    ours = [resampling.weighted_metric(tallies, weights, m) for m in ('AP', 'AP50', 'AP75')]
    for draw, copies in enumerate(weights):
      expected = _reference(_evaluated(truth, found, copies))
      np.testing.assert_allclose([values[draw] for values in ours], expected, rtol=0, atol=1e-9)

  def test_draws_equal_pycocotools_on_copied_images(self):
    for seed in range(6):
      with self.subTest(seed=seed):
        rng = np.random.default_rng(seed)
        truth, found = _scene(rng)
        weights = resampling.draw(len(truth), resampling.Plan(resamples=6, seed=seed))
        # All images once, and a draw that the rare class vanishes from.
        weights[0] = 1
        weights[1, :2] = 0
        self.assert_equals_pycocotools(truth, found, weights)

  def test_the_scenes_have_what_is_hard(self):
    truth, found = _scene(np.random.default_rng(0))
    tallies = coco.tallies_of(_evaluated(truth, found, np.ones(len(truth), int)))
    self.assertTrue(tallies['ignored'].any())
    self.assertTrue((tallies['matched'] & ~tallies['ignored']).any())
    # Ignored at one threshold and not at another.
    self.assertTrue((tallies['ignored'].any(axis=1) & ~tallies['ignored'].all(axis=1)).any())
    self.assertLess(len(np.unique(tallies['score'])), len(tallies['score']) / 2)
    counted = {_CLASSES[i] for i in tallies['true_category']}
    self.assertEqual(counted, {1, _RARE})
    per_image = np.bincount(tallies['image'] * 4 + tallies['category'])
    self.assertEqual(per_image.max(), _MAX_DETECTIONS)

  def test_recall_levels_that_round_up_are_missed_as_in_pycocotools(self):
    # With 100 boxes 57 right ones make a recall of 0.57, and pycocotools' level is 0.5700000000000001.
    box = [10.0, 10.0, 30.0, 30.0]
    truth = [[(1, box, 0)]] * 100
    found = [
      [(1, box, 1.0 - i / 200)] if i % 7 else [(1, [60.0, 60, 9, 9], 0.9)] for i in range(100)
    ]
    self.assert_equals_pycocotools(truth, found, np.ones([1, 100], np.int32))

  def test_nothing_found_is_zero_and_nothing_true_is_unknown(self):
    truth, found = _scene(np.random.default_rng(0))
    tallies = coco.tallies_of(_evaluated(truth, found, np.ones(len(truth), int)))
    nothing = np.zeros([1, len(truth)], np.int32)
    self.assertTrue(np.isnan(resampling.weighted_metric(tallies, nothing, 'AP'))[0])
    tallies['matched'][:] = False
    one = np.ones([1, len(truth)], np.int32)
    self.assertEqual(resampling.weighted_metric(tallies, one, 'AP').tolist(), [0.0])

  def test_large_draws_are_cut_into_pieces(self):
    truth, found = _scene(np.random.default_rng(1))
    tallies = coco.tallies_of(_evaluated(truth, found, np.ones(len(truth), int)))
    weights = resampling.draw(len(truth), resampling.Plan(resamples=50))
    whole = resampling.weighted_metric(tallies, weights, 'AP')
    with mock.patch.object(resampling, '_ARRAY_SIZE', 100):
      np.testing.assert_array_equal(resampling.weighted_metric(tallies, weights, 'AP'), whole)


class MaskMetricTest(unittest.TestCase):
  def test_draws_equal_a_plain_loop(self):
    truth, found = _masks(np.random.default_rng(0))
    weights = resampling.draw(len(truth), resampling.Plan(resamples=20))
    weights[0] = 1
    weights[1, 0] = 0  # No image is left that has the last class.
    ours = resampling.weighted_metric(_mask_tallies(truth, found), weights, 'mean_iou')
    expected = [_plain_mean_iou(truth, found, copies) for copies in weights]
    np.testing.assert_allclose(ours, expected, rtol=1e-12)

  def test_no_labelled_pixel_is_unknown(self):
    tallies = _mask_tallies(*_masks(np.random.default_rng(0)))
    found = resampling.weighted_metric(tallies, np.zeros([1, 9], np.int32), 'mean_iou')
    self.assertTrue(np.isnan(found[0]))


class CompareTest(unittest.TestCase):
  PAIRS = (('student', 'control'), ('student', 'teacher'))

  def _boxes(self, noise, seed=0, ids=None):
    """A detector whose boxes are off by `noise` pixels; the truth depends on the seed only."""
    rng = np.random.default_rng(seed)
    truth = [boxes for boxes, _ in zip(*_scene(rng, 60), strict=True)]
    moved = np.random.default_rng(99)
    found = [
      [(c, [float(v) for v in np.array(b) + moved.normal(0, noise, 4)], 0.5) for c, b, _ in boxes]
      for boxes in truth
    ]
    return coco.tallies_of(_evaluated(truth, found, np.ones(60, int), ids))

  def test_equal_models_differ_by_exactly_nothing(self):
    tallies = self._boxes(2.0)
    found = resampling.compare({'student': tallies, 'control': tallies}, self.PAIRS, 'AP')
    self.assertEqual(list(found), ['student_minus_control'])
    same = found['student_minus_control']
    self.assertEqual((same.difference, same.low, same.high), (0.0, 0.0, 0.0))
    self.assertFalse(same.is_above_zero or same.is_below_zero)
    self.assertEqual((same.confidence, same.resamples, same.images), (0.9, 1000, 60))

  def test_a_clearly_better_model_is_above_zero_and_the_worse_below(self):
    models = {'student': self._boxes(1.0), 'control': self._boxes(3.0), 'teacher': self._boxes(0.5)}
    for metric in ('AP', 'AP75'):
      found = resampling.compare(models, self.PAIRS, metric)
      self.assertTrue(found['student_minus_control'].is_above_zero)
      self.assertTrue(found['student_minus_teacher'].is_below_zero)
      better = found['student_minus_control']
      self.assertLess(better.low, better.difference)
      self.assertLess(better.difference, better.high)

  def test_few_images_decide_nothing_wherever_the_interval_is(self):
    fewest = comparison.MIN_IMAGES
    for images in (1, fewest - 1, fewest):
      truth, wrong = np.zeros([images, 20], int), np.ones([images, 20], int)
      models = {'student': _mask_tallies(truth, truth), 'control': _mask_tallies(truth, wrong)}
      for names, sign in ((('student', 'control'), 1.0), (('control', 'student'), -1.0)):
        (found,) = resampling.compare(models, [names], 'mean_iou').values()
        self.assertEqual((found.low, found.high, found.images), (sign, sign, images))
        self.assertEqual(found.has_enough_images, images == fewest)
        self.assertEqual(found.is_above_zero, images == fewest and sign > 0)
        self.assertEqual(found.is_below_zero, images == fewest and sign < 0)

  def test_interval_is_that_of_a_plain_bootstrap(self):
    rng = np.random.default_rng(3)
    truth, ours = _masks(rng, 30)
    theirs = np.where(rng.uniform(size=truth.shape) < 0.3, truth, ours)
    models = {'student': _mask_tallies(truth, ours), 'control': _mask_tallies(truth, theirs)}
    plan = resampling.Plan(resamples=200, seed=5, confidence=0.8)
    found = resampling.compare(models, self.PAIRS, 'mean_iou', plan)['student_minus_control']
    differences = [
      _plain_mean_iou(truth, ours, copies) - _plain_mean_iou(truth, theirs, copies)
      for copies in resampling.draw(30, plan)
    ]
    np.testing.assert_allclose([found.low, found.high], np.quantile(differences, [0.1, 0.9]))
    np.testing.assert_allclose(
      found.difference,
      _plain_mean_iou(truth, ours, 1) - _plain_mean_iou(truth, theirs, 1),
    )
    self.assertEqual(found.confidence, 0.8)

  def test_images_are_paired_by_id_and_not_by_place(self):
    truth, found = _masks(np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(len(truth))
    ids = np.arange(len(truth)) * 7 - 20
    models = {
      'student': _mask_tallies(truth, found, ids=ids),
      'control': _mask_tallies(truth[order], found[order], ids=ids[order]),
    }
    same = resampling.compare(models, self.PAIRS, 'mean_iou')['student_minus_control']
    self.assertEqual((same.low, same.high), (0.0, 0.0))

  def test_coverage_of_the_true_difference(self):
    # Both models are right in half of the pixels, so zero is the truth; 90% intervals hold it about nine times in ten.
    held = 0
    for seed in range(200):
      rng = np.random.default_rng(seed)
      truth = rng.integers(0, 2, [40, 50])
      models = {}
      for name in ('student', 'control'):
        right = rng.uniform(size=truth.shape) < rng.beta(2, 2, [40, 1])
        models[name] = _mask_tallies(truth, np.where(right, truth, 1 - truth), 2)
      plan = resampling.Plan(resamples=300, seed=seed)
      found = resampling.compare(models, self.PAIRS[:1], 'mean_iou', plan)['student_minus_control']
      held += not (found.is_above_zero or found.is_below_zero)
    self.assertGreater(held, 165)
    self.assertLess(held, 196)

  def test_what_cannot_be_compared_is_left_out(self):
    boxes, masks = self._boxes(1.0), _mask_tallies(*_masks(np.random.default_rng(0)))
    other_images = self._boxes(1.0, ids=np.arange(101, 161))
    other_classes = boxes | {'category_ids': boxes['category_ids'] + 1}
    other_truth = boxes | {name: boxes[name][:-1] for name in ('true_image', 'true_category')}
    cases = [
      ({'student': boxes, 'control': other_images}, 'AP'),
      ({'student': boxes, 'control': other_classes}, 'AP'),
      ({'student': boxes, 'control': other_truth}, 'AP'),
      ({'student': boxes, 'control': {}}, 'AP'),
      ({'student': boxes}, 'AP'),
      ({'student': boxes, 'control': boxes}, 'APl'),
      ({'student': boxes, 'control': boxes}, 'mean_iou'),
      ({'student': masks, 'control': masks}, 'AP'),
      ({}, 'AP'),
    ]
    for models, metric in cases:
      self.assertEqual(resampling.compare(models, self.PAIRS, metric), {})

  def test_every_metric_is_known(self):
    boxes, masks = self._boxes(1.0), _mask_tallies(*_masks(np.random.default_rng(0)))
    for metric in comparison.METRICS:
      found = [
        resampling.compare({'student': each, 'control': each}, self.PAIRS, metric)
        for each in (boxes, masks)
      ]
      self.assertEqual([bool(each) for each in found], [metric != 'mean_iou', metric == 'mean_iou'])

  def test_same_seed_same_interval(self):
    models = {'student': self._boxes(1.0), 'control': self._boxes(1.5)}
    plan = resampling.Plan(resamples=100)
    first = resampling.compare(models, self.PAIRS, 'AP', plan)
    self.assertEqual(first, resampling.compare(models, self.PAIRS, 'AP', plan))
    other = resampling.compare(models, self.PAIRS, 'AP', dataclasses.replace(plan, seed=1))
    self.assertNotEqual(first, other)


class DrawTest(unittest.TestCase):
  def test_every_draw_has_as_many_images(self):
    weights = resampling.draw(37, resampling.Plan(resamples=50))
    self.assertEqual(weights.shape, (50, 37))
    self.assertEqual(weights.sum(axis=1).tolist(), [37] * 50)
    self.assertGreater(weights.max(), 1)


class FileTest(unittest.TestCase):
  def test_saved_is_loaded(self):
    tallies = coco.tallies_of(_evaluated(*_scene(np.random.default_rng(0)), np.ones(12, int)))
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, 'model', 'evaluation.npz')
      resampling.save(path, tallies)
      loaded = resampling.load(path)
      self.assertEqual(os.listdir(os.path.dirname(path)), ['evaluation.npz'])
    self.assertEqual(set(loaded), set(tallies))
    for name, array in tallies.items():
      np.testing.assert_array_equal(loaded[name], array)
      self.assertEqual(loaded[name].dtype, array.dtype)

  def test_no_file_is_no_tallies(self):
    self.assertEqual(resampling.load('/nowhere/evaluation.npz'), {})


if __name__ == '__main__':
  unittest.main()
