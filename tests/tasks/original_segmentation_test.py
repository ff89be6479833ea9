"""Losses and enlarged logits of segmentation are the authors', see tests/data/tf1/README.md."""

import json

import numpy as np
import tensorflow as tf

from official_selftrain.configs import families
from official_selftrain.configs import segmentation as configs
from official_selftrain.evaluation import segmentation as evaluation
from official_selftrain.tasks import segmentation
from tests.testing import tf1_fill


def _task(family, **losses):
  config = configs.SegmentationTask(model=configs.SegmentationModel(family=family, num_classes=21))
  config.losses.override(losses)
  return segmentation.SegmentationTask(config)


class LossTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.logits = tf.constant(tf1_fill.segmentation_logits())
    cls.masks = tf.constant(tf1_fill.segmentation_labels())
    path = tf1_fill.DATA_DIR / 'detection' / 'numbers.json'
    cls.numbers = json.loads(path.read_text(encoding='utf-8'))

  def _loss(self, family, enlarged):
    task = _task(family, use_groundtruth_dimension=enlarged)
    outputs = {'logits': self.logits}
    return float(task.build_losses(labels={'masks': self.masks}, model_outputs=outputs))

  def test_at_the_size_of_the_logits(self):
    expected = self.numbers['segmentation_loss_use_groundtruth_dimension_false']
    self.assertAllClose(self._loss('original', False), expected, rtol=1e-5)

  def test_at_the_size_of_the_masks(self):
    expected = self.numbers['segmentation_loss_use_groundtruth_dimension_true']
    self.assertAllClose(self._loss('original', True), expected, rtol=1e-5)

  def test_the_model_garden_has_other_figures(self):
    for enlarged in (False, True):
      ours, theirs = self._loss('original', enlarged), self._loss('model_garden', enlarged)
      self.assertGreater(abs(ours - theirs), 1e-3)

  def test_a_second_implementation(self):
    mask = self.masks.numpy()[:, ::4, ::4, 0].astype(int)
    logits = self.logits.numpy().astype(np.float64)
    counted = mask != 255
    log_sum = np.log(np.exp(logits).sum(-1))
    picked = np.take_along_axis(logits, np.where(counted, mask, 0)[..., None], -1)[..., 0]
    expected = (log_sum - picked)[counted].mean()
    self.assertAllClose(self._loss('original', False), expected, rtol=1e-5)


class EnlargeTest(tf.test.TestCase):
  def test_logits(self):
    logits = tf.constant(tf1_fill.segmentation_logits())
    with np.load(tf1_fill.DATA_DIR / 'segmentation_resize.npz') as stored:
      enlarged = families.ORIGINAL.resize(logits, [128, 128]).numpy()
      self.assertAllClose(enlarged[0, :9, :9], stored['logits_up_first_image_9x9'], atol=1e-6)
      self.assertAllClose(enlarged[-1, -9:, -9:], stored['logits_up_last_9x9'], atol=1e-6)
      labels = tf1_fill.segmentation_labels()
      self.assertAllEqual(labels[:, ::4, ::4], stored['labels_down'])

  def test_the_evaluator_enlarges_as_the_family_does(self):
    # From 0 to 4 over the class that has 1.4: TF1 counts cells from their first pixel, TF2 from their middle.
    logits = tf.constant([[[[0.0, 1.4], [4.0, 1.4]]]])
    masks = tf.constant([0, 0, 0, 0, 0, 0, 0, 0], tf.uint8)[None, None, :, None]
    right = {}
    for family in (families.ORIGINAL, families.MODEL_GARDEN):
      evaluator = evaluation.SegmentationEvaluator(2, False, family.resize)
      evaluator.update_state({'masks': masks}, logits)
      right[family.name] = evaluator.confusion[0, 0]
    self.assertEqual(right, {'original': 6, 'model_garden': 5})


if __name__ == '__main__':
  tf.test.main()
