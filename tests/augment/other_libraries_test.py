"""What keras-cv's layers do with boxes and masks, and what ours do with the same."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from keras_cv import layers

from official_selftrain.augment import flip_crop, policy
from official_selftrain.core import keys
from tests.augment import scenes

SIZE = (40, 60)
BOX = (10, 8, 30, 20)
# No pixel is of class 0, which is as good a class as any.
GROUND, OBJECT = 7, 3


def _image_and_mask():
  image = np.full([*SIZE, 3], 90, np.uint8)
  mask = np.full([*SIZE, 1], GROUND, np.uint8)
  image[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 200
  mask[BOX[0] : BOX[2], BOX[1] : BOX[3]] = OBJECT
  return image, mask


def _theirs(layer):
  image, mask = _image_and_mask()
  batch = {
    'images': tf.constant(image[None], tf.float32),
    'segmentation_masks': tf.constant(mask[None], tf.float32),
    'bounding_boxes': {
      'boxes': tf.constant([[[BOX[1], BOX[0], BOX[3], BOX[2]]]], tf.float32),
      'classes': tf.ones([1, 1]),
    },
  }
  return layer(batch, training=True)


def _ours(text):
  image, mask = _image_and_mask()
  last = flip_crop.FlipCrop(SIZE, normalize=False)
  drawn = policy.Policy(scenes.sub_policies(text), 1, last)
  return drawn(scenes.example_of(image, np.array([BOX]), mask))


def _objects_in_row_20(mask):
  is_object = np.pad(mask[20, :, 0].numpy() == OBJECT, 1).astype(int)
  return np.count_nonzero(np.diff(is_object) == 1)


class KerasCvTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    # A quarter of the width to the right, a tenth of a turn; both with their default way to fill, and with a constant.
    (layers.RandomTranslation, {'height_factor': 0.0, 'width_factor': (0.25, 0.25)}),
    (layers.RandomRotation, {'factor': (0.1, 0.1), 'segmentation_classes': 8}),
  )
  def test_boxes_become_ragged_and_uncovered_pixels_get_a_class(self, kind, settings):
    for fill, found in (('reflect', {OBJECT, GROUND}), ('constant', {0, OBJECT, GROUND})):
      out = _theirs(kind(**settings, fill_mode=fill, bounding_box_format='xyxy'))
      self.assertIsInstance(out['bounding_boxes']['boxes'], tf.RaggedTensor)
      self.assertEqual(set(np.unique(out['segmentation_masks'])), found)
      self.assertNotEqual(out['segmentation_masks'].dtype, tf.uint8)

  @parameterized.parameters('TranslateX_BBox(1, 0.6)', 'Rotate_BBox(1, 10)')
  def test_ours_stay_what_they_are_and_uncovered_pixels_are_ignored(self, text):
    out = _ours(text)
    self.assertIsInstance(out[keys.GROUNDTRUTH_BOXES], tf.Tensor)
    self.assertAllEqual(out[keys.GROUNDTRUTH_BOXES].shape, [1, 4])
    self.assertEqual(out[keys.SEMANTIC_MASK].dtype, tf.uint8)
    self.assertEqual(set(np.unique(out[keys.SEMANTIC_MASK])), {OBJECT, GROUND, scenes.IGNORE})

  def test_its_translation_shows_the_object_twice(self):
    # Mirrored at the left edge: the box is one, the objects in image and mask are two.
    layer = layers.RandomTranslation(0.0, (0.25, 0.25), bounding_box_format='xyxy')
    out = _theirs(layer)
    self.assertEqual(_objects_in_row_20(out['segmentation_masks'][0]), 2)
    self.assertAllClose(out['bounding_boxes']['boxes'].to_tensor()[0], [[23, 10, 35, 30]])
    self.assertEqual(_objects_in_row_20(_ours('TranslateX_BBox(1, 0.2)')[keys.SEMANTIC_MASK]), 1)


if __name__ == '__main__':
  tf.test.main()
