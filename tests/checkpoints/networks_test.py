"""Networks of the family `original` compute what the authors' TF1 code computed with the same weights."""

import pytest
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.checkpoints import tf1, tf1_names
from official_selftrain.modeling import abstract
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


class SameFunctionTest(parameterized.TestCase, tf.test.TestCase):
  def check_variables(self, name, model, published):
    """Asserts that names, shapes and the number of trained values are the authors'."""
    ours = {key: list(value.shape) for key, value in tf1_names.variables(model).items()}
    listed = models.listed()[name]
    theirs = {tf1.canonical(key): shape for key, shape in listed['variables'].items()}
    classifier = {key: shape for key, shape in theirs.items() if key.endswith(CLASSIFIER)}
    self.assertEqual(ours, {key: theirs[key] for key in theirs.keys() - classifier})
    self.assertLen(classifier, 2 if models.is_segmentation(name) else 0)
    unused = sum(int(tf.TensorShape(shape).num_elements()) for shape in classifier.values())
    self.assertEqual(abstract.num_values(model.trainable_variables) + unused, published)
    self.assertEqual(listed['trainable_values'], published)

  @parameterized.parameters(
    ('spinenet49s', 11_265_942, 15),
    ('spinenet143', 66_959_511, 15),
    ('resnet50_fpn', 34_091_159, 18),
    ('effnetb7_nasfpn', 71_731_837, 11),
  )
  def test_variables_features_and_outputs(self, name, published, num_tensors):
    model = models.build(name)
    self.check_variables(name, model, published)
    for tf1_name, variable in tf1_names.variables(model).items():
      variable.assign(tf1_fill.fill(tf1_name, variable.shape))
    tensors = {key: value.numpy() for key, value in _outputs(name, model).items()}
    differences = tf1_fill.differences(models.DATA / f'{name}.npz', tensors)
    self.assertLen(differences, num_tensors)
    for key, difference in differences.items():
      self.assertLess(difference, TOLERANCE, key)

  @parameterized.parameters(('spinenet190', 163_637_351), ('effnetl2_nasfpn', 485_972_801))
  @pytest.mark.slow
  def test_variables_of_the_giants(self, name, published):
    with abstract.without_values():
      model = models.build(name)
      self.check_variables(name, model, published)
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


if __name__ == '__main__':
  tf.test.main()
