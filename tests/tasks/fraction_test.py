"""A task that trains on a fraction of its labelled images, which other steps and seeds of the run do not change."""

import contextlib
import io
import os

import numpy as np
import tensorflow as tf

from official_selftrain.configs import detection as detection_configs
from official_selftrain.configs import segmentation as segmentation_configs
from official_selftrain.core import console, splits
from official_selftrain.datasets import tf_examples
from official_selftrain.tasks import contract, stream_specs

# They register the classes of the tasks.
from official_selftrain.tasks import detection as _detection_tasks  # noqa: F401
from official_selftrain.tasks import segmentation as _segmentation_tasks  # noqa: F401

SIZE = 32
NUM_CLASSES = 4
NUM_IMAGES = 10


def _record(number):
  """A grey image, whose shade says which it is, with one object."""
  mask = np.zeros([1, SIZE, SIZE], bool)
  mask[0, 4:20, 8:24] = True
  objects = tf_examples.Instances(np.array([1]), np.array([[4, 8, 20, 24]]), mask)
  image = np.full([SIZE, SIZE, 3], 20 * number, np.uint8)
  features = tf_examples.image_features(image, number)
  return tf_examples.serialize(features | tf_examples.annotation_features(objects))


def _detection():
  model = detection_configs.DetectionModel(
    num_classes=NUM_CLASSES, input_size=[SIZE, SIZE, 3], min_level=3, max_level=4
  )
  return detection_configs.DetectionSelfTrainingTask(model=model)


def _segmentation():
  model = segmentation_configs.small_nasfpn(NUM_CLASSES, SIZE)
  return segmentation_configs.SegmentationSelfTrainingTask(model=model)


class FractionTest(tf.test.TestCase):
  def _shades(self, config, **start):
    """The images of two epochs, in the order in which they are trained on."""
    task = contract.make(config, start=stream_specs.Start(**start))
    images = [batch[0].numpy() for batch in task.build_inputs(config.train_data).take(8)]
    # The parsers pad and standardise, and keep which of two images is lighter.
    centres = [image[0, 8, 8].mean() for image in images]
    return [float(np.round(centre, 3)) for centre in centres]

  def test_the_same_images_for_every_seed_and_step(self):
    path = os.path.join(self.create_tempdir().full_path, 'data.tfrecord')
    with tf.io.TFRecordWriter(path) as writer:
      for number in range(NUM_IMAGES):
        writer.write(_record(number))
    drawn = splits.ranking([str(number) for number in range(NUM_IMAGES)], 5)[:4]
    for make in (_detection, _segmentation):
      config = make().supervised()
      config.train_data.input_path, config.train_data.global_batch_size = path, 1
      config.train_data.override({'fraction': 0.4, 'fraction_seed': 5})
      shades = self._shades(config)
      self.assertLen(set(shades), 4)
      self.assertEqual(sorted(shades[:4]), sorted(shades[4:]))
      console.note_once.cache_clear()
      with contextlib.redirect_stderr(io.StringIO()) as said:
        for start in ({'seed': 1}, {'family': 1}, {'step': 3}):
          self.assertEqual(set(self._shades(config, **start)), set(shades))
      self.assertEqual(said.getvalue().count('4 images, a fraction of 0.4 drawn with seed 5'), 1)
      config.train_data.override({'fraction': 1.0})
      everything = self._shades(config, step=10) + self._shades(config, step=14)
      ranked = sorted(set(everything))
      self.assertLen(ranked, NUM_IMAGES)
      self.assertEqual(sorted(set(shades)), [ranked[int(name)] for name in sorted(drawn, key=int)])

  def test_images_that_people_corrected_are_added_whole(self):
    folder = self.create_tempdir().full_path
    for name, numbers in (('data', range(5)), ('corrected', (8, 9))):
      with tf.io.TFRecordWriter(os.path.join(folder, name)) as writer:
        for number in numbers:
          writer.write(_record(number))
    config = _detection().supervised()
    config.train_data.input_path = os.path.join(folder, 'data')
    config.train_data.global_batch_size = 1
    config.train_data.override(
      {'fraction': 0.4, 'corrected_path': os.path.join(folder, 'corrected')}
    )
    few = set(self._shades(config))
    self.assertLen(few, 4)
    config.train_data.override({'fraction': 1.0})
    all_shades = {*self._shades(config), *self._shades(config, step=6)}
    self.assertLen(all_shades, 7)
    # The lightest two are those that people corrected.
    self.assertLess(set(sorted(all_shades)[-2:]), few)


if __name__ == '__main__':
  tf.test.main()
