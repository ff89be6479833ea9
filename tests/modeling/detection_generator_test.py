"""Detections: as the authors' TF1 code finds them, as the Model Garden does, and with Soft-NMS in all its versions."""

import math
import os
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.configs import decoders, retinanet
from official.vision.modeling import factory
from official.vision.ops import anchor as anchor_ops

from official_selftrain.configs import detection as configs
from official_selftrain.core import errors
from official_selftrain.modeling import detection_generator
from official_selftrain.ops import nms
from tests.testing import tf1_fill

_DETECTIONS = tf1_fill.DATA_DIR / 'detection' / 'detections.npz'
_CLIP_SIZES = ((256.0, 384.0), (200.0, 333.0))
_VERSIONS = ('v1', 'v2', 'v3', 'batched')


def _model(family='model_garden', **settings):
  generator = retinanet.DetectionGenerator(**settings)
  return configs.DetectionModel(
    family=family,
    num_classes=91,
    input_size=[256, 384, 3],
    decoder=decoders.Decoder(type='identity', identity=decoders.Identity()),
    detection_generator=generator,
  )


def _stock(model):
  """The detection generator that the Model Garden builds for a model."""
  image = tf.keras.Input(model.input_size)
  levels = range(model.min_level, model.max_level + 1)
  features = {str(k): tf.keras.layers.AveragePooling2D(2**k)(image) for k in levels}
  backbone = tf.keras.Model(image, features)
  backbone.output_specs = {k: feature.shape for k, feature in features.items()}
  specs = tf.keras.layers.InputSpec(shape=[None, *model.input_size])
  return factory.build_retinanet(specs, model, None, backbone).detection_generator


def _few_classes():
  """Raw boxes and scores for 4 classes, 2 anchors and levels 3 and 4 of 64 x 96 pixels, 3 images; and anchors."""
  rng = np.random.default_rng(3)
  generator = anchor_ops.build_anchor_generator(3, 4, 1, [1.0, 2.0], 3.0)
  anchors = {
    level: tf.repeat(boxes[None], 3, axis=0)
    for level, boxes in generator(image_size=(64, 96)).items()
  }
  cells = {level: boxes.shape[:3] for level, boxes in anchors.items()}
  boxes = {k: tf.constant(rng.normal(0, 0.3, [*c, 8]), tf.float32) for k, c in cells.items()}
  scores = {k: tf.constant(rng.normal(-3, 2, [*c, 8]), tf.float32) for k, c in cells.items()}
  shapes = tf.constant([[64.0, 96.0], [50.0, 80.0], [64.0, 40.0]])
  return boxes, scores, anchors, shapes


class ManyScoresTest(tf.test.TestCase):
  def test_what_is_left_out_changes_no_detection(self):
    inputs = _few_classes()
    model = _model(nms_version='batched', pre_nms_score_threshold=0.2, max_num_detections=20)
    generator = detection_generator.build(model)
    with mock.patch.object(detection_generator.nms, 'promising') as leave_out:
      expected = generator(*inputs)
      leave_out.assert_not_called()
    with (
      mock.patch.object(detection_generator, '_MANY_SCORES', 1),
      mock.patch.object(
        detection_generator.nms, 'promising', side_effect=nms.promising
      ) as leave_out,
    ):
      found = generator(*inputs)
      leave_out.assert_called_once()
      left = generator._decode_multilevel_outputs(*inputs)[0]
      for setting in ({'return_decoded': True}, {'soft_nms_sigma': 0.1}, {'nms_version': 'v2'}):
        with mock.patch.dict(generator._config_dict, setting):
          whole = generator._decode_multilevel_outputs(*inputs)[0]
        self.assertLess(left.shape[1], whole.shape[1])
    self.assertGreater(tf.reduce_min(found['num_detections']), 2)
    for name in ('num_detections', 'detection_boxes', 'detection_scores', 'detection_classes'):
      self.assertAllEqual(found[name], expected[name])


class OriginalTest(tf.test.TestCase, parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.expected = dict(np.load(_DETECTIONS))
    scores, boxes = tf1_fill.detection_logits(256, 384)
    generator = anchor_ops.build_anchor_generator(3, 7, 3, [1.0, 2.0, 0.5], 3.0)
    anchors = generator(image_size=(256, 384))
    cls.inputs = (
      {str(level): tf.constant(value) for level, value in boxes.items()},
      {str(level): tf.constant(value) for level, value in scores.items()},
      {level: tf.repeat(value[None], 2, axis=0) for level, value in anchors.items()},
      tf.constant(_CLIP_SIZES),
    )

  @parameterized.parameters('v1', 'v2', 'batched')
  def test_detections_of_the_authors_code(self, version):
    # No class has more candidates, and sorting 5000 of each takes a minute.
    model = _model('original', nms_version=version, pre_nms_top_k=200)
    found = detection_generator.build(model)(*self.inputs)
    name = {'v1': 'synthetic', 'batched': 'synthetic_batched'}.get(version, 'synthetic_v2')
    self.assertAllEqual(found['num_detections'], [100, 75])
    self.assertAllEqual(self.expected[f'{name}/num_detections'], [100, 75])
    for i, number in enumerate((100, 75)):
      for key, tolerance in (('classes', 0.0), ('scores', 1e-5), ('boxes', 2e-3)):
        self.assertAllClose(
          found[f'detection_{key}'][i, :number],
          self.expected[f'{name}/detection_{key}'][i, :number],
          rtol=0.0,
          atol=tolerance,
        )

  def test_boxes_before_suppression(self):
    found = detection_generator.build(_model('original', apply_nms=False))(*self.inputs)
    boxes = found['decoded_boxes'][:, ::7, 0]
    expected = self.expected['synthetic/raw_boxes_every_7th']
    self.assertAllClose(boxes, expected, rtol=0.0, atol=1e-3)
    self.assertAllEqual(tf.reduce_max(boxes, axis=1)[:, 2:], np.array(_CLIP_SIZES) - 1.0)
    # The Model Garden's decoding is something else.
    stock = detection_generator.build(_model(apply_nms=False))(*self.inputs)
    self.assertGreater(np.abs(stock['decoded_boxes'][:, ::7, 0] - expected).max(), 0.9)

  def test_one_box_by_hand(self):
    anchors = {'3': tf.constant([[[[2.0, 4.0, 11.0, 23.0]]]])}  # 10 rows and 20 columns.
    raw = {'3': tf.constant([[[[0.5, -0.1, math.log(2.0), 9.0]]]])}
    logits = {'3': tf.constant([[[[4.0, 0.0, -1.0]]]])}
    generator = detection_generator.build(_model('original', apply_nms=False))
    found = generator(raw, logits, anchors, None)
    # Centre (2 + 5 + 0.5 * 10, 4 + 10 - 0.1 * 20), height 2 * 10, width at its bound, 1000 / 16 * 20.
    self.assertAllClose(found['decoded_boxes'], [[[[2.0, -613.0, 21.0, 636.0]]]], rtol=1e-5)
    self.assertAllClose(found['decoded_box_scores'], [[[0.5, 1.0 / (1.0 + math.e)]]])
    clipped = generator(raw, logits, anchors, tf.constant([[20.0, 30.0]]))
    self.assertAllClose(clipped['decoded_boxes'], [[[[2.0, 0.0, 19.0, 29.0]]]], rtol=1e-5)

  def test_v3_decodes_the_same(self):
    inputs = _few_classes()
    found = {
      version: detection_generator.build(_model('original', nms_version=version))(*inputs)
      for version in ('v3', 'batched')
    }
    for i in range(3):
      # Its suppression is an approximation, but the best box is always the same.
      for key in ('boxes', 'scores', 'classes'):
        one, other = (found[version][f'detection_{key}'][i, 0] for version in found)
        self.assertAllClose(one, tf.cast(other, one.dtype), atol=1e-4)


class ModelGardenTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.product(version=_VERSIONS, sigma=(None, 0.0))
  def test_equals_the_model_gardens_without_soft_nms(self, version, sigma):
    settings = {
      'nms_version': version,
      'soft_nms_sigma': sigma,
      'pre_nms_top_k': 50,
      'max_num_detections': 20,
      'return_decoded': True,
    }
    inputs = _few_classes()
    ours = detection_generator.build(_model(**settings))(*inputs)
    theirs = _stock(_model(**settings))(*inputs)
    self.assertAllEqual(sorted(ours), sorted(theirs))
    for name in theirs:
      if tf.is_tensor(theirs[name]):
        self.assertAllEqual(ours[name], theirs[name])
      else:
        self.assertEqual(ours[name], theirs[name])

  def test_settings_are_those_that_the_model_garden_passes(self):
    model = _model(nms_version='batched', box_coder_weights=[10.0, 10.0, 5.0, 5.0])
    ours = detection_generator.build(model).get_config()
    theirs = _stock(model).get_config()
    self.assertEqual(ours, {**theirs, 'inclusive_boxes': False, 'portable': False})
    copy = detection_generator.DetectionGenerator.from_config(ours)
    self.assertEqual(copy.get_config(), ours)


class SoftNmsTest(tf.test.TestCase, parameterized.TestCase):
  settings = {
    'soft_nms_sigma': 0.3,
    'pre_nms_top_k': 40,
    'max_num_detections': 30,
    'return_decoded': True,
  }

  @parameterized.product(version=_VERSIONS, family=('model_garden', 'original'))
  def test_every_version_finds_what_v1_of_the_model_garden_finds(self, version, family):
    inputs = _few_classes()
    model = _model(family, nms_version=version, **self.settings)
    found = detection_generator.build(model)(*inputs)
    model.detection_generator.nms_version = 'v1'
    stock = _stock(model)
    if family == 'original':
      stock._decode_multilevel_outputs = lambda *_: (
        found['decoded_boxes'],
        found['decoded_box_scores'],
        {},
      )
    expected = stock(*inputs)
    self.assertAllEqual(sorted(found), sorted(expected))
    self.assertAllEqual(found['decoded_boxes'], expected['decoded_boxes'])
    numbers = found['num_detections'].numpy()
    self.assertAllEqual(numbers, expected['num_detections'])
    self.assertAllInRange(numbers, 20, 30)
    for i, number in enumerate(numbers):
      for key in ('boxes', 'scores', 'classes'):
        one, other = (each[f'detection_{key}'][i, :number] for each in (found, expected))
        self.assertAllClose(one, other, rtol=1e-5)

  def test_keeps_boxes_that_hard_suppression_drops_and_lowers_their_scores(self):
    inputs = _few_classes()
    found = []
    for sigma in (0.3, None):
      model = _model(nms_version='batched', soft_nms_sigma=sigma, max_num_detections=300)
      found.append(detection_generator.build(model)(*inputs))
    for i in range(3):
      soft, hard = (
        {
          (*box, number): score
          for box, number, score in zip(
            each['detection_boxes'][i].numpy().tolist(),
            each['detection_classes'][i].numpy().tolist(),
            each['detection_scores'][i].numpy().tolist(),
            strict=True,
          )
          if score > 0
        }
        for each in found
      )
      self.assertGreater(len(set(soft) - set(hard)), 10)
      shared = set(soft) & set(hard)
      self.assertGreater(len(shared), 10)
      self.assertTrue(all(soft[box] <= hard[box] for box in shared))
      self.assertEqual(max(soft, key=soft.get), max(hard, key=hard.get))

  def test_exports_for_any_number_of_images(self):
    inputs = _few_classes()
    model = _model(nms_version='v1', use_cpu_nms=True, **self.settings)
    generator = detection_generator.build(model)
    specs = tf.nest.map_structure(lambda value: tf.TensorSpec([None, *value.shape[1:]]), inputs)
    module = tf.Module()
    module.detect = tf.function(
      lambda *given: {k: v for k, v in generator(*given).items() if k != 'detection_attributes'},
      input_signature=specs,
    )
    folder = os.path.join(self.get_temp_dir(), 'model')
    tf.saved_model.save(module, folder)
    loaded = tf.saved_model.load(folder)
    expected = generator(*inputs)
    for number in (3, 1):
      found = loaded.detect(*tf.nest.map_structure(lambda value, n=number: value[:n], inputs))
      self.assertAllEqual(found['num_detections'], expected['num_detections'][:number])
      for key in ('boxes', 'scores', 'classes'):
        name = f'detection_{key}'
        self.assertAllClose(found[name], expected[name][:number], rtol=1e-5)

  def test_attributes_are_refused(self):
    generator = detection_generator.build(_model(soft_nms_sigma=0.3))
    with self.assertRaisesRegex(ValueError, 'This suppression does not pass attributes on: depth'):
      generator(*_few_classes(), {'depth': {}})


class SettingsTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(
    ('model_garden', {'soft_nms_sigma': -0.1}, r'soft_nms_sigma is -0\.1: it must be above 0'),
    (
      'model_garden',
      {'nms_version': 'v2', 'use_class_agnostic_nms': True, 'soft_nms_sigma': 0.3},
      'use_class_agnostic_nms: Soft-NMS treats each class on its own',
    ),
  )
  def test_what_does_not_go_together(self, family, settings, message):
    with self.assertRaisesRegex(errors.ConfigError, message):
      detection_generator.build(_model(family, **settings))


if __name__ == '__main__':
  tf.test.main()
