"""The whole loop of segmentation on a tiny setting: products, figures that agree, the SavedModel, wrong masks."""

import contextlib
import io
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from official.core import task_factory

from official_selftrain.core import errors, files, keys
from official_selftrain.datasets import tf_examples
from official_selftrain.evaluation import segmentation as evaluation
from official_selftrain.pipeline import labelling, run, training
from official_selftrain.pseudo_labels import manifest as manifest_lib
from official_selftrain.serving import exports, targets
from tests.testing import damage, tiny_run

# The first test waits for the whole run.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_MODELS = ('teacher', 'control', 'student')
EXPERIMENT = tiny_run.SEGMENTATION


def _run(override, model_dir, **options):
  """Runs and returns what was printed to standard output."""
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    run.run(tiny_run.load(EXPERIMENT, override), 'train_and_eval', model_dir, **options)
  return printed.getvalue()


def _validation():
  """(encoded image, mask uint8 [h, w]) of each validation image."""
  spec = {
    name: tf.io.FixedLenFeature([], tf.string)
    for name in (keys.IMAGE_ENCODED, keys.SEGMENTATION_MASK)
  }
  settings = tiny_run.data(EXPERIMENT)
  for record in tf.data.TFRecordDataset(tf.io.gfile.glob(settings.validation)):
    parsed = tf.io.parse_single_example(record, spec)
    mask = tf.io.decode_png(parsed[keys.SEGMENTATION_MASK]).numpy()[..., 0]
    yield parsed[keys.IMAGE_ENCODED].numpy(), mask


class FinishedRunTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.run_dir = tiny_run.finished(EXPERIMENT)
    cls.report = files.read_json(os.path.join(cls.run_dir, 'report.json'))
    export = tf.saved_model.load(os.path.join(cls.run_dir, 'export'))
    cls.segment = staticmethod(export.signatures['serving_default'])

  def test_report(self):
    for name in _MODELS:
      metrics = self.report[name]
      for metric in ('mean_iou', 'mean_iou_resized', 'pixel_accuracy'):
        self.assertBetween(metrics[metric], 0.0, 1.0, f'{name} {metric}')
      classes = self.report['per_class'][name]
      self.assertIn('background', classes)
      self.assertAllClose(np.mean(list(classes.values())), metrics['mean_iou'], rtol=1e-5)
    labels = self.report['pseudo_labels']
    self.assertEqual(labels['labelled'] + labels['empty'] + labels['dead'], 24)
    self.assertEqual(labels['ignore_cut'], 0.0)
    at_cut = labels['quality'][0]
    self.assertAllClose(at_cut['kept_share'], 1.0)
    self.assertBetween(at_cut['accuracy'], 0.0, 1.0)

  def test_page(self):
    html = pathlib.Path(self.run_dir, 'report.html').read_text(encoding='utf-8')
    for text in ('IoU by class', 'Accuracy of pixels by confidence', 'of the pixels right'):
      self.assertTrue(text in html, text)
    self.assertTrue("id='confusion'" in html or 'id="confusion"' in html)

  def test_labels_have_the_size_of_their_image_and_say_how_they_were_made(self):
    manifest = manifest_lib.Manifest.load(os.path.join(self.run_dir, 'labels', 'round-1'))
    self.assertEqual(manifest.provenance.config['labels']['scales'], [0.5, 1.0])
    self.assertEqual(manifest.format_settings, {'num_classes': 11})
    pixels = sum(map(sum, manifest.summary['scores'].values())) + sum(
      manifest.summary['background']
    )
    self.assertEqual(pixels, 24 * 64 * 64)

  def test_the_saved_model_has_the_students_miou(self):
    confusion = np.zeros([11, 11], int)
    for encoded, mask in _validation():
      found = self.segment(inputs=tf.constant([encoded]))['classes'].numpy()[0]
      np.add.at(confusion, (mask.ravel(), found.ravel()), 1)
    metrics_file = os.path.join(self.run_dir, 'student', training.METRICS_FILE)
    details = files.read_json(metrics_file)['details']
    # Batches of other sizes may differ in the last bit, and a pixel in its class.
    self.assertLess(np.abs(confusion - np.array(details['confusion'])).sum(), 20)
    miou = np.nanmean(evaluation.class_ious(confusion))
    self.assertAllClose(miou, self.report['student']['mean_iou'], atol=2e-3)

  def test_the_saved_model_takes_images_of_several_sizes(self):
    rng = np.random.default_rng(0)
    sizes = [(50, 40), (64, 64), (30, 100)]
    images = [rng.integers(0, 256, [*size, 3]).astype(np.uint8) for size in sizes]
    encoded = [tf_examples.encode_jpeg(image) for image in images]
    batch = {k: v.numpy() for k, v in self.segment(inputs=tf.constant(encoded)).items()}
    self.assertEqual(batch['classes'].dtype, np.uint8)
    self.assertEqual(batch['classes'].shape, (3, 64, 100))
    self.assertAllEqual(batch['image_sizes'], sizes)
    for i, (height, width) in enumerate(sizes):
      alone = {
        k: v.numpy()[0] for k, v in self.segment(inputs=tf.constant(encoded[i:][:1])).items()
      }
      self.assertEqual(alone['classes'].shape, (height, width))
      self.assertAllClose(batch['confidences'][i, :height, :width], alone['confidences'], atol=1e-4)
      self.assertAllInRange(alone['confidences'], 1 / 11 - 1e-6, 1.0)
      self.assertAllEqual(batch['confidences'][i, height:], np.zeros([64 - height, 100]))
      self.assertAllEqual(batch['classes'][i, :, width:], np.zeros([64, 100 - width]))

  def test_pixels_as_input(self):
    folder = os.path.join(tiny_run.root(), 'export_pixels')
    student = os.path.join(self.run_dir, 'student')
    exports.export_model(
      tiny_run.load(EXPERIMENT), student, folder, targets.Target(input_type='image_tensor')
    )
    segment = tf.saved_model.load(folder).signatures['serving_default']
    images = np.random.default_rng(1).integers(0, 256, [2, 40, 56, 3]).astype(np.uint8)
    found = segment(inputs=tf.constant(images))
    pngs = [tf.io.encode_png(image).numpy() for image in images]
    expected = self.segment(inputs=tf.constant(pngs))
    self.assertAllEqual(found['classes'], expected['classes'])
    self.assertAllClose(found['confidences'], expected['confidences'], atol=1e-5)

  def test_the_labelling_functions_agree_with_the_saved_model(self):
    task = task_factory.get_task(tiny_run.load(EXPERIMENT).task)
    model = labelling.load_model(task, os.path.join(self.run_dir, 'student'))
    preprocess, predict = task.labelling_functions(model)
    encoded, _ = next(_validation())
    inputs = tf.nest.map_structure(lambda x: x[None], preprocess(tf.constant(encoded)))
    outputs = task.label_format().postprocess(predict(inputs))
    found = tf.io.decode_png(outputs['classes'][0])[..., 0]
    expected = self.segment(inputs=tf.constant([encoded]))['classes'][0]
    self.assertLess(np.mean(found.numpy() != expected.numpy()), 0.01)

  def test_another_scale_names_the_stage(self):
    with self.assertRaisesRegex(
      errors.ConfigError, r'stage labels .*labels\.scales was \[0\.5, 1\.0\]'
    ):
      _run('"labels.scales=[1.0]"'.strip('"'), self.run_dir)

  def test_a_closed_gate(self):
    teacher = os.path.join(self.run_dir, 'teacher')
    override = f'teacher.checkpoint={teacher},task.pseudo_data.cut=0.99,labels.min_image_share=0.01'
    with self.assertRaisesRegex(errors.GateError, r'At cut 0\.99 the 24 unlabelled images keep 0'):
      _run(override, os.path.join(tiny_run.root(), 'segmentation_gate'))


class WrongMasksTest(tf.test.TestCase):
  """Found during training, far from the first record."""

  def assert_refused(self, name, edit, pattern):
    copy, paths = tiny_run.copy_of_data(os.path.join(tiny_run.root(), name), EXPERIMENT)
    path = damage.one_file(copy.train)
    damage.change(path, 5, edit)
    override = ','.join(part for part in paths.split(',') if 'pseudo_data' not in part)
    params = tiny_run.load('segmentation_supervised', override)
    with self.assertRaises(errors.DataError) as caught:
      run.run(params, 'train', os.path.join(tiny_run.root(), f'{name}-run'))
    message = str(caught.exception)
    self.assertRegex(message, pattern)
    self.assertIn(f'{path}, record 5: ', message)
    self.assertNotIn('{{', message)

  def test_missing(self):
    def edit(example):
      del example.features.feature[keys.SEGMENTATION_MASK]

    self.assert_refused('mask-missing', edit, f'{keys.SEGMENTATION_MASK} is missing')

  def test_another_size(self):
    def edit(example):
      mask = tf_examples.encode_png(np.zeros([32, 64], np.uint8))
      example.features.feature[keys.SEGMENTATION_MASK].bytes_list.value[:] = [mask]

    self.assert_refused('mask-size', edit, r'size of its image; .*\[64, 64\], \[32, 64\]')

  def test_a_value_above_the_classes(self):
    def edit(example):
      mask = tf_examples.encode_png(np.full([64, 64], 11, np.uint8))
      example.features.feature[keys.SEGMENTATION_MASK].bytes_list.value[:] = [mask]

    self.assert_refused('mask-class', edit, r'neither a class, 0\.\.10 .* values found: \[11\]')


if __name__ == '__main__':
  tf.test.main()
