"""keras-cv's layers in the streams of every task."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.configs import classification as classification_configs
from official_selftrain.configs import contrastive as contrastive_configs
from official_selftrain.configs import detection as detection_configs
from official_selftrain.configs import segmentation as segmentation_configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import classification, contrastive, detection, segmentation
from official_selftrain.ops import images

_SIZE = [64, 64, 3]
_LAYERS = ['RandomShear(x_factor=0.3)', 'RandomFlip()', 'RandomBrightness(factor=0.3)']


def _augmentation(*layers, **others):
  return {'policy': 'keras_cv', 'keras_cv': {'layers': list(layers or _LAYERS)}, **others}


def _params(configs, **augmentation):
  params = configs.DataConfig(is_training=True)
  params.override({'augmentation': augmentation or _augmentation()})
  return params


def _example(number=0):
  rng = np.random.default_rng(number)
  image = rng.integers(0, 256, [48, 60, 3]).astype(np.uint8)
  return {'image': tf.constant(image), keys.SEED: tf.constant([number, 4], tf.int32)}


def _stream(parser, examples):
  dataset = tf.data.Dataset.from_tensors(examples[0])
  for each in examples[1:]:
    dataset = dataset.concatenate(tf.data.Dataset.from_tensors(each))
  without_seed = dataset.map(lambda e: {k: v for k, v in e.items() if k != keys.SEED})
  return parser.parse_stream(without_seed.enumerate(), 7)


def _assert_repeats(test, parser, examples):
  """The stream twice; returns it."""
  first, second = (list(_stream(parser, examples)) for _ in range(2))
  for one, other in zip(first, second, strict=True):
    test.assertAllEqual(one[0], other[0])
  return first


class TasksTest(parameterized.TestCase, tf.test.TestCase):
  def test_classification(self):
    model = classification_configs.ClassificationModel(num_classes=4, input_size=_SIZE)
    parser = classification.TrainingParser(model, _params(classification_configs))
    examples = [{**_example(n), keys.IMAGE_LABEL: tf.constant(n, tf.int64)} for n in range(3)]
    for number, (image, labels) in enumerate(_assert_repeats(self, parser, examples)):
      self.assertEqual(image.shape, _SIZE)
      self.assertEqual(labels['classes'], number)

  def test_two_views_with_draws_of_their_own(self):
    model = contrastive_configs.ContrastiveModel(input_size=_SIZE)
    parser = contrastive.TrainingParser(model, _params(contrastive_configs))
    for pair, labels in _assert_repeats(self, parser, [_example(n) for n in range(3)]):
      self.assertEqual(pair.shape, [2, *_SIZE])
      self.assertNotAllClose(pair[0], pair[1])
      self.assertEqual(labels, {})

  def test_views_are_normalised_once(self):
    model = contrastive_configs.ContrastiveModel(input_size=_SIZE)
    params = _params(contrastive_configs, **_augmentation('Resizing()'))
    pair, _ = contrastive.TrainingParser(model, params)(_example())
    resized = tf.image.resize(tf.cast(_example()['image'], tf.float32), _SIZE[:2])
    self.assertAllClose(pair, tf.stack([images.normalize(resized)] * 2), atol=1e-4)

  def test_segmentation(self):
    model = segmentation_configs.SegmentationModel(num_classes=4, input_size=_SIZE)
    parser = segmentation.TrainingParser(
      model, _params(segmentation_configs, **_augmentation(*_LAYERS, 'CutMix()'))
    )
    mask = tf.constant(np.full([48, 60, 1], 3, np.uint8))
    examples = [{**_example(n), keys.SEMANTIC_MASK: mask} for n in range(4)]
    made = _assert_repeats(self, parser, examples)
    # The last has nothing to be mixed with.
    self.assertLen(made, 3)
    for _, labels in made:
      self.assertEqual(set(np.unique(labels['masks'])), {3, keys.IGNORE_LABEL})

  def test_detection(self):
    model = detection_configs.small_retinanet(11, 64)
    parser = detection.TrainingParser(
      model, _params(detection_configs, **_augmentation(*_LAYERS, 'MixUp()'))
    )
    boxes = {
      keys.GROUNDTRUTH_BOXES: tf.constant([[0.2, 0.2, 0.6, 0.7], [0.5, 0.1, 0.9, 0.4]]),
      keys.GROUNDTRUTH_CLASSES: tf.constant([3, 5], tf.int64),
      keys.GROUNDTRUTH_IS_CROWD: tf.constant([False, False]),
      keys.GROUNDTRUTH_AREA: tf.constant([0.0, 0.0]),
    }
    examples = [{**_example(n), **boxes} for n in range(3)]
    for _, labels in _assert_repeats(self, parser, examples):
      self.assertEqual(labels['num_boxes'], 4)
      self.assertGreater(np.sum(labels['box_weights']), 0)


if __name__ == '__main__':
  tf.test.main()
