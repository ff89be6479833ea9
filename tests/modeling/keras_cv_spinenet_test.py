"""SpineNet with keras-cv's interface: the Model Garden's network, made by name or from its config."""

import functools
import json
import os
import pathlib

import keras_cv
import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.backbones import spinenet as garden

from official_selftrain.modeling import keras_cv_spinenet, spinenet

SHAPE = (128, 128, 3)
NANO = 'spinenet_nano'


def _wrapped(**changes):
  return keras_cv_spinenet.SpineNetBackbone.from_preset(NANO, **{'input_shape': SHAPE, **changes})


# Building one takes seconds; tests that change weights set them first.
_shared = functools.cache(_wrapped)


@functools.cache
def _bare():
  spinenet.register_sizes()
  return garden.SpineNet(
    tf.keras.layers.InputSpec(shape=[None, *SHAPE]),
    min_level=3,
    max_level=7,
    **garden.SCALING_MAP[spinenet.NANO],
  )


def _images(seed=0):
  return tf.random.stateless_normal([2, *SHAPE], [seed, 0])


class NetworkTest(tf.test.TestCase):
  @pytest.mark.slow
  def test_equals_the_bare_network_in_both_modes(self):
    wrapped, bare = _shared(), _bare()
    wrapped.set_weights(bare.get_weights())
    for training in (True, False):
      found, expected = wrapped(_images(), training=training), bare(_images(), training=training)
      self.assertEqual(sorted(found), ['P3', 'P4', 'P5', 'P6', 'P7'])
      for level in '34567':
        self.assertAllClose(found[f'P{level}'], expected[level], rtol=1e-5, atol=1e-6)
        self.assertGreater(float(tf.math.reduce_std(expected[level])), 0.01)
    # One step of the moving averages on both sides.
    self.assertAllClose(wrapped.get_weights(), bare.get_weights())

  def test_names_of_levels_are_names_of_layers(self):
    wrapped = _shared()
    levels = wrapped.pyramid_level_inputs
    self.assertEqual(list(levels), ['P3', 'P4', 'P5', 'P6', 'P7'])
    shapes = [tuple(wrapped.get_layer(name).output.shape[1:]) for name in levels.values()]
    self.assertEqual(shapes, [(size, size, 48) for size in (16, 8, 4, 2, 1)])

  @pytest.mark.slow
  def test_checkpoints_of_the_bare_network_fit(self):
    bare, wrapped = _bare(), _shared()
    wrapped.set_weights([np.zeros_like(weight) for weight in wrapped.get_weights()])
    prefix = tf.train.Checkpoint(backbone=bare).write(os.path.join(self.get_temp_dir(), 'ckpt'))
    status = tf.train.Checkpoint(backbone=wrapped).read(prefix)
    status.expect_partial().assert_existing_objects_matched()
    self.assertAllClose(wrapped.get_weights(), bare.get_weights())

  @pytest.mark.slow
  def test_settings_reach_the_layers(self):
    wrapped = _wrapped(
      max_level=5,
      use_sync_bn=True,
      norm_momentum=0.9,
      norm_epsilon=0.01,
      stochastic_depth_drop_rate=0.5,
    )
    layers = list(wrapped._flatten_layers(include_self=False))
    norms = [layer for layer in layers if isinstance(layer, tf.keras.layers.BatchNormalization)]
    self.assertEqual(
      {(norm.synchronized, norm.momentum, norm.epsilon) for norm in norms}, {(True, 0.9, 0.01)}
    )
    drops = {layer._drop_rate for layer in layers if type(layer).__name__ == 'StochasticDepth'}
    # Block 13 of 16 is the last one that these levels need.
    self.assertEqual(max(drops), 0.5 * 13 / 16)


class ConstructionTest(tf.test.TestCase):
  def test_presets_are_the_model_gardens_sizes_and_ours(self):
    spinenet.register_sizes()
    presets = keras_cv_spinenet.SpineNetBackbone.presets
    sizes = {preset['config']['model_id'] for preset in presets.values()}
    self.assertEqual(sizes, set(garden.SCALING_MAP))
    self.assertEqual(presets['spinenet_49s']['config'], {'model_id': '49S'})
    self.assertEqual(keras_cv_spinenet.SpineNetBackbone.presets_with_weights, {})

  def test_from_preset_refuses_what_would_need_a_network(self):
    with self.assertRaisesRegex(ValueError, 'There are no weights for spinenet_nano'):
      _wrapped(load_weights=True)
    with self.assertRaisesRegex(ValueError, r"preset='spinenet_50'"):
      keras_cv_spinenet.SpineNetBackbone.from_preset('spinenet_50')

  @pytest.mark.slow
  def test_comes_back_from_its_config(self):
    wrapped = _wrapped(max_level=5, activation='swish', name='spine', trainable=False)
    config = tf.keras.saving.serialize_keras_object(wrapped)
    self.assertEqual(config['registered_name'], 'official_selftrain>SpineNetBackbone')
    self.assertEqual(
      wrapped.get_config(),
      {
        'name': 'spine',
        'trainable': False,
        'model_id': 'nano',
        'input_shape': SHAPE,
        'min_level': 3,
        'max_level': 5,
        'stochastic_depth_drop_rate': 0.0,
        'activation': 'swish',
        'use_sync_bn': False,
        'norm_momentum': 0.99,
        'norm_epsilon': 0.001,
      },
    )
    # A folder as keras-cv keeps architectures; it deserializes the config.
    folder = self.get_temp_dir()
    pathlib.Path(folder, 'config.json').write_text(json.dumps({**config, 'weights': None}))
    again = keras_cv.models.Backbone.from_preset(folder)
    self.assertIsInstance(again, keras_cv_spinenet.SpineNetBackbone)
    self.assertEqual(again.get_config(), wrapped.get_config())
    self.assertEmpty(again.trainable_variables)
    again.set_weights(wrapped.get_weights())
    self.assertAllClose(again(_images())['P4'], wrapped(_images())['P4'])

  def test_keras_cvs_own_retinanet_can_use_it(self):
    model = keras_cv.models.RetinaNet(_shared(), num_classes=2, bounding_box_format='xyxy')
    outputs = model(_images())
    anchors = 9 * (16**2 + 8**2 + 4**2 + 2**2 + 1)
    self.assertEqual(outputs['classification'].shape, [2, anchors, 2])
    self.assertEqual(outputs['box'].shape, [2, anchors, 4])

  def test_errors(self):
    make = keras_cv_spinenet.SpineNetBackbone
    with self.assertRaisesRegex(ValueError, r"model_id is '50': sizes of SpineNet are 49S, .*nano"):
      make(model_id='50')
    for side in (320, None):
      with self.assertRaisesRegex(ValueError, rf'input_shape is \({side}, 128, 3\): .*128'):
        make(model_id='nano', input_shape=(side, 128, 3))


if __name__ == '__main__':
  tf.test.main()
