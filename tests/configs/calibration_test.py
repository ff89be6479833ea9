"""Tests for the settings of calibrated cuts."""

import math
import unittest

from official_selftrain.configs import calibration, inputs
from official_selftrain.core import errors


class CheckTest(unittest.TestCase):
  def assert_refused(self, expected: str, **values) -> None:
    with self.assertRaises(errors.ConfigError) as raised:
      calibration.Calibration(**values).check('calibration')
    self.assertEqual(str(raised.exception), expected)

  def test_defaults_and_ends_of_the_ranges_pass(self):
    ends = {'share': 0.01, 'beta': 0.001, 'min_precision': 0.0, 'min_objects': 1}
    for values in ({}, ends):
      self.assertIsNone(calibration.Calibration(**values).check('calibration'))

  def test_values_out_of_range(self):
    for share in (0.0, 1.0, math.nan):
      self.assert_refused(
        f'calibration.share is {share:g}: it must be above 0 and below 1.', share=share
      )
    for beta in (0.0, math.nan):
      self.assert_refused(f'calibration.beta is {beta:g}: it must be above 0.', beta=beta)
    for bound in (-0.1, 1.0, math.nan):
      self.assert_refused(
        f'calibration.min_precision is {bound:g}: it must be at least 0 and below 1.',
        min_precision=bound,
      )
    self.assert_refused('calibration.min_objects is 0: it must be at least 1.', min_objects=0)


class CheckUseTest(unittest.TestCase):
  def test_as_many_cuts_as_classes(self):
    pseudo = inputs.PseudoStream(class_cuts=(0.5, 0.4))
    calibration.Calibration().check_use('calibration', pseudo, 3)
    with self.assertRaisesRegex(errors.ConfigError, 'has 2 cuts and .* is 4: give one for each'):
      calibration.Calibration().check_use('calibration', pseudo, 4)

  def test_labels_from_elsewhere_are_calibrated_on_labels_from_there(self):
    label_dirs = [('labels', ''), ('', 'labels')]
    for cut, is_refused in (('calibrated', True), (0.5, False)):
      for pseudo_dir, own_dir in label_dirs:
        pseudo = inputs.PseudoStream(cut=cut, label_dir=pseudo_dir)
        settings = calibration.Calibration(label_dir=own_dir)
        if not is_refused:
          settings.check_use('calibration', pseudo, 3)
          continue
        given, missing = (
          ('task.pseudo_data', 'calibration') if pseudo_dir else ('calibration', 'task.pseudo_data')
        )
        with self.assertRaisesRegex(
          errors.ConfigError, rf'{given}\.label_dir is given without {missing}\.label_dir'
        ):
          settings.check_use('calibration', pseudo, 3)


if __name__ == '__main__':
  unittest.main()
