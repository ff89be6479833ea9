"""Tests for tf.Examples, TFRecord shards and COCO JSON."""

import hashlib
import io
import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask

from official_selftrain.core import keys
from official_selftrain.datasets import tf_examples


def _instances() -> tf_examples.Instances:
  """Two objects in an image of 4 x 5 pixels: an L of class 3, a single pixel of class 7."""
  masks = np.zeros((2, 4, 5), dtype=bool)
  masks[0, 1:3, 1] = True
  masks[0, 2, 2:4] = True
  masks[1, 0, 4] = True
  boxes = np.array([[1, 1, 3, 4], [0, 4, 1, 5]])
  return tf_examples.Instances(classes=np.array([3, 7]), boxes=boxes, masks=masks)


def _decode_png(content: bytes) -> np.ndarray:
  return np.asarray(Image.open(io.BytesIO(content)))


class InstancesTest(tf.test.TestCase):
  def test_tight_box(self):
    instances = _instances()
    for mask, box in zip(instances.masks, instances.boxes, strict=True):
      self.assertEqual(tf_examples.tight_box(mask), tuple(box))

  def test_empty_mask_has_no_box(self):
    with self.assertRaisesRegex(ValueError, 'An empty mask has no box'):
      tf_examples.tight_box(np.zeros((2, 2), dtype=bool))

  def test_areas_and_class_map(self):
    instances = _instances()
    self.assertAllEqual(instances.areas, [4, 1])
    expected = [[0, 0, 0, 0, 7], [0, 3, 0, 0, 0], [0, 3, 3, 3, 0], [0, 0, 0, 0, 0]]
    self.assertAllEqual(instances.class_map(), expected)
    self.assertEqual(instances.class_map().dtype, np.uint8)


class FeaturesTest(tf.test.TestCase):
  def test_image_features(self):
    image = np.full((16, 24, 3), [200, 100, 50], dtype=np.uint8)
    features = tf_examples.image_features(image, 1_000_001)
    self.assertEqual(
      set(features), {'image/encoded', 'image/height', 'image/width', 'image/source_id'}
    )
    self.assertEqual(features['image/height'].int64_list.value, [16])
    self.assertEqual(features['image/width'].int64_list.value, [24])
    self.assertEqual(features['image/source_id'].bytes_list.value, [b'1000001'])
    decoded = tf.io.decode_jpeg(features['image/encoded'].bytes_list.value[0])
    self.assertAllClose(tf.cast(decoded, tf.float32), image.astype(np.float32), atol=3.0)

  def test_image_file_is_stored_unchanged(self):
    features = tf_examples.encoded_image_features(b'any bytes', 20, 30, '2007_000032')
    found = {
      name: (*each.bytes_list.value, *each.int64_list.value) for name, each in features.items()
    }
    expected = {
      'image/encoded': (b'any bytes',),
      'image/height': (20,),
      'image/width': (30,),
      'image/source_id': (b'2007_000032',),
    }
    self.assertEqual(found, expected)

  def test_class_map_features(self):
    class_map = np.array([[0, 20, 255], [1, 2, 3]], np.uint8)
    (name, feature), *others = tf_examples.class_map_features(class_map).items()
    self.assertEqual((name, others), ('image/segmentation/class/encoded', []))
    self.assertAllEqual(tf.io.decode_png(*feature.bytes_list.value)[..., 0], class_map)

  def test_annotation_features(self):
    features = tf_examples.annotation_features(_instances())
    floats = {name: list(feature.float_list.value) for name, feature in features.items()}
    self.assertAllClose(floats['image/object/bbox/ymin'], [0.25, 0.0])
    self.assertAllClose(floats['image/object/bbox/xmin'], [0.2, 0.8])
    self.assertAllClose(floats['image/object/bbox/ymax'], [0.75, 0.25])
    self.assertAllClose(floats['image/object/bbox/xmax'], [0.8, 1.0])
    self.assertEqual(floats['image/object/area'], [4.0, 1.0])
    self.assertEqual(features['image/object/class/label'].int64_list.value, [3, 7])
    self.assertEqual(features['image/object/is_crowd'].int64_list.value, [0, 0])
    pngs = features['image/object/mask'].bytes_list.value
    self.assertAllEqual([_decode_png(png) for png in pngs], _instances().masks.astype(np.uint8))
    (class_map,) = features['image/segmentation/class/encoded'].bytes_list.value
    self.assertAllEqual(_decode_png(class_map), _instances().class_map())

  def test_same_features_same_bytes(self):
    features = tf_examples.annotation_features(_instances())
    backwards = dict(reversed(features.items()))
    self.assertEqual(tf_examples.serialize(features), tf_examples.serialize(backwards))


class WithImageTest(tf.test.TestCase):
  """An image that is put into serialized features, at sizes around those whose lengths take another byte."""

  SIZES = (0, 1, 100, 127, 128, 16383, 16384, 1 << 21, (1 << 21) + 5)

  def features(self, count: int) -> dict[str, tf.train.Feature]:
    return {
      **tf_examples.size_features(3, 5, 'x' * count),
      'more': tf_examples.text_feature('a', 'é'),
    }

  def test_protocol_buffers_and_tensorflow_read_it(self):
    spec = {
      keys.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
      keys.IMAGE_HEIGHT: tf.io.FixedLenFeature([], tf.int64),
      'more': tf.io.FixedLenFeature([2], tf.string),
    }
    for size in self.SIZES:
      encoded = bytes(range(256)) * (size // 256) + bytes(size % 256)
      features = self.features(size % 200)
      record = tf_examples.with_image(tf_examples.serialize_features(features), encoded)
      example = tf.train.Example.FromString(record)
      self.assertEqual(
        dict(example.features.feature),
        {
          **features,
          keys.IMAGE_ENCODED: tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
        },
      )
      parsed = tf.io.parse_single_example(record, spec)
      self.assertEqual(parsed[keys.IMAGE_ENCODED].numpy(), encoded)
      self.assertEqual(parsed[keys.IMAGE_HEIGHT].numpy(), 3)
      self.assertEqual(parsed['more'].numpy()[1].decode(), 'é')

  def test_the_digest_of_records_is_that_of_their_parts(self):
    made, read = tf_examples.RecordsDigest(), tf_examples.RecordsDigest()
    for number, encoded in enumerate((b'abc', b'')):
      serialized = tf_examples.serialize_features(self.features(number))
      made.add(serialized, hashlib.sha256(encoded).digest())
      read.add_record(tf_examples.with_image(serialized, encoded))
      self.assertEqual(made.hexdigest(), read.hexdigest())

  def test_the_digest_changes_with_image_features_and_order(self):
    def digest(*records: tuple[int, bytes]) -> str:
      made = tf_examples.RecordsDigest()
      for number, encoded in records:
        serialized = tf_examples.serialize_features(self.features(number))
        made.add_record(tf_examples.with_image(serialized, encoded))
      return made.hexdigest()

    a, b = (1, b'abc'), (2, b'abd')
    others = [(), (a,), (b,), (a, b), (b, a), (a, a), ((1, b'abd'),), ((2, b'abc'),)]
    self.assertLen({digest(*each) for each in others}, len(others))


class ShardTest(tf.test.TestCase):
  def test_pattern_matches_the_shards_of_one_division_only(self):
    names = [tf_examples.shard_name('train', shard, 2) for shard in range(2)]
    self.assertEqual(names, ['train-00000-of-00002.tfrecord', 'train-00001-of-00002.tfrecord'])
    root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    others = [names[0] + '.tmp', tf_examples.shard_name('train', 2, 3), 'validation' + names[0][5:]]
    for name in (*names, *others):
      (root / name).touch()
    found = tf.io.gfile.glob(str(root / tf_examples.shard_pattern('train', 2)))
    self.assertEqual(sorted(os.path.basename(path) for path in found), names)

  def test_shard_holds_the_examples_in_order(self):
    path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / 'new' / 'a.tfrecord'
    tf_examples.write_shard(path, iter([b'one', b'two']))
    self.assertEqual(list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()), [b'one', b'two'])
    self.assertEqual([entry.name for entry in path.parent.iterdir()], ['a.tfrecord'])

  def test_shard_does_not_appear_when_its_writing_fails(self):
    def examples():
      yield b'one'
      raise KeyboardInterrupt

    path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / 'a.tfrecord'
    with self.assertRaises(KeyboardInterrupt):
      tf_examples.write_shard(path, examples())
    self.assertFalse(path.exists())


class CocoAnnotationsTest(tf.test.TestCase):
  def test_json_of_two_images(self):
    collected = tf_examples.CocoAnnotations(('background', 'a', 'b'))
    collected.add(11, _instances())
    collected.add(12, _instances())
    content = collected.as_dict()
    self.assertEqual(content['categories'], [{'id': 1, 'name': 'a'}, {'id': 2, 'name': 'b'}])
    image = {'id': 12, 'height': 4, 'width': 5, 'file_name': '000000000012.jpg'}
    self.assertEqual(content['images'][1], image)
    annotations = content['annotations']
    self.assertEqual([annotation['id'] for annotation in annotations], [1, 2, 3, 4])
    self.assertEqual([annotation['image_id'] for annotation in annotations], [11, 11, 12, 12])
    self.assertEqual(annotations[0]['bbox'], [1, 1, 3, 2])
    self.assertEqual(annotations[1]['bbox'], [4, 0, 1, 1])
    self.assertEqual([annotation['area'] for annotation in annotations[:2]], [4, 1])
    self.assertEqual([annotation['category_id'] for annotation in annotations[:2]], [3, 7])
    self.assertEqual({annotation['iscrowd'] for annotation in annotations}, {0})
    mask = coco_mask.decode(annotations[0]['segmentation'])
    self.assertAllEqual(mask, _instances().masks[0].astype(np.uint8))


class KeysTest(tf.test.TestCase):
  def test_annotation_features_are_disjoint_from_image_features(self):
    image = tf_examples.image_features(np.zeros((4, 5, 3), np.uint8), 1)
    annotations = tf_examples.annotation_features(_instances())
    self.assertEmpty(set(image) & set(annotations))
    self.assertIn(keys.BOX_MASK, annotations)


if __name__ == '__main__':
  tf.test.main()
