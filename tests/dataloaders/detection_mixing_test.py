"""Mixing inside a training stream: wiring, masks from records, and that nothing happens by default."""

from unittest import mock

import numpy as np
import tensorflow as tf

from official_selftrain.augment import mixing
from official_selftrain.configs import detection as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import detection, tfrecords

_SIZE = 128
_SEED = 5


def _params(**augmentation):
  params = configs.DataConfig(is_training=True)
  params.override({'augmentation': augmentation, 'parser': {'aug_rand_hflip': True}})
  return params


def _record(number, count=2, masks=None, size=(48, 64)):
  """A record with squares of one class each, and their masks."""
  rng = np.random.default_rng(number)
  corners = rng.integers(0, 24, [count, 2])
  made = np.zeros([count, *size, 1], np.uint8)
  for mask, (top, left) in zip(made, corners, strict=True):
    mask[top : top + 20, left : left + 20] = 255
  masks = made if masks is None else masks
  sides = {
    keys.BOX_YMIN: corners[:, 0] / size[0],
    keys.BOX_XMIN: corners[:, 1] / size[1],
    keys.BOX_YMAX: (corners[:, 0] + 20) / size[0],
    keys.BOX_XMAX: (corners[:, 1] + 20) / size[1],
  }
  image = rng.integers(0, 256, [*size, 3]).astype(np.uint8)
  encoded = {
    keys.IMAGE_ENCODED: [tf.io.encode_png(image).numpy()],
    keys.SOURCE_ID: [b'%d' % number],
    keys.BOX_MASK: [tf.io.encode_png(mask).numpy() for mask in masks],
  }
  numbers = {
    keys.IMAGE_HEIGHT: [size[0]],
    keys.IMAGE_WIDTH: [size[1]],
    keys.BOX_CLASS: list(range(1, 1 + count)),
  }
  feature = tf.train.Feature
  features = {
    **{k: feature(float_list=tf.train.FloatList(value=v)) for k, v in sides.items()},
    **{k: feature(bytes_list=tf.train.BytesList(value=v)) for k, v in encoded.items()},
    **{k: feature(int64_list=tf.train.Int64List(value=v)) for k, v in numbers.items()},
  }
  return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _decoded(params, start=0, stop=9):
  decode = detection.build_decoder(params).decode
  made = [_record(number, number % 3) for number in range(start, stop)]
  dataset = tf.data.Dataset.from_tensor_slices(made).enumerate(start)
  return dataset.map(lambda ordinal, record: (ordinal, decode(record)))


def _parsed(params, **options):
  parser = detection.TrainingParser(configs.small_retinanet(11, _SIZE), params)
  return parser, parser.parse_stream(_decoded(params, **options), _SEED)


class ParseStreamTest(tf.test.TestCase):
  def _assert_same(self, first, second):
    tf.nest.map_structure(self.assertAllEqual, first, second)

  def test_default_maps_each_example_by_itself(self):
    params = _params(policy='S1')
    with mock.patch.object(mixing, 'mix_stream', side_effect=AssertionError('mixes')):
      parser, parsed = _parsed(params)
    parsed = list(parsed)
    self.assertLen(parsed, 9)
    for (ordinal, example), result in zip(_decoded(params).take(3), parsed, strict=False):
      self.assertNotIn(keys.GROUNDTRUTH_INSTANCE_MASKS, example)
      seed = tfrecords.example_seed(_SEED, ordinal)
      self._assert_same(parser({**example, keys.SEED: seed}), result)

  def test_targets_are_those_of_the_mixed_example(self):
    params = _params(policy='S1', mixup_probability=1.0)
    parser, parsed = _parsed(params)
    augmented = [
      parser.augment({**example, keys.SEED: tfrecords.example_seed(_SEED, ordinal)})
      for ordinal, example in _decoded(params)
    ]
    mix = mixing.MixUp(1.0)
    parsed = list(parsed)
    self.assertLen(parsed, 8)
    counts = []
    for place, (image, labels) in enumerate(parsed):
      expected = parser.targets(mix(augmented[place : place + 2]))
      self._assert_same((image, labels), expected)
      counts.append(int(labels['num_boxes']))
    self.assertGreater(max(counts), 2)

  def test_resumes_at_a_batch_with_the_same_bytes(self):
    params = _params(
      policy='S1', mixup_probability=0.5, mosaic_probability=0.5, copy_paste_probability=0.5
    )
    whole = list(_parsed(params)[1].batch(2, drop_remainder=True))
    resumed = list(_parsed(params, start=2)[1].batch(2, drop_remainder=True))
    self.assertLen(whole, 2)
    self._assert_same(whole[1], resumed[0])
    self.assertNotAllEqual(whole[0][0], whole[1][0])


class MasksTest(tf.test.TestCase):
  def test_only_copy_paste_reads_masks(self):
    for params, expected in (
      (_params(), False),
      (_params(mosaic_probability=1.0, mixup_probability=1.0), False),
      (_params(copy_paste_probability=0.1), True),
    ):
      self.assertEqual(detection.needs_masks(params), expected)
      example = detection.build_decoder(params).decode(_record(1))
      self.assertEqual(keys.GROUNDTRUTH_INSTANCE_MASKS in example, expected)
    params = _params(copy_paste_probability=0.1)
    params.is_training = False
    self.assertFalse(detection.needs_masks(params))

  def test_masks_of_any_value_become_those_of_the_model(self):
    params = _params(policy='S1', copy_paste_probability=0.1, flip_probability=0.0)
    params.augmentation.override({'scale_min': 1.0, 'scale_max': 1.0})
    parser = detection.TrainingParser(configs.small_retinanet(11, _SIZE), params)
    for count in (0, 2):
      example = detection.build_decoder(params).decode(_record(1, count))
      result = parser.augment({**example, keys.SEED: tf.constant([1, 2])})
      masks = result[keys.GROUNDTRUTH_INSTANCE_MASKS].numpy()
      self.assertEqual((masks.shape, masks.dtype), ((count, _SIZE, _SIZE), np.uint8))
      expected = np.zeros_like(masks)
      for mask, box in zip(expected, result[keys.GROUNDTRUTH_BOXES].numpy(), strict=True):
        top, left, bottom, right = np.round(box).astype(int)
        mask[top:bottom, left:right] = 1
      self.assertAllEqual(masks, expected)

  def test_missing_masks_are_named(self):
    params = _params(copy_paste_probability=0.1)
    parser = detection.TrainingParser(configs.small_retinanet(11, _SIZE), params)
    decode = detection.build_decoder(params).decode
    wrong_size = np.zeros([2, 30, 64, 1], np.uint8)
    for masks in ((), np.zeros([1, 48, 64, 1], np.uint8), wrong_size):
      example = decode(_record(1, masks=masks))
      with self.assertRaisesRegex(
        tf.errors.InvalidArgumentError, r'copy_paste_probability needs a mask .*image/object/mask'
      ):
        parser({**example, keys.SEED: tf.constant([1, 2])})
    needed, found = detection.mask_sizes(example)
    self.assertAllEqual(needed, [2, 48, 64])
    self.assertAllEqual(found, [2, 30, 64])


if __name__ == '__main__':
  tf.test.main()
