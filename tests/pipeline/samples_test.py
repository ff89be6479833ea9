"""What TensorBoard shows of a training and of its evaluations: the files of whole runs."""

import json
import os
import pathlib

import numpy as np
import tensorflow as tf
from tensorboard.plugins.pr_curve import plugin_data_pb2

from official_selftrain.pipeline import run, samples
from tests.testing import tiny_run


def _summaries(folder):
  """Values of pictures and curves by tag, and the steps of each."""
  values, steps = {}, {}
  for path in pathlib.Path(folder).glob('events*'):
    for event in tf.compat.v1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        if value.metadata.plugin_data.plugin_name in ('images', 'pr_curves'):
          values[value.tag] = value
          steps.setdefault(value.tag, []).append(event.step)
  return values, steps


def _pictures(value):
  return [tf.io.decode_png(each).numpy() for each in value.tensor.string_val[2:]]


class DetectionTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = os.path.join(tiny_run.root(), 'pictures')
    override = 'report.training_pictures=3,trainer.validation_interval=4'
    run.run(tiny_run.load(override=tiny_run.with_teacher(override)), 'train_and_eval', cls.folder)

  def test_inputs_of_both_streams(self):
    values, steps = _summaries(os.path.join(self.folder, 'student', 'train'))
    self.assertCountEqual(values, ['inputs/train_data', 'inputs/pseudo_data'])
    for tag, value in values.items():
      drawn = _pictures(value)
      self.assertLen(drawn, 3)
      self.assertEqual({picture.shape for picture in drawn}, {(256, 256, 3)})
      self.assertGreater(drawn[0].std(), 5)
      self.assertEqual(steps[tag], [0])
    # The white line of a true box.
    self.assertTrue(
      any((picture == 255).all(-1).any() for picture in _pictures(values['inputs/train_data']))
    )

  def test_every_evaluation(self):
    values, steps = _summaries(os.path.join(self.folder, 'student', 'validation', 'pictures'))
    names = json.loads(pathlib.Path(self.folder, 'student', 'classes.json').read_text())
    self.assertIn('predictions', values)
    self.assertIn('confusion', values)
    curves = {tag.split('/')[1] for tag in values if tag.startswith('precision_recall/')}
    self.assertNotEmpty(curves)
    self.assertContainsSubset(curves, names['class_names'])
    for tag in ('predictions', 'confusion', f'precision_recall/{min(curves)}/pr_curves'):
      self.assertEqual(sorted(set(steps[tag])), [4, 6], tag)
    self.assertLen(_pictures(values['predictions']), 3)
    # Truth on the left, what was found on the right.
    for picture in _pictures(values['predictions']):
      self.assertEqual(picture.shape, (256, 512, 3))
      is_white = (picture == 255).all(-1)
      self.assertGreater(is_white[:, :256].sum(), 50)
      self.assertEqual(is_white[:, 256:].sum(), 0)

  def test_curves_say_what_the_evaluation_counted(self):
    values, _ = _summaries(os.path.join(self.folder, 'student', 'validation', 'pictures'))
    tallies = np.load(os.path.join(self.folder, 'student', 'evaluation.npz'))
    true = 0
    for tag, value in values.items():
      if tag.startswith('precision_recall/'):
        right, wrong, _, missed, precision, recall = tf.make_ndarray(value.tensor)
        plugin = plugin_data_pb2.PrCurvePluginData.FromString(value.metadata.plugin_data.content)
        self.assertEqual(plugin.num_thresholds, 101)
        self.assertEqual(len(set(right + missed)), 1)
        self.assertAllClose(
          precision, np.where(right + wrong > 0, right / np.maximum(right + wrong, 1), 1)
        )
        self.assertAllClose(recall, right / np.maximum(right + missed, 1))
        true += right[0] + missed[0]
    self.assertEqual(true, len(tallies['true_image']))

  def test_none_are_written_where_none_are_wanted(self):
    for name in ('train', 'validation'):
      folder = os.path.join(tiny_run.finished(), 'student', name)
      self.assertNotEmpty(list(pathlib.Path(folder).glob('events*')))
      self.assertEmpty(_summaries(folder)[0])
      self.assertFalse(os.path.exists(os.path.join(folder, 'pictures')))


class SegmentationTest(tf.test.TestCase):
  def test_masks(self):
    folder = os.path.join(tiny_run.root(), 'mask_pictures')
    params = tiny_run.load(tiny_run.SEGMENTATION, 'report.training_pictures=2')
    run.run(params, 'train_and_eval', folder, stage='teacher')
    values, _ = _summaries(os.path.join(folder, 'teacher', 'train'))
    self.assertEqual(
      [each.shape for each in _pictures(values['inputs/train_data'])], [(256, 256, 3)] * 2
    )
    values, _ = _summaries(os.path.join(folder, 'teacher', 'validation', 'pictures'))
    self.assertCountEqual(values, ['predictions', 'confusion'])
    # Truth and prediction side by side, over the same picture in grey.
    for picture in _pictures(values['predictions']):
      self.assertEqual(picture.shape, (256, 512, 3))
      self.assertGreater(np.abs(picture[:, :256].astype(int) - picture[:, 256:]).max(), 0)


class StackTest(tf.test.TestCase):
  def test_smaller_pictures_are_padded_below_and_right(self):
    big, small = np.full([3, 4, 3], 9, np.uint8), np.full([2, 1, 3], 7, np.uint8)
    stacked = samples.stack([big, small])
    self.assertEqual(stacked.shape, (2, 3, 4, 3))
    self.assertAllEqual(stacked[1, :2, :1], small)
    self.assertEqual(stacked[1].sum(), small.sum())


if __name__ == '__main__':
  tf.test.main()
