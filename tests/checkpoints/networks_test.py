"""Networks of the family `original` compute what the authors' TF1 code computed with the same weights."""

import json

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.checkpoints import tf1, tf1_names
from official_selftrain.configs import detection as configs
from official_selftrain.core import keys
from official_selftrain.modeling import memory
from official_selftrain.tasks import detection
from tests.checkpoints import networks as models
from tests.testing import tf1_fill

# In standard deviations of each tensor. Other kernels of TensorFlow move values by 2e-5, one wrong variable by 5e-4.
TOLERANCE = 1e-4
# In the checkpoints, but no output uses them.
CLASSIFIER = ('head/dense/kernel', 'head/dense/bias')


def _outputs(name, model):
  """Features and outputs by the names that the fixtures use."""
  size = models.settings(name).input_size[:2]
  images = tf.constant(tf1_fill.image(*size))
  features = model.backbone(images, training=False)
  decoded = model.decoder(features, training=False) if model.decoder else features
  tensors = {f'backbone_p{level}': features[level] for level in features if level in '234567'}
  if model.decoder:
    tensors.update({f'decoder_p{level}': value for level, value in decoded.items()})
  if models.is_segmentation(name):
    tensors['fused_p2'] = model.head.fuse(decoded)
    tensors['logits'] = model(images, training=False)['logits']
    del tensors['backbone_p6']  # The classifier's convolution in the Model Garden's numbering.
  else:
    classes, boxes, _ = model.head(decoded, training=False)
    tensors.update({f'cls_p{level}': value for level, value in classes.items()})
    tensors.update({f'box_p{level}': value for level, value in boxes.items()})
    tensors.pop('backbone_p2', None)
  return tensors


@pytest.mark.slow
class SameFunctionTest(parameterized.TestCase, tf.test.TestCase):
  def assert_variables(self, name, model, published):
    """Asserts that names, shapes and the number of trained values are the authors'."""
    ours = {key: list(value.shape) for key, value in tf1_names.variables(model).items()}
    listed = models.listed()[name]
    theirs = {tf1.canonical(key): shape for key, shape in listed['variables'].items()}
    classifier = {key: shape for key, shape in theirs.items() if key.endswith(CLASSIFIER)}
    self.assertEqual(ours, {key: theirs[key] for key in theirs.keys() - classifier})
    self.assertLen(classifier, 2 if models.is_segmentation(name) else 0)
    unused = sum(int(tf.TensorShape(shape).num_elements()) for shape in classifier.values())
    self.assertEqual(memory.num_values(model.trainable_variables) + unused, published)
    self.assertEqual(listed['trainable_values'], published)

  def assert_outputs(self, name, published, num_tensors):
    """Asserts that the variables are the authors' and that features and outputs are theirs, given their weights."""
    model = models.build(name)
    self.assert_variables(name, model, published)
    for tf1_name, variable in tf1_names.variables(model).items():
      variable.assign(tf1_fill.fill(tf1_name, variable.shape))
    tensors = {key: value.numpy() for key, value in _outputs(name, model).items()}
    differences = tf1_fill.differences(models.DATA / f'{name}.npz', tensors)
    self.assertLen(differences, num_tensors)
    for key, difference in differences.items():
      self.assertLess(difference, TOLERANCE, key)

  @parameterized.parameters(('spinenet49s', 11_265_942, 15), ('resnet50_fpn', 34_091_159, 18))
  def test_variables_features_and_outputs(self, name, published, num_tensors):
    self.assert_outputs(name, published, num_tensors)

  @parameterized.parameters(('spinenet143', 66_959_511, 15), ('effnetb7_nasfpn', 71_731_837, 11))
  def test_variables_features_and_outputs_of_large_networks(self, name, published, num_tensors):
    self.assert_outputs(name, published, num_tensors)

  @parameterized.parameters(('spinenet190', 163_637_351), ('effnetl2_nasfpn', 485_972_801))
  def test_variables_of_the_giants(self, name, published):
    with memory.without_values():
      model = models.build(name)
      self.assert_variables(name, model, published)
    self.assertEqual(model.variables[0].numpy().size, 0)

  def test_a_wrong_variable_shows(self):
    model = models.build('spinenet49s')
    for tf1_name, variable in tf1_names.variables(model).items():
      variable.assign(tf1_fill.fill(tf1_name, variable.shape))
    changed = 'spinenet/sub_policy9/scale_permuted_block_11/batch_normalization_1/beta'
    variable = tf1_names.variables(model)[changed]
    variable.assign(tf1_fill.fill('another/beta', variable.shape))
    tensors = {key: value.numpy() for key, value in _outputs('spinenet49s', model).items()}
    differences = tf1_fill.differences(models.DATA / 'spinenet49s.npz', tensors)
    self.assertGreater(max(differences.values()), 4 * TOLERANCE)


@pytest.mark.slow
class WholeDetectorTest(tf.test.TestCase):
  """SpineNet-49 from images to detections and losses, as the task builds it."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = models.DATA / 'detection'
    cls.numbers = json.loads((folder / 'numbers.json').read_text())
    cls.detections = dict(np.load(folder / 'detections.npz'))
    config = configs.DetectionTask(model=models.settings('spinenet49'))
    config.model.anchor.anchor_size = cls.numbers['anchor_settings']['anchor_size']
    config.losses.l2_weight_decay = cls.numbers['l2_regularization']['weight_decay']
    cls.task = detection.DetectionTask(config)
    cls.model = cls.task.build_model()
    for name, variable in tf1_names.variables(cls.model).items():
      variable.assign(tf1_fill.fill(name, variable.shape))
    cls.images = tf.constant(tf1_fill.image(256, 256, 2))

  def test_detections(self):
    shape = tf.constant([[256.0, 256.0]] * 2)
    found = self.model(self.images, image_shape=shape, training=False)
    expected = {
      key.removeprefix('network/'): value
      for key, value in self.detections.items()
      if key.startswith('network/')
    }
    self.assertAllEqual(found['num_detections'], expected['num_detections'])
    for row, count in enumerate(expected['num_detections']):
      given = {key: found[key][row, :count] for key in expected if key != 'num_detections'}
      self.assertAllEqual(given['detection_classes'], expected['detection_classes'][row, :count])
      self.assertAllClose(
        given['detection_scores'], expected['detection_scores'][row, :count], atol=2e-5
      )
      self.assertAllClose(
        given['detection_boxes'], expected['detection_boxes'][row, :count], atol=0.01
      )

  def test_losses(self):
    parser = self.task.training_parser(configs.DataConfig(is_training=True))
    parsed = []
    for objects in tf1_fill.GROUND_TRUTH:
      example = {
        'image': tf.zeros([256, 256, 3]),
        keys.GROUNDTRUTH_BOXES: tf.constant([box for box, _ in objects]),
        keys.GROUNDTRUTH_CLASSES: tf.constant([number for _, number in objects], tf.int64),
        keys.GROUNDTRUTH_IS_IGNORED: tf.zeros([len(objects)], tf.bool),
      }
      parsed.append(parser.targets(example)[1])
    labels = tf.nest.map_structure(lambda *values: tf.stack(values), *parsed)
    features = self.model.backbone(self.images, training=False)
    classes, boxes, _ = self.model.head(features, training=False)
    outputs = {'cls_outputs': classes, 'box_outputs': boxes}
    _, class_loss, box_loss, model_loss = self.task.build_losses(outputs=outputs, labels=labels)
    expected = self.numbers['losses_on_network_logits']
    self.assertAllClose(class_loss, expected['cls_loss'], rtol=1e-5)
    self.assertAllClose(box_loss, expected['box_loss'], rtol=1e-5)
    self.assertAllClose(model_loss, expected['model_loss'], rtol=1e-5)

  def test_weight_decay(self):
    expected = self.numbers['l2_regularization']
    self.assertLen(self.model.losses, expected['variables'])
    self.assertAllClose(tf.add_n(self.model.losses), expected['value'], rtol=1e-5)


if __name__ == '__main__':
  tf.test.main()
