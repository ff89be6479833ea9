"""From record to image and class: crops by hand, what is wrong with a record, the same seed and the same bytes."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_selftrain.augment import build, crops
from official_selftrain.configs import augmentation as aug
from official_selftrain.configs import classification as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import classification
from official_selftrain.datasets import tf_examples
from official_selftrain.ops import images

_MODEL = configs.ClassificationModel(num_classes=4, input_size=[32, 48, 3])


def _image(height=40, width=60):
  """Rows are in the red channel and columns in the green one."""
  rows, columns = np.mgrid[:height, :width]
  return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def _record(label=2):
  features = tf_examples.image_features(_image(), 7)
  if label is not None:
    features |= tf_examples.image_class_features(label)
  return tf_examples.serialize(features)


def _example(seed=(3, 4)):
  return {'image': _image(), keys.IMAGE_LABEL: np.int64(2), keys.SEED: tf.constant(seed, tf.int32)}


def _stream(**changes):
  return configs.DataConfig(**{'is_training': True, 'aug_rand_hflip': False, **changes})


class RecordTest(parameterized.TestCase, tf.test.TestCase):
  def test_image_and_class(self):
    example = classification.decode(tf.constant(_record()))
    self.assertAllClose(example['image'], _image(), atol=16)
    self.assertEqual(int(example[keys.IMAGE_LABEL]), 2)
    classification.check_record(_record(3), num_classes=4)

  @parameterized.parameters((None, -1), (-3, -3), (4, 4))
  def test_no_class_of_the_model(self, label, found):
    message = rf'image/class/label must be one of the classes 0\.\.3 .* -1 for none: {found}'
    with self.assertRaisesRegex(ValueError, message):
      classification.check_record(_record(label), num_classes=4)
    dataset = tf.data.Dataset.from_tensors(_record(label)).map(
      lambda record: classification.checked(classification.decode(record), 4)
    )
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, r'image/class/label must be one'):
      next(iter(dataset))

  def test_no_image(self):
    record = tf_examples.serialize(tf_examples.image_class_features(1))
    with self.assertRaises(tf.errors.InvalidArgumentError):
      classification.check_record(record, num_classes=4)


class TrainingParserTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters('none', 'S1', 'S2', 'S4')
  def test_the_same_seed_gives_the_same_bytes(self, policy):
    stream = _stream(augmentation=aug.Augmentation(policy=policy), aug_rand_hflip=policy == 'none')
    parse = classification.TrainingParser(_MODEL, stream)
    image, labels = parse(_example())
    self.assertEqual(image.shape, [32, 48, 3])
    self.assertEqual((image.dtype, int(labels['classes'])), (tf.float32, 2))
    self.assertAllEqual(image, tf.function(parse)(_example())[0])
    others = [parse(_example((seed, 0)))[0].numpy().tobytes() for seed in range(8)]
    self.assertLen(set(others), 8)

  def test_without_crop_it_is_the_policy_alone(self):
    stream = _stream(aug_crop=False, augmentation=aug.Augmentation(policy='S1'))
    image, _ = classification.TrainingParser(_MODEL, stream)(_example())
    expected = build.build(stream.augmentation, (32, 48))(
      {name: value for name, value in _example().items() if name != keys.IMAGE_LABEL}
    )
    self.assertAllEqual(image, expected['image'])

  def test_with_a_crop_there_is_no_jitter(self):
    stream = _stream(augmentation=aug.Augmentation(policy='S1', flip_probability=0.0))
    stream.crop_area_range = (1.0, 1.0)
    # All of the image is in proportion 3:4, so nothing is cut off and nothing padded.
    example = {**_example(), 'image': _image(36, 48)}
    image, _ = classification.TrainingParser(_MODEL, stream)(example)
    whole = tf.cast(tf.round(tf.image.resize(example['image'], [32, 48])), tf.uint8)
    self.assertAllClose(image, images.normalize(whole), atol=1e-5)

  def test_crop_and_policy_draw_apart(self):
    stream = _stream()
    stream.crop_area_range = (0.2, 0.3)
    halves = [
      crops.random_crop(
        _image(), tf.bitwise.bitwise_xor(seed, classification._CROP), (0.2, 0.3), (32, 48)
      )
      for seed in (tf.constant([5, 6]),)
    ]
    image, _ = classification.TrainingParser(_MODEL, stream)(_example((5, 6)))
    self.assertAllClose(image, images.normalize(halves[0]), atol=1e-5)
    same = crops.random_crop(_image(), tf.constant([5, 6]), (0.2, 0.3), (32, 48))
    self.assertNotAllEqual(same, halves[0])


class EvaluationParserTest(tf.test.TestCase):
  def test_the_whole_image_padded(self):
    stream = _stream(is_training=False, aug_crop=False)
    image, labels = classification.evaluation_parser(_MODEL, stream)(
      {'image': _image(16, 48), keys.IMAGE_LABEL: tf.constant(1, tf.int64)}
    )
    self.assertAllClose(image[:16], images.normalize(_image(16, 48)), atol=1e-5)
    self.assertAllEqual(image[16:], tf.zeros([16, 48, 3]))
    self.assertEqual(int(labels['classes']), 1)

  def test_the_central_square(self):
    stream = _stream(is_training=False, center_crop_fraction=0.8)
    image, _ = classification.evaluation_parser(_MODEL, stream)(
      {'image': _image(), keys.IMAGE_LABEL: tf.constant(1, tf.int64)}
    )
    square = _image()[4:36, 14:46]
    self.assertAllClose(image, tf.image.resize(images.normalize(square), [32, 48]), atol=1e-5)


if __name__ == '__main__':
  tf.test.main()
