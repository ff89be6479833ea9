"""What `skip_errors` leaves out, and what stops a run all the same: both tasks, training and validation."""

import os

import numpy as np
import tensorflow as tf

from official_selftrain import registry_imports  # noqa: F401
from official_selftrain.configs import detection as detection_configs
from official_selftrain.configs import segmentation as segmentation_configs
from official_selftrain.core import errors, keys
from official_selftrain.datasets import tf_examples
from official_selftrain.pipeline import data
from official_selftrain.tasks import contract
from tests.testing import damage

SIZE = 32
NUM_CLASSES = 4
STREAMS = ('train_data', 'validation_data')


def _record(number, class_id=1):
  """An image of one object; a class id of `NUM_CLASSES` or more is outside the model's."""
  mask = np.zeros([1, SIZE, SIZE], bool)
  mask[0, 4:20, 8:24] = True
  objects = tf_examples.Instances(np.array([class_id]), np.array([[4, 8, 20, 24]]), mask)
  image = np.full([SIZE, SIZE, 3], 10 * number, np.uint8)
  features = tf_examples.image_features(image, number)
  return tf_examples.serialize(features | tf_examples.annotation_features(objects))


def _changed(record, name):
  """The record with bytes that are no image."""
  example = tf.train.Example.FromString(record)
  example.features.feature[name].bytes_list.value[:] = [b'no image at all']
  return example.SerializeToString()


def _detection():
  model = detection_configs.DetectionModel(
    num_classes=NUM_CLASSES, input_size=[SIZE, SIZE, 3], min_level=3, max_level=4
  )
  return detection_configs.DetectionSelfTrainingTask(model=model).supervised()


def _segmentation():
  model = segmentation_configs.small_nasfpn(NUM_CLASSES, SIZE)
  return segmentation_configs.SegmentationSelfTrainingTask(model=model).supervised()


class SkipErrorsTest(tf.test.TestCase):
  def _task(self, make, records, skip_errors=True):
    """A task whose labelled streams both read these records."""
    self.path = os.path.join(self.create_tempdir().full_path, 'data.tfrecord')
    damage.write(self.path, records)
    config = make()
    for name in STREAMS:
      stream = getattr(config, name)
      stream.input_path, stream.global_batch_size, stream.skip_errors = self.path, 1, skip_errors
      stream.drop_remainder = False
    config.validation_data.is_training = False
    return contract.make(config)

  def _read(self, task, name, count):
    batches = task.build_inputs(getattr(task.task_config, name)).take(count)
    return [images.numpy() for images, _ in batches]

  def test_what_cannot_be_decoded_is_left_out(self):
    for make in (_detection, _segmentation):
      broken = [_changed(_record(2), keys.IMAGE_ENCODED), b'no example']
      if make is _segmentation:
        broken.append(_changed(_record(3), keys.SEGMENTATION_MASK))
      task = self._task(make, [*broken, _record(0), _record(1)])
      self.assertLen(self._read(task, 'validation_data', 9), 2)
      self.assertLen(self._read(task, 'train_data', 5), 5)
      self.assertIsNone(data.check_first_records(task))
      for name in STREAMS:
        params = getattr(task.task_config, name)
        self.assertIsNone(task.find_bad_record(params, name))

  def test_labels_that_do_not_fit_stop_the_run(self):
    for make in (_detection, _segmentation):
      task = self._task(make, [_record(0), _record(1, class_id=9)])
      self.assertIsNone(data.check_first_records(task))
      for name in STREAMS:
        with self.subTest(task=make.__name__, stream=name):
          with self.assertRaisesRegex(tf.errors.InvalidArgumentError, r'num_classes is 4'):
            self._read(task, name, 6)
          found = task.find_bad_record(getattr(task.task_config, name), name)
          self.assertRegex(found, r'data\.tfrecord, record 1: .*\[9\]\. Repair or remove it\.$')

  def test_a_mask_of_another_kind_stops_the_run(self):
    image = tf_examples.image_features(np.zeros([SIZE, SIZE, 3], np.uint8), 5)
    small = tf_examples.class_map_features(np.zeros([SIZE, SIZE - 1], np.uint8))
    colours = np.zeros([SIZE, SIZE, 3], np.uint8)
    coloured = image | tf_examples.class_map_features(colours)
    cases = {'is missing': image, 'size of its image': image | small, '8 bits of grey': coloured}
    for pattern, features in cases.items():
      with self.subTest(pattern):
        task = self._task(_segmentation, [_record(0), tf_examples.serialize(features)])
        for name in STREAMS:
          with self.assertRaisesRegex(tf.errors.InvalidArgumentError, pattern):
            self._read(task, name, 6)

  def test_wrong_labels_are_refused_at_the_start(self):
    for make in (_detection, _segmentation):
      broken = _changed(_record(2), keys.IMAGE_ENCODED)
      task = self._task(make, [broken, _record(0, class_id=9)])
      with self.assertRaisesRegex(
        errors.DataError, r'^task\.validation_data: .*record 1: .*num_classes is 4.*\[9\]'
      ):
        data.check_first_records(task)

  def test_a_stream_of_which_nothing_is_left_is_refused_instead_of_waiting_forever(self):
    broken = _changed(_record(2), keys.IMAGE_ENCODED)
    for make in (_detection, _segmentation):
      task = self._task(make, [broken, broken])
      with self.assertRaisesRegex(
        errors.DataError,
        r'^task\.validation_data: no record can be read and decoded, so skip_errors leaves nothing: '
        r'.*data\.tfrecord, record 0: ',
      ):
        data.check_first_records(task)
      damage.write(self.path, [_record(0), _record(1)])
      damage.break_checksum(self.path, 0)
      with self.assertRaisesRegex(errors.DataError, r'nothing: .*record 0: corrupted record'):
        data.check_first_records(task)

  def test_skip_errors_is_offered_only_where_it_helps(self):
    for make in (_detection, _segmentation):
      broken = _changed(_record(2), keys.IMAGE_ENCODED)
      for bad, offered in ((broken, True), (_record(0, class_id=9), False)):
        task = self._task(make, [_record(0), bad], skip_errors=False)
        found = task.find_bad_record(task.task_config.train_data, 'train_data')
        self.assertRegex(found, r'record 1: .* Repair or remove it')
        self.assertEqual('set task.train_data.skip_errors to leave' in found, offered)


if __name__ == '__main__':
  tf.test.main()
