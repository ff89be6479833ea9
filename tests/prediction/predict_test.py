"""The program on exports of tiny runs: what it writes is what the model says."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import tempfile
import unittest
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain import predict
from official_selftrain.core import keys
from official_selftrain.prediction import models
from tests.testing import tiny_run


def _write_images(experiment, folder, number):
  """Validation images of a tiny run as files `1.png`, `2.png`, ...; one more in a subfolder, and one that is torn."""
  os.makedirs(os.path.join(folder, 'sub'))
  pattern = tiny_run.data(experiment).validation
  records = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(pattern))).take(number)
  for place, record in enumerate(records.as_numpy_iterator(), start=1):
    features = tf.train.Example.FromString(record).features.feature
    (encoded,) = features[keys.IMAGE_ENCODED].bytes_list.value
    pathlib.Path(folder, f'{place}.png').write_bytes(encoded)
  shutil.copy(os.path.join(folder, '1.png'), os.path.join(folder, 'sub', '99.png'))
  pathlib.Path(folder, '50.png').write_bytes(encoded[:60])


def _run(*arguments):
  """Exit status, and what was printed to both streams."""
  with (
    contextlib.redirect_stdout(io.StringIO()) as out,
    contextlib.redirect_stderr(io.StringIO()) as err,
  ):
    code = predict.main(arguments)
  return code, out.getvalue(), err.getvalue()


class DetectionTest(unittest.TestCase):
  @classmethod
  def setUpClass(cls):
    cls.run_dir = tiny_run.finished(tiny_run.SELFTRAIN)
    cls.root = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.photos = os.path.join(cls.root, 'photos')
    _write_images(tiny_run.SELFTRAIN, cls.photos, 5)

  def setUp(self):
    self.output = os.path.join(self.enterContext(tempfile.TemporaryDirectory()), 'predicted')

  def _predict(self, *more):
    return _run(
      f'--model={self.run_dir}', f'--input={self.photos}', f'--output={self.output}', *more
    )

  def _json(self, *parts):
    return json.loads(pathlib.Path(self.output, *parts).read_text())

  def test_results_are_what_the_model_says(self):
    code, out, err = self._predict('--batch_size=4', '--format=coco_results,yolo', '--cut=0.01')
    self.assertEqual(code, 0, err)
    self.assertIn('6 images, 1 left out', out)
    self.assertIn('left out: 50.png: ', err)
    loaded = tf.saved_model.load(os.path.join(self.run_dir, 'export'))
    results = self._json('coco_results', 'results.json')
    listed = self._json('coco_results', 'images.json')['images']
    numbers = {each['source_id']: each['id'] for each in listed}
    # One name is no number, so all images count from 1; the torn one has a number, too.
    self.assertEqual(numbers['sub/99.png'], 7)
    for name, number in numbers.items():
      content = pathlib.Path(self.photos, name).read_bytes()
      found = loaded.signatures['serving_default'](inputs=tf.constant([content]))
      count = int(found['num_detections'][0])
      mine = [each for each in results if each['image_id'] == number]
      ymin, xmin, ymax, xmax = np.clip(found['detection_boxes'][0, :count], 0, 1).T * 64
      has_area = (ymax > ymin) & (xmax > xmin)
      self.assertGreater(has_area.sum(), 0)
      expected = np.stack([xmin, ymin, xmax - xmin, ymax - ymin], 1)[has_area]
      np.testing.assert_allclose([each['bbox'] for each in mine], expected, atol=1e-3)
      scores = found['detection_scores'][0, :count].numpy()[has_area]
      np.testing.assert_allclose([each['score'] for each in mine], scores, rtol=1e-5)
      lines = pathlib.Path(self.output, 'yolo', 'labels', _stem(name) + '.txt').read_text()
      self.assertEqual(len(lines.splitlines()), int((scores >= 0.01).sum()))

  def test_a_second_start_asks_the_model_for_new_images_alone(self):
    self.assertEqual(self._predict()[0], 0)
    before = self._json('coco_results', 'results.json')
    with mock.patch.object(models.Model, '__call__', side_effect=AssertionError):
      code, _, err = self._predict('--cut=0.9', '--format=coco')
    self.assertEqual(code, 0, err)
    self.assertEqual(self._json('coco', 'annotations.json')['annotations'], [])
    more = os.path.join(self.photos, 'z.png')
    shutil.copy(os.path.join(self.photos, '2.png'), more)
    self.addCleanup(os.remove, more)
    asked = []
    original = models.Model.__call__

    def counted(model, encoded):
      asked.append(len(encoded))
      return original(model, encoded)

    with mock.patch.object(models.Model, '__call__', counted):
      self.assertEqual(self._predict()[0], 0)
    self.assertEqual(asked, [1])
    self.assertGreater(len(self._json('coco_results', 'results.json')), len(before))

  def test_another_image_under_a_name_is_predicted_anew(self):
    photo = pathlib.Path(self.photos, '1.png')
    content = photo.read_bytes()
    self.assertEqual(self._predict()[0], 0)
    before = self._json('coco_results', 'results.json')
    self.addCleanup(photo.write_bytes, content)
    shutil.copy(os.path.join(self.photos, '2.png'), photo)
    self.assertEqual(self._predict()[0], 0)
    after = self._json('coco_results', 'results.json')

    def of(results, number):
      return [{**each, 'image_id': 0} for each in results if each['image_id'] == number]

    self.assertNotEqual(of(before, 1), of(before, 2))
    self.assertEqual(of(after, 1), of(before, 2))
    self.assertEqual(of(after, 2), of(before, 2))

  def test_images_that_are_gone_or_repaired(self):
    torn = pathlib.Path(self.photos, '50.png')
    content = torn.read_bytes()
    gone = pathlib.Path(self.photos, '60.png')
    shutil.copy(os.path.join(self.photos, '1.png'), gone)
    self.assertEqual(self._predict()[0], 0)
    self.assertEqual(len(self._json('coco_results', 'images.json')['images']), 7)
    gone.unlink()
    shutil.copy(os.path.join(self.photos, '2.png'), torn)
    self.addCleanup(torn.write_bytes, content)
    code, out, err = self._predict('--format= coco_results , yolo')
    self.assertEqual(code, 0, err)
    self.assertIn('7 images, 0 left out', out)
    listed = self._json('coco_results', 'images.json')['images']
    self.assertEqual(len(listed), 7)
    self.assertNotIn('60.png', [each['file_name'] for each in listed])
    self.assertIn('sub/99.png', [each['file_name'] for each in listed])

  def test_an_error_that_is_no_images_fault_stops_the_run(self):
    error = tf.errors.ResourceExhaustedError(None, None, 'out of memory')
    with mock.patch.object(models.Model, '__call__', side_effect=error):
      with self.assertRaises(tf.errors.ResourceExhaustedError):
        self._predict()
    self.assertEqual(self._predict()[1].count('6 images, 1 left out'), 1)

  def test_an_interrupted_run_goes_on(self):
    original = models.Model.__call__
    calls = []

    def interrupted(model, encoded):
      calls.append(len(encoded))
      if len(calls) == 2:
        raise KeyboardInterrupt
      return original(model, encoded)

    with mock.patch.object(models.Model, '__call__', interrupted):
      code, _, err = self._predict('--batch_size=2')
    self.assertEqual(code, 130)
    self.assertIn('the same command goes on', err)
    self.assertFalse(os.path.exists(os.path.join(self.output, 'index.html')))
    self.assertEqual(self._predict('--batch_size=2')[0], 0)
    whole = self._json('coco_results', 'results.json')
    self.output += '-2'
    self.assertEqual(self._predict('--batch_size=2')[0], 0)
    self.assertEqual(whole, self._json('coco_results', 'results.json'))

  def test_the_file_for_the_evaluation_server(self):
    names = ('1.png', '2.png', '3.png', '4.png', '5.png', '50.png', '99.png')
    ids = {'images': [{'file_name': name, 'id': 1000 + i} for i, name in enumerate(names)]}
    path = pathlib.Path(self.root, 'ids.json')
    path.write_text(json.dumps(ids))
    code, out, _ = self._predict(f'--image_ids={path}', '--test_dev=mine')
    self.assertEqual(code, 0)
    results = self._json('detections_test-dev2017_mine_results.json')
    self.assertEqual({each['image_id'] for each in results} - set(range(1000, 1007)), set())
    self.assertEqual(set(results[0]), {'image_id', 'category_id', 'bbox', 'score'})
    self.assertIn('detections_test-dev2017_mine_results.json', out)

  def test_the_page_shows_pictures_and_what_was_left_out(self):
    self.assertEqual(self._predict('--pictures=2', '--cut=0.0')[0], 0)
    page = pathlib.Path(self.output, 'index.html').read_text()
    self.assertEqual(page.count('<img'), 2)
    self.assertEqual(sorted(os.listdir(os.path.join(self.output, 'pictures'))), ['1.jpg', '2.jpg'])
    self.assertIn('50.png: the ', page)
    self.assertIn('1 left out', page)

  def test_errors(self):
    for arguments, message in (
      (('--format=png',), '--format is png, which is not written for labels of detection'),
      (('--cut=2',), '--cut is 2: scores are in [0, 1].'),
      (('--batch_size=0',), '--batch_size is 0'),
      (('--test_dev=mine',), '--test_dev needs --image_ids'),
      (('--test_dev=my_entry', '--image_ids=x'), '--test_dev=my_entry: letters, digits and dashes'),
      ((f'--model={self.photos}',), 'is neither an exported model nor a run'),
      ((f'--model={os.path.join(self.run_dir, "student")}',), 'has no exported model. Make one'),
    ):
      with self.subTest(message):
        code, _, err = self._predict(*arguments)
        self.assertEqual(code, 2)
        self.assertIn(message, err)
        self.assertFalse(os.path.exists(self.output))


class SegmentationTest(unittest.TestCase):
  def test_masks_are_what_the_model_says(self):
    run_dir = tiny_run.finished(tiny_run.SEGMENTATION)
    root = self.enterContext(tempfile.TemporaryDirectory())
    photos, output = os.path.join(root, 'photos'), os.path.join(root, 'predicted')
    _write_images(tiny_run.SEGMENTATION, photos, 3)
    # A batch of images of two sizes.
    Image.open(os.path.join(photos, '2.png')).crop((0, 0, 40, 30)).save(
      os.path.join(photos, '2.png')
    )
    code, out, err = _run(f'--model={run_dir}', f'--input={photos}', f'--output={output}')
    self.assertEqual(code, 0, err)
    self.assertIn('segmentation of 10 classes', out)
    loaded = tf.saved_model.load(os.path.join(run_dir, 'export'))
    for name in ('1.png', '2.png', 'sub/99.png'):
      content = pathlib.Path(photos, name).read_bytes()
      found = loaded.signatures['serving_default'](inputs=tf.constant([content]))
      written = np.asarray(
        Image.open(os.path.join(output, 'png', 'SegmentationClass', _stem(name) + '.png'))
      )
      self.assertEqual(written.shape, tuple(found['image_sizes'][0].numpy()))
      self.assertGreater(np.mean(written == found['classes'][0].numpy()), 0.999)


def _stem(name):
  return name.removesuffix('.png')


if __name__ == '__main__':
  unittest.main()
