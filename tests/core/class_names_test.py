"""Tests for class names."""

import unittest

from official_selftrain.core import class_names


class NameOfTest(unittest.TestCase):
  def test_names_start_at_id_1(self):
    found = [class_names.name_of(('cat', 'dog'), class_id) for class_id in range(-1, 4)]
    self.assertEqual(found, ['-1', '0', 'cat', 'dog', '3'])


if __name__ == '__main__':
  unittest.main()
