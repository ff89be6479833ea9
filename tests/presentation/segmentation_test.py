"""What a report shows of segmentation: label shards of a teacher whose answers are known, and no network."""

import os
import tempfile
import types

import numpy as np
import tensorflow as tf

from official_selftrain.core import files, keys
from official_selftrain.dataloaders import tfrecords
from official_selftrain.datasets import tf_examples as datasets
from official_selftrain.presentation import label_facts
from official_selftrain.presentation import segmentation as presentation
from official_selftrain.pseudo_labels import cuts, labeller, manifest, segmentation

HEIGHT, WIDTH = 4, 6
NUM_CLASSES = 3
CUT = cuts.Cuts(0.5)
# Multiples of 1/255 that are also edges of bins.
SURE, MIDDLE, WEAK = 0.8, 0.6, 0.4


def _halves(left, right):
  return np.repeat([[left] * 3 + [right] * 3], HEIGHT, axis=0)


def _rows(*values):
  return np.repeat(np.reshape(values, [HEIGHT, 1]), WIDTH, axis=1)


# Classes and confidences that the fake teacher finds, by image; at the cut of 0.5 everything of image 10 is kept, three
# of four rows of 20 and of 30, and of 40, which shows only background, everything. Image 50 makes the teacher fail.
FOUND = {
  10: (_halves(1, 0), _halves(SURE, MIDDLE)),
  20: (_rows(2, 1, 0, 0), _rows(SURE, WEAK, MIDDLE, MIDDLE)),
  30: (_rows(2, 0, 0, 0), _rows(WEAK, MIDDLE, MIDDLE, MIDDLE)),
  40: (_rows(0, 0, 0, 0), _rows(MIDDLE, MIDDLE, MIDDLE, MIDDLE)),
}
BROKEN = 50
TRUTH = {
  10: _halves(1, 0),
  20: _rows(1, 1, 0, 0),
  30: _rows(2, 0, 0, 0),
  40: _rows(1, 0, 0, 0),
}


def _probabilities(level):
  """float32 [height, width, classes]: what the classes leave over is shared by the others."""
  if level == BROKEN:
    return np.full([HEIGHT, WIDTH, NUM_CLASSES], np.nan, np.float32)
  classes, confidences = FOUND[level]
  is_found = np.arange(NUM_CLASSES) == classes[..., None]
  others = (1 - confidences[..., None]) / (NUM_CLASSES - 1)
  return np.where(is_found, confidences[..., None], others).astype(np.float32)


def _image(level):
  return datasets.encode_png(np.full([HEIGHT, WIDTH], level, np.uint8))


def _preprocess(encoded):
  """The grey level of an image, which is all that the fake teacher sees."""
  image = tf.ensure_shape(tf.io.decode_png(encoded, channels=1), [HEIGHT, WIDTH, 1])
  info = tf.constant([[HEIGHT, WIDTH], [HEIGHT, WIDTH], [1, 1], [0, 0]], tf.float32)
  return {
    'level': image[0, 0],
    'image_info': info,
    keys.IMAGE_HEIGHT: tf.shape(image)[0],
    keys.IMAGE_WIDTH: tf.shape(image)[1],
  }


def _predict(inputs):
  levels = inputs['level'].numpy()[:, 0]
  probabilities = tf.stack([_probabilities(level) for level in levels])
  return {'probabilities': probabilities, 'image_info': inputs['image_info']}


def _unlabelled(path, levels):
  features = [
    datasets.encoded_image_features(_image(level), HEIGHT, WIDTH, str(level)) for level in levels
  ]
  datasets.write_shard(path, map(datasets.serialize, features))
  return path


def _labelled(path, *masks):
  """Records with image and mask; None leaves the mask out."""
  examples = []
  for index, mask in enumerate(masks):
    features = datasets.encoded_image_features(_image(index), HEIGHT, WIDTH, str(index))
    if mask is not None:
      features |= datasets.class_map_features(np.array(mask, np.uint8))
    examples.append(datasets.serialize(features))
  datasets.write_shard(path, examples)
  return path


def _presentation(task, num_classes, *names):
  return presentation.SegmentationPresentation(task, segmentation.MaskFormat(num_classes), names)


def _write_truth(path):
  """COCO annotations of `TRUTH`: one object per class that an image shows."""
  annotations = datasets.CocoAnnotations(('background', 'cat', 'dog'))
  for source_id, mask in TRUTH.items():
    classes = np.unique(mask[mask > 0])
    masks = mask == classes[:, None, None]
    boxes = np.array([datasets.tight_box(each) for each in masks])
    annotations.add(source_id, datasets.Instances(classes, boxes, masks))
  files.write_json(path, annotations.as_dict())
  return path


class _Case(tf.test.TestCase):
  """Label shards of the images above, written once."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.label_dir = os.path.join(cls.folder, 'labels')
    cls.images = [
      _unlabelled(os.path.join(cls.folder, 'a.tfrecord'), [30, 10, BROKEN]),
      _unlabelled(os.path.join(cls.folder, 'b.tfrecord'), [20, 40]),
    ]
    cls.format = segmentation.MaskFormat(NUM_CLASSES)
    provenance = manifest.Provenance(teacher={'checkpoint': 'ckpt-1', 'sha256': 'ab12'})
    # Batches of one image need no padding, which the fake teacher would not know.
    cls.worker = labeller.Labeller(cls.format, _preprocess, _predict, provenance, batch_size=1)
    cls.worker.run(cls.images, cls.label_dir)
    cls.report = _presentation(None, NUM_CLASSES, 'cat', 'dog')
    cls.labelled = _labelled(
      os.path.join(cls.folder, 'labelled.tfrecord'),
      [[1, 1, 1, 2, 2, 255]] * 3 + [[0] * 6],
      _rows(0, 0, 0, 1),
    )


class FactsTest(_Case):
  def _facts(self, cut=CUT, measured=None):
    human = self.report.human_labels(tfrecords.readable([self.labelled]))
    return self.report.facts(self.label_dir, cut, human, measured), human.images

  def test_counts(self):
    facts, labelled_images = self._facts()
    self.assertEqual(labelled_images, 2)
    self.assertEqual((facts.num_images, facts.labelled, facts.empty, facts.dead), (5, 3, 1, 1))
    # Cat: 12 pixels of image 10 are kept, 6 of 20 are not. Dog: 6 of 20 are kept, 6 of 30 are not.
    self.assertEqual(facts.counts_per_class, {'cat': 12, 'dog': 6})
    self.assertEqual(facts.counts_per_class_human, {'cat': 15, 'dog': 6})
    self.assertEqual(facts.kept_share_at_cut, 18 / 30)
    # Of the four images that the teacher could use, and of the two that people labelled.
    self.assertEqual(facts.labels_per_image, 18 / 4)
    self.assertEqual(facts.human_labels_per_image, 21 / 2)
    self.assertAllClose(facts.count_ratio, 9 / 21)
    self.assertEqual((facts.cut, facts.ignore_cut), (0.5, 0.0))
    self.assertEqual(facts.teacher_digest, 'ab12')

  def test_scores_are_those_of_object_pixels(self):
    histogram = self._facts()[0].score_histogram
    filled = {
      histogram.edges[index]: count for index, count in enumerate(histogram.counts) if count
    }
    self.assertEqual(filled, {0.4: 12, 0.8: 18})
    self.assertLen(histogram.counts, 20)

  def test_suggested_cut_is_the_highest_of_those_that_come_closest_to_people(self):
    # 30 pixels of 4 images reach any cut up to 0.4, 18 any from there to 0.8; people drew 10.5 per image.
    self.assertEqual(self._facts()[0].suggested_cut, 0.4)

  def test_an_unusable_prediction_is_a_dead_letter(self):
    (letter,) = self._facts()[0].dead_letters
    self.assertEqual((letter.shard, letter.index, letter.source_id), ('a.tfrecord', 2, '50'))
    self.assertEqual(letter.reason, 'the teacher predicted a NaN or infinite probability')

  def test_at_most_ten_dead_letters_are_shown(self):
    images = _unlabelled(os.path.join(self.folder, 'many.tfrecord'), [40] + [BROKEN] * 12)
    label_dir = os.path.join(self.folder, 'many')
    self.worker.run([images], label_dir)
    human = self.report.human_labels(tfrecords.readable([self.labelled]))
    facts = self.report.facts(label_dir, CUT, human, None)
    self.assertEqual(facts.dead, 12)
    self.assertEqual([letter.index for letter in facts.dead_letters], list(range(1, 11)))
    # Nothing but background was found, so there is nothing to suggest a cut by.
    self.assertEqual((facts.kept_share_at_cut, facts.suggested_cut), (0.0, None))
    self.assertEqual(facts.counts_per_class, {})

  def test_cuts_of_single_classes(self):
    facts, _ = self._facts(cuts.Cuts(0.5, per_class={1: 0.9, 2: 0.4}))
    self.assertEqual(facts.counts_per_class, {'cat': 0, 'dog': 12})
    self.assertEqual(facts.kept_share_at_cut, 12 / 30)

  def test_quality_with_a_cut_for_each_class_leaves_the_background_out(self):
    truth = _write_truth(os.path.join(self.folder, 'truth.json'))
    measured = self.report.measure_labels(self.label_dir, truth)
    of_classes, _ = self._facts(cuts.Cuts(0.9, per_class={1: 0.5, 2: 0.5}), measured)
    found, expected = of_classes.quality_at_cut, self._facts(measured=measured)[0].quality_at_cut
    self.assertAllClose(
      [found.precision, found.recall, found.f1, found.count_ratio],
      [expected.precision, expected.recall, expected.f1, expected.count_ratio],
    )

  def test_a_cut_that_nothing_reaches(self):
    facts, _ = self._facts(cuts.Cuts(0.95))
    self.assertEqual(facts.counts_per_class, {'cat': 0, 'dog': 0})
    self.assertEqual((facts.kept_share_at_cut, facts.labels_per_image), (0.0, 0.0))

  def test_without_truth_nothing_is_said_of_quality(self):
    facts, _ = self._facts()
    self.assertIsNone(facts.quality)
    self.assertEqual(facts.accuracy_by_confidence, ())
    self.assertFalse(facts.has_pixels)

  def test_quality_against_the_truth(self):
    truth = _write_truth(os.path.join(self.folder, 'truth.json'))
    facts, _ = self._facts(measured=self.report.measure_labels(self.label_dir, truth))
    at_cut = facts.quality_at_cut
    self.assertEqual(at_cut.cut, 0.5)
    # Of 18 object pixels 12 are right (those of image 10); the truth has 12 + 12 + 6 + 6.
    self.assertEqual((at_cut.precision, at_cut.recall), (12 / 18, 12 / 36))
    self.assertEqual((at_cut.f1, at_cut.count_ratio), (24 / 54, 18 / 36))
    # Of 96 pixels 84 are kept. Wrong are 6 of image 20 and the 6 of image 40 that should be cat.
    self.assertEqual((at_cut.kept_share, at_cut.accuracy), (84 / 96, 72 / 84))
    self.assertTrue(facts.has_pixels)
    self.assertAllClose(
      facts.accuracy_by_confidence, [(0.425, 1.0), (0.625, 60 / 66), (0.825, 12 / 18)]
    )
    nothing = next(row for row in facts.quality if row.cut == 0.9)
    self.assertEqual((nothing.kept_share, nothing.accuracy), (0.0, None))
    self.assertTrue(np.isnan(nothing.precision))
    self.assertEqual(nothing.recall, 0.0)


class PseudoLabelSheetTest(_Case):
  def _sheet(self, count=4, report=None, **values):
    report = report or self.report
    chosen = cuts.Cuts(**({'cut': 0.5} | values))
    return report.pseudo_label_sheet(self.images, self.label_dir, chosen, count)

  def test_groups_captions_and_masks(self):
    sheet = self._sheet()
    self.assertEqual(
      [(tile.group, tile.caption) for tile in sheet.tiles],
      [
        ('sure', 'id 10, 100% kept'),
        ('unsure', 'id 20, 75% kept'),
        ('empty', 'id 30, 75% kept'),
        ('empty', 'id 40, 100% kept'),
      ],
    )
    expected = [_halves(1, 0), _rows(2, 255, 0, 0), _rows(255, 0, 0, 0), _rows(0, 0, 0, 0)]
    for tile, mask in zip(sheet.tiles, expected, strict=True):
      self.assertEqual(tile.mask.dtype, np.uint8)
      self.assertAllEqual(tile.mask, mask)
      self.assertAllEqual(tile.image, np.full([HEIGHT, WIDTH, 3], int(tile.caption[3:5])))
      self.assertEqual(tile.boxes, ())

  def test_title_text_and_legend(self):
    sheet = self._sheet(cut=0.45)
    self.assertEqual((sheet.title, sheet.columns), ('Pseudo labels', 4))
    self.assertRegex(sheet.explanation, 'reach the cut of 0.45 and train the student; hatched')
    colours = (('cat', (102, 147, 255)), ('dog', (149, 255, 0)), ('ignored', (190, 190, 190)))
    self.assertEqual(sheet.legend, colours)

  def test_legend_names_only_what_is_seen_and_unknown_names_are_ids(self):
    self.assertEqual([name for name, _ in self._sheet(cut=0.4).legend], ['cat', 'dog'])
    few = _presentation(None, NUM_CLASSES, 'cat')
    names = [name for name, _ in self._sheet(report=few).legend]
    self.assertEqual(names, ['cat', '2', 'ignored'])
    hidden = self._sheet(per_class={1: 0.9, 2: 0.9})
    self.assertEqual([name for name, _ in hidden.legend], ['ignored'])

  def test_cuts_of_single_classes_decide_about_groups(self):
    sheet = self._sheet(per_class={1: 0.9, 2: 0.4})
    groups = [(tile.caption[3:5], tile.group) for tile in sheet.tiles]
    self.assertEqual(groups, [('30', 'sure'), ('20', 'unsure'), ('10', 'empty'), ('40', 'empty')])

  def test_at_most_so_many_per_group_the_first_ones(self):
    captions = [tile.caption for tile in self._sheet(count=1).tiles]
    self.assertEqual(captions, ['id 10, 100% kept', 'id 20, 75% kept', 'id 30, 75% kept'])

  def test_empty_images_are_shown_even_if_the_student_does_not_see_them(self):
    groups = [tile.group for tile in self._sheet(keep_empty=False).tiles]
    self.assertEqual(groups, ['sure', 'unsure', 'empty', 'empty'])


class ValidationSheetTest(tf.test.TestCase):
  def _sheet(self, *examples):
    """The sheet of a task whose teacher and student answer by the grey level, without a network."""

    def labelling_functions(model):
      def predict(inputs):
        shown = inputs['level'].numpy()[:, 0]
        levels = [model.get(level, level) for level in shown]
        probabilities = tf.stack([_probabilities(level) for level in levels])
        return {'probabilities': probabilities, 'image_info': inputs['image_info']}

      return _preprocess, predict

    def decoded(record):
      level, mask = record
      image = tf.fill([HEIGHT, WIDTH, 3], np.uint8(level))
      mask = tf.constant(mask[..., None], tf.uint8)
      return {'image': image, keys.SEMANTIC_MASK: mask, 'encoded': tf.constant(_image(level))}

    task = types.SimpleNamespace(
      labelling_functions=labelling_functions, decoded_validation_example=decoded
    )
    report = _presentation(task, NUM_CLASSES, 'cat', 'dog')
    # The student sees image 20 as the teacher sees image 40.
    return report.validation_sheet(examples, {'teacher': {}, 'student': {20: 40}})

  def test_rows_of_truth_teacher_and_student(self):
    truth = _rows(2, 2, 0, 255)
    sheet = self._sheet((20, truth), (10, _halves(1, 0)))
    self.assertEqual((sheet.title, sheet.columns), ('Validation images', 3))
    # The last row of the first image is not counted.
    self.assertEqual(
      [tile.caption for tile in sheet.tiles],
      [
        *('truth', 'teacher, 66.7% of the pixels right', 'student, 33.3% of the pixels right'),
        *('truth', 'teacher, 100.0% of the pixels right', 'student, 100.0% of the pixels right'),
      ],
    )
    expected = [truth, _rows(2, 1, 0, 0), _rows(0, 0, 0, 0), *[_halves(1, 0)] * 3]
    for tile, mask in zip(sheet.tiles, expected, strict=True):
      self.assertAllEqual(tile.mask, mask)
      self.assertEqual((tile.boxes, tile.group), ((), ''))
    self.assertEqual([name for name, _ in sheet.legend], ['cat', 'dog', 'ignored'])

  def test_truth_without_a_labelled_pixel(self):
    sheet = self._sheet((10, _rows(255, 255, 255, 255)))
    self.assertEqual([tile.caption for tile in sheet.tiles], ['truth', 'teacher', 'student'])


class ClassesTest(tf.test.TestCase):
  def _report(self, *names):
    return _presentation(None, 4, *names)

  def test_shown_classes(self):
    shown = self._report('cat', 'dog', 'cow').shown_classes
    self.assertEqual(shown, ('background', 'cat', 'dog', 'cow'))
    self.assertEqual(self._report('cat').shown_classes, ('background', 'cat', '2', '3'))
    self.assertEqual(self._report().shown_classes, ('background', '1', '2', '3'))

  def test_per_class_takes_what_was_measured(self):
    metrics = {'mean_iou': 0.5, 'iou/background': 0.9, 'iou/dog': 0.1, 'iou/cow': 0.0, 'iou/4': 1.0}
    found = self._report('cat', 'dog', 'cow').per_class(metrics)
    self.assertEqual(found, {'background': 0.9, 'dog': 0.1, 'cow': 0.0})
    self.assertEqual(self._report().per_class({'AP': 0.5}), {})

  def test_words(self):
    report = self._report()
    self.assertEqual((report.class_metric, report.unit), ('IoU', 'object pixels'))
    self.assertEqual(report.table_metrics, ('mean_iou', 'mean_iou_resized', 'pixel_accuracy'))


class HumanLabelsTest(tf.test.TestCase):
  def _count(self, *masks):
    path = os.path.join(self.create_tempdir().full_path, 'a.tfrecord')
    return _presentation(None, NUM_CLASSES).human_labels(
      tfrecords.readable([_labelled(path, *masks)])
    )

  def test_background_and_255_are_not_counted(self):
    human = self._count([[0, 0, 1, 2, 255, 255]], [[1, 1, 254, 0, 0, 0]], [[0] * 6])
    self.assertEqual((human.images, human.classes), (3, {1: 3, 2: 1, 254: 1}))
    self.assertEqual(human.per_image, 5 / 3)

  def test_records_without_a_readable_mask_are_left_out(self):
    self.assertEqual(self._count(None, [[1, 2, 2, 0, 0, 0]]).classes, {1: 1, 2: 2})
    self.assertEqual(self._count(None, [[1, 2, 2, 0, 0, 0]]).images, 1)

  def test_several_files_and_no_image(self):
    folder = self.create_tempdir().full_path
    paths = [_labelled(os.path.join(folder, name), [[1] * 6]) for name in ('a', 'b')]
    human = _presentation(None, NUM_CLASSES).human_labels(tfrecords.readable(paths))
    self.assertEqual((human.images, human.classes, human.per_image), (2, {1: 12}, 6.0))
    self.assertEqual(label_facts.HumanLabels(0, {}).per_image, 0.0)


if __name__ == '__main__':
  tf.test.main()
