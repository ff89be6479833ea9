"""From record to image and mask: values by hand, what is wrong with a mask, batches of images of several sizes."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from official_selftrain.configs import segmentation as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import segmentation
from official_selftrain.datasets import tf_examples

IGNORE = keys.IGNORE_LABEL
CLASSES = 11


def _png(values, mode='L'):
  buffer = io.BytesIO()
  image = Image.fromarray(np.asarray(values, np.uint8))
  if mode == 'P':
    image = image.convert('P')
    image.putpalette([channel for k in range(256) for channel in (k, 255 - k, 7)])
  image.convert(mode).save(buffer, 'PNG')
  return buffer.getvalue()


def _record(mask, size=(6, 8), encoded=None):
  """A record of an image of `size` and a mask; None leaves the mask out."""
  rng = np.random.default_rng(0)
  features = tf_examples.image_features(rng.integers(0, 256, [*size, 3]).astype(np.uint8), 7)
  value = encoded if encoded is not None else None if mask is None else _png(mask)
  if value is not None:
    features[keys.SEGMENTATION_MASK] = tf.train.Feature(
      bytes_list=tf.train.BytesList(value=[value])
    )
  return tf_examples.serialize(features)


def _mask(size=(6, 8), value=3):
  mask = np.zeros(size, np.uint8)
  mask[1:4, 2:5] = value
  mask[0, 0] = IGNORE
  return mask


class DecoderTest(tf.test.TestCase):
  def test_masks_keep_their_values(self):
    example = segmentation.decoder(CLASSES)(_record(_mask()))
    self.assertAllEqual(example[keys.SEMANTIC_MASK][..., 0], _mask())
    self.assertEqual(example['image'].shape, [6, 8, 3])
    self.assertEqual(example[keys.SEMANTIC_MASK].dtype, tf.uint8)

  def test_palettes_would_be_read_as_brightness(self):
    values = tf.io.decode_png(_png(_mask(), 'P'), channels=1).numpy()[..., 0]
    self.assertNotEqual(values[2, 3], 3)

  def test_errors_say_what_is_wrong_with_a_mask(self):
    deep = io.BytesIO()
    Image.fromarray(np.zeros([6, 8], np.uint16)).save(deep, 'PNG')
    cases = {
      'missing': (_record(None), 'is missing'),
      'palette': (_record(None, encoded=_png(_mask(), 'P')), r'8 bits of grey .* found: 8, 3'),
      'colours': (_record(None, encoded=_png(_mask(), 'RGB')), r'8 bits of grey .* found: 8, 2'),
      '16 bits': (_record(None, encoded=deep.getvalue()), r'8 bits of grey .* found: 16, 0'),
      'size': (_record(_mask((6, 7))), r'size of its image; .* \[6, 8\], \[6, 7\]'),
      'class': (
        _record(_mask(value=CLASSES)),
        r'neither a class, 0\.\.10 \(task.model.num_classes is 11\), nor 255 .* \[11\]',
      ),
    }
    decode = segmentation.decoder(CLASSES)
    for name, (record, pattern) in cases.items():
      with self.subTest(name):
        with self.assertRaisesRegex(ValueError, pattern):
          segmentation.check_record(tf.constant(record), CLASSES)
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, keys.SEGMENTATION_MASK):
          list(tf.data.Dataset.from_tensors(record).map(decode))

  def test_a_good_record_passes(self):
    self.assertIsNone(segmentation.check_record(tf.constant(_record(_mask())), CLASSES))

  def test_a_mask_that_is_no_image_is_an_error(self):
    with self.assertRaises(tf.errors.InvalidArgumentError):
      segmentation.check_record(tf.constant(_record(None, encoded=b'no png')), CLASSES)


class TrainingParserTest(tf.test.TestCase):
  def _params(self, **changes):
    params = configs.PseudoDataConfig(is_training=True, aug_rand_hflip=False)
    params.override(changes)
    return params

  def _parse(self, mask, params, size=32):
    parser = segmentation.TrainingParser(configs.small_nasfpn(CLASSES, size), params)
    image = np.random.default_rng(1).integers(0, 256, [*mask.shape, 3])
    example = {
      'image': tf.constant(image, tf.uint8),
      keys.SEMANTIC_MASK: tf.constant(mask, tf.uint8)[..., None],
      keys.SEED: tf.constant([3, 4], tf.int32),
    }
    return parser(example)

  def test_masks_are_enlarged_by_the_nearest_pixel_and_ignored_in_the_padding(self):
    image, labels = self._parse(_mask((8, 16)), self._params())
    expected = np.full([32, 32], IGNORE)
    expected[:16] = np.repeat(np.repeat(_mask((8, 16)), 2, 0), 2, 1)
    self.assertAllEqual(labels['masks'][..., 0], expected)
    self.assertAllEqual(image[16:], np.zeros([16, 32, 3]))
    self.assertEqual(list(labels), ['masks'])

  def test_output_size_takes_precedence_over_the_models(self):
    image, labels = self._parse(_mask((8, 16)), self._params(output_size=[64, 32]))
    self.assertEqual([image.shape, labels['masks'].shape], [[64, 32, 3], [64, 32, 1]])

  def test_named_policies_move_image_and_mask_together(self):
    # The object is the only bright thing, so its pixels can be found in the image.
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 5
    params = self._params(
      augmentation={'policy': 'S3', 'auto_augment': {'sub_policies': ['Rotate_BBox(1.0, 8)']}}
    )
    parser = segmentation.TrainingParser(configs.small_nasfpn(CLASSES, 64), params)
    for seed in range(4):
      example = {
        'image': tf.constant(np.repeat((mask > 0)[..., None] * 255, 3, -1), tf.uint8),
        keys.SEMANTIC_MASK: tf.constant(mask)[..., None],
        keys.SEED: tf.constant([seed, 9], tf.int32),
      }
      image, labels = parser(example)
      bright = image.numpy()[..., 1] > 1.5
      found = labels['masks'].numpy()[..., 0]
      known = found != IGNORE
      # Only pixels that bilinear sampling blends may differ: those along the object's edge.
      differs = (bright != (found == 5)) & known
      self.assertLess(differs.mean(), 0.06)
      self.assertGreater((found == 5).sum(), 50)


class EvaluationTest(tf.test.TestCase):
  def _params(self, **changes):
    params = configs.DataConfig(is_training=False)
    params.override(changes)
    return params

  def _examples(self, sizes):
    decode = segmentation.decoder(CLASSES)
    return [decode(_record(_mask(size), size)) for size in sizes]

  def test_labels_at_both_sizes(self):
    parse = segmentation.evaluation_parser(configs.small_nasfpn(CLASSES, 32), self._params())
    image, labels = parse(self._examples([(6, 8)])[0])
    self.assertEqual(image.shape, [32, 32, 3])
    self.assertAllEqual(labels['native_masks'][..., 0], _mask())
    self.assertAllEqual(labels['masks'][:24, :, 0], np.repeat(np.repeat(_mask(), 4, 0), 4, 1))
    self.assertAllEqual(labels['masks'][24:], np.full([8, 32, 1], IGNORE))
    self.assertAllEqual(labels['image_info'], [[6, 8], [32, 32], [4, 4], [0, 0]])

  def test_ids_follow_the_pixels(self):
    parse = segmentation.evaluation_parser(configs.small_nasfpn(CLASSES, 32), self._params())
    first, other = self._examples([(6, 8), (9, 7)])
    changed = {**first, 'image': first['image'] + 1}
    ids = [parse(example)[1][keys.IMAGE_ID] for example in (first, first, other, changed)]
    self.assertEqual([each.dtype for each in ids], [tf.int64] * 4)
    self.assertEqual(int(ids[0]), int(ids[1]))
    self.assertLen({int(each) for each in ids}, 3)

  def test_without_native_masks_shapes_are_fixed(self):
    params = self._params(evaluate_native=False)
    parse = segmentation.evaluation_parser(configs.small_nasfpn(CLASSES, 32), params)
    _, labels = parse(self._examples([(6, 8)])[0])
    self.assertEqual(sorted(labels), ['image_id', 'image_info', 'masks'])

  def test_batches_of_several_sizes_are_padded_with_ignored_pixels(self):
    sizes = [(6, 8), (9, 7), (8, 8)]
    parse = segmentation.evaluation_parser(configs.small_nasfpn(CLASSES, 32), self._params())
    serialized = [_record(_mask(size), size) for size in sizes]
    dataset = tf.data.Dataset.from_tensor_slices(serialized)
    dataset = dataset.map(lambda record: parse(segmentation.decoder(CLASSES)(record)))
    first, second = segmentation.batch_of_sizes(dataset, 2, drop_remainder=False)
    native = first[1]['native_masks'].numpy()[..., 0]
    self.assertEqual(native.shape, (2, 9, 8))
    self.assertAllEqual(native[0, :6], _mask((6, 8)))
    self.assertAllEqual(native[0, 6:], np.full([3, 8], IGNORE))
    self.assertAllEqual(native[1, :, 7], np.full([9], IGNORE))
    self.assertEqual(second[0].shape, [1, 32, 32, 3])

  def test_preprocessing_for_labels_equals_that_for_evaluation(self):
    record = segmentation.parse_record(tf.constant(_record(_mask())))
    preprocess = segmentation.inference_preprocessor((32, 32))
    found = preprocess(record[keys.IMAGE_ENCODED])
    parse = segmentation.evaluation_parser(configs.small_nasfpn(CLASSES, 32), self._params())
    image, labels = parse(self._examples([(6, 8)])[0])
    self.assertAllClose(found['image'], image)
    self.assertAllEqual(found['image_info'], labels['image_info'])
    self.assertEqual([int(found[keys.IMAGE_HEIGHT]), int(found[keys.IMAGE_WIDTH])], [6, 8])


if __name__ == '__main__':
  tf.test.main()
