"""Tests for why nothing may be written of a data set."""

import unittest
from unittest import mock

import numpy as np

from official_selftrain.core import errors, files
from official_selftrain.datasets import faults
from official_selftrain.datasets.preparation import plan, work
from tests.datasets.preparation import photos, preparing_case

LABELLED = preparing_case.LABELLED
VALIDATION = preparing_case.VALIDATION


class ProblemsTest(preparing_case.PreparingTestCase):
  def assert_problem(self, expected, **settings):
    (problem,) = self.check(**settings).problems
    self.assertRegex(problem, expected)

  def test_classes_must_be_in_one_order(self):
    self.annotate('valid', 'vw', classes=('dog', 'cat'))
    self.assert_problem(
      r'The sets have different classes \(labelled: cat, dog; validation: dog, cat\)\. Give both the same list '
      r'of classes in the same order, or go on with the first list: --allow=class_order\.$'
    )
    self.assertEqual(self.check(allowed=frozenset({faults.Kind.CLASS_ORDER})).problems, ())

  def test_sets_must_be_for_one_task(self):
    mask = np.ones([photos.HEIGHT, photos.WIDTH], np.uint8)
    masks = {f'valid/{name}.png': photos.png(mask) for name in 'vw'}
    photos.write(self.folder, {**masks, 'classes.txt': '1 cat\n2 dog\n'})
    spec = f'masks:{self.folder}/valid,classes={self.folder}/classes.txt'
    self.assert_problem(
      r'different tasks \(labelled: detection; validation: segmentation\)',
      sources=self.sources | {VALIDATION: spec},
    )

  def test_unknown_classes_stop_until_they_are_allowed(self):
    self.annotate('train', 'abcd', category=3)
    self.assert_problem(
      r'4 x the class is not in the list of classes; first a\.jpg: annotations\[0\] \(id 1\) has the '
      r'category_id 3\. --allow=unknown_class goes on without them\.'
    )
    allowed = frozenset({faults.Kind.UNKNOWN_CLASS})
    self.assert_problem(
      'all annotations were left out, 4 x the class is not in the list', allowed=allowed
    )
    preparation = self.prepare(allowed=allowed | {faults.Kind.NO_OBJECTS})
    checked = preparation.check()
    self.assertEqual(checked.problems, ())
    self.assertEqual(preparation.write(checked).labelled.without_objects, 4)

  def test_annotations_that_are_all_left_out(self):
    # Boxes far outside the image, as of pixels where fractions belong.
    moved = preparing_case.coco([f'{name}.jpg' for name in 'abcd']).replace('[8, 4,', '[8000, 4,')
    photos.write(self.folder, {'train/all.json': moved})
    self.assert_problem(
      r'^--labelled: no image of the set has an object: all annotations were left out, 4 x the box lies outside the '
      r"image; first 'cat': ymin 4, xmin 8000.*\. Correct them, or go on with --allow=no_objects\.$"
    )
    self.assertEqual(self.check(allowed=frozenset({faults.Kind.NO_OBJECTS})).problems, ())

  def test_validation_images_without_objects(self):
    photos.write(self.folder, {'valid/all.json': preparing_case.coco(['v.jpg', 'w.jpg'], count=0)})
    self.assert_problem(
      '^--validation: no image of the set has an object: of its 2 images none has an annotation that is used'
    )

  def test_masks_of_nothing_but_background(self):
    classes = self.folder / 'classes.txt'
    classes.write_text('1 cat\n')
    for value, problems in ((0, 1), (255, 1), (1, 0)):
      mask = np.full([photos.HEIGHT, photos.WIDTH], value, np.uint8)
      masks = {f'masks/{name}.png': photos.png(mask) for name in 'abcd'}
      photos.write(self.folder, masks)
      spec = f'masks:{self.folder}/train,masks={self.folder}/masks,classes={classes}'
      found = self.check(sources={LABELLED: spec}).problems
      self.assertEqual(len(found), problems, found)

  def test_boxes_of_a_model_and_objects_without_masks_are_told(self):
    self.annotate('train', 'abcd', score=0.75)
    checked = self.check(has_instance_masks=True)
    self.assertEqual(checked.problems, ())
    self.assertEqual(
      checked.notes[LABELLED],
      (
        faults.Fault(faults.Kind.SCORES, '4 of 4 boxes'),
        faults.Fault(faults.Kind.NO_MASK, '4 of 4 objects'),
      ),
    )
    self.assertEqual(self.check().notes[VALIDATION], ())

  def test_masks_of_objects_are_for_boxes(self):
    photos.write(
      self.folder, {'folders/cat/a.jpg': photos.jpeg(1), 'folders/dog/b.jpg': photos.jpeg(2)}
    )
    with self.assertRaisesRegex(
      errors.ConfigError,
      "--instance_masks is for labelled boxes, and the task of these images is 'classification'",
    ):
      self.prepare(sources={LABELLED: f'folders:{self.folder}/folders'}, has_instance_masks=True)

  def test_of_two_images_of_one_name_the_first_may_be_used(self):
    self.annotate('train', 'abcda')
    self.assert_problem(
      r"1 x two images of a set have one name or id; first a\.jpg: file_name 'a\.jpg'\."
    )
    card = self.run_all(allowed=frozenset({faults.Kind.SAME_NAME}))
    self.assertEqual(card.labelled.images, 4)
    self.assertEqual(sorted(self.records('labelled')), ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg'])

  def test_a_set_of_which_no_image_is_left_is_a_problem(self):
    for name in 'vw':
      photos.write(self.folder, {f'valid/{name}.jpg': b''})
    self.assert_problem(r'No image of --validation is left: 0 of 2 can be used\.')

  def test_no_labelled_image_to_share_is_a_problem(self):
    for name in 'abcd':
      photos.write(self.folder, {f'train/{name}.jpg': b''})
    self.assert_problem(
      r'No image of --labelled is left: 0 of 4 can be used\.',
      sources={LABELLED: self.sources[LABELLED]},
      split=plan.SplitSettings(validation_share=0.5),
    )

  def test_classes_must_be_those_of_the_teacher(self):
    model = self.folder / 'run' / 'teacher'
    files.write_json(model / 'classes.json', {'num_classes': 3, 'class_names': ['cat', 'emu']})
    # Checkpoints and their best lie in or below the directory that has the names.
    for teacher in (model, model / 'best_ckpt', model / 'best_ckpt' / 'best_ckpt-7'):
      self.assert_problem(
        r"^--labelled: classes differ from those of the teacher in number, order or names; \S+: class 2 is 'emu' there "
        r"and 'dog' here\. Correct it, or go on with --allow=teacher_classes\.$",
        teacher=str(teacher),
      )
    checked = self.check(teacher=str(model), allowed=frozenset({faults.Kind.TEACHER_CLASSES}))
    self.assertEqual(checked.problems, ())
    self.assertEqual(
      [fault.kind for fault in checked.notes[LABELLED]], [faults.Kind.TEACHER_CLASSES]
    )
    files.write_json(model / 'classes.json', {'num_classes': 3, 'class_names': ['cat', 'dog']})
    checked = self.check(teacher=str(model))
    self.assertEqual((checked.problems, checked.notes[LABELLED]), ((), ()))

  def test_a_saved_model_has_its_classes_in_its_assets(self):
    photos.write(self.folder, {'model/assets/class_names.txt': 'dog\ncat\n'})
    self.assert_problem("class 1 is 'dog' there and 'cat' here", teacher=str(self.folder / 'model'))

  def test_a_teacher_without_class_names_is_refused_before_images_are_examined(self):
    with (
      mock.patch.object(work, 'examine', side_effect=AssertionError('examined')),
      self.assertRaisesRegex(errors.DataError, '--teacher=nowhere: no class names lie beside it'),
    ):
      self.check(teacher='nowhere')

  def test_annotations_without_an_image_stop_nothing_and_are_told(self):
    (self.folder / 'train/all.json').write_text(
      preparing_case.coco(['a.jpg', 'b.jpg']).replace('"image_id": 10', '"image_id": 77')
    )
    checked = self.check()
    self.assertEqual(checked.problems, ())
    (note,) = checked.notes[LABELLED]
    self.assertEqual(
      note, faults.Fault(faults.Kind.NO_IMAGE, f'1 annotations in {self.folder}/train/all.json')
    )


if __name__ == '__main__':
  unittest.main()
