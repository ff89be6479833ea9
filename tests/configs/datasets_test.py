"""Tests for the settings of the data sets."""

import unittest

import numpy as np

from official_selftrain.configs import datasets
from official_selftrain.core import errors


class DigitExtentTest(unittest.TestCase):
  def test_upright_field_grows_by_half_a_cell_on_each_side(self):
    # 64 / 8 = 8 pixels a cell: 64 + 2 * 4, and 1 for the grid of pixels.
    self.assertEqual(datasets.digit_extent(64, 0.0), 73)

  def test_rotated_square_needs_cosine_plus_sine(self):
    self.assertEqual(datasets.digit_extent(80, 45.0), int(90 * np.sqrt(2)) + 1)


class ValidateDigitsTest(unittest.TestCase):
  def test_defaults_are_valid(self):
    config = datasets.Digits()
    datasets.validate_digits(config)
    self.assertEqual(
      (config.num_labelled, config.num_unlabelled, config.num_validation, config.image_size),
      (60, 1536, 512, 128),
    )

  def test_other_image_sizes_are_valid(self):
    for image_size in (64, 256, 512):
      with self.subTest(image_size=image_size):
        self.assertIsNone(datasets.validate_digits(datasets.Digits(image_size=image_size)))

  def test_fields_out_of_range_are_named(self):
    cases = {
      'num_labelled': (0, '0; allowed are values from 1 to 1000000'),
      'num_unlabelled': (-1, '-1; allowed are values from 1 to 1000000'),
      'num_validation': (1_000_001, '1000001; allowed are values from 1 to 1000000'),
      'num_shards': (1537, '1537; allowed are values from 1 to 1536'),
      'image_size': (31, '31; allowed are values from 32 to 1024'),
      'seed': (2**32, '4294967296; allowed are values from 0 to 4294967295'),
      'max_rotation': (46.0, '46.0; allowed are values from 0 to 45'),
      'min_digits': (6, '6; allowed are values from 1 to 5'),
      'min_size': (7, '7; allowed are values from 8 to 64'),
    }
    for name, (value, text) in cases.items():
      with self.subTest(name=name):
        with self.assertRaisesRegex(errors.ConfigError, rf'^dataset\.digits\.{name} is {text}\.$'):
          datasets.validate_digits(datasets.Digits(**{name: value}))

  def test_not_a_number_is_refused(self):
    with self.assertRaisesRegex(errors.ConfigError, r'dataset\.digits\.max_rotation is nan'):
      datasets.validate_digits(datasets.Digits(max_rotation=float('nan')))

  def test_smallest_size_scales_with_the_image(self):
    with self.assertRaisesRegex(errors.ConfigError, r'min_size is 28; allowed .* from 32 to 64'):
      datasets.validate_digits(datasets.Digits(image_size=32))

  def test_digit_larger_than_the_image_is_refused(self):
    pattern = (
      r'dataset\.digits\.max_size is 100: rotated by up to 15\.0 degrees such a digit needs '
    )
    with self.assertRaisesRegex(errors.ConfigError, pattern + r'138 pixels and the image has 128'):
      datasets.validate_digits(datasets.Digits(max_size=100))

  def test_more_digits_than_fit_are_refused(self):
    # A digit of 28 pixels needs 39 when rotated: 3 x 3 of them fit into 128.
    datasets.validate_digits(datasets.Digits(max_digits=9))
    pattern = r'dataset\.digits\.max_digits is 10, but only 9 digits of min_size 28 are sure to fit'
    with self.assertRaisesRegex(errors.ConfigError, pattern):
      datasets.validate_digits(datasets.Digits(max_digits=10))


if __name__ == '__main__':
  unittest.main()
