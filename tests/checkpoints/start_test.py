"""Detectors and segmenters that start from the backbone of a classifier."""

import os

import pytest
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.checkpoints import restore
from official_selftrain.configs import classification as configs
from official_selftrain.configs import detection, segmentation
from official_selftrain.modeling import classification, retinanet
from official_selftrain.modeling import segmentation as segmenters

_SPINENET = {'type': 'spinenet', 'spinenet': {'model_id': 'nano', 'min_level': 3, 'max_level': 5}}
_LITE = {'type': 'efficientnet', 'efficientnet': {'model_id': 'b0'}}


@pytest.mark.slow
class StartTest(parameterized.TestCase, tf.test.TestCase):
  """A detector or segmenter that starts from a classifier has all of its backbone, and nothing else."""

  def assert_backbone_restored(self, classifier, model):
    folder = self.create_tempdir().full_path
    for variable in classifier.backbone.variables:
      variable.assign(tf.random.stateless_normal(variable.shape, [1, 2]))
    prefix = tf.train.Checkpoint(model=classifier, **classifier.checkpoint_items).save(
      os.path.join(folder, 'ckpt')
    )
    accounting = restore.restore(model, prefix, 'backbone')
    self.assertLen(accounting.restored, len(model.backbone.variables))
    for ours, theirs in zip(model.backbone.variables, classifier.backbone.variables, strict=True):
      self.assertAllEqual(ours, theirs)

  @parameterized.parameters(
    ('model_garden', {}),
    ('model_garden', {'backbone': _SPINENET, 'decoder': {'type': 'identity'}}),
    ('original', {'backbone': _SPINENET, 'decoder': {'type': 'identity'}}),
    ('original', {'backbone': _LITE, 'max_level': 5}),
    ('keras_cv', {}),
  )
  def test_detectors(self, family, changes):
    detector = detection.small_retinanet(num_classes=3, image_size=128)
    detector.override({'family': family, **changes})
    model = configs.ClassificationModel(num_classes=4, input_size=[128, 128, 3])
    shared = ('family', 'backbone', 'norm_activation', 'keras_cv')
    model.override({name: detector.as_dict()[name] for name in shared})
    built = retinanet.build(detector, 0.0)
    self.assert_backbone_restored(classification.build(model), built)

  def test_segmenters(self):
    segmenter = segmentation.small_nasfpn(num_classes=3, image_size=64)
    model = configs.ClassificationModel(
      num_classes=4,
      input_size=[64, 64, 3],
      backbone=segmenter.backbone,
      norm_activation=segmenter.norm_activation,
    )
    self.assert_backbone_restored(classification.build(model), segmenters.build(segmenter))


if __name__ == '__main__':
  tf.test.main()
