"""What is said of pseudo labels before a student is trained on them."""

import dataclasses
import unittest

from official_selftrain.report import calibrated, contents, foresight
from tests.report import examples


def _labels(**changes):
  """About as many labels of each class per image as people drew: 1.8 and 1.2."""
  counts = {'cat': 2600, '<b>&': 1740}
  return examples.pseudo_labels(**({'counts_per_class': counts} | changes))


def _calibration(precision):
  overall = calibrated.CalibratedClass(
    name='all classes', cut=0.3, truths=60, precision=precision, recall=0.7, is_own=False
  )
  return calibrated.Calibration(
    images=4, is_held_out=True, rule='', ignore_cut=None, overall=overall, classes=(overall,)
  )


class DoubtsTest(unittest.TestCase):
  def test_labels_without_a_fault(self):
    self.assertEqual(foresight.doubts(_labels(), 'boxes'), [])
    for precision in (0.75, 0.9, None):
      found = foresight.doubts(_labels(), 'boxes', _calibration(precision))
      self.assertEqual(found, [])

  def test_labels_of_which_many_are_wrong(self):
    (found,) = foresight.doubts(_labels(), 'boxes', _calibration(0.62))
    self.assertStartsWith(
      found, 'In the 4 images of the calibration 62% of the labels at the cut are right.'
    )

  def test_truth_of_the_unlabelled_images_is_not_looked_at(self):
    wrong = contents.QualityAtCut(cut=0.5, precision=0.1, recall=0.1, f1=0.1, count_ratio=9.0)
    self.assertEqual(foresight.doubts(_labels(quality=(wrong,)), 'boxes'), [])

  def test_a_class_that_the_teacher_hardly_finds(self):
    # 60 human labels at 3 per image are 20 images: 1.5 cats, 1.3 dogs and 0.2 others. There are 1,498 readable images.
    facts = _labels(
      counts_per_class={'cat': 2200, 'dog': 90},
      counts_per_class_human={'cat': 30, 'dog': 26, 'x': 4},
    )
    (found,) = foresight.doubts(facts, 'boxes')
    self.assertEqual(
      found,
      'dog: 0.06 boxes per image at the cut where people drew 1.30. Pseudo labels teach the student that there is next '
      'to nothing of this class; task.pseudo_data.cut=matched would lower its cut, '
      'task.pseudo_data.spared_classes=auto would leave it to human labels.',
    )
    # Cuts by class are not one that could be too high, and pixels are not matched.
    for changes, unit in (({'class_cuts': (0.3, 0.6)}, 'boxes'), ({}, 'object pixels')):
      (found,) = foresight.doubts(dataclasses.replace(facts, **changes), unit)
      self.assertNotIn('matched', found)
    (found,) = foresight.doubts(dataclasses.replace(facts, spared=('dog',)), 'boxes')
    self.assertEqual(
      found,
      'dog: 0.06 boxes per image at the cut where people drew 1.30. The student learns this class from human labels '
      'alone.',
    )

  def test_starved_classes(self):
    # As above; of five human labels on one can tell. Nobody drew an emu, and the teacher found none either.
    facts = _labels(
      counts_per_class={'cat': 2200, 'dog': 90, 'owl': 1, 'fox': 300},
      counts_per_class_human={'cat': 30, 'dog': 26, 'ant': 2, 'owl': 2},
    )
    names = ('emu', 'fox', 'owl', 'ant', 'dog', 'cat')
    self.assertEqual(foresight.starved(facts, names), ('emu', 'ant', 'dog'))
    self.assertEqual(foresight.starved(_labels(), ('cat', '<b>&')), ())
    # A tenth of 1.3 dogs per image, in 1,498 images, are 194.7.
    for count, expected in ((194, ('dog',)), (195, ())):
      counts = {'cat': 2200, 'dog': count, 'ant': 1, 'owl': 1}
      found = foresight.starved(dataclasses.replace(facts, counts_per_class=counts), names[2:])
      self.assertEqual(found, expected)

  def test_far_more_or_far_fewer_labels_than_people_drew(self):
    (found,) = foresight.doubts(_labels(labels_per_image=7.5), 'boxes')
    self.assertIn('2.5 times as many boxes per image at the cut', found)
    (found,) = foresight.doubts(_labels(labels_per_image=0.6), 'boxes')
    self.assertIn('only 20% as many boxes', found)
    self.assertEqual(foresight.doubts(_labels(labels_per_image=0.6, ignore_cut=0.15), 'boxes'), [])

  def test_many_soft_labels_are_meant_but_not_few(self):
    many = _labels(labels_per_image=7.5, is_soft=True)
    self.assertEqual(foresight.doubts(many, 'boxes'), [])
    (found,) = foresight.doubts(_labels(labels_per_image=0.6, is_soft=True), 'boxes')
    self.assertIn('only 20% as many boxes', found)
    starved = _labels(is_soft=True, counts_per_class={'cat': 2600, '<b>&': 1})
    (found,) = foresight.doubts(starved, 'boxes')
    self.assertStartsWith(found, '<b>&: 0.00 boxes per image at the cut')

  def test_nothing_is_said_where_people_drew_nothing(self):
    facts = _labels(human_labels_per_image=0.0, counts_per_class_human={})
    self.assertEqual(foresight.doubts(facts, 'boxes'), [])

  def assertStartsWith(self, text, start):
    self.assertEqual(text[: len(start)], start)


if __name__ == '__main__':
  unittest.main()
