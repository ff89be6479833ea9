"""Detectors of keras-cv's layers: the same function as keras-cv's RetinaNet, with the Model Garden's interface."""

import os

import keras_cv
import numpy as np
import tensorflow as tf
from official.vision.configs import decoders
from official.vision.modeling import retinanet_model

from official_selftrain.configs import classification as class_configs
from official_selftrain.configs import contrastive as contrastive_configs
from official_selftrain.configs import detection
from official_selftrain.configs import keras_cv as configs
from official_selftrain.core import errors
from official_selftrain.modeling import classification, contrastive, keras_cv_retinanet

TINY = {
  'stackwise_filters': [64, 8, 8, 8],
  'stackwise_blocks': [1, 1, 1, 1],
  'stackwise_strides': [1, 2, 2, 2],
  'block_type': 'basic_block',
}
NUM_CLASSES = 3


def _config(backbone='ResNetBackbone', arguments=None, preset='', size=(64, 64), **changes):
  """Settings of a detector with 8 filters, levels 3 to 5 and one anchor per location."""
  model = detection.small_retinanet(NUM_CLASSES, image_size=64)
  model.keras_cv = configs.KerasCV(backbone=backbone, preset=preset)
  model.keras_cv.override({'arguments': TINY if arguments is None else arguments})
  model.decoder = decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=8))
  model.override(
    {
      'input_size': [*size, 3],
      'anchor': {'num_scales': 1},
      'head': {'num_convs': 1, 'num_filters': 8},
      'norm_activation': {'activation': 'relu', 'norm_momentum': 0.99},
      'detection_generator': {'pre_nms_score_threshold': 0.0, 'max_num_detections': 10},
      **changes,
    }
  )
  model.keras_cv.check('task.model.keras_cv', model)
  return model


def _build(*args, l2_weight_decay=0.0, **kwargs):
  tf.keras.utils.set_random_seed(1)
  return keras_cv_retinanet.build(_config(*args, **kwargs), l2_weight_decay)


def _images(size=(64, 64), seed=0):
  return tf.random.stateless_normal([2, *size, 3], [seed, 0])


def _gradients(model, images):
  """Gradients of something that depends on all outputs, and the outputs."""
  with tf.GradientTape() as tape:
    outputs = model(images, training=True)
    loss = tf.add_n([tf.reduce_mean(value**2) for value in tf.nest.flatten(outputs)])
  return tape.gradient(loss, model.trainable_variables), outputs


class FunctionTest(tf.test.TestCase):
  def test_equals_keras_cvs_retinanet_with_the_same_weights(self):
    ours = keras_cv_retinanet.build(
      _config(
        max_level=7,
        size=(128, 128),
        decoder={'fpn': {'num_filters': 256}},
        head={'num_convs': 3, 'num_filters': 256},
        anchor={'num_scales': 3, 'aspect_ratios': [0.5, 1.0, 2.0]},
      )
    )
    backbone = keras_cv.models.ResNetBackbone(
      include_rescaling=False, input_shape=(128, 128, 3), **TINY
    )
    theirs = keras_cv.models.RetinaNet(backbone, NUM_CLASSES, bounding_box_format='yxyx')
    ours.backbone.set_weights(theirs.feature_extractor.get_weights())
    ours.decoder.set_weights(theirs.feature_pyramid.get_weights())
    ours.head.classifier.set_weights(theirs.classification_head.get_weights())
    ours.head.box_regressor.set_weights(theirs.box_head.get_weights())
    self.assertEqual(sum(w.size for w in ours.get_weights()), theirs.count_params())
    for training in (True, False):
      images = _images((128, 128))
      found, expected = ours(images, training=training), theirs(images, training=training)
      for name, key, last in (('cls', 'classification', NUM_CLASSES), ('box', 'box', 4)):
        levels = found[f'{name}_outputs']
        self.assertEqual(list(levels), ['3', '4', '5', '6', '7'])
        flat = tf.concat([tf.reshape(value, [2, -1, last]) for value in levels.values()], axis=1)
        self.assertGreater(float(tf.math.reduce_std(expected[key])), 1e-3)
        self.assertAllClose(flat, expected[key], rtol=1e-4, atol=1e-4)

  def test_levels_have_their_shapes_and_all_that_is_trained_has_gradients(self):
    unused = {
      (3, 5): {'c6_3x3', 'c7_3x3'},
      (4, 6): {'c3_1x1', 'c3_3x3', 'c7_3x3'},
      (3, 4): {'c5_3x3', 'c6_3x3', 'c7_3x3'},
      (5, 7): {'c3_1x1', 'c3_3x3', 'c4_1x1', 'c4_3x3'},
    }
    for (low, high), expected in unused.items():
      size = (128, 256)
      model = _build(min_level=low, max_level=high, size=size)
      gradients, outputs = _gradients(model, _images(size))
      for name, channels in (('cls_outputs', NUM_CLASSES), ('box_outputs', 4)):
        self.assertEqual(
          {level: tuple(value.shape) for level, value in outputs[name].items()},
          {str(k): (2, size[0] // 2**k, size[1] // 2**k, channels) for k in range(low, high + 1)},
        )
      for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        self.assertIsNotNone(gradient, variable.name)
        self.assertGreater(float(tf.reduce_max(tf.abs(gradient))), 0.0, variable.name)
      names = [name for name in vars(model.decoder) if name.startswith('conv_')]
      frozen = {n[len('conv_') :] for n in names if not getattr(model.decoder, n).trainable}
      self.assertEqual(frozen, expected)

  def test_background_prior(self):
    model = _build()
    bias = model.head.classifier.prediction_layer.bias
    self.assertAllClose(tf.sigmoid(bias), [0.01] * NUM_CLASSES)
    self.assertAllEqual(model.head.box_regressor.prediction_layer.bias, [0.0] * 4)


class InterfaceTest(tf.test.TestCase):
  def test_modes(self):
    model = _build()
    self.assertIsInstance(model, retinanet_model.RetinaNetModel)
    before = [w.numpy() for w in model.non_trainable_variables]
    outputs = model(_images(), image_shape=tf.constant([[64, 64]] * 2), training=False)
    self.assertAllEqual(outputs['num_detections'], [10, 10])
    self.assertEqual(outputs['detection_boxes'].shape, [2, 10, 4])
    self.assertAllInRange(outputs['detection_boxes'], 0.0, 64.0)
    self.assertAllInSet(outputs['detection_classes'], [1, 2])
    self.assertAllClose([w.numpy() for w in model.non_trainable_variables], before)
    trained = model(_images(), training=True)
    self.assertEqual(sorted(trained), ['box_outputs', 'cls_outputs'])
    moved = [
      bool(np.any(value != variable.numpy()))
      for value, variable in zip(before, model.non_trainable_variables, strict=True)
      if 'moving' in variable.name
    ]
    self.assertNotEmpty(moved)
    self.assertAllEqual(moved, [True] * len(moved))
    features = model(_images(), output_intermediate_features=True, training=True)
    self.assertEqual(features['backbone_4'].shape, [2, 4, 4, 8])
    self.assertEqual(features['decoder_4'].shape, [2, 4, 4, 8])

  def test_half_precision(self):
    tf.keras.mixed_precision.set_global_policy('mixed_bfloat16')
    self.addCleanup(tf.keras.mixed_precision.set_global_policy, 'float32')
    model = _build(l2_weight_decay=1e-4)
    outputs = model(_images(), output_intermediate_features=True, training=True)
    self.assertEqual(outputs['backbone_5'].dtype, tf.bfloat16)
    for value in tf.nest.flatten([outputs['cls_outputs'], outputs['box_outputs'], model.losses]):
      self.assertEqual(value.dtype, tf.float32)
    self.assertEqual({v.dtype for v in model.variables}, {tf.float32})

  def test_a_frozen_backbone_is_left_alone(self):
    model = _build(l2_weight_decay=1.0)
    whole, number = float(tf.add_n(model.losses)), len(model.trainable_variables)
    model.backbone.trainable = False
    self.assertLess(len(model.trainable_variables), number)
    self.assertEmpty(model.backbone.trainable_variables)
    self.assertLess(float(tf.add_n(model.losses)), whole)
    before = model.backbone.get_weights()
    model(_images(), training=True)
    self.assertAllEqual(
      np.concatenate([w.ravel() for w in before]),
      np.concatenate([w.ravel() for w in model.backbone.get_weights()]),
    )

  def test_weight_decay_is_half_the_sum_of_squares_of_kernels(self):
    arguments = {
      'stackwise_expansion': [1, 4, 4, 4],
      'stackwise_filters': [8, 16, 24, 32],
      'stackwise_kernel_size': [3, 3, 3, 5],
      'stackwise_stride': [2, 2, 2, 2],
      'stackwise_se_ratio': [0.25, None, None, 0.25],
      'stackwise_activation': ['relu', 'relu', 'hard_swish', 'hard_swish'],
    }
    model = _build('MobileNetV3Backbone', arguments, l2_weight_decay=0.1)
    kernels = [v for v in model.trainable_variables if 'kernel' in v.name]
    self.assertLen([v for v in kernels if 'depthwise_kernel' in v.name], 4)
    expected = 0.05 * sum(float(tf.reduce_sum(v**2)) for v in kernels)
    self.assertAllClose(float(tf.add_n(model.losses)), expected, rtol=1e-4)
    self.assertEqual(_build().losses, [])

  def test_the_classifier_of_joint_training_decays_by_itself(self):
    model = _build(l2_weight_decay=0.1)
    before = float(tf.add_n(model.losses))
    model.class_head = classification.ClassHead(5)
    model.class_head(model.backbone(_images()))
    self.assertAllClose(float(tf.add_n(model.losses)), before)

  def test_backbones_decay_in_pre_training(self):
    settings = class_configs.ClassificationModel(
      num_classes=5, input_size=[64, 64, 3], family='keras_cv', keras_cv=_config().keras_cv
    )
    contrastive_settings = contrastive_configs.ContrastiveModel(
      input_size=[64, 64, 3], family='keras_cv', keras_cv=_config().keras_cv
    )
    for model in (
      classification.build(settings, 0.1),
      contrastive.build(contrastive_settings, 0.1),
    ):
      kernels = [v for v in model.trainable_variables if 'kernel' in v.name]
      self.assertGreater(len(kernels), 8)
      expected = 0.05 * sum(float(tf.reduce_sum(v**2)) for v in kernels)
      self.assertAllClose(float(tf.add_n(model.losses)), expected, rtol=1e-4)
      model.backbone.trainable = False
      rest = [v for v in model.head.trainable_variables if 'kernel' in v.name]
      expected = 0.05 * sum(float(tf.reduce_sum(v**2)) for v in rest)
      self.assertAllClose(float(tf.add_n(model.losses)), expected, rtol=1e-4)

  def test_two_replicas(self):
    strategy = tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1'])
    with strategy.scope():
      model = _build(l2_weight_decay=0.1)

    def step():
      gradients, _ = _gradients(model, _images(seed=1))
      return tf.add_n(model.losses), gradients[0]

    loss, gradient = tf.function(lambda: strategy.run(step))()
    self.assertLen(strategy.experimental_local_results(gradient), 2)
    for value in strategy.experimental_local_results(loss):
      self.assertAllClose(float(value), float(tf.add_n(model.losses)), rtol=1e-5)

  def test_spinenet_without_a_pyramid(self):
    model = _build(
      'SpineNetBackbone',
      {},
      'spinenet_nano',
      size=(128, 128),
      decoder={'type': 'identity'},
      max_level=4,
      norm_activation={'activation': 'swish', 'use_sync_bn': True},
    )
    self.assertIsNone(model.decoder)
    self.assertEqual(sorted(model.checkpoint_items), ['backbone', 'head'])
    shapes = {level: shape.as_list() for level, shape in model.backbone.output_specs.items()}
    self.assertEqual(shapes, {'3': [None, 16, 16, 48], '4': [None, 8, 8, 48]})
    outputs = model(_images((128, 128)), training=True)
    self.assertEqual(outputs['cls_outputs']['4'].shape, [2, 8, 8, NUM_CLASSES])
    norm = next(layer for layer in model.backbone.layers if 'batch_norm' in layer.name)
    self.assertTrue(norm.synchronized)


class StorageTest(tf.test.TestCase):
  def _written(self, **items):
    return tf.train.Checkpoint(**items).write(os.path.join(self.get_temp_dir(), 'ckpt'))

  def test_checkpoints_hold_everything(self):
    model, again = _build(), _build()
    model(_images(), training=True)
    for variable in model.variables:
      variable.assign(tf.random.stateless_normal(variable.shape, [variable.shape.rank, 7]) ** 2)
    prefix = self._written(model=model, **model.checkpoint_items)
    status = tf.train.Checkpoint(model=again, **again.checkpoint_items).read(prefix)
    status.assert_consumed()
    self.assertAllClose(again.get_weights(), model.get_weights())
    found, expected = again(_images(), training=False), model(_images(), training=False)
    self.assertAllClose(found['cls_outputs'], expected['cls_outputs'])

  def test_backbone_alone(self):
    model, again = _build(), keras_cv_retinanet.build(_config())
    head = again.head.get_weights()
    prefix = self._written(model=model, **model.checkpoint_items)
    status = tf.train.Checkpoint(backbone=again.backbone).read(prefix)
    status.expect_partial().assert_existing_objects_matched()
    self.assertAllClose(again.backbone.get_weights(), model.backbone.get_weights())
    self.assertAllEqual(again.head.get_weights()[0], head[0])

  def test_weights_of_a_keras_cv_backbone(self):
    # How weights come from keras-cv: its backbone, made from a preset where there is a network, as a checkpoint.
    network = keras_cv.models.ResNetBackbone(
      include_rescaling=False, input_shape=(None, None, 3), **TINY
    )
    model = _build()
    status = tf.train.Checkpoint(backbone=model.backbone).read(self._written(backbone=network))
    status.expect_partial().assert_existing_objects_matched()
    self.assertAllClose(model.backbone(_images())['5'], network(_images()), rtol=1e-4, atol=1e-5)


class SettingsTest(tf.test.TestCase):
  def test_levels_are_found_by_size(self):
    # keras-cv calls them P1 to P4.
    arguments = {'depths': [1, 1, 1, 1], 'embedding_dims': [8, 8, 10, 16]}
    backbone = keras_cv_retinanet.build_backbone(_config('MiTBackbone', arguments))
    shapes = {level: tuple(shape) for level, shape in backbone.output_specs.items()}
    self.assertEqual(shapes, {'3': (None, 8, 8, 8), '4': (None, 4, 4, 10), '5': (None, 2, 2, 16)})

  def test_missing_level(self):
    arguments = {'stackwise_channels': [8, 8], 'stackwise_depth': [1, 1]}
    with self.assertRaisesRegex(
      errors.ConfigError,
      r'task\.model\.keras_cv\.backbone: .*CSPDarkNetBackbone has levels \[2, 3\], and levels \[3, 4, 5\]',
    ):
      _build('CSPDarkNetBackbone', arguments)

  def test_arguments(self):
    with self.assertRaisesRegex(
      errors.ConfigError,
      r'task\.model\.keras_cv\.arguments\.depth: ResNetBackbone takes block_type',
    ):
      _build(arguments={**TINY, 'depth': 3})
    with self.assertRaisesRegex(errors.ConfigError, r'does not take .*stackwise_strides'):
      _build(arguments={name: TINY[name] for name in ('stackwise_filters', 'stackwise_blocks')})
    with self.assertRaisesRegex(
      errors.ConfigError, r'does not take \{.*\}: Inputs have incompatible shapes'
    ):
      _build(arguments={**TINY, 'stackwise_filters': [8, 8, 8, 8]})

  def test_arguments_change_a_preset(self):
    model = _config(preset='resnet18', arguments={'stackwise_blocks': [1, 1, 1, 1]})
    backbone = keras_cv_retinanet.build_backbone(model)
    self.assertEqual(backbone.output_shape['5'], (None, 2, 2, 512))
    self.assertLess(backbone.count_params(), 5e6)

  def test_settings_without_effect_are_named(self):
    with self.assertLogs('absl', 'WARNING') as logs:
      _build(
        head={'use_separable_conv': True},
        norm_activation={'activation': 'relu', 'use_sync_bn': True, 'norm_momentum': 0.9},
      )
    for text in (
      'task.model.head.use_separable_conv is True, which has no effect',
      'task.model.norm_activation.use_sync_bn is True',
      'task.model.norm_activation.norm_momentum is 0.9',
    ):
      self.assertLen([line for line in logs.output if text in line], 1, text)
    self.assertLen(logs.output, 3)


if __name__ == '__main__':
  tf.test.main()
