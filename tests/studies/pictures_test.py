"""Which classes a study's page shows."""

import types
import unittest

from official_selftrain.studies import pictures


def _facts(*runs):
  """Facts of finished runs, each with the metrics of classes of `control` and `student`."""
  done = [
    types.SimpleNamespace(per_class={'control': control, 'student': student})
    for control, student in runs
  ]
  return types.SimpleNamespace(done=done, baseline='control')


class ExtremeClassesTest(unittest.TestCase):
  def test_the_mean_gain_over_runs_decides(self):
    facts = _facts(
      ({'nut': 0.5, 'bolt': 0.2, 'pin': 0.4}, {'nut': 0.7, 'bolt': 0.3, 'pin': 0.3}),
      ({'nut': 0.5, 'bolt': 0.2, 'pin': 0.4}, {'nut': 0.4, 'bolt': 0.4, 'pin': 0.4}),
    )
    # Gains of 0.05, 0.15 and -0.05.
    self.assertEqual(pictures.extreme_classes(facts), ('pin', 'bolt'))

  def test_a_class_that_one_of_the_models_does_not_have_is_left_out(self):
    facts = _facts(
      ({'nut': 0.5, 'bolt': 0.2, 'pin': None}, {'nut': 0.6, 'bolt': 0.5, 'pin': 0.9, 'cap': 1.0})
    )
    self.assertEqual(pictures.extreme_classes(facts), ('nut', 'bolt'))

  def test_one_class_or_none_is_no_extreme(self):
    self.assertIsNone(pictures.extreme_classes(_facts(({'nut': 0.5}, {'nut': 0.7}))))
    self.assertIsNone(pictures.extreme_classes(_facts()))


if __name__ == '__main__':
  unittest.main()
