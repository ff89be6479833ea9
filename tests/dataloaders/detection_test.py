"""The training parser: values by hand, agreement with the Model Garden, ignore band, bad classes."""

import struct
import zlib

import numpy as np
import tensorflow as tf
from official.vision.dataloaders import retinanet_input

from official_selftrain.configs import detection as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import detection


def _model(size=128):
  return configs.small_retinanet(num_classes=11, image_size=size)


def _params(**parser):
  params = configs.DataConfig(is_training=True)
  params.override({'parser': parser})
  return params


def _example(boxes=((0.1, 0.1, 0.6, 0.5), (0.5, 0.5, 0.9, 0.9)), classes=(3, 7), ignored=None):
  image = np.random.default_rng(0).integers(0, 256, [96, 128, 3])
  example = {
    'image': tf.constant(image, tf.uint8),
    keys.GROUNDTRUTH_BOXES: tf.constant(np.reshape(boxes, [-1, 4]), tf.float32),
    keys.GROUNDTRUTH_CLASSES: tf.constant(classes, tf.int64),
    keys.GROUNDTRUTH_IS_CROWD: tf.zeros([len(classes)], tf.bool),
    keys.GROUNDTRUTH_AREA: tf.ones([len(classes)]),
    keys.SEED: tf.constant([1, 2], tf.int32),
  }
  if ignored is not None:
    example[keys.GROUNDTRUTH_IS_IGNORED] = tf.constant(ignored)
  return example


class TrainingParserTest(tf.test.TestCase):
  def test_equals_the_model_garden_without_augmentation(self):
    model = _model()
    image, labels = detection.TrainingParser(model, _params())(_example())
    stock = retinanet_input.Parser([128, 128], 3, 5, 3, [1.0], 3.0, dtype='float32').parse_fn(True)
    data = {**_example(), 'groundtruth_attributes': {}}
    expected_image, expected = stock(data)
    self.assertAllClose(image, expected_image, atol=1e-5)
    for level in ('3', '4', '5'):
      self.assertAllEqual(labels['cls_targets'][level], expected['cls_targets'][level])
    self.assertAllEqual(labels['cls_weights'], expected['cls_weights'])
    self.assertAllEqual(labels['box_weights'], expected['box_weights'])
    positive = labels['box_weights'].numpy() > 0
    mine, theirs = (
      np.concatenate([np.reshape(boxes[level], [-1, 4]) for level in ('3', '4', '5')])
      for boxes in (labels['box_targets'], expected['box_targets'])
    )
    self.assertAllClose(mine[positive], theirs[positive], atol=1e-5)
    self.assertEqual(int(labels['num_boxes']), 2)

  def test_box_coder_weights_scale_the_targets(self):
    plain, scaled = _model(), _model()
    scaled.override({'detection_generator': {'box_coder_weights': [10.0, 10.0, 5.0, 5.0]}})
    _, a = detection.TrainingParser(plain, _params())(_example())
    _, b = detection.TrainingParser(scaled, _params())(_example())
    factor = np.tile([10.0, 10.0, 5.0, 5.0], 3)
    self.assertAllClose(a['box_targets']['4'] * factor, b['box_targets']['4'], rtol=1e-5)

  def test_taught_boxes_are_those_of_the_example(self):
    rng = np.random.default_rng(3)
    for weights in (None, [10.0, 10.0, 5.0, 5.0]):
      with self.subTest(weights=weights):
        model = _model()
        if weights:
          model.override({'detection_generator': {'box_coder_weights': weights}})
        parser = detection.TrainingParser(model, _params())
        expected, parsed = [], []
        for count in (0, 1, 4):
          corners = rng.uniform(0.0, 0.6, [count, 2])
          boxes = np.concatenate([corners, corners + rng.uniform(0.2, 0.4, [count, 2])], 1)
          classes = rng.permutation(10)[:count] + 1
          ignored = np.arange(count) == 3
          parsed.append(parser(_example(boxes, classes, ignored))[1])
          # The image of 96 x 128 pixels lies at the top of the view of 128.
          rows = np.concatenate([classes[:, None], boxes * [96, 128, 96, 128]], 1)[~ignored]
          expected.append(rows[np.argsort(rows[:, 0])])
        batch = tf.nest.map_structure(lambda *parts: tf.stack(parts), *parsed)
        for (boxes, classes), rows in zip(
          detection.taught_boxes(model, batch), expected, strict=True
        ):
          order = np.argsort(classes)
          self.assertAllEqual(classes[order], rows[:, 0])
          self.assertAllClose(boxes[order], rows[:, 1:], atol=0.05)

  def test_ignored_boxes_are_no_objects_and_no_background(self):
    parser = detection.TrainingParser(_model(), _params())
    _, only = parser(_example(boxes=((0.1, 0.1, 0.6, 0.5),), classes=(3,)))
    _, both = parser(_example(ignored=[False, True]))
    self.assertAllEqual(both['box_weights'], only['box_weights'])
    self.assertEqual(int(both['num_boxes']), 1)
    left_out = both['cls_weights'].numpy() == 0
    self.assertGreater(left_out.sum(), 0)
    self.assertEqual(only['cls_weights'].numpy().min(), 1)

  def test_soft_labels_have_the_scores_of_their_boxes(self):
    params = configs.PseudoDataConfig(is_training=True, soft_labels=True)
    example = {**_example(), keys.GROUNDTRUTH_SCORES: tf.constant([0.25, 0.75])}
    _, soft = detection.TrainingParser(_model(), params)(example)
    _, hard = detection.TrainingParser(_model(), _params())(example)
    classes = np.concatenate([level.numpy().flat for level in soft['cls_targets'].values()])
    expected = np.select([classes == 3, classes == 7], [0.25, 0.75], 0.0)
    self.assertGreater((expected == 0.25).sum(), 0)
    self.assertGreater((expected == 0.75).sum(), 0)
    self.assertAllEqual(soft['cls_scores'], expected)
    self.assertAllEqual(soft['box_weights'], expected)
    self.assertAllEqual(hard['box_weights'], expected > 0)
    self.assertNotIn('cls_scores', hard)
    self.assertAllEqual(soft['cls_weights'], hard['cls_weights'])

  def test_crowds_are_dropped_if_asked(self):
    example = _example()
    example[keys.GROUNDTRUTH_IS_CROWD] = tf.constant([True, False])
    _, dropped = detection.TrainingParser(_model(), _params())(example)
    _, kept = detection.TrainingParser(_model(), _params(skip_crowd_during_training=False))(example)
    self.assertEqual([int(dropped['num_boxes']), int(kept['num_boxes'])], [1, 2])

  def test_image_without_boxes(self):
    _, labels = detection.TrainingParser(_model(), _params())(_example(boxes=(), classes=()))
    self.assertAllEqual(labels['cls_weights'], np.ones(1008))
    self.assertAllEqual(labels['box_weights'], np.zeros(1008))
    self.assertEqual(int(labels['num_boxes']), 0)

  def test_class_outside_the_model_is_named(self):
    for classes in ((0, 3), (3, 11)):
      with self.assertRaisesRegex(
        tf.errors.InvalidArgumentError, r'class id outside 1\.\.10 \(task\.model\.num'
      ):
        detection.TrainingParser(_model(), _params())(_example(classes=classes))

  def test_streams_with_other_seeds_do_not_jitter_in_lockstep(self):
    parser = detection.TrainingParser(_model(), _params(aug_scale_min=0.5, aug_scale_max=2.0))
    images = [
      parser({**_example(), keys.SEED: tf.constant(seed, tf.int32)})[0]
      for seed in ([1, 2], [1, 2], [3, 4])
    ]
    self.assertAllEqual(images[0], images[1])
    self.assertNotAllClose(images[0], images[2])

  def test_policy_of_the_stream_is_applied_and_flags_travel(self):
    params = _params()
    # Everything is moved out to the left except the right fifth.
    params.override(
      {
        'augmentation': {
          'policy': 'S2',
          'scale_min': 1.0,
          'scale_max': 1.0,
          'flip_probability': 0.0,
          'translate_const': 102.0,
          'auto_augment': {'sub_policies': ['TranslateX_BBox(1, 10)']},
        }
      }
    )
    boxes = ((0.1, 0.05, 0.6, 0.15), (0.5, 0.85, 0.9, 0.95))
    parser = tf.function(detection.TrainingParser(_model(), params))
    counts = []
    for seed in range(12):
      example = _example(boxes=boxes, classes=(3, 7), ignored=[False, True])
      _, labels = parser({**example, keys.SEED: tf.constant([seed, 0], tf.int32)})
      is_banded = bool((labels['cls_weights'].numpy() == 0).any())
      counts.append((int(labels['num_boxes']), is_banded))
    # Moved to the left, the box of the band remains, and to the right the object.
    self.assertCountEqual(set(counts), [(0, True), (1, False)])


class InferencePreprocessorTest(tf.test.TestCase):
  def test_keeps_aspect_and_reports_the_original_size(self):
    image = np.full([30, 60, 3], 200, np.uint8)
    out = detection.inference_preprocessor(_model())(tf.io.encode_png(image))
    self.assertAllEqual(out['image'].shape, [128, 128, 3])
    self.assertAllClose(out['image_info'], [[30, 60], [128, 128], [64 / 30, 128 / 60], [0, 0]])
    self.assertAllEqual([out[keys.IMAGE_HEIGHT], out[keys.IMAGE_WIDTH]], [30, 60])
    self.assertAllClose(
      out['image'][0, 0], (200 / 255 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    )
    self.assertAllEqual(out['image'][64:], np.zeros([64, 128, 3]))

  def test_the_thinnest_images_that_preparation_keeps_can_be_resized(self):
    preprocess = detection.inference_preprocessor(_model(64))
    self.assertAllEqual(preprocess(_png(3, 300))['image'].shape, [64, 64, 3])
    self.assertAllEqual(preprocess(_png(300, 3))['image'].shape, [64, 64, 3])
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, 'must be positive'):
      preprocess(_png(1, 300))

  def test_files_that_claim_absurd_sizes_are_refused_before_they_take_memory(self):
    preprocess = detection.inference_preprocessor(_model(64))
    png = _png(3, 4).numpy()
    claimed = png[:16] + struct.pack('>II', 100_000, 100_000) + png[24:29]
    checksum = struct.pack('>I', zlib.crc32(claimed[12:]))
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, 'PNG size too large'):
      preprocess(tf.constant(claimed + checksum + png[33:]))
    header = struct.pack('<IiiHHIIiiII', 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0)
    bmp = b'BM' + struct.pack('<IHHI', 0, 0, 0, 54) + header + bytes(99)
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, 'pixel bytes must be less than'):
      preprocess(tf.constant(bmp))


def _png(height, width):
  return tf.io.encode_png(np.zeros([height, width, 3], np.uint8))


if __name__ == '__main__':
  tf.test.main()
