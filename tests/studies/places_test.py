"""Tests for the names of files and folders of a study."""

import os
import pathlib
import tempfile
import unittest

from official_selftrain.studies import places


class ModelTest(unittest.TestCase):
  def test_the_model_of_the_last_round(self):
    where = places.Places(self.enterContext(tempfile.TemporaryDirectory()))
    cell = pathlib.Path(where.run('a_seed1'))
    for name in ('teacher', 'student', 'control', 'student-2', 'student-10', 'student-x'):
      (cell / name).mkdir(parents=True)
    found = [where.model('a_seed1', kind) for kind in ('teacher', 'control', 'student')]
    self.assertEqual(
      [os.path.basename(each) for each in found], ['teacher', 'control', 'student-10']
    )


if __name__ == '__main__':
  unittest.main()
