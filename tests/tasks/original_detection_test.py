"""Anchors, targets and losses of detection against the authors' TF1 code (SpineNet-49's settings)."""

import json

import numpy as np
import tensorflow as tf
from official.vision.configs import retinanet

from official_selftrain.configs import detection as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import detection as parsing
from official_selftrain.losses import detection as losses
from official_selftrain.tasks import detection
from tests.testing import tf1_fill

_FOLDER = tf1_fill.DATA_DIR / 'detection'
_LEVELS = ('3', '4', '5', '6', '7')


def _model(height, width):
  return configs.DetectionModel(
    num_classes=91,
    input_size=[height, width, 3],
    anchor=retinanet.Anchor(num_scales=3, aspect_ratios=[1.0, 2.0, 0.5], anchor_size=3.0),
  )


def _labels(model, images):
  """A batch of labels as the training parser makes them; `images` have pairs of a box and its class."""
  parser = parsing.TrainingParser(model, configs.DataConfig(is_training=True))
  parsed = []
  for image in images:
    example = {
      'image': tf.zeros(model.input_size),
      keys.GROUNDTRUTH_BOXES: tf.reshape(tf.constant([box for box, _ in image]), [-1, 4]),
      keys.GROUNDTRUTH_CLASSES: tf.constant([number for _, number in image], tf.int64),
      keys.GROUNDTRUTH_IS_IGNORED: tf.zeros([len(image)], tf.bool),
    }
    parsed.append(parser.targets(example)[1])
  return tf.nest.map_structure(lambda *values: tf.stack(values), *parsed)


class OriginalDetectionTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.expected = dict(np.load(_FOLDER / 'targets.npz'))
    cls.numbers = json.loads((_FOLDER / 'numbers.json').read_text())
    cls.model = _model(256, 256)
    cls.anchors = parsing.Anchors.build(cls.model)
    cls.labels = _labels(cls.model, tf1_fill.GROUND_TRUTH)
    settings = cls.numbers['loss_settings']
    cls.losses = retinanet.Losses(
      focal_loss_alpha=settings['focal_loss_alpha'],
      focal_loss_gamma=settings['focal_loss_gamma'],
      huber_loss_delta=settings['huber_loss_delta'],
      box_loss_weight=settings['box_loss_weight'],
    )
    cls.task = detection.DetectionTask(configs.DetectionTask(model=cls.model, losses=cls.losses))
    scores, boxes = tf1_fill.detection_logits(256, 256)
    cls.outputs = {
      'cls_outputs': {str(level): tf.constant(value) for level, value in scores.items()},
      'box_outputs': {str(level): tf.constant(value) for level, value in boxes.items()},
    }

  def _only(self, weights, level):
    """Weights [batch, num_anchors] of one level, 0 for the others."""
    sizes = [boxes.shape.num_elements() // 4 for boxes in self.anchors.by_level.values()]
    parts = tf.split(weights, sizes, axis=1)
    kept = [
      part if name == level else 0.0 * part for name, part in zip(_LEVELS, parts, strict=True)
    ]
    return tf.concat(kept, axis=1)

  def test_settings_are_the_papers_defaults(self):
    self.assertEqual(self.losses, configs.DetectionTask().losses)
    settings = self.numbers['anchor_settings']
    self.assertEqual(self.model.anchor.as_dict(), settings)

  def test_anchors(self):
    anchors = parsing.Anchors.build(_model(256, 384)).by_level
    self.assertEqual(tuple(anchors), _LEVELS)
    for level, boxes in anchors.items():
      expected = self.expected[f'anchors_256x384_p{level}']
      self.assertAllClose(tf.reshape(boxes, [-1, 4]), expected, rtol=1e-5, atol=1e-4)

  def test_targets(self):
    self.assertAllEqual(
      tf.reduce_sum(self.labels['box_weights'], axis=1), self.expected['num_positives']
    )
    self.assertAllEqual(self.labels['cls_weights'], tf.ones_like(self.labels['cls_weights']))
    for level in _LEVELS:
      classes = self.labels['cls_targets'][level].numpy()
      self.assertAllEqual(classes, self.expected[f'cls_targets_p{level}'])
      boxes = self.labels['box_targets'][level].numpy()
      # Ours of other anchors carry no meaning, theirs are 0.
      boxes = np.where(np.repeat(classes, 4, axis=-1) > 0, boxes, 0.0)
      self.assertAllClose(boxes, self.expected[f'box_targets_p{level}'], rtol=1e-5, atol=2e-6)

  def test_positives_by_level(self):
    for level in _LEVELS:
      found = tf.reduce_sum(self._only(self.labels['box_weights'], level), axis=1)
      self.assertAllEqual(found, self.numbers['positives_per_level'][level])

  def test_no_ground_truth(self):
    expected = self.numbers['no_ground_truth']
    self.assertEqual(expected['num_positives'], 0.0)
    self.assertTrue(expected['all_class_targets_minus_one'])
    labels = _labels(self.model, [()])
    self.assertAllEqual(tf.reduce_sum(labels['box_weights']), 0.0)
    for classes in labels['cls_targets'].values():
      self.assertAllEqual(classes, -tf.ones_like(classes))

  def test_losses(self):
    expected = self.numbers['losses_on_synthetic_logits']
    total, class_loss, box_loss, model_loss = self.task.build_losses(self.outputs, self.labels)
    self.assertAllClose(class_loss, expected['cls_loss'], rtol=1e-5)
    self.assertAllClose(box_loss, expected['box_loss'], rtol=1e-5)
    self.assertAllClose(model_loss, expected['model_loss'], rtol=1e-5)
    self.assertAllEqual(total, model_loss)

  def test_losses_by_level(self):
    expected = self.numbers['losses_on_synthetic_logits']
    positives = tf.reduce_sum(self.labels['box_weights'])
    for level in _LEVELS:
      box_weights = self._only(self.labels['box_weights'], level)
      labels = {
        **self.labels,
        'cls_weights': self._only(self.labels['cls_weights'], level),
        'box_weights': box_weights,
      }
      # Of this level, but divided by the positives of all.
      share = (tf.reduce_sum(box_weights) + 1.0) / (positives + 1.0)
      _, class_loss, box_loss, _ = self.task.build_losses(self.outputs, labels)
      self.assertAllClose(share * class_loss, expected[f'cls_loss_p{level}'], rtol=1e-5)
      self.assertAllClose(share * box_loss, expected[f'box_loss_p{level}'], rtol=1e-5)
      original = losses.original_box_loss(self.outputs['box_outputs'], labels, 0.1)
      self.assertAllClose(share * original, expected[f'box_loss_p{level}'], rtol=1e-5)

  def test_box_loss_of_the_authors(self):
    expected = self.numbers['losses_on_synthetic_logits']['box_loss']
    found = losses.original_box_loss(self.outputs['box_outputs'], self.labels, 0.1)
    self.assertAllClose(found, expected, rtol=1e-5)

  def test_box_losses_differ_where_a_target_is_0(self):
    # No target of the ground truth above is; a box that is an anchor itself has four.
    anchor = self.anchors.by_level['4'][5, 6, :4].numpy()
    labels = _labels(self.model, [[(anchor, 7)], [(anchor + 3.0, 8)]])
    weight = outside = 0.0
    for level in _LEVELS:
      is_positive = np.repeat(labels['cls_targets'][level] > 0, 4, axis=-1)
      left_out = is_positive & (labels['box_targets'][level].numpy() == 0.0)
      error = np.abs(self.outputs['box_outputs'][level].numpy()[left_out])
      outside += np.where(error < 0.1, error**2 / 2, 0.1 * (error - 0.05)).sum()
      weight += left_out.sum()
    self.assertGreaterEqual(weight, 4)
    ours = self.task.build_losses(self.outputs, labels)[2]
    theirs = losses.original_box_loss(self.outputs['box_outputs'], labels, 0.1)
    share = outside / (4 * (tf.reduce_sum(labels['box_weights']) + 1.0))
    self.assertGreater(share, 1e-4)
    self.assertAllClose(theirs, ours - share, rtol=1e-4)


if __name__ == '__main__':
  tf.test.main()
