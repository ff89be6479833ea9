"""Transforms: identity, exact geometry, and the same numbers wherever they run."""

import numpy as np
import tensorflow as tf
from official.vision.ops import preprocess_ops

from official_selftrain.augment import transforms
from official_selftrain.core import keys


def _example(seed=(1, 2), size=(40, 60), boxes=((0.1, 0.2, 0.5, 0.6),)):
  rng = np.random.default_rng(7)
  return {
    'image': tf.constant(rng.integers(0, 256, [*size, 3]), tf.uint8),
    keys.GROUNDTRUTH_BOXES: tf.constant(np.reshape(boxes, [-1, 4]), tf.float32),
    keys.GROUNDTRUTH_CLASSES: tf.range(1, 1 + len(boxes), dtype=tf.int64),
    keys.SEED: tf.constant(seed, tf.int32),
  }


class FlipTest(tf.test.TestCase):
  def test_always_and_never(self):
    example = _example()
    never = transforms.RandomHorizontalFlip(0.0)(example)
    self.assertAllEqual(never['image'], example['image'])
    self.assertAllEqual(never[keys.GROUNDTRUTH_BOXES], example[keys.GROUNDTRUTH_BOXES])
    always = transforms.RandomHorizontalFlip(1.0)(example)
    self.assertAllEqual(always['image'], example['image'].numpy()[:, ::-1])
    self.assertAllClose(always[keys.GROUNDTRUTH_BOXES], [[0.1, 0.4, 0.5, 0.8]])

  def test_twice_is_identity(self):
    flip = transforms.RandomHorizontalFlip(1.0)
    twice = flip(flip(_example()))
    self.assertAllEqual(twice['image'], _example()['image'])
    self.assertAllClose(
      twice[keys.GROUNDTRUTH_BOXES], _example()[keys.GROUNDTRUTH_BOXES], atol=1e-7
    )

  def test_leaves_a_new_seed(self):
    self.assertNotAllEqual(transforms.RandomHorizontalFlip()(_example())[keys.SEED], [1, 2])


class JitteredResizeAndCropTest(tf.test.TestCase):
  def test_without_jitter_equals_the_model_garden(self):
    example = _example()
    out = transforms.JitteredResizeAndCrop((64, 64))(example)
    image, info = preprocess_ops.resize_and_crop_image(example['image'], [64, 64], [64, 64])
    self.assertAllClose(out['image'], image)
    self.assertAllClose(out['image_info'], info)
    boxes = example[keys.GROUNDTRUTH_BOXES] * [40, 60, 40, 60]
    expected = preprocess_ops.resize_and_crop_boxes(boxes, info[2], info[1], info[3])
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], expected, atol=1e-3)

  def test_a_marked_rectangle_lands_where_its_box_says(self):
    for number in range(40):
      image = np.zeros([50, 80, 3], np.uint8)
      image[10:30, 20:60] = 255
      example = _example(seed=(number, 5), size=(50, 80), boxes=((0.2, 0.25, 0.6, 0.75),))
      example['image'] = tf.constant(image)
      out = transforms.JitteredResizeAndCrop((64, 64), 0.5, 2.0)(example)
      ymin, xmin, ymax, xmax = out[keys.GROUNDTRUTH_BOXES].numpy()[0]
      bright = out['image'].numpy()[..., 0] > 127
      if ymax - ymin < 3 or xmax - xmin < 3:
        continue
      rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
      self.assertAllClose(
        [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], [ymin, xmin, ymax, xmax], atol=1.5
      )

  def test_boxes_stay_inside_the_visible_part(self):
    boxes = ((0.0, 0.0, 1.0, 1.0), (0.9, 0.9, 1.0, 1.0), (0.3, 0.1, 0.4, 0.2))
    for number in range(30):
      out = transforms.JitteredResizeAndCrop((32, 48), 0.3, 2.5)(
        _example(seed=(number, 0), boxes=boxes)
      )
      got = out[keys.GROUNDTRUTH_BOXES].numpy()
      info = out['image_info'].numpy()
      visible = np.minimum(info[0] * info[2] - info[3], [32, 48])
      self.assertTrue((got[:, :2] <= got[:, 2:]).all())
      self.assertTrue((got >= 0).all())
      self.assertTrue((got[:, 2:] <= visible + 1e-3).all())
      self.assertTrue((out['image'].numpy()[int(visible[0]) + 1 :] == 0).all())

  def test_scale_is_uniform_in_the_range(self):
    step = transforms.JitteredResizeAndCrop((100, 100), 0.5, 1.5)
    example = _example(size=(10, 10))
    dataset = tf.data.Dataset.range(400).map(
      lambda i: (
        step({**example, keys.SEED: tf.stack([tf.cast(i, tf.int32), 3])})['image_info'][2, 0] / 10
      )
    )
    scales = list(dataset.as_numpy_iterator())
    self.assertBetween(min(scales), 0.5, 0.53)
    self.assertBetween(max(scales), 1.47, 1.5)
    self.assertAllClose(np.histogram(scales, 4, (0.5, 1.5))[0], [100] * 4, atol=35)

  def test_padding_has_the_pad_value(self):
    out = transforms.JitteredResizeAndCrop((64, 64), pad_value=(1.0, 2.0, 3.0))(_example())
    self.assertAllClose(out['image'][-1, -1], [1.0, 2.0, 3.0])

  def test_same_seed_same_bytes_at_any_parallelism(self):
    step = transforms.JitteredResizeAndCrop((32, 32), 0.5, 2.0)
    eager = [step(_example(seed=(i, 9))) for i in range(12)]
    example = _example()
    for calls in (1, 4):
      dataset = tf.data.Dataset.range(12).map(
        lambda i: step({**example, keys.SEED: tf.stack([tf.cast(i, tf.int32), 9])}),
        num_parallel_calls=calls,
      )
      for left, right in zip(eager, dataset, strict=True):
        self.assertAllEqual(left['image'], right['image'])
        self.assertAllEqual(left[keys.GROUNDTRUTH_BOXES], right[keys.GROUNDTRUTH_BOXES])


class KeepBoxesTest(tf.test.TestCase):
  def test_drops_rows_of_everything_that_belongs_to_boxes(self):
    example = _example(boxes=((0.0, 0.0, 0.1, 0.1), (0.5, 0.5, 0.9, 0.9)))
    out = transforms.keep_boxes(example, tf.constant([False, True]))
    self.assertAllClose(out[keys.GROUNDTRUTH_BOXES], [[0.5, 0.5, 0.9, 0.9]])
    self.assertAllEqual(out[keys.GROUNDTRUTH_CLASSES], [2])
    self.assertAllEqual(out['image'], example['image'])


if __name__ == '__main__':
  tf.test.main()
