"""COCO files, read back by pycocotools."""

import contextlib
import io
import json
import os
import tempfile
import unittest

import numpy as np
from pycocotools import coco as coco_api
from pycocotools import cocoeval
from pycocotools import mask as coco_mask

from official_selftrain.pseudo_labels.exporters import base, coco, output
from tests.pseudo_labels.exporters import exporting

NAMES = ('cat', 'dog & <co>', 'Eule "ü"')
FACTS = exporting.facts(*NAMES)


def _image(number: int, image_id: int, height: int = 40, width: int = 60) -> base.Image:
  more = {'number': number, 'image_id': image_id, 'source_id': f'a/{image_id}'}
  return exporting.image(f'a_{image_id}', height, width, '.jpg', **more)


def _random(rng: np.random.Generator, count: int) -> base.Boxes:
  """Boxes as labels have them: float32 relative to the image, best first."""
  corners = np.sort(rng.uniform(size=[count, 2, 2]).astype(np.float32), axis=1).reshape(count, 4)
  scores = np.sort(rng.uniform(0.5, 1.0, count).astype(np.float32))[::-1]
  classes = rng.integers(1, 4, count).tolist()
  return base.Boxes(
    tuple(
      base.Box(class_id, base.shortest(score), False, *map(float, edges))
      for class_id, score, edges in zip(classes, scores, corners, strict=True)
    )
  )


class CocoCase(unittest.TestCase):
  def setUp(self):
    super().setUp()
    temporary = tempfile.TemporaryDirectory()
    self.addCleanup(temporary.cleanup)
    self.path = os.path.join(temporary.name, 'out')

  def write(self, make, *pairs):
    with output.new_folder(self.path) as folder:
      exporter = make(folder, FACTS)
      for image, labels in pairs:
        exporter.add(image, labels)
      exporter.finish()

  def load(self, name='annotations.json'):
    with contextlib.redirect_stdout(io.StringIO()):
      return coco_api.COCO(os.path.join(self.path, name))

  def assert_same_boxes(self, found, expected, image):
    self.assertEqual(len(found), len(expected.boxes))
    for entry, box in zip(found, expected.boxes, strict=True):
      height, width = image.height, image.width
      exact = np.array([box.xmin * width, box.ymin * height, box.xmax * width, box.ymax * height])
      x, y, w, h = entry['bbox']
      np.testing.assert_allclose([x, y, x + w, y + h], exact, rtol=0, atol=1e-3)
      self.assertEqual(np.float32(entry['score']), np.float32(box.score))
      self.assertEqual(entry['category_id'], box.class_id)
      self.assertAlmostEqual(entry['area'], w * h, places=3)


class BoxDatasetTest(CocoCase):
  def test_pycocotools_finds_the_same_boxes_and_scores(self):
    rng = np.random.default_rng(0)
    images = [_image(1, 900), _image(2, 7, height=4000, width=3000)]
    boxes = [_random(rng, 20), _random(rng, 30)]
    self.write(coco.BoxDataset, *zip(images, boxes, strict=True))
    api = self.load()
    self.assertEqual(api.getImgIds(), [900, 7])
    for image, expected in zip(images, boxes, strict=True):
      found = api.loadAnns(api.getAnnIds(imgIds=[image.image_id]))
      self.assert_same_boxes(found, expected, image)
      self.assertEqual({entry['iscrowd'] for entry in found}, {0})
    self.assertEqual(api.getAnnIds(), list(range(1, 51)))

  def test_the_file_by_hand(self):
    boxes = base.Boxes((base.Box(2, 0.6, False, 0.25, 0.1, 0.75, 0.5),))
    self.write(coco.BoxDataset, (_image(1, 1), boxes), (_image(2, 2), base.Boxes(())))
    with open(os.path.join(self.path, 'annotations.json'), encoding='utf-8') as stream:
      content = json.load(stream)
    self.assertEqual(
      content['images'],
      [
        {'id': 1, 'file_name': 'a_1.jpg', 'width': 60, 'height': 40, 'source_id': 'a/1'},
        {'id': 2, 'file_name': 'a_2.jpg', 'width': 60, 'height': 40, 'source_id': 'a/2'},
      ],
    )
    entry = {'id': 1, 'image_id': 1, 'category_id': 2, 'bbox': [6.0, 10.0, 24.0, 20.0]}
    self.assertEqual(content['annotations'], [{**entry, 'area': 480.0, 'iscrowd': 0, 'score': 0.6}])
    self.assertEqual(
      content['categories'],
      [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog & <co>'}, {'id': 3, 'name': 'Eule "ü"'}],
    )
    origin = content['info']['pseudo_labels']
    self.assertEqual(origin['teacher_sha256'], 'ab' * 32)
    self.assertEqual((origin['cut'], origin['ignore_cut']), (0.5, 0.25))
    self.assertEqual(os.listdir(self.path), ['annotations.json'])

  def test_evaluation_leaves_the_ignore_band_alone(self):
    object_ = base.Box(1, 0.9, False, 0.0, 0.0, 0.5, 0.5)
    ignored = base.Box(1, 0.3, True, 0.5, 0.5, 1.0, 1.0)
    self.write(coco.BoxDataset, (_image(1, 1), base.Boxes((object_, ignored))))
    truth = self.load()
    # A detection on the ignored box would be a false alarm, with a higher score than the object, if that were no crowd.
    found = [(ignored, 0.95), (object_, 0.9)]
    with contextlib.redirect_stdout(io.StringIO()):
      results = truth.loadRes(
        [
          {'image_id': 1, 'category_id': 1, 'bbox': [x, y, 30.0, 20.0], 'score': score}
          for (x, y), score in (((30.0, 20.0), found[0][1]), ((0.0, 0.0), found[1][1]))
        ]
      )
      evaluation = cocoeval.COCOeval(truth, results, 'bbox')
      evaluation.evaluate()
      evaluation.accumulate()
      evaluation.summarize()
    self.assertAlmostEqual(evaluation.stats[0], 1.0)

  def test_no_images(self):
    self.write(coco.BoxDataset)
    self.assertEqual(self.load().getImgIds(), [])


class ResultsTest(CocoCase):
  def test_pycocotools_loads_them_on_top_of_the_images(self):
    rng = np.random.default_rng(1)
    images = [_image(1, 42), _image(2, 3, height=777, width=2999), _image(3, 5)]
    boxes = [_random(rng, 12), _random(rng, 25), base.Boxes(())]
    self.write(coco.Results, *zip(images, boxes, strict=True))
    api = self.load('images.json')
    self.assertEqual(api.getImgIds(), [42, 3, 5])
    self.assertEqual(api.getAnnIds(), [])
    with contextlib.redirect_stdout(io.StringIO()):
      results = api.loadRes(os.path.join(self.path, 'results.json'))
    for image, expected in zip(images, boxes, strict=True):
      found = results.loadAnns(results.getAnnIds(imgIds=[image.image_id]))
      self.assert_same_boxes(found, expected, image)
    self.assertEqual(results.dataset['info']['pseudo_labels']['teacher_step'], 7)

  def test_entries_have_what_servers_take_and_nothing_else(self):
    box = base.Box(3, 0.5, False, 0.5, 0.0, 1.0, 0.25)
    self.write(coco.Results, (_image(1, 9), base.Boxes((box,))))
    with open(os.path.join(self.path, 'results.json'), encoding='utf-8') as stream:
      found = json.load(stream)
    expected = {'image_id': 9, 'category_id': 3, 'bbox': [0.0, 20.0, 15.0, 20.0], 'score': 0.5}
    self.assertEqual(found, [expected])


class MaskDatasetTest(CocoCase):
  def test_one_annotation_per_class_and_image(self):
    classes = np.zeros([6, 9], np.uint8)
    classes[1:3, 2:6], classes[5, 8], classes[4] = 2, 2, 1
    classes[0, 0] = 255
    confidences = np.full([6, 9], 255, np.uint8)
    confidences[4] = 51
    confidences[5, 8] = 0
    mask = base.Mask(classes, confidences)
    background = base.Mask(np.zeros([6, 9], np.uint8), confidences)
    images = [_image(1, 11, height=6, width=9), _image(2, 12, height=6, width=9)]
    self.write(coco.MaskDataset, *zip(images, (mask, background), strict=True))
    api = self.load()
    self.assertEqual(api.getImgIds(), [11, 12])
    self.assertEqual(api.getAnnIds(imgIds=[12]), [])
    first, second = api.loadAnns(api.getAnnIds(imgIds=[11]))
    for entry, class_id in ((first, 1), (second, 2)):
      self.assertEqual(entry['category_id'], class_id)
      np.testing.assert_array_equal(api.annToMask(entry), classes == class_id)
      self.assertEqual(entry['area'], (classes == class_id).sum())
      self.assertEqual(entry['iscrowd'], 0)
    self.assertEqual(first['bbox'], [0.0, 4.0, 9.0, 1.0])
    self.assertEqual(second['bbox'], [2.0, 1.0, 7.0, 5.0])
    # All of class 1 has 51 steps; of the nine pixels of class 2 eight have 255 and one has none.
    self.assertAlmostEqual(first['score'], 0.2)
    self.assertAlmostEqual(second['score'], 8 / 9, places=6)

  def test_the_run_lengths_are_those_of_pycocotools(self):
    classes = np.array([[0, 1], [1, 1]], np.uint8)
    mask = base.Mask(classes, np.full([2, 2], 255, np.uint8))
    self.write(coco.MaskDataset, (_image(1, 1, height=2, width=2), mask))
    entry = self.load().loadAnns([1])[0]
    expected = coco_mask.encode(np.asfortranarray(classes))
    self.assertEqual(entry['segmentation']['size'], [2, 2])
    self.assertEqual(entry['segmentation']['counts'].encode(), expected['counts'])


if __name__ == '__main__':
  unittest.main()
