"""What a task in training shows: boxes and masks, names and confusions, from results that are known."""

import types

import numpy as np
import tensorflow as tf

from official_selftrain.configs import detection as detection_configs
from official_selftrain.configs import segmentation as segmentation_configs
from official_selftrain.core import keys
from official_selftrain.dataloaders import segmentation as mask_parsing
from official_selftrain.ops import images
from official_selftrain.presentation import box_pictures, mask_pictures, task_pictures

NAMES = ('cat', 'dog')
# Of categories 1 and 2: image 7 has a cat that is found, and another one taken for a dog; of image 9 nothing is found.
IOUS = np.array([0.5, 0.75])
TALLIES = {
  'image_ids': np.array([7, 9]),
  'category_ids': np.array([1, 2]),
  'iou_thresholds': IOUS,
  'image': np.array([0, 0, 0], np.int32),
  'category': np.array([0, 0, 1], np.int32),
  'score': np.array([0.75, 0.125, 0.5], np.float32),
  'matched': np.array([[True, True], [False, False], [False, False]]),
  'ignored': np.zeros([3, 2], bool),
  'true_image': np.array([0, 0, 1], np.int32),
  'true_category': np.array([0, 0, 1], np.int32),
}
BOXES = {
  'box': np.array([[0, 0, 4, 4], [0, 0, 1, 1], [4, 4, 8, 8]], np.float32),
  'true_box': np.array([[0, 0, 4, 4], [4, 4, 8, 8], [2, 2, 6, 6]], np.float32),
}


class RegistryTest(tf.test.TestCase):
  def test_by_the_config_of_the_task_or_its_parents(self):
    for config, kind in (
      (detection_configs.DetectionTask(), box_pictures.DetectionPictures),
      (detection_configs.DetectionSelfTrainingTask(), box_pictures.DetectionPictures),
      (segmentation_configs.SegmentationSelfTrainingTask(), mask_pictures.SegmentationPictures),
    ):
      self.assertIs(type(task_pictures.of(types.SimpleNamespace(), config)), kind)

  def test_other_tasks_have_none(self):
    self.assertIsNone(task_pictures.of(types.SimpleNamespace(), object()))


class _FakeDetection(types.SimpleNamespace):
  """Records are image ids; every image is 8 x 8 and grey."""

  class_names = NAMES

  def decoded_validation_example(self, record):
    boxes = {7: [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], 9: [[0.25, 0.25, 0.75, 0.75]]}
    classes = {7: [1, 1], 9: [2]}
    return {
      'image': tf.fill([8, 8, 3], tf.constant(90, tf.uint8)),
      'source_id': tf.constant(str(record)),
      keys.GROUNDTRUTH_BOXES: tf.constant(boxes.get(record, [[0.0] * 4]), tf.float32),
      keys.GROUNDTRUTH_CLASSES: tf.constant(classes.get(record, [1]), tf.int64),
    }

  def evaluation_tallies(self):
    return self.tallies

  def evaluation_boxes(self):
    return BOXES


class DetectionTest(tf.test.TestCase):
  def _shown(self, tallies=TALLIES, records=(9, 7, 5)):
    shown = box_pictures.DetectionPictures(_FakeDetection(tallies=tallies))
    shown.watch(map(shown.task.decoded_validation_example, records))
    return shown

  def test_findings_are_truth_and_boxes_of_some_score(self):
    # Image 5 was not evaluated.
    (of_missed, missed), (truth, found) = self._shown().findings()

    def rows(tile):
      return [(b.kind, b.label, b.score, (b.ymin, b.xmin, b.ymax, b.xmax)) for b in tile.boxes]

    self.assertEqual(
      rows(truth),
      [('truth', 'cat', None, (0, 0, 4, 4)), ('truth', 'cat', None, (4, 4, 8, 8))],
    )
    # The least sure first, and none below 0.3.
    self.assertEqual(
      rows(found),
      [('student', 'dog', 0.5, (4, 4, 8, 8)), ('student', 'cat', 0.75, (0, 0, 4, 4))],
    )
    self.assertEqual([box.label for box in of_missed.boxes], ['dog'])
    self.assertEmpty(missed.boxes)

  def test_confusion_begins_with_what_is_no_object(self):
    confusion = self._shown().confusion({})
    self.assertEqual(confusion.names, ('none', 'cat', 'dog'))
    self.assertAllEqual(confusion.counts, [[0, 0, 0], [0, 1, 1], [1, 0, 0]])

  def test_curves_have_names(self):
    curves = self._shown().curves(np.array([0.0, 0.5]))
    self.assertCountEqual(curves, NAMES)
    self.assertAllEqual(curves['cat'].right, [1, 1])
    self.assertAllEqual(curves['cat'].wrong, [1, 0])

  def test_before_the_first_evaluation_there_is_nothing(self):
    shown = self._shown(tallies={})
    self.assertEqual((shown.findings(), shown.confusion({}), shown.curves(IOUS)), ([], None, {}))

  def test_inputs_show_the_boxes_of_their_targets(self):
    model = detection_configs.small_retinanet(num_classes=3, image_size=32)
    task = _FakeDetection(task_config=types.SimpleNamespace(model=model))
    anchors = {'3': (4, 4), '4': (2, 2), '5': (1, 1)}
    each = model.anchor.num_scales * len(model.anchor.aspect_ratios)
    count = each * sum(h * w for h, w in anchors.values())
    # The first anchor learns itself, as a dog.
    weights = np.zeros([1, count], np.float32)
    weights[0, 0] = 1
    labels = {
      'box_weights': tf.constant(weights),
      'box_targets': {k: tf.zeros([1, h, w, each * 4]) for k, (h, w) in anchors.items()},
      'cls_targets': {k: tf.fill([1, h, w, each], 2) for k, (h, w) in anchors.items()},
    }
    pixels = np.random.default_rng(0).integers(0, 256, [1, 32, 32, 3])
    features = images.normalize(tf.constant(pixels[0], tf.uint8))[tf.newaxis]
    (tile,) = box_pictures.DetectionPictures(task).inputs(features, labels)
    self.assertAllEqual(tile.image, pixels[0])
    (box,) = tile.boxes
    self.assertEqual((box.label, box.kind, box.score), ('dog', 'truth', None))
    # An anchor of level 3 is centred on the middle of its cell of 8 pixels.
    self.assertAllClose([(box.ymin + box.ymax) / 2, (box.xmin + box.xmax) / 2], [4, 4])


class _FakeSegmentation(types.SimpleNamespace):
  """Records are grey levels; images are 4 x 6."""

  def decoded_validation_example(self, record):
    return {
      'image': tf.fill([4, 6, 3], tf.constant(record, tf.uint8)),
      keys.SEMANTIC_MASK: tf.fill([4, 6, 1], tf.constant(1, tf.uint8)),
    }

  def watch(self, image_ids):
    self.watched = list(image_ids)

  def evaluation_masks(self):
    # Padded to the largest image of its batch; of the second image nothing is known.
    return {self.watched[0]: np.pad(np.full([4, 6], 2, np.uint8), ((0, 2), (0, 3)))}

  def class_label(self, class_id):
    return ('background', *NAMES)[class_id]


class SegmentationTest(tf.test.TestCase):
  def test_findings_are_truth_and_mask(self):
    task = _FakeSegmentation()
    shown = mask_pictures.SegmentationPictures(task)
    shown.watch(map(task.decoded_validation_example, [10, 20]))
    first = int(mask_parsing.image_id(tf.fill([4, 6, 3], tf.constant(10, tf.uint8))))
    self.assertEqual(task.watched[0], first)
    self.assertLen(set(task.watched), 2)
    ((true, found),) = shown.findings()
    self.assertAllEqual(true.mask, np.full([4, 6], 1))
    self.assertAllEqual(found.mask, np.full([4, 6], 2))
    self.assertAllEqual(found.image, np.full([4, 6, 3], 10))

  def test_inputs_and_confusion(self):
    confusion = np.array([[3.0, 0, 0], [0, 2, 1], [0, 0, 0]])
    task = _FakeSegmentation(
      task_config=types.SimpleNamespace(model=types.SimpleNamespace(num_classes=3)),
    )
    shown, details = mask_pictures.SegmentationPictures(task), {'confusion': confusion.tolist()}
    self.assertEqual(shown.confusion(details).names, ('background', *NAMES))
    self.assertAllEqual(shown.confusion(details).counts, confusion)
    self.assertEqual(shown.curves(IOUS), {})
    features = images.normalize(tf.fill([2, 2, 3], tf.constant(60, tf.uint8)))[tf.newaxis]
    masks = np.array([[[0, 1], [255, 2]]], np.uint8)
    (tile,) = shown.inputs(features, {'masks': tf.constant(masks)[..., None]})
    self.assertAllEqual(tile.mask, masks[0])
    self.assertAllEqual(tile.image, np.full([2, 2, 3], 60))


if __name__ == '__main__':
  tf.test.main()
