"""The images on which cuts are calibrated: none that the teacher learns from, and their truth as COCO JSON."""

import os
from unittest import mock

import numpy as np
import pycocotools.mask
import tensorflow as tf

from official_selftrain.core import config, errors, keys
from official_selftrain.dataloaders import decoders, fractions
from official_selftrain.datasets import tf_examples
from official_selftrain.pipeline import calibrating, jobs
from official_selftrain.pipeline.selftrain_graph import CALIBRATION_TEACHER, CONTROL, TEACHER
from tests.testing import records, tiny_run


def _ids(path_parts):
  """Ids of drawn records."""
  files = fractions.PartFiles(path_parts)
  drawn = [each for part in files.elements for each in files.open(tf.constant(part), 0)]
  return [records.parse(each.numpy())[keys.SOURCE_ID][0] for each in drawn]


def _record(source_id):
  """A serialized image without objects."""
  features = tf_examples.image_features(np.zeros([8, 16, 3], np.uint8), 5)
  features[keys.SOURCE_ID] = tf.train.Feature(bytes_list={'value': [source_id]})
  return tf_examples.serialize(features)


class HeldOutTest(tf.test.TestCase):
  def make(self, override):
    """Jobs of a run in a folder of its own, and the files of the labelled images."""
    folder = self.create_tempdir().full_path
    params = tiny_run.load(override=f'task.pseudo_data.cut=calibrated,{override}').replace()
    params.task.train_data.input_path = tiny_run.data().train
    made = jobs.Jobs(params, folder)
    os.makedirs(made.calibration_dir)
    return made, sorted(tf.io.gfile.glob(tiny_run.data().train))

  def test_their_teacher_learns_from_none_of_them_and_all_others_from_all(self):
    for override, total, held in (
      ('calibration.share=0.25', 8, 2),
      ('calibration.share=0.5,task.train_data.fraction=0.5,task.train_data.fraction_seed=3', 4, 2),
    ):
      made, paths = self.make(override)
      path = calibrating._write_held_out(paths, made)
      found = [
        records.parse(each.numpy())[keys.SOURCE_ID][0] for each in tf.data.TFRecordDataset(path)
      ]
      self.assertLen(found, held)
      learned = {}
      for kind in (CALIBRATION_TEACHER, TEACHER, CONTROL):
        train = made.make(kind).params.task.train_data
        learned[kind] = _ids(fractions.choose(paths, train.fraction, train.fraction_seed))
      self.assertEmpty(set(found) & set(learned[CALIBRATION_TEACHER]))
      self.assertCountEqual([*found, *learned[CALIBRATION_TEACHER]], learned[CONTROL])
      self.assertCountEqual(learned[TEACHER], learned[CONTROL])
      self.assertLen(learned[CONTROL], total)

  def test_too_few_to_hold_out(self):
    made, paths = self.make('calibration.share=0.01')
    with self.assertRaisesRegex(
      errors.DataError, 'share of 0.01 holds out none of 8 labelled images'
    ):
      calibrating._write_held_out(paths, made)

  def test_their_teacher_differs_in_nothing_else(self):
    made, _ = self.make('calibration.share=0.25,teacher.global_batch_size=3')
    jobs_made = made.make(TEACHER), made.make(CALIBRATION_TEACHER)
    own, other = (config.flatten(job.params) for job in jobs_made)
    differing = {name: (own[name], other[name]) for name in own if own[name] != other[name]}
    self.assertEqual(differing, {'task.train_data.fraction': (1.0, 0.75)})
    self.assertEqual([(job.seed, job.family) for job in jobs_made], [(made.params.seed, 1)] * 2)
    self.assertEqual([job.name for job in jobs_made], ['teacher', 'calibration_teacher'])

  def test_cuts_get_into_the_task_of_the_student(self):
    made, _ = self.make('calibration.share=0.25,task.pseudo_data.ignore_cut=0.1')
    self.assertEqual(made.task().pseudo_data.cut, 'calibrated')
    found = mock.Mock(cut=0.4, ignore_cut=0.2)
    found.class_cuts.return_value = [0.3] * 10
    with mock.patch.object(jobs.calibration, 'load', return_value=found):
      pseudo = made.task().pseudo_data
    self.assertEqual((pseudo.cut, pseudo.ignore_cut, pseudo.class_cuts), (0.4, 0.2, [0.3] * 10))


class RepeatedIdsTest(tf.test.TestCase):
  def test_held_out_images_get_ids_of_their_own(self):
    names = (b'a', b'b', b'a', b'', b'a', b'', b'a:2')
    given = [_record(name) for name in names]
    found = list(calibrating._with_own_ids(given))
    ids = [records.parse(each)[keys.SOURCE_ID][0] for each in found]
    self.assertEqual(ids, [b'a', b'b', b'a:2', b'', b'a:4', b'', b'a:2:6'])
    self.assertEqual([found[n] for n in (0, 1, 3, 5)], [given[n] for n in (0, 1, 3, 5)])
    self.assertEqual(
      records.parse(found[2])[keys.IMAGE_ENCODED], records.parse(given[2])[keys.IMAGE_ENCODED]
    )

  def test_with_labels_from_elsewhere_they_are_an_error(self):
    path = os.path.join(self.create_tempdir().full_path, 'a.tfrecord')
    tf_examples.write_shard(path, [_record(name) for name in (b'a', b'b', b'a')])
    with self.assertRaisesRegex(
      errors.DataError, "^a.tfrecord:2 has the id 'a', and so has an earlier labelled image"
    ):
      calibrating._truth([path], 3, decoders.BoxDecoder())


class TruthTest(tf.test.TestCase):
  def truth(self, decoder):
    """Of an image of 8 x 16 pixels with a box of class 2, a crowd of class 1, and a mask."""
    mask = np.zeros([8, 16], np.uint8)
    mask[:2], mask[7] = 2, keys.IGNORE_LABEL
    features = tf_examples.image_features(np.zeros([8, 16, 3], np.uint8), 5)
    edges = np.array([[0.0, 0.0, 0.5, 0.25], [0.5, 0.5, 1.0, 1.0]])
    features |= tf_examples.box_features(
      edges, np.array([2, 1]), np.array([0, 1]), np.array([16.0, 32.0])
    )
    features |= tf_examples.class_map_features(mask)
    texts = {'bytes_list': {'value': [b'dog', b'cat']}}
    features |= {keys.BOX_CLASS_NAME: tf.train.Feature(**texts)}
    path = os.path.join(self.create_tempdir().full_path, 'a.tfrecord')
    tf_examples.write_shard(path, [tf_examples.serialize(features)])
    return calibrating._truth([path], 3, decoder)

  def test_boxes(self):
    truth = self.truth(decoders.BoxDecoder())
    self.assertEqual(truth['images'], [{'id': '5', 'height': 8, 'width': 16}])
    common = {'image_id': '5'}
    self.assertEqual(
      truth['annotations'],
      [
        {
          **common,
          'id': 1,
          'category_id': 2,
          'bbox': [0.0, 0.0, 4.0, 4.0],
          'area': 16.0,
          'iscrowd': 0,
        },
        {
          **common,
          'id': 2,
          'category_id': 1,
          'bbox': [8.0, 4.0, 8.0, 4.0],
          'area': 32.0,
          'iscrowd': 1,
        },
      ],
    )

  def test_classes_of_a_label_map(self):
    label_map = os.path.join(self.create_tempdir().full_path, 'map.csv')
    with open(label_map, 'w', encoding='utf-8') as lines:
      lines.write('1,dog\n2,cat\n')
    found = self.truth(decoders.LabelMapDecoder(label_map))['annotations']
    self.assertEqual([(a['category_id'], a['iscrowd']) for a in found], [(1, 0), (2, 1)])

  def test_images_that_cannot_be_decoded_are_left_out_where_training_leaves_them_out(self):
    good = tf_examples.image_features(np.zeros([8, 16, 3], np.uint8), 5)
    bad = good | {keys.IMAGE_ENCODED: tf.train.Feature(bytes_list={'value': [b'none']})}
    path = os.path.join(self.create_tempdir().full_path, 'a.tfrecord')
    tf_examples.write_shard(path, [tf_examples.serialize(each) for each in (bad, good)])
    with self.assertRaises(tf.errors.InvalidArgumentError):
      calibrating._truth([path], 3, decoders.BoxDecoder())
    found = calibrating._truth([path], 3, decoders.BoxDecoder(), is_tolerant=True)
    self.assertEqual([each['id'] for each in found['images']], ['5'])
    # Nor is an image without a mask one in which nothing is.
    bad_mask = tf.train.Feature(bytes_list={'value': [b'none']})
    tf_examples.write_shard(
      path, [tf_examples.serialize(good | {keys.SEGMENTATION_MASK: bad_mask})]
    )
    self.assertEqual(calibrating._truth([path], 3, None, is_tolerant=True)['images'], [])

  def test_masks(self):
    found = self.truth(None)['annotations']
    self.assertEqual(
      [(a['category_id'], a['iscrowd'], a['area']) for a in found], [(2, 0, 32), (1, 1, 16)]
    )
    pixels = pycocotools.mask.decode(found[0]['segmentation'])
    self.assertAllEqual(np.flatnonzero(pixels.any(axis=1)), [0, 1])


if __name__ == '__main__':
  tf.test.main()
