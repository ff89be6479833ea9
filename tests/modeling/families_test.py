"""Families: every name that a config takes has facts and builders, and each builds its own networks."""

import typing

import pytest
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.configs import detection, segmentation
from official_selftrain.configs import families as facts
from official_selftrain.core import errors
from official_selftrain.modeling import families
from official_selftrain.modeling import retinanet as detectors
from official_selftrain.modeling import segmentation as segmenters
from official_selftrain.modeling.original import segmentation_head, spinenet

# What a SpineNet changes in the embedded detector.
_SPINENET = {
  'backbone': {
    'type': 'spinenet',
    'spinenet': {'model_id': 'nano', 'min_level': 3, 'max_level': 5},
  },
  'decoder': {'type': 'identity'},
}


def _detector(family, **changes):
  model = detection.small_retinanet(num_classes=3, image_size=128)
  model.override({'family': family, **changes})
  return model


class SettingsTest(tf.test.TestCase):
  def test_values_that_no_network_knows(self):
    for changes, message in (
      ({'backbone': {'resnet': {'model_id': 35}}}, r'\(KeyError: 35\)'),
      ({'norm_activation': {'activation': 'swishh'}}, 'swishh'),
    ):
      with self.assertRaisesRegex(
        errors.ConfigError, rf'^task\.model: the network cannot be built .*{message}'
      ):
        detectors.build(_detector('model_garden', **changes))

  def test_messages_of_our_own_stay_as_they_are(self):
    model = segmentation.small_nasfpn(num_classes=3, image_size=64)
    model.family = 'keras_cv'
    with self.assertRaisesRegex(errors.ConfigError, '^task.model.family is'):
      segmenters.build(model)


class NamesTest(tf.test.TestCase):
  def test_all_names_have_facts_and_builders(self):
    names = typing.get_args(facts.Detection)
    self.assertEqual(tuple(facts.FAMILIES), names)
    self.assertEqual(tuple(families.NETWORKS), names)
    with_segmenter = [name for name, each in families.NETWORKS.items() if each.segmenter]
    self.assertEqual(tuple(with_segmenter), typing.get_args(facts.Segmentation))
    for name in names:
      self.assertIs(facts.of(_detector(name)), facts.FAMILIES[name])


class FactsTest(parameterized.TestCase, tf.test.TestCase):
  def test_what_the_authors_code_does_differently(self):
    odd = [
      (each.name, each.has_inclusive_boxes, each.skips_zero_offsets, each.corners_meet)
      for each in facts.FAMILIES.values()
      if each.has_inclusive_boxes or each.skips_zero_offsets or each.corners_meet
    ]
    self.assertEqual(odd, [('original', True, True, True)])

  def test_resizing(self):
    # The second of four positions is at 2 / 4 from the first corner, or at 3 / 4 - 1 / 2 between the centres.
    images = tf.constant([[[[0.0], [1.0]]]])
    found = {name: each.resize(images, [1, 4])[0, 0, 1, 0] for name, each in facts.FAMILIES.items()}
    self.assertAllClose(found, {'original': 0.5, 'model_garden': 0.25, 'keras_cv': 0.25})

  @parameterized.parameters(
    ('model_garden', _SPINENET, (128, 'spinenet')),
    ('original', _SPINENET, (128, 'spinenet')),
    ('original', {'max_level': 7}, (128, 'resnet')),
    ('model_garden', {'max_level': 6}, (64, 'resnet')),
    ('keras_cv', {'max_level': 5}, (32, 'ResNetV2Backbone')),
    ('keras_cv', {'keras_cv': {'backbone': 'SpineNetBackbone'}}, (128, 'SpineNetBackbone')),
  )
  def test_sides(self, family, changes, expected):
    self.assertEqual(facts.FAMILIES[family].side(_detector(family, **changes)), expected)

  def test_checks_are_those_of_the_family(self):
    changes = {**_SPINENET, 'max_level': 6}
    for family in ('model_garden', 'original'):
      model = _detector(family, **changes)
      with self.assertRaisesRegex(
        errors.ConfigError, r'task\.model\.backbone\.spinenet\.max_level is 5, but task\.model\.max'
      ):
        facts.of(model).check_detector(model, 'task.model')
    model = _detector('keras_cv', **changes)
    with self.assertRaisesRegex(errors.ConfigError, r"task\.model\.decoder\.type is 'identity'"):
      facts.of(model).check_detector(model, 'task.model')


class BuildersTest(tf.test.TestCase):
  @pytest.mark.slow
  def test_detectors_of_the_authors_have_their_backbone_and_all_variables(self):
    original, garden = _detector('original', **_SPINENET), _detector('model_garden', **_SPINENET)
    built = families.of(original).detector(original, 0.0)
    self.assertIsInstance(built.backbone, spinenet.SpineNet)
    self.assertTrue(built.head.built)
    stock = families.of(garden).detector(garden, 0.0)
    self.assertNotIsInstance(stock.backbone, spinenet.SpineNet)

  def test_choices_that_the_authors_have_not(self):
    specs = tf.keras.layers.InputSpec(shape=[None, 64, 64, 3])
    for name, value in (('depth_multiplier', 0.5), ('stem_type', 'v1'), ('bn_trainable', False)):
      resnet = {'model_id': 50, 'depth_multiplier': 1.0, name: value}
      model = _detector('original', backbone={'resnet': resnet})
      with self.assertRaisesRegex(
        errors.ConfigError,
        rf'^task\.model\.backbone\.resnet\.{name} is {value!r}: .*no such choice',
      ):
        families.of(model).backbone(specs, model, None)
    config = segmentation.small_nasfpn(num_classes=3, image_size=64)
    for name, value in (('feature_fusion', 'deeplabv3plus'), ('prediction_kernel_size', 3)):
      config.override({'family': 'original', 'head': {'feature_fusion': 'pyramid_fusion'}})
      config.override({'head': {name: value}})
      with self.assertRaisesRegex(
        errors.ConfigError, rf"^task\.model\.head\.{name} is {value!r}: .*'original' has .* alone"
      ):
        families.of(config).segmenter.head(config, None, tf.keras.layers.Layer())

  def test_heads_of_segmentation(self):
    config = segmentation.small_nasfpn(num_classes=3, image_size=64)
    config.override({'family': 'original', 'backbone': {'resnet': {'model_id': 50}}})
    head = families.of(config).segmenter.head(config, None, tf.keras.layers.Layer())
    self.assertIsInstance(head, segmentation_head.SegmentationHead)

  def test_a_family_without_segmentation(self):
    config = segmentation.small_nasfpn(num_classes=3, image_size=64)
    config.override({'family': 'keras_cv'})
    with self.assertRaisesRegex(
      errors.ConfigError, "task.model.family is 'keras_cv': it has detectors but no segmentation"
    ):
      segmenters.build(config)


if __name__ == '__main__':
  tf.test.main()
