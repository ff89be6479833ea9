"""Boxes from several views: where each view's boxes lie in the image, and which weights see it."""

import numpy as np
import tensorflow as tf

from official_selftrain.configs import detection as configs
from official_selftrain.core import errors
from official_selftrain.ops import box_fusion
from official_selftrain.tasks import box_views, detection


def _task(side=64):
  model = configs.small_retinanet(num_classes=4, image_size=side)
  # A network that has learned nothing scores everything near its prior of 0.01.
  model.override(
    {'detection_generator': {'pre_nms_score_threshold': 0.0, 'max_num_detections': 20}}
  )
  return detection.DetectionSelfTrainingTask(configs.DetectionSelfTrainingTask(model=model))


def _model(task):
  tf.keras.utils.set_random_seed(3)
  model = task.build_model()
  task.make_variables(model)
  # Else all boxes score alike, and sizes and corners of boxes are those of the anchors.
  rng = np.random.default_rng(3)
  model.head.set_weights([w + rng.normal(0, 0.05, w.shape) for w in model.head.get_weights()])
  return model


def _predict(functions, pixels):
  preprocess, predict = functions
  inputs = preprocess(tf.io.encode_png(pixels))
  found = predict(tf.nest.map_structure(lambda value: value[None], inputs))
  count = found['num_detections'].numpy()[0]
  return {name: found[name].numpy()[0, :count] for name in ('boxes', 'scores', 'classes')}


def _pixels(height, width):
  return np.random.default_rng(4).integers(0, 256, [height, width, 3]).astype(np.uint8)


class ViewsTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.task = _task()
    cls.model = _model(cls.task)

  def _functions(self, **settings):
    return self.task.labelling_functions(self.model, configs.BoxLabelling(**settings))

  def test_a_mirrored_image_has_mirrored_boxes(self):
    # Wider and higher than the frame: there is padding below, or on the right.
    for height, width in ((40, 90), (90, 40), (64, 64)):
      with self.subTest(height=height, width=width):
        functions = self._functions(flip=True)
        pixels = _pixels(height, width)
        found, mirrored = _predict(functions, pixels), _predict(functions, pixels[:, ::-1])
        self.assertNotEmpty(found['boxes'])
        self.assertAllClose(found['scores'], mirrored['scores'], atol=1e-5)
        self.assertAllEqual(found['classes'], mirrored['classes'])
        expected = found['boxes'][:, [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 1, 0, 1]
        self.assertAllClose(mirrored['boxes'], expected, atol=1e-4)

  def test_another_size_is_seen_by_the_same_weights(self):
    larger = _task(96)
    other = _model(larger)
    for part in ('backbone', 'decoder', 'head'):
      getattr(other, part).set_weights(getattr(self.model, part).get_weights())
    pixels = _pixels(50, 80)
    preprocess, predict = larger.labelling_functions(other, configs.BoxLabelling())
    inputs = tf.nest.map_structure(lambda value: value[None], preprocess(tf.io.encode_png(pixels)))
    alone = predict(inputs)
    expected = box_fusion.fuse(
      alone['boxes'][:, None], alone['scores'][:, None], alone['classes'][:, None], 100
    )
    found = _predict(self._functions(scales=[1.5]), pixels)
    count = int(expected.num_boxes[0])
    self.assertAllClose(found['boxes'], expected.boxes[0, :count], atol=1e-5)
    self.assertAllClose(found['scores'], expected.scores[0, :count], atol=1e-6)
    self.assertAllEqual(found['classes'], expected.classes[0, :count])

  def test_several_views_are_fused(self):
    pixels = _pixels(64, 48)
    views = [_predict(self._functions(scales=[scale]), pixels) for scale in (1.0, 1.5)]
    found = _predict(self._functions(scales=[1.0, 1.5]), pixels)
    self.assertNotEmpty(found['scores'])
    # Nothing is surer than in the surest view, and each box is of a class that some view has.
    self.assertLessEqual(found['scores'].max(), max(view['scores'].max() for view in views))
    self.assertContainsSubset(
      set(found['classes'].tolist()), set(np.concatenate([v['classes'] for v in views]).tolist())
    )
    self.assertGreater(np.abs(found['scores'][0] - views[0]['scores'][0]), 1e-5)

  def test_weights_that_no_view_has_are_left_alone(self):
    # As those of the classifier of joint training.
    with_more = _model(self.task)
    with_more.classifier = tf.keras.layers.Dense(2)
    with_more.classifier.build([None, 8])
    pixels = _pixels(64, 64)
    settings = configs.BoxLabelling(scales=[1.5])
    found = _predict(self.task.labelling_functions(with_more, settings), pixels)
    self.assertAllClose(found['boxes'], _predict(self._functions(scales=[1.5]), pixels)['boxes'])

  def test_as_many_boxes_and_as_low_scores_as_labels_ask_for(self):
    task = _task()
    # What evaluation leaves out, labels may have.
    task.task_config.model.detection_generator.override(
      {'pre_nms_score_threshold': 0.3, 'max_num_detections': 5}
    )
    pixels = _pixels(64, 64)
    for views in ({}, {'flip': True}):
      settings = configs.BoxLabelling(min_score=0.0, max_boxes=20, **views)
      found = _predict(task.labelling_functions(self.model, settings), pixels)
      self.assertBetween(len(found['scores']), 6, 20)
      self.assertBetween(found['scores'].min(), 0.0, 0.3)
    few = configs.BoxLabelling(min_score=0.9, max_boxes=1)
    self.assertLessEqual(
      len(_predict(task.labelling_functions(self.model, few), pixels)['scores']), 5
    )

  def test_every_version_of_the_suppression(self):
    pixels, settings = _pixels(64, 64), configs.BoxLabelling(flip=True)
    expected = _predict(self._functions(flip=True), pixels)
    self.assertNotEmpty(expected['boxes'])
    for version in ('v1', 'v2', 'v3', 'batched'):
      task = _task()
      task.task_config.model.detection_generator.nms_version = version
      found = _predict(task.labelling_functions(self.model, settings), pixels)
      self.assertNotEmpty(found['boxes'], version)
      self.assertAllClose(found['scores'][0], expected['scores'][0], atol=1e-5)

  def test_scores_that_are_not_numbers_are_told_from_no_objects(self):
    broken = _model(self.task)
    # Of the classes alone: boxes stay finite.
    bias = next(w for w in broken.head.weights if w.name.endswith('scores/bias:0'))
    bias.assign(tf.fill(bias.shape, float('nan')))
    for views in ({}, {'flip': True}):
      settings = configs.BoxLabelling(**views)
      for model, is_finite in ((broken, False), (self.model, True)):
        preprocess, predict = self.task.labelling_functions(model, settings)
        image = preprocess(tf.io.encode_png(_pixels(64, 64)))
        found = predict(tf.nest.map_structure(lambda value: value[None], image))
        self.assertAllEqual(found['is_finite'], [is_finite])

  def test_a_frozen_backbone_is_copied_too(self):
    # Keras orders the weights of a block by what is trained.
    task = _task()
    task.task_config.freeze_backbone = True
    frozen = _model(task)
    self.assertFalse(frozen.backbone.trainable)
    for part in ('backbone', 'decoder', 'head'):
      source = getattr(self.model, part)
      target = getattr(frozen, part)
      source.trainable = target.trainable
      target.set_weights(source.get_weights())
      source.trainable = True
    pixels, settings = _pixels(64, 64), configs.BoxLabelling(scales=[1.5])
    found = _predict(task.labelling_functions(frozen, settings), pixels)
    self.assertAllClose(found['boxes'], _predict(self._functions(scales=[1.5]), pixels)['boxes'])


class SettingsTest(tf.test.TestCase):
  def test_sizes_are_those_that_the_family_can_have(self):
    model = configs.small_retinanet(num_classes=4, image_size=128)
    model.backbone.type = 'spinenet'
    model.input_size = [640, 640, 3]
    self.assertEqual(box_views.sizes(model, [0.75, 1.0]), [(512, 512), (640, 640)])

  def test_soft_suppression_and_views_do_not_go_together(self):
    pseudo = configs.DetectionSelfTrainingTask().pseudo_data
    with self.assertRaisesRegex(
      errors.ConfigError, 'labels.soft_nms_sigma is 0.3: the second boxes'
    ):
      configs.BoxLabelling(flip=True, soft_nms_sigma=0.3).check('labels', pseudo)

  def test_sizes_are_those_that_all_levels_divide(self):
    model = configs.small_retinanet(num_classes=4, image_size=128)
    self.assertEqual(model.max_level, 5)
    self.assertEqual(
      box_views.sizes(model, [0.75, 1.0, 1.1, 1.25]), [(96, 96), (128, 128), (160, 160)]
    )
    model.input_size = [64, 128, 3]
    self.assertEqual(box_views.sizes(model, [0.1, 1.5]), [(32, 32), (96, 192)])

  def test_one_view_of_the_models_size_is_as_ever(self):
    self.assertFalse(configs.BoxLabelling().has_views)
    self.assertNotIn('flip', configs.BoxLabelling().deciding())
    for settings in ({'flip': True}, {'scales': [1.5]}, {'scales': [1.0, 0.75]}):
      labels = configs.BoxLabelling(**settings)
      self.assertTrue(labels.has_views)
      self.assertContainsSubset(('scales', 'flip'), labels.deciding())

  def test_scales_must_be_positive(self):
    pseudo = configs.DetectionSelfTrainingTask().pseudo_data
    for scales in ([], [1.0, 0.0]):
      with self.assertRaisesRegex(
        errors.ConfigError, 'labels.scales is .*list of positive numbers'
      ):
        configs.BoxLabelling(scales=scales).check('labels', pseudo)


if __name__ == '__main__':
  tf.test.main()
