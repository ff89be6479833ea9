"""TF1 checkpoints of ResNet-50 classifiers and of SimCLR: the same function, and nothing unaccounted for."""

import contextlib
import functools
import io
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from official.vision.configs import backbones, common

from official_selftrain import import_tf1
from official_selftrain.checkpoints import normalization as norm
from official_selftrain.checkpoints import resnets, restore, write
from official_selftrain.configs import classification as configs
from official_selftrain.core import errors
from official_selftrain.modeling import classification
from official_selftrain.ops import images as image_ops
from tests.checkpoints import networks, tiny
from tests.testing import resnet50

RECIPE = pathlib.Path(__file__).parents[2] / 'experiments' / 'coco_resnet50_pretrained.yaml'
SIDE = 64
# In the largest value of a level.
TOLERANCE = 1e-5


def settings(**changes) -> configs.ClassificationModel:
  """A classifier, which has the backbone of a detector and is built in half the time."""
  model = configs.ClassificationModel(
    family='original',
    num_classes=3,
    input_size=[SIDE, SIDE, 3],
    backbone=backbones.Backbone(type='resnet', resnet=backbones.ResNet(model_id=50)),
    norm_activation=common.NormActivation(
      activation='relu', norm_epsilon=resnets.EPSILON, use_sync_bn=False
    ),
  )
  model.override(changes)
  return model


@functools.cache
def shared() -> tf.keras.Model:
  """One network for all tests of a process, with any weights that the last one left."""
  return classification.build(settings())


@functools.cache
def arrays(scope: str) -> resnet50.Arrays:
  """A whole checkpoint's variables."""
  return {**resnet50.random_arrays(1, scope), **resnet50.other_variables(2, scope)}


@functools.cache
def raw_images() -> np.ndarray:
  """Two images of noise, uint8 [2, SIDE, SIDE, 3]."""
  return np.random.default_rng(7).integers(0, 256, [2, SIDE, SIDE, 3], dtype=np.uint8)


def normalized() -> tf.Tensor:
  """What train.py makes of them."""
  return tf.stack([image_ops.normalize(image) for image in raw_images()])


class ResNetCase(parameterized.TestCase, tf.test.TestCase):
  """Help for what follows."""

  def setUp(self):
    super().setUp()
    self.folder = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self.folder)
    self.prefix = os.path.join(self.folder, 'model.ckpt')

  def load(self, scope):
    """Imports a checkpoint into a folder and gives the shared network what is there; returns the accounting."""
    tiny.write(self.prefix, arrays(scope))
    output = os.path.join(self.folder, 'imported')
    accounting = write.import_model(shared(), self.prefix, output, 'backbone', False)
    for variable in shared().backbone.variables:
      variable.assign(tf.zeros_like(variable))
    restored = restore.restore(shared(), restore.find(output), 'backbone')
    self.assertLen(restored.restored, 5 * 53)
    self.assertEqual(os.path.basename(restore.find(output)), 'ckpt-250')
    return accounting

  def assert_same(self, features, expected):
    for level in '2345':
      scale = np.max(np.abs(expected[level]))
      self.assertAllClose(
        features[level] / scale, expected[level] / scale, atol=TOLERANCE, rtol=0, msg=level
      )


class FunctionTest(ResNetCase):
  def test_a_classifier(self):
    accounting = self.load(resnet50.CLASSIFIER)
    images = normalized()
    expected = resnet50.forward(arrays(resnet50.CLASSIFIER), resnet50.CLASSIFIER, images)
    self.assert_same(shared().backbone(images), expected)
    self.assertAllGreater([np.std(value) for value in expected.values()], 0.1)
    self.assertEqual(
      {kind: len(names) for kind, names in accounting.skipped.items()},
      {'counters': 1, 'optimizer slots': 3, "the backbone's ImageNet classifier": 2},
    )
    self.assertLen(accounting.used, 5 * 53)
    self.assertEqual(accounting.num_values, 23_561_152)
    self.assertEqual(
      accounting.notes,
      (
        'normalisation of images: as train.py does it',
        'batch norm: trained with epsilon 1e-05 and momentum 0.9',
      ),
    )

  def test_simclr_is_folded_and_exact_if_the_border_is_grey(self):
    accounting = self.load(resnet50.SIMCLR)
    features = shared().backbone(normalized())
    unit = raw_images().astype(np.float32) / 255
    forward = functools.partial(resnet50.forward, arrays(resnet50.SIMCLR), resnet50.SIMCLR, unit)
    self.assert_same(features, forward(tuple(mean / 255 for mean in norm.OURS.mean)))
    self.assertNotAllClose(features['2'], forward()['2'], atol=1e-2)
    # Inside: the border reaches three pixels of the stem's output, and one more with each 3 x 3 window.
    inner = (slice(None), slice(6, 10), slice(6, 10))
    self.assertAllClose(features['2'][inner], forward()['2'][inner], atol=1e-5)
    self.assertEqual(
      {kind: len(names) for kind, names in accounting.skipped.items()},
      {
        'counters': 1,
        'optimizer slots': 3,
        'the projection head': 14,
        'a moving average of the network': 1,
        'the classifier on top': 2,
      },
    )
    self.assertLen(accounting.used, 5 * 53)
    self.assertIn('minus (0, 0, 0), over (255, 255, 255); folded into the stem', accounting.text())


class AccountingTest(ResNetCase):
  def assert_refused(self, tensors, *patterns, **kwargs):
    before = shared().backbone.variables[0].numpy()
    tiny.write(self.prefix, tensors)
    with self.assertRaises(errors.DataError) as caught:
      resnets.assign(shared().backbone, resnets.find(self.prefix), self.prefix, **kwargs)
    for pattern in patterns:
      self.assertRegex(str(caught.exception), pattern)
    self.assertAllEqual(shared().backbone.variables[0], before)

  def test_missing_unknown_and_differing_variables_are_listed(self):
    tensors = dict(arrays(resnet50.SIMCLR))
    del tensors['base_model/batch_normalization_52/beta']
    tensors['base_model/batch_normalization_53/beta'] = np.zeros([2048], np.float32)
    tensors['conv2d_1/kernel'] = np.zeros([1, 1, 2, 2], np.float32)
    tensors['base_model/conv2d_9/kernel'] = np.zeros([3, 3, 128, 128], np.float32)
    self.assert_refused(
      tensors,
      '1 variables are only in the model, 2 only in the checkpoint, 1 differ in shape',
      r'base_model/conv2d_9/kernel: \[3, 3, 128, 128\] in the checkpoint, \[3, 3, 64, 64\] in',
      'only in the model: base_model/batch_normalization_52/beta',
      'only in the checkpoint: base_model/batch_normalization_53/beta',
      'only in the checkpoint: conv2d_1/kernel',
    )

  @parameterized.parameters(([7, 7, 3, 128],), ([3, 3, 3, 32],), ([3, 3, 3, 64],))
  def test_other_widths_and_stems(self, shape):
    tensors = {'base_model/conv2d/kernel': np.zeros(shape, np.float32)}
    self.assert_refused(tensors, r'and the network \[7, 7, 3, 64\]: wider ResNets')

  def test_other_depths(self):
    tensors = {
      f'base_model/conv2d_{number}/kernel': np.zeros([1], np.float32) for number in range(1, 104)
    }
    tensors['base_model/conv2d/kernel'] = np.zeros([7, 7, 3, 64], np.float32)
    self.assert_refused(
      tensors, r'is ResNet-101: set task\.model\.backbone\.resnet\.model_id to 101'
    )

  def test_a_scope_that_nothing_is_known_of(self):
    tensors = {'resnet_model/conv2d/kernel': np.zeros([7, 7, 3, 64], np.float32)}
    tiny.write(self.prefix, tensors)
    self.assertIsNone(resnets.find(self.prefix))
    with self.assertRaisesRegex(errors.DataError, 'has resnet_model/conv2d/kernel: ResNets are kn'):
      write.import_model(shared(), self.prefix, self.folder, 'backbone', False)

  def test_no_averages(self):
    self.assert_refused(arrays(resnet50.SIMCLR), 'holds no moving averages', use_averages=True)

  def test_whole_models(self):
    tiny.write(self.prefix, {'conv2d/kernel': np.zeros([7, 7, 3, 64], np.float32)})
    with self.assertRaisesRegex(errors.DataError, 'is a ResNet classifier.*Add --modules=backb'):
      write.import_model(shared(), self.prefix, os.path.join(self.folder, 'out'), 'all', False)
    self.assertFalse(os.path.exists(os.path.join(self.folder, 'out')))

  def test_below_the_scope_of_the_detection_code(self):
    tensors = {f'resnet50/{name}': value for name, value in arrays(resnet50.CLASSIFIER).items()}
    tensors['global_step'] = tensors.pop('resnet50/global_step')
    tiny.write(self.prefix, tensors)
    accounting = write.import_model(
      shared(), self.prefix, os.path.join(self.folder, 'out'), 'backbone', False
    )
    self.assertLen(accounting.used, 5 * 53)
    self.assertLen(accounting.skipped["the backbone's ImageNet classifier"], 2)


class OtherNetworksTest(ResNetCase):
  def assert_network_refused(self, pattern, **changes):
    network = classification.build(settings(**changes)).backbone
    tiny.write(self.prefix, {'conv2d/kernel': np.zeros([7, 7, 3, 64], np.float32)})
    with self.assertRaisesRegex(errors.DataError, pattern):
      resnets.assign(network, resnets.CLASSIFIER, self.prefix)

  def test_the_model_garden(self):
    self.assert_network_refused(
      'set task.model.family to original.*pad strides in another way',
      family='model_garden',
      backbone={'resnet': {'model_id': 10, 'depth_multiplier': 0.25}},
    )

  @pytest.mark.slow
  def test_another_activation(self):
    self.assert_network_refused("activation is 'swish'", norm_activation={'activation': 'swish'})


class CommandTest(ResNetCase):
  @pytest.mark.slow
  def test_a_detector_starts_from_simclr(self):
    tiny.write(self.prefix, arrays(resnet50.SIMCLR))
    output, said = os.path.join(self.folder, 'start'), io.StringIO()
    flags = [f'--checkpoint={self.prefix}', f'--output={output}', '--modules=backbone']
    flags.append(f'--config_file={RECIPE}')
    with contextlib.redirect_stdout(said):
      self.assertEqual(import_tf1.main(flags), 0)
    self.assertIn('norm_epsilon is 0.0001, and the same function needs 1e-05', said.getvalue())
    self.assertIn(f'starts from it with --params_override=init={output}', said.getvalue())
    with open(os.path.join(output, 'import.json'), encoding='utf-8') as report:
      self.assertLen(json.load(report)['used'], 5 * 53)
    small = networks.settings('resnet50_fpn')
    small.input_size = [128, 128, 3]
    small.override({'head': {'num_convs': 1, 'num_filters': 8}})
    small.override({'decoder': {'fpn': {'num_filters': 8}}})
    small.norm_activation.norm_epsilon = resnets.EPSILON
    detector = networks.detectors.build(small)
    accounting = restore.restore(detector, restore.find(output), 'backbone')
    self.assertLen(accounting.restored, 5 * 53)
    self.load(resnet50.SIMCLR)
    pairs = zip(detector.backbone.variables, shared().backbone.variables, strict=True)
    for ours, theirs in pairs:
      self.assertAllEqual(ours, theirs)


if __name__ == '__main__':
  tf.test.main()
