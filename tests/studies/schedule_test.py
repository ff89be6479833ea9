"""What a study shares and how long it takes."""

import unittest

from official_selftrain.studies import schedule
from tests.studies import study_files

_KEYS = {
  'low_random_seed3': {'teacher': 't3', 'student': 'a'},
  'high_random_seed3': {'teacher': 't3', 'student': 'b'},
  'low_random_seed5': {'teacher': 't5', 'student': 'c'},
}


def _schedule(seconds=None, expected=None, finished=()):
  return schedule.Schedule(_KEYS, seconds or {}, expected or {}, frozenset(finished))


class ScheduleTest(unittest.TestCase):
  def test_shared_products_count_once(self):
    self.assertEqual((_schedule().unique, _schedule().total), (5, 6))
    self.assertEqual(
      _schedule().left(),
      {'t3': 'teacher', 't5': 'teacher', 'a': 'student', 'b': 'student', 'c': 'student'},
    )

  def test_what_one_run_has_made_is_made_for_all(self):
    found = _schedule({('high_random_seed3', 'teacher'): 10.0})
    self.assertEqual(set(found.left()), {'t5', 'a', 'b', 'c'})

  def test_finished_elsewhere(self):
    found = _schedule(finished=['low_random_seed5'])
    self.assertEqual(set(found.left()), {'t3', 'a', 'b'})

  def test_time(self):
    self.assertEqual(_schedule().remaining(), (0, ('student', 'teacher')))
    self.assertEqual(
      _schedule(expected={'teacher': 10, 'student': 7}).remaining(), (2 * 10 + 3 * 7, ())
    )
    measured = {('low_random_seed3', 'teacher'): 30.0, ('low_random_seed3', 'student'): 4.0}
    # What was measured counts more than what was expected; one teacher and two students are left.
    found = _schedule(measured, {'teacher': 10, 'student': 7})
    self.assertEqual(found.remaining(), (30 + 2 * 4, ()))
    del measured['low_random_seed3', 'student']
    self.assertEqual(_schedule(measured).remaining(), (30, ('student',)))

  def test_words(self):
    self.assertEqual(schedule.hours(3.0), 'about 3 seconds')
    self.assertEqual(schedule.hours(100.0), 'about 2 minutes')
    self.assertEqual(schedule.hours(1800.0), 'about 30 minutes')
    self.assertEqual(schedule.hours(9000.0), 'about 2.5 hours')
    self.assertEqual(
      _schedule(expected={'teacher': 600, 'student': 60}).duration(), 'about 23 minutes'
    )
    self.assertEqual(
      _schedule(expected={'teacher': 600}).duration(),
      'about 20 minutes and the time of student, which is not known yet',
    )
    self.assertEqual(
      _schedule().duration(),
      'time unknown until one has run of student, teacher (or `seconds` in the study file says)',
    )

  def test_plan(self):
    study = study_files.load(exclude=[{'init': 'simclr'}, {'cut': 'high', 'init': 'random'}])
    self.assertEqual([cell.name for cell in study.cells], ['low_random_seed3', 'low_random_seed5'])
    keys = {
      'low_random_seed3': {'teacher': 't', 'labels': 'l', 'student': 'a'},
      'low_random_seed5': {'teacher': 't', 'labels': 'l', 'student': 'b'},
    }
    text = schedule.Schedule(keys, {}, {'teacher': 60, 'labels': 60, 'student': 240}).text(study)
    self.assertRegex(text, r'low_random_seed3 +nothing')
    self.assertRegex(text, r'low_random_seed5 +teacher, labels')
    self.assertIn(
      '2 runs, 6 products, of which 4 different; 4 are left.\nOne process: about 10 minutes.', text
    )


if __name__ == '__main__':
  unittest.main()
