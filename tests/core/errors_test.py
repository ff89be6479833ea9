"""Tests for the classes of errors that users can cause."""

import inspect
import unittest

from official_selftrain.core import errors


class ErrorsTest(unittest.TestCase):
  def test_every_class_is_caught_by_the_base(self):
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    self.assertEqual(len(classes), 9)
    for cls in classes:
      with self.subTest(cls=cls.__name__):
        self.assertTrue(issubclass(cls, errors.SelfTrainError))
        self.assertEqual(str(cls('task.name is 3')), 'task.name is 3')

  def test_wrong_settings_and_data_are_value_errors(self):
    for cls in (errors.ConfigError, errors.StageChangedError, errors.DataError):
      self.assertTrue(issubclass(cls, ValueError), cls)
    for cls in (errors.GateError, errors.NonFiniteLossError, errors.StudyError):
      self.assertTrue(issubclass(cls, RuntimeError), cls)

  def test_special_cases_are_caught_as_their_kind(self):
    self.assertTrue(issubclass(errors.StageChangedError, errors.ConfigError))
    self.assertTrue(issubclass(errors.LabelMismatchError, errors.DataError))


if __name__ == '__main__':
  unittest.main()
