"""What a report shows of detection: label shards of a teacher whose answers are known, and no network."""

import json
import os
import tempfile
import types

import numpy as np
import tensorflow as tf

from official_selftrain.configs import detection as configs
from official_selftrain.core import errors, keys
from official_selftrain.dataloaders import tfrecords
from official_selftrain.datasets import tf_examples as datasets
from official_selftrain.presentation import base
from official_selftrain.presentation import detection as presentation
from official_selftrain.pseudo_labels import cuts, detection, labeller, manifest
from official_selftrain.report import contents

HEIGHT, WIDTH = 8, 16
NUM_CLASSES = 3
MAX_FOUND = 3
CUT = cuts.Cuts(0.5)
# (ymin, xmin, ymax, xmax, class, score) of what the fake teacher finds, by grey level. Of image 60 nothing reaches half
# the cut of 0.5, image 40 has nothing at all, and image 50 makes the teacher fail.
FOUND = {
  10: [[0, 0, 0.5, 0.5, 1, 0.75], [0.25, 0.25, 1, 0.75, 2, 0.5]],
  20: [[0.5, 0.5, 1, 1, 2, 0.75], [0, 0, 1, 1, 1, 0.3125]],
  30: [[0, 0.5, 0.5, 1, 1, 0.4375]],
  40: [],
  60: [[0, 0, 0.5, 0.5, 2, 0.125]],
  70: [[0, 0, 1, 1, 1, 0.35]],
}
BROKEN = 50


def _image(level):
  return datasets.encode_png(np.full([HEIGHT, WIDTH], level, np.uint8))


def _preprocess(encoded):
  """The grey level of an image, which is all that the fake teacher sees."""
  image = tf.ensure_shape(tf.io.decode_png(encoded, channels=1), [HEIGHT, WIDTH, 1])
  return {
    'level': image[0, 0],
    keys.IMAGE_HEIGHT: tf.shape(image)[0],
    keys.IMAGE_WIDTH: tf.shape(image)[1],
  }


def _predict(inputs, found=FOUND):
  rows = np.zeros([len(inputs['level']), MAX_FOUND, 6], np.float32)
  # Rows after num_detections must not matter.
  rows[:] = [0, 0, 1, 1, 1, 0.99]
  counts = []
  for row, level in zip(rows, inputs['level'].numpy()[:, 0].tolist(), strict=True):
    boxes = [[np.nan] * 4 + [1, 0.9]] if level == BROKEN else found[level]
    row[: len(boxes)] = np.reshape(boxes, [-1, 6])
    counts.append(len(boxes))
  return {
    'boxes': tf.constant(rows[..., :4]),
    'classes': tf.constant(rows[..., 4].astype(np.int32)),
    'scores': tf.constant(rows[..., 5]),
    'num_detections': tf.constant(counts),
  }


def _unlabelled(path, levels):
  features = [
    datasets.encoded_image_features(_image(level), HEIGHT, WIDTH, str(level)) for level in levels
  ]
  datasets.write_shard(path, map(datasets.serialize, features))
  return path


def _classes_feature(*classes):
  feature = tf.train.Feature(int64_list=tf.train.Int64List(value=classes))
  return datasets.serialize({keys.BOX_CLASS: feature})


def _presentation(*names, task=None):
  task = task or types.SimpleNamespace(task_config=configs.DetectionSelfTrainingTask())
  return presentation.DetectionPresentation(task, detection.BoxFormat(NUM_CLASSES), names)


class _Case(tf.test.TestCase):
  """Label shards of the images above, written once."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.label_dir = os.path.join(cls.folder, 'labels')
    cls.images = [
      _unlabelled(os.path.join(cls.folder, 'a.tfrecord'), [30, 10, BROKEN]),
      _unlabelled(os.path.join(cls.folder, 'b.tfrecord'), [20, 40, 60]),
    ]
    cls.report = _presentation('cat', 'dog')
    provenance = manifest.Provenance(teacher={'checkpoint': 'ckpt-1', 'sha256': 'ab12'})
    cls.worker = labeller.Labeller(
      cls.report.label_format, _preprocess, _predict, provenance, batch_size=1
    )
    cls.worker.run(cls.images, cls.label_dir)
    cls.labelled = os.path.join(cls.folder, 'labelled.tfrecord')
    datasets.write_shard(cls.labelled, [_classes_feature(1, 2, 2), _classes_feature(1)])


class FactsTest(_Case):
  def _facts(self, cut=CUT, measured=None):
    human = self.report.human_labels(tfrecords.readable([self.labelled]))
    return self.report.facts(self.label_dir, cut, human, measured), human.images

  def test_counts(self):
    facts, labelled_images = self._facts()
    self.assertEqual(labelled_images, 2)
    self.assertEqual((facts.num_images, facts.labelled, facts.empty, facts.dead), (6, 4, 1, 1))
    # Cat: 0.75 is kept, 0.4375 and 0.3125 are not. Dog: 0.75 and 0.5 are kept, 0.125 is not.
    self.assertEqual(facts.counts_per_class, {'cat': 1, 'dog': 2})
    self.assertEqual(facts.counts_per_class_human, {'cat': 2, 'dog': 2})
    self.assertEqual(facts.kept_share_at_cut, 3 / 6)
    # Of the five images that the teacher could use, and of the two that people labelled.
    self.assertEqual((facts.labels_per_image, facts.human_labels_per_image), (3 / 5, 2.0))
    self.assertEqual((facts.cut, facts.teacher_digest), (0.5, 'ab12'))
    (letter,) = facts.dead_letters
    self.assertEqual((letter.shard, letter.index, letter.source_id), ('a.tfrecord', 2, '50'))

  def test_suggested_cut_is_the_highest_of_those_that_come_closest_to_people(self):
    # People drew 2 boxes per image; all six found, which any cut up to 0.1 keeps, are 1.2.
    self.assertEqual(self._facts()[0].suggested_cut, 0.1)

  def test_the_ignore_band_is_that_of_the_cuts(self):
    self.assertIsNone(self._facts()[0].ignore_cut)
    self.assertEqual(self._facts(cuts.Cuts(0.5, ignore_cut=0.25))[0].ignore_cut, 0.25)
    for is_soft in (False, True):
      self.assertIs(self._facts(cuts.Cuts(0.5, is_soft=is_soft))[0].is_soft, is_soft)

  def _write_truth(self, *annotations):
    path = os.path.join(self.folder, 'truth.json')
    images = [{'id': k, 'height': HEIGHT, 'width': WIDTH} for k in (10, 20, 30, 99)]
    rows = [{'image_id': k, 'category_id': c, 'bbox': bbox} for k, c, bbox in annotations]
    with open(path, 'w', encoding='utf-8') as stream:
      json.dump({'images': images, 'annotations': rows}, stream)
    return path

  def test_quality_against_the_truth(self):
    # The best box of images 10 and 20 is right, that of image 30 has the wrong class.
    truth = self._write_truth((10, 1, [0, 0, 8, 4]), (20, 2, [8, 4, 8, 4]), (30, 2, [8, 0, 8, 4]))
    measured = self.report.measure_labels(self.label_dir, truth)
    self.assertEqual((measured['images'], measured['images_without_truth']), (3, 2))
    facts, _ = self._facts(measured=measured)
    at_cut = facts.quality_at_cut
    # Three boxes reach the cut, two of them are right.
    self.assertEqual((at_cut.cut, at_cut.precision, at_cut.recall), (0.5, 2 / 3, 2 / 3))
    self.assertEqual((at_cut.f1, at_cut.count_ratio), (2 / 3, 1.0))
    self.assertIsNone(at_cut.accuracy)
    self.assertFalse(facts.has_pixels)
    self.assertIsNone(self._facts()[0].quality)

  def test_quality_with_a_cut_for_each_class(self):
    truth = self._write_truth((10, 1, [0, 0, 8, 4]), (20, 2, [8, 4, 8, 4]), (30, 2, [8, 0, 8, 4]))
    measured = self.report.measure_labels(self.label_dir, truth)
    of_classes = cuts.Cuts(0.5, per_class={1: 0.3, 2: 0.6})
    facts, _ = self._facts(of_classes, measured)
    self.assertEqual(facts.class_cuts, (0.3, 0.6))
    self.assertEqual(facts.cut_in_words, '0.5 (by class 0.3 to 0.6)')
    found = facts.quality_at_cut
    # Of class 1 three boxes reach their cut, one of them is right; of class 2 the right one alone does.
    self.assertEqual((found.precision, found.recall), (0.5, 2 / 3))
    self.assertEqual((found.f1, found.count_ratio), (4 / 7, 4 / 3))
    self.assertIsNone(self._facts(of_classes)[0].quality_at_cut)
    self.assertIsNone(self._facts(measured=measured)[0].class_cuts)

  def test_truth_that_cannot_be_used(self):
    with self.assertRaisesRegex(errors.DataError, 'nowhere.json cannot be read as COCO'):
      self.report.measure_labels(self.label_dir, 'nowhere.json')
    broken = self._write_truth((99, 1, [0, 0, 1, 1]), (10, 1, [0, 0, 1]))
    with self.assertRaisesRegex(errors.DataError, r'annotations\[1\] has the bbox \[0, 0, 1\]'):
      self.report.measure_labels(self.label_dir, broken)


class PseudoLabelSheetTest(_Case):
  def _sheet(self, cut=CUT, count=4, names=('cat', 'dog'), images=None):
    report, images = _presentation(*names), images or self.images
    return report.pseudo_label_sheet(images, self.label_dir, cut, count)

  def test_groups_captions_and_pictures(self):
    sheet = self._sheet()
    self.assertEqual(
      [(tile.group, tile.caption) for tile in sheet.tiles],
      [
        ('sure', 'id 10'),
        ('sure', 'id 20'),
        ('unsure', 'id 30'),
        ('empty', 'id 40'),
        ('empty', 'id 60'),
      ],
    )
    self.assertEqual((sheet.title, sheet.columns, sheet.legend), ('Pseudo labels', 4, ()))
    self.assertIn('reach the cut of 0.5 and train', sheet.explanation)
    for tile in sheet.tiles:
      self.assertAllEqual(tile.image, np.full([HEIGHT, WIDTH, 3], int(tile.caption[3:])))
      self.assertIsNone(tile.mask)

  def test_boxes_in_pixels_the_surest_on_top(self):
    boxes = [tile.boxes for tile in self._sheet().tiles]
    self.assertEqual(
      boxes[0],
      (
        contents.Box(2, 4, 8, 12, 'dog', 0.5, 'sure'),
        contents.Box(0, 0, 4, 8, 'cat', 0.75, 'sure'),
      ),
    )
    self.assertEqual(
      boxes[1],
      (
        contents.Box(0, 0, 8, 16, 'cat', 0.3125, 'unsure'),
        contents.Box(4, 8, 8, 16, 'dog', 0.75, 'sure'),
      ),
    )
    self.assertEqual(boxes[2], (contents.Box(0, 8, 4, 16, 'cat', 0.4375, 'unsure'),))
    self.assertEqual(boxes[3:], [(), ()])

  def test_classes_without_a_name_are_ids(self):
    labels = [box.label for box in self._sheet(names=('cat',)).tiles[0].boxes]
    self.assertEqual(labels, ['2', 'cat'])

  def test_cuts_of_single_classes(self):
    sheet = self._sheet(cuts.Cuts(0.5, per_class={1: 0.8}))
    shown = {
      tile.caption: [(box.label, box.kind) for box in tile.boxes]
      for tile in sheet.tiles
      if tile.group != 'empty'
    }
    self.assertEqual(
      shown,
      {
        'id 10': [('dog', 'sure'), ('cat', 'unsure')],
        # The cat of image 20 is below half its cut.
        'id 20': [('dog', 'sure')],
        'id 30': [('cat', 'unsure')],
      },
    )

  def test_a_score_at_the_cut_reaches_it_as_it_does_for_the_student(self):
    images = [_unlabelled(os.path.join(self.folder, 'c.tfrecord'), [70])]
    label_dir = os.path.join(self.folder, 'labels_of_c')
    self.worker.run(images, label_dir)
    sheet = self.report.pseudo_label_sheet(images, label_dir, cuts.Cuts(0.35), 1)
    (tile,) = sheet.tiles
    self.assertEqual((tile.group, tile.boxes[0].kind), ('sure', 'sure'))

  def test_at_most_so_many_per_group_the_first_ones(self):
    captions = [tile.caption for tile in self._sheet(count=1).tiles]
    self.assertEqual(captions, ['id 10', 'id 30', 'id 40'])


class ValidationSheetTest(tf.test.TestCase):
  def test_rows_of_truth_teacher_and_student(self):
    student = {10: [[-0.5, 0, 0.5, 1.5, 2, 0.9]], 20: []}

    def labelling_functions(model):
      return _preprocess, lambda inputs: _predict(inputs, model)

    def decoded(record):
      level, rows = record
      rows = np.reshape(rows, [-1, 5])
      return {
        'image': tf.fill([HEIGHT, WIDTH, 3], np.uint8(level)),
        'encoded': tf.constant(_image(level)),
        keys.GROUNDTRUTH_BOXES: tf.constant(rows[:, :4], tf.float32),
        keys.GROUNDTRUTH_CLASSES: tf.constant(rows[:, 4], tf.int64),
      }

    task = types.SimpleNamespace(
      labelling_functions=labelling_functions, decoded_validation_example=decoded
    )
    records = [(10, [[0, 0, 1, 0.25, 2], [0.5, 0.5, 1, 1, 1]]), (20, [])]
    teacher = {10: [*FOUND[10], [0, 0, 1, 1, 1, 0.25]], 20: FOUND[20]}
    sheet = _presentation('cat', 'dog', task=task).validation_sheet(
      records, {'teacher': teacher, 'student': student}
    )
    self.assertEqual((sheet.title, sheet.columns), ('Validation images', 3))
    captions = [tile.caption for tile in sheet.tiles]
    self.assertEqual(captions, ['truth', 'teacher', 'student'] * 2)
    expected = [
      [
        contents.Box(0, 0, 8, 4, 'dog', None, 'truth'),
        contents.Box(4, 8, 8, 16, 'cat', None, 'truth'),
      ],
      # The third box of the teacher is below 0.3.
      [
        contents.Box(2, 4, 8, 12, 'dog', 0.5, 'teacher'),
        contents.Box(0, 0, 4, 8, 'cat', 0.75, 'teacher'),
      ],
      # What reaches out of the image is cut off.
      [contents.Box(0, 0, 4, 16, 'dog', float(np.float32(0.9)), 'student')],
      [],
      [
        contents.Box(0, 0, 8, 16, 'cat', 0.3125, 'teacher'),
        contents.Box(4, 8, 8, 16, 'dog', 0.75, 'teacher'),
      ],
      [],
    ]
    self.assertEqual([list(tile.boxes) for tile in sheet.tiles], expected)
    for tile, level in zip(sheet.tiles, [10] * 3 + [20] * 3, strict=True):
      self.assertAllEqual(tile.image, np.full([HEIGHT, WIDTH, 3], level))


class ClassesTest(tf.test.TestCase):
  def test_per_class_takes_what_the_evaluator_measured(self):
    metrics = {
      'AP': 0.5,
      'Precision mAP ByCategory/cat': 0.25,
      'Precision mAP ByCategory/7': -1.0,
      'Precision mAP ByCategory@50IoU/cat': 0.75,
    }
    # A class without boxes in the validation images has no AP.
    self.assertEqual(_presentation('cat').per_class(metrics), {'cat': 0.25})

  def test_per_class_gives_ids_their_names(self):
    metrics = {f'Precision mAP ByCategory/{n}': n / 10 for n in (1, 2, 3)}
    names = _presentation('0', '1', '2')
    self.assertEqual(names.per_class(metrics), {'0': 0.1, '1': 0.2, '2': 0.3})
    del metrics['Precision mAP ByCategory/3']
    # These may be names: of the digits 1 and 2.
    self.assertEqual(names.per_class(metrics), {'1': 0.1, '2': 0.2})

  def test_words(self):
    report = _presentation('cat', 'dog')
    self.assertEqual(report.shown_classes, ('cat', 'dog'))
    self.assertEqual((report.class_metric, report.unit), ('AP', 'boxes'))
    self.assertEqual(report.table_metrics, ('AP', 'AP50', 'AP75'))

  def test_is_found_by_the_config_of_its_task(self):
    found = base.PRESENTATIONS.lookup(configs.DetectionSelfTrainingTask())
    self.assertIs(found, presentation.DetectionPresentation)


class HumanLabelsTest(tf.test.TestCase):
  def _count(self, *records):
    path = os.path.join(self.create_tempdir().full_path, 'a.tfrecord')
    datasets.write_shard(path, records)
    return _presentation().human_labels(tfrecords.readable([path]))

  def test_boxes_by_class(self):
    human = self._count(_classes_feature(2, 2, 90), _classes_feature(), _classes_feature(2))
    self.assertEqual((human.images, human.classes), (3, {2: 3, 90: 1}))
    self.assertEqual(human.per_image, 4 / 3)

  def test_images_without_the_feature_have_no_boxes(self):
    bare = datasets.serialize(datasets.encoded_image_features(_image(1), HEIGHT, WIDTH, '1'))
    human = self._count(bare, _classes_feature(1))
    self.assertEqual((human.images, human.classes), (2, {1: 1}))

  def test_records_that_are_no_examples_are_left_out(self):
    human = self._count(_classes_feature(1), b'\x0a', _classes_feature(1, 2))
    self.assertEqual((human.images, human.classes), (2, {1: 2, 2: 1}))

  def test_names_that_a_label_map_gives_ids(self):
    folder = self.create_tempdir().full_path
    label_map = os.path.join(folder, 'map.csv')
    with open(label_map, 'w', encoding='utf-8') as lines:
      lines.write('1,cat\n2,dog\n')
    texts = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b'dog', b'cat', b'dog']))
    record = datasets.serialize({keys.BOX_CLASS_NAME: texts})
    path = os.path.join(folder, 'a.tfrecord')
    datasets.write_shard(path, [record])
    config = configs.DetectionSelfTrainingTask()
    for data in (config.train_data, config.validation_data):
      decoder = {'type': 'label_map_decoder', 'label_map_decoder': {'label_map': label_map}}
      data.override({'decoder': decoder})
    report = _presentation('cat', 'dog', task=types.SimpleNamespace(task_config=config))
    self.assertEqual(report.human_labels(tfrecords.readable([path])).classes, {1: 1, 2: 2})
    self.assertEqual(report.classes_in(tf.constant(record)), {'cat', 'dog'})

  def test_more_images_than_are_read_at_once(self):
    human = self._count(*[_classes_feature(1)] * 300)
    self.assertEqual((human.images, human.classes), (300, {1: 300}))


if __name__ == '__main__':
  tf.test.main()
