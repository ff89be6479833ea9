"""Ids of images: made from the content, unique, and carried to the evaluator without loss."""

import contextlib
import io

import numpy as np
import tensorflow as tf
from official.vision.evaluation import coco_evaluator

from official_selftrain.configs import detection as configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import decoders, detection


def _record(image, source_id, classes=(1,), is_crowd=None):
  box = {keys.BOX_YMIN: 0.25, keys.BOX_XMIN: 0.25, keys.BOX_YMAX: 0.75, keys.BOX_XMAX: 0.75}
  feature = {
    name: tf.train.Feature(float_list=tf.train.FloatList(value=[edge] * len(classes)))
    for name, edge in box.items()
  }
  encoded = tf.io.encode_png(np.full([32, 32, 3], image, np.uint8)).numpy()
  feature[keys.IMAGE_ENCODED] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
  feature[keys.BOX_CLASS] = tf.train.Feature(int64_list=tf.train.Int64List(value=classes))
  if source_id is not None:
    ids = tf.train.BytesList(value=[source_id.encode()])
    feature[keys.SOURCE_ID] = tf.train.Feature(bytes_list=ids)
  if is_crowd is not None:
    feature[keys.BOX_IS_CROWD] = tf.train.Feature(int64_list=tf.train.Int64List(value=is_crowd))
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _decoder(regenerate=False):
  params = configs.DataConfig(is_training=False)
  params.override({'decoder': {'simple_decoder': {'regenerate_source_id': regenerate}}})
  return detection.build_decoder(params)


class ContentIdsTest(tf.test.TestCase):
  def test_are_the_low_bits_of_the_fingerprint(self):
    images = [b'', b'one', b'another']
    digests = tf.fingerprint(images).numpy().view(np.uint64)[:, 0]
    expected = [str(int(digest) % 2**53).encode() for digest in digests]
    self.assertEqual(decoders.content_ids(tf.constant(images)).numpy().tolist(), expected)
    self.assertGreater(max(map(int, expected)), 2**32)

  def test_do_not_collide(self):
    # 22 bits, as in the Model Garden, give 20,000 images 48 pairs with one id on average.
    images = [b'%d' % number for number in range(20_000)]
    ids = decoders.content_ids(tf.constant(images)).numpy().tolist()
    self.assertLen(set(ids), len(images))
    # Exact as a double, too.
    self.assertLen({float(image_id) for image_id in ids}, len(images))
    stock = tf.strings.to_hash_bucket_fast(images, 2**22 - 1).numpy().tolist()
    self.assertLess(len(set(stock)), len(images))


class DecoderTest(tf.test.TestCase):
  def test_own_id_is_kept_unless_it_is_to_be_made_anew(self):
    record = _record(7, '397133')
    made = decoders.content_ids(
      tf.io.parse_single_example(
        record, {keys.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
      )[keys.IMAGE_ENCODED][tf.newaxis]
    )[0]
    self.assertEqual(_decoder().decode(record)['source_id'], b'397133')
    self.assertEqual(_decoder(regenerate=True).decode(record)['source_id'], made)
    self.assertEqual(_decoder().decode(_record(7, ''))['source_id'], made)
    self.assertEqual(_decoder(regenerate=True).decode(_record(7, None))['source_id'], made)
    self.assertNotEqual(_decoder(regenerate=True).decode(_record(8, '1'))['source_id'], made)

  def test_the_rest_is_the_model_gardens(self):
    example = _decoder().decode(_record(7, '5', [1, 3], [0, 1]))
    self.assertAllEqual(example['image'], np.full([32, 32, 3], 7))
    self.assertAllEqual(example[keys.GROUNDTRUTH_CLASSES], [1, 3])
    self.assertAllEqual(example[keys.GROUNDTRUTH_BOXES], [[0.25, 0.25, 0.75, 0.75]] * 2)
    self.assertAllEqual(example[keys.GROUNDTRUTH_IS_CROWD], [False, True])

  def test_labels_without_images(self):
    records = tf.constant(
      [_record(7, '5', [1, 3], [0, 1]), _record(8, '', ()), _record(9, '6', [2])]
    )
    labels = _decoder().decode_labels(records)
    self.assertEqual(labels['source_id'][::2].numpy().tolist(), [b'5', b'6'])
    self.assertEqual(labels['source_id'][1], _decoder().decode(records[1])['source_id'])
    self.assertEqual(labels['classes'].to_list(), [[1, 3], [], [2]])
    self.assertEqual(labels['is_crowd'].to_list(), [[0, 1], [], []])


class EvaluationTest(tf.test.TestCase):
  def _evaluate(self, ids, regenerate=False):
    """AP of detections that are perfect, each in its own image, and the ids that the evaluator has seen."""
    model = configs.small_retinanet(num_classes=11, image_size=64)
    params = configs.DataConfig(is_training=False)
    decode, parse = _decoder(regenerate).decode, detection.evaluation_parser(model, params)
    # Each image has one class of its own, so that a box that lands in another image is wrong.
    records = [_record(i, image_id, [1 + i]) for i, image_id in enumerate(ids)]
    dataset = tf.data.Dataset.from_tensor_slices(records).map(lambda each: parse(decode(each)))
    evaluator = coco_evaluator.COCOEvaluator(annotation_file='', include_mask=False)
    for _, labels in dataset.batch(2):
      truth = labels['groundtruths']
      evaluator.update_state(
        truth,
        {
          'source_id': truth['source_id'],
          'image_info': labels['image_info'],
          'num_detections': tf.ones_like(truth['source_id']),
          'detection_boxes': truth['boxes'][:, :1] * labels['image_info'][:, 2:3, :1],
          'detection_classes': truth['classes'][:, :1],
          'detection_scores': tf.fill([len(truth['source_id']), 1], 0.9),
        },
      )
    with contextlib.redirect_stdout(io.StringIO()):
      average = evaluator.evaluate()['AP']
    # The Model Garden's evaluator holds them as they came.
    seen = np.concatenate(evaluator._predictions['source_id'])
    return float(average), seen

  def test_large_ids_are_exact(self):
    # Neighbours above 2^24 are one number in float32, those above 2^53 one in float64.
    ids = [2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1]
    average, seen = self._evaluate([str(image_id) for image_id in ids])
    self.assertEqual(seen.dtype, np.int64)
    self.assertEqual(seen.tolist(), ids)
    self.assertAlmostEqual(average, 1.0, places=6)

  def test_ids_made_from_images(self):
    average, seen = self._evaluate(['1'] * 6, regenerate=True)
    self.assertLen(set(seen.tolist()), 6)
    self.assertAlmostEqual(average, 1.0, places=6)


if __name__ == '__main__':
  tf.test.main()
